"""Gateways on the nodes of a network."""

import json
import os
import sys
import time

import execnet
import pytest
from conftest import INTERPRETERS, WAIT, children
from execnet.gateway import HURRY, end


@pytest.fixture
def net(network):
    with execnet.connect(network.name) as net:
        yield net


def test_a_network_that_does_not_run_is_an_error():
    with pytest.raises(OSError, match="nowhere"):
        execnet.connect("nowhere")
    with pytest.raises(ValueError):
        execnet.connect("not a name")


def test_a_socket_that_somebody_removed_is_waited_for(network):
    status = json.loads(network("status", "--json"))
    os.remove(status["socket"])
    with execnet.connect(network.name) as net:
        assert os.path.exists(status["socket"]) and net.nodes
    assert json.loads(network("status", "--json"))["pid"] == status["pid"]


def mine_with(net, processes):
    """The node `mine`, once that many processes run on it: what a test before has ended may still end."""
    end = time.monotonic() + WAIT
    while True:
        (mine,) = [node for node in net.nodes if node.host == "mine"]
        if mine.processes == processes:
            return mine
        assert time.monotonic() < end, mine.processes
        time.sleep(0.05)


def test_nodes_are_listed_with_what_is_known_of_them(net):
    mine = mine_with(net, 0)
    assert (
        mine.state == "ready"
        and mine.platform == sys.platform
        and mine.implementation == sys.implementation.name
    )
    assert mine.version == ".".join(map(str, sys.version_info[:3])) and mine.via is None
    assert mine.cpus == os.cpu_count() and mine.machine == os.uname().machine
    assert mine.name in repr(mine) and net.name in repr(net)


def test_a_gateway_is_made_by_what_is_needed(net):
    gateway = net.makegateway(node="mine", env={"MINE": "1"}, id="one", nice=1)
    assert gateway.remote_exec("import os; channel.send((os.environ['MINE'], os.nice(0)))").receive(WAIT) == (
        "1",
        os.nice(0) + 1,
    )
    assert gateway.node.host == "mine" and gateway.id == "one" and gateway in net.group
    assert gateway._rinfo().executable == sys.executable
    mine = mine_with(net, 1)
    assert gateway.node == mine and hash(gateway.node) == hash(mine) and net.nodes.count(mine) == 1


@pytest.mark.skipif(
    "jython" not in INTERPRETERS, reason="skipped, because there is no Jython on this machine"
)
def test_jython_is_reached_by_its_platform(net):
    gateway = net.makegateway(platform="java", patience=WAIT)
    channel = gateway.remote_exec(
        """
        import sys
        channel.send(sys.platform)
        for item in channel:
            channel.send(item * 2)
        """
    )
    assert channel.receive(WAIT).startswith("java")
    channel.send(21)
    assert channel.receive(WAIT) == 42


def test_what_no_node_is_says_what_there_is(net):
    with pytest.raises(execnet.HostNotFound, match="mine"):
        net.makegateway(platform="vax")
    assert len(net.group) == 0


def test_many_are_made_at_a_time(net):
    gateways = net.makegateways(8, node="mine")
    assert [gateway.id for gateway in gateways] == [f"gw{n}" for n in range(8)]
    assert len({gateway._rinfo().pid for gateway in gateways}) == 8
    channels = execnet.MultiChannel([gateway.remote_exec("channel.send(1)") for gateway in gateways])
    assert channels.receive_each() == [1] * 8


def test_specs_reach_the_network_from_any_group(network, group):
    gateway = group.makegateway(f"net={network.name}//node=mine//id=x")
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
    assert gateway.node.host == "mine"
    with pytest.raises(ValueError):
        group.makegateway("net")
    with pytest.raises(OSError):
        group.makegateway("net=nowhere")


def test_a_dead_interpreter_is_told_with_its_node(net):
    channel = net.makegateway(node="mine", id="dies").remote_exec("import os; os._exit(9)")
    with pytest.raises(EOFError, match="mine.*9"):
        channel.receive(WAIT)


def test_closing_ends_the_gateways(network):
    with execnet.connect(network.name) as net:
        gateway = net.makegateway(node="mine")
        pid = gateway._rinfo().pid
    with pytest.raises(OSError):
        os.kill(pid, 0)
    with pytest.raises(OSError):
        net.makegateway()


