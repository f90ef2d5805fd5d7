#!/usr/bin/env python3
"""Measures what `execnet top` costs, here and on hosts, beside an idle network. Prints one Markdown table.

    bench/top.py            all rows (about three minutes)

Needs what run.py needs. All hosts are of this machine; the shares are those of one core, from the scheduler's
own count, over 30 s each.
"""

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

from harness import EXECNET, HEAD, Bench, measure, row

NODES = 200
SECONDS = 30
SETTLE = 5
"""Seconds after a start that do not count."""

ROWS_AND_COLUMNS = 50, 200


class Top:
    """`execnet top` at a terminal that nobody looks at."""

    def __init__(self, name, env):
        terminal, side = os.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", *ROWS_AND_COLUMNS, 0, 0))
        env = dict(env, TERM="xterm-256color", LC_ALL="C.UTF-8")
        self.process = subprocess.Popen([EXECNET, "top", name], stdin=side, stdout=side, env=env)
        os.close(side)
        self.terminal = terminal
        self.drawn = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while True:
                self.drawn += len(os.read(self.terminal, 65536))
        except OSError:
            pass  # it has ended

    def end(self):
        os.write(self.terminal, b"q")
        assert self.process.wait(30) == 0
        os.close(self.terminal)


class Network(Bench):
    """A network of many hosts of this machine, each with a process that sleeps."""

    def __init__(self):
        super().__init__(0)

    def begin(self):
        self.execnet("start", *["popen//id=n%d" % n for n in range(1, NODES + 1)])
        status = json.loads(self.execnet("status", "--json"))
        self.here = status["pid"]
        self.agents = [host["agent_pid"] for host in status["hosts"]]
        command = [EXECNET, "run", self.name, "-n", "sleep", "100000"]
        self.sleeping = subprocess.Popen(command, env=self.env, stderr=subprocess.DEVNULL)
        while len(json.loads(self.execnet("ps", "--json"))["processes"]) < NODES:
            time.sleep(0.1)

    def end(self):
        if hasattr(self, "sleeping"):
            self.sleeping.kill()
            self.sleeping.wait()
        super().end()


def seconds_of(pid):
    """CPU seconds of all threads of a process."""
    total = 0
    for task in Path("/proc/%d/task" % pid).iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def shares(pids):
    """The share of a core that each of these processes uses, after a while."""
    time.sleep(SETTLE)
    before, begin = [seconds_of(pid) for pid in pids], time.perf_counter()
    time.sleep(SECONDS)
    passed = time.perf_counter() - begin
    return [(seconds_of(pid) - was) / passed for pid, was in zip(pids, before)]


def per_cent(share):
    return "%.3f %%" % (100 * share)


def top200(bench):
    idle_daemon, *idle_agents = shares([bench.here, *bench.agents])
    top = Top(bench.name, bench.env)
    command, daemon, *agents = shares([top.process.pid, bench.here, *bench.agents])
    assert top.drawn > 10_000, "nothing was drawn"
    top.end()
    here = command + daemon
    row(
        "`top`, %d hosts: command and daemon" % NODES,
        "the idle daemon",
        per_cent(idle_daemon),
        per_cent(here),
        "",
        "2 % of a core",
        here < 0.02,
        "command %s, daemon %s" % (per_cent(command), per_cent(daemon)),
    )
    mean = sum(agents) / len(agents)
    row(
        "`top`, %d hosts: an agent" % NODES,
        "an idle agent",
        per_cent(sum(idle_agents) / len(idle_agents)),
        per_cent(mean),
        "",
        "0.1 % of a core",
        mean < 0.001,
        "the busiest %s" % per_cent(max(agents)),
    )


ROWS = {act.__name__: act for act in (top200,)}

if __name__ == "__main__":
    measure(Network, ROWS, sys.argv[1:], HEAD)
