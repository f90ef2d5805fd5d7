"""Signals, forks and the end of programs."""

import os
import select
import subprocess
import sys
import time

import execnet
import pytest
from conftest import PATIENT, WAIT, line_of

BEGIN = """
import execnet, os, signal, sys, threading, time
gateway = execnet.makegateway()
print(gateway._rinfo().pid, flush=True)
"""


def start(tmp_path, source):
    program = tmp_path / "program.py"
    program.write_text(BEGIN + source)
    env = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONWARNINGS="ignore")
    return subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def ends(pid, within=WAIT):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except OSError:
            return True
        time.sleep(0.02)
    return False


WAITS = {
    "receive": "channel.receive()",
    "receive with a timeout": "channel.receive(1000)",
    "waitclose": "channel.waitclose()",
    "iteration": "list(channel)",
    "status": "stopped(); gateway.remote_status()",
    "send without credit": "silent.send(b'x' * 9000000); silent.send(1)",
    "join": "gateway.join()",
    "terminate": "stopped(); execnet.default_group.terminate()",
    "makegateway": "execnet.makegateway('popen//python=sh -c \\'sleep 100\\'')",
    "receive with a callback": "channel.setcallback(print); channel.waitclose()",
}


@pytest.mark.parametrize("call", WAITS)
def test_ctrl_c_interrupts_every_wait_at_once(tmp_path, call):
    process = start(
        tmp_path,
        f"""
channel = gateway.remote_exec("channel.receive()")
silent = gateway.remote_exec("import time; time.sleep(1000)")
other = execnet.makegateway()
def stopped():
    os.kill(gateway._rinfo().pid, signal.SIGSTOP)
def raiser():
    time.sleep(0.5)
    print("now", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=raiser).start()
try:
    {WAITS[call]}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os.kill(gateway._rinfo().pid, signal.SIGCONT)
    usable = execnet.makegateway() if {call == "terminate"} else other
    print(usable.remote_exec("channel.send(42)").receive(300), flush=True)
    if {call != "terminate"}:
        print(gateway.remote_exec("channel.send(43)").receive(300), flush=True)
os.kill(gateway._rinfo().pid, signal.SIGKILL)
""",
    )
    assert line_of(process)
    assert line_of(process) == "now\n"
    began = time.monotonic()
    assert line_of(process) == "interrupted\n", process.communicate()[1]
    assert time.monotonic() - began < 30
    assert line_of(process) == "42\n"
    if call != "terminate":
        assert line_of(process) == "43\n", process.communicate()[1]
    process.communicate(timeout=WAIT)


@pytest.mark.parametrize(
    "end",
    [
        "",
        "sys.exit(3)",
        "raise ValueError",
        "os._exit(1)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "gateway.remote_exec('while 1: pass')",
        "gateway.remote_exec('import time; time.sleep(1000)').setcallback(print)",
        "threading.Thread(target=gateway.remote_exec('channel.receive()').waitclose, daemon=True).start()",
    ],
)
def test_gateways_end_with_the_program(tmp_path, end):
    process = start(tmp_path, end)
    pid = int(line_of(process))
    _out, err = process.communicate(timeout=WAIT)
    assert ends(pid), err
    if "SIG" not in end and "_exit" not in end and "raise" not in end and "sys.exit" not in end:
        assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    "end", ["raise KeyboardInterrupt", "os.kill(os.getpid(), signal.SIGINT); time.sleep(1000)"]
)
def test_a_program_that_ctrl_c_ends_has_its_gateways_clean_up(tmp_path, end):
    code = f"""{PATIENT}
import time
try:
    channel.send(1)
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    open({str(tmp_path / "clean")!r}, "w").close()
"""
    process = start(
        tmp_path,
        f"execnet.multi.HURRY = {WAIT}\nchannel = gateway.remote_exec({code!r})\nchannel.receive()\n{end}",
    )
    _out, err = process.communicate(timeout=WAIT)
    assert (tmp_path / "clean").exists(), err


def test_in_a_forked_child_calls_are_errors(tmp_path):
    process = start(
        tmp_path,
        """
channel = gateway.remote_exec("for item in channel: channel.send(item)")
channel.setcallback(lambda item: print(item, flush=True))
other = gateway.remote_exec("for item in channel: channel.send(item)")
if os.fork() == 0:
    def error(call):
        try:
            call()
        except OSError:
            return True
    calls = [lambda: channel.send(1), lambda: other.send(1), lambda: other.receive(1),
             lambda: gateway.remote_exec("1"), lambda: gateway.remote_status(), lambda: other.waitclose(1)]
    print(all(map(error, calls)), flush=True)
    sys.exit(0)
os.wait()
other.send(5)
print(other.receive(300), flush=True)
""",
    )
    line_of(process)
    out, err = process.communicate(timeout=WAIT)
    assert (out, err) == ("True\n5\n", "")


