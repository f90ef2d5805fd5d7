"""Packages: what programs write, and what gateways find."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import execnet
import pytest
from conftest import INTERPRETERS, WAIT
from execnet import XSpec, _packages, _progress


def test_relative_paths_are_those_of_the_moment_the_spec_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = XSpec("popen//packages=attrs,./src,lib/x.py,~/y,../z,.//id=a")
    monkeypatch.chdir("/")
    home = os.path.expanduser("~")
    items = ["attrs", f"{tmp_path}/src", f"{tmp_path}/lib/x.py", f"{home}/y", f"{tmp_path.parent}/z"]
    assert spec.packages == ",".join([*items, str(tmp_path)]) and spec.id == "a"
    assert _packages.read(spec.packages)[:2] == [(False, "attrs"), (True, f"{tmp_path}/src")]


def test_the_text_of_a_spec_is_read_as_the_same_spec_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = XSpec("ssh=ssh://x:22//packages=./src,*,!torch//id=a//large")
    monkeypatch.chdir("/")
    again = XSpec(f"execmodel=main_thread_only//{spec}")
    assert (again.packages, again.id, again.large, again.ssh) == (spec.packages, "a", True, "ssh://x:22")
    assert str(XSpec("net=n//packages=*")) == "net=n//packages=*"


def test_commas_separate_items_except_extras():
    assert _packages.read("a , requests[socks,use_chardet],*,!torch") == [
        (False, "a"),
        (False, "requests[socks,use_chardet]"),
        (False, "*"),
        (False, "!torch"),
    ]


def test_in_a_list_each_item_is_one_whatever_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _packages.read(["attrs", Path("src"), "./a,b//c", "x/y"]) == [
        (False, "attrs"),
        (True, f"{tmp_path}/src"),
        (True, f"{tmp_path}/a,b/c"),
        (True, f"{tmp_path}/x/y"),
    ]
    assert _packages.read(Path("src")) == [(True, f"{tmp_path}/src")]


def test_a_path_that_a_spec_cannot_hold_is_named(tmp_path, monkeypatch):
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path / "a,b")
    with pytest.raises(ValueError, match=r"cannot hold the path '.*a,b/src' .*makegateway\(packages"):
        XSpec("popen//packages=./src")


def test_a_relative_path_in_a_folder_that_is_gone_is_said(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match=r"packages=\./src is relative, and the current folder is gone"):
        XSpec("popen//packages=./src")
    assert XSpec("popen//packages=/src").packages == "/src"


@pytest.mark.parametrize(
    "packages, words",
    [
        ("attrs==22.1", "`attrs==22.1` .*only a name"),
        ("attrs,,b", "packages=attrs,,b: an item is empty"),
        ("", "an item is empty"),
        ("b[", r"`b\[` cannot be packages"),
        (["attrs", ""], "`` cannot be packages"),
        ("!torch,!pip", "`!torch,!pip` cannot be packages: .*add `[*]`"),
        ("attrs,!Attrs", "`!Attrs` cannot be packages: `attrs` is an item as well"),
        ("attrs,!./src", "`!./src` cannot be packages: .*for files there is `.gitignore`"),
        (["attrs", "b\0"], "null character: 'b.x00'"),
        (["attrs", "b\ud800"], "lone surrogate: 'b.ud800'"),
    ],
)
@pytest.mark.parametrize("kind", ["popen", "net=mynet", "ssh=build1", "via=first"])
def test_an_item_that_is_none_is_named_before_anything_starts(group, kind, packages, words):
    if kind == "via=first":
        group.makegateway("popen//id=first")
    count = len(group)
    with pytest.raises(ValueError, match=words):
        group.makegateway(kind, packages=packages)
    if isinstance(packages, str):
        with pytest.raises(ValueError, match=words):
            group.makegateway(f"{kind}//packages={packages}")
    assert len(group) == count


@pytest.mark.parametrize("packages", [1, b"attrs", ["attrs", 1], [b"attrs"], {"a": 1}.get])
def test_packages_of_wrong_types_are_refused(group, packages):
    with pytest.raises(TypeError, match="packages must be a str"):
        group.makegateway("popen", packages=packages)


def test_a_spec_without_the_items_is_refused(group):
    with pytest.raises(ValueError, match="packages= needs a value"):
        group.makegateway("popen//packages")


@pytest.mark.parametrize("spec", ["popen//pakages=x", "net=mynet//package=x", "ssh=a//packges=x"])
def test_a_misspelt_key_is_said(group, spec):
    with pytest.raises(ValueError, match="is packages= meant"):
        group.makegateway(spec)


def test_the_spec_of_a_keyword_says_what_was_given(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with execnet.connect(network.name) as mynet:
        spec = mynet._spec("node=mine//packages=other", {"packages": ["attrs", Path("src")], "large": True})
    assert spec.packages == ["attrs", f"{tmp_path}/src"]
    assert str(spec) == f"net={network.name}//node=mine//packages=attrs,{tmp_path}/src//large"
    given = XSpec("popen//packages=other//id=a")
    added = _packages.added(given, ["attrs"], False)
    assert str(added) == "popen//id=a//packages=attrs" and str(given) == "popen//packages=other//id=a"


def test_specs_of_a_network_are_equal_where_their_gateways_are_on_one_node(network):
    """pytest-xdist sends the files once to equal specs."""
    text = f"net={network.name}//packages=attrs"
    one, other = XSpec(text), XSpec(text)
    one.id, other.id = "gw0", "gw1"
    assert one != other and len({one, other}) == 2
    assert XSpec("ssh=a//packages=attrs") == XSpec("ssh=a//packages=attrs")
    with execnet.Group() as group:
        specs = [XSpec(f"net={network.name}//node=mine") for _ in range(2)]
        elsewhere = XSpec(f"net={network.name}//node=mine")
        for spec in specs:
            group.makegateway(spec)
        assert specs[0].id != specs[1].id and specs[0] == specs[1] and len(set(specs)) == 1
        assert elsewhere != specs[0]
        seen = {specs[0]}
        # a worker that died is replaced by the same spec, perhaps on another node
        specs[0]._node = "another"
        assert specs[0] not in seen


@pytest.mark.parametrize("wrong", [1, "yes"])
def test_what_cannot_take_progress_is_refused(group, wrong, network):
    group.on_progress = wrong
    with pytest.raises(TypeError, match="on_progress must be callable"):
        group.makegateway("popen")
    with pytest.raises(TypeError, match="on_progress must be callable"):
        execnet.connect(network.name, on_progress=wrong)


def under_way(step="sending", node="build1", **counts):
    node = node and SimpleNamespace(name=node)
    counts = {"files": 3, "of_files": 12, "bytes": 2048, "of_bytes": 5 << 20, "notes": [], **counts}
    return SimpleNamespace(step=step, node=node, waits_for="\x1b[2J", **counts)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("execnet._progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_progress_is_a_line_for_each_step_that_lasts(capsys, clock):
    display, entry = _progress.Display(), _progress.Entry()
    told = [
        (0, under_way("reading")),
        (0.9, under_way("resolving")),
        (1, under_way("resolving")),
        (0, under_way("reading")),
        (0, under_way(of_files=0)),
        (1, under_way(of_files=0)),
        (5, under_way(files=4)),
        (5, under_way(files=5)),
        (0, under_way("waiting", None)),
        (1, under_way("waiting", None)),
    ]
    for later, transfer in told:
        clock.now += later
        display.show(entry, transfer)
    display.end(entry)
    assert capsys.readouterr().err.splitlines() == [
        "execnet: build1: resolving packages with uv",
        "execnet: build1: sending packages",
        "execnet: build1: sending packages, 2.0 KiB of 5.0 MiB, 5 of 12 files",
        "execnet: this machine: waiting for another gateway: \\x1b[2J",
    ]


def test_gateways_that_wait_for_the_same_share_their_lines(capsys, clock):
    display, entries = _progress.Display(), [_progress.Entry() for _ in range(20)]

    def told(later, step, entries):
        clock.now += later
        for entry in entries:
            display.show(entry, under_way(step))
        return len(capsys.readouterr().err.splitlines())

    assert [told(later, "reading", entries) for later in (0, 1, 5, 5)] == [0, 1, 0, 1]
    assert [told(later, "waiting", entries[1:]) for later in (0, 1, 5, 5)] == [0, 1, 0, 1]
    for entry in entries[1:]:
        display.end(entry)
    # it is another time
    assert [told(later, "waiting", [entries[0]]) for later in (0, 1, 5)] == [0, 1, 0]


def test_progress_is_one_line_on_a_terminal(monkeypatch, clock):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("execnet._progress.columns", lambda: 40)
    display, first, second = _progress.Display(), _progress.Entry(), _progress.Entry()
    clock.now += 1
    display.show(first, under_way("reading"))
    display.show(second, under_way("resolving", notes=["torch was left out"]))
    display.end(first)
    display.end(second)
    lines = re.split("[\r\n]+", terminal.getvalue())
    assert [line.rstrip() for line in lines if line.strip()] == [
        "execnet: build1: reading packages",
        "execnet: torch was left out",
        "execnet: build1: reading packages (and…",
        "execnet: build1: resolving packages wi…",
    ]
    assert all(len(line) < 40 for line in lines) and lines[-1] == ""


def test_a_note_is_told_once_and_at_once(capsys, clock):
    display = _progress.Display()
    for _ in range(2):
        display.show(_progress.Entry(), under_way(notes=["torch was left out", "a\x1b"]))
    assert capsys.readouterr().err.splitlines() == ["execnet: torch was left out", "execnet: a\\x1b"]


@pytest.mark.parametrize(
    "count, said",
    [(0, "0 B"), (1023, "1023 B"), (10_000, "9.8 KiB"), (1_023_000, "999 KiB"), (5000 << 30, "5000 GiB")],
)
def test_sizes_are_said_shortly(count, said):
    assert _progress.size(count) == said


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A distribution in a folder of its own, which only this program's sys.path knows; and a folder."""
    installed, sources = tmp_path / "installed", tmp_path / "sources"
    info = installed / "Greeting-1.5.dist-info"
    info.mkdir(parents=True)
    (installed / "greeting.py").write_text("def greet():\n    return 'hello'\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Greeting\nVersion: 1.5\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2.py3-none-any\n")
    (info / "RECORD").write_text("greeting.py,,\nGreeting-1.5.dist-info/METADATA,,\n")
    sources.mkdir()
    (sources / "own.py").write_text("import greeting\n\ndef twice():\n    return 2 * greeting.greet()\n")
    monkeypatch.syspath_prepend(str(installed))
    return sources


