"""What happens with a frame. Nothing here waits for a write, for user code, or for an import lock that user
code may hold."""
import os
from _weakref import ref
from itertools import count

from . import wire
from .channel import Channel, State
from .errors import LoadError, RemoteError, warn
from .interpreter import TWO
from .values import loads
from .wait import wake_all

if TWO:
    from . import callbacks, codec, control  # noqa: F401


class Link(object):
    """All channels between this interpreter and its client."""

    def __init__(self, config, write, fd, broken):
        self.pid = os.getpid()
        self.window = config.get("window") or 8388608
        self.deaf = False  # nothing more is read
        self.ended = self.lost = False
        self.states = {}
        self.strconfig = True, False
        self.config = config
        self.runner = self._gateway = None
        self.outbox = wire.Outbox(write, fd, broken)
        self._numbers = count(2, 2)
        self._parser = wire.Parser()
        self.missing = self._parser.missing
        self._handlers = {wire.DATA: self._data, wire.ESCAPED: self._escaped, wire.CREDIT: self._credit,
                          wire.CLOSE: self._close, wire.LAST: self._last, wire.EXEC: self._exec}

    # --- any thread's

    def send(self, kind, number, payload=b"", state=None):
        try:
            return self.outbox.send(kind, number, payload, state)
        except EnvironmentError:
            if self.ended:
                raise OSError("cannot send: the client is gone")
            raise

    def check(self, receiving=False):
        """Raise OSError in a child that user code forked, and, unless `receiving`, after the end."""
        if self.pid != os.getpid():
            raise OSError("no channel works in a forked process")
        if self.ended and not receiving:
            raise OSError("cannot send: the gateway has ended")

    def gateway(self):
        """Return `channel.gateway`."""
        if self._gateway is None:
            from .gateway import Gateway
            self._gateway = Gateway(self)
        return self._gateway

    def channel(self, number=None):
        """Return the Channel of this number, or a new one."""
        state = self.state(next(self._numbers) if number is None else number)
        channel = state.channel and state.channel()
        if channel is None:
            channel = Channel(state)
            state.channel = ref(channel)
        return channel

    def state(self, number):
        state = self.states.get(number)
        if state is None:
            state = self.states.setdefault(number, State(self, number))
            if self.deaf:
                state.end(False)
        return state

    def forget(self, state):
        """Forget a number when both sides have sent CLOSE."""
        if state.said_close and state.heard_close:
            self.states.pop(state.number, None)

    def end_reading(self):
        """Stop reading."""
        self.deaf = True
        for state in list(self.states.values()):
            state.end(False)

    def end(self, lost):
        """Stop reading and writing."""
        self.lost = self.lost or lost
        self.ended = True
        self.end_reading()

    # --- the reader's

    def feed(self, data):
        """Handle what arrived. Return True at EXIT."""
        for kind, number, payload in self._parser.feed(data):
            if kind == wire.EXIT:
                return True
            if kind in self._handlers:
                self._handlers[kind](number, payload)
            else:
                from . import control
                control.handle(self, kind, number, payload)
        return False

    def _data(self, number, payload):
        state = self.states.get(number)
        if state is None:
            if not number & 1:
                return
            state = self.state(number)
        if not state.ended:
            state.arrived(payload)

    def _escaped(self, number, payload):
        from . import codec
        try:
            value = codec.loads(payload, self.channel)
        except LoadError as error:
            value = error  # `receive` raises it
        state = self.states.get(number)
        if state is None and number & 1:
            state = self.state(number)
        if state is not None and not state.ended:
            state.arrived((value, len(payload)))

    def _credit(self, number, payload):
        state = self.states.get(number)
        if state is not None:
            credit, = wire.unpack(wire.u64, payload)
            if credit > state.credit:
                state.credit = credit
                wake_all(state.watchers)

    def _close(self, number, payload):
        state = self.states.get(number)
        if state is None:
            return
        state.heard_close = True
        # running code answers when it ends, with its error
        answer = not (state.said_close or state.executes)
        state.said_close = state.said_close or answer
        error = RemoteError(loads(payload)) if payload else None
        state.end(True, error)
        if answer:
            self.outbox.post(wire.CLOSE, number)
        if error is not None and state.channel is None:
            warn(state.errors)
        self.forget(state)

    def _last(self, number, payload):
        state = self.states.get(number)
        if state is not None:
            state.end(False)

    def _exec(self, number, payload):
        channel = self.channel(number)
        channel._state.executes = True
        self.runner.add(channel, loads(payload))
