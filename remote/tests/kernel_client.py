"""A stand-in for the client, for the kernel's end-to-end tests: starts an interpreter with the real bundle
and speaks frames with it.

CPython 3.9 or later. Blocking, one reader thread per kernel.
"""
import fcntl
import marshal
import os
import queue
import struct
import subprocess
import sys
import termios
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "tools"), os.path.dirname(HERE)]

import bundle
from kernel import wire
from kernel.wire import CLOSE, CREDIT, DATA, ESCAPED, EXEC, EXIT, HELLO, INTERRUPT, LAST, STATUS, STRCONFIG

STAGE = bundle.kernel_stage()
BUNDLE = bundle.bundle(folder=bundle.KERNEL)
TIMEOUT = 300  # seconds; a limit for hangs: on a busy machine everything takes ten times as long
WINDOW = 8388608
PACKAGES, FILES, TOOK, NAME = 12, 13, 14, 15
NAMES = {HELLO: "HELLO", DATA: "DATA", ESCAPED: "ESCAPED", CLOSE: "CLOSE", LAST: "LAST", CREDIT: "CREDIT",
         STATUS: "STATUS",
         STRCONFIG: "STRCONFIG", PACKAGES: "PACKAGES", TOOK: "TOOK", NAME: "NAME"}


class Timeout(Exception):
    pass


class Number(int):
    """The number of a channel, from an escape."""


class Reader:
    """Reads values of every dialect. Text of Python 2's `str` is latin-1, as the default STRCONFIG says."""

    def __init__(self, data):
        self.data, self.at, self.interned = data, 0, []

    def whole(self):
        value = self.value()
        assert self.at == len(self.data), "bytes behind the value"
        return value

    def take(self, size):
        assert 0 <= size <= len(self.data) - self.at, "a value that is cut short"
        self.at += size
        return self.data[self.at - size:self.at]

    def i32(self):
        return struct.unpack("<i", self.take(4))[0]

    def value(self):
        code = self.take(1)
        if code in b"NTF.":
            return {b"N": None, b"T": True, b"F": False, b".": ...}[code]
        if code == b"i":
            return self.i32()
        if code == b"I":
            return struct.unpack("<q", self.take(8))[0]
        if code in b"lgy":
            size = {b"g": 8, b"y": 16}.get(code)
            if size is None:
                size = 4 + 2 * abs(struct.unpack("<i", self.data[self.at:self.at + 4])[0])
            return marshal.loads(code + self.take(size))
        if code == b"u":
            return self.take(self.i32()).decode("utf-8", "surrogatepass")
        if code in b"st":
            data = self.take(self.i32())
            if code == b"s" and not self.two:
                return data
            if code == b"t":
                self.interned.append(data)
            return data.decode("latin-1")
        if code == b"R":
            return self.interned[self.i32()].decode("latin-1")
        if code == b"{":
            out = {}
            while self.data[self.at:self.at + 1] != b"0":
                key = self.value()
                out[key] = self.value()
            self.take(1)
            return out
        kind = {b"[": list, b"(": tuple, b"<": set, b">": frozenset}[code]
        out = kind([self.value() for _ in range(self.i32())])
        if kind is tuple and out and out[0] is ...:
            return Number(out[2]) if out[1] == 0 else out[2].decode("utf-16-be", "surrogatepass")
        return out

    two = False


class Two(Reader):
    two = True


