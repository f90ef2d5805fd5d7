"""Channels: what user code sees, and the state behind it.

The state lives as long as the channel's number, a Channel only as long as user code refers to it. When
nothing refers to a Channel any more it is closed, or, if a callback still receives, LAST is sent.
"""
import os

from . import wire
from .errors import DumpError, LoadError, RemoteError, TimeoutError, known, warn
from .interpreter import deque
from .values import dumps, loads
from .wait import wait, wake, wake_all

NO_ENDMARKER = object()
LONGEST = 250000  # characters of an error's text: the client keeps 1 MiB
_getpid = os.getpid


class State(object):
    """One channel as the kernel keeps it."""

    def __init__(self, link, number):
        self.link = link
        self.number = number
        self.channel = None  # a weak reference
        self.items = deque()  # payloads as they arrived; (value, size) of those with escapes
        self.errors = []
        self.receivers = deque()
        self.watchers = deque()  # for credit, or for the end
        self.ended = False  # nothing more arrives
        self.closed = False  # nothing more is sent
        self.heard_close = self.said_close = False
        self.executes = False  # its code runs or waits; the end of the code closes it
        self.through = True  # no callback is at work
        self.callback = False
        self.sent, self.credit = 0, link.window
        self.taken, self.granted = 0, link.window
        self.strconfig = None

    # --- the reader's

    def arrived(self, item):
        self.items.append(item)
        if self.receivers:
            wake(self.receivers)

    def end(self, closed, error=None):
        """Note that nothing more arrives; `closed`: and nothing may be sent."""
        if error is not None:
            self.errors.append(error)
        self.closed = self.closed or closed
        self.ended = True
        wake_all(self.receivers)
        wake_all(self.watchers)

    # --- user code's

    def next(self, seconds=None):
        """Return the next (value, size), or None at the end. Raise TimeoutError after `seconds`."""
        items = self.items
        while True:
            item = None
            try:
                item = items.popleft()
            except IndexError:
                pass  # an error raised outside the handler does not show this one
            if item is None:
                if self.ended and not items:
                    return None
                outbox = self.link.outbox
                if outbox.left_over():
                    outbox.settle()
                if not wait(self.receivers, lambda: items or self.ended, seconds):
                    known()
                    raise TimeoutError("no item after %r seconds" % seconds)
                continue
            if type(item) is tuple:
                if isinstance(item[0], LoadError):
                    known()
                    raise item[0]
                return item
            return loads(item), len(item)

    def took(self, size):
        """Note that the program has taken so many bytes, and send CREDIT from time to time."""
        self.taken += size
        window = self.link.window
        if self.taken + window - self.granted >= window >> 2 and not self.ended:
            self.granted = self.taken + window
            try:
                self.link.send(wire.CREDIT, self.number, wire.u64.pack(self.granted))
            except EnvironmentError as error:
                # without a client nobody needs credit; but the error may come from a signal handler
                if not self.link.ended and error.errno not in wire.GONE:
                    raise

    def wait_for_credit(self):
        wait(self.watchers, lambda: self.sent < self.credit or self.closed or self.link.ended)
        if self.closed or self.link.ended:
            raise self.shut("cannot send on channel %d: it is closed" % self.number)

    def shut(self, why):
        """Return the error of a `send` on a closed channel."""
        error = OSError(why)
        error.of_channel = self.heard_close
        return error

    def close(self, error=None):
        if self.said_close:
            return
        if error is not None and len(error) > LONGEST:
            error = error[:LONGEST] + "... (cut off: it is %d characters long)\n" % len(error)
        payload = b"" if error is None else dumps(error)[1]
        self.said_close = True
        owed = self.executes or not self.heard_close
        self.end(True)
        if owed:
            try:
                self.link.send(wire.CLOSE, self.number, payload)
            except MemoryError:
                self.said_close = False
                raise
        self.link.forget(self)

    def drop(self, failed=b""):
        """Close it because nothing refers to its Channel any more, or because its code failed with this
        encoded error. Never waits: finalizers call it."""
        link = self.link
        if link.ended or link.pid != _getpid():
            return
        if self.errors:
            warn(self.errors)
        if self.said_close:
            return
        if self.callback and not self.heard_close:
            link.outbox.post(wire.LAST, self.number)
            return
        self.said_close = True
        self.end(True)
        if self.executes or not self.heard_close:
            link.outbox.post(wire.CLOSE, self.number, failed)
        link.forget(self)


class Channel(object):
    """A two-way queue of values between the client and code that runs here."""

    RemoteError = RemoteError
    TimeoutError = TimeoutError
    _executing = False

    def __init__(self, state):
        self._state = state
        self.id = state.number

    def __repr__(self):
        return "<Channel id=%d %s>" % (self.id, "closed" if self._state.closed else "open")

    @property
    def gateway(self):
        return self._state.link.gateway()

    def __del__(self):
        state = getattr(self, "_state", None)
        if state is not None:
            state.drop()

    def send(self, item):
        """Send a value of simple types. Wait while the receiver has no credit left."""
        state = self._state
        link = state.link
        link.check()
        if state.closed:
            raise state.shut("cannot send to %r" % self)
        try:
            escaped, data = dumps(item, Channel)
        except DumpError:
            known()
            raise
        kind = wire.ESCAPED if escaped else wire.DATA
        while not link.send(kind, self.id, data, state):
            state.wait_for_credit()

    def receive(self, timeout=None):
        """Return the next value. Raise EOFError if the channel is closed, RemoteError if it was closed with
        an error, TimeoutError after `timeout` seconds."""
        state = self._state
        state.link.check(True)
        if state.callback:
            raise OSError("cannot receive on %r: it has a callback" % self)
        if timeout is not None and timeout < 0:
            raise ValueError("timeout must not be negative")
        item = state.next(timeout)
        if item is None:
            if state.errors:
                known()
                raise state.errors.pop(0)
            error = EOFError("the other side sends nothing more on %r" % self)
            error.of_channel = True
            raise error
        value, size = item
        state.took(size)
        return value

    def __iter__(self):
        return self

    def next(self):
        try:
            return self.receive()
        except EOFError:
            raise StopIteration

    __next__ = next

    def setcallback(self, callback, endmarker=NO_ENDMARKER):
        """Call `callback` in a thread of its own with each value, including those that have arrived, and last
        with the end marker if one is given."""
        from . import callbacks
        callbacks.set_callback(self, callback, () if endmarker is NO_ENDMARKER else (endmarker,))

    def close(self, error=None):
        """Close it for both sides; the other side's `receive` raises the error if one is given."""
        if self._executing:
            raise OSError("no explicit close() of this channel here: the end of the code that it executes "
                          "closes it")
        self._state.link.check(True)
        if error is not None and not isinstance(error, (str, type(u""))):
            error = str(error)
        if not self._state.link.ended:
            self._state.close(error)

    def isclosed(self):
        """Whether it is closed. It may still hold values."""
        return self._state.closed

    def waitclose(self, timeout=None):
        """Wait until nothing more arrives and the callback has had everything. Raise RemoteError or
        TimeoutError."""
        from . import callbacks
        callbacks.wait_close(self, timeout)

    def makefile(self, mode="w", proxyclose=False):
        """Return a file that sends (`w`) or receives (`r`) text or bytes."""
        from . import files
        if mode not in files.KINDS:
            raise ValueError("no mode %r, only 'r' and 'w'" % (mode,))
        return files.KINDS[mode](self, proxyclose)

    def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
        """Set how text travels between Python 2 and 3 on this channel."""
        from . import control
        control.reconfigure(self._state, self.id, py2str_as_py3str, py3str_as_py2str)
