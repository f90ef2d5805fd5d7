"""What both halves of a copy share on a host: names, times, reasons."""
import hashlib
import os
import sys

TWO = sys.version_info[0] == 2
JYTHON = sys.platform.startswith("java")

FILE, FOLDER, LINK, OTHER = range(4)  # kinds of entries
FIRST, LAST, COMPLETE = 1, 2, 4  # flags of a folder: its first entries, its last, all that it contains
MORE, END, SAME, GONE = range(4)  # what the bytes of a file are, or why there are none

AHEAD = 4  # batches that are offered before the first one is answered
PIECE = 60000  # bytes of files in one message
MOST = 100  # failures that are told in words

# how exactly a time can be set, in ns
GRAIN = 10 ** 9 if JYTHON else 2000 if TWO else 0


def native(name):
    """Return a name or path as the functions of `os` take it."""
    return name.decode("utf-8") if JYTHON else name


def plain(name):
    """Return a name or path as bytes."""
    return name.encode("utf-8") if JYTHON else name


def join(folder, name):
    slash = native(b"/")
    return folder + name if not folder or folder.endswith(slash) else folder + slash + name


def lstat(path):
    try:
        return os.lstat(path)
    except OSError:
        return None


def mtime(found):
    """Return when a file was changed, in ns."""
    if TWO:
        return int(round(found.st_mtime * 1e6)) * 1000
    return found.st_mtime_ns


def is_same_time(found, expected):
    time = mtime(found)
    if abs(time - expected) <= GRAIN:
        return True
    # set by a Python that knows no ns
    return time % 1000 == 0 and time == expected - expected % 1000


def digest(path):
    """Return the SHA-256 of a file, or None if it cannot be read."""
    sha = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                sha.update(piece)
    except EnvironmentError:
        return None
    return sha.digest()


def reason(error):
    """Return why something failed, as text."""
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return why if isinstance(why, type(u"")) else why.decode("utf-8", "replace")


class Failures(object):
    """What went wrong with single files."""

    def __init__(self):
        self.told = []
        self.count = 0

    def add(self, path, why):
        self.count += 1
        if self.count <= MOST:
            self.told.append((plain(path), why if isinstance(why, type(u"")) else reason(why)))

    def name(self, path):
        """Add a path that cannot be had here: its name is not UTF-8."""
        self.count += 1
        if self.count <= MOST:
            self.told.append((path, u"its name, or where it leads, is not UTF-8, which Java needs"))

    def take(self):
        """Return those that were not told yet."""
        told, self.told = self.told, []
        return told


class Over(Exception):
    """The copy cannot go on."""


def text(path):
    """Return a path for a message."""
    return plain(path).decode("utf-8", "replace")
