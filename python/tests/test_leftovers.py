"""Gateways leave nothing behind, whether they were closed or died."""

import os
import signal
import threading
import time

import execnet
from conftest import WAIT, children


def fds():
    return len(os.listdir("/proc/self/fd"))


def tasks():
    return len(os.listdir("/proc/self/task"))


def comes(true, within=WAIT):
    """Whether a condition becomes true in time."""
    deadline = time.monotonic() + within
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def test_a_dead_gateway_keeps_no_file_open(group):
    before = fds()
    gateway = group.makegateway("popen")
    channel = gateway.remote_exec("channel.receive()")
    assert fds() > before
    os.kill(gateway._rinfo().pid, signal.SIGKILL)
    assert comes(lambda: fds() <= before), (before, fds())
    assert comes(channel.isclosed) and not gateway.hasreceiver()


def test_two_hundred_gateways_leave_nothing_behind():
    def some(count):
        with execnet.Group() as group:
            gateways = [group.makegateway("popen") for _ in range(count)]
            channels = [gateway.remote_exec("channel.send(channel.receive())") for gateway in gateways]
            for number, channel in enumerate(channels):
                channel.send(number)
            assert [channel.receive(WAIT) for channel in channels] == list(range(count))
            channels[0].setcallback(lambda item: None)

    some(1)
    before = fds(), tasks(), threading.active_count(), children(os.getpid())

    def now():
        return fds(), tasks(), threading.active_count(), children(os.getpid())

    for _ in range(10):
        some(20)
    assert comes(lambda: all(a <= b for a, b in zip(now(), before))), (before, now())
