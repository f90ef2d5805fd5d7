"""Python programs with gateways (echo_client.py)."""

import contextlib
import json
import select
import sys
import time

from load import HERE, PIPES, Lines, Load


class Gateways(Load):
    """A Python program with gateways (echo_client.py)."""

    def once(self):
        seed = self.random.randrange(1 << 30)
        program = str(HERE / "echo_client.py")
        command = [sys.executable, program, self.world.name, self.host, str(seed)]
        started = self.start_client(command, **PIPES)
        client, until = self.client, time.monotonic() + self.random.uniform(10, 90)
        self.errors = Lines(started.stderr)
        closed = False
        ended = None
        self.state = "talks"
        while True:
            if not closed and (self.last.is_set() or time.monotonic() > until):
                with contextlib.suppress(OSError):
                    started.stdin.close()
                closed, self.state = True, "ends"
            if not select.select([started.stdout], [], [], 0.5)[0]:
                continue
            line = started.stdout.readline()
            if not line:
                break
            ended = self.on_event(json.loads(line), client) or ended
        status = self.reap(started)
        expected = 0 if not client.signals else None
        if status != expected and not any(-status == number for number in client.signals):
            self.finding(f"its program ends with status {status}", self.errors.text())
        if status == 0 and ended != "done" and closed and not client.signals:
            self.ledger.tell("programs that had no gateway at their end")

    def on_event(self, facts, client):
        event = facts["event"]
        if event == "progress":
            self.verified(facts["what"], facts["count"])
        elif event == "open":
            client.inner.append(facts["pid"])
            self.progress = time.monotonic()
        elif event == "bad":
            self.finding(facts["text"])
        elif event == "died":
            self.excused(facts["text"], facts["since"] - 5, "gateways that died", facts["pid"])
        elif event == "refused":
            self.may_be_refused(facts["text"], facts["since"])
        elif event == "done":
            self.verified("gateways closed with nothing missing")
        if event in ("died", "done"):
            self.world.must_end(facts["pid"], f"an interpreter of {self.name}")
        return event
