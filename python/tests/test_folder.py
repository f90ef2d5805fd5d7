"""The folder of a gateway, which may be removed, a home, or open to others; and unusual interpreters."""

import os
import subprocess
import sys

import execnet
import pytest
from conftest import INTERPRETERS, WAIT

WRITES = """import os
fd = os.open({!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
os.write(fd, (__name__ + "\\n").encode("ascii"))
os.close(fd)
raise ImportError("the folder's " + __name__)
"""
NAMES = getattr(sys, "stdlib_module_names", None) or [
    name.split(".")[0] for name in os.listdir(os.path.dirname(os.__file__))
]


@pytest.fixture
def open_folder(tmp_path):
    """Make a folder with a file for every module of the standard library. Return it, and the file they write
    to."""
    folder, marker = tmp_path / "open", tmp_path / "marker"
    folder.mkdir()
    for name in (*NAMES, "Queue", "commands", "md5"):
        (folder / f"{name}.py").write_text(WRITES.format(str(marker)))
    return folder, marker


@pytest.mark.parametrize("interpreter", list(INTERPRETERS.values()), ids=list(INTERPRETERS))
def test_nothing_that_lies_there_runs(interpreter, group, open_folder, tmp_path):
    folder, marker = open_folder
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("text")
    (folder / "mine.py").write_text("value = 5")
    gateway = group.makegateway(f"popen//python={interpreter}//chdir={folder}")
    assert gateway.remote_exec("import mine; channel.send(mine.value)").receive(WAIT) == 5
    assert os.path.samefile(gateway._rinfo(update=True).cwd, folder)
    with pytest.raises(execnet.RemoteError, match="ZeroDivisionError"):
        gateway.remote_exec("1/0").waitclose(WAIT)
    for _ in range(2):
        sync = execnet.RSync(tmp_path / "source", verbose=False)
        sync.add_target(gateway, tmp_path / "target")
        sync.send()
        (tmp_path / "source" / "file").write_text("Text")
    gateway.exit()
    group.terminate(60)
    assert not marker.exists(), marker.read_text()


def test_a_program_that_stands_there(open_folder):
    folder, marker = open_folder
    # everything it needs is imported already: its own path leads to the folder
    code = (
        "import os, sys, execnet\n"
        "assert sys.path[0] == ''; os.chdir(sys.argv[1]); g = execnet.makegateway()\n"
        "def fails(what, *arguments):\n"
        "    try:\n        what(*arguments)\n        assert False, arguments\n"
        "    except (OSError, ValueError, execnet.RemoteError, execnet.HostNotFound):\n        pass\n"
        "fails(g.remote_exec('1/0').waitclose, 300)\n"
        "c = g.remote_exec('channel.send(1)')\n"
        "c.setcallback(lambda item: 1/0)\n"
        "fails(c.waitclose, 300)\n"
        "m = execnet.MultiChannel([g.remote_exec('channel.send(1)')])\n"
        "assert m.make_receive_queue().get(timeout=300)[1] == 1\n"
        "for spec in ('foo', 'popen//python=/no/python', 'popen//pyhton=3', 'net=no-such',"
        " 'ssh=-F /dev/null nowhere.invalid'):\n"
        "    fails(execnet.makegateway, spec)\n"
        "repr(g), g.remote_status(), g._rinfo(), execnet.loads(execnet.dumps({1: [2.0, 'x', b'y']}))\n"
        "g.exit()\n"
    )
    for env in ({}, {"PYTHONPATH": "/usr/share:"}):
        start = f"import os; os.environ.update({env!r})\n{code}"
        subprocess.run([sys.executable, "-c", start, str(folder)], check=True, cwd="/", timeout=WAIT)
        assert not marker.exists(), marker.read_text()


def test_a_folder_that_has_been_removed(tmp_path):
    there = tmp_path / "there"
    code = (
        "import os, sys, execnet; os.mkdir(sys.argv[1]); os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])\n"
        "g = execnet.makegateway(); g._rinfo(update=True)\n"
        "print(g.remote_exec('channel.send(1 + 1)').receive(300)); g.exit()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(there)], capture_output=True, text=True, timeout=WAIT
    )
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_a_program_that_begins_in_a_folder_that_has_been_removed(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    code = (
        "import execnet; g = execnet.makegateway(); g._rinfo(update=True)\n"
        "print(g.remote_exec('channel.send(1 + 1)').receive(300)); g.exit()\n"
        "try:\n    execnet.makegateway('ssh=x//ssh_config=cfg')\n"
        "except ValueError as error:\n    print(error)"
    )
    shell = ["sh", "-c", 'cd "$1" && rmdir "$1" && exec "$2" -c "$3"', "sh", str(there), sys.executable, code]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=WAIT)
    said = "2\nssh_config=cfg is relative, and the current folder is gone: give the whole path\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_a_tilde_is_the_home_in_each_key(group, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "py").symlink_to(sys.executable)
    gateway = group.makegateway("popen//python=~/bin/py//chdir=~/work")
    assert gateway._rinfo().cwd == os.path.realpath(tmp_path / "work")
    with pytest.raises(OSError, match="no-such-account"):
        group.makegateway("popen//chdir=~no-such-account/x")
    gateway = group.makegateway("popen//python=env A=b ~/bin/py")
    assert gateway.remote_exec("import os; channel.send(os.environ['A'])").receive(WAIT) == "b"


def test_what_only_a_shell_can_make_of_python(group, tmp_path):
    (tmp_path / "act").write_text("export ACTIVE=yes")
    for python, variable in (
        (f"FOO=1 {sys.executable}", "FOO"),
        (f". {tmp_path}/act && {sys.executable}", "ACTIVE"),
        (f"cd {tmp_path} && exec {sys.executable}", "PWD"),
        (f"command {sys.executable}", "PATH"),
    ):
        gateway = group.makegateway(f"popen//python={python}")
        assert gateway.remote_exec(f"import os; channel.send(os.environ[{variable!r}])").receive(WAIT)


@pytest.mark.parametrize(
    "condition", ["sys.argv[1:3] == ['-u', '-c'] and len(sys.argv) == 4", "'-c' in sys.argv"]
)
def test_programs_that_take_what_follows_c_and_keep_their_arguments(group, tmp_path, condition):
    program = tmp_path / "frozen"
    program.write_text(
        f"#!{sys.executable}\nimport sys\ndef main():\n    if not ({condition}): sys.exit('other words')\n"
        "    exec(sys.argv[sys.argv.index('-c') + 1])\nmain()\n"
    )
    program.chmod(0o755)
    gateway = group.makegateway(f"popen//python={program}")
    assert gateway.remote_exec("channel.send(1 + 1)").receive(WAIT) == 2


@pytest.mark.parametrize("none", ["", None])
def test_a_program_without_an_interpreter_of_its_own(group, monkeypatch, none):
    python = sys.executable
    monkeypatch.setattr(sys, "executable", none)
    with pytest.raises(ValueError, match="names no interpreter: give popen//python="):
        group.makegateway("popen")
    gateway = group.makegateway(f"popen//python={python}")
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
