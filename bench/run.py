#!/usr/bin/env python3
"""Measures the network and its floor in interleaved pairs, and prints one Markdown table.

    bench/run.py            all rows (about ten minutes)
    bench/run.py join rtt   some rows
    bench/run.py --help     their names

Needs cargo, sshd and Python 3.8 or later. Hosts come from the project's own lab. Absolute times depend on the
machine; compare the ratio of the two medians of a row.
"""

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
    children,
    cpu,
    cpu_of,
    forget,
    in_turn,
    measure,
    ms,
    pairs,
    pingpong,
    row,
    run,
    timed,
    us,
)

PROGRAM = ROOT / "target/release/examples/process"
MB = 1e6


def with_cats(bench, before, there, behind):
    """`ssh host` with a `cat` in place of each of our parts: client and daemon here, agent there."""
    ssh = " ".join("'%s'" % word for word in bench.ssh)
    return ["sh", "-c", '%s | %s build1 "%s" | %s' % (before, ssh, there, behind)]


# The rows, in the order of the table.


def join(bench):
    """Joining one ssh host."""
    bench.execnet("start", "popen")
    check = bench.ssh + ["build1", "python3 -c pass"]

    def ours():
        took = timed(lambda: bench.execnet("addhost", bench.spec(1)))
        bench.execnet("rmhost", "build1")
        return took

    floor, mine = pairs(15, lambda: timed(lambda: run(check)), ours)
    row(
        "joining one ssh host",
        "`ssh host python3 -c pass`",
        ms(floor),
        ms(mine),
        "%.2f ×" % (mine / floor),
        "1.25 ×",
        mine <= 1.25 * floor,
    )
    bench.execnet("stop")
    forget(bench)


def join20(bench):
    """Joining 20 ssh hosts."""

    def floor():
        def act():
            all = [
                subprocess.Popen(
                    bench.ssh + ["build%d" % (n + 1), "python3 -c pass"], stdin=subprocess.DEVNULL
                )
                for n in range(20)
            ]
            for process in all:
                process.wait()

        return timed(act)

    def ours():
        specs = [bench.spec(n + 1) for n in range(20)]
        took = timed(lambda: bench.execnet("start", *specs))
        bench.execnet("stop")
        forget(bench)
        return took

    floor, mine = pairs(5, floor, ours)
    row(
        "joining 20 ssh hosts",
        "20 of the above in parallel",
        ms(floor),
        ms(mine),
        "%.2f ×" % (mine / floor),
        "1.25 ×",
        mine <= 1.25 * floor,
    )


def exec20(bench):
    """`execnet exec` on 20 ssh hosts."""
    bench.execnet("start", *[bench.spec(n + 1) for n in range(20)])
    code = "import sys; %s(sys.version_info[:3])"

    def floor():
        def act():
            command = "python3 -c '%s'" % code % "print"
            all = [
                subprocess.Popen(
                    bench.ssh + ["build%d" % (n + 1), command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                )
                for n in range(20)
            ]
            for process in all:
                assert process.communicate()[0].count(b"\n") == 1

        return timed(act)

    def ours():
        def act():
            assert bench.execnet("exec", code % "channel.send").count("\n") == 20

        return timed(act)

    ours()
    floor, mine = pairs(15, floor, ours)
    row(
        "`execnet exec` on 20 ssh hosts of a standing network",
        "`ssh host python3 -c …` to each in parallel",
        ms(floor),
        ms(mine),
        "%.2f ×" % (mine / floor),
        "0.1 ×",
        mine <= 0.1 * floor,
    )
    bench.execnet("stop")
    forget(bench)


def agents(bench):
    """Joining 200 hosts of this machine."""
    rss = []

    def floor():
        return timed(lambda: run(["sh", "-c", "seq 200 | xargs -P2 -I{} python3 -c pass"]))

    def ours():
        specs = ["popen//id=p%d" % n for n in range(200)]
        took = timed(lambda: bench.execnet("start", *specs))
        status = Path("/proc/%d/status" % bench.daemon()).read_text()
        rss.append(int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024)
        bench.execnet("stop")
        forget(bench)
        return took

    floor, mine = pairs(3, floor, ours)
    fine = mine <= 3 * floor and max(rss) < 20
    row(
        "200 agents on this machine, joined",
        "200 × `python3 -c pass`, two at a time",
        "%.2f s" % floor,
        "%.2f s" % mine,
        "%.2f ×" % (mine / floor),
        "3 ×; daemon < 20 MiB",
        fine,
        "daemon %.1f MiB" % max(rss),
    )


def first(bench):
    """The first byte of a process on a joined host."""
    bench.execnet("start", bench.spec(1))
    python = bench.execnet("python", "-c", "import sys; print(sys.executable)").strip()
    code = "import os; os.write(1, b'x')"

    def byte(command, env=None):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env)
        os.read(process.stdout.fileno(), 1)
        took = time.perf_counter() - start
        process.wait()
        return took

    ours = [EXECNET, "python", bench.name, "-c", code]
    floor, mine = pairs(100, lambda: byte([python, "-c", code]), lambda: byte(ours, bench.env))
    row(
        "a process's first byte on a joined host",
        "`python3 -c` on that machine, without ssh",
        ms(floor),
        ms(mine),
        "+ %.1f ms" % ((mine - floor) * 1e3),
        "+ 5 ms",
        mine <= floor + 0.005,
    )
    bench.execnet("stop")
    forget(bench)


