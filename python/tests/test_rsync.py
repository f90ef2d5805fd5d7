"""RSync to every interpreter."""

import contextlib
import os
import time
from pathlib import Path

import pytest
from conftest import INTERPRETERS, TWO, WAIT
from execnet import RemoteError, RSync


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "source"
    (source / "sub/deep").mkdir(parents=True)
    (source / "sub/file.txt").write_text("text")
    (source / "program").write_bytes(bytes(range(256)))
    (source / "program").chmod(0o750)
    (source / "unwanted.pyc").write_text("")
    return source


class Chosen(RSync):
    def filter(self, path):
        return not path.endswith(".pyc")


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_arrives(every, source, tmp_path):
    done = []
    rsync = Chosen(source, verbose=False)
    rsync.add_target(every, tmp_path / "target", finishedcallback=lambda: done.append(1))
    rsync.send()
    assert content(tmp_path / "target") == {"sub/file.txt": b"text", "program": bytes(range(256))}
    assert (tmp_path / "target/program").stat().st_mode & 0o777 == 0o750
    assert done == [1] and (tmp_path / "target/sub/deep").is_dir()


def send(gateway, source, target, **options):
    events = []
    rsync = RSync(source, callback=lambda what, size, channel: events.append((what, size)), verbose=False)
    rsync.add_target(gateway, target, **options)
    rsync.send()
    return events


def test_only_what_differs_is_sent(gateway, source, tmp_path):
    target = tmp_path / "target"
    assert sorted(send(gateway, source, target)) == [("ack", 0), ("ack", 4), ("ack", 256), ("list", 260)]
    assert send(gateway, source, target) == [("list", 0)]
    (source / "sub/file.txt").write_text("other")
    assert send(gateway, source, target) == [("list", 5), ("ack", 5)]
    assert (target / "sub/file.txt").read_text() == "other"
    os.utime(source / "program", (1, 1))
    assert send(gateway, source, target) == [("list", 256), ("ack", 256)]
    assert (target / "program").stat().st_mtime == 1


def test_what_is_there_with_its_time_is_left_alone(every, source, tmp_path):
    os.utime(source / "program", ns=(0, 1763873000146635599))
    send(every, source, tmp_path / "target")
    assert send(every, source, tmp_path / "target") == [("list", 0)]


def test_delete_removes_what_is_not_in_the_source(gateway, source, tmp_path):
    target = tmp_path / "target"
    (target / "other/deep").mkdir(parents=True)
    (target / "old").write_text("")
    send(gateway, source, target)
    assert (target / "old").exists()
    send(gateway, source, target, delete=True)
    assert not (target / "old").exists() and not (target / "other").exists()


@pytest.mark.parametrize("delete", [False, True])
def test_a_link_at_the_target_is_replaced_and_what_it_leads_to_is_left_alone(every, source, tmp_path, delete):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").write_text("kept")
    for name in ("folder", "file"):
        (tmp_path / name).symlink_to("elsewhere")
    send(every, source, tmp_path / "folder", delete=delete)
    send(every, source / "program", tmp_path / "file", delete=delete)
    assert content(tmp_path / "elsewhere") == {"kept": b"kept"}
    assert content(tmp_path / "folder") == content(source) and not (tmp_path / "folder").is_symlink()
    assert (tmp_path / "file").read_bytes() == (source / "program").read_bytes()
    assert not (tmp_path / "file").is_symlink()


def test_links_lead_into_the_copy(gateway, source, tmp_path):
    (source / "absolute").symlink_to(source / "sub")
    (source / "relative").symlink_to("sub/file.txt")
    (source / "outside").symlink_to("/etc/hostname")
    target = tmp_path / "target"
    send(gateway, source, target)
    assert os.readlink(target / "absolute") == str(target / "sub")
    assert os.readlink(target / "relative") == "sub/file.txt"
    assert os.readlink(target / "outside") == "/etc/hostname"
    send(gateway, source, target)
    assert os.readlink(target / "absolute") == str(target / "sub")


def test_links_lead_into_a_copy_that_has_a_relative_path(group, source, tmp_path):
    (source / "sub/absolute").symlink_to(source / "program")
    gateway = group.makegateway(f"popen//chdir={tmp_path}")
    for target in ("a", "a/b", "../" + tmp_path.name + "/c"):
        send(gateway, source, target)
        folder = (tmp_path / target).resolve()
        assert os.readlink(folder / "sub/absolute") == str(folder / "program")


def test_many_targets_at_once(group, source, tmp_path):
    rsync = Chosen(source, verbose=False)
    for n in range(3):
        rsync.add_target(group.makegateway(), tmp_path / f"target{n}")
    rsync.send()
    for n in range(3):
        assert len(content(tmp_path / f"target{n}")) == 2
    with pytest.raises(OSError):
        rsync.send()
    rsync.send(raises=False)


