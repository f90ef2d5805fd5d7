"""How a thread waits for another, so that signal handlers and timeouts end the wait where the interpreter
allows it.

`waiter()` returns a waiter: one thread calls `acquire(True, seconds)` once, -1 for no limit; another calls
`release()` once.
"""
import sys

from .interpreter import TWO, allocate_lock, clock

if TWO:
    from .waiters import waiter
else:
    def waiter():
        lock = allocate_lock()
        lock.acquire()
        return lock


def green():
    """Return a waiter for a green thread; None for a system thread."""
    if "gevent._hub_local" in sys.modules or "eventlet.hubs" in sys.modules:
        from .green import Waiter, door
        wait = door()
        return wait and Waiter(wait)
    return None


def wake(waiters):
    """Wake one of them, if any."""
    try:
        waiter = waiters.popleft()
    except IndexError:
        return
    waiter.release()


def wake_all(waiters):
    while waiters:
        wake(waiters)


def wait(waiters, ready, seconds=None):
    """Wait in this queue until `ready()`; the thread that makes it so wakes the queue. Return False after
    `seconds`."""
    until = seconds is not None and clock() + seconds
    while not ready():
        mine = green() or waiter()
        woken = False
        waiters.append(mine)
        try:
            if ready():
                break
            left = -1
            if until is not False:
                left = until - clock()
                if left <= 0:
                    return False
                left = min(left, 4000000)
            woken = mine.acquire(True, left)
        finally:
            if not woken:
                try:
                    waiters.remove(mine)
                except ValueError:
                    wake(waiters)  # we were woken but do not take the item: wake another one
    return True
