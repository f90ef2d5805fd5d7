"""The frames that ask and set: STATUS, STRCONFIG and INTERRUPT."""
import struct

from . import wire
from .interrupt import interrupt
from .values import dumps

_two = struct.Struct(">BB")


def handle(link, kind, number, payload):
    if kind == wire.STATUS:
        link.outbox.post(wire.STATUS, number, dumps(status(link))[1])
    elif kind == wire.STRCONFIG:
        config = tuple([bool(part) for part in wire.unpack(_two, payload)])
        (link.state(number) if number else link).strconfig = config
    elif kind == wire.INTERRUPT:
        interrupt(link.runner)
    else:
        raise wire.ProtocolError("a frame of kind 0x%02x is not for a kernel" % kind)


def status(link):
    runner = link.runner
    waiting = len(runner.waiting)
    running = len(runner.threads) + (1 if runner.task is not None else 0)
    if waiting and runner.task is None:  # the main thread is about to run it
        running, waiting = running + 1, waiting - 1
    return {u"numchannels": len(link.states), u"numexecuting": running, u"execqsize": waiting,
            u"execmodel": runner.model}


def reconfigure(owner, number, py2str_as_py3str, py3str_as_py2str):
    """Set how text travels. `owner`: the link, or a channel's state."""
    link = owner if number == 0 else owner.link
    link.check()
    owner.strconfig = bool(py2str_as_py3str), bool(py3str_as_py2str)
    link.send(wire.STRCONFIG, number, _two.pack(*owner.strconfig))
