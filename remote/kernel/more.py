"""What not every gateway needs: callbacks, settings, status, and what CONFIG asks for."""
import os
import struct
import sys

from . import wire
from .channel import NO_ENDMARKER, RemoteError, TimeoutError, known
from .values import dumps
from .wait import ANY, JYTHON, start_new_thread, wait, wake_all

_two = struct.Struct(">BB")


# --- frames, in the reader

def handle(link, kind, number, payload):
    if kind == wire.STATUS:
        link.outbox.post(wire.STATUS, number, dumps(status(link))[1])
    elif kind == wire.STRCONFIG:
        config = tuple([bool(part) for part in wire.unpack(_two, payload)])
        (link.state(number) if number else link).strconfig = config
    elif kind == wire.INTERRUPT:
        from . import ends
        ends.interrupt(link.runner)
    else:
        raise wire.ProtocolError("a frame of kind 0x%02x is not for a kernel" % kind)


def status(link):
    runner = link.runner
    waiting = len(runner.waiting)
    running = len(runner.threads) + (1 if runner.task is not None else 0)
    if waiting and runner.task is None:  # the main thread wakes up for it
        running, waiting = running + 1, waiting - 1
    return {u"numchannels": len(link.states), u"numexecuting": running, u"execqsize": waiting, u"execmodel": runner.model}


# --- what channels do

def reconfigure(owner, number, py2str_as_py3str, py3str_as_py2str):
    """`owner`: the link, or a channel's state."""
    link = owner if number == 0 else owner.link
    link.check()
    owner.strconfig = bool(py2str_as_py3str), bool(py3str_as_py2str)
    link.send(wire.STRCONFIG, number, _two.pack(*owner.strconfig))


def set_callback(channel, callback, endmarker):
    state = channel._state
    state.link.check(True)
    if state.callback:
        raise OSError("%r has a callback already" % channel)
    state.callback = True
    state.through = False
    if "gevent.monkey" in sys.modules or "eventlet.patcher" in sys.modules:
        from .green import start
    else:
        start = start_new_thread
    start(_call_back, (state, callback, endmarker))


def _call_back(state, callback, endmarker):
    """A callback's own thread."""
    try:
        while True:
            item = state.next()
            if item is None:
                break
            value, size = item
            item = None
            callback(value)
            value = None
            state.took(size)
    except ANY:
        if state.link.pid != os.getpid():
            from . import ends
            ends.finish(1)
        if not state.link.ended:
            from . import report
            text = report.text(sys.exc_info())
            state.errors.append(RemoteError(text))
            try:
                state.close(text)
            except EnvironmentError:
                pass
    try:
        if endmarker is not NO_ENDMARKER:
            callback(endmarker)
    finally:
        state.through = True
        wake_all(state.watchers)


def wait_close(channel, timeout):
    state = channel._state
    state.link.check(True)
    if not wait(state.watchers, lambda: state.ended and state.through, timeout):
        known()
        raise TimeoutError("not closed after %r seconds" % timeout)
    if state.errors:
        known()
        raise state.errors.pop(0)
    if state.link.lost and not state.heard_close:
        raise EOFError("the client is gone")


def warn(errors):
    """Nobody will receive them: they go to stderr."""
    while errors:
        error = errors.pop(0)
        if error.formatted != "keyboard-interrupted":
            sys.stderr.write("[%d] execnet: an error that nobody received: %r\n" % (os.getpid(), error))


# --- CONFIG

def follow(config):
    """Do what it says before HELLO."""
    for key, value in (config.get("env") or {}).items():
        os.environ[_native(key)] = _native(value)
    if config.get("silent"):
        _silence()
    if config.get("dont_write_bytecode"):
        sys.dont_write_bytecode = True
    folder = config.get("chdir")
    if folder:
        folder = os.path.expanduser(_native(folder))
        if folder.startswith("~"):
            raise OSError("no account has the home that %s begins with" % folder)
        if not os.path.isdir(folder):
            _do("cannot make the folder %s" % folder, os.makedirs, folder)
        _do("cannot enter the folder %s" % folder, os.chdir, folder)
    if config.get("nice"):
        if hasattr(os, "nice"):
            _do("cannot change the niceness by %d" % config["nice"], os.nice, config["nice"])
        elif os.system("renice -n %d -p %d >/dev/null" % (config["nice"], os.getpid())):
            raise OSError("cannot change the niceness")


def _do(words, action, argument):
    try:
        action(argument)
    except EnvironmentError:
        error = sys.exc_info()[1]
        raise OSError("%s: %s" % (words, error.strerror or error))


def _silence():
    """What is written to stdout goes nowhere."""
    if JYTHON:
        from . import jvm
        jvm.silence()
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    if null > 2:
        os.close(null)


def _native(text):
    return text.encode("utf-8") if str is bytes and not isinstance(text, str) else text
