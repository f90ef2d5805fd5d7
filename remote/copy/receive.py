"""Writes files that the client sends, below one folder. Asks only for those that differ.

A file is written beside its place and renamed. Links are made last, and none is followed below the folder.
"""
import errno
import os
import stat
import time as clock
from binascii import hexlify

from .common import (
    COMPLETE,
    END,
    FILE,
    FIRST,
    GONE,
    JYTHON,
    LAST,
    SAME,
    TWO,
    Failures,
    Over,
    digest,
    is_same_time,
    join,
    lstat,
    native,
    plain,
    reason,
    text,
)

ACTS = 256  # in one message
DRAFT = native(b".execnet-")  # the name of an unfinished file begins with it
LEFT = 600  # s; an unfinished file that nobody wrote to for so long was left by a copy that was killed

HOME = "it is the home folder or above it"
SPECIAL = "a device, FIFO or socket is there"

# the whole disk cannot be written
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Draft(object):
    """A file that is written beside its place."""

    def __init__(self, path, mode):
        self.path = path
        if JYTHON:
            self.file = open(path, "wb")
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
            self.fd = os.open(path, flags, 0o600 | mode & 0o777)

    def write(self, data):
        if JYTHON:
            self.file.write(data)
            return
        view = memoryview(data)
        while len(view):
            view = view[os.write(self.fd, view):]

    def close(self):
        if JYTHON:
            self.file.close()
        elif self.fd is not None:
            fd, self.fd = self.fd, None
            os.close(fd)