ASK = """
import os, subprocess, sys
import own, greeting
command = [sys.executable, "-c", "import own; print(own.twice())"]
said = subprocess.Popen(command, stdout=subprocess.PIPE).communicate()[0]
channel.send((own.twice(), greeting.__file__, said.decode().strip()))
"""


def brought(gateway):
    text, file, said = gateway.remote_exec(ASK).receive()
    assert text == said == "hellohello"
    return file


@pytest.mark.parametrize("name", [name for name in INTERPRETERS if name != "jython"])
def test_what_the_program_has_is_there_on_every_interpreter(group, library, name):
    spec = f"popen//python={INTERPRETERS[name]}//patience={WAIT}"
    gateway = group.makegateway(spec, packages=["greeting", library])
    folders = gateway.packages.folders
    assert os.path.dirname(brought(gateway)) in folders and len(folders) == 2
    # others on that host see it, too
    command = [INTERPRETERS[name], "-c", "import own; print(own.twice())"]
    said = subprocess.check_output(command, env={**os.environ, **gateway.packages.environment})
    assert said.decode().strip() == "hellohello"


def test_every_kind_of_spec_takes_packages(group, library, network, ssh_config):
    items = f"greeting,{library}"
    assert group.makegateway("popen//id=bare").packages is None
    for spec in (
        f"popen//packages={items}",
        f"net={network.name}//node=mine//packages={items}",
        f"ssh=build1//ssh_config={ssh_config}//id=first//python={sys.executable}//packages={items}",
        f"via=first//python={sys.executable}//packages={items}",
        f"via=bare//packages={items}",
        f"ssh=inner//via=first//python={sys.executable}//packages={items}",
    ):
        brought(group.makegateway(spec))
    with execnet.connect(network.name) as mynet:
        brought(mynet.makegateway(node="mine", packages=["greeting", library]))
        for gateway in mynet.makegateways(3, node="mine", packages=["Greeting", library]):
            brought(gateway)