CAT = "import os; os.execvp('cat', ['cat'])"


def preferred(bench):
    """The cipher that links ask for first, as the daemon's `driver/cipher.rs` chooses it."""
    told = run(["ssh", "-F", bench.config, "-G", "build1"]).stdout
    ciphers = re.search(r"^ciphers (\S+)", told, re.MULTILINE).group(1).split(",")
    words = set(Path("/proc/cpuinfo").read_text().split())
    if "aes" in words and words & {"pclmulqdq", "pmull"}:
        ciphers.sort(key=lambda cipher: "-gcm@" not in cipher)
    return ciphers[0]


def bulk(bench):
    """Bytes through one link, beside ssh with its own cipher and with the one that links prefer."""
    bench.execnet("start", bench.spec(1))
    cipher = preferred(bench)
    size = 500 * 1000 * 1000
    data = os.path.join(bench.folder.name, "data")
    with open(data, "wb") as file:
        block = os.urandom(1 << 20)
        while file.tell() < size:
            file.write(block)
    size = os.path.getsize(data)
    gb = size / 1e9

    def down(command, env=None):
        before = cpu()
        took = timed(
            lambda: subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
            )
        )
        return took, (cpu() - before) / gb

    def up(command, env=None):
        before = cpu()
        with open(data, "rb") as file:
            took = timed(
                lambda: subprocess.run(command, env=env, stdin=file, stdout=subprocess.DEVNULL, check=True)
            )
        return took, (cpu() - before) / gb

    take = "import os; os.execvp('sh', ['sh', '-c', 'cat > /dev/null'])"
    give = "import os; os.execvp('cat', ['cat', %r])" % data
    same = [*bench.ssh, "-c", cipher]
    ways = [
        (
            "down",
            down,
            bench.ssh + ["build1", "cat " + data],
            same + ["build1", "cat " + data],
            [EXECNET, "python", bench.name, "-c", give],
            with_cats(bench, "true", "cat %s | cat" % data, "cat | cat"),
        ),
        (
            "up",
            up,
            bench.ssh + ["build1", "cat > /dev/null"],
            same + ["build1", "cat > /dev/null"],
            [EXECNET, "python", bench.name, "-c", take],
            with_cats(bench, "cat | cat", "cat | cat > /dev/null", "cat"),
        ),
    ]
    for name, act, floor, ciphered, ours, cats in ways:
        acts = [(floor, None), (ciphered, None), (ours, bench.env), (cats, None)]
        found = in_turn(7, *[lambda act=act, way=way: act(*way) for way in acts])
        (f, fc), (s, sc), (m, mc), (c, cc) = [map(median, zip(*column)) for column in found]
        note = "CPU %.1f s/GB, floor %.1f; with three plain `cat`s on the way %.2f ×, %.1f s/GB" % (
            mc,
            fc,
            f / c,
            cc,
        )
        row(
            "bulk %s, one ssh hop" % name,
            "`ssh host cat`",
            "%.0f MB/s" % (size / MB / f),
            "%.0f MB/s" % (size / MB / m),
            "%.2f ×" % (f / m),
            "0.8 ×",
            f / m >= 0.8,
            note,
        )
        row(
            "bulk %s, one ssh hop, the same cipher" % name,
            "`ssh -c %s host cat`" % cipher,
            "%.0f MB/s" % (size / MB / s),
            "%.0f MB/s" % (size / MB / m),
            "%.2f ×; CPU %.2f ×" % (s / m, mc / sc),
            "0.9 ×; CPU 1.25 ×",
            s / m >= 0.9 and mc <= 1.25 * sc,
            "CPU %.1f s/GB, floor %.1f" % (mc, sc),
        )
    bench.execnet("stop")
    forget(bench)