class Receiver(object):
    def __init__(self, options, send):
        self.send = send
        self.delete, self.checksum, self.dry = options["delete"], options["checksum"], options["dry"]
        self.exact = options["exact"]
        self.failures, self.acts = Failures(), []
        self.waiting = []  # for each batch its files that are still to come, by number
        self.draft = None
        self.dead = set()  # folders that cannot be entered
        self.new = None  # the name of the only file, if that has another one here
        self.here, self.fresh, self.names = None, False, None
        self.count = 0
        self.mark = DRAFT + native(hexlify(os.urandom(6)) + b"-")
        self.masked = masked()

    # --- where

    def open(self, target, alone, kept):
        """Find the folder that everything goes to. `alone`: one file comes, and may get the target's name.
        `kept`: folders in it whose other content may be deleted."""
        if not is_native(target):
            raise Over("the name of the target is not UTF-8, which Java needs")
        path = native(target) or native(b".")
        path = path if self.exact else os.path.expanduser(path)
        slash = native(b"/")
        path = path.rstrip(slash) + (slash if path.endswith(slash) else native(b"")) or slash
        if self.exact:
            path = path.rstrip(slash) or slash
            self.clear_way(path, alone)
            if not alone and not os.path.isabs(path):
                path = os.path.realpath(path)  # links will lead into it
        if alone and (self.exact or not path.endswith(slash) and not os.path.isdir(path)):
            path, self.new = os.path.split(path)
        self.base = path.rstrip(slash) or (slash if path.startswith(slash) else native(b"."))
        if self.delete:
            for name in filter(is_native, kept):
                full = join(self.base, native(name)) if name else self.base
                if holds_home(full):
                    raise Over("refuses to delete in %s: %s" % (text(os.path.realpath(full)), HOME))
        self.is_above = holds_home(self.base)
        found = os.path.exists(self.base)
        if found and not os.path.isdir(self.base):
            raise Over("%s is no folder" % text(self.base))
        if not found and not self.dry:
            try:
                os.makedirs(self.base)
            except OSError as error:
                raise Over("cannot make %s: %s" % (text(self.base), reason(error)))
        if not found and self.dry:
            self.act("make", self.base)

    def clear_way(self, path, alone):
        """Remove what is in the way of a copy of this name, also a link."""
        found = lstat(path)
        is_folder = found and stat.S_ISDIR(found.st_mode)
        if is_folder and alone:
            raise Over("a folder is there, which a file does not replace: %s" % text(path))
        if found and not is_ordinary(found):
            raise Over("%s: %s" % (text(path), SPECIAL))
        if found and not is_folder and not alone and not self.dry:
            os.unlink(path)

    def place(self, path):
        """Return the full path of what has this path in the copy."""
        path = native(path)
        if self.new is not None:
            path = self.new
        return join(self.base, path) if path else self.base

    def is_dead(self, path):
        if not self.dead:
            return False
        while path:
            if path in self.dead:
                return True
            path = path.rpartition(b"/")[0]
        return b"" in self.dead

    # --- batches

    def offer(self, folders):
        """Return which files of these folders are needed, with the digest of what is there if it may be
        equal."""
        files, needs, number = {}, [], 0
        for path, flags, mode, _, entries in folders:
            usable = self.enter(path, flags, mode >= 0)
            for name, kind, mode, time, size in entries:
                if usable and self.names is not None and is_native(name):
                    self.names.add(native(name))
                if usable and kind == FILE:
                    need = None
                    try:
                        full = self.place(name) if self.new is not None else join(self.here, native(name))
                        need = self.compare(full, mode, time, size)
                    except EnvironmentError as error:
                        self.fail(full, error)
                    except UnicodeError:
                        self.failures.name(path + b"/" + name if path else name)
                    if need is not None:
                        needs.append((number, need[0] or None, need[1]))
                        files[number] = full, mode, time
                number += 1
            if usable and flags & LAST and self.names is not None:
                self.clear()
        if files and not self.dry:
            self.waiting.append(files)
        return needs

    def enter(self, path, flags, is_ours):
        """Make sure that a folder is there. Return whether it is."""
        if not flags & FIRST:
            return not self.is_dead(path)
        self.names = None
        if self.is_dead(path):
            return False
        try:
            self.here = self.place(path) if self.new is None else self.base
            self.fresh = self.ensure(self.here, path, is_ours)
        except EnvironmentError as error:
            self.dead.add(path)
            self.fail(self.here, error)
            return False
        except UnicodeError:
            self.dead.add(path)
            self.failures.name(path)
            return False
        if self.delete and flags & COMPLETE and not self.fresh:
            self.names = set()
        return True

    def ensure(self, full, path, is_ours):
        """Make a folder if it is not there. Return whether it was made. `is_ours`: it gets a mode later."""
        # a link may lead to the top, and to no other folder
        found = lstat(full) if path else stat_or_none(full)
        if found and stat.S_ISDIR(found.st_mode):
            if is_ours and found.st_mode & 0o700 != 0o700 and not self.dry:
                os.chmod(full, stat.S_IMODE(found.st_mode) | 0o700)
            return False
        if not path:
            return True
        if found and not is_ordinary(found):
            raise OSError(errno.EEXIST, SPECIAL)
        if self.dry:
            if found:
                self.act("delete", full)
            self.act("make", full)
            return True
        if found:
            os.unlink(full)
        os.mkdir(full, 0o700)
        return True

    def compare(self, full, mode, time, size):
        """Return None if this file need not be sent; else the digest of what is there if it may be the same,
        or an empty one, and whether what is there has this mode and time."""
        found = None if self.fresh else lstat(full)
        if not found or not stat.S_ISREG(found.st_mode) or found.st_size != size:
            self.tell_way(full, found)
            return b"", False
        is_timely = is_same_time(found, time)
        if self.checksum or not is_timely:
            return digest(full) or b"", is_timely and stat.S_IMODE(found.st_mode) == mode
        if stat.S_IMODE(found.st_mode) != mode:
            if self.dry:
                self.act("update", full)
            else:
                os.chmod(full, mode)
        return None

    def tell_way(self, full, found):
        """Refuse to replace a device, FIFO or socket by a file or link. Note what becomes of a folder that is
        there, if nothing is changed."""
        if found and not is_ordinary(found):
            raise OSError(errno.EEXIST, SPECIAL)
        if self.dry and found and stat.S_ISDIR(found.st_mode):
            spare_home(full)
            if self.delete:
                self.act("delete", full)
            elif os.listdir(full):
                raise full_folder()

    def clear(self):
        """Delete what the folder contains besides what was offered."""
        try:
            there = set(os.listdir(self.here))
        except EnvironmentError as error:
            self.fail(self.here, error)
            return
        surplus = there - self.names
        # where case makes no difference, what was offered may be listed by another name
        missing = self.names - there if surplus else ()
        offered = set(filter(None, [identity(join(self.here, name)) for name in missing]))
        for name in sorted(surplus):
            full = join(self.here, name)
            if is_draft(full, name) or offered and identity(full) in offered:
                continue
            self.act("delete", full)
            if not self.dry:
                try:
                    remove(full)
                except EnvironmentError as error:
                    # another copy may have deleted it
                    if lstat(full):
                        self.fail(full, error)

    # --- content

    def data(self, pieces):
        for number, flag, data in pieces:
            files = self.waiting[0]
            if files[number]:
                try:
                    self.take(files[number], flag, data)
                except EnvironmentError as error:
                    self.drop()
                    self.fail(files[number][0], error)
                    files[number] = None
            if flag:
                del files[number]
                if not files:
                    del self.waiting[0]

    def take(self, file, flag, data):
        full, mode, time = file
        if flag == GONE:
            self.drop()
            return
        if flag == SAME:
            if stat.S_IMODE(os.lstat(full).st_mode) != mode:
                os.chmod(full, mode)
            set_time(full, time)
            return
        if self.draft is None:
            self.draft = Draft(self.beside(full), mode)
        self.draft.write(data)
        if flag == END:
            self.draft.close()
            path = self.draft.path
            if mode & (~0o777 | self.masked) or 0o600 & ~mode:
                os.chmod(path, mode)
            set_time(path, time)
            self.put(path, full)
            self.draft = None

    def beside(self, full):
        self.count += 1
        mark = self.mark + native(str(self.count).encode("ascii"))
        return join(os.path.dirname(full), mark)

    def put(self, path, full):
        """Rename, also onto a folder if that is empty or may be deleted."""
        try:
            os.rename(path, full)
            return
        except OSError:
            found = lstat(full)
            if not found or not stat.S_ISDIR(found.st_mode):
                raise
        spare_home(full)
        if self.delete:
            remove(full)
        else:
            try:
                os.rmdir(full)
            except OSError:
                raise full_folder()
        os.rename(path, full)

    def drop(self):
        """Forget an unfinished file."""
        draft, self.draft = self.draft, None
        if draft is not None:
            try:
                draft.close()
                os.unlink(draft.path)
            except EnvironmentError:
                pass  # another copy may have deleted it

    # --- what follows

    def links(self, links):
        for path, target in links:
            if self.is_dead(path.rpartition(b"/")[0]):
                continue
            try:
                full, target = self.place(path), native(target)
                found = lstat(full)
                if found and stat.S_ISLNK(found.st_mode) and os.readlink(full) == target:
                    continue
                self.tell_way(full, found)
                self.act("link", full)
                if self.dry:
                    continue
                beside = self.beside(full)
                os.symlink(target, beside)
                try:
                    self.put(beside, full)
                except EnvironmentError:
                    os.unlink(beside)
                    raise
            except EnvironmentError as error:
                self.fail(full, error)
            except UnicodeError:
                self.failures.name(path)

    def folders(self, folders):
        """Set modes and times of folders, now that nothing more comes into them."""
        if self.dry:
            return
        for path, mode, time in folders:
            if self.is_dead(path):
                continue
            full = self.place(path)
            if self.is_above and holds_home(full):
                continue
            try:
                found = os.stat(full)
                if not path and stat.S_ISVTX & found.st_mode & ~mode:
                    continue  # a folder for everybody, as /tmp
                if stat.S_IMODE(found.st_mode) != mode:
                    os.chmod(full, mode)
                if not is_same_time(found, time):
                    set_time(full, time)
            except EnvironmentError as error:
                if error.errno in FULL:
                    self.fail(full, error)
                self.failures.add(full, u"cannot set its mode and time: " + reason(error))

    def act(self, what, full):
        """Note what is done, or would be, for a run that only tells."""
        if self.dry:
            self.acts.append((what, plain(full)))
            if len(self.acts) == ACTS:
                acts, self.acts = self.acts, []
                self.send({"acts": acts})

    def fail(self, full, error):
        if error.errno in FULL:
            raise Over("cannot write %s: %s; what follows is not copied" % (text(full), reason(error)))
        self.failures.add(full, error)

    def news(self):
        """Return the failures and acts that were not told yet."""
        acts, self.acts = self.acts, []
        return self.failures.take(), acts


