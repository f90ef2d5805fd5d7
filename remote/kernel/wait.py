"""How a thread waits for another, in a way that signal handlers and timeouts can break where the interpreter
allows it.

`waiter()` makes one: somebody calls its `acquire(True, seconds)`, -1 for ever, once; somebody else its
`release()`, once.
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
    """A waiter for a green thread; None for one of the system."""
    if "gevent._hub_local" in sys.modules or "eventlet.hubs" in sys.modules:
        from .green import Waiter, door
        wait = door()
        return wait and Waiter(wait)
    return None


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
    """Waits in this line until `ready()`; whoever makes it so wakes the line afterwards. False after so many
    seconds."""
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
                    wake(waiters)  # somebody woke us, who do not take what there is
    return True
