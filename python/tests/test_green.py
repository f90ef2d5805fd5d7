"""Programs with green threads of gevent or eventlet. Each test runs such a program."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import WAIT, line_of

PATCH = {
    "gevent": "import gevent.monkey; gevent.monkey.patch_all(); spawn = gevent.spawn",
    "eventlet": "import eventlet; eventlet.monkey_patch(); spawn = eventlet.spawn",
}

BEGIN = """
import os, queue, signal, sys, threading, time
import execnet
gateway = execnet.makegateway()
WAIT = {wait}

class Beside:
    # a thread of the program's that has to run while another one waits
    def __init__(self):
        self.count, self.goes_on = 0, True
        threading.Thread(target=self.run, daemon=True).start()
    def run(self):
        while self.goes_on:
            self.count += 1
            time.sleep(0.001)
    def ran(self, more=2):
        before = self.count
        return lambda: self.count - before >= more
"""


@pytest.fixture(params=PATCH)
def patch(request):
    pytest.importorskip(request.param)
    return PATCH[request.param]


@pytest.fixture
def run(run_program, patch):
    """Run a program to its end. Return what it printed."""

    def run(source, late=False):
        begin = BEGIN.format(wait=WAIT)
        parts = [begin, patch] if late else [patch, begin]
        done = run_program("\n".join([*parts, textwrap.dedent(source)]))
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_callback_puts_into_a_queue_that_the_program_waits_at(run):
    said = run("""
        q = queue.Queue()
        gateway.remote_exec("for n in range(3): channel.send(n)").setcallback(q.put, endmarker="end")
        print([q.get(timeout=WAIT) for _ in range(4)])
    """)
    assert said == "[0, 1, 2, 'end']\n"


def test_threads_may_be_replaced_when_there_are_gateways(run):
    said = run(
        """
        q = queue.Queue()
        channel = gateway.remote_exec("for item in channel: channel.send(item)")
        channel.send(1)
        print(channel.receive(WAIT))
        channel.setcallback(q.put)
        channel.send(2)
        print(q.get(timeout=WAIT))
        """,
        late=True,
    )
    assert said == "1\n2\n"


def test_others_run_while_one_waits(run):
    said = run("""
        beside = Beside()
        def runs(wait):
            ran = beside.ran()
            wait()
            assert ran(), wait
        later = "import time; time.sleep(0.3)"
        runs(lambda: gateway.remote_exec(later + "; channel.send(1)").receive())
        runs(lambda: gateway.remote_exec(later).waitclose())
        runs(lambda: gateway.remote_exec(later).waitclose(WAIT))
        full = gateway.remote_exec(later + "\\nfor item in channel: pass")
        runs(lambda: [full.send(b"x" * 1000000) for _ in range(12)])
        runs(execnet.makegateway)
        runs(lambda: execnet.Group(["popen"]).terminate())
        called = gateway.remote_exec(later + "; channel.send(1)")
        called.setcallback(lambda item: time.sleep(0.1))
        runs(called.waitclose)
        gateway.remote_exec(later)
        gateway.exit()
        runs(gateway.join)
        print("all")
    """)
    assert said == "all\n"


def test_what_comes_while_a_wait_is_given_up_is_not_lost(run):
    said = run("""
        channel = gateway.remote_exec("for item in channel: channel.send(item)")
        got, late = [], 0
        for n in range(50):
            channel.send(n)
            try:
                got.append(channel.receive(timeout=0.0005))
            except channel.TimeoutError:
                late += 1
        got += [channel.receive(WAIT) for _ in range(late)]
        print(got == list(range(50)))
        try:
            channel.receive(timeout=0.01)
        except channel.TimeoutError as error:
            print(error)
    """)
    assert said == "True\nno item after 0.01 seconds\n"


def test_a_green_thread_that_is_killed_loses_nothing(run_program):
    pytest.importorskip("gevent")
    done = run_program(
        PATCH["gevent"]
        + """
import execnet, threading, os
gateway = execnet.makegateway()
channel = gateway.remote_exec("for item in channel: channel.send(item)")
for n in range(30):
    waiting = gevent.spawn(channel.receive)
    gevent.sleep(0)
    channel.send(n)
    waiting.kill()
    item = waiting.value
    assert (channel.receive(300) if isinstance(item, gevent.GreenletExit) else item) == n
channel.close()
with gevent.Timeout(300):
    while [name for name in os.listdir("/proc/self/task")
           if open(f"/proc/self/task/{name}/comm").read() == "execnet-work\\n"]:
        gevent.sleep(0.01)
print("nothing")
"""
    )
    assert (done.stdout, done.returncode) == ("nothing\n", 0), done.stderr


def test_many_wait_at_a_time(run):
    said = run("""
        channels = [gateway.remote_exec("channel.send(channel.receive())") for _ in range(60)]
        q = queue.Queue()
        for channel in channels[:30]:
            channel.setcallback(q.put)
        for channel in channels[30:]:
            threading.Thread(target=lambda channel=channel: q.put(channel.receive(WAIT))).start()
        for n, channel in enumerate(channels):
            channel.send(n)
        print(sorted(q.get(timeout=WAIT) for _ in channels) == list(range(60)))
    """)
    assert said == "True\n"


def test_groups_and_what_is_printed_there(run):
    said = run("""
        lines = queue.Queue()
        output = lambda gateway, line: lines.put((gateway.id, line))
        with execnet.Group(["popen"] * 3, output=output) as group:
            many = group.remote_exec("print(1); channel.send(2)")
            q = many.make_receive_queue(endmarker=None)
            print(sorted(str(q.get(timeout=WAIT)[1]) for _ in range(6)))
            print(sorted(lines.get(timeout=WAIT) for _ in range(3)))
            many.waitclose()
        print(gateway.remote_status().numchannels)
    """)
    ids = "[('gw0', '1'), ('gw1', '1'), ('gw2', '1')]"
    assert said == f"['2', '2', '2', 'None', 'None', 'None']\n{ids}\n0\n"


def test_a_thread_of_the_system_waits_where_it_is(run_program):
    pytest.importorskip("gevent")
    done = run_program(
        PATCH["gevent"]
        + """
