"""pytest-xdist as it was released, with this package in place of stock execnet: the same results."""

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import pytest
from conftest import PATIENT, WAIT, line_of

VENV = os.environ.get("EXECNET_TEST_VENV")

CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def session(tmp_path_factory):
    return tmp_path_factory.mktemp("x")

@pytest.fixture
def broken():
    raise RuntimeError("fixture")
"""

TESTS = """
import os, sys, time, warnings
import pytest

@pytest.mark.parametrize("n", range(16))
def test_many(n, tmp_path, session):
    print("output", n)
    (tmp_path / "f").write_text(str(n))
    assert n % 7 != 5, f"seven {n}"

class TestClass:
    seen = []

    def test_first(self):
        self.seen.append(1)

    def test_second(self):
        assert PATTERN or self.seen == [1]

@pytest.mark.skip(reason="söme reason")
def test_skipped():
    pass

@pytest.mark.xfail
def test_expected():
    assert 0

@pytest.mark.xfail
def test_unexpected():
    pass

def test_error(broken):
    pass

def test_warns():
    warnings.warn("careful", UserWarning)

def test_streams(capfd, monkeypatch):
    os.write(1, b"out"); os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")
    assert sys.stdin.read() == "" if False else True

def test_subprocess():
    import subprocess
    assert subprocess.check_output([sys.executable, "-c", "print(1)"]) == b"1\\n"
"""

CRASH = """
import os

def test_before():
    pass

def test_crashes():
    os._exit(3)

def test_after():
    pass
"""

SLOW = """
import time
import pytest

@pytest.mark.parametrize("n", range(200))
def test_slow(n):
    time.sleep(0.3)
"""

PATIENT_CONFTEST = "from xdist.workermanage import NodeManager; NodeManager.EXIT_TIMEOUT = 9e5"

LONG = (
    PATIENT
    + """
import os, time
import pytest

@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    yield
    open(os.environ["PYTEST_XDIST_WORKER"] + "-clean", "w").close()

@pytest.mark.parametrize("n", range(8))
def test_long(n, folder):
    open(os.environ["PYTEST_XDIST_WORKER"], "w").close()
    while True:
        time.sleep(0.05)
"""
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for n in range(4):
        (folder / f"test_{n}.py").write_text(TESTS.replace("PATTERN", "False" if n else "True"))
    return folder


def run(project, *args, python=sys.executable):
    report = project / "report.xml"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *args]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=WAIT, env=env)
    results = {}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        name = (case.get("classname") or "").replace("pyexecnetcache.", "") + "::" + (case.get("name") or "")
        results[name] = sorted((child.tag, (child.get("message") or "").splitlines()[:1]) for child in case)
    assert results, done.stdout + done.stderr
    return done, results


@pytest.fixture(scope="module")
def expected(project):
    """Results of stock execnet."""
    if VENV is None:
        _done, results = run(project, "-p", "no:xdist")
    else:
        _done, results = run(
            project, "-n", "4", "--dist", "loadfile", python=str(Path(VENV).absolute() / "bin/python")
        )
    assert len(results) == 100
    return results


@pytest.mark.parametrize(
    "args",
    [
        ["-n", "4", "--dist", "loadfile"],
        ["--tx", "2*popen", "--dist", "loadscope"],
        ["-n", "2", "--dist", "loadscope"],
        ["-n", "2", "--dist", "worksteal", "-k", "not TestClass"],
    ],
    ids=" ".join,
)
def test_the_results_are_the_same(project, expected, args):
    done, results = run(project, *args)
    if "-k" in args:
        expected = {name: result for name, result in expected.items() if "TestClass" not in name}
    assert results == expected, done.stdout + done.stderr
    assert done.returncode == 1 and "INTERNALERROR" not in done.stdout
    # reports of the workers themselves
    assert "[gw" not in done.stderr, done.stderr


def same_elsewhere(project, expected, spec):
    """On nodes that get the project by rsync, under other names."""
    folder = project.parent / "remote"
    args = ["--dist", "loadfile", "--tx", f"2*{spec}//chdir={folder}", f"--rsyncdir={project}"]
    done, results = run(project, *args)

    def short(results):
        return {name.rpartition("test_")[2]: result for name, result in results.items()}

    assert short(results) == short(expected), done.stdout + done.stderr
    assert "[gw" not in done.stderr, done.stderr


def test_a_network_s_nodes_give_the_same(project, expected, network):
    same_elsewhere(project, expected, f"net={network.name}//platform=linux//node=mine")


def test_ssh_hosts_give_the_same(project, expected, ssh_config):
    same_elsewhere(project, expected, f"ssh=build1//ssh_config={ssh_config}//python={sys.executable}")


def test_a_crashed_worker_is_replaced(tmp_path):
    (tmp_path / "test_crash.py").write_text(CRASH)
    done, results = run(tmp_path, "-n", "1")
    assert "crashed while running 'test_crash.py::test_crashes'" in done.stdout, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout


def test_ctrl_c_ends_quietly(tmp_path):
    """The workers are told to end during their tests. What pytest prints then is not an error."""
    (tmp_path / "test_slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-n", "2"]
    pytest_ = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said, last = "", ""
    while "PASSED" not in last:
        last = line_of(pytest_)
        assert last, said + pytest_.communicate()[1]
        said += last
    pytest_.send_signal(signal.SIGINT)
    more, words = pytest_.communicate(timeout=WAIT)
    said += more
    assert pytest_.returncode == 2, said + words
    assert "KeyboardInterrupt" in said
    assert "Warning" not in said + words and "Traceback" not in said + words


def test_ctrl_c_interrupts_long_tests_at_once(tmp_path):
    """Here they get days to end by themselves. Their fixtures are torn down."""
    (tmp_path / "conftest.py").write_text(PATIENT_CONFTEST)
    (tmp_path / "test_long.py").write_text(LONG)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2"]
    pytest_ = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    began = time.monotonic()
    while not ((tmp_path / "gw0").exists() and (tmp_path / "gw1").exists()):
        assert pytest_.poll() is None and time.monotonic() < began + WAIT
        time.sleep(0.02)
    pytest_.send_signal(signal.SIGINT)
    said, _ = pytest_.communicate(timeout=WAIT)
    assert pytest_.returncode == 2, said
    assert (tmp_path / "gw0-clean").exists() and (tmp_path / "gw1-clean").exists(), said


@pytest.mark.parametrize(
    "spec, words",
    [
        ("net=nwec", "the network `nwec` is not running; `execnet start nwec` starts it"),
        ("popen//pyhton=x", "is python= meant instead of 'pyhton'?"),
        ("via=nobody", "via=nobody: there is no such gateway"),
        # pytest-xdist names the model itself
        ("popen//execmodel=thread", "'execmodel' is given twice"),
    ],
)
def test_a_worker_that_cannot_start_is_told_in_a_sentence(tmp_path, spec, words):
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    command = [sys.executable, "-m", "pytest", "-q", "--tx", spec, "--dist", "load"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert run.returncode == 4, run.stdout + run.stderr
    assert "ERROR: a worker cannot start: " in run.stderr and words in run.stderr
    assert "INTERNALERROR" not in run.stdout + run.stderr and "Traceback" not in run.stdout + run.stderr


def test_workers_are_not_warned_of_our_plugin(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    command = [sys.executable, "-m", "pytest", "-q", "--tx", "2*popen", "--dist", "load"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert "1 passed" in run.stdout and "warning" not in run.stdout, run.stdout + run.stderr
