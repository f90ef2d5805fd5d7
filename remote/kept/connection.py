"""One client's connection to a kept kernel: its numbers, its frames, and its outbox. What happens to its end
is the end of nothing else."""
import errno
import sys
from _socket import SHUT_RDWR
from _socket import socket as socket_type

from . import codec, wire
from .errors import RemoteError, warn
from .interpreter import deque
from .link import Link
from .named import Named, Place
from .values import dumps, loads

TOOK, NAME = 14, 15
TOGETHER = 65536  # bytes of small values that are written at once
# code may want SIGPIPE, and clients leave
try:
    from _socket import MSG_NOSIGNAL as NO_SIGNAL
except ImportError:
    NO_SIGNAL = 0x4000 if sys.platform.startswith("linux") else 0  # Python 2 does not name it
SO_NOSIGPIPE = 0x1022  # macOS


def quiet(sock):
    """Let no write to this socket raise a signal."""
    if not NO_SIGNAL:
        try:
            from _socket import SOL_SOCKET
            sock.setsockopt(SOL_SOCKET, SO_NOSIGPIPE, 1)
        except EnvironmentError:
            pass
    return sock


class Outbox(wire.Outbox):
    """Writes to one connection, until that has ended; then nobody is kept waiting."""

    _flags = ((NO_SIGNAL,),)

    def __init__(self, sock, broken, stuck):
        wire.Outbox.__init__(self, socket_type.send, sock, broken)
        self._stuck = stuck  # outboxes of other connections that may be locked
        self.gone = False

    def greet(self, data):
        """Let this be written first."""
        self._queue.append([data, [], None, 0])

    def put(self, parts):
        """Write bytes of whole frames. For threads that no signal handler tears. Return False if nobody is
        there."""
        with self._lock:
            try:
                self._flush()
                self._queue.extend([[part, [], None, 0] for part in parts])
                self._flush()
                return True
            except EnvironmentError:
                if sys.exc_info()[1].errno in wire.GONE:
                    return False
                raise

    def left_over(self):
        return not self.gone and wire.Outbox.left_over(self)

    def settle(self):
        try:
            wire.Outbox.settle(self)
        except EnvironmentError:
            if not self.gone or sys.exc_info()[1].errno not in wire.GONE:
                raise

    def end(self):
        """Write nothing more. Return whether no thread is writing, so that the socket may be closed."""
        self.gone = True
        if not self._lock.acquire(False):
            return False
        self._queue.clear()
        self._lock.release()
        return True

    def main_is_outside(self):
        for other in list(self._stuck):
            wire.Outbox.main_is_outside(other)
        wire.Outbox.main_is_outside(self)

    def _flush(self):
        if self.gone:
            self._queue.clear()
            raise OSError(errno.EPIPE, "the client has left")
        wire.Outbox._flush(self)


