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


def test_a_uri_of_ssh_is_one_value():
    spec = XSpec("ssh=-C ssh://ann@build1:2222//python=pypy3")
    assert (spec.ssh, spec.python) == ("-C ssh://ann@build1:2222", "pypy3")
    assert XSpec("ssh=ssh://build1").ssh == "ssh://build1"


@pytest.mark.parametrize("path", ["/a//b", "/a///b", "///", "a\\b"])
def test_slashes_in_ssh_belong_to_its_value(group, path):
    spec = XSpec("ssh=build1")
    spec.ssh = f"-F '{path}' build1 more"
    with pytest.raises(ValueError, match="`more` after the host `build1`"):
        group.makegateway(spec)


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


@pytest.mark.parametrize(
    "spec, words",
    [
        ("net=mynet//platfrom=java", "unknown key 'platfrom' .*is platform= meant"),
        ("net=mynet//pyhton=x", "is python= meant"),
        ("net=mynet//something=x", "unknown key 'something' in 'net=mynet//something=x'$"),
        ("ssh=build1//platform=java", "platform= chooses a node of a network, and needs net="),
        ("popen//version=2.7", "version= .*needs net="),
        ("popen//ssh=x", "popen and ssh= do not go together"),
        ("ssh=x//net=y", "net= and ssh= do not go together"),
        ("popen//net=y", "popen and net= do not go together"),
        ("net=y//via=gw0", "net= and via= do not go together"),
        ("sssh=host", "is ssh= meant instead of 'sssh'"),
        (" popen", "is popen meant instead of ' popen'"),
        ("vai=gw0", "is via= meant"),
        ("popen//pyhton=3", "unknown key 'pyhton' in 'popen//pyhton=3'; is python= meant"),
        ("popen//ncie=3", "is nice= meant"),
        ("ssh=x//execmodl=thread", "is execmodel= meant"),
        ("ssh=x//ssh_confg=f", "is ssh_config= meant"),
        ("popen//evn:A=1", "is env: meant"),
        ("popen//ENV:A=1", "is env: meant"),
        ("ssh=", "ssh= needs a value"),
        ("net=", "net= needs a value"),
        ("popen=", "popen takes no value"),
        ("net=mynet//platform=", "platform= needs a value"),
        ("popen//nice=abc", "nice= must be a whole number, not 'abc'"),
        ("popen//env:=1", "cannot have the name ''"),
        ("popen//env=A", "env:NAME=VALUE"),
        ("popen//id=", "id= needs a name"),
        ("popen//python='", "python=' cannot be split into words, in .*: a quote is not closed"),
        ("popen//python=py\\", "cannot be split into words, in .*: it ends with a backslash"),
        ("net=mynet//python='", "cannot be split into words"),
        ("popen//env:A=a\0b", "variable A cannot hold a null character"),
        ("popen//chdir=\0", "chdir= cannot hold a null character"),
        ("popen//chdir=\ud800", "chdir= holds a lone surrogate"),
        ("popen//id=\ud800", "id= holds a lone surrogate"),
    ],
)
def test_what_is_misspelt_or_does_not_go_together_is_said(group, monkeypatch, spec, words):
    monkeypatch.setattr("execnet._from_spec.connection", lambda name: pytest.fail("nothing is connected"))
    with pytest.raises(ValueError, match=words):
        group.makegateway(spec)
    assert len(group) == 0


def test_programs_may_have_keys_and_attributes_of_their_own(group):
    spec = XSpec("popen//mine=1//ip=127.0.0.1//pid=5")
    spec.more = object()
    gateway = group.makegateway(spec)
    assert (gateway.spec.mine, gateway.spec.ip, gateway.spec.pid) == ("1", "127.0.0.1", "5")


@pytest.mark.parametrize("spec", [1, b"popen", b"", 0, ["popen"]])
def test_a_spec_is_text(group, spec):
    with pytest.raises(TypeError, match=f"a spec must be a str or an XSpec, not {type(spec).__name__}"):
        group.makegateway(spec)


def test_attributes_of_wrong_types_are_named(group):
    def refused(error, words, **attributes):
        spec = XSpec("popen")
        vars(spec).update(attributes)
        with pytest.raises(error, match=words):
            group.makegateway(spec)

    refused(TypeError, "chdir= must be a str, not bytes", chdir=b"/tmp")
    refused(TypeError, "variable A must be a str, not int", env={"A": 1})
    refused(TypeError, "name of an environment variable .*not int: 1", env={1: "A"})
    refused(ValueError, "id= needs a name", id="a//b")
    refused(KeyError, "via=nobody: there is no such gateway in the group", via="nobody")
    assert len(group) == 0


def test_the_version_is_that_of_the_command():
    import subprocess

    told = subprocess.run(["execnet", "--version"], capture_output=True, text=True)
    assert told.stdout.split() == ["execnet", execnet.__version__]