def test_an_error_there_is_an_error_here(gateway, source, tmp_path):
    rsync = RSync(source, verbose=False)
    rsync.add_target(gateway, "/proc/nowhere")
    with pytest.raises(RemoteError, match="'/proc/nowhere' of gateway gw0"):
        rsync.send()
    rsync.add_target(gateway, tmp_path / "target")
    rsync.send()
    assert content(tmp_path / "target") == content(source)


def test_what_is_sent_is_printed(gateway, source, tmp_path, capsys):
    rsync = Chosen(source)
    rsync.add_target(gateway, tmp_path / "target")
    rsync.send()
    assert "<= sub/file.txt" in capsys.readouterr().out


def test_without_a_folder_to_send_nothing_happens_to_targets(gateway, source, tmp_path):
    target = tmp_path / "target"
    send(gateway, source, target)
    rsync = RSync(tmp_path / "nowhere", verbose=False)
    rsync.add_target(gateway, target, delete=True)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rsync.send()
    with pytest.raises(NotADirectoryError, match="null"):
        send(gateway, "/dev/null", target, delete=True)
    with pytest.raises(RemoteError, match="a folder is there, which a file does not replace"):
        send(gateway, source / "program", target, delete=True)
    assert content(target) == content(source)
    send(gateway, source / "program", tmp_path / "alone")
    assert (tmp_path / "alone").read_bytes() == (source / "program").read_bytes()
    (tmp_path / "nowhere").mkdir()
    rsync.send()
    assert content(target) == {}


