"""What happens with a frame, and `channel.gateway`.

The reader's side: nothing here waits for a write, for user code, or for an import.
"""
import os
import sys
from itertools import count

from _weakref import ref

from . import channel as channels
from . import wire
from .channel import Channel, RemoteError, State
from .values import dumps, loads

if sys.version_info[0] == 2:
    from . import codec  # an import in the reader would wait for user code's imports
else:
    codec = None


class Link(object):
    """All channels between this interpreter and its client."""

    def __init__(self, config, write, fd, ended):
        self.pid = os.getpid()
        self.window = config.get("window") or 8388608
        self.ended = self.lost = False
        self.states = {}
        self.strconfig = True, False
        self.public = Gateway(self, config)
        self.runner = None
        self.outbox = wire.Outbox(write, fd, self._broken)
        self._numbers = count(2, 2)
        self._parser = wire.Parser()
        self._on_end = ended
        self._handlers = {wire.DATA: self._data, wire.ESCAPED: self._escaped, wire.CREDIT: self._credit,
                          wire.CLOSE: self._close, wire.LAST: self._last, wire.EXEC: self._exec,
                          wire.STATUS: self._status, wire.STRCONFIG: self._strconfig, wire.INTERRUPT: self._interrupt}

    # --- any thread's

    def send(self, kind, number, payload=b"", state=None):
        try:
            return self.outbox.send(kind, number, payload, state)
        except EnvironmentError:
            if self.ended:
                raise OSError("cannot send: the client is gone")
            raise

    def check(self, receiving=False):
        """In a child that user code forked there are no channels; after the end nothing can be sent."""
        if self.pid != os.getpid():
            raise OSError("no channel works in a forked process")
        if self.ended and not receiving:
            raise OSError("cannot send: the gateway has ended")

    def channel(self, number=None):
        """The Channel of this number, or a new one."""
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
            if self.ended:
                state.end(False)
        return state

    def forget(self, state):
        """A number goes when both sides said CLOSE."""
        if state.said_close and state.heard_close:
            self.states.pop(state.number, None)

    def end(self, lost):
        """Nothing more is read or written."""
        self.lost = self.lost or lost
        self.ended = True
        for state in list(self.states.values()):
            state.end(False)

    def _broken(self):
        self._on_end(True)

    # --- the reader's

    def feed(self, data):
        """Do what arrived. True at EXIT."""
        for kind, number, payload in self._parser.feed(data):
            if kind == wire.EXIT:
                return True
            handler = self._handlers.get(kind)
            if handler is None:
                raise wire.ProtocolError("a frame of kind 0x%02x is not for a kernel" % kind)
            handler(number, payload)
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
        global codec
        if codec is None:
            from . import codec
        value = codec.loads(payload, self.channel)
        state = self.states.get(number)
        if state is None and number & 1:
            state = self.state(number)
        if state is not None and not state.ended:
            state.arrived((value, len(payload)))

    def _credit(self, number, payload):
        state = self.states.get(number)
        if state is not None:
            credit, = _exactly(wire.u64, payload)
            if credit > state.credit:
                state.credit = credit
                channels.wake_all(state.watchers)

    def _close(self, number, payload):
        state = self.states.get(number)
        if state is None:
            return
        state.heard_close = True
        error = RemoteError(loads(payload)) if payload else None
        if not state.said_close:
            state.said_close = True
            self.outbox.post(wire.CLOSE, number)
        state.end(True, error)
        if error is not None and (state.channel is None or state.channel() is None) and not state.callback:
            error.warn()
        self.forget(state)

    def _last(self, number, payload):
        state = self.states.get(number)
        if state is not None:
            state.end(False)

    def _exec(self, number, payload):
        self.runner.add(self.channel(number), loads(payload))

    def _status(self, number, payload):
        running, waiting = self.runner.counts()
        status = {u"numchannels": len(self.states), u"numexecuting": running, u"execqsize": waiting,
                  u"execmodel": u"" + self.runner.model}
        self.outbox.post(wire.STATUS, number, dumps(status)[1])

    def _strconfig(self, number, payload):
        config = tuple([bool(part) for part in bytearray(payload)])
        if len(config) != 2:
            raise wire.ProtocolError("STRCONFIG of %d bytes" % len(config))
        if number:
            self.state(number).strconfig = config
        else:
            self.strconfig = config

    def _interrupt(self, number, payload):
        self.runner.interrupt()


def _exactly(layout, payload):
    if len(payload) != layout.size:
        raise wire.ProtocolError("a payload of %d bytes, not %d" % (len(payload), layout.size))
    return layout.unpack(payload)


class Facts(object):
    def __init__(self, **facts):
        self.__dict__.update(facts)

    def __repr__(self):
        return "<Facts %s>" % ", ".join(["%s=%r" % fact for fact in sorted(self.__dict__.items())])


class Gateway(object):
    """This end of the gateway, as user code sees it: `channel.gateway`."""

    RemoteError = RemoteError
    TimeoutError = channels.TimeoutError

    def __init__(self, link, config):
        self._link = link
        self._model = config.get("execmodel") or "thread"
        self.id = str(config.get("id") or "worker")

    def __repr__(self):
        return "<Gateway id=%r %s, %s model, %d channels>" % (
            self.id, "ended" if self._link.ended else "live", self._model, len(self._link.states))

    @property
    def execmodel(self):
        from .execmodel import ExecModel
        model = self.__dict__.get("_execmodel")
        if model is None:
            model = self.__dict__.setdefault("_execmodel", ExecModel(self._model))
        return model

    def newchannel(self):
        """A new channel. The client knows it once it was sent over another."""
        self._link.check()
        return self._link.channel()

    def reconfigure(self, py2str_as_py3str=True, py3str_as_py2str=False):
        """How text crosses between Python 2 and 3 on all channels that have no setting of their own."""
        self._link.check()
        self._link.strconfig = bool(py2str_as_py3str), bool(py3str_as_py2str)
        self._link.send(wire.STRCONFIG, 0, wire.strconfig(self._link.strconfig))

    def hasreceiver(self):
        return not self._link.ended

    def remote_status(self):
        """What this gateway has to do: the same as the client's `remote_status` says."""
        running, waiting = self._link.runner.counts()
        return Facts(numchannels=len(self._link.states), numexecuting=running, execqsize=waiting, execmodel=self._model)

    def _rinfo(self, update=False):
        return Facts(executable=sys.executable, version_info=tuple(sys.version_info[:5]), platform=str(sys.platform),
                     cwd=os.getcwd(), pid=os.getpid())

    def join(self, timeout=None):
        """Wait until the client is gone."""
        self._link.runner.wait_for_end(timeout)
