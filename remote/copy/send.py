"""Reads files and folders for the client: offers what there is, and sends what the client asks for."""
import errno
import os
import stat

from .common import (
    AHEAD,
    COMPLETE,
    END,
    FILE,
    FIRST,
    FOLDER,
    GONE,
    JYTHON,
    LAST,
    LINK,
    MORE,
    OTHER,
    PIECE,
    SAME,
    Failures,
    digest,
    join,
    mtime,
    native,
    plain,
)

ENTRIES = 256  # in one message
NAMES = 1 << 15  # bytes of names in one message


UNSIZED = "it does not say its size, as files in /proc; read it with `execnet run`"


class Sender(object):
    def __init__(self, paths):
        self.failures = Failures()
        self.finished = True  # everything could be listed
        self.tops = []  # names and paths; no name where only the content is asked for
        for path in paths:
            full = os.path.expanduser(native(path) or native(b"."))
            name = os.path.basename(full)
            # whoever asks does not know what a home folder is called
            is_home = path.startswith(b"~") and b"/" not in path
            if is_home or plain(name) in (b"", b".", b".."):
                self.tops.append((None, full.rstrip(native(b"/")) or native(b"/")))
            else:
                self.tops.append((name, full))

    def walk(self, failures):
        """Yield (path, flags, mode, time, folder, entries) for each folder, parents first."""
        found, below = [], []
        whole = len(self.tops) == 1 and self.tops[0][0] is None
        mode, time, complete = -1, 0, COMPLETE if whole else 0
        for name, full in self.tops:
            if name is not None:
                found += self.entries([(name, full)], failures, True)[0]
                continue
            try:
                about, names = os.stat(full), sorted(os.listdir(full))
            except OSError as error:
                failures.add(full, error)
                self.finished, complete = False, 0
                continue
            if whole:
                mode, time = stat.S_IMODE(about.st_mode), mtime(about)
            more, all_there = self.entries([(name, join(full, name)) for name in names], failures)
            found, complete = found + more, complete & all_there
        entries = self.first(found, failures)
        for chunk in self.chunks(b"", complete, mode, time, entries):
            yield chunk
        below = [(entry[0], entry[6], entry[2], entry[3]) for entry in entries if entry[1] == FOLDER]
        below.reverse()
        while below:
            path, full, mode, time = below.pop()
            entries, complete = [], 0
            try:
                names = sorted(os.listdir(full))
                entries, complete = self.entries([(name, join(full, name)) for name in names], failures)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # removed meanwhile
                failures.add(full, error)
                self.finished = False
            for chunk in self.chunks(path, complete, mode, time, entries):
                yield chunk
            for entry in reversed(entries):
                if entry[1] == FOLDER:
                    below.append((path + b"/" + entry[0], entry[6], entry[2], entry[3]))

    def first(self, entries, failures):
        """Return the first entry of each name."""
        firsts, seen = [], set()
        for entry in entries:
            if entry[0] in seen:
                failures.add(entry[6], u"another source brings this name")
            else:
                seen.add(entry[0])
                firsts.append(entry)
        return firsts

    def chunks(self, path, complete, mode, time, entries):
        for at in range(0, max(len(entries), 1), ENTRIES):
            flags = complete | (FIRST if at == 0 else 0) | (LAST if at + ENTRIES >= len(entries) else 0)
            yield path, flags, mode, time, entries[at:at + ENTRIES]

    def entries(self, paths, failures, asked=False):
        """Return the entries with these names and paths, each with its path, and whether they are COMPLETE.
        What was removed meanwhile is missed only if it was `asked` for."""
        entries, complete = [], COMPLETE
        for name, full in paths:
            try:
                entries.append(self.entry(name, full, failures) + (full,))
            except (OSError, UnicodeError) as error:
                if asked or getattr(error, "errno", None) != errno.ENOENT:
                    failures.add(full, error)
                    self.finished, complete = False, 0
        return entries, complete

    def entry(self, name, full, failures):
        """Return (name, kind, mode, time, size, target of a link)."""
        found = os.lstat(full)
        mode, size, target = found.st_mode, 0, b""
        if stat.S_ISREG(mode):
            kind, size = FILE, found.st_size
        elif stat.S_ISDIR(mode):
            kind = FOLDER
        elif stat.S_ISLNK(mode):
            kind, target = LINK, plain(os.readlink(full))
        else:
            kind = OTHER
            failures.add(full, u"it is neither a file, a folder nor a link")
        return plain(name), kind, stat.S_IMODE(mode), mtime(found), size, target

    def batches(self):
        """Yield lists of folders that fit into a message, and the files in them, by number."""
        folders, files, number, names = [], {}, 0, 0
        for path, flags, mode, time, entries in self.walk(self.failures):
            told = [entry[:6] for entry in entries]
            if folders and (number + len(entries) > ENTRIES or names > NAMES):
                yield folders, files
                folders, files, number, names = [], {}, 0, 0
            folders.append((path, flags, mode, time, told))
            names += len(path) + sum([len(entry[0]) + len(entry[5]) + 8 for entry in told])
            for entry in entries:
                if entry[1] == FILE:
                    files[number] = entry[6], entry[4]
                number += 1
        if folders:
            yield folders, files


class Outgoing(object):
    """Pieces of files, many in a message."""

    def __init__(self, channel):
        self.channel, self.pieces, self.size = channel, [], 0

    def add(self, number, flag, data=b""):
        self.pieces.append((number, flag, data))
        self.size += len(data) + 64
        if self.size >= PIECE:
            self.flush()

    def flush(self):
        if self.pieces:
            self.channel.send({"data": self.pieces})
            self.pieces, self.size = [], 0

    def file(self, number, full, size):
        """Send so many bytes of a file."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = open(full, "rb") if JYTHON else os.fdopen(os.open(full, flags), "rb", 0)
        try:
            if not JYTHON and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "it is no regular file any more")
            if not size and not os.stat(full).st_size and file.read(1):
                raise OSError(0, UNSIZED)
            while True:
                data = file.read(min(size, PIECE))
                if size and not data:
                    raise OSError(0, "it has shrunk while it was read")
                size -= len(data)
                if not size:
                    self.add(number, END, data)
                    return
                self.add(number, MORE, data)
        finally:
            file.close()


def send(channel):
    paths, dry = channel.receive()
    sender = Sender(paths)
    count = size = 0
    for _, flags, _, _, entries in sender.walk(Failures()):
        count += len(entries) + (flags & FIRST)
        size += sum([entry[4] for entry in entries if entry[1] == FILE])
    channel.send({"total": (count, size, sender.finished)})
    waiting, outgoing = [], Outgoing(channel)

    def answer():
        files = waiting.pop(0)
        for number, hashed in channel.receive():
            full, size = files[number]
            try:
                if hashed is not None and hashed == digest(full):
                    outgoing.add(number, SAME)
                elif dry:
                    outgoing.add(number, END)
                else:
                    outgoing.file(number, full, size)
            except EnvironmentError as error:
                sender.failures.add(full, error)
                outgoing.add(number, GONE)
        outgoing.flush()

    for batch, files in sender.batches():
        channel.send({"offer": batch})
        waiting.append(files)
        while len(waiting) >= AHEAD:
            answer()
    while waiting:
        answer()
    channel.send({"end": (sender.failures.take(), sender.failures.count)})
    channel.receive()


if __name__ == "__channelexec__":
    send(channel)  # noqa: F821
