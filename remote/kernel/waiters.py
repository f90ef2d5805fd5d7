"""Waiting on Python 2, whose locks have no timeout and block all signals while the main thread waits for
them."""
import os
import sys
import time

from .interpreter import MAIN, allocate_lock, clock, get_ident


class PollingWaiter(object):
    """A waiter for CPython's threads except the main one."""

    def __init__(self):
        lock = self._lock = allocate_lock()
        lock.acquire()
        self.release = lock.release

    def acquire(self, blocking, seconds):
        if seconds < 0:
            return self._lock.acquire()
        until = clock() + seconds
        pause = 0.0005
        while not self._lock.acquire(False):
            left = until - clock()
            if left <= 0:
                return False
            time.sleep(min(left, pause))
            pause = min(pause * 2, 0.02)
        return True


class PipeWaiter(object):
    """A waiter for CPython's main thread: signals interrupt `select`."""

    pipe = None

    def __init__(self):
        self.woken = False
        if self.pipe is None:
            pipe = os.pipe()
            for fd in pipe:
                fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
                fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
            PipeWaiter.pipe = pipe

    def release(self):
        self.woken = True
        try:
            os.write(self.pipe[1], b"x")
        except OSError:
            pass  # full, so it is readable

    def acquire(self, blocking, seconds):
        until = clock() + seconds
        while not self.woken:
            left = 1.0 if seconds < 0 else min(until - clock(), 1.0)
            if left < 0:
                return False
            try:
                if select(self.pipe[:1], (), (), left)[0]:
                    os.read(self.pipe[0], 4096)
            except (OSError, select_error):
                pass  # a signal whose handler did not raise
        return True


if sys.platform.startswith("java"):
    from .jvm import waiter  # noqa: F401
else:
    # not later: user code may change how to import
    import fcntl
    from select import error as select_error
    from select import select

    def waiter():
        return PipeWaiter() if get_ident() == MAIN else PollingWaiter()
