"""Neither programs nor gateways notice breaks between them: killed ssh, killed daemon."""

import contextlib
import io
import json
import os
import queue
import re
import signal
import threading
import time
from functools import partial
from pathlib import Path

import execnet
import pytest
from conftest import WAIT, Network

#: Round trips of a test; the more, the more often a kill hits the middle of one.
COUNT = int(os.environ.get("EXECNET_TEST_ROUND_TRIPS", "3000"))

ECHO = "for item in channel: channel.send(item)"


@pytest.fixture
def lab(ssh_config, tmp_path):
    """A separate network, with a host that ssh reaches and one behind it."""
    name = f"python-resume-{os.getpid()}"
    network = Network(name, tmp_path, f"ssh=build1//ssh_config={ssh_config}", "ssh=inner//via=build1")
    yield network
    network("stop")


def daemon(network):
    return json.loads(network("status", "--json"))["pid"]


def kill_ssh(network, ssh_config, host):
    """Kill the processes that connect to a host of the lab, from here or from another host of it. Return
    whether it was up."""
    killed = False
    hosts = {each["id"]: each["state"] for each in json.loads(network("status", "--json"))["hosts"]}
    if hosts[host] != "up":
        # a connection that is killed while it is made disturbs nothing, but is retried later and later
        return False
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            if os.path.basename(argv[0]) != b"ssh" or host.encode() not in argv:
                continue
            environ = (folder / "environ").read_bytes()
            # processes of other labs are not ours
            if ssh_config.encode() in argv or os.path.dirname(ssh_config).encode() in environ:
                os.kill(int(folder.name), signal.SIGKILL)
                killed = True
        except OSError:
            continue
    return killed


def kill_daemon(network):
    pid = daemon(network)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + WAIT
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.005)
    network("start")
    return daemon(network) != pid


class Kills:
    """Kills in a thread, once in each part of the work but the first and the last."""

    def __init__(self, *kills):
        self.kills = kills
        self.at = 0
        self.failed = None
        self.over = False
        self.due, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def passed(self, number):
        """Note the progress, of COUNT."""
        if number * (len(self.kills) + 2) // COUNT == self.at:
            return
        self.at += 1
        if self.at > 1:
            assert self.done.acquire(timeout=WAIT) and self.failed is None, self.failed
        if self.at <= len(self.kills):
            self.due.release()

    def run(self):
        try:
            for kill in self.kills:
                self.due.acquire()
                while not self.over and not kill():
                    time.sleep(0.02)
                self.done.release()
        except BaseException as error:
            self.failed = error
            self.done.release(len(self.kills) + 1)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.over = True
        self.due.release(len(self.kills))
        self.thread.join(WAIT)
        if exc_info[0] is None:
            assert self.failed is None and self.at == len(self.kills) + 1


def ping_pong(channel, kills):
    for number in range(COUNT):
        kills.passed(number)
        channel.send((number, "x" * (number % 100)))
        assert channel.receive(WAIT) == (number, "x" * (number % 100))


def in_a_flow(channel, kills):
    """Many values are under way in both directions."""
    sender = threading.Thread(target=lambda: [channel.send(number) for number in range(COUNT)], daemon=True)
    sender.start()
    for number in range(COUNT):
        kills.passed(number)
        assert channel.receive(WAIT) == number
    sender.join()


@pytest.mark.parametrize("talk", [ping_pong, in_a_flow])
@pytest.mark.parametrize("hops", [["build1"], ["build1", "inner"]], ids=["a host", "a host behind a host"])
def test_every_answer_comes_in_order_although_ssh_is_killed(lab, ssh_config, hops, talk):
    with execnet.connect(lab.name) as net:
        channel = net.makegateway(node=hops[-1]).remote_exec(ECHO)
        # every link to a host is short-lived, so the next login comes later and later
        kills = [partial(kill_ssh, lab, ssh_config, host) for _ in range(5) for host in hops]
        with Kills(*kills) as kills:
            talk(channel, kills)
        channel.close()


@pytest.mark.parametrize("talk", [ping_pong, in_a_flow])
def test_every_answer_comes_in_order_although_the_daemon_is_killed(lab, talk):
    with execnet.connect(lab.name) as net:
        channel = net.makegateway(node="build1").remote_exec(ECHO)
        with Kills(*[partial(kill_daemon, lab)] * 2) as kills:
            talk(channel, kills)
        channel.close()


@pytest.mark.parametrize("talk", [ping_pong, in_a_flow])
def test_every_answer_of_a_kept_gateway_comes_in_order_although_ssh_and_daemon_are_killed(
    lab, ssh_config, talk
):
    with execnet.connect(lab.name) as net:
        gateway = net.makegateway(node="build1", keep="echo")
        channel = gateway.remote_exec(ECHO, channel="echo")
        with Kills(partial(kill_ssh, lab, ssh_config, "build1"), partial(kill_daemon, lab)) as kills:
            talk(channel, kills)
        gateway.exit()


class Cuttable:
    """A network whose host build1 can be made unreachable."""

    def __init__(self, ssh_config, folder, name):
        self.config = folder / "config"
        self.config.write_text(Path(ssh_config).read_text())
        self.spec = f"ssh=build1//ssh_config={self.config}"
        self.network = Network(name, folder, self.spec)
        self.name = name

    def cut(self):
        self.mended = self.config.read_text()
        # nothing listens there
        self.config.write_text(f"Host build1\n  Port 1\n{self.mended}")
        while not kill_ssh(self.network, str(self.config), "build1"):
            time.sleep(0.02)

    def mend(self):
        self.config.write_text(self.mended)


