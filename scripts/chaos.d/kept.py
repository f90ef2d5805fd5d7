"""Kept work and kept gateways: left in many ways, and come back to."""

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import sys
import time

from load import HERE, PIPES, Lines, Load
from world import EXECNET

COUNT = """
import hashlib, os, signal, sys, time
ended = []
signal.signal(signal.SIGUSR1, lambda *_: ended.append(1))
number = turn = 0
while not ended:
    lines = []
    turn += 1
    for _ in range(%(burst)d if turn %% 800 == 0 else 5):
        lines.append("%%012d %%s" %% (number, hashlib.sha256(b"%%d" %% number).hexdigest()[:12]))
        number += 1
    sys.stdout.write("\\n".join(lines) + "\\n")
    sys.stdout.flush()
    time.sleep(0.01)
print("end %%d" %% number)
sys.exit(7)
"""


LINE = 26
"""Bytes of a line of COUNT."""
WINDOW = 2 << 20
"""Bytes that a client may have received and not written yet when it goes."""


class Kept(Load):
    """`run --keep`, left in many ways, and `attach`: the numbers of its lines go on."""

    def once(self):
        name = f"work-{self.random.randrange(1 << 40):x}"
        ring = self.random.choice(("wait", "last=300K", "last=4M", "spill=1M", "spill=16M"))
        since = time.monotonic()
        source = COUNT % {"burst": self.random.choice((20, 20000, 60000))}
        verb = ["run", self.world.name, "--node", self.host, "--keep", name, "-T", "-n"]
        command = [EXECNET, *verb, "--keep-output", ring, "--", "python3", "-c", source]
        self.due, self.pid, self.was_left = 0, None, False
        until = time.monotonic() + self.random.uniform(30, 120)
        is_first = True
        while True:
            self.state = f"{name} ({ring}): {command[1]}"
            over = self.stay(command, name, ring, since, is_first, until)
            if over is not None:
                break
            command = [EXECNET, "attach", self.world.name, name, "-n"]
            is_first = False
        self.state = "starts"

    def stay(self, command, name, ring, since, is_first, until):
        """Be attached for a while. Return None to come back, or how the work ended."""
        started = self.start_client(command, **PIPES)
        client = self.client

        def on_line(line):
            found = re.search(r"\(pid (\d+)\) and stays there", line)
            if found:
                self.pid = int(found.group(1))

        self.errors = errors = Lines(started.stderr, on_line)
        leave = time.monotonic() + self.random.uniform(2, 25)
        held, fresh, left, end, asked = b"", True, False, None, False
        self.cut, self.in_gap, self.gaps, self.begun = 0, False, 0, time.monotonic()
        while True:
            now = time.monotonic()
            if not left and not asked and (now > until or self.last.is_set()) and self.pid and not fresh:
                asked = self.ask_end(name)
            elif not left and not asked and now > leave:
                left = True
                client.signals.append(signal.SIGTERM)
                started.send_signal(signal.SIGTERM)
            if not select.select([started.stdout], [], [], 0.5)[0]:
                continue
            found = os.read(started.stdout.fileno(), 1 << 20)
            if not found:
                break
            *lines, held = (held + found).split(b"\n")
            for line in lines:
                if line.startswith(b"end "):
                    end = int(line[4:])
                    if end * LINE != self.due:
                        self.finding(f"{name} ({ring}): {end * LINE} bytes were written, {self.due} came")
                    continue
                fresh = self.check(line, fresh, ring, errors, name)
        status, text = self.reap(started), errors.text()
        self.was_left = any(client.signals)
        if not fresh:
            self.due += len(held) if end is None else 0
            self.verified("stays with kept work")
        return self.judge(status, text, name, since, is_first, client, end)

    def check(self, line, fresh, ring, errors, name):
        """Check one line of the output. Return whether it is still open where the output begins."""
        if len(line) < LINE - 1 and fresh and not self.cut:
            self.cut = len(line) + 1  # the ring began within a line
            return True
        number = int(line[:12]) if line[:12].isdigit() else -1
        if line[13:] != hashlib.sha256(b"%d" % number).hexdigest()[:12].encode():
            # while the link was broken, the ring may have dropped what follows, within a line
            if fresh or not self.is_told(errors):
                self.finding(f"{name} ({ring}): a broken line", f"{line!r}, fresh {fresh}, due {self.due}")
            self.in_gap = True
            return fresh
        at = number * LINE - self.cut
        missing = at - self.due
        if missing > 0 or missing < 0 and not fresh:
            if missing < 0 or not (self.in_gap or self.is_told(errors)):
                self.finding(f"{name} ({ring}): byte {at} came, {self.due} was due", errors.tail())
            elif not fresh and not self.ledger.impaired(self.host, self.world.via.get(self.host), self.begun):
                self.finding(f"{name} ({ring}): {missing} bytes are gone, although its host was in reach")
            elif ring == "wait" and not (fresh and self.was_left and missing <= WINDOW):
                self.finding(f"{name}: {missing} bytes are gone, although it waits", errors.tail())
            elif ring == "wait":
                self.ledger.tell("stays whose client took output with it that it had not written")
            else:
                self.ledger.tell("gaps in kept output, told")
        self.cut, self.in_gap = 0, False
        self.due = (number + 1) * LINE
        if number % 100 == 0:
            self.verified("lines of kept work", 100)
        return False

    def is_told(self, errors):
        """Whether stderr tells one gap more than have been seen."""
        self.gaps += 1
        end = time.monotonic() + 5
        while sum(" are gone" in line for line in errors.tail()) < self.gaps:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def ask_end(self, name):
        """Tell the work to end. Return whether that was possible."""
        done = self.world.execnet("kill", name, "-s", "USR1")
        if done.returncode not in (0, 6):
            # it is lost, or the network is away: whoever is attached hears of it
            self.ledger.tell("ends that could not be asked for", done.stderr)
            time.sleep(1)
        return done.returncode in (0, 6)

    def judge(self, status, text, name, since, is_first, client, end):
        """Return None to come back, or how the work ended."""
        lost = self.ledger.lost(self.host, since - 5, self.pid)
        if end is not None:
            if status != 7:
                self.finding(f"{name}: it has ended with 7, and attach says {status}", text)
            self.check_wait(name, since)
            return "ended"
        left = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM, 0)
        if status in left and client.signals:
            self.verified("times that kept work was left")
            return None if self.pid else "never started"
        if is_first and self.pid is None:
            self.world.refused[name] = text
            self.may_be_refused(text, since)
            return "not started"
        if status == 137 and "interpreter" in lost:
            self.ledger.tell("processes killed, and their status says so")
            return "killed"
        return self.came_to(name, text, lost)

    def check_wait(self, name, since):
        done = self.world.execnet("wait", name)
        lost = self.ledger.lost(self.host, since - 5)
        if done.returncode != 7 and not lost:
            self.finding(f"wait {name} has status {done.returncode}, not 7", done.stderr)
            return
        self.verified("ends of kept work")
        if self.pid:
            self.world.must_end(self.pid, f"the ended {name}")


