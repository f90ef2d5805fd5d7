"""Packages: what programs write, and what gateways find."""

import io
import os
import re
from pathlib import Path
from types import SimpleNamespace

import execnet
import pytest
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


def test_progress_is_lines_where_nothing_can_be_written_over(capsys, clock):
    display, entry = _progress.Display(), _progress.Entry()
    display.show(entry, under_way("reading"))
    clock.now += 0.9
    display.show(entry, under_way())
    assert capsys.readouterr().err == ""
    clock.now += 0.1
    display.show(entry, under_way())
    clock.now += 5
    display.show(entry, under_way(files=4))
    display.show(entry, under_way("waiting", None))
    clock.now += 10
    display.show(entry, under_way("waiting", None))
    display.end(entry)
    assert capsys.readouterr().err.splitlines() == [
        "execnet: build1: sending packages, 2.0 KiB of 5.0 MiB, 3 of 12 files",
        *["execnet: this machine: waiting for another gateway: \\x1b[2J"] * 2,
    ]


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
