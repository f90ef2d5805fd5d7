"""`pytest --net`: where its workers run, and what is said when they cannot."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import WAIT
from pytest_execnet import _net


def node(name, cpus=1, implementation="cpython", version="3.11.2", host=None, state="ready"):
    host = host or name
    return SimpleNamespace(
        name=name, host=host, cpus=cpus, implementation=implementation, version=version, state=state
    )


def own(name, **more):
    major, minor = sys.version_info[:2]
    return node(name, implementation=sys.implementation.name, version=f"{major}.{minor}.0", **more)


def test_a_host_runs_the_tests_on_the_python_that_is_like_this_one():
    nodes = [
        node("a:2", version="2.7.18", host="a"),
        node("a:38", version="3.8.1", host="a"),
        own("a:own", host="a"),
        node("b:pypy", implementation="pypy", version="3.9.19", host="b"),
        node("b:311", host="b"),
        node("c", implementation="jython", version="2.7.3"),
        node("d", state="probing"),
        node("e", version="3.7.9"),
    ]
    assert [node.name for node in _net.chosen(nodes)] == ["a:own", "b:pypy"]
    words = _net.none_of("mynet", nodes[5:])
    assert "Python 3.8 or later" in words and "c: jython 2.7.3 (ready), d: cpython" in words
    assert _net.none_of("mynet", []).endswith("no node matches")


def test_workers_are_shared_out_by_processors():
    small, large, unknown = node("small", 1), node("large", 4), node("unknown", None)
    names = [place.name for place in _net.shares([small, large, unknown], 6)]
    assert sorted(names) == ["large"] * 4 + ["small", "unknown"]
    # the first ones start while the others are made: hosts take turns
    assert names[0] == "large" and [place.name for place in _net.shares([small, small], 1)] == ["small"]


@pytest.mark.parametrize(
    "args, kept",
    [
        (["--net", "mynet", "-x"], ["-x"]),
        (["-x", "--net=mynet"], ["-x"]),
        (["-k", "net", "--", "--net", "x"], ["-k", "net", "--", "--net", "x"]),
        (["--netx", "--net"], ["--netx"]),
    ],
)
def test_workers_do_not_get_the_option(args, kept):
    assert _net.without_net(args) == kept


@pytest.fixture
def project(tmp_path):
    project = tmp_path / "project"
    (project / "tests").mkdir(parents=True)
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "tests" / "test_it.py").write_text("def test_it(): pass")
    return project


def run(project, *args, network=None, python=(), **variables):
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env.update(network.env if network else {}, **variables)
    command = [sys.executable, *python, "-m", "pytest", "-p", "no:cacheprovider", *args]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=WAIT, env=env)


@pytest.mark.parametrize(
    "args, words",
    [
        (["--net", "nwec"], "--net: the network `nwec` is not running; `execnet start nwec` starts it"),
        (["--net", ""], "--net: net= needs a value"),
        (["--net", "NET", "--tx", "popen"], "--net and --tx both say where the tests run"),
        (["--net", "NET", "--pdb"], "--pdb needs the tests in this process"),
        (["--net", "NET//platfrom=linux"], "is platform= meant instead of 'platfrom'?"),
        (["--net", "NET//id=a"], "id= is for one gateway"),
        (["--net", "NET//via=a"], "net= and via= do not go together"),
        (["--net", "NET//version=x"], "version=x: "),
        (["--net", "NET//node=nobody"], "that is ready; no node matches"),
        (["--net", "NET", "-p", "no:xdist"], "--net needs pytest-xdist"),
        (["--net", "NET", "--rootdir=/"], "--net would send all of /, which is rootdir"),
    ],
)
def test_what_cannot_be_is_one_sentence(project, network, args, words):
    done = run(project, *(arg.replace("NET", network.name) for arg in args), network=network)
    assert done.returncode == 4, done.stdout + done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr + done.stdout, done.stderr


@pytest.mark.parametrize("args", [["-n0"], ["--collect-only"], ["--help"], ["--markers"], ["--fixtures"]])
def test_what_needs_no_worker_needs_no_network(project, args):
    done = run(project, "--net", "nwec", *args)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("args, warned", [([], True), (["--dist", "load", "-n0"], False), (["-n1"], False)])
def test_a_run_that_stays_here_against_the_words_is_warned_of(project, args, warned):
    done = run(project, "--tx", "net=nwec", *args)
    assert done.returncode == 0 and ("--tx net=nwec has no effect without --dist" in done.stdout) == warned


@pytest.mark.parametrize(
    "spec, words",
    [
        ("popen//python=/usr/bin/env//packages=*", "use ssh= or net= for other interpreters"),
        ("popen//via=first//packages=*", "leave popen out"),
    ],
)
def test_packages_that_pytest_xdist_would_lose_are_refused(project, spec, words):
    done = run(project, "--dist=load", f"--rsyncdir={project}", "--px", "id=first//popen", "--tx", spec)
    assert done.returncode == 4 and words in done.stderr, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr
