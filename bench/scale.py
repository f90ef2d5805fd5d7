#!/usr/bin/env python3
"""Measures a network of 1,000 hosts, and a daemon with 1,000 clients. Prints one Markdown table.

    bench/scale.py                 both (about ten minutes after the builds)
    bench/scale.py thousand        one of them
    bench/scale.py 200 clients     200 instead of 1,000
    bench/scale.py --help          what there is

Needs what run.py needs, and 20 MiB of memory for each host, 10 MiB for each client; `clients` also a package
index for pip. All hosts are of this machine, with the Python that runs this script.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from harness import (
    EXECNET,
    HEAD,
    PIPES,
    ROOT,
    Bench,
    cpu_of,
    forget,
    measure,
    ms,
    pairs,
    row,
    run,
    timed,
    us,
    venv,
)

ROUNDS = 3
"""How often `thousand` is measured."""

LIMIT = 900
"""Seconds after which a command counts as stuck."""

REST = 10
"""Seconds between a start and the first use of its hosts."""

BETWEEN = 20
"""Seconds until the hosts are used again: each has a new interpreter that waits."""

SETTLE = 40
"""Seconds without use after which nothing is left to be done ahead."""

QUIET = 60
"""Seconds without anything to do."""

TRIPS = 300
"""Round trips for one median."""

AT_MOST = 1000
"""Processes that a host may run."""


class Machine(Bench):
    """A network of hosts of this machine."""

    def __init__(self):
        super().__init__(0)
        # a version manager's `python3` may be a script, which takes longer than Python
        self.env["PATH"] = "%s:%s" % (os.path.dirname(os.path.realpath(sys.executable)), os.environ["PATH"])

    def execnet(self, command, *args):
        return super().execnet(command, *args, timeout=LIMIT)


class Watch:
    """A daemon's memory and processor time."""

    def __init__(self, pid):
        self.pid = pid

    def memory(self, key="VmRSS"):
        text = Path("/proc/%d/status" % self.pid).read_text()
        return int(re.search(r"%s:\s+(\d+)" % key, text).group(1)) / 1024

    def seconds(self):
        return cpu_of(map(int, os.listdir("/proc/%d/task" % self.pid)))


def pythons(bench):
    """Seconds for as many interpreters, one a processor at a time."""
    line = "seq %d | xargs -P %d -I{} python3 -c pass" % (count, os.cpu_count())
    return timed(lambda: run(["sh", "-c", line], env=bench.env, timeout=LIMIT))


def thousand(bench):
    """Start, `exec` and `status` with 1,000 hosts of this machine, and the daemon without work."""
    need(20 * count)
    specs = ["popen//id=p%d" % n for n in range(count)]

    def execute():
        assert bench.execnet("exec", "channel.send(1)").count("\n") == count

    found, used, sizes = [], [], []
    for number in range(ROUNDS):
        floor = pythons(bench)
        start = timed(lambda: bench.execnet("start", *specs))
        daemon = Watch(bench.daemon())
        cpu = [daemon.seconds()]
        sizes.append(daemon.memory())
        time.sleep(REST)
        cpu.append(daemon.seconds())
        first = timed(execute)
        cpu.append(daemon.seconds())
        time.sleep(BETWEEN)
        cpu.append(daemon.seconds())
        again = timed(execute)
        cpu.append(daemon.seconds())
        status = timed(lambda: bench.execnet("status"))
        if number == ROUNDS - 1:
            share, agents = without_work(bench, daemon)
        largest = daemon.memory("VmHWM")
        stop = timed(lambda: bench.execnet("stop"))
        forget(bench)
        found.append((floor, start, first, again, status, stop))
        used.append((cpu[0], cpu[2] - cpu[1], cpu[4] - cpu[3]))
    floor, start, first, again, status, stop = map(median, zip(*found))
    used = ["daemon's CPU %.2f s" % median(column) for column in zip(*used)]
    size = max(sizes)
    used[0] += ", memory %.1f MiB (%.1f KiB a host)" % (size, size * 1024 / count)
    against = "%d × `python3 -c pass`, %d at a time" % (count, os.cpu_count())
    for what, took, aim, note in (
        ("starting %d hosts of this machine" % count, start, 2.5, used[0]),
        ("`exec` on all of them, %d s later" % REST, first, 3, used[1]),
        ("`exec` again, %d s later" % BETWEEN, again, 1, used[2]),
    ):
        row(
            what,
            against,
            "%.2f s" % floor,
            "%.2f s" % took,
            "%.2f ×" % (took / floor),
            "%g ×" % aim,
            took <= aim * floor,
            note,
        )
    row("`status` of them", "", "", ms(status), "", "", None, "`stop` %.2f s" % stop)
    row(
        "their daemon without work, %d s" % QUIET,
        "",
        "",
        "%.3f %% of a core" % (share * 100),
        "",
        "0.1 %",
        share < 0.001,
        "agents together %.3f %%; daemon's memory %.1f MiB at most" % (agents * 100, largest),
    )


