#!/usr/bin/env python3
"""Measures `execnet run` on many hosts beside what people use for that, and prints one Markdown table.

    bench/fold.py            all rows (about five minutes)
    bench/fold.py fold20     some rows

Needs, besides what run.py needs, clush (clustershell) and pdsh with its ssh module, for their rows.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

from harness import EXECNET, HEAD, Bench, measure, pairs, row, run, timed

SEVERAL = 9
"""How often each act of a row is measured."""

NODES = 200
"""Hosts of this machine, each with an agent."""

WORKER = """
import os, subprocess
while os.read(0, 1):
    subprocess.run(["true"], stdin=subprocess.DEVNULL, capture_output=True)
    os.write(1, b"x")
"""
"""A Python that waits, as an agent does, and runs `true` when it is told to."""


class Hosts(Bench):
    """20 ssh hosts in a network, and in the configuration of clush and pdsh."""

    def __init__(self):
        super().__init__(20)
        self.names = ",".join("build%d" % n for n in range(1, 21))

    def begin(self):
        self.execnet("start", *[self.spec(n) for n in range(1, 21)])

    def command(self, *args):
        return [EXECNET, "run", self.name, *args]

    def ran(self, command, expected):
        def act():
            done = run(command, env=self.env)
            assert expected in done.stdout, (command, done.stdout[:200], done.stderr[-500:])

        return lambda: timed(act)


def fold20(bench):
    """`uname -r` on 20 ssh hosts, equal answers folded."""
    options = "-F %s -T -o BatchMode=yes" % bench.config
    theirs = {}
    if shutil.which("clush"):
        command = ["clush", "-b", "-o", options, "-w", bench.names, "uname -r"]
        theirs["clush -b"] = bench.ran(command, "20")
    if shutil.which("pdsh"):
        bench.env["PDSH_SSH_ARGS_APPEND"] = options
        line = "pdsh -R ssh -w %s uname -r | dshbak -c" % bench.names
        theirs["pdsh, dshbak"] = bench.ran(["sh", "-c", line], os.uname().release)
    assert theirs, "neither clush nor pdsh is installed"
    ours = bench.ran(bench.command("-b", "--", "uname", "-r"), "(20): %s" % os.uname().release)
    *others, took = pairs(SEVERAL, *theirs.values(), ours)
    best = min(others)
    note = ", ".join("%s %.3f s" % pair for pair in zip(theirs, others))
    row(
        "`run -b uname -r`, 20 ssh hosts",
        "the better of clush and pdsh",
        "%.3f s" % best,
        "%.3f s" % took,
        "%.2f" % (took / best),
        "≤ 0.3",
        took <= 0.3 * best,
        note,
    )


class Workers:
    """200 Pythons that are told over pipes to run `true`: what 200 agents cannot do without."""

    def __init__(self, python):
        command = [python, "-ES", "-c", WORKER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        self.all = [subprocess.Popen(command, **pipes) for _ in range(NODES)]
        self.run()

    def run(self):
        for worker in self.all:
            worker.stdin.write(b"x")
        for worker in self.all:
            assert worker.stdout.read(1) == b"x"

    def end(self):
        for worker in self.all:
            worker.stdin.close()
            worker.stdout.close()
            worker.wait()


def nodes200(bench):
    """`true` on 200 hosts of this machine, beside 200 waiting Pythons that run it.

    Both start, wait for and reap 200 processes from 200 Pythons that wait. What a shell needs to start them
    by itself is a note: nobody asks 200 hosts with one shell.
    """
    name = bench.name + "-popen"
    specs = ["popen//id=n%d" % n for n in range(1, NODES + 1)]
    done = run([EXECNET, "start", name, *specs], env=bench.env)
    assert done.returncode == 0, done.stderr
    try:
        at_once = "for n in $(seq %d); do /bin/true & done; wait" % NODES
        ours = bench.ran([EXECNET, "run", name, "-n", "true"], "")
        workers = Workers(python_of(bench, name))
        try:
            floor, other, took = pairs(
                SEVERAL, lambda: timed(workers.run), lambda: timed(lambda: run(["sh", "-c", at_once])), ours
            )
        finally:
            workers.end()
        row(
            "`run true`, 200 hosts",
            "200 waiting Pythons, each runs `true` with `subprocess`",
            "%.3f s" % floor,
            "%.3f s" % took,
            "%.2f" % (took / floor),
            "≤ 1.2",
            took <= 1.2 * floor,
            "one shell starts 200 × `true` in %.3f s" % other,
        )
        line = "head -c 1000000 /dev/zero | tr '\\0' \"$(printf %%o $((65 + $$ %% 26)))\" | fold -w 99"
        for options in (["-b"], [], ["--json"]):
            command = [EXECNET, "run", name, "-n", *options, "-c", line.replace("%%", "%")]
            peak = max(peak_of(command, bench.env) for _ in range(3))
            row(
                "memory of `%s`, 200 hosts, 1 MB from each" % " ".join(["run", *options]),
                "",
                "",
                "%.0f MiB" % peak,
                "",
                "≤ 64 MiB",
                peak <= 64,
            )
    finally:
        run([EXECNET, "stop", name], env=bench.env)


def python_of(bench, name):
    """The Python that runs the agents."""
    status = json.loads(run([EXECNET, "status", name, "--json"], env=bench.env).stdout)
    return status["hosts"][0]["nodes"][0]["executable"]


def peak_of(command, env):
    """The largest resident size of a command that succeeds, in MiB."""
    with open(os.devnull, "wb") as null, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(command, env=env, stdout=null, stderr=stderr)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        stderr.seek(0)
        assert status == 0, stderr.read()
    return usage.ru_maxrss / 1024


ROWS = {act.__name__: act for act in (fold20, nodes200)}

if __name__ == "__main__":
    measure(Hosts, ROWS, sys.argv[1:], HEAD)
