"""Who dies, and what becomes of a kept gateway: the rows of the fault table, on a host that ssh reaches."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import execnet
import pytest
from conftest import WAIT, Network
from test_kept import COUNTS
from test_resume import daemon, kill_daemon, kill_ssh


@pytest.fixture
def network(ssh_config, tmp_path):
    """A separate network, with a host that ssh reaches."""
    network = Network(f"python-faults-{os.getpid()}", tmp_path, f"ssh=build1//ssh_config={ssh_config}")
    yield network
    with contextlib.suppress(AssertionError):  # it runs
        network("start")
    network("stop", "--end-kept")


class Kept:
    """A gateway that is kept, with work under way: the program that made it has one answer, and waits for
    another that does not come."""

    def __init__(self, network):
        self.network = network
        self.net = execnet.connect(network.name)
        self.gateway = self.net.makegateway(node="build1", keep="worker", patience=WAIT)
        self.pid = self.gateway._rinfo().pid
        self.channel = self.gateway.remote_exec(COUNTS, channel="work")
        for item in (1, 2, 3):
            self.channel.send(item)
        assert self.channel.receive(WAIT) == 10
        self.waits = self.gateway.remote_exec("channel.receive()")

    def goes_on(self):
        """Check that who attaches finds the same interpreter and what the channel still has."""
        self.net.close()
        with execnet.connect(self.network.name) as net:
            gateway = net.attach("worker")
            assert gateway._rinfo(update=True).pid == self.pid
            channel = gateway.channel("work")
            assert [channel.receive(WAIT), channel.receive(WAIT)] == [20, 30]
            assert gateway.remote_exec("import sys; channel.send(sys.seen)").receive(WAIT) == 3

    def is_told(self, words):
        """Check that waits of the program that has it end, with these words."""
        with pytest.raises(execnet.GatewayDied, match=words):
            self.waits.receive(WAIT)

    def agent(self):
        return json.loads(self.network("status", "--json"))["hosts"][0]["agent_pid"]


@pytest.fixture
def kept(network):
    kept = Kept(network)
    yield kept
    kept.net.close()


def back(network, verb, ssh_config):
    """Undo `stop` or `rmhost`."""
    if verb == "stop":
        network("start")
    else:
        network("addhost", f"ssh=build1//ssh_config={ssh_config}")


def gone(pid):
    """Wait until a process has ended, also if nobody has asked for its status."""
    end = time.monotonic() + WAIT
    try:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
            assert time.monotonic() < end
            time.sleep(0.02)
    except OSError:
        pass


def test_its_program_does_not_notice_that_ssh_or_the_daemon_is_killed(network, kept, ssh_config):
    assert kill_ssh(network, ssh_config, "build1")
    assert kept.channel.receive(WAIT) == 20
    assert kill_daemon(network)
    assert kept.channel.receive(WAIT) == 30
    kept.channel.send(4)
    assert kept.channel.receive(WAIT) == 40
    assert kept.gateway.remote_exec("import sys; channel.send(sys.seen)").receive(WAIT) == 4


@pytest.mark.parametrize("verb", ["stop", "rmhost"])
def test_it_is_left_or_nothing_is_done(network, kept, verb, ssh_config):
    hosts = ["build1"] if verb == "rmhost" else []
    with pytest.raises(AssertionError, match="worker on build1(.|\n)*--leave-kept"):
        network(verb, *hosts)
    network(verb, *hosts, "--leave-kept")
    kept.is_told("only for this program; it stays there")
    back(network, verb, ssh_config)
    kept.goes_on()


def test_a_daemon_that_is_told_to_end_leaves_it(network, kept):
    os.kill(daemon(network), signal.SIGTERM)
    kept.is_told("only for this program; it stays there")
    network("start")
    kept.goes_on()


@pytest.mark.parametrize("verb", ["stop", "rmhost"])
def test_it_is_ended_if_that_is_asked_for(network, kept, verb, ssh_config):
    agent = kept.agent()
    network(verb, *(["build1"] if verb == "rmhost" else []), "--end-kept")
    kept.is_told("the network .* was stopped" if verb == "stop" else "build1 was removed")
    gone(kept.pid)
    gone(agent)
    back(network, verb, ssh_config)
    with (
        execnet.connect(network.name) as net,
        pytest.raises(FileNotFoundError, match="worker"),
    ):
        net.attach("worker")


def test_with_its_agent_it_is_lost_and_everybody_is_told(network, kept):
    os.kill(kept.agent(), signal.SIGKILL)
    kept.is_told("killed")
    gone(kept.pid)
    with (
        execnet.connect(network.name) as net,
        pytest.raises(OSError, match="killed"),
    ):
        net.attach("worker")


def test_it_goes_on_while_nobody_reaches_its_host(network, kept, ssh_config):
    kept.gateway.detach()
    kill_ssh(network, ssh_config, "build1")
    kill_daemon(network)
    kept.goes_on()