def test_a_function_learns_how_far_they_are_and_the_second_time_there_is_nothing_to_send(group, library):
    (library / "new.py").write_text(f"NAME = {os.urandom(9)!r}\n")
    told = []
    group.on_progress = told.append
    gateways = [group.makegateway("popen", packages=["greeting", library]) for _ in range(2)]
    first, second = ([each for each in told if each.gateway == gateway.id] for gateway in gateways)
    assert {each.node for each in told} == {None} and "sending" in [each.step for each in first]
    assert first[-1].files == first[-1].of_files >= 1 and first[-1].bytes == first[-1].of_bytes > 0
    assert all(each.files == 0 for each in second)


@pytest.mark.parametrize(
    "packages, words",
    [
        (["gretting"], "`gretting` is not installed in .*did you mean `Greeting`"),
        (["greeting[loud]"], "`greeting` has no extra `loud`"),
        (["./nothing"], "nothing` cannot be read"),
    ],
)
def test_what_is_not_here_is_named(group, library, packages, words):
    with pytest.raises(ValueError, match=words):
        group.makegateway("popen", packages=packages)


def test_a_file_that_cannot_be_sent_is_named_once(group, tmp_path):
    (tmp_path / "two\nlines").touch()
    words = r"^gateway gw0: cannot send \S*/two\\nlines: [^:]*; rename it, or [^:]*$"
    with pytest.raises(OSError, match=words):
        group.makegateway("popen", packages=[tmp_path])
    (tmp_path / ".gitignore").write_text("two?lines\n")
    assert group.makegateway("popen", packages=[tmp_path]).packages.folders


