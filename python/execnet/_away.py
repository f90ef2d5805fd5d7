"""How a program learns that hosts cannot be reached."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Callable, Union

from . import _native

OnUnreachable = Union[Callable[[_native.Node, str], object], bool, None]


def checked(on_unreachable: OnUnreachable) -> OnUnreachable:
    """Return the argument, or raise TypeError if it is neither callable nor a bool nor None."""
    if not (on_unreachable is None or isinstance(on_unreachable, bool) or callable(on_unreachable)):
        kind = type(on_unreachable).__name__
        raise TypeError(
            f"on_unreachable must be callable with a node and a text, or True or False, not a {kind}"
        )
    return on_unreachable


def listen(start: _native.Launcher, on_unreachable: OnUnreachable) -> None:
    """Start a Python thread that reports the outages of this connection until it ends, unless there is one
    already."""
    if not on_unreachable:
        return
    outages = start.outages()
    if outages is None:
        return
    tell = on_unreachable if callable(on_unreachable) else say
    thread = threading.Thread(target=pass_on, args=(outages, tell), name="execnet outages", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # no more threads can be started, or the program is ending: gateways work without this one
        pass


def pass_on(outages: _native.Outages, tell: Callable[[_native.Node, str], object]) -> None:
    for node, text in iter(outages.next, None):
        try:
            tell(node, text)
        except BaseException:
            traceback.print_exc()


def say(node: _native.Node, text: str) -> None:
    """Write the report to stderr: the default."""
    if sys.stderr is not None:
        sys.stderr.write(f"execnet: {text}\n")