def on_hangup(handler):
    """Set what SIGHUP does; None: nothing. Return what it did, or None if that could not be changed."""
    try:
        import signal
        return signal.signal(signal.SIGHUP, signal.SIG_IGN if handler is None else handler)
    except (ImportError, AttributeError, ValueError):
        return None  # not in the main thread, or Jython


def masked():
    """Return the mode bits that new files may not get. The kernel's own umask can only be read by setting it,
    which other threads would notice."""
    if JYTHON:
        return 0o777
    try:
        with open("/proc/self/status") as file:
            return int([line for line in file if line.startswith("Umask:")][0].split()[1], 8)
    except (EnvironmentError, IndexError, ValueError):
        return 0o777


def is_ordinary(found):
    """Return whether it may be replaced: it is a file, a folder or a link."""
    return stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode)


def stat_or_none(path):
    try:
        return os.stat(path)
    except OSError:
        return None


def is_native(name):
    """Return whether this interpreter can have such names: Java only has text."""
    try:
        native(name)
    except UnicodeError:
        return False
    return True


def set_time(path, time):
    if TWO:
        os.utime(path, (time / 1e9, time / 1e9))
    else:
        os.utime(path, ns=(time, time))


def remove(path):
    found = lstat(path)
    if not found or not stat.S_ISDIR(found.st_mode):
        os.unlink(path)
        return
    import shutil
    try:
        shutil.rmtree(path)
    except EnvironmentError as error:
        if error.errno != errno.EACCES:
            raise
        # a read-only folder of ours
        make_writable(path)
        shutil.rmtree(path)


