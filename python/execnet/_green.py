"""How a green thread (gevent, eventlet) waits without blocking the others."""

from __future__ import annotations

import os
import sys
from _thread import get_native_id
from types import ModuleType
from typing import Callable, Optional

Wait = Callable[[int], object]
"""Wait until a file descriptor is readable."""


def door() -> Optional[Wait]:
    """Return how the calling thread has to wait; None if it is a system thread, which may wait in native
    code.

    Called at every wait: a program may start using green threads when it already has gateways.
    """
    modules = sys.modules
    if "gevent._hub_local" in modules:
        wait = _of_gevent(modules["gevent._hub_local"], modules.get("gevent.monkey"))
        if wait is not None:
            return wait
    if "eventlet.hubs" in modules:
        return _of_eventlet(modules["eventlet.hubs"], modules.get("eventlet.patcher"))
    return None


def _of_gevent(local: ModuleType, monkey: Optional[ModuleType]) -> Optional[Wait]:
    get_hub = getattr(local, "get_hub_if_exists", None)
    if get_hub is None:
        return None
    hub = get_hub()
    is_patched = getattr(monkey, "is_module_patched", None)
    if not _has_green_ones(hub, hub, is_patched is not None and is_patched("threading")):
        return None
    from gevent import socket

    wait: Wait = socket.wait_read
    return wait


def _of_eventlet(hubs: ModuleType, patcher: Optional[ModuleType]) -> Optional[Wait]:
    local = getattr(hubs, "_threadlocal", None)
    if local is None:
        return None
    hub = getattr(local, "hub", None)
    is_patched = getattr(patcher, "is_monkey_patched", None)
    loop = getattr(hub, "greenlet", None)
    if not _has_green_ones(hub, loop, is_patched is not None and is_patched("thread")):
        return None

    def wait(fd: int) -> object:
        try:
            return hubs.trampoline(fd, read=True)
        except BaseException:
            # a signal handler that raises while the hub takes the fd leaves it there, and the next wait fails
            hubs.get_hub().remove_descriptor(fd)
            raise

    return wait


def _has_green_ones(hub: object, loop: object, replaced: bool) -> bool:
    """Return whether the calling system thread, with this hub or none, runs green threads.

    If threads are monkey-patched, all do but those of a thread pool. If not, those with a hub do, except for
    the event loop itself, which may always wait.
    """
    if replaced:
        return hub is not None or get_native_id() == os.getpid()
    if hub is None:
        return False
    from greenlet import getcurrent

    return getcurrent() is not loop