def rtt(bench):
    """Round trips of a byte on an idle link."""
    bench.execnet("start", bench.spec(1))
    floor = subprocess.Popen(bench.ssh + ["build1", "cat"], bufsize=0, **PIPES)
    ours = bench.python("-c", CAT, **PIPES)
    cats = subprocess.Popen(with_cats(bench, "cat | cat", "cat | cat | cat", "cat | cat"), bufsize=0, **PIPES)
    for process in (floor, ours, cats):
        pingpong(process, 200)
    pids = [bench.daemon(), int(bench.execnet("python", "-c", "import os; print(os.getppid())"))]
    used = []

    def watched():
        before = [cpu_of([pid]) for pid in pids]
        took = pingpong(ours, 200)
        used.append([(cpu_of([pid]) - then) / 200 for pid, then in zip(pids, before)])
        return took

    f, m, c = pairs(20, lambda: pingpong(floor, 200), watched, lambda: pingpong(cats, 200))
    daemon, agent = [median(column) for column in zip(*used)]
    row(
        "small round trip, one ssh hop",
        "the same through `ssh host cat`",
        us(f),
        us(m),
        "%.2f ×" % (m / f),
        "",
        None,
        "with three plain `cat`s on the way, in each direction: %.2f ×" % (c / f),
    )
    row(
        "the same, beside the floor of a mediated design",
        "`cat`s in the places of client, daemon and agent",
        us(c),
        us(m),
        "%.2f ×" % (m / c),
        "1.15 ×",
        m <= 1.15 * c,
        "processor time a round trip: agent %s (goal 30 µs), daemon %s (goal 20 µs)"
        % (us(agent), us(daemon)),
    )
    for process in (floor, ours, cats):
        process.stdin.close()
        process.wait()
    bench.execnet("stop")
    forget(bench)


def beside(bench):
    """Round trips beside bulk: on its link, and on that of another host."""
    bench.execnet("start", bench.spec(1), bench.spec(2))
    same, other = [bench.python("--node", node, "-c", CAT, **PIPES) for node in ("build1", "build2")]
    plain = subprocess.Popen(bench.ssh + ["build1", "cat"], bufsize=0, **PIPES)
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    zeros = "import os\nwhile 1: os.write(1, b'x' * 65536)"

    def with_ours():
        return bench.python("--node", "build1", "-c", zeros, **null)

    def with_ssh():
        return subprocess.Popen(bench.ssh + ["build1", "exec cat /dev/zero"], **null)

    def during(bulk, quiet):
        loud = bulk()
        try:
            time.sleep(0.5)  # until it is at full speed
            return pingpong(quiet, 300)
        finally:
            loud.kill()
            loud.wait()
            time.sleep(0.5)  # until its queue is empty

    for process in (same, other, plain):
        pingpong(process, 200)
    idle, busy, idle_other, busy_other, alone, apart = pairs(
        7,
        lambda: pingpong(same, 300),
        lambda: during(with_ours, same),
        lambda: pingpong(other, 300),
        lambda: during(with_ours, other),
        lambda: pingpong(plain, 300),
        lambda: during(with_ssh, plain),
    )
    note = "plain ssh beside another ssh's bulk: %.1f × (%s)" % (apart / alone, us(apart))
    for what, before, after, aim in (
        ("same link", idle, busy, 5),
        ("another host's link", idle_other, busy_other, 1.5),
    ):
        row(
            "small round trip beside bulk, " + what,
            "the same while both links are idle",
            us(before),
            us(after),
            "%.1f ×" % (after / before),
            "%g ×" % aim,
            after <= aim * before,
            note,
        )
    for process in (same, other, plain):
        process.stdin.close()
        process.wait()
    bench.execnet("stop")
    forget(bench)


