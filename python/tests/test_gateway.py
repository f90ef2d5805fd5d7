"""Gateways: executing code, facts about them, and their end."""

import functools
import os
import shlex
import sys
import types

import execnet
import pytest
from conftest import WAIT
from execnet import RemoteError

GLOBAL = 1


def adds(channel, number, more=0):
    channel.send(channel.receive() + number + more)


def fails(channel):
    channel.send(1)
    raise KeyError("here")


def test_functions_get_their_arguments(every):
    channel = every.remote_exec(adds, number=40, more=1)
    channel.send(1)
    assert channel.receive(WAIT) == 42


def test_tracebacks_of_functions_show_their_file_line_and_text(every):
    channel = every.remote_exec(fails)
    assert channel.receive(WAIT) == 1
    with pytest.raises(RemoteError) as caught:
        channel.receive(WAIT)
    line = fails.__code__.co_firstlineno + 2
    assert f'"{fails.__code__.co_filename}", line {line}' in str(caught.value)
    assert 'raise KeyError("here")' in str(caught.value)


def test_modules_are_executed(gateway, tmp_path, monkeypatch):
    (tmp_path / "to_send.py").write_text(
        "import os\nif __name__ == '__channelexec__':\n    channel.send(os.path.basename(__file__))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import to_send

    assert isinstance(to_send, types.ModuleType)
    assert gateway.remote_exec(to_send).receive(WAIT) == "to_send.py"


def test_source_is_dedented_and_named(gateway):
    channel = gateway.remote_exec(
        """
        channel.send(__name__)
        if 1:
            channel.send(2)
        """
    )
    assert [*channel] == ["__channelexec__", 2]


def closure():
    captured = 1

    def inner(channel):
        channel.send(captured)

    return inner


def uses_global(channel):
    channel.send(GLOBAL)


def uses_module(channel):
    channel.send(os.getcwd())


def not_channel(x):
    pass


def annotated(channel: "execnet.Channel", number: int = 3) -> None:
    import os

    def inner(value):
        local = [element for element in value]
        return local, os

    channel.send(inner([number])[0])


def test_code_without_source_is_refused_in_one_sentence(gateway):
    made = {}
    exec("def made(channel): pass", made)
    with pytest.raises(
        ValueError, match=r"no source of made\(\), which was not read from a file: write"
    ) as caught:
        gateway.remote_exec(made["made"])
    assert caught.value.__suppress_context__, "one traceback, not two"
    with pytest.raises(ValueError, match="no source of the module sys: send code that imports it") as caught:
        gateway.remote_exec(sys)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "function", [closure(), uses_global, uses_module, not_channel, lambda channel: None, lambda: None]
)
def test_functions_that_would_not_work_there_are_refused(gateway, function):
    with pytest.raises(ValueError):
        gateway.remote_exec(function)


def test_pure_functions_may_have_scopes_and_imports(gateway):
    assert gateway.remote_exec(annotated).receive(WAIT) == [3]


def test_only_functions_take_arguments(gateway):
    with pytest.raises(TypeError):
        gateway.remote_exec("channel.send(1)", number=1)


class Text:
    def __str__(self):
        return "channel.send(1)"


def test_objects_with_a_text_of_their_own_are_executed(gateway):
    assert gateway.remote_exec(Text()).receive(WAIT) == 1


@pytest.mark.parametrize(
    "source", [b"1", bytearray(), None, 1, 1.5, True, [], {}, (), {1}, object(), Text, print]
)
def test_what_is_no_source_is_refused(gateway, source):
    with pytest.raises(TypeError, match=f"takes text, a function or a module, not {type(source).__name__}"):
        gateway.remote_exec(source)


class Holder:
    def method(self, channel):
        channel.send(1)

    @classmethod
    def of_class(cls, channel):
        channel.send(1)

    @staticmethod
    def static(channel, number=2):
        channel.send(number)


@pytest.mark.parametrize("method", [Holder().method, Holder.of_class], ids=["method", "class method"])
def test_a_bound_method_fails_on_its_channel(gateway, method):
    with pytest.raises(RemoteError, match="TypeError: cannot execute <bound method .* bound to an object"):
        gateway.remote_exec(method).receive(WAIT)


def test_a_static_method_is_a_function(gateway):
    for static in Holder.static, Holder().static, vars(Holder)["static"]:
        assert gateway.remote_exec(static, number=3).receive(WAIT) == 3
    with pytest.raises(TypeError, match="not partial: send the function"):
        gateway.remote_exec(functools.partial(Holder.static, number=3))


def test_what_programs_import_from_gateway_io_is_there():
    from execnet import gateway_io

    spec = execnet.XSpec("ssh=-p 22 user@host//ssh_config=file//python=python3.11")
    command = f'python3.11 -c "{gateway_io.popen_bootstrapline}"'
    assert gateway_io.ssh_args(spec) == ["ssh", "-C", "-F", "file", "-p", "22", "user@host", command]
    assert gateway_io.popen_args(execnet.XSpec("popen//python=a b"))[:3] == ["a", "b", "-u"]
    assert gateway_io.vagrant_ssh_args(execnet.XSpec("vagrant_ssh=box"))[:5] == [
        "vagrant",
        "ssh",
        "box",
        "--",
        "-C",
    ]


