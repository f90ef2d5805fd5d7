"""Processes that are started ahead, so that the next one of their kind is ready at once.

Only for commands that do nothing before their stdin is written, as the client says (role 2 of SPAWN). After
such a process another one with the same command is started, and waits for the next request. If the client
named the prefix of its stdin, the one that waits is given that, as far as it takes it; otherwise its stdin is
not written. Nobody reads what it writes. While the machine is busy, what was asked for goes first. Knows no
frame.
"""
import os
import sys

from agent import children
from agent.greet import is_busy
from agent.lifecycle import signal
from agent.loop import AGAIN, BROKEN, OUT, clock
from agent.prefix import Store

PAUSE = 0.1  # seconds: the requested process goes first
MOST_PAUSE = 1.0
COURTESY = 20.0  # seconds for which others go first where far too many want a processor
PATIENCE = 5.0  # seconds between looks whether a prefix has passed
KEPT = 60.0  # seconds after the last request
KINDS = 4
MOST = 8  # of all kinds together
BUSY = 2  # where none was left for a request
SPACE = 268435456  # bytes; with less, only one of a kind is started ahead


class Waiting(object):
    """A process that waits, and how many bytes of its prefix it has taken."""

    def __init__(self, child, prefix):
        self.child = child
        self.prefix = prefix
        self.taken = 0

    def is_good(self):
        return self.child.alive and not self.child.error_said

    def end(self):
        if self.child.alive:
            children.kill(-self.child.pid, signal.SIGKILL)
            children.kill(self.child.pid, signal.SIGKILL)


class Kind(object):
    """A command with a prefix, or None, and the processes that wait for the next requests for it."""

    def __init__(self, command, prefix):
        self.command = command
        self.prefix = prefix
        self.waiting = []
        self.until = 0.0
        self.more = 1  # as many are wanted, until then
        self.more_until = 0.0
        self.source = None  # a stdin that the prefix passes through
        self.pause = PAUSE
        self.yields = None  # (until when others go first, seconds until the next look)
        self.filling = self.expiring = False  # a timer runs

    def good(self):
        """Return the next process that is ready, or None."""
        while self.waiting:
            waiting = self.waiting.pop(0)
            if waiting.is_good():
                return waiting
            waiting.end()

    def asked(self, count, used_up, now):
        """Somebody asked for one of `count`; `used_up`: none was there."""
        if now >= self.more_until:
            self.more = 1
        wanted = max(count, BUSY if used_up and now < self.until else 1)
        if wanted > 1:
            self.more = max(self.more, wanted)
            self.more_until = now + KEPT
        self.until = now + KEPT

    def end(self):
        for waiting in self.waiting:
            waiting.end()
        self.waiting = []


class Spares(object):
    """The processes that wait, for each of the last kinds."""

    def __init__(self, loop, launch):
        self.loop = loop
        self.launch = launch  # starts the child of a command, or returns None
        self.kinds = []
        self.store = Store()
        self.most = min(MOST, _processors())

    def take(self, command, stdin):
        """Return the child that waits for this command and stdin, or None. The stdin is told what the child
        has of it. The next ones are started in either case."""
        if not sys.platform.startswith("linux"):
            return None  # it could not start again when something was installed meanwhile
        now = clock()
        kind = self._kind(command, stdin.prefix)
        found = kind.good()
        kind.asked(1 if stdin.prefix is None else min(stdin.count, self.most), found is None, now)
        if stdin.prefix is not None:
            if found is not None:
                self.loop.forget(found.child.stdin)
                stdin.adopt(found.prefix, found.taken)
            elif self.store.get(stdin.prefix) is None:
                kind.source, kind.pause = stdin, PAUSE
        if not kind.filling:
            kind.filling = True
            self.loop.after(PAUSE, self._fill, kind)
        return found and found.child

    def end(self):
        """End all that wait."""
        for kind in self.kinds:
            kind.end()
        self.kinds = []

    def _kind(self, command, prefix):
        """Return the kind, which is now the one that was asked for last."""
        for kind in self.kinds:
            if kind.command == command and kind.prefix == prefix:
                self.kinds.remove(kind)
                break
        else:
            kind = Kind(command, prefix)
        self.kinds.append(kind)
        if len(self.kinds) > KINDS:
            self.kinds.pop(0).end()
        return kind

    def _is_kept(self, kind):
        return any([kind is each for each in self.kinds])

    def _expire(self, now, kind):
        kind.expiring = False
        if self._is_kept(kind):
            if now < kind.until:
                self._expire_later(now, kind)
            else:
                self.kinds.remove(kind)
                kind.end()

    def _expire_later(self, now, kind):
        kind.expiring = True
        self.loop.after(kind.until - now, self._expire, kind)

    def _fill(self, now, kind):
        """Start what is missing."""
        kind.filling = False
        if not self._is_kept(kind):
            return
        if not kind.expiring:
            self._expire_later(now, kind)
        data = b""
        if kind.prefix is not None:
            data = self._learned(kind)
            if data is None:
                return
        kind.waiting = [waiting for waiting in kind.waiting if waiting.is_good()]
        while len(kind.waiting) < kind.more and (not kind.waiting or self._has_room()):
            if self._yields(kind, now):
                return
            child = self.launch(*kind.command)
            if child is None:
                return
            waiting = Waiting(child, data)
            kind.waiting.append(waiting)
            self._feed(waiting, now, OUT)

    def _yields(self, kind, now):
        """Return whether others go first; then look again later."""
        until, pause = kind.yields or (now + COURTESY, PAUSE)
        if now >= until or not is_busy():
            kind.yields = None
            return False
        kind.yields = until, min(2 * pause, MOST_PAUSE)
        kind.filling = True
        self.loop.after(min(pause, until - now), self._fill, kind)
        return True

    def _learned(self, kind):
        """Return the prefix of a kind; None if it is not known, and then look again later."""
        data = kind.source and kind.source.take_prefix()
        if data:
            kind.source = None
            self.store.learn(kind.prefix, data)
        data = self.store.get(kind.prefix)
        if data is None and kind.source is not None:
            kind.filling = True
            self.loop.after(kind.pause, self._fill, kind)
            kind.pause = min(2 * kind.pause, PATIENCE)
        return data

    def _feed(self, waiting, now, event):
        """Write its prefix to a process that waits."""
        fd = waiting.child.stdin
        while waiting.taken < len(waiting.prefix) and not event & BROKEN:
            try:
                waiting.taken += os.write(fd, memoryview(waiting.prefix)[waiting.taken:])
            except OSError as error:
                if error.errno in AGAIN:
                    self.loop.arm(fd, OUT, self._feed, waiting)
                    return
                break
        self.loop.forget(fd)

    def _has_room(self):
        """Whether there may be one more than one of a kind."""
        return sum([len(kind.waiting) for kind in self.kinds]) < MOST and _available() >= SPACE


def _processors():
    try:
        return max(1, os.sysconf("SC_NPROCESSORS_ONLN"))
    except (ValueError, OSError):
        return 1


def _available():
    """Return how many bytes of memory processes may still take; none if the system does not tell."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (ValueError, IndexError, EnvironmentError):
        pass
    return 0
