#!/usr/bin/env python3
"""Measures packages for bare hosts beside what does the same without them, and prints one Markdown table.

    bench/packages.py              all rows (about ten minutes after the builds)
    bench/packages.py first next   some rows

Needs cargo, sshd, rsync, a package index for pip, and Python 3.10 or later. Makes two venvs in target/bench:
one for the program, and one that stands for a host with everything installed. The bare host runs the
interpreter that both were made from, which should have nothing but pip. Hosts come from the project's lab.
Absolute times depend on the machine; compare the ratio of the medians of a row.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from harness import HEAD, PIPES, ROOT, Bench, measure, ms, pairs, row, run, timed, venv

HERE = Path(__file__).resolve().parent
TESTS = ["pytest==9.2.0", "pytest-xdist==3.8.0"]
JINJA = "jinja2==3.1.6"
BARE = os.path.realpath(sys.executable)
MODULES = 135  # that a worker of pytest and xdist imports from its packages
DELAY = 25  # milliseconds each way
COLLECTED = """
import os, pathlib

def pytest_xdist_node_collection_finished():
    pathlib.Path(os.environ["COLLECTED"]).touch()
"""


class Packages(Bench):
    """A network of one ssh host with two interpreters: `bare` and `full`."""

    def __init__(self, *more):
        super().__init__(1, *more)
        self.env["XDG_CACHE_HOME"] = os.path.join(self.folder.name, "cache")
        self.venv = venv("packages", [*TESTS, "trio", "markupsafe", str(ROOT)], BARE)
        self.full = venv("full", [*TESTS, "trio", "markupsafe"], BARE)
        self.site = next(self.venv.glob("lib/python3*/site-packages"))
        # in a /tmp with many files, making one can take 20 times as long
        self.host = tempfile.TemporaryDirectory(prefix="host-", dir=ROOT / "target/bench")
        self.program = None

    def begin(self):
        own = "//env:EXECNET_PACKAGES_FOLDER=%s/packages" % self.host.name
        hosts = [
            self.spec(1, "//id=bare//python=%s%s" % (BARE, own)),
            self.spec(1, "//id=full//python=%s" % (self.full / "bin/python")),
        ]
        self.execnet("start", *hosts)
        command = [self.venv / "bin/python", HERE / "with_packages.py", self.name]
        self.program = subprocess.Popen(command, env=self.env, text=True, bufsize=1, **PIPES)

    def opened(self, **keywords):
        """Seconds until a new gateway has answered."""
        print(json.dumps(keywords), file=self.program.stdin)
        return json.loads(self.program.stdout.readline())

    def forget_packages(self):
        """Empty the host's store."""
        self.execnet("packages", "--clean")

    def pytest(self, project, *args, **more):
        command = [self.venv / "bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
        done = run(command, cwd=project, env=self.env, **more)
        assert " passed" in done.stdout, done.stdout + done.stderr
        return done.stdout

    def end(self):
        if self.program:
            self.program.stdin.close()
            self.program.wait()
        super().end()
        self.host.cleanup()


def suite(bench):
    """The tests of jinja2's source release, and the module itself where the host has everything."""
    folder = ROOT / "target/bench" / JINJA.replace("==", "-")
    if not folder.exists():
        pip = [bench.venv / "bin/python", "-m", "pip"]
        where = ROOT / "target/bench"
        subprocess.run(
            [*pip, "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", where, JINJA], check=True
        )
        with tarfile.open(next(where.glob("jinja2-*.tar.gz"))) as archive:
            archive.extractall(where, filter="data")
    for place in (bench.venv, bench.full):
        done = run([place / "bin/python", "-m", "pip", "install", "-q", JINJA])
        assert done.returncode == 0, done.stderr
    return folder


# The rows, in the order of the table.


def first(bench):
    target = os.path.join(bench.host.name, "target")
    shell = " ".join(map(str, bench.ssh))

    def floor():
        shutil.rmtree(target, ignore_errors=True)
        # the same files: `*` leaves out pip and execnet; hosts of the lab have little in their PATH
        names = ("__pycache__", "/pip*", "/execnet*", "/pytest_execnet")
        left_out = ["--exclude=%s" % name for name in names]
        command = ["rsync", "-a", *left_out, "--rsync-path=%s" % shutil.which("rsync")]
        command += ["-e", shell, "%s/" % bench.site, "build1:%s" % target]
        return timed(lambda: subprocess.run(command, check=True))

    def ours():
        bench.forget_packages()
        return bench.opened(node="bare", packages="*")

    ours()
    floor, mine = pairs(9, floor, ours)
    row(
        "first gateway with `packages=*` of pytest and xdist, ssh host",
        "`rsync -a` of that site-packages, with its login",
        ms(floor),
        ms(mine),
        "%.2f ×" % (mine / floor),
        "1.2 ×",
        mine <= 1.2 * floor,
    )


def next_one(bench):
    bench.opened(node="bare", packages="*")
    floor, mine = pairs(
        30, lambda: bench.opened(node="bare"), lambda: bench.opened(node="bare", packages="*")
    )
    row(
        "the next gateway with the same packages",
        "one without packages",
        ms(floor),
        ms(mine),
        "+ %.1f ms" % ((mine - floor) * 1e3),
        "+ 30 ms",
        mine <= floor + 0.03,
    )


def tests(bench):
    project = suite(bench)

    def ran(node, more=""):
        spec = "4*net=%s//node=%s%s" % (bench.name, node, more)
        # jinja2 makes errors of warnings, and pytest-xdist warns of --rsyncdir
        args = ["-W", "ignore::DeprecationWarning", "--dist", "load", "--tx", spec]
        args += ["--rsyncdir=%s" % project, str(project / "tests")]
        said = []
        took = timed(lambda: said.append(bench.pytest(project, *args)))
        counts.add(re.search(r"(\d+ passed)", said[0]).group(1))
        return took

    counts = set()
    ran("bare", "//packages=*")
    floor, mine = pairs(5, lambda: ran("full"), lambda: ran("bare", "//packages=*"))
    assert len(counts) == 1, counts
    row(
        "jinja2's tests (%s) with 4 workers on a bare ssh host" % counts.pop(),
        "the same with everything installed there",
        "%.2f s" % floor,
        "%.2f s" % mine,
        "%.2f ×" % (mine / floor),
        "1.1 ×",
        mine <= 1.1 * floor,
    )


def delay(bench):
    """Until one worker has collected, over a link with a delay."""
    slow = Packages("--delay", str(DELAY))
    try:
        slow.begin()
        project, mark = Path(slow.folder.name) / "project", Path(slow.folder.name) / "collected"
        project.mkdir()
        (project / "test_it.py").write_text("def test_it():\n    pass\n")
        (project / "conftest.py").write_text(COLLECTED)
        slow.env["COLLECTED"] = str(mark)
        spec = "1*net=%s//node=bare//packages=*" % slow.name
        args = ["--dist", "load", "--tx", spec, "--rsyncdir=%s" % project, str(project)]

        def collects():
            begin = time.time()
            slow.pytest(project, *args)
            return mark.stat().st_mtime - begin

        def first():
            slow.forget_packages()
            return collects()

        mine, again = pairs(5, first, collects)
        reckoned = MODULES * 2 * DELAY / 1e3
        row(
            "until a worker on a bare host has collected, %d ms of delay" % (2 * DELAY),
            "%d round trips, one a module, of an import hook" % MODULES,
            "%.2f s" % reckoned,
            "%.2f s" % mine,
            "%.2f ×" % (mine / reckoned),
            "0.33 ×",
            mine <= reckoned / 3,
            "with the packages there already %.2f s" % again,
        )
    finally:
        slow.end()


ROWS = {"first": first, "next": next_one, "tests": tests, "delay": delay}


if __name__ == "__main__":
    measure(Packages, ROWS, sys.argv[1:], HEAD)
