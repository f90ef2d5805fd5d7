"""The clock, timers and fds of a loop around epoll(), or poll(). Does not know what the fds are for."""
import errno
import os
import select
import time

IN, OUT = select.POLLIN, select.POLLOUT
NEVER = float("inf")
AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL

if hasattr(time, "monotonic"):
    clock = time.monotonic
else:
    _drift = [os.times()[4] - time.time()]

    def clock():
        """Return time.time() without its jumps, which os.times() reveals."""
        steady = os.times()[4]
        fine = time.time() + _drift[0]
        if abs(fine - steady) > 1:
            _drift[0] += steady - fine
            return steady
        return fine


class Epoll(object):
    """Waits with epoll, in the manner of select.poll(): its time does not grow with the number of fds."""

    def __init__(self):
        import fcntl  # Jython, which only takes the clock of here, has none
        self._epoll = select.epoll()
        fcntl.fcntl(self._epoll.fileno(), fcntl.F_SETFD, fcntl.FD_CLOEXEC)  # Python 2.7 does not
        self.register = self._epoll.register
        self.modify = self._epoll.modify

    def poll(self, wait):
        return self._epoll.poll(wait / 1000.0)

    def unregister(self, fd):
        try:
            self._epoll.unregister(fd)
        except EnvironmentError:
            pass  # it was closed already


def poller():
    """Return an Epoll, or what there is instead."""
    try:
        return Epoll()
    except (AttributeError, EnvironmentError):
        return select.poll()


class Loop(object):
    """A loop that calls handlers as handler(what, now, events)."""

    def __init__(self):
        self._poll = poller()
        self._armed = {}
        self._handlers = {}
        self._fresh = set()  # fds armed in this round: its events are not theirs
        self._timers = []
        self.done = False
        self._next = NEVER  # when the first one is due

    def turn(self, until):
        """Wait for events, until `until` or the next timer, and call the handlers. Return the time. `done`:
        the handlers say that nothing else is to be done, and no timer is due."""
        wait = (until if until < self._next else self._next) - clock()
        try:
            events = self._poll.poll(wait * 1000 + 1 if 0 < wait < 3600 else 1 if wait <= 0 else 3600000)
        except (EnvironmentError, select.error) as error:
            if error.args[0] != errno.EINTR:
                raise
            events = []
        now = clock()
        fresh = self._fresh
        if fresh:
            fresh.clear()
        handlers = self._handlers
        done = now < self._next
        for fd, event in events:
            handler = handlers.get(fd)
            if handler is not None and fd not in fresh:  # the fd may have been closed, and opened again
                if not handler[0](handler[1], now, event):
                    done = False
        self.done = done
        return now

    def arm(self, fd, events, handler=None, what=None):
        if handler is not None:
            self._handlers[fd] = handler, what
            self._fresh.add(fd)
        before = self._armed.get(fd)
        if before != events:
            self._armed[fd] = events
            try:
                if before is None:
                    self._poll.register(fd, events)
                else:
                    self._poll.modify(fd, events)
            except EnvironmentError:
                self._do_without()

    def _do_without(self):
        """Go on with poll(): epoll() takes no files, and not every fd where the system says how many."""
        self._poll = select.poll()
        for fd, events in self._armed.items():
            self._poll.register(fd, events)

    def disarm(self, fd):
        """Ignore this fd, even its errors; it may be armed again."""
        if self._armed.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def forget(self, fd):
        """Remove an fd that another owner closes."""
        self.disarm(fd)
        self._handlers.pop(fd, None)

    def close(self, fd):
        self.forget(fd)
        os.close(fd)

    def after(self, delay, what, *args):
        at = clock() + delay
        self._timers.append((at, what, args))
        self._next = min(self._next, at)

    def due(self, now):
        """Call the timers that are due."""
        if now < self._next:
            return
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        self._next = min([NEVER] + [timer[0] for timer in self._timers])
        for _, what, args in due:
            what(now, *args)
