"""Processes that are started ahead, so that the next one with the same command is ready at once.

Only for commands that do nothing before their stdin is written, as the client says (role 2 of SPAWN). After
such a process another one with the same command is started and waits, its pipes unread, for the next request.
Knows no frame.
"""
import sys

from agent import children
from agent.lifecycle import signal

PAUSE = 0.1  # seconds: the requested process goes first
KEPT = 30.0
MOST = 4


class Spare(object):
    """One command, and the child that waits."""

    def __init__(self, command):
        self.command = command
        self.child = None

    def end(self):
        child, self.child = self.child, None
        if child is not None and child.alive:
            children.kill(-child.pid, signal.SIGKILL)
            children.kill(child.pid, signal.SIGKILL)


class Spares(object):
    """At most one waiting child for each of the last commands."""

    def __init__(self, loop, launch):
        self.loop = loop
        self.launch = launch  # starts the child of a command, or returns None
        self.kept = []

    def take(self, command):
        """Return the child that waits for this command, or None. Start the next one in either case."""
        if not sys.platform.startswith("linux"):
            return None  # it could not start again when something was installed meanwhile
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
        """End all that wait."""
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
