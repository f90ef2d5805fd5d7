"""Groups and channels of several gateways."""

import contextlib
import os
import sys
import time

import execnet
import pytest
from conftest import PATIENT, WAIT
from execnet import Group, MultiChannel, RemoteError, XSpec
from execnet.gateway import KILLED


def test_ids_are_given_in_order(group):
    first, second = group.makegateway(), group.makegateway("popen//id=x")
    assert (first.id, second.id, group.makegateway().id) == ("gw0", "x", "gw1")
    assert len(group) == 3 and [gateway.id for gateway in group] == ["gw0", "x", "gw1"]
    assert repr(group) == "<Group ['gw0', 'x', 'gw1']>"


def test_gateways_are_found_by_id_index_and_themselves(group):
    gateway = group.makegateway("popen//id=x")
    assert group["x"] is group[0] is group[gateway] is gateway
    assert "x" in group and gateway in group and "y" not in group
    with pytest.raises(KeyError):
        group["y"]
    with pytest.raises(IndexError):
        group[1]


def test_an_id_stands_once(group):
    group.makegateway("popen//id=x")
    with pytest.raises(ValueError, match="x"):
        group.makegateway("popen//id=x")
    assert len(group) == 1


def test_ids_can_be_allocated_before(group):
    spec = XSpec("popen")
    group.allocate_id(spec)
    group.allocate_id(spec)
    assert spec.id == "gw0"
    assert group.makegateway(spec).id == "gw0"
    assert group.makegateway().id == "gw1"


def test_specs_can_be_given_at_once():
    with Group(["popen//id=a", None, XSpec("popen//id=c")]) as group:
        assert [gateway.id for gateway in group] == ["a", "gw0", "c"]


def test_the_default_spec_can_be_changed(group):
    group.defaultspec = "popen//env:MINE=1"
    assert group.makegateway().spec.env == {"MINE": "1"}


def test_execution_models_are_set_before_gateways(group):
    assert (group.execmodel.backend, group.remote_execmodel.backend) == ("thread", "thread")
    group.set_execmodel("thread", "main_thread_only")
    gateway = group.makegateway()
    assert gateway.spec.execmodel == "main_thread_only"
    assert gateway.remote_status().execmodel == "main_thread_only"
    with pytest.raises(ValueError):
        group.set_execmodel("thread")
    with pytest.raises(ValueError, match="gevent"):
        Group(execmodel="gevent")
    with pytest.raises(ValueError, match="unknown"):
        Group(execmodel="unknown")
    with pytest.raises(TypeError, match="output"):
        Group(output=3)


def test_gateways_are_in_it_by_index_too(group):
    gateway = group.makegateway()
    assert gateway in group and gateway.id in group
    assert 0 in group and -1 in group and 1 not in group and -2 not in group


