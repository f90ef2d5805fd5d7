"""What is different on Jython: its streams are Java's, and so are waiting and the end."""
import errno
import os
import sys

from java.io import ByteArrayInputStream, FileDescriptor, FileOutputStream, IOException
from java.lang import InterruptedException, Runtime, System, Thread
from java.util.concurrent import Semaphore, TimeUnit

_main = Thread.currentThread()


class Waiter(object):

    def __init__(self):
        self._semaphore = Semaphore(0)
        self.release = self._semaphore.release

    def acquire(self, blocking, seconds):
        try:
            if seconds < 0:
                self._semaphore.acquire()
                return True
            return self._semaphore.tryAcquire(int(seconds * 1e6), TimeUnit.MICROSECONDS)
        except InterruptedException:
            raise KeyboardInterrupt


waiter = Waiter


def take_stdio():
    """(read, what it reads from, write, what it writes to)."""
    stdin = sys.stdin.fileno()
    out = FileOutputStream(FileDescriptor.out)
    System.setIn(ByteArrayInputStream(b""))
    System.setOut(System.err)
    sys.stdin = sys.__stdin__ = open(os.devnull, "r")
    sys.stdout = sys.__stdout__ = os.fdopen(sys.stderr.fileno(), "w", 1)
    return os.read, stdin, _write, out


def _write(out, data):
    try:
        out.write(data)
    except IOException:
        raise OSError(errno.EPIPE, "cannot write: %s" % sys.exc_info()[1])
    return len(data)


def interrupt():
    """Breaks what waits or sleeps; Java has nothing that would break a loop."""
    _main.interrupt()


def halt(status):
    Runtime.getRuntime().halt(status)
