"""How the writer is woken: by any thread, also by code that a signal handler tears out of any line."""
from time import sleep

from .interpreter import TWO, allocate_lock, clock

if TWO:
    from thread import error as NotLocked
else:
    NotLocked = RuntimeError
PAUSE = 0.02  # seconds; locks of Python 2 have no timeout


class Bell(object):

    def __init__(self):
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self):
        if self._lock.locked():
            try:
                self._lock.release()
            except NotLocked:
                pass  # another thread was faster

    def wait(self, seconds=None):
        """Wait until it is rung; what rings before is not lost. At most for so long."""
        if seconds is None:
            self._lock.acquire()
        elif not TWO:
            self._lock.acquire(True, max(seconds, 0))
        else:
            until = clock() + seconds
            while not self._lock.acquire(False) and clock() < until:
                sleep(PAUSE)
