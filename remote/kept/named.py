"""Channels with names: they outlive the connection of a client, and keep values until one has taken them.

User code only appends to `fresh`, which no exception can tear apart; the writer alone moves values on, and
the reader alone takes them off when a client took them.
"""
from _weakref import ref

from .channel import LONGEST, Channel, State
from .errors import DumpError, known
from .interpreter import deque, get_ident, native
from .values import dumps
from .wait import wait, wake_all

AHEAD = 64  # values that wait for the writer


class Place(object):
    """A named channel in one connection."""

    def __init__(self, state, number):
        self.number = number
        self.open = False  # the client wants what comes on it
        self.sent = state.passed  # number of the last value that was sent
        self.todo = None  # the writer's: values to be sent
        self.asked = False  # a TOOK waits for its answer
        self.closed = False  # CLOSE was sent
        self.told = None  # the STRCONFIG that was sent
        # what the client may send counts from here
        held = sum([size_of(item) for item in tuple(state.items)])
        state.taken = state.arrived_bytes - held
        self.base = state.arrived_bytes
        self.granted = max(0, state.link.window - held)


class Named(State):

    last = None  # the payload of the kernel's CLOSE, once the writer has found it
    strconfig_said = None  # by code

    def __init__(self, kept, name):
        State.__init__(self, kept, 0)
        self.name = name
        self.fresh = deque()  # payloads; last a tuple of the payload of CLOSE
        self.kept = deque()  # (number, bytes before it, payload) of values that no client has taken
        self.added = self.added_bytes = 0  # the writer's
        self.passed = self.passed_bytes = 0  # what clients have taken; the reader's
        self.received = self.arrived_bytes = 0  # the reader's
        self.senders = deque()  # who waits for room
        self.blocked = {}  # their threads
        self.noted = 0  # what was taken when the writer last heard of it

    def handle(self):
        """Return its Channel."""
        channel = self.channel and self.channel()
        if channel is None:
            channel = NamedChannel(self)
            self.channel = ref(channel)
        return channel

    def told(self, place):
        """Return what HELLO and NAME say behind name and number: nothing is added any more if code has closed
        it, or a client."""
        return self.passed, self.received, place.granted, self.said_close or self.heard_close

    # --- user code's

    def room(self):
        """Whether one more value may be kept."""
        waiting = tuple(self.fresh)  # first: what the writer moves meanwhile counts twice, and not never
        ahead = sum([len(item) for item in waiting])
        return (len(waiting) < AHEAD
                and self.added_bytes - self.passed_bytes + ahead < self.link.window)

    def add(self, payload):
        while not self.room():
            try:
                self.blocked[get_ident()] = True
                self.link.touch(self)
                wait(self.senders, lambda: self.room() or self.closed or self.link.ended)
            finally:
                self.blocked.pop(get_ident(), None)
                self.link.touch(self)
            if self.closed or self.link.ended:
                raise self.shut("cannot send on %r: it is closed" % self.name)
        try:
            self.fresh.append(payload)
        finally:
            self.link.touch(self)

    def took(self, size):
        self.taken += size
        if self.taken - self.noted >= self.link.window >> 2:
            self.noted = self.taken
            self.link.touch(self)

    def close(self, error=None):
        if error is not None and len(error) > LONGEST:
            error = error[:LONGEST] + "... (cut off: it is %d characters long)\n" % len(error)
        self.finish(b"" if error is None else dumps(error)[1])

    def finish(self, payload):
        if self.said_close:
            return
        try:
            self.fresh.append((payload,))
        finally:
            self.said_close = True
            self.end(True)
            self.link.touch(self)

    def drop(self, failed=b""):
        """It stays if nothing refers to its Channel; it closes if its code has failed."""
        if failed:
            self.finish(failed)

    def end(self, closed, error=None):
        State.end(self, closed, error)
        wake_all(self.senders)

    # --- the reader's

    def arrived(self, item):
        self.received += 1
        self.arrived_bytes += size_of(item)
        State.arrived(self, item)

    def release(self, count):
        """Forget values that clients have taken."""
        while self.passed < count and self.kept:
            number, before, payload = self.kept.popleft()
            self.passed_bytes = before + len(payload)
            self.passed = number
        wake_all(self.senders)

    def hear_close(self, error):
        self.heard_close = True
        self.end(True, error)
        if self.said_close or not self.executes:
            self.said_close = True
            self.link.free(self)
        self.kept.clear()
        self.link.touch(self)

    # --- the writer's

    def move(self, place):
        """Take over what code has added."""
        fresh = self.fresh
        while fresh:
            item = fresh[0]
            if type(item) is tuple:
                if self.last is None:
                    self.last = item[0]
                    if self.heard_close:
                        self.link.free(self)
            elif self.last is None and not self.heard_close:
                value = self.added + 1, self.added_bytes, item
                self.added_bytes += len(item)
                self.kept.append(value)
                self.added += 1
                if place is not None and place.todo is not None:
                    place.todo.append(value)
            fresh.popleft()
        if self.senders:
            wake_all(self.senders)

    def begins(self, value):
        """Whether the window has room for the beginning of this value."""
        return value[1] - self.passed_bytes < self.link.window

    def is_full(self):
        return self.added_bytes - self.passed_bytes >= self.link.window


def size_of(item):
    return item[1] if type(item) is tuple else len(item)


class NamedChannel(Channel):

    id = property(lambda self: self._state.number, lambda self, number: None)

    def __repr__(self):
        return "<Channel %r %s>" % (native(self._state.name), "closed" if self._state.closed else "open")

    def send(self, item):
        """Send a value of simple types. It is kept until a client has taken it. Wait while too much is
        kept."""
        state = self._state
        state.link.check()
        if state.closed:
            raise state.shut("cannot send to %r" % self)
        try:
            payload = dumps(item)[1]
        except DumpError:
            known()
            raise
        state.add(payload)

    def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
        """Set how text travels between Python 2 and 3 on this channel, also with later clients."""
        state = self._state
        state.link.check()
        state.strconfig_said = bool(py2str_as_py3str), bool(py3str_as_py2str)
        state.link.touch(state)
