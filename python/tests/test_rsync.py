"""RSync, to every interpreter."""

import os

import pytest
from execnet import RSync


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


def test_delete_removes_what_is_not_in_the_source(gateway, source, tmp_path):
    target = tmp_path / "target"
    (target / "other/deep").mkdir(parents=True)
    (target / "old").write_text("")
    send(gateway, source, target)
    assert (target / "old").exists()
    send(gateway, source, target, delete=True)
    assert not (target / "old").exists() and not (target / "other").exists()


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
    (tmp_path / "target").write_text("")
    rsync = RSync(source, verbose=False)
    rsync.add_target(gateway, "/proc/nowhere")
    with pytest.raises(gateway.remote_exec("").RemoteError):
        rsync.send()


def test_what_is_sent_is_printed(gateway, source, tmp_path, capsys):
    rsync = Chosen(source)
    rsync.add_target(gateway, tmp_path / "target")
    rsync.send()
    assert "<= sub/file.txt" in capsys.readouterr().out
