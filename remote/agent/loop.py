"""The clock, the timers and the fds of a loop around poll(). Knows nothing of what the fds are for."""
import errno
import os
import select
import time

IN, OUT = select.POLLIN, select.POLLOUT
AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL

if hasattr(time, "monotonic"):
    clock = time.monotonic
else:
    _drift = [os.times()[4] - time.time()]

    def clock():
        """time.time(), with its jumps taken out by comparing it with os.times()."""
        steady = os.times()[4]
        fine = time.time() + _drift[0]
        if abs(fine - steady) > 1:
            _drift[0] += steady - fine
            return steady
        return fine


class Loop(object):
    """Handlers are called as handler(what, now, events)."""

    def __init__(self):
        self._poll = select.poll()
        self._armed = {}
        self._handlers = {}
        self._fresh = set()  # fds that got their handler in this round: events of the round are not theirs
        self._timers = []

    def turn(self, until):
        """Wait for events or `until`, or the next timer; call the handlers. Returns the time."""
        now = clock()
        until = min([until] + [timer[0] for timer in self._timers])
        try:
            events = self._poll.poll(max(0, min(until - now, 3600.0)) * 1000 + 1)
        except (OSError, select.error) as error:
            if error.args[0] != errno.EINTR:
                raise
            events = []
        now = clock()
        self._fresh.clear()
        handlers = self._handlers
        for fd, event in events:
            handler = handlers.get(fd)
            if handler is not None and fd not in self._fresh:  # it may have been closed, even opened anew
                handler[0](handler[1], now, event)
        return now

    def arm(self, fd, events, handler=None, what=None):
        if handler is not None:
            self._handlers[fd] = handler, what
            self._fresh.add(fd)
        if self._armed.get(fd) != events:
            self._armed[fd] = events
            self._poll.register(fd, events)

    def disarm(self, fd):
        """Not even errors are wanted; for a fd that may be armed again."""
        if self._armed.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def forget(self, fd):
        """Somebody else closes it."""
        self.disarm(fd)
        self._handlers.pop(fd, None)

    def close(self, fd):
        self.forget(fd)
        os.close(fd)

    def after(self, delay, what, *args):
        self._timers.append((clock() + delay, what, args))

    def due(self, now):
        """Call what is due by now."""
        due = [timer for timer in self._timers if timer[0] <= now]
        if due:
            self._timers = [timer for timer in self._timers if timer[0] > now]
            for _, what, args in due:
                what(now, *args)
