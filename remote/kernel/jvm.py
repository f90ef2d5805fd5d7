"""What is different on Jython: its streams are Java's, and so is the end."""
import os
import sys

from java.io import ByteArrayInputStream, FileDescriptor, FileOutputStream
from java.lang import Runtime, System, Thread

_main = Thread.currentThread()


def take_stdio():
    """(read, what to read, write, what to write)."""
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
    except IOError:
        raise
    return len(data)


def interrupt():
    """Breaks what waits or sleeps; Java has nothing that would break a loop."""
    _main.interrupt()


def halt(status):
    Runtime.getRuntime().halt(status)
