"""What breaks between a program and its gateways is not seen by either: killed ssh, killed daemon."""

import json
import os
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
    """A network of its own, with a host that ssh reaches and one behind it."""
    name = f"python-resume-{os.getpid()}"
    network = Network(name, tmp_path, f"ssh=build1//ssh_config={ssh_config}", "ssh=inner//via=build1")
    yield network
    network("stop")


def daemon(network):
    return json.loads(network("status", "--json"))["pid"]


def kill_ssh(network, ssh_config, host):
    """Kills what connects to a host of the lab, from here or from another host of it; whether that was up."""
    killed = False
    hosts = {each["id"]: each["state"] for each in json.loads(network("status", "--json"))["hosts"]}
    if hosts[host] != "up":
        # who is killed while it connects is not disturbed in its work, but tried again later and later
        return False
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            if os.path.basename(argv[0]) != b"ssh" or host.encode() not in argv:
                continue
            environ = (folder / "environ").read_bytes()
            # those of other labs are none of ours
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
    """Kills in a thread of its own, once in each part of the way but the first and the last one."""

    def __init__(self, *kills):
        self.kills = kills
        self.at = 0
        self.failed = None
        self.over = False
        self.due, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run, daemon=True)

    def passed(self, number):
        """So far the way has come, of COUNT."""
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
    """Many are on the way, in both directions."""
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
        kills = [partial(kill_ssh, lab, ssh_config, hops[at % len(hops)]) for at in range(10)]
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


def test_a_node_says_that_its_host_is_out_of_reach(ssh_config, tmp_path):
    config = tmp_path / "config"
    config.write_text(Path(ssh_config).read_text())
    network = Network(f"python-away-{os.getpid()}", tmp_path, f"ssh=build1//ssh_config={config}")
    try:
        with execnet.connect(network.name) as net:
            assert {node.state for node in net.nodes} == {"ready"}
            config.write_text("NoSuchOption yes\n")
            assert kill_ssh(network, str(config), "build1")
            deadline = time.monotonic() + WAIT
            while {node.state for node in net.nodes} != {"unreachable"}:
                assert time.monotonic() < deadline, net.nodes
                time.sleep(0.05)
    finally:
        network("stop")
