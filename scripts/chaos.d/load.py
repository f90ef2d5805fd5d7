"""What all loads have in common.

A load is a thread that works on the network until it is told to end, one piece after another. It says of
each end whether that was promised: `Ledger.lost` knows which faults end processes, and the words must name
the host.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from ledger import LIMIT
from world import Client

HERE = Path(__file__).resolve().parent


class Load(threading.Thread):
    def __init__(self, world, host, seed):
        super().__init__(daemon=True, name=f"{type(self).__name__} on {host}")
        self.world, self.ledger, self.host = world, world.ledger, host
        self.random = random.Random(seed)
        self.last = threading.Event()
        self.progress = time.monotonic()
        self.client = None
        self.state = "starts"

    def run(self):
        while not self.last.is_set():
            try:
                self.once()
            except Exception:
                self.finding("fails itself", traceback.format_exc())
                self.last.wait(1)
        self.state = "over"

    def verified(self, what, count=1):
        self.progress = time.monotonic()
        self.ledger.verified(what, count)

    def finding(self, title, detail=""):
        self.ledger.finding(f"{self.name}: {title}", detail)

    def start_client(self, command, **more):
        started = subprocess.Popen(command, env=self.world.env, start_new_session=True, **more)
        self.client = Client(self.world, self.name, self.host, started)
        return started

    def reap(self, started):
        """Wait for the end of a client, whose pipes are at their end. Return its status."""
        client, self.client = self.client, None
        try:
            status = started.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.finding("its program does not end", f"pid {started.pid}")
            started.kill()
            status = started.wait()
        client.over()
        for pid in client.inner:
            self.world.must_end(pid, f"a process of {self.name}")
        return status

    def excused(self, text, since, what, pid=None):
        """Whether an end was promised, and is said with the name of the host. Notes a finding if not."""
        lost = self.ledger.lost(self.host, since, pid)
        self.progress = time.monotonic()
        if not lost:
            self.finding(f"{what} without a fault that ends it", text)
        elif "interpreter" not in lost and "term" not in lost and self.host not in text:
            self.finding(f"{what}, and nobody names the host", text)
        else:
            self.ledger.tell(f"{what}: said ({', '.join(sorted(lost))})", f"{self.name}: {text}")
            return True
        return False

    def came_to(self, name, text, lost):
        """Decide what an error says of kept work. Return None if it is only out of reach."""
        is_gone = any(words in text for words in (" is lost", "has ended", "nothing is left"))
        # it was not found, and no host is named that could not be asked
        is_gone = is_gone or "is kept as" in text and "may keep it" not in text
        if not is_gone or "it stays there" in text or "it may live on" in text:
            if not lost and not self.ledger.impaired(self.host, self.world.via.get(self.host)):
                self.finding(f"{name} is out of reach without a fault", text)
            self.ledger.tell("attach refused while a host is out of reach", f"{name}: {text}")
            self.last.wait(1)
            return None
        self.progress = time.monotonic()
        if not lost - {"term"}:
            self.finding(f"{name} is gone without a fault that ends it", text)
        elif self.host not in text and name not in text:
            self.finding(f"{name} is lost, and nobody names it or its host", text)
        self.ledger.tell(f"kept work lost, said ({', '.join(sorted(lost))})", f"{name}: {text}")
        self.world.must_end(self.pid, f"the lost {name}")
        return "lost"

    def may_be_refused(self, text, since):
        """Whether a start may have failed: the host is out of reach. Notes a finding if not."""
        lost = self.ledger.lost(self.host, since - 30)
        if not lost and not self.ledger.impaired(self.host, self.world.via.get(self.host), since):
            self.finding("a start is refused without a fault", text)
        elif self.host not in text and self.world.name not in text and "network" not in text:
            self.finding("a start is refused, and nobody names host or network", text)
        else:
            self.ledger.tell("starts refused while a host is out of reach", f"{self.name}: {text}")
        # what is refused again and again is no progress
        self.last.wait(1)

    def dump(self):
        """What may help with a hang."""
        client = self.client
        if client is None:
            return f"state: {self.state}"
        lines = [f"state: {self.state}; client {client.process.pid}, signals {client.signals}"]
        for task in Path(f"/proc/{client.process.pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                lines.append(f"thread {task.name}: {(task / 'wchan').read_text()}")
        if client.process.args[0] == sys.executable:
            with contextlib.suppress(OSError):
                os.kill(client.process.pid, signal.SIGUSR1)  # faulthandler
            time.sleep(0.5)
            lines += self.errors.tail()
        return "\n".join(lines)


class Lines(threading.Thread):
    """Reads a pipe to its end, and keeps the last lines."""

    def __init__(self, file, on_line=None):
        super().__init__(daemon=True)
        self.file, self.on_line, self.kept = file, on_line, []
        self.start()

    def run(self):
        for line in self.file:
            line = line.decode(errors="replace").rstrip("\n")
            self.kept = self.kept[-200:] + [line]
            if self.on_line is not None:
                self.on_line(line)

    def tail(self):
        return list(self.kept)

    def text(self):
        self.join(LIMIT)
        return "\n".join(self.kept)


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
