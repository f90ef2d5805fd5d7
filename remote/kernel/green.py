"""How a green thread of user code (gevent, eventlet) waits without blocking the others.

A green thread that waited for a lock would block all others, perhaps also the one that would release it.
"""
import os
import sys

from .interpreter import MAIN, TWO, allocate_lock, get_ident, start_new_thread


class Late(Exception):
    """The wait timed out."""


def door():
    """Return how this thread waits for a file to be readable: `wait(fd, timeout=, timeout_exc=)`; None for a
    system thread."""
    get_hub = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    if get_hub is not None:
        hub = get_hub()
        if _has_green_ones(hub, hub, _says("gevent.monkey", "is_module_patched", "threading")):
            from gevent import socket
            return socket.wait_read
    hubs = sys.modules.get("eventlet.hubs")
    local = getattr(hubs, "_threadlocal", None)
    if local is not None:
        hub = getattr(local, "hub", None)
        if _has_green_ones(hub, getattr(hub, "greenlet", None),
                           _says("eventlet.patcher", "is_monkey_patched", "thread")):
            return lambda fd, **how: hubs.trampoline(fd, read=True, **how)
    return None


def _has_green_ones(hub, loop, replaced):
    """Whether this thread, with this hub or none, runs green threads; the event loop itself does not
    count."""
    if replaced:
        return hub is not None or get_ident() == MAIN
    if hub is None:
        return False
    from greenlet import getcurrent
    return getcurrent() is not loop


def _says(module, function, name):
    """Whether threads are monkey-patched, as the library says if it is completely imported."""
    says = getattr(sys.modules.get(module), function, None)
    return says is not None and says(name)


def start(function, args):
    """Start a thread as user code would: a green one if threads are green."""
    if door() is None:
        return start_new_thread(function, args)
    return sys.modules["thread" if TWO else "_thread"].start_new_thread(function, args)


class Waiter(object):
    """A waiter as in `wait`; any thread may release it."""

    def __init__(self, wait):
        self._wait = wait
        self._lock = allocate_lock()
        self._pipe = os.pipe()
        if TWO:
            import fcntl
            for fd in self._pipe:
                fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)

    def release(self):
        with self._lock:
            if self._pipe:
                os.write(self._pipe[1], b"x")

    def acquire(self, blocking, seconds):
        try:
            self._wait(self._pipe[0], timeout=None if seconds < 0 else seconds, timeout_exc=Late())
            return True
        except Late:
            return False
        finally:
            with self._lock:
                pipe, self._pipe = self._pipe, None
            for fd in pipe:
                os.close(fd)
