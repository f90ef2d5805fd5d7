"""Locks on folders and files, and files as the store needs them.

A lock counts only while the name still leads to what was locked: somebody may have cleaned up in between.
Where there are no locks (Jython, some network file systems), names of their own and the time of the last use
take their place.
"""
import errno
import os
import stat
import sys
import time

from .interpreter import JYTHON, TWO
from .places import as_bytes

try:
    import fcntl
    SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX
except ImportError:
    fcntl = None
    SHARED = EXCLUSIVE = 0

sleep, clock = time.sleep, getattr(time, "monotonic", time.time)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
FOLDER = os.O_RDONLY | NOFOLLOW | getattr(os, "O_DIRECTORY", 0)
BUSY = (errno.EAGAIN, errno.EACCES, errno.EINTR)
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
GLANCE = 0.01  # seconds between two looks at a lock that another has


class Gone(Exception):
    """What was to be locked is not there, or is another than before."""


class Lock(object):
    """A lock on a file or folder, as long as this object is not closed."""

    def __init__(self, path, kind, flags=FOLDER, wait=None):
        """Take it. `wait(holder)` is called about once a second while another has it, first at once; without
        it, Busy is raised. Gone is raised if the path does not lead to what was locked."""
        self.path = path
        self.real = fcntl is not None  # whether others are kept out
        self._fd = None
        if not self.real:
            if flags & os.O_CREAT:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT))
            return
        try:
            self._fd = os.open(path, flags, 0o600)
        except EnvironmentError:
            error = sys.exc_info()[1]
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise Gone(path)
            raise
        try:
            if TWO:
                fcntl.fcntl(self._fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            self._take(kind, wait)
            if not same(self._fd, path):
                raise Gone(path)
        except BaseException:
            self.close()
            raise

    def _take(self, kind, wait):
        told = None
        while True:
            try:
                fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
                return
            except EnvironmentError:
                if sys.exc_info()[1].errno not in BUSY:
                    self.real = False  # this file system has none
                    return
            if wait is None:
                raise Busy(self.path)
            if told is None or clock() - told >= 1:
                told = clock()
                wait(self.holder())
            sleep(GLANCE)

    def sign(self):
        """Write our process id into the file, which also notes this use."""
        if self._fd is None:
            touch(self.path)
        else:
            os.ftruncate(self._fd, 0)
            os.write(self._fd, ("%d\n" % os.getpid()).encode("ascii"))

    def holder(self):
        """Return the process that signed it; 0 if none did."""
        try:
            os.lseek(self._fd, 0, 0)
            return int(os.read(self._fd, 32))
        except (EnvironmentError, ValueError):
            return 0

    def close(self):
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Busy(Exception):
    """Another process has the lock."""


def same(fd, path):
    """Whether an fd and a path, not followed, are one file."""
    try:
        here, there = os.fstat(fd), os.lstat(path)
    except EnvironmentError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def time_of(path):
    """Return when a file was written or touched last, or None."""
    try:
        return os.lstat(path).st_mtime
    except EnvironmentError:
        return None


def touch(path):
    """Set a file's times to now, by the clock of its file system. Return whether that was possible."""
    try:
        os.utime(path, None)
        return True
    except EnvironmentError:
        return False


def read(path):
    """Return a file's bytes, or None. A link is not followed."""
    try:
        fd = os.open(path, os.O_RDONLY | NOFOLLOW)
    except EnvironmentError:
        return None
    parts = []
    try:
        while True:
            part = os.read(fd, 1048576)
            if not part:
                return b"".join(parts)
            parts.append(part)
    except EnvironmentError:
        return None
    finally:
        os.close(fd)


def write(path, data):
    """Write a file completely or not at all."""
    draft = path + as_bytes(".%d" % os.getpid())
    remove(draft)
    fd = create(draft)
    try:
        write_all(fd, data)
    except BaseException:
        os.close(fd)
        remove(draft)
        raise
    os.close(fd)
    os.rename(draft, path)


def create(path, mode=0o600):
    """Return an fd of a new file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, mode)
    if TWO and fcntl is not None:
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    if JYTHON:
        os.chmod(path, mode)
    return fd


def write_all(fd, data):
    if JYTHON:
        data = bytes(data)
    while data:
        data = data[os.write(fd, data):]


def remove(path):
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except EnvironmentError:
        pass


def remove_tree(path):
    """Remove a folder with everything in it, as far as possible. Links are not followed."""
    try:
        about = os.lstat(path)
        if not stat.S_ISDIR(about.st_mode):
            os.unlink(path)
            return
        names = os.listdir(path)
    except EnvironmentError:
        return
    for name in names:
        full = os.path.join(path, name)
        try:
            os.unlink(full)
        except EnvironmentError:
            remove_tree(full)
    try:
        os.rmdir(path)
    except EnvironmentError:
        pass
