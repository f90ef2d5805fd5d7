"""`channel.gateway.execmodel`: the modules and primitives that threads of this gateway use."""
import os
import sys
import time

from .wait import get_ident, start_new_thread


class ExecModel(object):
    """Named by its `backend`: `thread` or `main_thread_only`."""

    def __init__(self, backend):
        self.backend = str(backend)

    def __repr__(self):
        return "<ExecModel %r>" % self.backend

    @property
    def queue(self):
        return _module("Queue" if sys.version_info[0] == 2 else "queue")

    @property
    def subprocess(self):
        return _module("subprocess")

    @property
    def socket(self):
        return _module("socket")

    @property
    def threading(self):
        return _module("threading")

    def get_ident(self):
        return get_ident()

    def sleep(self, delay):
        time.sleep(delay)

    def start(self, func, args=()):
        start_new_thread(func, tuple(args))

    def Thread(self, *args, **kwargs):
        return self.threading.Thread(*args, **kwargs)

    def fdopen(self, fd, mode, bufsize=1, closefd=True):
        if sys.version_info[0] == 2:
            return os.fdopen(fd, mode, bufsize)
        return open(fd, mode, bufsize, encoding=None if "b" in mode else "utf-8", closefd=closefd)

    def Lock(self):
        return self.threading.RLock()

    def RLock(self):
        return self.threading.RLock()

    def Event(self):
        return self.threading.Event()


def _module(name):
    __import__(name)
    return sys.modules[name]
