"""The start: the protocol's fds, HELLO, and the reader (docs/kernel.md, section 1)."""
import os
import sys

from . import wire
from .interpreter import ANY, JYTHON, TWO, as_text, folder, start_new_thread
from .link import Link
from .run import Runner
from .values import dumps, loads

CHUNK = 65536  # bytes to read at a time; the second while a long frame arrives
LONG = 262144
BROKEN, CANNOT = 93, 94


def prepare(source):
    """Load what nearly every gateway needs at some time, unless somebody waits for us already."""
    if JYTHON:
        from java.lang import System
        waited_for = getattr(System, "in").available()
    else:
        from select import select
        waited_for = select([source], [], [], 0)[0]
    if waited_for:
        return
    from . import callbacks, codec, config, control, gateway, interrupt, report, shutdown, stdin  # noqa: F401
    if JYTHON:
        from . import jvm  # noqa: F401
    _load_threading()


def main(said=b""):
    """Run the kernel; does not return. `said`: what was read behind the bundle."""
    # from 3.13 on it has the text of `-c`, which is not the source of another "<string>"
    lines = sys.modules.get("linecache")
    getattr(lines, "cache", {}).pop("<string>", None)
    getattr(lines, "_interactive_cache", {}).clear()
    if JYTHON:
        from . import jvm
        Kernel(*jvm.take_stdio()).main(said)
    else:
        source, sink = _take_stdio()
        Kernel(os.read, source, os.write, sink).main(said)


class Kernel(object):

    new_runner = Runner

    def __init__(self, read, source, write, sink):
        self._read, self._source = read, source
        self._write, self._sink = write, sink
        self._ended = False

    def main(self, data):
        settings = None
        while settings is None:
            part = self._read(self._source, CHUNK)
            if not part:
                os._exit(BROKEN)
            data += part
            settings, data = _settings(data)
        kernel = self
        if settings.get(u"kept"):
            from . import config
            try:
                kernel, data = config.keep(settings, self._source, self._sink), b""
            except Exception:
                _complain(CANNOT, "%s" % sys.exc_info()[1])
        kernel.run(settings, data)

    def run(self, settings, data):
        packages = attend = None
        if settings:
            from . import config
            try:
                packages, data, attend = config.follow(settings, self._read, self._source, self._write,
                                                       self._sink, data)
            except Exception:
                _complain(CANNOT, "%s" % sys.exc_info()[1])
        link = self.link = self._new_link(settings)
        link.runner = self.new_runner(link, u"" + (settings.get("execmodel") or u"thread"))
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._let_go)
        self._greet(packages)
        _load_threading()
        if attend:
            start_new_thread(attend, ())
        if (3,) < sys.version_info < (3, 9):
            # the first thread that ends opens a library, for which there may be no fd later
            start_new_thread(int, ())
        start_new_thread(self._serve, (data,))
        link.runner.main()

    def _new_link(self, settings):
        return Link(settings, self._write, self._sink, self._broken)

    def _greet(self, packages):
        greeting = hello(packages)
        # with packages, the marker has been written
        wire.write_all(self._write, self._sink, greeting if packages else wire.MARKER + greeting)

    def _serve(self, data):
        """Run the reader."""
        lost = True
        try:
            lost = not self._until_exit(data)
        except wire.ProtocolError:
            sys.stderr.write("execnet: protocol error: %s\n" % sys.exc_info()[1])
        except ANY:
            try:
                import traceback
                traceback.print_exc()
            except ANY:  # no file can be opened, or there is no memory
                sys.stderr.write("execnet: the reader ended: %s\n" % sys.exc_info()[0].__name__)
        finally:
            self._end(lost)

    def _until_exit(self, data):
        """Handle frames until EXIT. Return False if the client went without it."""
        read, source, feed, missing = self._read, self._source, self.link.feed, self.link.missing
        while not feed(data):
            try:
                data = read(source, CHUNK if missing() < LONG else LONG)
            except EnvironmentError:
                if not wire.is_interrupt(sys.exc_info()[1]):
                    return False
                data = b""
                continue
            if not data:
                return False
        return True

    def _broken(self):
        """End, because nobody reads our output."""
        start_new_thread(self._end, (True,))

    def _end(self, lost):
        if not self._ended:
            self._ended = True
            try:
                from . import shutdown
            except ANY:  # user code has broken imports, and somebody waits for our end
                os._exit(CANNOT)
            shutdown.end(self.link.runner, lost)

    def _let_go(self):
        """Close the protocol's fds in a forked child."""
        for fd in (self._source, self._sink):
            try:
                os.close(fd)
            except OSError:
                pass  # closed by user code


def _load_threading():
    if sys.version_info < (3, 13):
        # it takes the thread that imports it for the main thread. While there is no other one: before
        # Python 3.8, two threads that import what imports each other may hang, or meet half a module
        import threading  # noqa: F401


def _settings(data):
    """Return (CONFIG or None, the bytes behind it)."""
    if len(data) < 9:
        return None, data
    kind, _, size = wire.header.unpack(data[:9])
    if kind != wire.CONFIG or size > 1048576:
        _complain(BROKEN, "protocol error: no CONFIG")
    if len(data) < 9 + size:
        return None, data
    return loads(data[9:9 + size]), data[9 + size:]


def hello(packages, **more):
    """Return the frame HELLO; all its text is text in every dialect."""
    implementation = (u"jython" if JYTHON else u"pypy" if "__pypy__" in sys.builtin_module_names
                      else u"cpython")
    version_info = tuple([part if isinstance(part, int) else as_text(part) for part in sys.version_info])
    told = {u"version": 1, u"pid": os.getpid(), u"executable": as_text(sys.executable or ""),
            u"version_info": version_info,
            u"platform": as_text(str(sys.platform)), u"implementation": implementation, u"cwd": folder(),
            u"dialect": sys.version_info[0], u"maxsize": sys.maxsize}
    if packages:
        told[u"packages"] = packages
    for key, value in more.items():
        told[as_text(key)] = value
    payload = dumps(told)[1]
    return wire.header.pack(wire.HELLO, 0, len(payload)) + payload


def _complain(status, words):
    sys.stderr.write("execnet: %s\n" % words)
    sys.stderr.flush()
    os._exit(status)


def _take_stdio():
    """Move the protocol to two close-on-exec fds above 2, and return them; then stdin is empty, and stdout
    goes to stderr."""
    try:
        os.fstat(2)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    source, sink = _above(0), _above(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    # not if started with -u, which writes every part of a line by itself
    buffered = hasattr(getattr(sys.stdout, "buffer", None), "raw")
    if buffered and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    elif TWO:
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w", 1)
    else:
        sys.stdout = sys.__stdout__ = open(1, "w", 1, encoding="utf-8", errors="backslashreplace",
                                           closefd=False)
    if not buffered and not TWO and sys.stderr is not None:
        sys.stderr = sys.__stderr__ = open(2, "w", 1, encoding=sys.stderr.encoding, errors="backslashreplace",
                                           closefd=False)
    elif hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(line_buffering=True)  # PyPy's stderr is not line-buffered in the C locale
    try:
        import _signal as signal
    except ImportError:
        import signal
    if signal.getsignal(2) == signal.SIG_IGN:  # started in the background; INTERRUPT must work all the same
        signal.signal(2, signal.default_int_handler)
    return source, sink


def _above(fd):
    """Return a copy of an fd above 2."""
    new = os.dup(fd)
    if new < 3:
        again = _above(fd)
        os.close(new)
        return again
    if TWO:
        import fcntl
        fcntl.fcntl(new, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return new
