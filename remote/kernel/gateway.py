"""`channel.gateway`, and its `execmodel`: modules and primitives for the threads of this gateway."""
import os
import sys
import time

from .interpreter import TWO, folder, get_ident, native, start_new_thread
from .wait import wait


class Gateway(object):
    """This end of the gateway, as user code sees it: `channel.gateway`."""

    def __init__(self, link):
        self._link = link
        self.id = str(link.config.get("id") or "worker")
        self.execmodel = ExecModel(link.runner.model)

    def __repr__(self):
        return "<Gateway id=%r %s, %s model, %d channels>" % (
            self.id, "ended" if self._link.ended else "live", self.execmodel.backend, len(self._link.states))

    def newchannel(self):
        """Return a new channel. The client knows it once it was sent over another one."""
        self._link.check()
        return self._link.channel()

    def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
        """Set how text travels between Python 2 and 3 on all channels that have no setting of their own."""
        from . import control
        control.reconfigure(self._link, 0, py2str_as_py3str, py3str_as_py2str)

    def hasreceiver(self):
        return not self._link.ended

    def remote_status(self):
        """Return what the client's `remote_status` returns."""
        from . import control
        return Facts(control.status(self._link))

    def _rinfo(self, update=False):
        return Facts({"executable": sys.executable, "version_info": tuple(sys.version_info[:5]),
                      "platform": sys.platform,
                      "cwd": native(folder()), "pid": os.getpid()})

    def _packages(self, verb):
        """List or clean the packages of this host, if the client sent what can do it."""
        from . import collect
        return collect.listing() if verb == "list" else collect.clean()

    def join(self, timeout=None):
        """Wait until the client is gone."""
        runner = self._link.runner
        wait(runner.sleepers, lambda: runner.ending, timeout)


class Facts(object):
    def __init__(self, facts):
        self.__dict__.update(facts)

    def __repr__(self):
        return "<Facts %s>" % ", ".join(["%s=%r" % fact for fact in sorted(self.__dict__.items())])


class ExecModel(object):
    """Named by its `backend`: `thread` or `main_thread_only`."""

    def __init__(self, backend):
        self.backend = str(backend)

    def __repr__(self):
        return "<ExecModel %r>" % self.backend

    @property
    def queue(self):
        return __import__("Queue" if TWO else "queue")

    @property
    def subprocess(self):
        return __import__("subprocess")

    @property
    def socket(self):
        return __import__("socket")

    @property
    def threading(self):
        return __import__("threading")

    def get_ident(self):
        return get_ident()

    def sleep(self, delay):
        time.sleep(delay)

    def start(self, func, args=()):
        start_new_thread(func, tuple(args))

    def Thread(self, *args, **kwargs):
        return self.threading.Thread(*args, **kwargs)

    def fdopen(self, fd, mode, bufsize=1, closefd=True):
        if TWO:
            return os.fdopen(fd, mode, bufsize)
        return open(fd, mode, bufsize, encoding=None if "b" in mode else "utf-8", closefd=closefd)

    def Lock(self):
        return self.threading.RLock()

    def RLock(self):
        return self.threading.RLock()

    def Event(self):
        return self.threading.Event()