class Client:
    """One kernel and its frames."""

    def __init__(self, python, config=(), auto_credit=True, env=None, stdin=None, start=True, argv=(),
                 words=(), limits=(), **options):
        self.process = subprocess.Popen([python, *argv, "-c", STAGE, *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0, env=env, **options)
        self.frames = queue.Queue()
        self.backlog = []
        self.stderr = b""
        self.noise = b""
        self.auto_credit = auto_credit
        self.received = {}
        self.deaf_after = None  # the number of a channel, whose first value is the last to be read
        self.number = -1
        self.lock = threading.Lock()
        self.reader = Reader
        self.ended = threading.Event()
        self.more_stderr = threading.Condition()
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_stderr, daemon=True)]
        for thread in self.threads:
            thread.start()
        if start:
            self.begin(config, limits)

    def begin(self, config=(), limits=()):
        """Send the bundle and CONFIG. `limits`: other limits in its source, as pairs of old and new."""
        self.raw(bundle.bundle(list(limits), folder=bundle.KERNEL) if limits else BUNDLE)
        self.go_on(config)

    def go_on(self, config=()):
        """Send CONFIG: it has the bundle."""
        self.frame(HELLO, 0, marshal.dumps(dict(config), 2))

    def until_it_reads(self):
        """Wait until it has read all that it was sent, and its main thread waits for more, as the system's
        kernel says."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            with open("/proc/%d/wchan" % self.process.pid) as file:
                waits = "pipe" in file.read()
            left, = struct.unpack("i", fcntl.ioctl(self.process.stdin, termios.FIONREAD, bytes(4)))
            if waits and not left:
                return
            assert time.monotonic() < deadline, "it does not read"
            time.sleep(0.005)

    def hello(self):
        hello = self.get(HELLO, 0)
        self.reader = Two if hello["dialect"] == 2 else Reader
        return hello

    # --- to the kernel

    def raw(self, data):
        with self.lock:
            view = memoryview(data)
            while view:
                view = view[self.write(view):]

    def write(self, data):
        return self.process.stdin.write(data)

    def frame(self, kind, number=0, payload=b""):
        self.raw(wire.header.pack(kind, number, len(payload)) + payload)

    def new(self):
        self.number += 2
        return self.number

    def execute(self, source, kind="source", filename=None, name=None, kwargs=None, argv=None, stdin=None):
        number = self.new()
        self.frame(EXEC, number, marshal.dumps((kind, source, filename, name, kwargs, argv, stdin), 2))
        return number

    def send(self, number, value):
        self.frame(DATA, number, marshal.dumps(value, 2))

    def close(self, number, error=None):
        self.frame(CLOSE, number, b"" if error is None else marshal.dumps(error, 2))

    # --- from the kernel

    def get(self, kind, number=None, timeout=TIMEOUT):
        """Return the value of the next such frame; keep the others."""
        return self.next([kind], number, timeout)[2]

    def next(self, kinds, number=None, timeout=TIMEOUT):
        return self.first(lambda frame: frame[0] in kinds and number in (None, frame[1]), timeout,
                          "no %s on %s" % ("/".join([NAMES[kind] for kind in kinds]), number))

    def first(self, suits, timeout=TIMEOUT, words="no such frame"):
        deadline = time.monotonic() + timeout
        at = 0
        while True:
            while at < len(self.backlog):
                frame = self.backlog[at]
                if suits(frame):
                    del self.backlog[at]
                    return frame
                at += 1
            try:
                frame = self.frames.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Timeout("%s; there is %r; stderr %r" % (words, self.backlog,
                                                              self.stderr.decode(errors="replace")))
            if frame is None:
                self.frames.put(None)
                raise EOFError("the kernel ended with %r; stderr: "
                               "%s" % (self.process.poll(), self.stderr.decode(errors="replace")))
            self.backlog.append(frame)

    def receive(self, number, timeout=TIMEOUT):
        """Return the next value. Raise EOFError, or RuntimeError with the error, if the channel closes
        instead."""
        kind, _, value = self.next([DATA, ESCAPED, CLOSE], number, timeout)
        if kind == CLOSE:
            self.backlog.append((kind, number, value))
            raise EOFError if value is None else RuntimeError(value)
        return value

    def end(self, number):
        """Return the error in CLOSE, or None."""
        return self.get(CLOSE, number)

    def run(self, source, **how):
        """Execute code to its end. Return everything that it sent."""
        number = self.execute(source, **how)
        out = []
        while True:
            kind, _, value = self.next([DATA, ESCAPED, CLOSE], number)
            if kind == CLOSE:
                self.close(number)
                if value is not None:
                    raise RuntimeError(value)
                return out
            out.append(value)

    def wait_stderr(self, words, timeout=TIMEOUT):
        with self.more_stderr:
            if not self.more_stderr.wait_for(lambda: words in self.stderr, timeout):
                raise Timeout("no %r on stderr, only %r" % (words, self.stderr))

    def exit(self):
        self.frame(EXIT)
        return self.wait()

    def wait(self, timeout=TIMEOUT):
        status = self.process.wait(timeout)
        for thread in self.threads:
            thread.join(timeout)
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(TIMEOUT)
        # a thread that still grants credit must not write to another file of this number
        with self.lock:
            for file in (self.process.stdin, self.process.stdout, self.process.stderr):
                try:
                    file.close()
                except OSError:
                    pass

    # --- threads

    def source(self):
        return self.process.stdout.fileno()

    def _read(self):
        fd = self.source()
        parser = wire.Parser()
        data, marked = b"", False
        while True:
            try:
                part = os.read(fd, 262144)
            except (OSError, ValueError):
                part = b""
            if not part:
                break
            if not marked:
                data += part
                at = data.find(wire.MARKER)
                if at < 0:
                    continue
                self.noise, part = data[:at], data[at + len(wire.MARKER):]
                marked = True
            try:
                for frame in parser.feed(part):
                    self._frame(*frame)
            except Exception as error:
                self.stderr += repr(error).encode()
                break
        self.noise = self.noise or data
        self.ended.set()
        self.frames.put(None)

    def _frame(self, kind, number, payload):
        if kind == CREDIT:
            value = struct.unpack(">Q", payload)[0]
        elif kind == TOOK:
            value = struct.unpack(">Q", payload)[0]
        elif kind == STRCONFIG:
            value = tuple(payload)
        elif kind in (DATA, ESCAPED, HELLO, STATUS, PACKAGES, NAME) or payload:
            value = self.reader(payload).whole()
            if kind == HELLO:
                self.reader = Two if value["dialect"] == 2 else Reader
        else:
            value = None
        if kind in (DATA, ESCAPED) and number == self.deaf_after:
            self.frames.put((kind, number, value))
            self.process.stdout.close()
            raise OSError("reads no more")
        if kind in (DATA, ESCAPED) and self.grants(number):
            taken = self.received[number] = self.received.get(number, 0) + len(payload)
            if self.auto_credit:
                threading.Thread(target=self._credit, args=(number, taken)).start()
        self.frames.put((kind, number, value))

    def grants(self, number):
        return True

    def _credit(self, number, taken):
        try:
            self.credit(number, taken + WINDOW)
        except (OSError, ValueError):
            pass

    def credit(self, number, upto):
        self.frame(CREDIT, number, struct.pack(">Q", upto))

    def _read_stderr(self):
        while True:
            try:
                part = os.read(self.process.stderr.fileno(), 65536)
            except (OSError, ValueError):
                part = b""
            with self.more_stderr:
                self.stderr += part
                self.more_stderr.notify_all()
            if not part:
                return