@pytest.fixture
def cuttable(ssh_config, tmp_path):
    cuttable = Cuttable(ssh_config, tmp_path, f"python-away-{os.getpid()}")
    yield cuttable
    cuttable.network("stop")


def test_nodes_and_gateways_tell_that_their_host_is_out_of_reach(cuttable):
    with execnet.connect(cuttable.name, on_unreachable=False) as net:
        gateway = net.makegateway()
        assert {node.state for node in net.nodes} == {gateway.node.state} == {"ready"}
        cuttable.cut()
        deadline = time.monotonic() + WAIT
        while {node.state for node in net.nodes} != {"unreachable"}:
            assert time.monotonic() < deadline, net.nodes
            time.sleep(0.05)
        assert gateway.node.state == "unreachable" and gateway.node == net.nodes[0]
        # the host cannot learn of the end, so nothing waits for it
        net.close(timeout=None)
        assert gateway.node.state == "lost" and not gateway.hasreceiver()


def test_a_program_hears_when_a_host_is_out_of_reach_and_when_it_is_back(cuttable, monkeypatch):
    told = queue.Queue()

    def on_unreachable(node, text):
        told.put((node, text, threading.current_thread()))
        raise ValueError("others are told all the same")

    errors = io.StringIO()
    monkeypatch.setattr("sys.stderr", errors)
    with execnet.connect(cuttable.name, on_unreachable=on_unreachable) as net, execnet.Group() as group:
        channel = net.makegateway(id="a").remote_exec(ECHO)
        net.makegateway(id="b")
        # through a connection of its own
        other = group.makegateway(f"net={cuttable.name}").remote_exec(ECHO)
        cuttable.cut()
        node, text, thread = told.get(timeout=WAIT)
        assert node == net.group["a"].node and node.state == "unreachable"
        assert re.match(r"build1 is unreachable \(.+\); waiting, at most (10|9) min$", text)
        assert thread in threading.enumerate()
        cuttable.mend()
        node, text, _ = told.get(timeout=WAIT)
        assert (node.state, text) == ("ready", "build1 is reachable again")
        for each in channel, other:
            each.send(1)
            assert each.receive(WAIT) == 1
        assert told.empty()
        deadline = time.monotonic() + WAIT
        while "execnet: build1 is reachable again\n" not in errors.getvalue():
            assert time.monotonic() < deadline, errors.getvalue()
            time.sleep(0.02)
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("execnet: build1")]
    assert len(lines) == 2 and " is unreachable (" in lines[0]
    assert errors.getvalue().count("ValueError: others are told all the same") == 2
    del channel, each, net
    thread.join(WAIT)
    assert not thread.is_alive(), "it ends with its connection"


def test_who_gives_up_gets_an_error_and_others_wait(cuttable):
    with execnet.connect(cuttable.name, on_unreachable=None, give_up=0.1) as net, execnet.Group() as group:
        hasty = net.makegateway().remote_exec(ECHO)
        patient = net.makegateway(give_up="1h").remote_exec(ECHO)
        by_spec = group.makegateway(f"net={cuttable.name}//give_up=1").remote_exec(ECHO)
        private = group.makegateway(f"{cuttable.spec}//give_up=1").remote_exec(ECHO)
        cuttable.cut()
        words = "of host `build1` has ended: build1 is unreachable: .*; given up after {} s"
        with pytest.raises(execnet.GatewayDied, match=words.format(0.1)):
            hasty.receive(WAIT)
        for each in by_spec, private:
            with pytest.raises(execnet.GatewayDied, match=words.format(1)):
                each.receive(WAIT)
        assert hasty.gateway.node.state == "lost" and patient.gateway.node.state == "unreachable"
        cuttable.mend()
        patient.send(1)
        assert patient.receive(WAIT) == 1
        assert [each.gateway.node.state for each in (hasty, patient)] == ["lost", "ready"]


def test_a_gateway_waits_for_a_host_that_is_on_its_way_back(cuttable):
    told = queue.Queue()

    def on_unreachable(node, text):
        told.put((node.state, text))
        if told.qsize() == 1:
            cuttable.mend()

    with execnet.connect(cuttable.name, on_unreachable=on_unreachable) as net:
        cuttable.cut()
        while {node.state for node in net.nodes} != {"unreachable"}:
            time.sleep(0.02)
        gateway = None
        while gateway is None:
            # it waits for 10 s, which a busy machine may exceed
            with contextlib.suppress(execnet.HostNotFound):
                gateway = net.makegateway()
        assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
    state, text = told.get()
    assert state == "unreachable" and re.match(r"build1 is unreachable \(.*\); waiting, at most 10 s$", text)


@pytest.mark.parametrize(
    "keywords", [dict(on_unreachable=1), dict(on_unreachable="print"), dict(give_up=[1])]
)
def test_what_cannot_be_told_or_waited_for_is_an_error(network, keywords):
    with pytest.raises(TypeError, match=next(iter(keywords))):
        execnet.connect(network.name, **keywords)


@pytest.mark.parametrize("limit", ["soon", "", -1, float("nan"), float("inf"), True])
def test_a_limit_that_is_no_time_is_an_error(network, limit):
    with pytest.raises((ValueError, TypeError), match="give_up="):
        execnet.connect(network.name, give_up=limit)
    with execnet.connect(network.name) as net, pytest.raises((ValueError, TypeError), match="give_up="):
        net.makegateway(give_up=limit)