def test_an_executable_that_is_no_python_is_named(group, monkeypatch):
    spec = f"popen//python={sys.executable}"
    monkeypatch.setattr(sys, "executable", "/bin/true")
    words = r"^gateway gw0: `/bin/true` is no Python interpreter \(.*\); it is `sys.executable`$"
    with pytest.raises(ValueError, match=words):
        group.makegateway(spec, packages=["attrs"])


def test_too_much_is_refused_unless_it_is_wanted(group, tmp_path):
    with open(tmp_path / "big.bin", "wb") as file:
        # what an earlier test has left there would count
        file.write(os.urandom(16))
        file.truncate(257 << 20)
    with pytest.raises(ValueError, match=r"big.bin \(257 MiB\); large=True .*sends them"):
        group.makegateway("popen", packages=[tmp_path])
    assert group.makegateway("popen", packages=[tmp_path], large=True).packages.folders


PROGRAM = """
import sys, execnet
sys.executable = sys.argv[1]
print("begins", flush=True)
try:
    execnet.makegateway("popen", packages=["attrs"])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_interrupts(tmp_path):
    """Here while the interpreter is asked what it has, which takes for ever."""
    python, began = tmp_path / "python", tmp_path / "began"
    python.write_text(f"#!/bin/sh\ntouch {began}\nexec sleep 100000\n")
    python.chmod(0o755)
    command = [sys.executable, "-c", PROGRAM, str(python)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not began.exists():
        assert program.poll() is None, program.stderr.read()
        time.sleep(0.01)
    program.send_signal(signal.SIGINT)
    said, words = program.communicate(timeout=WAIT)
    assert "interrupted" in said, said + words
    assert program.returncode == 0


GREEN = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent, execnet
turns = []
def others():
    while True:
        turns.append(1)
        gevent.sleep(0.001)
gevent.spawn(others)
with execnet.makegateway("popen", packages=["attrs"]) as gateway:
    count = len(turns)
    assert gateway.remote_exec("import attr; channel.send(attr.__name__)").receive() == "attr"
print("turns" if count > 3 else "none")
"""


def test_green_threads_go_on(run_program):
    done = run_program(GREEN)
    assert done.stdout.strip() == "turns", done.stdout + done.stderr
