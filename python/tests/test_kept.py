"""Gateways that are kept: programs leave them, and others come back."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import execnet
import pytest
from conftest import INTERPRETERS, WAIT, line_of

COUNTS = """
import sys
sys.seen = 0
for item in channel:
    sys.seen += 1
    channel.send(item * 10)
"""


@pytest.fixture
def net(network):
    with execnet.connect(network.name) as net:
        yield net


@pytest.fixture
def name(network):
    """A name for kept work, which ends with the test."""
    name = f"kept-{time.monotonic_ns()}"
    yield name
    with execnet.connect(network.name) as net:
        try:
            gateway = net.attach(name)
        except FileNotFoundError:
            return
        gateway.exit()
        gateway.join(WAIT)


def make(net, name, **keywords):
    return net.makegateway(node="mine", keep=name, patience=WAIT, **keywords)


def test_it_goes_on_with_the_next_program(network, name):
    with execnet.connect(network.name) as net:
        gateway = make(net, name)
        assert gateway.is_kept and gateway.node.host == "mine"
        pid = gateway._rinfo().pid
        channel = gateway.remote_exec(COUNTS, channel="work")
        for item in (1, 2, 3):
            channel.send(item)
        assert channel.receive(WAIT) == 10
    assert not gateway.hasreceiver() and gateway not in net.group
    with execnet.connect(network.name) as net:
        gateway = net.attach(name)
        assert gateway.id == name and gateway.is_kept and gateway._rinfo(update=True).pid == pid
        channel = gateway.channel("work")
        assert channel.received_before == 3
        assert [channel.receive(WAIT), channel.receive(WAIT)] == [20, 30]
        seen = gateway.remote_exec("import sys; channel.send(sys.seen)")
        assert seen.receive(WAIT) == 3


PROGRAM = """
import execnet, os, sys
net = execnet.connect(sys.argv[1])
gateway = net.makegateway(node="mine", keep=sys.argv[2])
code = "import time\\nfor n in range(3): channel.send(n)\\ntime.sleep(1e6)"
channel = gateway.remote_exec(code, channel="n")
print(gateway._rinfo().pid, channel.receive(), flush=True)
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "raise SystemExit(3)",
        "1 / 0",
        "raise KeyboardInterrupt",
        "os.kill(os.getpid(), 9)",
        "os.kill(os.getpid(), 15)",
        "os._exit(0)",
        "net.close()",
        "net.group.terminate(timeout=0)",
        "gateway.detach()",
        "del gateway, channel, net",
        "net.__exit__(KeyboardInterrupt, None, None)",
        "gateway.__exit__(KeyboardInterrupt, None, None)",
    ],
)
def test_however_its_program_ends(network, name, run_program, end):
    done = run_program(PROGRAM + end, network.name, name)
    pid, first = map(int, done.stdout.split())
    assert first == 0, done.stderr
    with execnet.connect(network.name) as net:
        gateway = net.attach(name)
        assert gateway._rinfo().pid == pid
        assert gateway.remote_status().numexecuting == 1
        channel = gateway.channel("n")
        assert [channel.receive(WAIT), channel.receive(WAIT)] == [1, 2]


def test_exit_ends_it(net, name):
    gateway = make(net, name)
    pid = gateway._rinfo().pid
    gateway.exit()
    gateway.join(WAIT)
    with pytest.raises(OSError):
        os.kill(pid, 0)
    with pytest.raises(FileNotFoundError, match=name):
        net.attach(name)


def test_who_attaches_takes_over_and_the_program_before_is_told(network, net, name):
    before = make(net, name)
    waits = before.channel("work")
    with execnet.connect(network.name) as other:
        after = other.attach(name)
        with pytest.raises(execnet.GatewayDied, match="taken over"):
            waits.receive(WAIT)
        assert after.remote_exec("channel.send(1)").receive(WAIT) == 1
        after.detach()
        # and back
        again = net.attach(name)
        assert again.id != before.id and again.remote_exec("channel.send(2)").receive(WAIT) == 2


def test_a_program_comes_back_to_what_it_has_left(net, name):
    gateway = make(net, name, id="first")
    for _ in range(5):
        gateway.detach()
        assert len(net.group) == 0
        gateway = net.attach(name, give_up="1m")
        assert gateway.id == name and gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


def test_errors_say_what_to_do(net, name, group):
    gateway = make(net, name)
    with pytest.raises(OSError, match=name):
        make(net, name)
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
    with pytest.raises(FileNotFoundError, match=rf"did you mean `{name}`\?"):
        net.attach(f"{name}x")
    for wrong in ("a b", "", "-x", "x" * 65, "a//b"):
        with pytest.raises(ValueError, match="keep="):
            make(net, wrong)
    with pytest.raises(ValueError, match="keep_for="):
        make(net, f"{name}1", keep_for="soon")
    with pytest.raises(ValueError, match="keep= .*missing"):
        net.makegateway(node="mine", keep_for="2d")
    with pytest.raises(TypeError, match="keep= takes a str, not int"):
        make(net, 1)
    with pytest.raises(ValueError, match="cannot all be kept"):
        net.makegateways(2, node="mine", keep=f"{name}2")
    for spec in ("popen//keep=x", "popen//keep_for=1h"):
        with pytest.raises(ValueError, match=r"needs net=, in 'popen"):
            group.makegateway(spec)
    other = net.makegateway(node="mine")
    assert not other.is_kept
    with pytest.raises(ValueError, match="is not kept"):
        other.detach()
    for wrong in (lambda: other.channel("x"), lambda: other.remote_exec("1", channel="x")):
        with pytest.raises(OSError, match="kept"):
            wrong()
    with pytest.raises(OSError, match="name"):
        gateway.channel("")
    assert gateway.remote_exec("channel.send(2)").receive(WAIT) == 2


