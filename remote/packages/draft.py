"""A folder while it is written: beside its place, and renamed when it is complete."""
import os
import stat
import sys
from hashlib import sha256

from . import seal
from .interpreter import JYTHON
from .locks import FULL, NOFOLLOW, SHARED, Lock, create, read, remove_tree, write_all
from .manifest import shown
from .places import as_bytes, inside
from .store import StoreError, last_use, path, read_about, sets, write_about

EMPTY = sha256(b"").hexdigest().encode("ascii")
PIECE = 1048576
SOURCES = 64  # other folders in which files are looked for


class Wrong(Exception):
    """What arrived is not what the manifest says."""


class Draft(object):
    """A set that is being written, by whoever holds `lock`."""

    def __init__(self, store, place, lock, manifest, title):
        self.store, self.place, self.manifest, self.title = store, place, manifest, title
        self.base = place.raw + as_bytes("/.new-%s-%d%s" % (
            manifest.id, os.getpid(), "" if lock.real else "-open"))
        self.wanted = []  # numbers of the files that must be sent
        self._lock = lock
        self._at = 0
        self._fd = None
        self._mask = os.umask(0o022)
        try:
            left = self._left_over()
            os.mkdir(self.base, 0o755)
            for folder in manifest.folders:
                os.mkdir(inside(self.base, folder), 0o755)
            if not JYTHON and sys.version_info[0] > 2:
                # so that importing changes no folder of the seal
                sources = [file[0] for file in manifest.files if file[0].endswith(b".py")]
                for folder in set([name[:name.rfind(b"/") + 1] for name in sources]):
                    os.mkdir(inside(self.base, folder + b"__pycache__"), 0o755)
            known, same = self._known()
            for number, (name, digest, size, _, _) in enumerate(manifest.files):
                if not size:
                    if digest != EMPTY:
                        raise Wrong("%s is empty, but not by its hash" % shown(name))
                    self._close(self._create(number), number)
                elif not (digest in known and self._copy(number, *known[digest])):
                    if not any(self._copy(number, each, name) for each in left):
                        self.wanted.append(number)
                if name in same and name.endswith(b".py"):
                    self._copy_compiled(same[name], name)
            for each in left:
                remove_tree(each)
        except BaseException:
            self._failed()

    def _left_over(self):
        """Return the drafts of this set that killed writers have left."""
        left = []
        for name in os.listdir(self.place.path):
            if name.startswith(".new-%s-" % self.manifest.id):
                path = self.place.raw + as_bytes("/" + name)
                if path == self.base:
                    remove_tree(path)
                elif self._lock.real and not name.endswith("-open"):
                    left.append(path)
        return left

    def bitmap(self):
        """Return the wanted files, a bit each."""
        bits = bytearray((len(self.manifest.files) + 7) // 8)
        for number in self.wanted:
            bits[number // 8] |= 1 << number % 8
        return bytes(bits)

    def feed(self, data):
        """Take bytes of the wanted files. Return those behind the last one."""
        try:
            while data and self._at < len(self.wanted):
                number = self.wanted[self._at]
                name, digest, size, _, _ = self.manifest.files[number]
                if self._fd is None:
                    self._fd = self._create(number)
                    self._hash, self._left = sha256(), size
                part = data[:self._left]
                write_all(self._fd, part)
                self._hash.update(part)
                self._left -= len(part)
                data = data[len(part):]
                if not self._left:
                    if self._hash.hexdigest().encode("ascii") != digest:
                        raise Wrong("%s is not what the manifest says" % shown(name))
                    fd, self._fd = self._fd, None
                    self._close(fd, number)
                    self._at += 1
            return data
        except BaseException:
            self._failed()

    def complete(self):
        return self._at == len(self.wanted)

    def finish(self):
        """Give the complete folder its name. Return its path."""
        place, name, store = self.place, self.manifest.id, self.store
        base = path(place, name)
        try:
            found = None if self._lock.real else store.find(name, False)
            if found:  # where there are no locks, another has written it
                self.drop()
                return found
            write_about(place, self.title, self.manifest)
            lock = Lock(self.base, SHARED)  # of the folder, which keeps it under its new name
            if os.path.lexists(base):
                gone = place.raw + as_bytes("/.gone-%s-%d" % (name, os.getpid()))
                os.rename(base, gone)
                store.gone.append(gone)
            try:
                os.rename(self.base, base)
            except EnvironmentError:
                lock.close()
                found = None if self._lock.real else store.find(name, False)
                if not found:
                    raise
                self.drop()
                return found
            lock.path = base
            store.held[base] = lock
            seal.keep(path(place, name, store.seal), base, self.manifest)
            if not store.hold(place, name):
                raise StoreError("%s is not there any more: somebody cleans up in it" % place)
            store.use(place, name)
        except BaseException:
            self._failed()
        os.umask(self._mask)
        self._lock.close()
        return place.path + "/" + name

    def drop(self):
        """Remove it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        remove_tree(self.base)
        os.umask(self._mask)
        self._lock.close()

    def _failed(self):
        """Remove it after an error, and raise that again, in words."""
        error = sys.exc_info()[1]
        self.drop()
        if isinstance(error, EnvironmentError):
            if error.errno in FULL:
                from . import collect
                raise collect.full(self.place, self.manifest, error)
            raise StoreError("cannot write packages in %s: %s" % (self.place, error))
        raise error

    def _create(self, number):
        name, _, _, executable, _ = self.manifest.files[number]
        return create(inside(self.base, name), 0o555 if executable else 0o444)

    def _close(self, fd, number):
        os.close(fd)
        name, mtime = self.manifest.files[number][0], self.manifest.files[number][4]
        os.utime(inside(self.base, name), (mtime, mtime))

    def _known(self):
        """Look for files in other folders. Return {hash: (folder, path in it)}, and {path: folder} of those
        that have the path and time of ours, too, and so what was compiled from them."""
        mine = set(self.manifest.text.split(b"\n"))
        wanted = set([file[1] for file in self.manifest.files if file[2]])
        known, same = {}, {}
        for place in self.store.places:
            if place.fault():
                continue
            for name in sorted(sets(place), key=lambda name: -last_use(place, name))[:SOURCES]:
                about = read_about(place, name)
                for line in about[3].split(b"\n") if about else ():
                    if line in mine and len(line) > 64 and name != self.manifest.id:
                        found = line.split(b" ", 4)
                        same.setdefault(found[4], path(place, name))
                        known[found[0]] = path(place, name), found[4]
                    elif line[:64] in wanted and line[:64] not in known:
                        known[line[:64]] = path(place, name), line.split(b" ", 4)[4]
        return known, same

    def _copy(self, number, folder, found):
        """Copy a file. Return whether it was what it should be."""
        _, digest, size, _, _ = self.manifest.files[number]
        source = inside(folder, found)
        try:
            about = os.lstat(source)
            if not stat.S_ISREG(about.st_mode) or about.st_size != size or seal.hash_of(source) != digest:
                return False
            source = os.open(source, os.O_RDONLY | NOFOLLOW)
        except EnvironmentError:
            return False
        copied = sha256()
        try:
            fd = self._create(number)
            try:
                for part in iter(lambda: os.read(source, PIECE), b""):
                    write_all(fd, part)
                    copied.update(part)
            finally:
                self._close(fd, number)
        finally:
            os.close(source)
        if copied.hexdigest().encode("ascii") != digest:
            raise StoreError("%s changes while it is read" % shown(found))
        return True

    def _copy_compiled(self, folder, name):
        above, _, last = name.rpartition(b"/")
        above = above + b"/" if above else b""
        cache = above + b"__pycache__"
        names = [above + last + b"c", above + last[:-3] + b"$py.class"]
        try:
            found = [each if isinstance(each, bytes) else each.encode("utf-8")
                     for each in os.listdir(inside(folder, cache))]
        except EnvironmentError:
            found = ()
        names += [cache + b"/" + each for each in found
                  if each.startswith(last[:-2]) and each.endswith(b".pyc")]
        for each in names:
            data = read(inside(folder, each))
            if data is not None:
                try:
                    fd = create(inside(self.base, each), 0o644)
                except EnvironmentError:
                    continue
                try:
                    write_all(fd, data)
                finally:
                    os.close(fd)