def make_writable(folder):
    os.chmod(folder, 0o700)
    for name in os.listdir(folder):
        full = join(folder, name)
        found = lstat(full)
        if found and stat.S_ISDIR(found.st_mode):
            make_writable(full)


def is_draft(full, name):
    """Return whether another copy is writing this file."""
    found = name.startswith(DRAFT) and lstat(full)
    # it may have the time of its source by now, but not as the time of its last change
    return bool(found) and abs(clock.time() - found.st_ctime) < LEFT


def identity(full):
    found = lstat(full)
    return found and (found.st_dev, found.st_ino)


def holds_home(path):
    """Return whether this is the home folder, or above it."""
    root = native(b"/")
    path, home = os.path.realpath(path), os.path.realpath(os.path.expanduser(native(b"~")))
    return path == root or (home + root).startswith(path + root)


def spare_home(path):
    """Refuse to delete a folder that holds the home folder."""
    if holds_home(path):
        raise OSError(errno.EBUSY, HOME)


def full_folder():
    return OSError(errno.EISDIR, "a folder that is not empty is there")


def receive(channel):
    target, alone, kept, options = channel.receive()
    receiver = Receiver(options, channel.send)
    # live on when the client is gone, until the unfinished file is deleted
    hangup = on_hangup(None)
    try:
        receiver.open(target, alone, kept)
        new = receiver.new
        channel.send({"open": (plain(receiver.base), None if new is None else plain(new))})
        for what, about in channel:
            if what == "offer":
                needs = receiver.offer(about)
                channel.send({"need": (needs,) + receiver.news()})
            elif what == "data":
                receiver.data(about)
            elif what == "links":
                receiver.links(about)
                channel.send({"need": ([],) + receiver.news()})
            elif what == "folders":
                receiver.folders(about)
            else:
                channel.send({"end": receiver.news() + (receiver.failures.count,)})
                return
    except Over as over:
        why = over.args[0]
        channel.send({"over": why if isinstance(why, type(u"")) else why.decode("utf-8", "replace")})
    finally:
        receiver.drop()
        if hangup is not None:
            on_hangup(hangup)


if __name__ == "__channelexec__":
    receive(channel)  # noqa: F821
