"""Frames as bytes, and the outbox of unwritten frames, which all threads share (docs/kernel.md, section 2).

A signal handler that raises may tear the main thread out of any line. So nothing that matters is kept in a
local variable between two lines: the call that writes a part of a frame also notes its size (`extend` over
`map`), and a lock is taken and released by calls that note it. The next writer completes what is left.
"""
import errno
import struct
from itertools import islice

from .interpreter import JYTHON, MAIN, allocate_lock, deque, get_ident, map, start_new_thread

CONFIG = HELLO = 1
EXEC, DATA, CLOSE, LAST, CREDIT, STATUS, STRCONFIG, EXIT, ESCAPED, INTERRUPT = range(2, 12)
MARKER = b"\r\nexecnet kernel 1\r\n"
MOST = 1073741823
TOGETHER = 65536  # payloads up to this size are copied behind their header

header = struct.Struct(">BII")
u64 = struct.Struct(">Q")
GONE = (errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET, errno.ENXIO)
_ONCE, _NONE = (True,), (None,)


class ProtocolError(Exception):
    """The client violated the protocol: the gateway ends."""


def unpack(layout, payload):
    """Return the fields of a payload of fixed size."""
    if len(payload) != layout.size:
        raise ProtocolError("a payload of %d bytes, not %d" % (len(payload), layout.size))
    return layout.unpack(payload)


def is_interrupt(error):
    return error.errno == errno.EINTR


def write_all(write, fd, data):
    """Write everything; only before other threads write."""
    while data:
        data = data[write(fd, data):]


class Parser(object):
    """Splits a byte stream into (kind, channel, payload)."""

    def __init__(self):
        self._parts = []
        self._have = 0
        self._need = 9
        self._open = None  # kind and channel of a long frame; _parts has its payload only

    def feed(self, data):
        """Return the frames that are complete."""
        self._have += len(data)
        frames, at, end, need = [], 0, len(data), 9
        if self._parts:
            if self._have < self._need:
                self._parts.append(data)
                return frames
            if self._open is None:
                self._parts.append(data)
                data = b"".join(self._parts)
                end = len(data)
            else:
                at = end - (self._have - self._need)
                self._parts.append(data[:at] if at < end else data)
                frames.append(self._open + (b"".join(self._parts),))
                self._open = None
        while end - at >= 9:
            kind, channel, size = header.unpack_from(data, at)
            if not 0 < kind < 16:  # the last four: PACKAGES and FILES, before HELLO; TOOK and NAME, if kept
                raise ProtocolError("unknown frame kind 0x%02x" % kind)
            if size > MOST:
                raise ProtocolError("a frame of %d bytes, at most %d" % (size, MOST))
            need = size + 9
            if end - at < need:
                if size > TOGETHER:
                    self._open = kind, channel
                    at += 9
                    need = size
                break
            frames.append((kind, channel, data[at + 9:at + need]))
            at += need
            need = 9
        if at < end or self._open:
            self._parts = [data[at:] if at else data]
        else:
            self._parts = []
        self._have = end - at
        self._need = need
        return frames

    def missing(self):
        """Return how many bytes of the current frame are missing."""
        return self._need - self._have

    def rest(self):
        """Return the bytes of the incomplete frame."""
        return b"".join(self._parts)


class Outbox(object):
    """Writes frames, each whole and in order, from any thread."""

    _flags = ()  # what `write` gets behind the bytes

    def __init__(self, write, fd, broken):
        self._write, self._fd = write, (fd,)  # os.write or the like
        self._broken = broken  # called when nobody reads our output any more
        self._queue = deque()  # [bytes, sizes written, state, its count after them]
        self._lock = allocate_lock()
        self._in_main = []  # what the main thread notes of the lock, once per call
        self._late = deque()  # sent by a signal handler while the thread below it was writing
        self._flusher = False

    def send(self, kind, channel, payload=b"", state=None):
        """Send a frame, and return when it is written. Return False if this channel has no credit."""
        main = get_ident() == MAIN
        if main:
            if [noted for noted in self._in_main if len(noted) == 1]:
                self._late.append((kind, channel, payload, state))
                return True
            self._in_main = [noted for noted in self._in_main if not noted]
        sent = self._locked(main, kind, channel, payload, state)
        if self._late:
            self.settle()
        return sent

    def settle(self):
        """Write what is left over from calls that were torn."""
        while self._late:
            try:
                late = self._late.popleft()
            except IndexError:
                break
            while not self.send(*late):
                late[3].wait_for_credit()
        if self._queue:
            main = get_ident() == MAIN
            if not main or not [noted for noted in self._in_main if len(noted) == 1]:
                self._locked(main, 0, 0, b"", None)

    def left_over(self):
        return self._queue or self._late

    def post(self, kind, channel, payload=b""):
        """Send a frame without waiting: for the reader and finalizers."""
        self._queue.append([header.pack(kind, channel, len(payload)) + payload, [], None, 0])
        if not self._flusher:
            self._flusher = True
            try:
                start_new_thread(self._flush_once, ())
            except Exception:
                self._flusher = False  # the interpreter ends, or the next writer writes it

    def _flush_once(self):
        self._flusher = False
        try:
            self.settle()
        except EnvironmentError:
            pass

    def _locked(self, main, kind, channel, payload, state):
        lock = self._lock
        noted = []
        if main:
            self._in_main.append(noted)
        try:
            noted.extend(map(lock.acquire, _ONCE))
            self._flush()
            sent = True
            if kind:
                count = 0
                if state is not None:
                    if state.closed:
                        raise OSError("cannot send on channel %d: it is closed" % channel)
                    sent = state.sent < state.credit
                    count = state.sent + len(payload)
                if sent:
                    self._put(kind, channel, payload, state, count)
                    self._flush()
            noted.extend(self._released())
        finally:
            if len(noted) == 1:
                noted.extend(self._released())
        if main:
            self._in_main = [each for each in self._in_main if each is not noted]
        return sent

    def _released(self):
        """Return an iterator that releases the lock."""
        if JYTHON:
            return islice(iter(self._lock.release, _ONCE), 1)
        return map(self._lock.__exit__, _NONE, _NONE, _NONE)

    def main_is_outside(self):
        """Release the lock for the main thread, between executions: a second exception may have kept it from
        doing so."""
        noted, self._in_main = self._in_main, []
        for each in noted:
            if len(each) == 1:
                each.extend(self._released())

    def _put(self, kind, channel, payload, state, count):
        head = header.pack(kind, channel, len(payload))
        if len(payload) <= TOGETHER or JYTHON:
            self._queue.append([head + payload, [], state, count])
        else:
            self._queue.extend(([head, [], state, count], [payload, [], None, 0]))

    def _flush(self):
        queue = self._queue
        while queue:
            data, written, state, count = queue[0]
            if state is not None:
                state.sent = count
            at = sum(written)
            if at >= len(data):
                queue.popleft()
                continue
            try:
                written.extend(map(self._write, self._fd, (memoryview(data)[at:] if at else data,),
                                   *self._flags))
            except EnvironmentError as error:
                if is_interrupt(error):
                    continue
                if error.errno == errno.EAGAIN:  # the pipe was made non-blocking
                    _wait_for_room(self._fd)
                    continue
                if error.errno in GONE:  # other errors come from signal handlers
                    queue.clear()
                    self._broken()
                raise


def _wait_for_room(fds):
    from select import select
    select((), fds, (), 1.0)