def test_a_link_to_a_folder_is_sent_as_that_folder(gateway, source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    send(gateway, tmp_path / "link", tmp_path / "target", delete=True)
    assert content(tmp_path / "target") == content(source)


def test_folders_and_gateways_of_wrong_types_are_refused_at_once(gateway, source):
    rsync = RSync(source)
    with pytest.raises(TypeError, match="NoneType"):
        RSync(None)
    with pytest.raises(TypeError, match="Gateway.*NoneType"):
        rsync.add_target(None, "/tmp/x")
    with pytest.raises(TypeError, match="NoneType"):
        rsync.add_target(gateway, None)
    with pytest.raises(ValueError, match="name"):
        rsync.add_target(gateway, "")


def test_names_that_are_no_utf_8_arrive_as_they_are(every, source, tmp_path):
    names = [b"bad\xff\xfe.bin"]
    if every.id == "jython":
        # Java cannot have such names
        names = [b"odd"]
    elif every._rinfo().version_info[0] == 2:
        # other interpreters have names in the encoding of their locale
        names.append("gr\u00fc\u00df \U0001f40d".encode())
    for name in names:
        (source / os.fsdecode(name)).write_text("here")
    (source / "link").symlink_to(os.fsdecode(names[0]))
    for _ in range(2):
        send(every, source, tmp_path / "target", delete=True)
        assert content(tmp_path / "target") == content(source)
        assert os.readlink(os.fsencode(tmp_path / "target/link")) == names[0]


@pytest.mark.skipif("jython" not in TWO, reason="skipped, because there is no Jython on this machine")
def test_a_name_that_cannot_be_sent_is_told_with_its_target(group, source, tmp_path):
    (source / "sub" / os.fsdecode(b"bad\xff")).write_text("")
    gateway = group.makegateway(f"popen//python={INTERPRETERS['jython']}//id=java//patience={WAIT}")
    with pytest.raises(RemoteError) as caught:
        send(gateway, source, tmp_path / "target")
    assert "sub/bad" in str(caught.value) and "target' of gateway java" in str(caught.value)


ASKS = """
channel.receive()
channel.send({{"open": (b"/", None)}})
channel.receive()
channel.send({asked!r})
for what, about in channel:
    if what == "data":
        with open({got!r}, "w") as file:
            file.write(repr(about))
"""


@pytest.mark.parametrize(
    "asked",
    [
        # a link, a folder, none at all; a file twice
        {"need": ([(0, None, False)], [], [])},
        {"need": ([(2, None, False)], [], [])},
        {"need": ([(5, None, False)], [], [])},
        {"need": ([(-1, None, False)], [], [])},
        {"need": ([(1, None, False), (1, None, False)], [], [])},
        {"need": ([("../secret", None, False)], [], [])},
        {"end": ([], [], 0)},
        {"\x1b]0;x\x07": None},
        7,
    ],
    ids=str,
)
def test_a_target_gets_only_files_that_it_was_offered(group, source, tmp_path, asked):
    (source / "leads out").symlink_to("../secret")
    got = tmp_path / "got"
    gateway = group.makegateway("popen//id=gw")
    gateway._copy_receiver = lambda: gateway.remote_exec(ASKS.format(asked=asked, got=str(got)))
    rsync = Chosen(source, verbose=False)
    rsync.add_target(gateway, tmp_path / "target")
    with pytest.raises(OSError, match="target' of gateway gw .*: what the host says is refused") as e:
        rsync.send()
    assert str(e.value).isprintable()
    group.terminate(WAIT)
    assert not got.exists()


def test_what_cannot_be_sent_is_told_before_anything_is(gateway, source, tmp_path):
    os.mkfifo(source / "sub/pipe")
    with pytest.raises(ValueError, match="sub/pipe.* neither a file, a folder nor a link"):
        send(gateway, source, tmp_path / "target")

    class Failing(RSync):
        def filter(self, path):
            raise KeyError(path)

    rsync = Failing(source, verbose=False)
    rsync.add_target(gateway, tmp_path / "target")
    with pytest.raises(KeyError, match=str(source)):
        rsync.send()
    assert not (tmp_path / "target").exists()
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


def test_an_error_of_a_callback_gives_the_copy_up(gateway, source, tmp_path):
    def callback(what, size, channel):
        assert channel.gateway is gateway
        raise KeyError(what)

    rsync = RSync(source, callback=callback, verbose=False)
    rsync.add_target(gateway, tmp_path / "target")
    with pytest.raises(KeyError, match="list"):
        rsync.send()
    rsync.send(raises=False)
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


def copying():
    """Return how many threads copy."""
    names = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/self/task/{thread}/comm").read_text())
    return names.count("execnet-copy\n")


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system does not list threads")
def test_an_error_ends_the_threads_that_copy(gateway, source, tmp_path):
    for number in range(3000):
        (source / str(number)).write_text("")

    class Failing(RSync):
        def _report_send_file(self, gateway, modified_rel_path):
            time.sleep(1)  # they tell more than is kept
            raise KeyError(modified_rel_path)

    rsync = Failing(source)
    rsync.add_target(gateway, tmp_path / "target")
    with pytest.raises(KeyError) as kept:
        rsync.send()
    end = time.monotonic() + WAIT
    while copying():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert kept.value.__traceback__


def test_subclasses_hear_what_is_sent_and_listed(gateway, source, tmp_path):
    heard = []

    class Hearing(Chosen):
        def _report_send_file(self, gateway, modified_rel_path):
            heard.append((gateway, modified_rel_path))

        def _list_done(self, channel):
            heard.append(channel.gateway)
            super()._list_done(channel)

    rsync = Hearing(source, callback=lambda what, size, channel: heard.append((what, size)))
    rsync.add_target(gateway, tmp_path / "target")
    rsync.send()
    files = [(gateway, "program"), (gateway, "sub/file.txt")]
    assert heard == [gateway, ("list", 260), *files, ("ack", 256), ("ack", 4)]


STATE = """
import os, signal
channel.send((os.umask(0o27), signal.getsignal(signal.SIGHUP) == signal.SIG_DFL))
"""


def test_the_gateway_stays_as_it_was(gateway, source, tmp_path):
    before = gateway.remote_exec(STATE).receive(WAIT)
    (source / "program").chmod(0o666)
    send(gateway, source, tmp_path / "target")
    assert (tmp_path / "target/program").stat().st_mode & 0o777 == 0o666
    assert gateway.remote_exec(STATE).receive(WAIT) == (0o27, before[1])


def test_home_is_not_emptied_and_a_tilde_is_a_name(group, source, tmp_path):
    home = tmp_path / "home/me"
    (home / "mail").mkdir(parents=True)
    gateway = group.makegateway(f"popen//env:HOME={home}//chdir={tmp_path}")
    for folder in (home, tmp_path / "home", "home/me"):
        with pytest.raises(RemoteError, match="refuses to delete in .*home"):
            send(gateway, source, folder, delete=True)
    send(gateway, source, "~", delete=True)
    assert content(tmp_path / "~") == content(source) and os.listdir(home) == ["mail"]


def test_read_only_folders_are_filled_and_stay_writable(every, source, tmp_path):
    (source / "sub").chmod(0o500)
    (tmp_path / "target/sub").mkdir(parents=True)
    for folder in ("target/sub", "target"):
        (tmp_path / folder).chmod(0o500)
    send(every, source, tmp_path / "target")
    assert content(tmp_path / "target") == content(source)
    assert (tmp_path / "target/sub").stat().st_mode & 0o777 == 0o700


def test_a_file_larger_than_memory_should_hold_travels_in_pieces(gateway, source, tmp_path):
    with open(source / "large", "wb") as file:
        file.truncate(64 << 20)
        file.seek(0)
        file.write(b"begins")
    events = send(gateway, source, tmp_path / "target")
    assert events[0] == ("list", 260 + (64 << 20)) and ("ack", 64 << 20) in events
    assert (tmp_path / "target/large").read_bytes() == (source / "large").read_bytes()


def test_a_target_whose_gateway_is_gone_is_named(group, source, tmp_path):
    rsync = RSync(source, verbose=False)
    rsync.add_target(group.makegateway(), tmp_path / "target0")
    gone = group.makegateway()
    rsync.add_target(gone, tmp_path / "target1")
    gone._native.kill()
    gone.join()
    with pytest.raises((OSError, EOFError), match="target1' of gateway gw1.*SIGKILL"):
        rsync.send()
