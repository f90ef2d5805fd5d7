"""Whether a folder is as it was written.

A seal keeps size, times and inode of everything in the folder; only compiled files may be added. Where one
of them differs, or after another boot, the hashes decide.
"""
import os
import stat

from .interpreter import JYTHON, TWO
from .locks import NOFOLLOW, read, write
from .places import inside

HEAD = b"execnet seal 1"
# nanoseconds: Jython keeps times in milliseconds, Python 2 in a float
SLACK = 2000000 if JYTHON else 2000 if TWO else 0
PIECE = 1048576


def boot():
    """Return 8 characters that are others after a restart of the system."""
    return (read("/proc/sys/kernel/random/boot_id") or b"none").decode("ascii", "replace")[:8]


def is_whole(base, sealed):
    """Whether everything is as the text of its seal says."""
    if not sealed:
        return False
    lines = sealed.split(b"\n")
    if lines[0] != HEAD or lines.pop():
        return False
    lstat = os.lstat
    try:
        if not _ours(lstat(base)):
            return False
        for line in lines[1:]:
            size, mtime, ctime, inode, path = line.split(b" ", 4)
            about = lstat(inside(base, path))
            now = _state(about)
            if SLACK:
                if (now[0], now[3]) != (int(size), int(inode)) or abs(now[1] - int(mtime)) > SLACK or \
                        abs(now[2] - int(ctime)) > SLACK:
                    return False
            elif b"%d %d %d %d" % now != line[:-len(path) - 1]:
                return False
    except (EnvironmentError, ValueError):
        return False
    return True


def made(base, manifest):
    """Return the text of the seal of a folder."""
    lines = [HEAD]
    paths = [b"."] + manifest.folders + [file[0] for file in manifest.files]
    for path in paths:
        lines.append(("%d %d %d %d " % _state(os.lstat(inside(base, path)))).encode("ascii") + path)
    return b"\n".join(lines) + b"\n"


def is_true(base, manifest):
    """Whether the folder has the files of its manifest, by their hashes, and else only compiled ones."""
    try:
        if not _ours(os.lstat(base)):
            return False
        for folder in manifest.folders:
            if not _ours(os.lstat(inside(base, folder))):
                return False
        for path, digest, size, executable, _ in manifest.files:
            about = os.lstat(inside(base, path))
            need = 0o500 if executable else 0o400
            if not stat.S_ISREG(about.st_mode) or about.st_size != size or about.st_uid != os.geteuid() or \
                    about.st_mode & (need | 0o022) != need:
                return False
            if hash_of(inside(base, path)) != digest:
                return False
    except EnvironmentError:
        return False
    return not _others(base, manifest)


def hash_of(path):
    """Return the hash of a file's content; links are not followed."""
    from hashlib import sha256
    fd = os.open(path, os.O_RDONLY | NOFOLLOW)
    try:
        digest = sha256()
        while True:
            part = os.read(fd, PIECE)
            if not part:
                return digest.hexdigest().encode("ascii")
            digest.update(part)
    finally:
        os.close(fd)


def keep(path, base, manifest):
    """Seal a folder, if the file can be written."""
    try:
        write(path, made(base, manifest))
    except EnvironmentError:
        pass  # then its hashes are compared each time


def _others(base, manifest):
    """Whether there is something that the manifest does not name."""
    names = set(manifest.folders)
    names.update([file[0] for file in manifest.files])
    for folder in [b""] + manifest.folders:
        for name in os.listdir(inside(base, folder) if folder else base):
            if not isinstance(name, bytes):
                name = name.encode("utf-8")
            if (folder + b"/" + name if folder else name) not in names and not is_compiled(name):
                return True
    return False


def is_compiled(name):
    return name == b"__pycache__" or name.endswith((b".pyc", b".pyo", b"$py.class"))


def _ours(about):
    return (stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
            and about.st_mode & 0o722 == 0o700)


def _state(about):
    if hasattr(about, "st_mtime_ns"):
        times = about.st_mtime_ns, about.st_ctime_ns
    else:
        times = int(about.st_mtime * 1e9), int(about.st_ctime * 1e9)
    # the size of a folder says nothing
    size = -1 if stat.S_ISDIR(about.st_mode) else about.st_size
    return (size,) + times + (about.st_ino,)
