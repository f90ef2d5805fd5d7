"""Terminals: keys and their echo."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from load import Load
from world import EXECNET

KEYS = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"<pid %d>" % os.getpid())
held, number = b"", 0
while True:
    data = os.read(0, 4096)
    if not data:
        break
    held += data
    while b"\\r" in held:
        line, held = held.split(b"\\r", 1)
        if line == b"q":
            os.write(1, b"<end %d>" % number)
            sys.exit(7)
        os.write(1, b"<%d %s>" % (number, line))
        number += 1
"""
ECHO = re.compile(rb"<(pid|end|\d+) (\S+?)>")


class Terminals(Load):
    """`run -t` in a terminal: keys and their echo."""

    def once(self):
        since = time.monotonic()
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 200, 0, 0))
        before = termios.tcgetattr(theirs)
        command = [EXECNET, "run", self.world.name, "--node", self.host, "-t", "--", "python3", "-c", KEYS]

        def own_it():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        started = self.start_client(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_it)
        client = self.client
        self.state = "execnet run -t"
        shown, at, sent, back, end = b"", 0, 0, 0, None
        until = time.monotonic() + self.random.uniform(5, 60)
        asked = False
        try:
            while True:
                if client.inner and not asked and sent - back < 20:
                    if self.last.is_set() or time.monotonic() > until:
                        os.write(ours, b"q\r")
                        asked = True
                    else:
                        os.write(ours, b"k%d\r" % sent)
                        sent += 1
                over = started.poll() is not None  # before the look: what it wrote last counts
                if select.select([ours], [], [], 0.02 if not asked else 0.5)[0]:
                    shown += os.read(ours, 65536)
                elif over:
                    break
                found = ECHO.search(shown, at)
                while found:
                    at = found.end()
                    what, value = found.groups()
                    if what == b"pid":
                        client.inner.append(int(value))
                    elif what == b"end":
                        end = int(value)
                    else:
                        if (int(what), value) != (back, b"k%d" % back):
                            self.finding(f"{found.group()} was shown, {back} was due", repr(shown[-2000:]))
                        back = int(what) + 1
                        self.verified("echoes in terminals")
                    found = ECHO.search(shown, at)
            status = self.reap(started)
            after = termios.tcgetattr(theirs)
        finally:
            os.close(ours)
            os.close(theirs)
        text = shown[-3000:].decode(errors="replace")
        killed = signal.SIGKILL in client.signals and status == -signal.SIGKILL
        if not killed and before != after:
            self.finding(f"the terminal is not given back (status {status})", text)
        if status == 7 and end is not None:
            if not end == sent == back:
                self.finding(f"{sent} keys were typed, {end} arrived, {back} were shown", text)
            self.verified("terminals closed with nothing missing")
            return
        pid = client.inner[0] if client.inner else None
        lost = self.ledger.lost(self.host, since - 5, pid)
        if any(number in client.signals and status in (-number, 128 + number) for number in (9, 15)):
            self.ledger.tell("commands ended by a signal")
        elif status == 137 and "interpreter" in lost:
            self.ledger.tell("processes killed, and their status says so")
        elif pid is None:
            self.may_be_refused(f"status {status}: {text}", since)
        else:
            self.excused(text, since - 5, f"terminals lost (status {status})", pid)