@pytest.mark.parametrize("block", ["gateway", "execnet.Group(['popen'])", "gateway.newchannel()"])
def test_a_forked_child_may_leave_a_block(tmp_path, block):
    process = start(
        tmp_path,
        f"""
with {block}:
    pid = os.fork()
    if not pid:
        gateway.exit()
        execnet.default_group.terminate()
        sys.exit(7)
    print(os.waitpid(pid, 0)[1] >> 8, gateway.remote_exec("channel.send(1)").receive(300), flush=True)
""",
    )
    line_of(process)
    assert process.communicate(timeout=WAIT) == ("7 1\n", "")


def test_a_forked_child_ends_gateways_of_its_own(tmp_path):
    process = start(
        tmp_path,
        """
pid = os.fork()
if not pid:
    own = execnet.makegateway()
    number = own._rinfo().pid
    execnet.default_group.terminate(10)
    os._exit(os.path.exists("/proc/%d" % number))
print(os.waitpid(pid, 0)[1], gateway.remote_exec("channel.send(1)").receive(300), flush=True)
""",
    )
    line_of(process)
    assert process.communicate(timeout=WAIT) == ("0 1\n", "")


def test_a_handler_that_does_not_raise_does_not_end_a_wait(tmp_path):
    process = start(
        tmp_path,
        """
signal.signal(signal.SIGUSR1, lambda *args: print("handled", flush=True))
channel = gateway.remote_exec("import time; time.sleep(1); channel.send(1)")
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
print(channel.receive(), flush=True)
""",
    )
    line_of(process)
    assert process.communicate(timeout=WAIT)[0] == "handled\n1\n"


SLOW = """
gateway.remote_exec("for n in range(1000): channel.send(n)").setcallback(lambda item: time.sleep(0.01))
time.sleep(0.3)
"""


@pytest.mark.parametrize(
    "end", ["", "execnet.default_group.terminate(timeout=0.5)"], ids=["by itself", "terminated"]
)
def test_a_callback_at_work_does_not_harm_the_end_of_the_program(tmp_path, end):
    process = start(tmp_path, SLOW + end)
    _out, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, errors) == (0, "")


def test_an_error_that_nobody_received_is_told_at_the_end(tmp_path):
    process = start(
        tmp_path, "channel = gateway.remote_exec('1/0')\nwhile not channel.isclosed(): time.sleep(0.01)\n"
    )
    _out, errors = process.communicate(timeout=WAIT)
    assert "Warning: unhandled RemoteError" in errors
    assert "ZeroDivisionError" in errors


@pytest.mark.parametrize("code", ["1/0", "import time; time.sleep(0.1); 1/0", "list(channel); 1/0"])
def test_so_is_one_that_comes_when_the_program_ends(tmp_path, code):
    process = start(tmp_path, f"channel = gateway.remote_exec({code!r})\n")
    _out, errors = process.communicate(timeout=WAIT)
    assert errors.count("Warning: unhandled RemoteError: ") == 1 and "ZeroDivisionError" in errors, errors


@pytest.mark.parametrize(
    "later", ["", "gateway.remote_exec('pass').waitclose()", "gateway.exit(); gateway.join()"]
)
def test_an_error_of_code_whose_channel_nobody_kept_is_told(tmp_path, later):
    process = start(tmp_path, f"gateway.remote_exec('1/0')\n{later}\n")
    _out, errors = process.communicate(timeout=WAIT)
    assert errors.count("Warning: unhandled RemoteError: Traceback") == 1, errors
    assert errors.count("ZeroDivisionError") == 1 and process.returncode == 0


FINE = [
    # errors because the channel is gone do not count
    "gateway.remote_exec('channel.receive()')",
    "gateway.remote_exec('while True: channel.send(1)')",
    "gateway.remote_exec('channel.send(b\"x\" * (16 << 20)); channel.send(1)')",
    # nobody wants this one
    "channel = gateway.remote_exec('list(channel); 1/0'); channel.close()",
    # the end of the program does so, too
    "channel = gateway.remote_exec('channel.receive()')",
    "channel = gateway.remote_exec('while True: channel.send(1)')",
    "channel = gateway.remote_exec('import time; time.sleep(3600)'); gateway._interrupt()",
    "channel = gateway.remote_exec('list(channel); 1/0'); channel.close(); del channel; time.sleep(0)",
]


@pytest.mark.parametrize("code", FINE)
def test_code_that_ends_with_its_channel_is_no_error(tmp_path, code):
    process = start(tmp_path, code + "\n")
    _out, errors = process.communicate(timeout=WAIT)
    assert (errors, process.returncode) == ("", 0)


def test_what_the_program_has_open_is_not_held_open_by_gateways():
    read, write = os.pipe()
    os.set_inheritable(write, True)
    with execnet.makegateway() as gateway:
        assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
        os.close(write)
        assert select.select([read], [], [], WAIT)[0], "a child holds the other end"
        assert os.read(read, 1) == b""
    os.close(read)


def test_what_is_sent_while_a_gateway_ends_arrives():
    items = []
    group = execnet.Group(["popen"])
    channel = group[0].remote_exec("channel.send(0)\nchannel.send(sum(channel))")
    assert channel.receive(WAIT) == 0
    channel.setcallback(items.append, endmarker="end")
    for n in range(5):
        channel.send(n)
    group.terminate(WAIT)
    assert items == [10, "end"]