@pytest.mark.skipif(
    "jython" not in INTERPRETERS, reason="skipped, because there is no Jython on this machine"
)
def test_interrupted_while_it_opens_it_is_not_kept(network, net, name):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    chance = random.Random(15)
    try:
        make(net, name).exit()
        began = time.monotonic()
        for turn in range(3):
            make(net, f"{name}-w{turn}").exit()
        usual = (time.monotonic() - began) / 3
        interrupted = 0
        for turn in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.5, 1.2) * usual)
                gateway = make(net, f"{name}-{turn}")
                signal.setitimer(signal.ITIMER_REAL, 0)
                gateway.exit()
            except Stop:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted

    def running():
        processes = json.loads(network("ps", "--json"))["processes"]
        kept = [
            process for process in processes if process["kept"] and process["kept"]["name"].startswith(name)
        ]
        return [process for process in kept if process["kept"]["state"] != "ended"]

    end = time.monotonic() + WAIT
    while sum(process["kept"]["state"] == "left" for process in running()) > 2:
        # a signal after the last step of makegateway is the program's own affair
        assert time.monotonic() < end, network("ps")
        time.sleep(0.1)
    while left := running():
        assert time.monotonic() < end, left
        with contextlib.suppress(AssertionError):  # some have ended meanwhile
            network("kill", *(process["id"] for process in left), "--signal", "KILL")


def test_jython_says_that_it_cannot_be_kept(net, name):
    with pytest.raises(OSError, match="(?i)jython"):
        net.makegateway(platform="java", keep=name, patience=WAIT)


def test_specs_keep_too(network, group, net, name):
    gateway = group.makegateway(f"net={network.name}//node=mine//keep={name}//keep_for=1h")
    pid = gateway._rinfo().pid
    group.terminate(WAIT)
    assert net.attach(f"{name}@mine")._rinfo().pid == pid


TAKER = """
import execnet, os, sys, zlib
name, kept, odd = sys.argv[1:]
os.write(1, b"\\n")
net = execnet.connect(name)
gateway = net.attach(kept)
up, down = gateway.channel("up"), gateway.channel("down")
sent = up.received_before
while True:
    sent += 1
    size = sent * 7919 * 131 % (10 ** 7 if sent % 5 == 0 else 3000)
    up.send((sent, b"u" * size))
    number, data, check = down.receive()
    os.write(1, b"%d %d\\n" % (number, zlib.crc32(data) == check))
"""

ECHOES = """
import threading, zlib
down = channel.gateway.channel("down")
up = channel.gateway.channel("up")
def produce():
    number = 0
    while True:
        number += 1
        size = number * 7919 * 257 % (10 ** 7 if number % 5 == 0 else 3000)
        data = b"%d" % number * (size // 8)
        down.send((number, data, zlib.crc32(data)))
thread = threading.Thread(target=produce)
thread.daemon = True
thread.start()
import sys
sys.got = []
while True:
    number, data = up.receive()
    sys.got.append((number, len(data)))
"""


def test_killed_programs_by_turns_lose_and_double_nothing(network, net, name):
    """`EXECNET_ATTACHES=1000` makes it a long one."""
    count = int(os.environ.get("EXECNET_ATTACHES", "20"))
    chance = random.Random(os.environ.get("EXECNET_SEED", "15"))
    gateway = make(net, name)
    gateway.remote_exec(ECHOES, channel="main")
    gateway.detach()
    numbers, first = [], None
    for turn in range(count):
        command = [sys.executable, "-c", TAKER, network.name, name, str(turn % 2)]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line_of(program)
        # the older one is still attached, and dies a moment later
        time.sleep(chance.uniform(0, 0.5))
        if first is not None:
            numbers += ended(first)
        first = program
    numbers += ended(first)
    assert all(sound for _, sound in numbers)
    numbers = [number for number, _ in numbers]
    assert numbers == sorted(set(numbers))
    # the last value of a killed program was received, but not written down
    assert numbers[-1] - len(numbers) <= count and len(numbers) > count / 4
    gateway = net.attach(name)
    got = gateway.remote_exec("import sys; channel.send(sys.got)").receive(WAIT)
    assert [number for number, _ in got] == list(range(1, len(got) + 1))


def ended(program):
    program.send_signal(signal.SIGKILL)
    out, error = program.communicate(timeout=WAIT)
    assert not error or b"taken over" in error, error.decode()
    lines = [line.split() for line in out.decode().splitlines() if line]
    return [(int(number), sound == "1") for number, sound in lines]
