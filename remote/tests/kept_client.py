"""A stand-in for the agent and for programs that enter a kept kernel, for its end-to-end tests. CPython 3.9
or later."""
import marshal
import os
import queue
import socket
import struct
import threading

from kernel_client import (
    CLOSE,
    DATA,
    ESCAPED,
    EXEC,
    HELLO,
    NAME,
    STAGE,
    TIMEOUT,
    TOOK,
    Client,
    Reader,
    Timeout,
    bundle,
    subprocess,
    wire,
)


class Keeper:
    """A kept kernel, and its agent's end of the entry socket. `said`: what the kernel wrote there."""

    def __init__(self, python, config=(), limits=(), entry=None, **options):
        self.entry, theirs = socket.socketpair()
        fd = theirs.fileno()
        env = dict(os.environ, EXECNET_ENTRY=str(fd) if entry is None else entry)
        self.process = subprocess.Popen([python, "-c", STAGE], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                                        pass_fds=[fd], env=env, **options)
        theirs.close()
        settings = dict(config)
        settings["kept"] = bundle.kept(limits)
        payload = marshal.dumps(settings, 2)
        self.process.stdin.write(bundle.bundle(list(limits), folder=bundle.KERNEL)
                                 + wire.header.pack(HELLO, 0, len(payload)) + payload)
        self.process.stdin.close()
        self.stderr, self.said = b"", b""
        self.more = threading.Condition()
        self.entered = []
        self.threads = [threading.Thread(target=self._hear, args=args, daemon=True) for args in (
            (self.process.stderr.fileno(), "stderr"), (self.entry.fileno(), "said"))]
        for thread in self.threads:
            thread.start()

    def _hear(self, fd, name):
        while True:
            try:
                part = os.read(fd, 65536)
            except OSError:
                part = b""
            with self.more:
                setattr(self, name, getattr(self, name) + part)
                self.more.notify_all()
            if not part:
                return

    def wait_stderr(self, words):
        self.until(lambda: words in self.stderr, words)

    def until(self, holds, what):
        with self.more:
            if not self.more.wait_for(holds, TIMEOUT):
                raise Timeout("no %r; it said %r, stderr %r" % (what, self.said, self.stderr))

    def connection(self):
        """Pass one end of a new connection; return the other."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self.entry, [b"e"], [theirs.fileno()])
        theirs.close()
        return ours

    def enter(self, **options):
        """Enter as a program. It has heard HELLO."""
        program = Program(self, **options)
        program.hello()
        return program

    def wait(self):
        status = self.process.wait(TIMEOUT)
        for thread in self.threads[:1]:
            thread.join(TIMEOUT)
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.entry.shutdown(socket.SHUT_RDWR)
        for program in self.entered:
            program.leave()
        for thread in self.threads:
            thread.join(TIMEOUT)
        for file in (self.entry, self.process.stdout, self.process.stderr):
            file.close()


class Program(Client):
    """One program in a kept kernel, from its entry on. `open`: it wants what comes on every named channel."""

    def __init__(self, keeper, auto_credit=True, open=True):
        self.open = open
        self.keeper = keeper
        self.process = keeper.process
        self.sock = keeper.connection()
        keeper.entered.append(self)
        self.frames = queue.Queue()
        self.backlog = []
        self.noise = b""
        self.auto_credit = auto_credit
        self.received = {}
        self.deaf_after = None
        self.number = -1
        self.lock = threading.Lock()
        self.reader = Reader
        self.ended = threading.Event()
        self.named = {}  # {number: values taken} of channels with names
        self.threads = [threading.Thread(target=self._read, daemon=True)]
        self.threads[0].start()

    @property
    def stderr(self):
        return self.keeper.stderr

    @stderr.setter
    def stderr(self, value):
        with self.keeper.more:
            self.keeper.stderr = value

    def write(self, data):
        return self.sock.send(data)

    def source(self):
        return self.sock.fileno()

    def grants(self, number):
        return number not in self.named

    def hello(self):
        hello = Client.hello(self)
        self.channels = {name: (number, took, received, credit, end)
                         for name, number, took, received, credit, end in hello["channels"]}
        self.greeting = hello
        for number, took, _, _, _ in self.channels.values() if self.open else ():
            self.frame(TOOK, number, struct.pack(">Q", took))
        return hello

    def _frame(self, kind, number, payload):
        if kind == HELLO:
            for told in Reader(payload).whole()["channels"]:
                self.named[told[1]] = told[2]
        Client._frame(self, kind, number, payload)

    def execute_named(self, name, source):
        number = self.new()
        self.named[number] = 0
        self.frame(EXEC, number, marshal.dumps(("source", source, None, None, None, None, None, name), 2))
        return number

    def ask(self, name):
        """Return what NAME says of a channel: (name, question, took, received, credit, end) and its
        number."""
        question = self.new()
        self.frame(NAME, question, marshal.dumps(name, 2))
        kind, number, told = self.first(lambda frame: frame[0] == NAME and frame[2][1] == question
                                        or frame[:2] == (CLOSE, question))
        if kind == CLOSE:
            raise RuntimeError(told)
        self.named.setdefault(number, told[2])
        return number, told

    def take(self, number, timeout=TIMEOUT):
        """Take the next value, as a program does."""
        kind, _, value = self.next([DATA, ESCAPED, CLOSE], number, timeout)
        if kind == CLOSE:
            self.backlog.append((kind, number, value))
            raise EOFError if value is None else RuntimeError(value)
        self.say_took(number)
        while self.get(TOOK, number) < self.named[number]:
            pass
        return value

    def say_took(self, number):
        self.named[number] += 1
        self.frame(TOOK, number, struct.pack(">Q", self.named[number]))

    def leave(self):
        """Leave without a word."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.threads[0].join(TIMEOUT)
        self.sock.close()