def test_what_it_knows_of_the_other_side(gateway):
    info = gateway._rinfo()
    assert info.executable == sys.executable and info.cwd == os.getcwd() and info.platform == sys.platform
    assert tuple(info.version_info) == tuple(sys.version_info) and info.pid != os.getpid()
    assert gateway._rinfo() is info
    gateway.remote_exec("import os; os.chdir('/')").waitclose(WAIT)
    assert gateway._rinfo(update=True).cwd == "/" and "cwd=/" in repr(gateway._rinfo())


def test_an_interrupted_update_of_what_it_knows_does_not_wait_again(gateway, monkeypatch):
    class Interrupted:
        def reconfigure(self):
            pass

        def receive(self):
            raise KeyboardInterrupt

        def waitclose(self):
            pytest.fail("it waits after Ctrl-C")

    monkeypatch.setattr(gateway, "remote_exec", lambda source: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        gateway._rinfo(update=True)


def test_remote_status_counts(gateway):
    status = gateway.remote_status()
    assert (status.numchannels, status.numexecuting, status.execmodel) == (0, 0, "thread")
    # of the class that execnet 2 has for it
    assert type(status) is type(gateway._rinfo()) and repr(status).startswith("<RInfo ")
    channel = gateway.remote_exec("channel.receive()")
    status = gateway.remote_status()
    assert (status.numchannels, status.numexecuting) == (1, 1)
    channel.send(None)
    channel.waitclose(WAIT)


def test_spec_keys_are_followed(group, tmp_path):
    folder = tmp_path / "new"
    spec = f"popen//id=one//chdir={folder}//nice=3//env:MINE=x=y//dont_write_bytecode"
    gateway = group.makegateway(spec)
    assert gateway.id == "one" and gateway.spec.chdir == str(folder)
    channel = gateway.remote_exec(
        "import os, sys; channel.send((os.getcwd(), os.nice(0), os.environ['MINE'], sys.dont_write_bytecode))"
    )
    assert channel.receive(WAIT) == (str(folder), os.nice(0) + 3, "x=y", True)


def test_python_may_have_arguments(group):
    gateway = group.makegateway(f"popen//python={sys.executable} -W error")
    assert gateway.remote_exec("import sys; channel.send(sys.warnoptions)").receive(WAIT) == ["error"]


def test_main_thread_only_runs_in_the_main_thread_and_refuses_more(group):
    gateway = group.makegateway("popen//execmodel=main_thread_only")
    channel = gateway.remote_exec(
        "import threading; channel.send(threading.current_thread() is threading.main_thread()); "
        "channel.receive()"
    )
    assert channel.receive(WAIT) is True
    with pytest.raises(RemoteError, match="main_thread_only"):
        gateway.remote_exec("channel.send(1)").receive(WAIT)
    channel.send(None)
    channel.waitclose(WAIT)
    assert (
        gateway.remote_exec("channel.send(channel.gateway.execmodel.backend)").receive(WAIT)
        == "main_thread_only"
    )


def test_the_worker_has_locks_and_events(every):
    channel = every.remote_exec(
        """
        model = channel.gateway.execmodel
        with model.RLock():
            event = model.Event()
        event.set()
        channel.send((model.backend, event.is_set()))
        """
    )
    assert channel.receive(WAIT) == ("thread", True)


def test_a_dead_interpreter_ends_every_wait_with_what_is_known(gateway):
    waits = gateway.remote_exec("channel.receive()")
    dies = gateway.remote_exec(
        "import os, sys; sys.stderr.write('last words\\n'); sys.stderr.flush(); os._exit(7)"
    )
    with pytest.raises(EOFError, match="7") as caught:
        dies.receive(WAIT)
    assert "last words" in str(caught.value)
    with pytest.raises(EOFError):
        waits.receive(WAIT)
    with pytest.raises(EOFError):
        waits.waitclose(WAIT)
    with pytest.raises(OSError):
        waits.send(1)
    with pytest.raises(OSError):
        gateway.remote_exec("1")
    gateway.join(WAIT)
    assert not gateway.hasreceiver() and "not-receiving" in repr(gateway)


def test_a_killed_interpreter_is_named_by_its_signal(gateway):
    channel = gateway.remote_exec("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(EOFError, match="SIGKILL"):
        channel.receive(WAIT)


@pytest.mark.parametrize("python", ["/does/not/exist", "/bin/false"])
def test_a_wrong_interpreter_fails_in_makegateway(group, python):
    with pytest.raises((OSError, EOFError)) as caught:
        group.makegateway(f"popen//python={python}")
    assert str(caught.value)
    assert len(group) == 0


def test_words_of_a_wrong_interpreter_are_told(group, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no python here >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises((OSError, EOFError), match="no python here"):
        group.makegateway(f"popen//python={program}")


def test_exit_ends_the_interpreter(group):
    gateway = group.makegateway()
    pid = gateway._rinfo().pid
    channel = gateway.remote_exec("channel.receive()")
    gateway.exit()
    assert gateway not in group
    gateway.exit()
    gateway.join()
    with pytest.raises(EOFError):
        channel.receive(WAIT)
    with pytest.raises(OSError):
        os.kill(pid, 0)


def test_code_there_may_use_its_streams_and_fork(gateway):
    channel = gateway.remote_exec(
        """
        import os, subprocess, sys
        channel.send(sys.stdin.read())
        os.write(1, b"to fd 1\\n")
        print("printed")
        channel.send(subprocess.call([sys.executable, "-c", "print(1)"]))
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        channel.send(os.waitpid(pid, 0)[1] >> 8)
        """
    )
    assert [*channel] == ["", 0, 0]


def test_what_is_printed_there_arrives_line_by_line(group):
    import queue

    lines = queue.Queue()
    with execnet.Group(output=lambda gateway, line: lines.put((gateway.id, line))) as group:
        gateway = group.makegateway("popen//id=p")
        gateway.remote_exec(
            "import sys; print('one'); sys.stdout.flush(); sys.stderr.write('two\\nthree')"
        ).waitclose(WAIT)
        assert [lines.get(timeout=WAIT) for _ in range(2)] == [("p", "one"), ("p", "two")]
        gateway.exit()
        assert lines.get(timeout=WAIT) == ("p", "three")


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_an_output_callback_that_fails_is_told_and_called_again(capfd, error):
    import queue

    lines = queue.Queue()

    def output(gateway, line):
        lines.put(line)
        raise error("no place for " + line)

    with execnet.Group(["popen"], output=output) as group:
        group[0].remote_exec("for i in range(3000): print(i)").waitclose(WAIT)
        assert [lines.get(timeout=WAIT) for _ in range(3000)] == [str(i) for i in range(3000)]
    told = capfd.readouterr().err
    assert "no place for 0" in told and "in output" in told and "no place for 2999" in told


def test_without_a_callback_it_goes_to_stderr_marked(run_program):
    done = run_program(
        "import execnet\nexecnet.makegateway('popen//id=p').remote_exec('print(1)').waitclose()\n"
    )
    assert done.stderr == "[p] 1\n" and done.stdout == ""


def test_attributes_can_be_set(gateway):
    gateway.node = "mine"
    assert gateway.node == "mine"


def test_with_ends(group):
    with group.makegateway() as gateway:
        assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
    assert not gateway.hasreceiver() and len(group) == 0


def test_errors_can_be_pickled(run_program):
    done = run_program(
        """
import execnet, pickle
names = ["RemoteError", "TimeoutError", "GatewayDied", "HostNotFound", "DataFormatError"]
for name in [*names, "DumpError", "LoadError"]:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        error = getattr(execnet, name)("x")
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error) and str(again) == "x" and type(again).__module__ == "execnet"
print(again.args, pickle.loads(pickle.dumps(execnet.RemoteError("y"))).formatted)
"""
    )
    assert (done.stdout, done.stderr) == ("('x',) y\n", "")


def test_a_command_that_leads_a_session_already_may_be_the_interpreter():
    setsid = f"import os,sys; os.setsid(); os.execv({sys.executable!r}, [{sys.executable!r}] + sys.argv[1:])"
    command = shlex.join([sys.executable, "-c", setsid])
    with execnet.makegateway(f"popen//python={command}") as gateway:
        assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


def test_an_interpreter_that_is_not_there_is_an_error_of_the_usual_kind():
    with pytest.raises(FileNotFoundError, match="cannot start `/no/such/python`: No such file or directory$"):
        execnet.makegateway("popen//python=/no/such/python")
    with pytest.raises(PermissionError):
        execnet.makegateway("popen//python=/etc")


def test_a_start_that_fails_is_told_once(run_program):
    done = run_program("import execnet; execnet.makegateway('popen//chdir=/proc/nope')")
    assert done.stderr.count("/proc/nope") == 2, "the line of code, and the error"
    assert (
        "OSError: gateway gw0 did not start: cannot make the folder /proc/nope: No such file" in done.stderr
    )
    assert "Errno" not in done.stderr and "[gw0]" not in done.stderr


def test_a_path_with_spaces_that_is_not_quoted_is_told_as_what_it_was_taken_for(tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    first, rest = str(folder).split(" ")
    with pytest.raises(FileNotFoundError) as told:
        execnet.makegateway(f"popen//python={folder}/python -S")
    hint = f"(if the file `{folder}/python` is meant, put it in quotes)"
    assert f"cannot start `{first}` with `{rest}/python -S` {hint}: No such file" in str(told.value)
    with pytest.raises(FileNotFoundError, match=r"cannot start `/no/python` with `-S`: No such file"):
        execnet.makegateway("popen//python=/no/python -S")
    with execnet.makegateway(f"popen//python='{folder}/python' -S") as gateway:
        assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1