class KeptGateways(Load):
    """Programs that come back to one kept gateway, one after the other (kept_client.py)."""

    def once(self):
        name = f"gate-{self.random.randrange(1 << 40):x}"
        facts = {"taken": 0, "session": 0, "acknowledged": {}, "pending": 0}
        since, until = time.monotonic(), time.monotonic() + self.random.uniform(40, 120)
        self.pid, self.told_to_exit = None, False
        while self.stay(name, facts, since, until) is None:
            pass

    def stay(self, name, facts, since, until):
        program = str(HERE / "kept_client.py")
        command = [sys.executable, program, self.world.name, self.host, name, json.dumps(facts)]
        self.state = f"{name}, session {facts['session']}"
        started = self.start_client(command, **PIPES)
        client = self.client
        self.errors = Lines(started.stderr)
        begun = time.monotonic()
        leave = time.monotonic() + self.random.uniform(3, 25)
        told, closed, text, pending = None, None, "", True
        while True:
            final = self.last.is_set() or time.monotonic() > until
            if closed is None and told == "open" and (final or time.monotonic() > leave):
                closed = "exit" if final else "detach"
                with contextlib.suppress(OSError):
                    started.stdin.write(closed.encode())
                with contextlib.suppress(OSError):
                    started.stdin.close()
            if not select.select([started.stdout], [], [], 0.5)[0]:
                continue
            line = started.stdout.readline()
            if not line:
                break
            try:
                event = json.loads(line)
            except ValueError:
                break  # it was killed
            kind = event["event"]
            if kind == "taken":
                facts["taken"], facts["pending"] = event["count"], 0
                self.verified("values of kept gateways")
            elif kind == "acknowledged":
                facts["acknowledged"][str(event["session"])] = event["count"]
                self.verified("values acknowledged by kept gateways")
            elif kind == "bad":
                self.finding(f"{name}: {event['text']}", f"{facts}, signals {client.signals}")
            else:
                told, text, pending = kind, event.get("text", ""), event.get("pending", True)
                if kind == "open":
                    self.pid = event["pid"]
                    facts["session"] += 1
        status = self.reap(started)
        lost = self.ledger.lost(self.host, since - 5, self.pid)
        facts["pending"] += bool(status) or pending
        self.told_to_exit = self.told_to_exit or closed == "exit"
        if told == "exited" or self.told_to_exit and "exited with status 0" in text:
            self.world.must_end(self.pid, f"the kept interpreter {name}")
            self.verified("kept gateways closed with nothing missing")
            return "exited"
        if told == "refused" and self.pid is None:
            if "has kept work" not in text:
                self.world.refused[name] = text
                self.may_be_refused(text, begun)
            return "never started"
        if told in ("refused", "died"):
            return self.came_to(name, text, lost)
        if status < 0 and client.signals or told == "detached":
            if self.pid is None:
                return "killed before it was known"
            self.verified("times that kept gateways were left")
            return None
        self.finding(f"{name}: its program ends with status {status} after {told}", self.errors.text())
        return "unclear"
