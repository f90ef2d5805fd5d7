"""A lab with a network, measuring in turn, and the table: what the programs of this folder share."""

import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
EXECNET = ROOT / "target/release/execnet"
LAB = ROOT / "target/release/execnet-testkit"
TICK = os.sysconf("SC_CLK_TCK")
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
HEAD = "| what | floor is | floor | execnet | ratio | goal | reached | notes |"


class Bench:
    """A lab of hosts, and a network on them with its own folders."""

    def __init__(self, hosts, *more):
        self.folder = tempfile.TemporaryDirectory(prefix="execnet-bench-")
        self.name = os.path.basename(self.folder.name).replace("_", "-")
        self.env = dict(os.environ)
        for key in ("CONFIG", "STATE"):
            self.env["XDG_%s_HOME" % key] = os.path.join(self.folder.name, key.lower())
        self.lab = subprocess.Popen(
            [LAB, "lab", "--hosts", str(hosts), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.config = None
        while self.config is None:
            line = self.lab.stdout.readline()
            assert line, "the lab did not start"
            found = re.search(r"ssh_config=?:?\s*([^\s/]?\S*ssh_config)", line)
            self.config = found and found.group(1)
        self.ssh = ["ssh", "-F", self.config, "-T", "-S", "none", "-o", "BatchMode=yes"]
        for n in range(hosts):
            assert run(self.ssh + ["build%d" % (n + 1), "true"]).returncode == 0

    def begin(self):
        """What takes so long that it must be ended when it is interrupted."""

    def execnet(self, command, *args, **more):
        done = run([EXECNET, command, self.name, *args], env=self.env, **more)
        assert done.returncode == 0, (command, args, done.stderr)
        return done.stdout

    def spec(self, n, more=""):
        return "ssh=build%d//ssh_config=%s%s" % (n, self.config, more)

    def python(self, *args, **more):
        command = [EXECNET, "python", self.name, *args]
        return subprocess.Popen(command, env=self.env, bufsize=0, **more)

    def daemon(self):
        import json

        return json.loads(self.execnet("status", "--json"))["pid"]

    def end(self):
        run([EXECNET, "stop", self.name], env=self.env)
        self.lab.stdin.close()
        self.lab.wait()
        self.folder.cleanup()


def forget(bench):
    for file in Path(bench.env["XDG_CONFIG_HOME"]).glob("execnet/*.toml"):
        file.unlink()


def run(command, **more):
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def timed(act):
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def pairs(rounds, *acts):
    """The median of each, measured in turn."""
    return [median(column) for column in in_turn(rounds, *acts)]


def in_turn(rounds, *acts):
    """What each returns, in another order each round: a run slows down the next."""
    found = [[] for _ in acts]
    order = list(range(len(acts)))
    for _ in range(rounds):
        random.shuffle(order)
        for index in order:
            found[index].append(acts[index]())
    return found


def pingpong(process, count):
    """The median round trip of one byte through an echoing process."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        os.write(process.stdin.fileno(), b"x")
        os.read(process.stdout.fileno(), 1)
        found.append(time.perf_counter() - start)
    return median(found)


def cpu():
    """CPU seconds of all processes of this machine."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, idle, wait, irq, soft = map(int, fields[:7])
    return (user + nice + system + irq + soft) / TICK


def cpu_of(pids):
    """CPU seconds of processes, from the scheduler's count, which is finer than ticks."""
    total = 0.0
    for pid in pids:
        try:
            total += int(Path("/proc/%d/schedstat" % pid).read_text().split()[0]) / 1e9
        except OSError:
            pass
    return total


def children(pid):
    return [int(child) for child in Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().split()]


def row(what, against, floor, ours, ratio, aim, fine, note=""):
    print(
        "| %s | %s | %s | %s | %s | %s | %s | %s |"
        % (what, against, floor, ours, ratio, aim, {True: "yes", False: "**no**"}.get(fine, ""), note),
        flush=True,
    )


def measure(make, rows, names, head):
    """Build the release, and print the rows with these names, or all: a table below `head`. Or print help."""
    if {"-h", "--help"} & set(names):
        print(sys.modules["__main__"].__doc__.strip(), end="\n\nRows:\n")
        for name, act in rows.items():
            print("    %-9s %s" % (name, (act.__doc__ or "").split("\n")[0]))
        return
    unknown = [name for name in names if name not in rows]
    if unknown:
        sys.exit("no such row: %s; the rows are %s" % (", ".join(unknown), ", ".join(rows)))
    build = ["cargo", "build", "-q", "--release", "-p", "execnet-cli", "-p", "execnet-testkit"]
    subprocess.run(build, cwd=ROOT, check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench = make()
    try:
        bench.begin()
        ssh = run(["ssh", "-V"]).stderr.strip()
        python = platform.python_version()
        print("%s, %d cores, %s, Python %s" % (platform.platform(), os.cpu_count(), ssh, python))
        print("load %.1f before\n" % os.getloadavg()[0])
        print(head)
        print("|---" * (head.count("|") - 1) + "|", flush=True)
        for name in names or rows:
            rows[name](bench)
    finally:
        bench.end()


def venv(name, packages, python=sys.executable):
    """A venv with these packages under target/bench. The project's own is built and installed anew."""
    folder = ROOT / "target/bench" / name
    if str(ROOT) in packages or not (folder / "complete").exists():
        subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "complete").touch()
    return folder


def ms(seconds):
    return "%.1f ms" % (seconds * 1e3)


def us(seconds):
    return "%.0f µs" % (seconds * 1e6)
