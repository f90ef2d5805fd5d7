#!/usr/bin/env python3
"""Measures what a host, a gateway, a channel and a message cost. Prints the table of docs/costs.md.

    bench/costs.py

Needs what run.py needs, and a package index for pip. Memory is PSS: what a process takes, with its part of
what it shares. The host is of this machine, over ssh.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from harness import PIPES, ROOT, Bench, children, cpu_of, forget, measure, ms, run, timed, us, venv

HOSTS = 20
"""Hosts that join after the first one, to see what each adds."""

GATEWAYS = 20
"""Gateways opened one after the other, and then as many at once."""

CHANNELS = 2000
"""Channels that are open at the same time."""

TRIPS = 5000
"""Round trips for one median."""

MESSAGES = 100_000
"""Messages one way."""

QUIET = 60
"""Seconds without anything to do."""

HEAD = "| what | time | memory here | memory there | processor time | notes |"


class Costs(Bench):
    """A network with one ssh host."""

    def __init__(self):
        super().__init__(1)


class Client:
    """The program that opens gateways (costs_client.py)."""

    def __init__(self, bench):
        python = venv("ours", [str(ROOT)]) / "bin/python"
        command = [python, Path(__file__).with_name("costs_client.py"), bench.name]
        self.process = subprocess.Popen(command, env=bench.env, text=True, bufsize=1, **PIPES)
        self.pid = self("pid")

    def __call__(self, act, *args):
        print(json.dumps([act, *args]), file=self.process.stdin)
        answer = self.process.stdout.readline()
        assert answer, "the client's program ended"
        return json.loads(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)


def kib(pid):
    """KiB of memory that a process takes."""
    for line in Path("/proc/%d/smaps_rollup" % pid).read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])


def mib(size):
    return "%.1f MiB" % (size / 1024)


def costs(bench):
    """All of them."""

    def tell(*cells):
        print("| %s |" % " | ".join(cells), flush=True)

    plain = median(
        timed(lambda: run(bench.ssh + ["build1", "python3", "-c", "pass"], env=bench.env)) for _ in range(5)
    )
    joined = []
    for _ in range(5):
        joined.append(timed(lambda: bench.execnet("start", bench.spec(1))))
        bench.execnet("stop")
        forget(bench)
    bench.execnet("start", bench.spec(1))
    daemon = bench.daemon()
    time.sleep(5)
    before = kib(daemon)
    status = json.loads(bench.execnet("status", "--json"))
    agent = status["hosts"][0]["agent_pid"]
    (ssh,) = children(daemon)
    stub = next(pid for pid in map(int, pids()) if is_stub(pid, agent))
    for number in range(HOSTS):
        bench.execnet("addhost", bench.spec(1, "//id=more%d" % number))
    time.sleep(5)
    each = (kib(daemon) - before) / HOSTS
    hosts = json.loads(bench.execnet("status", "--json"))["hosts"]
    agents = [host["agent_pid"] for host in hosts]
    time.sleep(30)
    idle = cpu_of([daemon]), cpu_of(agents)
    time.sleep(QUIET)
    idle = [(now - then) / QUIET for now, then in zip((cpu_of([daemon]), cpu_of(agents)), idle)]
    tell(
        "a host reached by ssh",
        "%s to join; `ssh host python3 -c pass` takes %s" % (ms(median(joined)), ms(plain)),
        "%s for its ssh, %.0f KiB in the daemon" % (mib(kib(ssh)), each),
        "%s for the agent, %s for what holds its link" % (mib(kib(agent)), mib(kib(stub))),
        "idle: %.4f %% of a core here, %.4f %% there"
        % (idle[0] / len(hosts) * 100, idle[1] / len(hosts) * 100),
        "the daemon itself %s" % mib(before),
    )
    for number in range(HOSTS):
        bench.execnet("rmhost", "more%d" % number)

    client = Client(bench)
    try:
        cpu = cpu_of([daemon, agent])
        first, _ = client("open", "build1")
        opened = []
        for _ in range(GATEWAYS):
            time.sleep(0.5)
            opened.append(client("open", "build1"))
        cpu = (cpu_of([daemon, agent]) - cpu) / (GATEWAYS + 1)
        interpreter = median(kib(pid) for _, pid in opened)
        bare = bare_python(bench)
        size = kib(daemon)
        inside = client("many", "build1", GATEWAYS)
        time.sleep(2)
        size = (kib(daemon) - size) / GATEWAYS
        tell(
            "a gateway there",
            "%s the first of its kind, then %s" % (ms(first), ms(median(took for took, _ in opened))),
            "%.0f KiB in the program, %.0f KiB in the daemon" % (inside, size),
            "%s; a bare `python3` takes %s" % (mib(interpreter), mib(bare)),
            "%s of daemon and agent together" % ms(cpu),
            "with one more interpreter that waits for the next",
        )
        kernel = client("kernel")
        before = kib(kernel)
        took, here = client("channels", CHANNELS)
        tell(
            "a channel",
            us(took),
            "%.1f KiB" % here,
            "%.1f KiB" % ((kib(kernel) - before) / CHANNELS),
            "",
            "%d open at a time, each sent over a channel" % CHANNELS,
        )
        cpu = [cpu_of([pid]) for pid in (daemon, agent, ssh)]
        trip = client("trip", TRIPS)
        cpu = [(cpu_of([pid]) - then) / TRIPS for pid, then in zip((daemon, agent, ssh), cpu)]
        tell(
            "a message there and one back",
            us(trip),
            "",
            "",
            "daemon %s, agent %s, ssh %s" % tuple(us(each) for each in cpu),
            "an int",
        )
        cpu = [cpu_of([pid]) for pid in (daemon, agent, ssh)]
        flow = client("flow", MESSAGES) / MESSAGES
        cpu = [(cpu_of([pid]) - then) / (2 * MESSAGES) for pid, then in zip((daemon, agent, ssh), cpu)]
        tell(
            "one of many messages one way",
            "%.1f µs" % (flow * 1e6),
            "",
            "",
            "daemon %.2f µs, agent %.2f µs, ssh %.2f µs" % tuple(each * 1e6 for each in cpu),
            "%d ints" % MESSAGES,
        )
    finally:
        client.end()
    bench.execnet("stop")
    forget(bench)


def pids():
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def is_stub(pid, agent):
    """Whether this process has started that agent and holds its link: it has the same command line."""
    try:
        line = Path("/proc/%d/cmdline" % pid).read_bytes()
        fields = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
        return pid != agent and line == Path("/proc/%d/cmdline" % agent).read_bytes() and fields[0] in "SR"
    except OSError:
        return False


def bare_python(bench):
    """KiB of memory of an interpreter that does nothing."""
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    process = subprocess.Popen(bench.ssh + ["build1", "exec python3 -c '%s'" % code], **PIPES)
    try:
        return kib(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(60)


if __name__ == "__main__":
    measure(Costs, {"costs": costs}, sys.argv[1:], HEAD)
