"""Commands that pass much data: what comes out is what went in."""

import contextlib
import hashlib
import json
import os
import random
import signal
import threading
import time

from ledger import LIMIT
from load import PIPES, Lines, Load
from world import EXECNET

PASS_ON = """
import os, sys
sys.stderr.write("pid %d\\n" % os.getpid())
sys.stderr.flush()
while True:
    data = os.read(0, 65536)
    if not data:
        break
    while data:
        data = data[os.write(1, data):]
sys.stderr.write("end\\n")
sys.exit(7)
"""


class Pipes(Load):
    """`execnet python`, whose process passes its stdin on."""

    def once(self):
        seed, blocks = self.random.randrange(1 << 30), self.random.choice((1, 30, 300, 600))
        since = time.monotonic()
        verb = self.random.choice(("python", "run"))
        command = [EXECNET, verb, self.world.name, "--node", self.host]
        command += ["-c", PASS_ON] if verb == "python" else ["--", "python3", "-c", PASS_ON]
        started = self.start_client(command, **PIPES)
        client = self.client

        def on_line(line):
            if line.startswith("pid "):
                client.inner.append(int(line[4:]))

        self.errors = Lines(started.stderr, on_line)
        self.state = f"execnet {verb} of {blocks} blocks"
        data, expected = random.Random(seed), random.Random(seed)
        feeding = threading.Thread(target=self.feed, args=(started, data, blocks), daemon=True)
        feeding.start()
        done, held, prefix = 0, b"", hashlib.sha256()
        while True:
            found = os.read(started.stdout.fileno(), 65536)
            if not found:
                break
            done += len(found)
            while len(held) < len(found):
                held += expected.randbytes(32768)
            if held[: len(found)] != found:
                self.finding(f"stdout differs from stdin before byte {done}")
                started.kill()
                break
            held = held[len(found) :]
            prefix.update(found)
            self.progress = time.monotonic()
        feeding.join(LIMIT)
        status, text = self.reap(started), self.errors.text()
        if status == 7:
            digest = hashlib.sha256(random.Random(seed).randbytes(0))
            again = random.Random(seed)
            for _ in range(blocks):
                digest.update(again.randbytes(32768))
            if done != blocks * 32768 or digest.digest() != prefix.digest() or "end" not in text:
                self.finding(f"{done} of {blocks * 32768} bytes came, and the end says success", text)
            self.verified("pipes with equal hashes")
            self.verified("MiB through pipes", done >> 20)
        else:
            self.judge(status, text, since, client)

    def feed(self, started, data, blocks):
        with contextlib.suppress(OSError):
            for _ in range(blocks):
                started.stdin.write(data.randbytes(32768))
                started.stdin.flush()
                if self.random.random() < 0.02:
                    time.sleep(self.random.random())
        with contextlib.suppress(OSError):
            started.stdin.close()

    def judge(self, status, text, since, client):
        """Decide about a command that did not have the status of its process."""
        pid = client.inner[0] if client.inner else None
        killed = self.ledger.lost(self.host, since, pid)
        sent = {signal_ for signal_ in client.signals if signal_ in (signal.SIGKILL, signal.SIGTERM)}
        if any(status in (-number, 128 + number) for number in sent):
            self.ledger.tell("commands ended by a signal")
        elif status == 137 and "interpreter" in killed:
            self.ledger.tell("processes killed, and their status says so")
        elif status in (125, 6, 129) and pid is not None:
            self.excused(text, since - 5, f"processes lost (status {status})", pid)
        elif status in (125, 6, 3, 4, 1) and pid is None:
            self.may_be_refused(text, since)
        else:
            self.finding(f"{self.state} ends with status {status}", text)


class Many(Load):
    """`execnet run` on two hosts, with the same stdin for both."""

    def __init__(self, world, host, seed):
        super().__init__(world, host, seed)
        self.hosts = [host, "local"]

    def once(self):
        data = self.random.randbytes(self.random.choice((0, 1000, 5_000_000)))
        digest, since = hashlib.sha256(data).hexdigest(), time.monotonic()
        command = [EXECNET, "run", self.world.name, "--node", ",".join(self.hosts), "--json"]
        command += ["--", "sha256sum"]
        started = self.start_client(command, **PIPES)
        client = self.client
        self.state = f"execnet run --json of {len(data)} bytes"
        self.errors = Lines(started.stderr)
        output = Lines(started.stdout)

        def feed():
            with contextlib.suppress(OSError):
                started.stdin.write(data)
            with contextlib.suppress(OSError):
                started.stdin.close()

        threading.Thread(target=feed, daemon=True).start()
        output.join(LIMIT * 2)
        status, text = self.reap(started), self.errors.text()
        if client.signals and status in {code for n in client.signals for code in (-n, 128 + n)}:
            self.ledger.tell("commands ended by a signal")
            return
        answers = [json.loads(line) for line in output.tail()]
        if status in (1, 2, 3, 4, 6) and not answers:
            self.may_be_refused(text, since)
            return
        if sorted(each["host"] for each in answers) != sorted(self.hosts):
            self.finding("not each host has one answer", f"{answers}\n{text}")
        for each in answers:
            if each.get("status") == 0 and each["stdout"].split()[:1] == [digest]:
                self.verified("answers of run with the right hash")
            elif not self.may_fail(each["host"], since):
                self.finding("a wrong answer of run", f"status {status}: {each}\n{text}")
            else:
                self.ledger.tell("answers of run that say why there is none", f"{each}")
                self.last.wait(0.5)
                if each.get("status") == 0 or not (each.get("error") or each.get("signal")):
                    self.finding("an answer of run is wrong and does not say why", f"{each}\n{text}")

    def may_fail(self, host, since):
        if self.ledger.lost(host, since - 30):
            return True
        return self.ledger.impaired(host, self.world.via.get(host), since)