def test_an_interpreter_that_does_not_start_in_its_time_is_told(group, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 100000\n")
    program.chmod(0o755)
    with pytest.raises(execnet.TimeoutError, match="was not ready in time; .* `patience=` in the spec"):
        group.makegateway(f"popen//python={program}//patience=1")
    for wrong in ("soon", "0", "25d"):
        with pytest.raises(ValueError, match=f"patience={wrong}: not a time like"):
            group.makegateway(f"popen//patience={wrong}")


def test_terminate_ends_all(group):
    pids = [group.makegateway()._rinfo().pid for _ in range(3)]
    group.terminate()
    assert len(group) == 0
    for pid in pids:
        with pytest.raises(OSError):
            os.kill(pid, 0)


STOPS = "import os, signal; channel.send(1); os.kill(os.getpid(), signal.SIGSTOP)"


def test_terminate_kills_what_does_not_end_in_time(group):
    gateway = group.makegateway()
    assert gateway.remote_exec(STOPS).receive(WAIT) == 1
    group.terminate(timeout=1.0)
    with pytest.raises(OSError):
        os.kill(gateway._rinfo().pid, 0)


class Clock:
    """A clock that advances only while something waits."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("execnet.gateway.time", clock)
    return clock


def test_the_timeout_of_terminate_is_for_all_gateways_together(group, clock):
    for _ in range(4):
        group.makegateway()
    gateways = list(group)
    assert group.remote_exec(STOPS).receive_each() == [1] * 4
    for gateway in gateways:
        gateway._native = Unreachable(gateway._native, clock)
    group.terminate(timeout=8)
    assert clock.now == pytest.approx(8)
    for gateway in gateways:
        with pytest.raises(OSError):
            os.kill(gateway._rinfo().pid, 0)


class Unreachable:
    """A gateway that ends only when it is killed. If `deaf`, its end is not reported even then, as if the
    daemon were dead."""

    def __init__(self, native, clock, deaf=False):
        self.native, self.clock, self.deaf, self.killed_at = native, clock, deaf, None

    def join(self, timeout):
        if self.killed_at is not None and not self.deaf:
            return self.native.join(WAIT)
        self.clock.now += timeout
        return False

    def kill(self):
        self.killed_at = self.clock.now
        self.native.kill()

    def is_alive(self):
        return True

    def __getattr__(self, name):
        return getattr(self.native, name)


def test_what_cannot_be_reached_is_killed_and_given_up_all_at_once(group, clock):
    for _ in range(4):
        gateway = group.makegateway()
        gateway._native = Unreachable(gateway._native, clock, deaf=True)
    gateways = list(group)
    group.terminate(timeout=8)
    assert [gateway._native.killed_at for gateway in gateways] == pytest.approx([8] * 4)
    assert clock.now == pytest.approx(8 + KILLED)


class Late:
    """A callback thread that takes long."""

    def __init__(self, clock):
        self.clock = clock

    def join(self, timeout):
        self.clock.now += timeout


@pytest.mark.parametrize("wait", ["group.terminate(8)", "gateway.exit(); gateway.join(8)"])
def test_callbacks_that_take_long_share_the_timeout(group, clock, wait):
    gateway = group.makegateway()
    # a real timeout would have to be long, and so would this test
    gateway._native.exit()
    assert gateway._native.join(WAIT)
    gateway._threads.update(Late(clock) for _ in range(4))
    exec(wait)
    assert clock.now == pytest.approx(8)


INTERRUPTED = """
import time
try:
    channel.send(1)
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    channel.send("interrupted")
"""

ENDS = {
    "terminate": "try: raise KeyboardInterrupt\nexcept KeyboardInterrupt: group.terminate(WAIT)",
    "finally": "try: raise KeyboardInterrupt\nfinally: group.terminate(WAIT)",
    "exit": "try: raise KeyboardInterrupt\nexcept KeyboardInterrupt: gateway.exit()",
    "SystemExit": """
try:
    try: raise KeyboardInterrupt
    except KeyboardInterrupt: raise SystemExit(130)
finally:
    group.terminate(WAIT)
""",
    "the group's block": "with group: raise KeyboardInterrupt",
    "the gateway's block": "with gateway: raise KeyboardInterrupt",
}


class Counted:
    """Counts interrupts."""

    def __init__(self, native):
        self._native = native
        self.interrupts = 0

    def __getattr__(self, name):
        return getattr(self._native, name)

    def interrupt(self):
        self.interrupts += 1
        self._native.interrupt()


@pytest.mark.parametrize("end", ENDS)
def test_what_ctrl_c_ends_is_interrupted_once_and_at_once(group, end, monkeypatch):
    monkeypatch.setattr("execnet.multi.HURRY", WAIT)
    monkeypatch.setattr("execnet.gateway.HURRY", WAIT)
    gateway = group.makegateway()
    channel = gateway.remote_exec(PATIENT + INTERRUPTED)
    assert channel.receive(WAIT) == 1
    native = gateway._native = Counted(gateway._native)
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        exec(ENDS[end], dict(group=group, gateway=gateway, WAIT=WAIT))
    assert channel.receive(WAIT) == "interrupted"
    # a second one would interrupt the cleanup
    assert native.interrupts == 1


def test_a_ctrl_c_that_was_handled_interrupts_nothing(group):
    with contextlib.suppress(KeyboardInterrupt):
        raise KeyboardInterrupt
    code = "try: channel.receive()\nexcept BaseException as error: channel.send(type(error).__name__)"
    channel = group.makegateway().remote_exec(code)
    group.terminate(WAIT)
    assert channel.receive(WAIT) == "EOFError"


def test_a_timeout_is_a_number_before_anything_ends(group):
    gateway = group.makegateway()
    with pytest.raises(TypeError, match="a timeout must be a number of seconds or None, not str"):
        group.terminate("x")
    assert gateway in group and gateway.hasreceiver()


def test_terminate_waits_for_gateways_that_left_before(group):
    gateway = group.makegateway()
    pid = gateway._rinfo().pid
    gateway.exit()
    group.terminate()
    with pytest.raises(OSError):
        os.kill(pid, 0)


def test_code_is_executed_in_all(group):
    for _ in range(3):
        group.makegateway()
    channels = group.remote_exec("channel.send(channel.receive() * 2)")
    assert isinstance(channels, MultiChannel) and len(channels) == 3
    channels.send_each(21)
    assert channels.receive_each() == [42] * 3
    channels.waitclose()
    assert channels[0] in channels and [*channels][1] is channels[1]


def test_receive_each_can_say_from_whom(group):
    channels = MultiChannel(
        [group.makegateway().remote_exec("channel.send(channel.gateway.id)") for _ in range(2)]
    )
    assert [(channel.gateway.id, item) for channel, item in channels.receive_each(withchannel=True)] == [
        ("gw0", "gw0"),
        ("gw1", "gw1"),
    ]


def test_a_queue_gets_what_comes_and_the_ends(group):
    channels = MultiChannel([group.makegateway().remote_exec(f"channel.send({n})") for n in range(2)])
    queue = channels.make_receive_queue(endmarker="end")
    assert channels.make_receive_queue() is queue
    got = [queue.get(timeout=WAIT) for _ in range(4)]
    assert sorted(str(item) for _, item in got) == ["0", "1", "end", "end"]
    assert {channel for channel, _ in got} == set(channels)


def test_waitclose_raises_the_first_error_when_all_are_closed(group):
    sources = ["channel.receive()", "raise ValueError(1)", "raise ValueError(2)"]
    channels = MultiChannel([group.makegateway().remote_exec(source) for source in sources])
    channels[0].send(None)
    with pytest.raises(RemoteError, match="ValueError: 1"):
        channels.waitclose()
    assert all(channel.isclosed() for channel in channels)


def test_via_a_child_starts_what_that_was_started_with_whatever_it_says(group, tmp_path):
    program, other, ran = tmp_path / "program", tmp_path / "other", tmp_path / "ran"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.executable = {str(other)!r}\n"
        "exec(sys.argv[sys.argv.index('-c') + 1])\n"
    )
    other.write_text(f"#!/bin/sh\n: > {ran}\n")
    for path in program, other:
        path.chmod(0o755)
    first = group.makegateway(f"popen//python={program}//id=first")
    assert first._rinfo().executable == str(other)
    for via in "first", "second":
        second = group.makegateway(f"popen//via={via}//id={'second' if via == 'first' else 'third'}")
        assert second._rinfo().executable == str(other)
    third = group.makegateway(f"popen//via=first//python={sys.executable}")
    assert third.remote_exec("import sys; channel.send(sys.executable)").receive(WAIT) == sys.executable
    assert not ran.exists()


def test_the_default_group_makes_gateways():
    gateway = execnet.makegateway()
    assert gateway.id in execnet.default_group
    assert execnet.default_group.makegateway == execnet.makegateway
    gateway.exit()
    gateway.join()


def test_many_gateways_leave_nothing_behind():
    import gc
    import threading

    def fds():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    with Group() as group:
        group.makegateway()
    del group
    before, threads = fds(), threading.active_count()
    for _ in range(4):
        with Group(["popen"] * 5) as group:
            for channel in group.remote_exec("channel.send(1)"):
                channel.setcallback(lambda item: None)
        del group, channel
    # threads that have reported an end are about to end
    deadline = time.monotonic() + WAIT
    while (fds(), threading.active_count()) != (before, threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (fds(), threading.active_count()) == (before, threads)
