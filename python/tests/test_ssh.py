"""Gateways on hosts that ssh reaches, with real ssh servers and without a named network."""

import os
import re
import shlex
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import execnet
import pytest
from conftest import WAIT, children


@pytest.fixture
def spec(ssh_config):
    return f"ssh=build1//ssh_config={ssh_config}"


def test_ssh_reaches_a_host(group, spec, tmp_path):
    gateway = group.makegateway(f"{spec}//id=a//chdir={tmp_path / 'new'}//env:MINE=1")
    assert gateway.remoteaddress == "build1" and gateway.node.host == "build1"
    channel = gateway.remote_exec(
        "import os; channel.send((os.getcwd(), os.environ['MINE'], 'SSH_CONNECTION' in os.environ))"
    )
    assert channel.receive(WAIT) == (str(tmp_path / "new"), "1", True)


def test_gateways_of_a_host_share_its_link(group, spec):
    gateways = [group.makegateway(spec) for _ in range(4)]
    assert {gateway.node.host for gateway in gateways} == {"build1"}
    logins = group.remote_exec("import os; channel.send(os.environ['SSH_CONNECTION'])").receive_each()
    assert len(logins) == 4 and len(set(logins)) == 1


def test_threads_may_reach_a_host_in_several_ways_at_once(group, spec):
    pythons = ["python3", "python3 -W error", "python3 -W ignore", "python3 -O"]
    with ThreadPoolExecutor(4) as threads:
        gateways = list(threads.map(lambda python: group.makegateway(f"{spec}//python={python}"), pythons))
    options = group.remote_exec("import sys; channel.send((sys.warnoptions, sys.flags.optimize))")
    assert sorted(options.receive_each()) == [([], 0), ([], 1), (["error"], 0), (["ignore"], 0)]
    assert len(gateways) == 4


def test_via_leads_further(group, spec):
    group.makegateway(f"{spec}//id=a")
    beside = group.makegateway("popen//via=a")
    assert beside.node.host == "build1"
    inner = group.makegateway("ssh=inner//via=a")
    assert inner.node.host == "inner"
    inner.remote_exec("channel.send(channel.receive() + 1)").send(41)
    channel = inner.remote_exec("channel.send(channel.receive() + 1)")
    channel.send(41)
    assert channel.receive(WAIT) == 42


def test_a_command_line_is_started_there(group, spec):
    gateway = group.makegateway(f"{spec}//python=python3 -W error")
    assert gateway.remote_exec("import sys; channel.send(sys.warnoptions)").receive(WAIT) == ["error"]


def test_the_path_of_an_interpreter_may_be_quoted(group, spec, tmp_path):
    path = tmp_path / 'it\'s my "python"' / "py; thon"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nexec python3 "$@"\n')
    path.chmod(0o755)
    for python in (shlex.quote(str(path)), re.sub("[^/a-z0-9_-]", r"\\\g<0>", str(path))):
        gateway = group.makegateway(f"{spec}//python={python}")
        assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


def test_hosts_that_are_not_found_are_named(group, ssh_config):
    with pytest.raises(execnet.HostNotFound, match="nowhere.invalid"):
        group.makegateway(f"ssh=nowhere.invalid//ssh_config={ssh_config}")
    with pytest.raises(
        execnet.HostNotFound, match=r"`ssh=build2.* has no usable Python: .*/no/python.*correct python="
    ):
        group.makegateway(f"ssh=build2//ssh_config={ssh_config}//python=/no/python")
    assert len(group) == 0


def test_a_dead_interpreter_is_told_with_its_host(group, spec):
    channel = group.makegateway(spec).remote_exec("import os; os._exit(5)")
    with pytest.raises(EOFError, match="build1.*5"):
        channel.receive(WAIT)


def test_another_daemon_is_started_when_the_own_one_was_killed(group, spec):
    gateway = group.makegateway(spec)
    daemons = [
        pid for pid in children(os.getpid()) if b"--private" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    (daemon,) = daemons
    channel = gateway.remote_exec("channel.receive()")
    os.kill(daemon, signal.SIGKILL)
    with pytest.raises(EOFError, match="build1.*own daemon.*has ended"):
        channel.receive(WAIT)
    assert group.makegateway(spec).remote_exec("channel.send(1)").receive(WAIT) == 1


def test_rsync_reaches_it(group, spec, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("text")
    rsync = execnet.RSync(tmp_path / "source", verbose=False)
    rsync.add_target(group.makegateway(spec), tmp_path / "target")
    rsync.send()
    assert (tmp_path / "target/file").read_text() == "text"


def test_nothing_is_left_behind(run_program, spec):
    done = run_program(
        "import execnet, os, sys\n"
        "gateway = execnet.makegateway(sys.argv[1])\n"
        "parent = gateway.remote_exec('import os; channel.send(os.getppid())').receive()\n"
        "print(gateway._rinfo().pid, parent)\n"
        "os._exit(0)\n",
        spec,
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + WAIT
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
