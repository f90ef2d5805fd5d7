"""`pytest --net`: where its workers run, and what is refused before one starts."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import WAIT
from execnet import _native
from pytest_execnet import _copies, _net, _nodes


def node(name, cpus=1, implementation="cpython", version="3.11.2", host=None, state="ready", drained=False):
    facts = {"implementation": implementation, "version": version, "state": state, "drained": drained}
    return SimpleNamespace(name=name, host=host or name, cpus=cpus, **facts)


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
    assert [node.name for node in _nodes.chosen(nodes)] == ["a:own", "b:pypy"]
    words = _nodes.none_of("mynet", nodes[5:])
    assert "Python 3.8 or later" in words and "c: jython 2.7.3 (ready), d: cpython" in words
    assert _nodes.none_of("mynet", []).endswith("no node matches")


def test_hosts_that_take_no_part_are_named():
    nodes = [own("a"), node("b:2", version="2.7.18", host="b"), node("c", state="unreachable")]
    hosts = [("a", "up", None), ("b", "up", None), ("c", "unreachable", "no answer"), ("d", "joining", None)]
    # nodes of `e` do not match
    lines = _nodes.left_out([*hosts, ("e", "up", None)], nodes, nodes[:1])
    assert lines == [
        "b is left out: pytest needs Python 3.8 or later; there are b:2: cpython 2.7.18 (ready)",
        "c is left out: it is unreachable: no answer",
        "d is left out: it is joining",
    ]
    nodes = [node("a", implementation="", version="", state="failed")]
    assert _nodes.left_out([("a", "up", None)], nodes, [])[0].endswith("; there are a (failed)")
    assert _nodes.left_out([("a", "failed", "why")], [], []) == ["a is left out: it failed: why"]


def test_a_drained_host_runs_tests_only_if_it_was_named():
    nodes = [own("a"), own("b", drained=True)]
    assert _nodes.chosen(nodes) == nodes[:1]
    assert _nodes.chosen(nodes[1:], named=True) == nodes[1:]
    assert _nodes.left_out([("a", "up", None), ("b", "up", None)], nodes, nodes[:1]) == [
        "b is left out: it is drained"
    ]
    assert _nodes.none_of("mynet", nodes[1:]).endswith(" (ready, drained)")
    old = [node("b", version="3.6.15", drained=True)]
    lines = _nodes.left_out([("b", "up", None)], old, [], named=True)
    assert lines == [
        "b is left out: pytest needs Python 3.8 or later; there are b: cpython 3.6.15 (ready, drained)"
    ]


@pytest.mark.parametrize(
    "node, named", [("a", True), ("@web,!web7", True), ("a!b", True), ("!web7", False), ("!@web", False)]
)
def test_a_set_of_all_but_some_names_no_host(node, named):
    assert _native.is_by_name(node) is named


def test_errors_of_hosts_are_short():
    error = "cannot bring /x up to date: Traceback (most recent call last):\n  File x\nOSError: no space\n"
    assert _net.sentence(OSError(error)) == "cannot bring /x up to date: OSError: no space"
    assert _net.sentence(OSError("no node; there are:\n  a")) == "no node"
    assert _net.sentence("exited; it printed last:\nx") == "exited; it printed last:\nx"


def test_workers_are_shared_out_by_processors():
    small, large, unknown = node("small", 1), node("large", 4), node("unknown", None)
    names = [place.name for place in _nodes.shares([small, large, unknown], 6)]
    assert sorted(names) == ["large"] * 4 + ["small", "unknown"]
    # the first ones start while the others are made: hosts take turns
    assert names[0] == "large" and [place.name for place in _nodes.shares([small, small], 1)] == ["small"]


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
        (["--net", "NET", "-f"], "-f (--looponfail) runs the tests here: leave --net out, or add -n0"),
        (["--net", "NET", "--pdb"], "--pdb needs the tests in this process"),
        (["--net", "NET//platfrom=linux"], "is platform= meant instead of 'platfrom'?"),
        (["--net", "NET//id=a"], "id= is for one gateway"),
        (["--net", "NET//via=a"], "net= and via= do not go together"),
        (["--net", "NET//version=x"], "version=x: "),
        (["--net", "NET//node=nobody"], "--net: no node of NET matches node nobody; there are:\n  "),
        (["--net", "NET//node=minee"], "did you mean `mine`?"),
        (["--net", "NET//platform=linxu"], "did you mean `linux`?"),
        (["--net", "NET//implementation=cpyton"], "did you mean `cpython`?"),
        (["--net", "NET//version=>=9"], "--net: no node of NET matches Python >=9; there are:\n  "),
        (["--net", "NET", "-p", "no:xdist"], "--net needs pytest-xdist"),
        (["--net", "NET", "--rootdir=/"], "--net would send all of /, which is rootdir"),
    ],
)
def test_what_cannot_be_is_one_sentence(project, network, args, words):
    done = run(project, *(arg.replace("NET", network.name) for arg in args), network=network)
    assert done.returncode == 4, done.stdout + done.stderr
    words = words.replace("NET", network.name)
    assert words in done.stderr and "Traceback" not in done.stderr + done.stdout, done.stderr


@pytest.mark.parametrize(
    "where, args, words",
    [
        ("project", ["tests", "../wild/tests"], "WILD, and the argument tests, PROJECT/tests, is"),
        (
            "project",
            ["PROJECT/tests/test_it.py::test_it", "--rootdir=../wild"],
            "WILD, and the argument PROJECT/",
        ),
        ("project", ["link"], "PROJECT, and the argument link, WILD/tests, is"),
        ("project", ["--pyargs", "./link"], "PROJECT, and the argument ./link, WILD/tests, is"),
        (
            "project",
            ["--rootdir=tests", "tests"],
            "PROJECT/tests, and the configuration, PROJECT/pytest.ini, is",
        ),
        ("wild", ["--rootdir=../project"], "PROJECT, and the current folder, WILD, is"),
        ("wild", ["-c", "../project/pytest.ini"], "PROJECT, and the current folder, WILD, is"),
        (".", ["project/tests", "wild/tests"], "and the argument "),
        ("project", ["tests/nothing.py::test_it"], "file or directory not found: tests/nothing.py::test_it"),
    ],
)
def test_other_tests_than_here_are_refused(project, network, where, args, words):
    """The copies have what is in rootdir."""
    wild = project.parent / "wild"
    (wild / "tests").mkdir(parents=True)
    (wild / "pytest.ini").write_text("[pytest]\n")
    (wild / "tests" / "test_wild.py").write_text("def test_wild(): pass")
    (project / "link").symlink_to("../wild/tests")
    if "../wild/tests" in args:
        (project / "pytest.ini").unlink()
    args = [arg.replace("PROJECT", str(project)) for arg in args]
    done = run(project.parent / where, "--net", network.name, *args, network=network)
    words = words.replace("PROJECT", str(project)).replace("WILD", str(wild))
    assert done.returncode == 4, done.stdout + done.stderr
    assert words in done.stderr and done.stderr.count("\n") == 2 and not done.stdout, done.stderr


@pytest.mark.parametrize(
    "name, words, others",
    [
        (b"data/a\nb", r"data/a\nb: there is a line end in its name; ", ["data", "*b"]),
        (b"data/a\xff", "its name is not UTF-8; ", ["PROJECT/data", "dat*", "a?"]),
    ],
)
def test_what_cannot_be_sent_can_be_left_out(project, network, name, words, others):
    (project / "data").mkdir()
    with open(os.path.join(os.fsencode(project), name), "wb"):
        pass
    where = ["--net", f"{network.name}//node=mine", "-n1"]
    done = run(project, *where, network=network)
    assert done.returncode == 4 and done.stderr.count("\n") == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"ERROR: --net: cannot send {project}/data/"), done.stderr
    assert words in done.stderr and "; --rsyncignore=GLOB leaves it out" in done.stderr
    for glob in others:
        ignored = f"--rsyncignore={glob.replace('PROJECT', str(project))}"
        done = run(project, *where, ignored, network=network)
        assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["data/file", "data"])
def test_what_cannot_be_read_is_named(name):
    """Root could read it."""
    is_root = os.getuid() == 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "data").mkdir()
        (root / "data" / "file").touch()
        (root / name).chmod(0)
        try:
            if is_root:
                os.chown(root, 65534, -1)
                os.setresuid(65534, 65534, 0)
            with pytest.raises(pytest.UsageError, match=f"cannot send {root / name}: Permission denied"):
                _copies.Sources(root, [], [], False)
            left = _copies.Sources(root, ["dat*"], [], False)
        finally:
            if is_root:
                os.setresuid(0, 0, 0)
            (root / name).chmod(0o700)
        assert left._paths == {str(root)}


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
