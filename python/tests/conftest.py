"""Shared by all tests: groups that end with their test, and the interpreters of this machine."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import execnet
import pytest

WAIT = 300
"""Seconds; a limit for hangs: on a busy machine everything takes ten times as long."""

PATIENT = """
import sys
shutdown = sys.modules["execnet_kernel.run"].__spec__.loader.load_module("execnet_kernel.shutdown")
shutdown.INTERRUPT_AFTER = shutdown.KILL_AFTER = 9e5
"""
"""Executed in a gateway, lifts its kernel's limits: what ends then did so by itself."""


@pytest.fixture
def group():
    with execnet.Group() as group:
        yield group


@pytest.fixture
def gateway(group):
    return group.makegateway("popen")


def interpreters():
    """Return name and command of one interpreter of each version on this machine."""
    found = {}
    names = ["python2.7", *(f"python3.{minor}" for minor in range(6, 15)), "pypy3", "jython"]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for name in names:
        version = name[len("python") :]
        candidates = (
            [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]
            if "python" == name[:6]
            else []
        )
        candidates += filter(None, [shutil.which(name)])
        for candidate in candidates:
            if subprocess.run([candidate, "-c", "pass"], capture_output=True).returncode == 0:
                found[name] = candidate
                break
    return found


INTERPRETERS = interpreters()


def children(parent):
    """Return the children of this process, even if its threads end meanwhile."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            of = file.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(of) == parent:
            found.add(int(file.parent.name))
    return found


TWO = [name for name in INTERPRETERS if name in ("python2.7", "jython")]


@pytest.fixture(scope="session", params=list(INTERPRETERS))
def every(request):
    """A gateway to each interpreter of this machine, one after another."""
    with execnet.Group() as group:
        yield group.makegateway(
            f"popen//python={INTERPRETERS[request.param]}//id={request.param}//patience={WAIT}"
        )


def pytest_sessionfinish(session):
    """Turn skipped tests into failures where everything must be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = 1


@pytest.fixture
def project(tmp_path):
    """A folder with one test that passes."""
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "tests" / "test_it.py").write_text("def test_it(): pass")
    return project


def line_of(program):
    """Read a line of a program's output, and no byte more: what was read ahead, communicate() would miss."""
    data = b""
    while not data.endswith(b"\n"):
        byte = os.read(program.stdout.fileno(), 1)
        if not byte:
            break
        data += byte
    return data.decode()


@pytest.fixture
def run_program(tmp_path):
    """Run a Python program in a process of its own, to its end."""

    def run(source, *args, timeout=WAIT, **options):
        program = tmp_path / "program.py"
        program.write_text(source)
        return subprocess.run(
            [sys.executable, str(program), *args], capture_output=True, text=True, timeout=timeout, **options
        )

    return run


class Network:
    """A running network for the tests: its name, and the environment in which the command finds its files."""

    def __init__(self, name, folder, *specs):
        self.name = name
        self.env = dict(os.environ, XDG_CONFIG_HOME=str(folder), XDG_STATE_HOME=str(folder))
        self("start", *specs)

    def __call__(self, verb, *args):
        done = subprocess.run(
            ["execnet", verb, self.name, *args], env=self.env, capture_output=True, text=True
        )
        assert done.returncode in (0, 6), done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A network of this machine: host `mine` has this interpreter, host `all` every interpreter found."""
    folder = tmp_path_factory.mktemp("network")
    network = Network(
        f"python-tests-{os.getpid()}",
        folder,
        f"popen//id=mine//python={sys.executable}",
        "popen//id=all//python=*",
    )
    yield network
    network("stop", "--end-kept")


@contextlib.contextmanager
def lab(*args):
    """A lab with two hosts; yields the path of its ssh configuration."""
    program = os.environ.get("EXECNET_TESTKIT")
    if program is None:
        pytest.skip("skipped, because EXECNET_TESTKIT does not say where the lab's program is")
    command = [program, "lab", "--hosts", "2", *args]
    lab = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in lab.stdout:
        if line.startswith("ssh_config: "):
            break
    yield line.split()[1]
    lab.stdin.close()
    lab.wait(WAIT)


@pytest.fixture(scope="session")
def ssh_config():
    """The ssh configuration of a lab: hosts build1 and build2, and inner, which only build1 can reach."""
    with lab("--inner") as ssh_config:
        yield ssh_config


OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The version of this Python, as a spec says it."""


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A network of two ssh hosts with three interpreters each, where nothing is installed."""
    with lab("--python", OWN, "3.12", "3.10") as ssh_config:
        specs = [f"ssh={host}//ssh_config={ssh_config}//python=*" for host in ("build1", "build2")]
        network = Network(f"bare-{os.getpid()}", tmp_path_factory.mktemp("bare"), *specs)
        yield network
        network("stop")


class Client:
    """An environment with execnet, pytest and what it requires, as a person may have it."""

    DISTRIBUTIONS = ("execnet", "pytest", "pytest-xdist", "pytest-cov", "attrs")

    def __init__(self, folder):
        base = getattr(sys, "_base_executable", None) or sys.executable
        subprocess.run([base, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.site = folder / "lib" / f"python{OWN}" / "site-packages"
        self._names = set()
        for name in self.DISTRIBUTIONS:
            self.install(name)
        (folder / "bin" / "execnet").symlink_to(shutil.which("execnet"))
        pytest_ = folder / "bin" / "pytest"
        pytest_.write_text(f"#!{self.python}\nimport sys, pytest\nsys.exit(pytest.main())\n")
        pytest_.chmod(0o755)

    def install(self, name):
        """Copy an installed distribution, and what it requires."""
        name = name.lower()
        if name in self._names:
            return
        self._names.add(name)
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = self.site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), target)
        for requirement in distribution.requires or ():
            if ";" not in requirement:
                self.install(re.match(r"[\w.-]+", requirement).group())


@pytest.fixture(scope="session")
def client(tmp_path_factory):
    return Client(tmp_path_factory.mktemp("client"))
