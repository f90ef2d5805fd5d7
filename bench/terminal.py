#!/usr/bin/env python3
"""Measures the time from a key to its echo in a terminal on a host, idle and beside bulk on the same link.

    bench/terminal.py            prints one Markdown table (about a minute)
    bench/terminal.py --debug    measures the unoptimized build

Needs cargo, sshd and Python 3.8 or later. The terminal is raw at both ends, and a program there writes back
what it reads; the floor is the same through `ssh -tt`. Compare the ratios: times belong to the machine.
"""

import os
import pty
import subprocess
import sys
import time
import tty
from statistics import median

import harness
from harness import HEAD, ROOT, Bench, row

ECHO = (
    "import os, tty; tty.setraw(0); os.write(1, b'!'); [os.write(1, os.read(0, 1000)) for _ in iter(int, 1)]"
)
GIVE = "import os\nbuffer = b'x' * 65536\nwhile True: os.write(1, buffer)"
TAKE = "import os\nwhile os.read(0, 1 << 20): pass"
KEYS = 300
PAUSE = 0.01  # seconds between keys: faster than anybody types, and slower than the link


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, command, env):
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.process = subprocess.Popen(
            command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        seen = b""
        while not seen.endswith(b"!"):
            seen += os.read(self.master, 1000)

    def echo(self):
        """Seconds from a key to its echo."""
        begun = time.perf_counter()
        os.write(self.master, b"k")
        assert os.read(self.master, 1000) == b"k"
        return time.perf_counter() - begun

    def echoes(self):
        found = []
        for _ in range(KEYS):
            found.append(self.echo())
            time.sleep(PAUSE)
        found.sort()
        return found

    def end(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def flowing(bench, code):
    """Bulk in one direction through a process of its own."""
    zeros = open("/dev/zero", "rb")
    return bench.python(
        "--node", "build1", "-c", code, stdin=zeros, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def shown(seconds):
    return "%.2f ms" % (seconds * 1e3)


def main():
    if "--debug" in sys.argv:
        harness.EXECNET, harness.LAB = ROOT / "target/debug/execnet", ROOT / "target/debug/execnet-testkit"
    else:
        subprocess.run(
            ["cargo", "build", "-q", "--release", "-p", "execnet-cli", "-p", "execnet-testkit"],
            cwd=ROOT,
            check=True,
        )
    bench = Bench(1)
    bench.env["TERM"] = "xterm"
    try:
        bench.execnet("start", bench.spec(1))
        ssh = [word for word in bench.ssh if word != "-T"] + ["-tt", "build1", "python3", "-c"]
        plain = Terminal(ssh + ["'%s'" % ECHO.replace("'", '"')], bench.env)
        ours = Terminal(
            [harness.EXECNET, "python", bench.name, "--node", "build1", "--escape", "none", "-c", ECHO],
            bench.env,
        )
        print(HEAD)
        print("|---|---|---|---|---|---|---|---|")
        floor, idle = median(plain.echoes()), median(ours.echoes())
        row(
            "key to echo, idle link", "`ssh -tt`", shown(floor), shown(idle), "%.1f ×" % (idle / floor), "", 1
        )
        for what, code in (("down", GIVE), ("up", TAKE)):
            bulk = flowing(bench, code)
            time.sleep(3)  # the window has grown
            busy = ours.echoes()
            bulk.kill()
            bulk.wait()
            time.sleep(1)
            idle = median(ours.echoes())
            ratio = median(busy) / idle
            row(
                "key to echo beside bulk %s on the same link" % what,
                "idle",
                shown(idle),
                shown(median(busy)),
                "%.1f ×" % ratio,
                "3 ×",
                ratio <= 3,
                "slowest of 100: %s" % shown(busy[len(busy) * 99 // 100]),
            )
        plain.end()
        ours.end()
    finally:
        bench.end()


if __name__ == "__main__":
    main()
