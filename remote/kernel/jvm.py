"""What is different on Jython: Java's streams, waiting, and the end of the process."""
import errno
import os
import sys

from java.io import ByteArrayInputStream, FileDescriptor, FileOutputStream, IOException, PrintStream
from java.lang import InterruptedException, Runtime, System, Thread
from java.util.concurrent import Semaphore, TimeUnit

try:
    from jnr.posix import POSIXFactory  # not later: the user's folder may contain such a name
except ImportError:
    POSIXFactory = None

from .interpreter import ANY

posix = None  # jnr's, if fds 0 and 1 are no longer the protocol's
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
    """Return (read, its source, write, its sink)."""
    read, stdin, out = _moved() or (os.read, sys.stdin.fileno(), FileOutputStream(FileDescriptor.out))
    System.setIn(ByteArrayInputStream(b""))
    System.setOut(System.err)
    sys.stdin = sys.__stdin__ = open(os.devnull, "r")
    sys.stdout = sys.__stdout__ = os.fdopen(sys.stderr.fileno(), "w", 1)
    return read, stdin, _write, out


def _moved():
    """Move the protocol's pipes to other fds, which no subprocess inherits; then stdin is empty, and stdout
    goes to stderr.

    Return None without pipes, /proc or native calls.
    """
    global posix
    try:
        pipes = ["/proc/self/fd/%d" % fd for fd in (0, 1)]
        if [pipe for pipe in pipes if not os.readlink(pipe).startswith("pipe:")]:
            return None
        native = POSIXFactory.getPOSIX()
        null = native.open(os.devnull, os.O_RDWR, 0) if native.isNative() else -1
        if null < 3:
            return None
        stdin, out = os.open(pipes[0], os.O_RDONLY), FileOutputStream(pipes[1])
        native.dup2(null, 0)
        native.dup2(2, 1)
        native.close(null)
    except ANY:
        return None
    posix = native
    # Java's stream has buffered some input already; the end of /dev/null follows it
    ahead = list(iter(lambda: os.read(sys.stdin.fileno(), 65536), b""))[::-1]
    return lambda fd, size: ahead.pop() if ahead else os.read(fd, size), stdin, out


def silence():
    """Drop what is written to stdout."""
    System.setOut(PrintStream(os.devnull))
    sys.stdout = sys.__stdout__ = open(os.devnull, "w")
    if posix is not None:
        null = posix.open(os.devnull, os.O_WRONLY, 0)
        posix.dup2(null, 1)
        posix.close(null)


def _write(out, data):
    try:
        out.write(data)
    except IOException:
        raise OSError(errno.EPIPE, "cannot write: %s" % sys.exc_info()[1])
    return len(data)


def interrupt():
    """Interrupt waiting and sleeping; Java cannot interrupt a loop."""
    _main.interrupt()


def halt(status):
    Runtime.getRuntime().halt(status)
