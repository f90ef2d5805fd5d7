"""Prefixes: with what the stdin of every process of a kind begins (docs/protocol.md, SPAWN).

A SPAWN names one by its length and SHA-256, and how many processes like it its client runs. `Beginning`, the
stdin of such a process, keeps the bytes as they pass; `Store` believes them only if they have that hash. No
fds, no clock, no frames.
"""
from binascii import hexlify

from agent.stream import RecvStream
from agent.wire import text

LONGEST = 262144
MOST = 4
TOTAL = 1048576  # bytes of all that are kept
COUNT = 65535


class Beginning(RecvStream):
    """The stdin of a process that was promised to begin with a prefix. ValueError if `option` is none."""

    __slots__ = ("prefix", "count", "begun_at", "_parts", "_cut")

    def __init__(self, option):
        RecvStream.__init__(self)
        words = option.split(b" ")
        if (len(words) != 3 or not words[0].isdigit() or not words[2].isdigit() or len(words[1]) != 64
                or words[1].strip(b"0123456789abcdef")):
            raise ValueError("it is not a length, a hash and a count")
        length, self.count = int(words[0]), int(words[2])
        if not 0 < length <= LONGEST or not 0 < self.count <= COUNT:
            raise ValueError("a length of %d or a count of %d cannot be" % (length, self.count))
        self.prefix = length, text(words[1])
        self.begun_at = length
        self._parts = []
        self._cut = False

    def data(self, position, data):
        before = self.received
        fresh = RecvStream.data(self, position, data)
        if fresh and self._parts is not None and before < self.prefix[0]:
            self._parts.append(data[before - position:])
        return fresh

    def fin(self, length):
        if length < self.prefix[0]:
            # a promise that was not kept is the end of this stdin, and of nothing else
            self.stop()
            self._parts = None
            self._cut = True
        else:
            RecvStream.fin(self, length)

    def is_finished(self):
        return self._cut or RecvStream.is_finished(self)

    def take_prefix(self):
        """Return the bytes, once, or None while some of them are missing."""
        if self._parts is None or self.received < self.prefix[0]:
            return None
        data, self._parts = b"".join(self._parts)[:self.prefix[0]], None
        return data

    def adopt(self, prefix, taken):
        """It is the stdin of a process that was started ahead, which gets all of the prefix, has `taken` so
        many bytes of it, and nothing else."""
        size = self.prefix[0]
        beyond = b"".join(self.chunks)[size:]
        self._parts = None
        self.chunks.clear()
        for part in (prefix[taken:], beyond):
            if part:
                self.chunks.append(part)
        self.consumed = taken
        if self.received < size:
            self.received = size
        if self.limit < size + self.window:
            self.limit = size + self.window


class Store(object):
    """The last prefixes that passed, by length and hash."""

    def __init__(self):
        self._known = {}
        self._order = []  # the last one was asked for last

    def get(self, prefix):
        if prefix in self._known:
            self._order.remove(prefix)
            self._order.append(prefix)
        return self._known.get(prefix)

    def learn(self, prefix, data):
        """Keep these bytes if they are what their length and hash say."""
        if prefix in self._known or (len(data), _digest(data)) != prefix:
            return
        self._known[prefix] = data
        self._order.append(prefix)
        while len(self._order) > MOST or sum([length for length, _ in self._order]) > TOTAL:
            del self._known[self._order.pop(0)]


def _digest(data):
    """Return the SHA-256 as 64 hex digits."""
    try:
        from _sha2 import sha256  # without OpenSSL, whose start takes milliseconds
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256
    return text(hexlify(sha256(data).digest()))
