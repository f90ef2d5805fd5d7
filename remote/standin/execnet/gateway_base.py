"""Names of channels and execution models, and values as bytes."""
import os
import sys
import threading
import time

from . import _serial
from ._errors import (
    INTERRUPT_TEXT,
    DataFormatError,
    DumpError,
    GatewayDied,
    LoadError,
    RemoteError,
    TimeoutError,
    refuse,
)
from ._serial import dumps, loads

__all__ = [
    "INTERRUPT_TEXT",
    "MAIN_THREAD_ONLY_DEADLOCK_TEXT",
    "Channel",
    "ChannelFactory",
    "ChannelFile",
    "ChannelFileRead",
    "ChannelFileWrite",
    "DataFormatError",
    "DumpError",
    "ExecModel",
    "GatewayDied",
    "LoadError",
    "MainThreadOnlyExecModel",
    "RemoteError",
    "ThreadExecModel",
    "TimeoutError",
    "dump",
    "dumps",
    "get_execmodel",
    "load",
    "loads",
]

MAIN_THREAD_ONLY_DEADLOCK_TEXT = "concurrent remote_exec would cause deadlock for main_thread_only execmodel"


class ExecModel(object):
    """How code is run, with the matching locks and queues: here always by threads."""

    backend = "thread"

    def __repr__(self):
        return "<ExecModel %r>" % self.backend

    @property
    def queue(self):
        return __import__("Queue" if sys.version_info[0] == 2 else "queue")

    @property
    def subprocess(self):
        return __import__("subprocess")

    @property
    def socket(self):
        return __import__("socket")

    def start(self, func, args=()):
        thread = threading.Thread(target=func, args=args)
        thread.daemon = True
        thread.start()

    def get_ident(self):
        return threading.current_thread().ident

    def sleep(self, delay):
        time.sleep(delay)

    def fdopen(self, fd, mode, bufsize=1, closefd=True):
        if sys.version_info[0] == 2:
            return os.fdopen(fd, mode, bufsize)
        return open(fd, mode, bufsize, encoding=None if "b" in mode else "utf-8", closefd=closefd)

    def Lock(self):
        return threading.RLock()

    def RLock(self):
        return threading.RLock()

    def Event(self):
        return threading.Event()


class ThreadExecModel(ExecModel):
    """Each execution runs in a thread of its own, the first one in the main thread."""


class MainThreadOnlyExecModel(ThreadExecModel):
    """All executions run in the main thread, one after the other."""

    backend = "main_thread_only"


def get_execmodel(backend):
    """Return the execution model of this name: `thread` or `main_thread_only`."""
    if isinstance(backend, ExecModel):
        return backend
    if backend == "thread":
        return ThreadExecModel()
    if backend == "main_thread_only":
        return MainThreadOnlyExecModel()
    raise ValueError("execmodel %r is not supported: there are 'thread' and 'main_thread_only'" % (backend,))


class Channel(object):
    """The name of a channel's class. The `channel` of a gateway's code is not one of these."""

    RemoteError = RemoteError
    TimeoutError = TimeoutError

    def __init__(self, *args, **kwargs):
        refuse("execnet.Channel()")


class ChannelFactory(object):
    def __init__(self, *args, **kwargs):
        refuse("execnet.gateway_base.ChannelFactory()")


class ChannelFile(object):
    def __init__(self, *args, **kwargs):
        refuse("execnet.gateway_base.ChannelFile()")


class ChannelFileRead(ChannelFile):
    pass


class ChannelFileWrite(ChannelFile):
    pass


def dump(byteio, obj):
    """Write an object to a binary file, as `dumps` encodes it."""
    byteio.write(dumps(obj))


def load(io, py2str_as_py3str=False, py3str_as_py2str=False):
    """Read one object from a binary file, as `loads` does. More may follow it in the file."""
    return _serial.load(io.read, py2str_as_py3str, py3str_as_py2str)
