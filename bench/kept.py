#!/usr/bin/env python3
"""Measures coming back to kept work, and what it costs while nobody is there. Prints one Markdown table.

    bench/kept.py              all rows (about three minutes)
    bench/kept.py attach       some rows
    bench/kept.py far attach   with a host that is 20 ms away

Needs what run.py needs.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from harness import EXECNET, HEAD, Bench, cpu_of, measure, ms, pairs, row, timed

DELAY = 20
"""Milliseconds to a host that is far, each way."""

MANY = 200
"""How many processes a host keeps at most."""

QUIET = 60
"""Seconds without anything to do."""


class Kept(Bench):
    """A network with one ssh host, far away or near."""

    def __init__(self):
        super().__init__(1, *(["--delay", str(DELAY)] if far else []))

    def begin(self):
        self.execnet("start", self.spec(1))

    def keep(self, name, *command):
        """Starts work, and leaves it."""
        process = subprocess.Popen(
            [EXECNET, "run", self.name, "--keep", name, "--", *command],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = process.stderr.readline()
        assert "(pid" in line, line
        process.terminate()
        process.wait()

    def end(self):
        if hasattr(self, "ping"):
            self.ping.stdin.close()
            self.ping.wait()
        self.execnet("stop", "--end-kept")
        super().end()


def attach(bench):
    bench.keep("prints", "sh", "-c", "echo old; exec sleep 100000")
    bench.ping = bench.python("-c", ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def trip():
        bench.ping.stdin.write(b"x")
        assert bench.ping.stdout.read(1) == b"x"

    def first_byte(*options):
        command = [EXECNET, "attach", bench.name, "prints", *options]
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=bench.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert os.read(process.stdout.fileno(), 1) == b"o"
        took = time.perf_counter() - begin
        # a closed stdout and SIGTERM leave it
        process.terminate()
        process.wait()
        return took

    trip()
    small, taken, read = pairs(40, lambda: timed(trip), first_byte, lambda: first_byte("--read-only"))
    for what, took in [("`attach`", taken), ("`attach --read-only`", read)]:
        most = 2 * small + 0.020
        row(
            "%s: the first byte of old output, on an ssh host%s"
            % (what, " %d ms away" % DELAY if far else ""),
            "a small round trip there",
            ms(small),
            ms(took),
            "2 × + %.1f ms" % ((took - 2 * small) * 1e3),
            "2 × + 20 ms",
            took <= most,
        )


ECHO = "import os\nwhile True:\n byte = os.read(0, 1)\n if not byte: break\n os.write(1, byte)"


def many(bench):
    processes = json.loads(bench.execnet("ps", "--json"))["processes"]
    for n in range(len([process for process in processes if process["kept"]]), MANY):
        bench.keep("work%d" % n, "sleep", "100000")
    (host,) = json.loads(bench.execnet("status", "--json"))["hosts"]
    agent = host["agent_pid"]
    begin, before = time.perf_counter(), cpu_of([agent])
    time.sleep(QUIET)
    share = (cpu_of([agent]) - before) / (time.perf_counter() - begin)
    text = Path("/proc/%d/status" % agent).read_text()
    memory = int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024
    row(
        "%d kept processes, idle: the agent" % MANY,
        "-",
        "-",
        "%.1f MiB" % memory,
        "-",
        "24 MiB; no CPU",
        memory < 24 and share < 0.0005,
        "%.3f %% of a core" % (share * 100),
    )


ROWS = {act.__name__: act for act in (attach, many)}
far = "far" in sys.argv[1:]

if __name__ == "__main__":
    measure(Kept, ROWS, [name for name in sys.argv[1:] if name != "far"], HEAD)
