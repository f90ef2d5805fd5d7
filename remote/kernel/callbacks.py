"""Callbacks of channels, and waiting for the end of a channel and its callback."""
import os
import sys

from .errors import RemoteError, TimeoutError, known
from .interpreter import ANY, start_new_thread
from .wait import wait, wake_all


def set_callback(channel, callback, ends):
    """Call it in a thread of its own. `ends`: the end marker to call it with last, or nothing."""
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
    start(_call_back, (state, callback, ends))


def _call_back(state, callback, ends):
    """Run in the thread of a callback."""
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
            from . import shutdown
            shutdown.finish(1)
        if not state.link.ended:
            from . import report
            text = report.text(sys.exc_info())
            state.errors.append(RemoteError(text))
            try:
                state.close(text)
            except EnvironmentError:
                pass
    try:
        for marker in ends:
            callback(marker)
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
