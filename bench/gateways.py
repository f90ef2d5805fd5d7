#!/usr/bin/env python3
"""Measures gateways, stock execnet, mitogen and the floor in turn, and prints one Markdown table.

    bench/gateways.py             all rows (about ten minutes after the builds)
    bench/gateways.py open flow   some rows
    bench/gateways.py far rtt     with a host that is 0.5 ms away, each way

Needs cargo, sshd, a package index for pip, and Python 3.9 or later. Each peer runs in its own process, in a
venv under target/bench. Hosts come from the project's own lab. Absolute times depend on the machine; compare
the ratio of the medians of a row.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness import PIPES, ROOT, Bench, measure, ms, pairs, pingpong, run, timed, us, venv

DELAY = 0.5
"""Milliseconds to a host that is far, each way."""

HERE = Path(__file__).resolve().parent
STOCK, MITOGEN = "execnet 2.1.2", "mitogen 0.3.54"
PEERS = {
    STOCK: ("execnet==2.1.2", "with_execnet.py"),
    MITOGEN: ("mitogen==0.3.54", "with_mitogen.py"),
    "ours": (str(ROOT), "with_execnet.py"),
}


class Peer:
    """A program that measures one package from inside that package's venv; see `answers.py`."""

    def __init__(self, name, bench):
        package, program = PEERS[name]
        python = venv(name.replace(" ", "-"), [package]) / "bin/python"
        facts = {"network": bench.name if name == "ours" else None}
        facts.update(config=bench.config, mux=bench.mux, python=bench.python_there)
        self.process = subprocess.Popen(
            [python, HERE / program, json.dumps(facts)], env=bench.env, text=True, bufsize=1, **PIPES
        )

    def __call__(self, act, *args):
        """Its measurement, in seconds."""
        print(json.dumps([act, *args]), file=self.process.stdin)
        answer = self.process.stdout.readline()
        assert answer, "a peer ended: %s" % self.process.args
        return json.loads(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Gateways(Bench):
    """A network of a host and one behind it, a warm ssh ControlMaster, and the peers."""

    def __init__(self):
        super().__init__(1, "--inner", *(["--delay", str(DELAY)] if far else []))
        self.peers, self.master = {}, None

    def begin(self):
        # the hosts of a lab have a PATH of their own
        found = [shutil.which(name) for name in ("jython", "java")]
        path = ":".join([os.path.dirname(name) for name in found if name] + ["/usr/bin", "/bin"])
        java = [self.spec(1, "//python=PATH=%s jython//id=java" % path)] if all(found) else []
        self.execnet("start", self.spec(1), "ssh=inner//via=build1", *java)
        self.has_java = bool(java)
        self.python_there = self.execnet(
            "python", "--node", "build1", "-c", "import sys; print(sys.executable)"
        ).strip()
        self.mux = os.path.join(self.folder.name, "mux_config")
        control = os.path.join(self.folder.name, "mux")
        Path(self.mux).write_text("Host *\n    ControlPath %s\nInclude %s\n" % (control, self.config))
        command = ["ssh", "-F", self.mux, "-o", "ControlMaster=yes", "-N", "build1"]
        self.master = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while not os.path.exists(control):
            assert self.master.poll() is None, "the ControlMaster ended"
            time.sleep(0.1)
        self.peers = {name: Peer(name, self) for name in PEERS}
        print("%s there" % run([self.python_there, "-V"]).stdout.strip())

    def compare(self, rounds, floor, act, *args):
        """The medians of the floor and of each peer, measured in turn."""
        found = pairs(
            rounds,
            floor or (lambda: 0),
            *[lambda peer=peer: peer(act, *args) for peer in self.peers.values()],
        )
        return dict(zip(["floor", *self.peers], found))

    def end(self):
        for peer in self.peers.values():
            peer.end()
        if self.master:
            self.master.terminate()
            self.master.wait()
        super().end()


def row(what, found, show, *aims):
    """A row of the table. An aim is a factor, the columns it refers to (the best counts), and `at most` for
    times or `at least` for rates."""
    shown = [show(found[name]) if found[name] else "–" for name in ("floor", *PEERS)]
    ratios, wanted, reached = [], [], []
    for times, names, words in aims:
        ratio = found["ours"] / min(found[name] for name in names)
        faster = words.startswith("at least")
        ratios.append("%.2f ×" % (1 / ratio if faster else ratio))
        wanted.append("%s %s × %s" % (words, "%g" % times, " or ".join(names)))
        reached.append(1 / ratio >= times if faster else ratio <= times)
    cells = [
        what,
        *shown,
        ", ".join(ratios),
        "; ".join(wanted),
        ", ".join("yes" if fine else "**no**" for fine in reached),
    ]
    print("| %s |" % " | ".join(cells), flush=True)


def per_second(seconds):
    return "%.0f k/s" % (1 / seconds / 1e3)


def megabytes(seconds):
    return "%.0f MB/s" % (1 / seconds)


def first_byte(command):
    """Seconds until a command has written a byte."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    os.read(process.stdout.fileno(), 1)
    took = time.perf_counter() - begin
    process.communicate()
    return took


# The rows, in the order of the table.


def open(bench):
    command = ["ssh", "-F", bench.mux, "build1", bench.python_there, "-c", "'import os; os.write(1, b\"x\")'"]
    found = bench.compare(15, lambda: first_byte(command), "open")
    row("open a gateway on a joined ssh node", found, ms, (0.5, (STOCK, MITOGEN), "at most"))


def ready(bench):
    """The time of the open alone, with an interpreter that was started ahead."""
    floor = subprocess.Popen(bench.ssh + ["build1", "cat"], bufsize=0, **PIPES)
    pingpong(floor, 200)
    ours = bench.peers["ours"]
    for what, node, pause, goal in [("CPython", "build1", 1.0, 3), ("Jython", "java", 4.0, 60)]:
        if node == "java" and not bench.has_java:
            continue
        ours("ready", node, pause)
        trip, mine = pairs(
            15, lambda: pingpong(floor, 50), lambda node=node, pause=pause: ours("ready", node, pause)
        )
        more = (mine - trip) * 1e3
        cells = ["the next gateway on a node, %s" % what, us(trip), "–", "–", ms(mine), "+ %.1f ms" % more]
        cells += ["at most a small round trip + %d ms" % goal, "yes" if more <= goal else "**no**"]
        print("| %s |" % " | ".join(cells), flush=True)
    floor.stdin.close()
    floor.wait()


def rtt(bench):
    ssh = bench.ssh + ["build1"]
    rows = [
        ("popen", "popen", ["cat"], 0.6),
        ("ssh node", "ssh", ssh + ["cat"], 1.1),
        ("two ssh hops", "hops", ssh + ["ssh", "-T", "inner", "cat"], 0.85),
    ]
    if far:
        rows = [("ssh node %g ms away" % DELAY, "ssh", ssh + ["cat"], 1.03)]
    for where, place, cat, times in rows:
        floor = subprocess.Popen(cat, bufsize=0, **PIPES)
        pingpong(floor, 200)
        found = bench.compare(12, lambda floor=floor: pingpong(floor, 200), "rtt", place, 200)
        row("small-int round trip: %s" % where, found, us, (times, (STOCK,), "at most"))
        floor.stdin.close()
        floor.wait()


def flow(bench):
    found = bench.compare(7, None, "flow", "ssh", 30000)
    row(
        "one-way small messages over ssh, until their count is back",
        found,
        per_second,
        (2, (STOCK,), "at least"),
    )


UP = """
import os
while 1:
    left = {size}
    while left:
        got = len(os.read(0, min(left, 65536)))
        if not got: raise SystemExit
        left -= got
    os.write(1, b'x')
"""
DOWN = """
import os
data = os.urandom(1000000) * {count}
while os.read(0, 1):
    view = memoryview(data)
    while view: view = view[os.write(1, view[:65536]):]
"""


def bulk(bench):
    count = 20
    data = os.urandom(10**6) * count
    programs = {"up": UP.format(size=len(data)), "down": DOWN.format(count=count)}
    for way, program in programs.items():
        command = bench.ssh + ["build1", "%s -c '%s'" % (bench.python_there, program.replace("'", "'\\''"))]
        floor = subprocess.Popen(command, bufsize=0, **PIPES)

        def plain(floor=floor, way=way):
            begin = time.perf_counter()
            left = memoryview(data if way == "up" else b"x")
            while left:
                left = left[floor.stdin.write(left) :]
            wanted = 1 if way == "up" else len(data)
            while wanted:
                wanted -= len(floor.stdout.read(min(wanted, 65536)))
            return (time.perf_counter() - begin) / count

        plain()
        found = bench.compare(9, plain, way, "ssh", count)
        row(
            "1 MB random bytes, ssh, %s" % way,
            found,
            megabytes,
            (0.75, ("floor",), "at least"),
            (4, (STOCK,), "at least"),
        )
        floor.stdin.close()
        floor.wait()


PICKLE = """
import pickle, sys
while 1:
    pickle.dump(pickle.load(sys.stdin.buffer), sys.stdout.buffer, -1)
    sys.stdout.buffer.flush()
"""


def values(bench):
    from answers import VALUES

    command = [sys.executable, "-c", PICKLE]
    for kind, make in VALUES.items():
        value = make()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, **PIPES) as floor:

            def plain(floor=floor, value=value):
                begin = time.perf_counter()
                pickle.dump(value, floor.stdin, -1)
                floor.stdin.flush()
                assert len(pickle.load(floor.stdout)) == len(value)
                return time.perf_counter() - begin

            found = bench.compare(5, plain, "values", kind)
        row("%s there and back, popen" % kind, found, ms, (1 / 10, (STOCK,), "at most"))


def many(bench):
    count = 50
    command = ["sh", "-c", "seq %d | xargs -P2 -I{} %s -c pass" % (count, bench.python_there)]
    found = bench.compare(5, lambda: timed(lambda: run(command)), "many", count)
    row("%d gateways on one node" % count, found, ms, (0.5, (STOCK,), "at most"))


ROWS = {act.__name__: act for act in (open, ready, rtt, flow, bulk, values, many)}


HEAD = "| what | floor | %s | %s | execnet | ratio | goal | reached |" % (STOCK, MITOGEN)

far = "far" in sys.argv[1:]

if __name__ == "__main__":
    measure(Gateways, ROWS, [name for name in sys.argv[1:] if name != "far"], HEAD)
