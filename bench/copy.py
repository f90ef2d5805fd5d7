#!/usr/bin/env python3
"""Measures `execnet copy` to 4 ssh hosts beside 4 × `rsync -a` at once, and prints one Markdown table.

    bench/copy.py               all rows (about ten minutes after the build)
    bench/copy.py small         some rows

Needs cargo, sshd, rsync and Python 3.8 or later. Hosts come from the project's lab; they share this machine's
disk, of which the rows need 6 GB. Absolute times depend on the machine; compare the ratio of the medians of
a row.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from harness import HEAD, Bench, measure, ms, pairs, row, timed

HOSTS = 4
SMALL = 2000  # files
LARGE = 1 << 30  # bytes, in files of 64 MiB


class Copies(Bench):
    """A network of 4 ssh hosts, and folders to copy there."""

    def __init__(self):
        super().__init__(HOSTS)
        self.shell = " ".join(map(str, self.ssh))
        self.homes = []

    def begin(self):
        self.execnet("start", *[self.spec(n + 1) for n in range(HOSTS)])
        for n in range(HOSTS):
            code = "import os; print(os.getcwd())"
            home = self.execnet("python", "--node", "build%d" % (n + 1), "-c", code).strip()
            self.homes.append(home)

    def source(self, name, files, size):
        """A folder of random files, 20 in each folder within it."""
        folder = Path(self.folder.name) / name
        for n in range(files):
            file = folder / ("%03d" % (n // 20)) / ("file%d" % n)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(random.randbytes(size(n)))
        return folder

    def rsync(self, source):
        def start(n):
            target = "build%d:%s/rsync" % (n + 1, self.homes[n])
            command = ["rsync", "-a", "--rsync-path=%s" % shutil.which("rsync"), "-e", self.shell]
            return subprocess.Popen([*command, "%s/" % source, target])

        def act():
            started = [start(n) for n in range(HOSTS)]
            assert not any([process.wait() for process in started])

        return timed(act)

    def copy(self, source):
        return timed(lambda: self.execnet("copy", "%s/" % source, ":execnet"))

    def forget(self):
        for home in self.homes:
            for name in ("rsync", "execnet"):
                shutil.rmtree(os.path.join(home, name), ignore_errors=True)
        os.sync()

    def check(self, source, name):
        """Fail unless everything was copied."""
        for home in self.homes:
            subprocess.run(["diff", "-r", source, os.path.join(home, name)], check=True)

    def end(self):
        self.forget()
        super().end()


def compare(bench, what, source, rounds, aim, again=False):
    def fresh(act):
        def timed_act():
            if not again:
                bench.forget()
            return act(source)

        return timed_act

    for name, act in (("rsync", bench.rsync), ("execnet", bench.copy)):
        if not again:
            bench.forget()
        act(source)
        bench.check(source, name)
    floor, mine = pairs(rounds, fresh(bench.rsync), fresh(bench.copy))
    bench.forget()
    row(
        "%s to %d ssh hosts" % (what, HOSTS),
        "%d × `rsync -a` at once, with their logins" % HOSTS,
        ms(floor),
        ms(mine),
        "%.2f ×" % (mine / floor),
        "%.1f ×" % aim,
        mine <= aim * floor,
    )


def small(bench):
    source = bench.source("small", SMALL, lambda n: 100 + n)
    compare(bench, "2,000 files of 0.1 to 2 KB", source, 7, 1.1)


def unchanged(bench):
    source = bench.source("unchanged", SMALL, lambda n: 100 + n)
    compare(bench, "the same again, nothing has changed,", source, 15, 0.5, again=True)


def large(bench):
    source = bench.source("large", 16, lambda n: LARGE // 16)
    compare(bench, "16 files, 1 GiB,", source, 3, 1.1)
    shutil.rmtree(source)


ROWS = {"small": small, "unchanged": unchanged, "large": large}


if __name__ == "__main__":
    measure(Copies, ROWS, sys.argv[1:], HEAD)