import execnet
channel = execnet.makegateway().remote_exec("import time; time.sleep(0.2); channel.send(1)")
print(gevent.get_hub().threadpool.apply(channel.receive))
"""
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


UNREPLACED = {
    "gevent": "import gevent; spawn, sleep = gevent.spawn, gevent.sleep",
    "gevent, its modules replaced but for threads": (
        "import gevent.monkey; gevent.monkey.patch_all(thread=False); "
        "spawn, sleep = gevent.spawn, gevent.sleep"
    ),
    "eventlet": "import eventlet; spawn, sleep = eventlet.spawn, eventlet.sleep",
    "eventlet, its modules replaced but for threads": "import eventlet; eventlet.monkey_patch(thread=False); "
    "spawn, sleep = eventlet.spawn, eventlet.sleep",
}

ONE_WAITS = """
got = []
def wait():
    got.append(channel.receive())
spawn(wait)
sleep(0)
assert not got
channel.send(1)
while not got:
    sleep(0.01)
"""


@pytest.fixture(params=UNREPLACED)
def unreplaced(request):
    pytest.importorskip(request.param.partition(",")[0])
    return UNREPLACED[request.param]


def test_others_run_while_a_green_thread_waits_where_threads_are_not_replaced(run_program, unreplaced):
    done = run_program(f"""
{unreplaced}
import execnet
channel = execnet.makegateway().remote_exec("channel.send(channel.receive())")
{ONE_WAITS}
print(got)
""")
    assert (done.stdout, done.returncode) == ("[1]\n", 0), done.stderr


def test_so_it_is_for_code_in_a_gateway(gateway, unreplaced):
    channel = gateway.remote_exec(unreplaced + ONE_WAITS)
    assert channel.receive(WAIT) == 1
    channel.send(2)
    channel.waitclose(WAIT)


def test_an_event_loop_waits_as_ever_where_threads_are_not_replaced(run_program):
    pytest.importorskip("gevent")
    done = run_program("""
import execnet, gevent
gateway = execnet.makegateway()
loop = gevent.get_hub().loop
def called():
    print(gateway.remote_exec("channel.send(1)").receive())
loop.run_callback(called)
gevent.sleep(0.01)
""")
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def waits(pid):
    """Whether a system thread waits instead of a green one."""
    for name in Path(f"/proc/{pid}/task").glob("*/comm"):
        with contextlib.suppress(OSError):
            if name.read_text() == "execnet-work\n":
                return True
    return False


@pytest.mark.parametrize("wait", ["channel.receive()", "channel.waitclose()", "gateway.join()"])
def test_ctrl_c_interrupts_a_wait(tmp_path, patch, wait):
    (tmp_path / "program.py").write_text(
        patch
        + BEGIN.format(wait=WAIT)
        + f"""
channel = gateway.remote_exec("channel.receive(); channel.send(1)")
try:
    print("begins", flush=True)
    {wait}
except KeyboardInterrupt:
    channel.send(1)
    print(channel.receive(WAIT))
"""
    )
    command = [sys.executable, str(tmp_path / "program.py")]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert line_of(program) == "begins\n"
    # another green thread that happens to run would get it
    deadline = time.monotonic() + WAIT
    while not waits(program.pid):
        assert time.monotonic() < deadline, "it does not wait"
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    said, errors = program.communicate(timeout=WAIT)
    # gevent itself names the exception that ended a wait in it
    assert said == "1\n" and "Traceback" not in errors, errors


def test_ctrl_c_before_eventlet_waits_leaves_nothing_in_its_hub(tmp_path):
    (tmp_path / "program.py").write_text(
        "import eventlet; eventlet.monkey_patch(); spawn = eventlet.spawn"
        + BEGIN.format(wait=WAIT)
        + """
from eventlet import hubs
channel = gateway.remote_exec("channel.receive(); channel.send(1)")
hub = hubs.get_hub()
register = hub.register

def interrupted(*args, **keywords):
    # the hub has the fd by now
    hub.register = register
    raise KeyboardInterrupt

hub.register = interrupted
try:
    channel.receive()
except KeyboardInterrupt:
    channel.send(1)
    print(channel.receive(WAIT))
"""
    )
    command = [sys.executable, str(tmp_path / "program.py")]
    program = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert program.stdout == "1\n" and "Traceback" not in program.stderr, program.stderr


TESTS = """
import queue
import threading
import time
import pytest

@pytest.mark.parametrize("n", range(8))
def test_it(n):
    q = queue.Queue()
    threading.Thread(target=q.put, args=(n,)).start()
    assert q.get(timeout=300) == n
"""


def test_pytest_xdist_works_where_the_controller_s_threads_are_green(tmp_path):
    pytest.importorskip("gevent")
    (tmp_path / "test_it.py").write_text(TESTS)
    pytest_with(tmp_path, "-m", "gevent.monkey", "--module", "pytest")


def test_pytest_xdist_works_where_a_conftest_makes_threads_green(tmp_path, patch):
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(patch)
    pytest_with(tmp_path, "-m", "pytest")


def pytest_with(folder, *how):
    command = [sys.executable, *how, "-q", "-p", "no:cacheprovider", "-n", "2"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=WAIT, env=dict(os.environ)
    )
    assert "8 passed" in done.stdout and done.returncode == 0, done.stdout + done.stderr