def test_chdir_and_python(net, tmp_path):
    gateway = net.makegateway(node="mine", chdir=str(tmp_path / "new"), python=f"{sys.executable} -W error")
    assert gateway._rinfo().cwd == str(tmp_path / "new")
    assert gateway.remote_exec("import sys; channel.send(sys.warnoptions)").receive(WAIT) == ["error"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="skipped, because only Linux hosts start ahead"
)
def test_the_next_interpreter_of_a_node_waits_already(net, tmp_path, monkeypatch):
    def is_here(pid):
        try:
            return os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
        except OSError:
            return False

    def started_here(parent):
        return {pid for pid in children(parent) if is_here(pid)}

    def state(gateway):
        """What code could see of the time before it was there."""
        return gateway.remote_exec(
            "import gc, os, signal, sys\n"
            "env = {key: value for key, value in os.environ.items() if key != 'EXECNET_PROCESS'}\n"
            "fds = ['/proc/self/fd/' + fd for fd in sorted(os.listdir('/proc/self/fd'))]\n"
            "fds = [os.readlink(fd).split(':')[0] for fd in fds if os.path.exists(fd)]\n"
            "handlers = [str(signal.getsignal(number)) for number in range(1, 32)]\n"
            "threads = len(os.listdir('/proc/self/task'))\n"
            "channel.send((sys.argv, sys.path, sys.warnoptions, os.getcwd(), env, fds, handlers, threads,\n"
            "              gc.isenabled(), os.fstat(0).st_rdev))"
        ).receive(WAIT)

    monkeypatch.chdir(tmp_path)
    first = net.makegateway(node="mine")
    cold = state(first)
    agent = first.remote_exec("import os; channel.send(os.getppid())").receive(WAIT)
    began = time.monotonic()
    while not (waiting := started_here(agent) - {first._rinfo().pid}):
        assert time.monotonic() < began + WAIT
        time.sleep(0.02)
    (waiting,) = waiting
    # an interpreter started ahead has no variables of a client
    assert net.makegateway(node="mine", env={"MINE": "1"})._rinfo().pid != waiting
    second = net.makegateway(node="mine")
    assert second._rinfo().pid == waiting
    assert state(second) == cold
    assert cold[0] == ["-c"] and cold[3] == str(tmp_path)
    # one that had time has the kernel in it, and what that needs at some time
    loaded = "import sys; channel.send('execnet_kernel.stdin' in sys.modules)"
    assert not first.remote_exec(loaded).receive(WAIT)
    pause = 0.5
    while not net.makegateway(node="mine").remote_exec(loaded).receive(WAIT):
        assert time.monotonic() < began + WAIT
        time.sleep(pause)
        pause *= 2


def test_a_python_that_is_not_there_is_named_with_its_node(net):
    with pytest.raises(OSError, match=r"(?s)mine.*cannot start the interpreter `/no/python`: .*No such file"):
        net.makegateway(node="mine", python="/no/python -E")
    assert len(net.group) == 0


@pytest.mark.parametrize(
    "sleeps", ["import time; time.sleep(1000)", "while 1:\n try: channel.receive()\n except: pass"]
)
def test_ctrl_c_ends_a_block_with_what_its_gateways_execute(network, sleeps, monkeypatch):
    patience = []
    monkeypatch.setattr(
        "execnet.multi.end", lambda gateways, timeout: (patience.append(timeout), end(gateways, timeout))
    )
    with pytest.raises(KeyboardInterrupt), execnet.connect(network.name) as net:
        gateway = net.makegateway(node="mine")
        pid = gateway._rinfo().pid
        channel = gateway.remote_exec(f"channel.send(1)\n{sleeps}")
        assert channel.receive(WAIT) == 1
        raise KeyboardInterrupt
    assert patience == [HURRY]
    with pytest.raises(OSError):
        os.kill(pid, 0)


def test_specs_and_keywords_go_together(net):
    gateway = net.makegateway("id=a//env:X=1", node="mine", execmodel="main_thread_only")
    assert gateway.id == "a" and gateway.remote_status().execmodel == "main_thread_only"
    assert gateway.remote_exec("import os; channel.send(os.environ['X'])").receive(WAIT) == "1"
    with pytest.raises(ValueError):
        net.makegateway("popen")
    with pytest.raises(ValueError):
        net.makegateway("net=other")
    with pytest.raises(TypeError, match="not int"):
        net.makegateway(1)


def test_attributes_that_a_program_has_added_are_no_keys(net):
    spec = execnet.XSpec("node=mine")
    spec.mine = object()
    assert net.makegateway(spec).spec.mine is spec.mine
    with pytest.raises(ValueError, match="unknown key 'nodde' .*is node= meant"):
        net.makegateway("nodde=mine")


def test_keywords_of_wrong_types_are_named(net):
    for keywords, words in [
        (dict(chdir=b"/tmp"), "chdir= takes a str, not bytes"),
        (dict(chdir=1), "chdir= takes a str, not int"),
        (dict(python=1), "python= takes a str, not int"),
        (dict(nice=1.5), "nice= takes an int, not float"),
        (dict(env={"A": 1}), "variable A must be a str, not int"),
        (dict(env="A=1"), "env .*str"),
    ]:
        with pytest.raises(TypeError, match=words):
            net.makegateway(node="mine", **keywords)
    for keywords, words in [
        (dict(platform=""), "platform= needs a value"),
        (dict(nice="abc"), "whole number"),
        (dict(id=""), "id= needs a name"),
        (dict(id="a//b"), "id= needs a name"),
        (dict(env={"": "1"}), "name ''"),
    ]:
        with pytest.raises(ValueError, match=words):
            net.makegateway(**keywords)
    with pytest.raises(TypeError, match="unexpected keyword argument 'plattform'"):
        net.makegateway(plattform="linux")
    with pytest.raises(TypeError, match=r"makegateways\(\) got an unexpected keyword argument 'id'"):
        net.makegateways(0, id="a")
    with pytest.raises(TypeError, match="the name of a network must be a str, not NoneType"):
        execnet.connect(None)
    assert len(net.group) == 0


def test_folders_and_interpreters_may_be_paths(net, tmp_path):
    python = tmp_path / "a python"
    python.symlink_to(sys.executable)
    gateway = net.makegateway(node="mine", python=python, chdir=tmp_path / "a//b", nice=0)
    assert gateway._rinfo().executable == str(python) and gateway._rinfo().cwd == str(tmp_path / "a/b")
    assert net.makegateway(node="mine", chdir=f"{tmp_path}//c")._rinfo().cwd == str(tmp_path / "c")


def test_a_number_of_gateways_below_zero_is_an_error(net):
    assert net.makegateways(0) == []
    with pytest.raises(ValueError, match="-1"):
        net.makegateways(-1)
    with pytest.raises(TypeError, match="number of gateways must be an int, not str"):
        net.makegateways("3")