def without_work(bench, daemon):
    """The shares of a core of the daemon and of all agents, when nothing is to be done."""
    hosts = json.loads(bench.execnet("status", "--json"))["hosts"]
    agents = [host["agent_pid"] for host in hosts]
    time.sleep(SETTLE)
    begin, before = time.perf_counter(), (daemon.seconds(), cpu_of(agents))
    time.sleep(QUIET)
    passed = time.perf_counter() - begin
    return (daemon.seconds() - before[0]) / passed, (cpu_of(agents) - before[1]) / passed


class Clients:
    """A program with many connections to a daemon, each a client of its own (many_clients.py)."""

    def __init__(self, bench, python, network):
        command = [python, Path(__file__).with_name("many_clients.py"), network]
        self.process = subprocess.Popen(command, env=bench.env, text=True, bufsize=1, **PIPES)

    def __call__(self, act, *args):
        print(json.dumps([act, *args]), file=self.process.stdin)
        answer = self.process.stdout.readline()
        assert answer, "the clients' program ended"
        return json.loads(answer)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(LIMIT)
        finally:
            self.process.kill()


def clients(bench):
    """1,000 clients of one daemon, each with a gateway that is open at the same time."""
    need(10 * count)
    name = bench.name + "-quiet"
    python = venv("ours", [str(ROOT)]) / "bin/python"
    crowd, one, alone = [Clients(bench, python, network) for network in (bench.name, bench.name, name)]
    try:
        bench.execnet("start", *["popen//id=p%d" % n for n in range(-(-count // AT_MOST))])
        done = run([EXECNET, "start", name, "popen"], env=bench.env)
        assert done.returncode == 0, done.stderr
        time.sleep(REST)
        floor = pythons(bench)
        for program in (alone, one):
            program("open", 1)
        daemon = Watch(bench.daemon())
        before, cpu = daemon.memory(), daemon.seconds()
        took, failed = crowd("open", count - 1)
        cpu = daemon.seconds() - cpu
        opened = count - 1 - len(failed)
        processes = json.loads(bench.execnet("ps", "--json"))["processes"]
        interpreter = median(pss(process["pid"]) for process in processes)
        after, size = daemon.memory(), Watch(crowd.process.pid).memory()
        time.sleep(SETTLE)
        quiet, crowded, everyone = pairs(
            5, lambda: alone("trip", TRIPS), lambda: one("trip", TRIPS), lambda: crowd("all", 3)
        )
    finally:
        for program in (crowd, one, alone):
            program.end()
        run([EXECNET, "stop", name], env=bench.env)
    row(
        "opening %d clients of one daemon at once, each with a gateway" % count,
        "%d × `python3 -c pass`, %d at a time" % (count, os.cpu_count()),
        "%.2f s" % floor,
        "%.2f s" % took,
        "%.2f ×" % (took / floor),
        "all open",
        not failed,
        "until each has answered; daemon's CPU %.2f s%s"
        % (cpu, "; %d failed: %s" % (len(failed), failed[0]) if failed else ""),
    )
    row(
        "memory of that daemon",
        "with one client",
        "%.1f MiB" % before,
        "%.1f MiB" % after,
        "+ %.0f KiB a client" % ((after - before) * 1024 / opened),
        "",
        None,
        "a client takes %.0f KiB in their program, an interpreter %.1f MiB"
        % (size * 1024 / opened, interpreter),
    )
    row(
        "small round trip of one of them, the others wait",
        "the same over a daemon with one client",
        us(quiet),
        us(crowded),
        "%.2f ×" % (crowded / quiet),
        "",
        None,
        "all at once %s" % ms(everyone),
    )
    bench.execnet("stop")
    forget(bench)


def need(memory):
    """Ends with an error if this machine has less than so many MiB of memory left."""
    text = Path("/proc/meminfo").read_text()
    left = int(re.search(r"MemAvailable:\s+(\d+)", text).group(1)) // 1024
    if left < memory:
        sys.exit("%d need %d MiB of memory, and %d MiB are left" % (count, memory, left))


def pss(pid):
    """MiB of memory that a process takes, with its part of what it shares."""
    text = Path("/proc/%d/smaps_rollup" % pid).read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE).group(1)) / 1024


ROWS = {act.__name__: act for act in (thousand, clients)}
numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
count = numbers[0] if numbers else 1000

if __name__ == "__main__":
    measure(Machine, ROWS, [word for word in sys.argv[1:] if not word.isdigit()], HEAD)