class Connection(Link):

    def __init__(self, kept, sock):
        Link.__init__(self, kept.config, None, None, None)
        self.kept = kept
        self.runner = kept.runner
        self.strconfig = kept.strconfig or self.strconfig
        self.sock, self.fd = sock, sock.fileno()
        self.outbox = Outbox(sock, self.hang_up, kept.stuck)
        self.places = {}  # of named channels
        self.questions = deque()  # (number, a named channel or a refusal): NAMEs to be answered
        self._handlers[TOOK] = self._took
        self._handlers[NAME] = self._name

    # --- any thread's

    def gateway(self):
        return self.kept.gateway()

    def check(self, receiving=False):
        Link.check(self, True)
        if self.ended and not receiving and not self.kept.ended:
            raise OSError("cannot send: the client has left")
        Link.check(self, receiving)

    def channel(self, number=None):
        if isinstance(self.states.get(number), Named):
            raise wire.ProtocolError("a channel with a name where it cannot be")
        return Link.channel(self, number)

    def place(self, state, number=None):
        """Give a named channel a number here."""
        place = Place(state, next(self._numbers) if number is None else number)
        state.number = place.number
        self.states[place.number] = state
        self.places[state] = place
        return place

    def hang_up(self):
        """End it for both sides; the reader sees it."""
        try:
            self.sock.shutdown(SHUT_RDWR)
        except EnvironmentError:
            pass  # the client has done so

    # --- the reader's

    def leave(self):
        """End what has no name: nobody is there any more."""
        self.deaf = self.ended = self.lost = self.outbox.gone = True
        self.hang_up()
        for state in list(self.states.values()):
            if not isinstance(state, Named):
                state.end(False)

    def _escaped(self, number, payload):
        state = self.states.get(number)
        if not isinstance(state, Named):
            Link._escaped(self, number, payload)
        elif not state.ended:
            state.arrived((codec.loads(payload, _no_channel), len(payload)))

    def _last(self, number, payload):
        if not isinstance(self.states.get(number), Named):
            Link._last(self, number, payload)

    def _credit(self, number, payload):
        if not isinstance(self.states.get(number), Named):
            Link._credit(self, number, payload)

    def _close(self, number, payload):
        state = self.states.get(number)
        if not isinstance(state, Named):
            Link._close(self, number, payload)
        elif not state.heard_close:
            error = RemoteError(loads(payload)) if payload else None
            state.hear_close(error)
            if error is not None and state.channel is None:
                warn(state.errors)

    def _exec(self, number, payload):
        order = loads(payload)
        name = None
        if len(order) == 8:
            order, name = order[:7], order[7]
        if name is None:
            channel = self.channel(number)
        else:
            state, refusal = self.kept.add(name, self, number)
            if refusal:
                channel = self.channel(number)
                channel._state.drop(dumps(refusal)[1])
                return
            channel = state.handle()
        channel._state.executes = True
        self.runner.add(channel, order)

    def _took(self, number, payload):
        state = self.states.get(number)
        if not isinstance(state, Named):
            return
        count, = wire.unpack(wire.u64, payload)
        place = self.places[state]
        place.open = True
        if count > place.sent:
            raise wire.ProtocolError("TOOK of a value that was not sent")
        state.release(count)
        place.asked = True
        self.kept.touch(state)

    def _name(self, number, payload):
        state, refusal = self.kept.open(loads(payload))
        self.questions.append((number, state or dumps(refusal)[1]))
        self.kept.bell.ring()

    # --- the writer's

    def frame(self, kind, number, payload):
        return self.outbox.put([wire.header.pack(kind, number, len(payload)) + payload])

    def announce(self, state, question=0):
        """Tell of a named channel."""
        place = self.places.get(state) or self.place(state)
        place.open = place.open or question > 0
        told = (state.name, question) + state.told(place)
        self.frame(NAME, place.number, dumps(told)[1])
        return place

    def answer(self):
        while self.questions:
            number, found = self.questions.popleft()
            if isinstance(found, bytes):
                self.frame(wire.CLOSE, number, found)
            else:
                self.announce(found, number)
                self.attend(found)

    def attend(self, state):
        """Send what there is to send on a named channel."""
        place = self.places.get(state)
        if place is None and not self.outbox.gone and self.kept.names.get(state.name) is state:
            place = self.announce(state)
        if place is not None and place.todo is None:
            place.todo = deque(tuple(state.kept))
        state.move(place)
        if place is None or self.outbox.gone or not (place.open or state.heard_close):
            return
        if place.asked:
            place.asked = False
            self.frame(TOOK, place.number, wire.u64.pack(state.passed))
        if place.closed:
            return
        if state.strconfig_said != place.told:
            place.told = state.strconfig_said
            self.outbox.put([self.strconfig_frame(place.number, place.told)])
        credit = state.taken + self.window - place.base
        if not state.ended and credit > place.granted:
            place.granted = credit
            self.frame(wire.CREDIT, place.number, wire.u64.pack(credit))
        self._send_values(state, place)
        over = state.heard_close or not place.todo
        if state.last is not None and over or state.heard_close and not state.executes:
            place.closed = True
            self.frame(wire.CLOSE, place.number, state.last or b"")
            if state.heard_close:
                self.states.pop(place.number, None)

    def _send_values(self, state, place):
        todo, parts, size = place.todo, [], 0
        while todo and not state.heard_close and state.begins(todo[0]):
            number, _, payload = todo.popleft()
            head = wire.header.pack(wire.DATA, place.number, len(payload))
            parts.extend((head, payload) if len(payload) > TOGETHER else (head + payload,))
            size += len(payload)
            place.sent = number
            if size >= TOGETHER or not todo:
                if size < TOGETHER:
                    parts = [b"".join(parts)]
                if not self.outbox.put(parts):
                    return
                parts, size = [], 0
        if parts:
            self.outbox.put(parts)

    def strconfig_frame(self, number, config):
        return wire.header.pack(wire.STRCONFIG, number, 2) + bytes(bytearray(config))


def _no_channel(number):
    raise wire.ProtocolError("a channel in a value on a channel with a name")
