"""Hosts that cannot be reached: how a program is told."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Callable, Union

from . import _native

OnUnreachable = Union[Callable[[_native.Node, str], object], bool, None]


def checked(on_unreachable: OnUnreachable) -> OnUnreachable:
    """What can be told something, or is none that can."""
    if not (on_unreachable is None or isinstance(on_unreachable, bool) or callable(on_unreachable)):
        kind = type(on_unreachable).__name__
        raise TypeError(
            f"on_unreachable must be callable with a node and a text, or True or False, not a {kind}"
        )
    return on_unreachable


def listen(start: _native.Launcher, on_unreachable: OnUnreachable) -> None:
    """Has a thread of Python's tell what happens to the hosts that are reached as for this start, until that connection
    ends; there is one for each connection."""
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
        # there is no room for a thread, or the program ends: gateways work without it
        pass


def pass_on(outages: _native.Outages, tell: Callable[[_native.Node, str], object]) -> None:
    for node, text in iter(outages.next, None):
        try:
            tell(node, text)
        except BaseException:
            traceback.print_exc()


def say(node: _native.Node, text: str) -> None:
    """What is done unless a program says something else."""
    if sys.stderr is not None:
        sys.stderr.write(f"execnet: {text}\n")
