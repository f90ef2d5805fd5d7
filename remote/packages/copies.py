"""Copies of projects under test, which `pytest --net` makes beside the packages (python/pytest_execnet).

Each is a folder; who uses it holds a lock on that, and has touched it. Its name tells it from what else
somebody may have there.
"""
import os
import stat

from .interpreter import as_text
from .locks import EXCLUSIVE, Busy, Gone, Lock, remove_tree, time_of
from .places import as_bytes

HEX = "0123456789abcdef"
LEFT = ".gone-"


def copies(place):
    """Return the names of the copies beside a place."""
    return _names(place, _is_copy)


def folder(place):
    return place.around + "/tests"


def about(place, name, now):
    """Return what `execnet packages` shows of a copy."""
    lock = _unused(place, name)
    size, files = size_of(_path(place, name))
    found = {
        u"id": _text(name), u"title": u"tests of " + _text(name).rpartition(u"-")[0], u"size": size,
        u"files": files, u"used": max(0, int(now - (time_of(_path(place, name)) or now))),
        u"in_use": lock is None, u"where": _text(folder(place))}
    if lock:
        lock.close()
    return found


def remove(place, name):
    """Remove a copy that nobody uses. Return its size, or None."""
    lock = _unused(place, name)
    if lock is None:
        return None
    path = _path(place, name)
    gone = _path(place, "%s%d-%s" % (LEFT, os.getpid(), name))
    try:
        size = size_of(path)[0]
        os.rename(path, gone)
    except EnvironmentError:
        return None
    finally:
        lock.close()
    remove_tree(gone)
    return size


def last_use(place, name):
    return time_of(_path(place, name)) or 0


def left(place):
    """Return the paths of what is being deleted, or was when a process was killed."""
    return [_path(place, name) for name in _names(place, _is_gone)]


def _names(place, wanted):
    try:
        return sorted([name for name in os.listdir(folder(place)) if wanted(name)])
    except EnvironmentError:
        return []


def _is_copy(name):
    """Whether the plugin made it: named as the project, a digest, and a number behind a dot if there are
    several. Without `re`: its import in a thread may meet another import."""
    stem, dot, number = name.rpartition(".")
    project, _, digest = (stem if dot and _is_number(number) else name).rpartition("-")
    return project[:1] not in ("", ".") and len(digest) == 12 and not digest.strip(HEX)


def _is_gone(name):
    """Whether it is a copy that is being deleted."""
    number, _, rest = name[len(LEFT):].partition("-")
    return name.startswith(LEFT) and _is_number(number) and _is_copy(rest)


def _is_number(text):
    return bool(text) and not text.strip("0123456789")


def _path(place, name):
    return as_bytes(folder(place)) + as_bytes("/") + as_bytes(name)


def _text(name):
    return as_text(as_bytes(name))


def _unused(place, name):
    try:
        lock = Lock(_path(place, name), EXCLUSIVE)
    except (Busy, Gone, EnvironmentError):
        return None
    # without real locks nobody can tell
    return lock if lock.real else None


def size_of(path):
    """Return (bytes, number of files) of a folder."""
    size = files = 0
    for at, _, names in os.walk(path):
        for name in names:
            try:
                entry = os.lstat(os.path.join(at, name))
            except EnvironmentError:
                continue
            if stat.S_ISREG(entry.st_mode):
                size, files = size + entry.st_size, files + 1
    return size, files
