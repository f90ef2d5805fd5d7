import execnet
import pytest
from execnet import XSpec


def test_keys_become_attributes_and_others_are_none():
    spec = XSpec("popen//python=python3.11 -E//chdir=/tmp//nice=5//env:A=1//env:B=x=y//env:C")
    assert (spec.popen, spec.python, spec.chdir, spec.nice) == (True, "python3.11 -E", "/tmp", "5")
    assert spec.env == {"A": "1", "B": "x=y", "C": ""}
    assert spec.ssh is None and spec.anything is None
    assert str(spec) == spec._spec and "popen" in repr(spec)
    with pytest.raises(AttributeError):
        spec._anything  # noqa: B018


def test_net_specs_have_their_keys():
    spec = XSpec("net=mynet//platform=java//implementation=jython//version=>=2.7//node=build1")
    assert (spec.net, spec.platform, spec.implementation) == ("mynet", "java", "jython")
    assert (spec.version, spec.node) == (">=2.7", "build1")


def test_attributes_can_be_assigned():
    spec = XSpec("popen")
    spec.id, spec.chdir = "w1", "/x"
    assert (spec.id, spec.chdir, str(spec)) == ("w1", "/x", "popen")


def test_specs_of_the_same_text_are_equal():
    assert XSpec("popen//id=a") == XSpec("popen//id=a") != XSpec("popen//id=b")
    assert len({XSpec("popen"), XSpec("popen")}) == 1
    assert XSpec("popen")._samefilesystem() and not XSpec("popen//chdir=x")._samefilesystem()


@pytest.mark.parametrize("text", ["popen//popen", "id=a//id=b", "env:A=1//env:A=2", "", "popen//=x"])
def test_a_key_stands_once_and_is_not_empty(text):
    with pytest.raises(ValueError):
        XSpec(text)


def test_a_key_does_not_begin_with_an_underscore():
    with pytest.raises(AttributeError):
        XSpec("_x=1")


@pytest.mark.parametrize(
    "spec, words",
    [
        ("socket=localhost:8888", "socket"),
        ("vagrant_ssh=box", "vagrant"),
        ("popen//execmodel=gevent", "gevent"),
        ("popen//execmodel=eventlet", "eventlet"),
        ("id=x", "id=x"),
    ],
)
def test_what_is_not_supported_is_said(group, spec, words):
    with pytest.raises(ValueError, match=words):
        group.makegateway(spec)
    assert len(group) == 0


def test_the_version_is_that_of_the_command():
    import subprocess

    told = subprocess.run(["execnet", "--version"], capture_output=True, text=True)
    assert told.stdout.split() == ["execnet", execnet.__version__]
