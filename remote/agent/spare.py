"""Processes that were started ahead, so that the next one like them is there at once.

Only for commands whose client says that they do nothing before their stdin speaks (role 2 of SPAWN). Behind
such a process another one like it is started and waits, its pipes unread; whoever asks for the same next gets
it. Knows no frame.
"""
import sys

from agent import children
from agent.lifecycle import signal

PAUSE = 0.1  # the process that was asked for goes first
KEPT = 30.0
MOST = 4


class Spare(object):
    """One command, and the child that waits for it."""

    def __init__(self, command):
        self.command = command
        self.child = None

    def end(self):
        child, self.child = self.child, None
        if child is not None and child.alive:
            children.kill(-child.pid, signal.SIGKILL)
            children.kill(child.pid, signal.SIGKILL)


class Spares(object):
    """At most one for each of the commands that were asked for last."""

    def __init__(self, loop, launch):
        self.loop = loop
        self.launch = launch  # makes the child of a command, or None
        self.kept = []

    def take(self, command):
        """The child that waits for it, or None. Another one follows, either way."""
        if not sys.platform.startswith("linux"):
            return None  # it could not find out how to start again when something was installed meanwhile
        child = None
        for spare in self.kept:
            if spare.command == command:
                self.kept.remove(spare)
                child = spare.child
                break
        spare = Spare(command)
        self.kept.append(spare)
        while len(self.kept) > MOST:
            self.kept.pop(0).end()
        self.loop.after(PAUSE, self._start, spare)
        return child if child is not None and child.alive and not child.error_said else None

    def end(self):
        """None is wanted any more."""
        for spare in self.kept:
            spare.end()
        self.kept = []

    def _start(self, now, spare):
        if self._is_kept(spare):
            spare.child = self.launch(*spare.command)
            self.loop.after(KEPT, self._expire, spare)

    def _expire(self, now, spare):
        if self._is_kept(spare):
            self.kept.remove(spare)
            spare.end()

    def _is_kept(self, spare):
        return any([spare is each for each in self.kept])