def program(bench):
    """Round trips and bulk of a Rust program, which speaks to the daemon without `execnet python`."""
    build = ["cargo", "build", "-q", "--release", "-p", "execnet", "--example", "process"]
    subprocess.run(build, cwd=ROOT, check=True)
    bench.execnet("start", bench.spec(1))
    done = run([PROGRAM, bench.name, *bench.ssh, "build1"], env=bench.env)
    assert done.returncode == 0, done.stderr
    found = {
        name: (float(floor), float(mine)) for name, floor, mine in map(str.split, done.stdout.splitlines())
    }
    for name in ("down", "up"):
        floor, mine = found[name]
        row(
            "bulk %s, from a Rust program" % name,
            "`ssh host cat` as its child",
            "%.0f MB/s" % (400 / floor),
            "%.0f MB/s" % (400 / mine),
            "%.2f ×" % (floor / mine),
            "0.8 ×",
            floor / mine >= 0.8,
        )
    floor, mine = found["rtt"]
    row(
        "small round trip, from a Rust program",
        "through `ssh host cat` as its child",
        us(floor),
        us(mine),
        "%.2f ×" % (mine / floor),
        "",
        None,
    )
    bench.execnet("stop")
    forget(bench)


FLOODS = ("ping", "pong", "ack", "node", "foreign", "forget", "data", "noise", "stderr", "end")


def flood(bench):
    """Round trips to one host during 5 s in which another joins and floods (bench/hostile.py)."""
    bench.execnet("start", "popen")
    echo = bench.python("--node", "local", "-c", CAT, **PIPES)
    pingpong(echo, 500)
    for kind in FLOODS:
        spec = "cmd=%s %s %s bad//id=bad" % (sys.executable, ROOT / "bench/hostile.py", kind)
        idle = pingpong(echo, 2000)
        host = subprocess.Popen(
            [EXECNET, "addhost", bench.name, spec],
            env=bench.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        busy, end = [], time.perf_counter() + 5
        while time.perf_counter() < end:
            busy.append(pingpong(echo, 1))
        host.kill()
        host.wait()
        bench.execnet("rmhost", "bad")
        busy.sort()
        middle, late = busy[len(busy) // 2], busy[len(busy) * 99 // 100]
        row(
            "small round trip beside a host that floods: %s" % kind,
            "idle",
            us(idle),
            us(middle),
            "%.1f ×" % (middle / idle),
            "3 ×",
            middle <= 3 * idle,
            "slowest of 100: %s, slowest of all: %s" % (us(late), ms(busy[-1])),
        )
    echo.stdin.close()
    echo.wait()
    bench.execnet("stop")
    forget(bench)


def idle(bench):
    """Processor time of 50 hosts without work, over 60 s."""
    specs = ["popen//id=p%d" % n for n in range(30)] + [bench.spec(n + 1) for n in range(20)]
    bench.execnet("start", *specs)
    daemon = bench.daemon()
    time.sleep(12)  # until the network is quiet after joining
    links = children(daemon)
    import json

    hosts = json.loads(bench.execnet("status", "--json"))["hosts"]
    remote = [host["agent_pid"] for host in hosts]
    before = [cpu_of(pids) for pids in ([daemon], links, remote)]
    time.sleep(60)
    spent = [cpu_of(pids) - was for pids, was in zip(([daemon], links, remote), before)]
    share = spent[0] / 60 * 100
    row(
        "idle network of 50 hosts, 60 s",
        "",
        "",
        "%.3f %% of a core" % share,
        "",
        "0.1 %",
        share < 0.1,
        "agents together %.3f %%, ssh and stubs %.3f %%" % (spent[2] / 0.6, spent[1] / 0.6),
    )
    bench.execnet("stop")
    forget(bench)


ROWS = {
    act.__name__: act
    for act in (join, join20, exec20, agents, first, bulk, rtt, beside, program, flood, idle)
}


if __name__ == "__main__":
    measure(lambda: Bench(20), ROWS, sys.argv[1:], HEAD)
