"""One stream of a process at the agent: absolute positions, credit, and the bytes that may still be wanted.

SendStream is a process's stdout or stderr (the agent sends), RecvStream its stdin (the agent receives). The
names are those of the daemon's side, crates/execnet-proto/src/stream.rs. The flow-control window is the
replay buffer. No fds, no clock, no frames; RemoteProtocolError when the peer breaks a rule.
"""
try:
    from _collections import deque
except ImportError:
    from collections import deque

from agent.wire import RemoteProtocolError

STDIN_WINDOW = 32768
MAX_WINDOW = 2097152
SMALL = 4096


class SendStream(object):
    """Bytes from the process towards the client. Positions: acknowledged <= sent <= end <= limit."""

    __slots__ = ("limit", "acknowledged", "sent", "end", "finished", "stopped", "_chunks", "_start", "_next",
                 "_next_start")

    def __init__(self, limit):
        self.limit = 0
        self.acknowledged = 0
        self.sent = 0
        self.end = 0
        self.finished = False  # the process writes no more; `end` is the length
        self.stopped = False  # the client wants no more
        self._chunks = deque()
        self._start = 0  # position of _chunks[0]
        self._next = 0  # index and position of the chunk in which `sent` lies
        self._next_start = 0
        self.credit(0, limit)

    def capacity(self):
        """Return how many bytes may be read from the process now."""
        return 0 if self.stopped or self.finished else self.limit - self.end

    def write(self, data):
        """The process wrote `data`, at most capacity() bytes."""
        chunks = self._chunks
        size = len(data)
        self.end += size
        if size < SMALL and chunks and len(chunks[-1]) + size <= SMALL:
            # join tiny writes: each object costs memory
            if self._next == len(chunks):
                self._next -= 1
                self._next_start -= len(chunks[-1])
            chunks[-1] += data
        else:
            chunks.append(data)

    def unsent(self):
        return self.end - self.sent

    def next_data(self):
        """Return the next bytes to send, as (position, bytes): at most one chunk, and only while unsent()."""
        chunk = self._chunks[self._next]
        position = self.sent
        self._next += 1
        self._next_start += len(chunk)
        self.sent = self._next_start
        if len(chunk) > self.sent - position:
            chunk = chunk[position - self.sent:]
        return position, chunk

    def credit(self, received, limit):
        """The client has everything before `received`, and takes bytes before `limit`. Return True if that is
        new room."""
        if self.stopped:
            return False
        if received > self.sent:
            raise RemoteProtocolError(
                "credit says %d bytes were received, only %d were sent" % (received, self.sent))
        if limit - received > MAX_WINDOW:
            raise RemoteProtocolError("a credit of %d bytes, at most %d" % (limit - received, MAX_WINDOW))
        if received > self.acknowledged:
            self._acknowledge(received)
        if limit > self.limit:
            self.limit = limit
            return True
        return False

    def resume(self, received, limit):
        """Start a new attempt: send again from `received`."""
        if self.stopped:
            return
        if received < self.acknowledged:
            raise RemoteProtocolError(
                "resume from %d, but %d was acknowledged" % (received, self.acknowledged))
        if received > self.end:
            raise RemoteProtocolError("resume from %d, but there are only %d bytes" % (received, self.end))
        self.sent = max(self.sent, received)
        self.credit(received, limit)
        self.sent = received
        self._next = 0
        self._next_start = self._start

    def stop(self):
        """Drop the rest: the client wants no more."""
        self.stopped = True
        self._chunks.clear()
        self.sent = self.end
        self._next = 0
        self._start = self._next_start = self.end

    def finish(self):
        self.finished = True

    def _acknowledge(self, received):
        self.acknowledged = received
        chunks = self._chunks
        while chunks and self._start + len(chunks[0]) <= received:
            self._start += len(chunks.popleft())
            self._next -= 1
        if self._next < 0:
            self._next = 0
            self._next_start = self._start


class RecvStream(object):
    """Bytes from the client towards the process. Positions: consumed <= received <= limit."""

    __slots__ = ("window", "limit", "received", "consumed", "length", "stopped", "chunks")

    prefix = None  # with what it begins was not said
    begun_at = 0  # position from which its bytes are nothing special

    def __init__(self):
        self.window = STDIN_WINDOW
        self.limit = STDIN_WINDOW
        self.received = 0
        self.consumed = 0
        self.length = None  # set by the client's FIN
        self.stopped = False  # the process reads no more
        self.chunks = deque()

    def data(self, position, data):
        """Take DATA that arrived. Return True if some of it was new."""
        end = position + len(data)
        if position > self.received:
            raise RemoteProtocolError("stdin continues at %d, expected %d" % (position, self.received))
        if end > self.limit:
            raise RemoteProtocolError("stdin up to %d, the limit is %d" % (end, self.limit))
        if end <= self.received:
            return False
        if self.length is not None and end > self.length:
            raise RemoteProtocolError("stdin up to %d, its length is %d" % (end, self.length))
        if position < self.received:
            data = data[self.received - position:]
        self.received = end
        if self.stopped:
            self.consumed = end
            return False
        self.chunks.append(data)
        return True

    def fin(self, length):
        """Note the length of the stream."""
        if length < self.received or self.length not in (None, length):
            raise RemoteProtocolError("stdin of %d bytes, %d were received" % (length, self.received))
        self.length = length

    def consume(self, size):
        """Remove `size` bytes, which the process took, from the front of `chunks`."""
        self.consumed += size
        chunks = self.chunks
        while size:
            first = chunks.popleft()
            if len(first) > size:
                chunks.appendleft(memoryview(first)[size:])
                return
            size -= len(first)

    def is_finished(self):
        """Whether all bytes were taken and no more will come."""
        return self.consumed == self.length

    def stop(self):
        self.stopped = True
        self.chunks.clear()
        self.consumed = self.received

    def credit(self, spare):
        """Raise the limit if half of the window is used. The window may grow by `spare` bytes.

        Return the bytes by which the window grew, or None if the limit stays.
        """
        if self.stopped or (self.limit - self.consumed) * 2 > self.window:
            return None
        if self.length is not None and self.limit >= self.length:
            return None  # a FIN may overtake the bytes before it, which still need credit
        grown = min(self.window, MAX_WINDOW - self.window)
        if grown > spare:
            grown = 0
        self.window += grown
        self.limit = self.consumed + self.window
        return grown
