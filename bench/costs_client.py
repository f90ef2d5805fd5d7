"""The program whose gateways, channels and messages costs.py counts: a client of a network."""

import os
import re
import sys
from pathlib import Path

import execnet
from answers import answer, median_of, timed

ECHO = "for item in channel: channel.send(item)"
CHANNELS = "kept = []\nfor item in channel:\n    kept.append(item)\n    channel.send(len(kept))"
network = execnet.connect(sys.argv[1], on_unreachable=False, on_progress=False)
gateways = []


def memory():
    """KiB of memory of this program."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))


def open_one(node):
    """Seconds until a new gateway has answered, and the pid of its interpreter."""

    def act():
        gateways.append(network.makegateway(node=node))
        gateways[-1].remote_exec("channel.send(1)").receive()

    took = timed(act)
    return took, gateways[-1]._rinfo().pid


def open_many(node, count):
    """KiB of memory that each of so many gateways takes in this program."""
    before = memory()
    gateways.extend(network.makegateways(count, node=node))
    return (memory() - before) / count


def trip(count):
    """The median round trip of an int."""
    channel = gateways[0].remote_exec(ECHO)

    def act():
        channel.send(7)
        assert channel.receive() == 7

    took = median_of(count, act)
    channel.close()
    return took


def flow(count):
    """Seconds for so many ints one way, until their count is back."""
    code = "n = 0\nfor item in channel:\n    n += 1\n    if item < 0: channel.send(n)"

    def act():
        channel = gateways[0].remote_exec(code)
        for _ in range(count - 1):
            channel.send(7)
        channel.send(-1)
        assert channel.receive() == count
        channel.close()

    act()
    return timed(act)


def channels(count):
    """Seconds and KiB of memory here for each of so many channels, which stay open."""
    control = gateways[0].remote_exec(CHANNELS)
    before = memory()

    def act():
        for _ in range(count):
            kept.append(gateways[0].newchannel())
            control.send(kept[-1])
        for number in range(count):
            assert control.receive() == number + 1

    kept = [control]
    took = timed(act)
    return took / count, (memory() - before) / count


answer(
    {
        "pid": os.getpid,
        "kernel": lambda: gateways[0]._rinfo().pid,
        "open": open_one,
        "many": open_many,
        "trip": trip,
        "flow": flow,
        "channels": channels,
    }
)
network.group.terminate(10)
network.close()
