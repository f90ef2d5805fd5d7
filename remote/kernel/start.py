"""The start: takes the protocol off the standard fds, does what CONFIG says, answers HELLO, and reads (docs/kernel.md, section 1)."""
import os
import sys

from . import wire
from .gateway import Link
from .run import Runner
from .values import dumps, loads
from .wait import JYTHON, start_new_thread

CHUNK = 65536
BROKEN, CANNOT = 93, 94


def main():
    """Does not return."""
    if JYTHON:
        from . import jvm
        read, source, write, sink = jvm.take_stdio()
    else:
        read, write = os.read, os.write
        source, sink = _take_stdio()
    parser = wire.Parser()
    frames = []
    while not frames:
        data = read(source, CHUNK)
        if not data:
            os._exit(BROKEN)
        try:
            frames = parser.feed(data)
        except wire.ProtocolError:
            _complain(BROKEN, "protocol error: %s" % sys.exc_info()[1])
    if frames[0][0] != wire.CONFIG:
        _complain(BROKEN, "protocol error: no CONFIG")
    config = loads(frames[0][2])
    try:
        _follow(config)
    except Exception:
        _complain(CANNOT, "%s" % sys.exc_info()[1])
    kernel = Kernel(config, read, source, write, sink)
    kernel.link.outbox.send(wire.HELLO, 0, dumps(_hello())[1])
    rest = b"".join([wire.header.pack(kind, number, len(payload)) + payload for kind, number, payload in frames[1:]])
    kernel.serve(rest + parser.rest())


class Kernel(object):

    def __init__(self, config, read, source, write, sink):
        self._read, self._source = read, source
        self._ended = False
        self.link = Link(config, write, sink, self.broken)
        self.runner = self.link.runner = Runner(self.link, str(config.get("execmodel") or "thread"))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: (os.close(source), os.close(sink)))
        wire.write_all(write, sink, wire.MARKER)

    def serve(self, data):
        start_new_thread(self._serve, (data,))
        self.runner.main()

    def _serve(self, data):
        """The reader."""
        lost = True
        try:
            lost = not self._until_end(data)
        except wire.ProtocolError:
            sys.stderr.write("execnet: protocol error: %s\n" % sys.exc_info()[1])
        except BaseException:
            import traceback
            traceback.print_exc()
        self._end(lost)

    def _until_end(self, data):
        """True at EXIT."""
        read, source, feed = self._read, self._source, self.link.feed
        if feed(data):
            return True
        while True:
            try:
                data = read(source, CHUNK)
            except EnvironmentError:
                if wire.is_interrupt(sys.exc_info()[1]):
                    continue
                return False
            if not data:
                return False
            if feed(data):
                return True

    def broken(self, lost):
        """Nobody reads what we write."""
        start_new_thread(self._end, (lost,))

    def _end(self, lost):
        if not self._ended:
            self._ended = True
            self.runner.end(lost)


def _take_stdio():
    """The protocol's two fds, above 2 and close-on-exec; stdin is empty then, stdout goes to stderr."""
    try:
        os.fstat(2)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    source, sink = _above(0), _above(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    if null > 2:
        os.close(null)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    elif sys.version_info[0] > 2:
        sys.stdout = sys.__stdout__ = open(1, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    else:
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", 1)
    try:
        import _signal as signal
    except ImportError:
        import signal
    if signal.getsignal(2) == signal.SIG_IGN:
        signal.signal(2, signal.default_int_handler)
    return source, sink


def _above(fd):
    low = []
    new = os.dup(fd)
    while new < 3:
        low.append(new)
        new = os.dup(fd)
    for each in low:
        os.close(each)
    if sys.version_info[0] == 2:
        import fcntl
        fcntl.fcntl(new, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return new


def _follow(config):
    native = _utf8 if str is bytes else str
    for key, value in (config.get("env") or {}).items():
        os.environ[native(key)] = native(value)
    if config.get("dont_write_bytecode"):
        sys.dont_write_bytecode = True
    folder = config.get("chdir")
    if folder:
        folder = native(folder)
        if not os.path.isdir(folder):
            os.makedirs(folder)
        os.chdir(folder)
    if config.get("nice"):
        if hasattr(os, "nice"):
            os.nice(config["nice"])
        elif os.system("renice -n %d -p %d >/dev/null" % (config["nice"], os.getpid())):
            raise OSError("cannot change the niceness")


def _hello():
    """In text that every dialect writes alike."""
    implementation = "jython" if JYTHON else "pypy" if "__pypy__" in sys.builtin_module_names else "cpython"
    version_info = tuple([part if isinstance(part, int) else _text(part) for part in sys.version_info])
    return {u"version": 1, u"pid": os.getpid(), u"executable": _text(sys.executable or ""), u"version_info": version_info,
            u"platform": _text(str(sys.platform)), u"implementation": _text(implementation), u"cwd": _text(os.getcwd()),
            u"dialect": sys.version_info[0], u"maxsize": sys.maxsize}


def _utf8(text):
    return text if isinstance(text, bytes) else text.encode("utf-8")


def _text(path):
    return path.decode("utf-8", "replace") if isinstance(path, bytes) else path


def _complain(status, words):
    sys.stderr.write("execnet: %s\n" % words)
    sys.stderr.flush()
    os._exit(status)
