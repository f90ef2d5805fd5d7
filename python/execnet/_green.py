"""Where threads are green, as gevent and eventlet make them: how one of them waits so that the others run."""

from __future__ import annotations

import os
import sys
from _thread import get_native_id
from typing import Any, Callable, Optional

Wait = Callable[[int], object]
"""Waits until a file descriptor can be read."""


def door() -> Optional[Wait]:
    """How the calling thread has to wait; None if it may wait in native code, as threads of the system do.

    Asked at every wait: a program may replace its threads when it has gateways already.
    """
    modules = sys.modules
    if "gevent.monkey" in modules:
        wait = _of_gevent(modules["gevent.monkey"])
        if wait is not None:
            return wait
    if "eventlet.patcher" in modules:
        return _of_eventlet(modules["eventlet.patcher"])
    return None


def _of_gevent(monkey: Any) -> Optional[Wait]:
    is_patched = getattr(monkey, "is_module_patched", None)
    if is_patched is None or not is_patched("threading"):
        return None
    from gevent import _hub_local, socket

    if _is_of_the_system(_hub_local.get_hub_if_exists()):
        return None
    wait: Wait = socket.wait_read
    return wait


def _of_eventlet(patcher: Any) -> Optional[Wait]:
    is_patched = getattr(patcher, "is_monkey_patched", None)
    if is_patched is None or not is_patched("thread"):
        return None
    from eventlet import hubs

    if _is_of_the_system(getattr(hubs._threadlocal, "hub", None)):
        return None
    return lambda fd: hubs.trampoline(fd, read=True)


def _is_of_the_system(hub: object) -> bool:
    """Whether the calling thread, which has this hub or none, has no green ones in it: one of a thread pool."""
    return hub is None and get_native_id() != os.getpid()
