"""Folders that a store may use: which there are, and why one cannot be used.

The usual one is /tmp/execnet-UID/packages, beside what the agent has there. As for the agent's folder,
another account may have made it first (remote/agent/place.py).
"""
import errno
import os
import stat
import sys

from .interpreter import JYTHON, TWO, native

TMP = "/tmp"
NOEXEC = 8  # of statvfs, on Linux
MISSING = "does not exist"


class Place(object):
    """A folder and the one around it; both must be ours alone."""

    def __init__(self, around, deep=False, named=False):
        self.around = around
        self.path = around + "/packages"
        self.deep = deep  # its parents may be missing, too
        self.named = named  # by EXECNET_PACKAGES_FOLDER
        self.raw = as_bytes(self.path)
        self.reserved = 0  # bytes that this process will write

    def __repr__(self):
        return self.path

    def fault(self, make=False):
        """Return why it cannot be used; empty if it can. `make`: create what is missing."""
        if os.pathsep in self.path:
            return "%s has a `%s` in its name, where PYTHONPATH would be cut" % (self.around, os.pathsep)
        if self.around[:1] != "/":
            return "%s is no absolute path" % self.around
        parent = self.around.rpartition("/")[0] or "/"
        if make and self.deep:
            words = _make(parent, os.makedirs)
            if words:
                return words
        words = _fault(parent, True)
        if words:
            return "%s %s" % (parent, words)
        for folder in (self.around, self.path):
            words = make and _make(folder, os.mkdir)
            if words:
                return words
            words = _fault(folder, open_to=0o022 if self.deep and folder == self.around else 0o077)
            if words:
                return "%s %s" % (folder, words)
        return ""

    def no_programs(self):
        """Whether nothing can be executed there, nor extension modules loaded."""
        if not sys.platform.startswith("linux"):
            return False
        try:
            return bool(os.statvfs(self.path).f_flag & NOEXEC)
        except EnvironmentError:
            return False

    def has_room(self, manifest):
        """Whether there is room for a set, as far as the system tells."""
        try:
            about = os.statvfs(self.path)
        except (EnvironmentError, AttributeError):
            return True
        count = len(manifest.files) + len(manifest.folders)
        if about.f_files and about.f_favail < count + 8:
            return False
        needed = self.reserved + manifest.size + (count // 2 + 8) * about.f_frsize
        return about.f_bavail * about.f_frsize >= needed


def candidates():
    """Return the places, best first."""
    uid = os.geteuid()
    wanted = os.environ.get("EXECNET_PACKAGES_FOLDER")
    if wanted:  # and no other: also what is removed is removed there
        return [Place(os.path.normpath(os.path.expanduser(wanted)), True, True)]
    found = [Place("%s/execnet-%d" % (TMP, uid))]
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if cache[:1] != "/":
        home = os.environ.get("HOME", "")
        if home[:1] != "/":
            try:
                import pwd
                home = pwd.getpwuid(uid)[5]
            except (ImportError, KeyError):
                home = ""
        cache = home + "/.cache" if home[:1] == "/" else ""
    if cache:
        found.append(Place(cache + "/execnet", True))
    return found + [Place("%s/execnet-%d" % (above, uid)) for above in ("/var/tmp", "/dev/shm")]


def _make(folder, call):
    """Make a folder. Return why it is not there."""
    if os.path.lexists(folder):
        return ""
    mask = os.umask(0o077)
    try:
        call(folder, 0o700)
    except EnvironmentError:
        error = sys.exc_info()[1]
        if error.errno != errno.EEXIST:
            return "cannot make %s: %s" % (folder, error.strerror or error)
    finally:
        os.umask(mask)
    return ""


def _fault(folder, shared=False, open_to=0o022):
    """Return why a folder is not ours alone. `shared`: it may be root's, or have the sticky bit, as /tmp has,
    so that nobody can remove our files. `open_to`: what others must not have."""
    try:
        about = os.stat(folder) if shared else os.lstat(folder)
    except OSError:
        return MISSING
    if stat.S_ISLNK(about.st_mode):
        return "is a link"
    if not stat.S_ISDIR(about.st_mode):
        return "is not a folder"
    if shared and about.st_mode & stat.S_ISVTX:
        return ""
    if about.st_uid != os.geteuid() and not (shared and about.st_uid == 0):
        return "belongs to another user"
    if about.st_mode & open_to:
        return "is open to other users"
    return ""


def as_bytes(path):
    """Return a path as the file calls here take it: in bytes, whatever the locale; on Jython as text."""
    if JYTHON:
        return path.decode("utf-8") if isinstance(path, str) else path
    if TWO:
        return native(path)
    return path if isinstance(path, bytes) else os.fsencode(path)


def inside(folder, path):
    """Return the path of a file of a manifest in such a folder."""
    return folder + "/" + path.decode("utf-8") if JYTHON else folder + b"/" + path
