"""How a thread waits for another, in a way that signal handlers and timeouts can break where the interpreter allows it.

`waiter()` makes one: somebody calls its `acquire(True, seconds)`, -1 for ever, once; somebody else calls `release()`, once.
"""
import os
import sys
import time

try:
    from _thread import allocate_lock, get_ident, start_new_thread
except ImportError:
    from thread import allocate_lock, get_ident, start_new_thread

JYTHON = sys.platform.startswith("java")
clock = getattr(time, "monotonic", time.time)
MAIN = get_ident()  # the thread that imports the kernel


class PollingWaiter(object):
    """CPython 2: a lock knows no timeout."""

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
    """CPython 2, main thread: waiting for a lock would hold back all signals, waiting for a pipe does not."""

    pipe = None

    def __init__(self):
        self.woken = False
        if self.pipe is None:
            import fcntl
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
            pass  # full: then it is readable

    def acquire(self, blocking, seconds):
        from select import select
        from select import error as select_error
        until = clock() + seconds
        while not self.woken:
            left = 1.0 if seconds < 0 else min(until - clock(), 1.0)
            if left < 0:
                return False
            try:
                if select(self.pipe[:1], (), (), left)[0]:
                    os.read(self.pipe[0], 4096)
            except (OSError, select_error):
                pass  # a signal, whose handler did not raise
        return True


if JYTHON:
    from java.util.concurrent import Semaphore, TimeUnit

    class JavaWaiter(object):
        def __init__(self):
            self._semaphore = Semaphore(0)
            self.release = self._semaphore.release

        def acquire(self, blocking, seconds):
            from java.lang import InterruptedException
            try:
                if seconds < 0:
                    self._semaphore.acquire()
                    return True
                return self._semaphore.tryAcquire(int(seconds * 1e6), TimeUnit.MICROSECONDS)
            except InterruptedException:
                raise KeyboardInterrupt

    waiter = JavaWaiter

elif sys.version_info[0] == 2:
    def waiter():
        return PipeWaiter() if get_ident() == MAIN else PollingWaiter()

else:
    def waiter():
        lock = allocate_lock()
        lock.acquire()
        return lock


def forget(waiters, waiter):
    """Takes a waiter back. False when it was woken already."""
    try:
        waiters.remove(waiter)
        return True
    except ValueError:
        return False


def wake(waiters):
    """Wakes one of them, if there is one."""
    try:
        waiter = waiters.popleft()
    except IndexError:
        return
    waiter.release()


def wake_all(waiters):
    while waiters:
        wake(waiters)


def wait(waiters, ready, seconds=None):
    """Waits in this line until `ready()`; whoever makes it so wakes the line afterwards. False after so many seconds."""
    until = None if seconds is None else clock() + seconds
    while not ready():
        mine = waiter()
        woken = False
        waiters.append(mine)
        try:
            if ready():
                break
            left = -1
            if until is not None:
                left = until - clock()
                if left <= 0:
                    return False
                left = min(left, 4000000)
            woken = mine.acquire(True, left)
        finally:
            if not woken and not forget(waiters, mine):
                wake(waiters)  # it was meant for us, who do not take it
    return True
