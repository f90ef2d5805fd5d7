"""The store: finds and keeps the folders of sets on this host (docs/kernel.md, section 8).

In a place there are for each set: the folder ID; `ID.set`, its title, numbers and manifest; `ID.seal-BOOT`;
`ID.lock`, which its writer locks, and whose time is that of the last use; `ID.open`, touched where a user
cannot lock. Beside them drafts (`.new-...`) and what is being deleted (`.gone-...`).
"""
import os
import sys

from . import seal
from .locks import EXCLUSIVE, NOFOLLOW, SHARED, Gone, Lock, read, remove_tree, sleep, time_of, touch, write
from .places import as_bytes, candidates

TRIES = 9  # how often to start over while somebody else cleans up
HOUR = 3600
INNER_TIME = 946684800  # of files that a kernel makes for its children


class StoreError(Exception):
    """A set cannot be kept on this host."""


class Store(object):
    """`wait(pid)` is called about once a second while another process (0: unknown) has a lock that we need;
    None: do not wait."""

    def __init__(self, wait=None):
        self.wait = wait
        self.places = candidates()
        self.tried = []  # why places were not taken
        self.held = {}  # path: Lock, while this process lives
        self.used = []  # (place, id) of the sets in use
        self.gone = []  # damaged folders, under the names under which they are deleted
        self.seal = ".seal-" + seal.boot()

    def find(self, name, native):
        """Return the folder of a set, held and as it was written; None if there is none."""
        for place in self.places:
            if os.path.isdir(path(place, name)) and not place.fault():
                if not (native and place.no_programs()) and self._open(place, name):
                    return place.path + "/" + name
        return None

    def claim(self, name, native, places=None, manifest=None):
        """Return (place, Lock) where a set can be written; None if there is no such place, see `tried`.
        `manifest`: only where there is room for it."""
        if places is None:
            places, self.tried = self.places, []
        for place in places:
            fault = place.fault(make=True)
            if not fault and native and place.no_programs():
                fault = "%s is mounted noexec, and there are extension modules" % place
            if not fault and manifest:
                fault = self.full(place, manifest)
            if not fault:
                try:
                    lock = self._claim(path(place, name, ".lock"))
                    lock.sign()
                    return place, lock
                except EnvironmentError:
                    error = sys.exc_info()[1]
                    fault = "cannot write in %s: %s" % (place, error.strerror or error)
            self.tried.append(fault)
        return None

    def full(self, place, manifest):
        """Return why there is no room for a set, after what nobody uses was removed; empty if there is."""
        if place.has_room(manifest):
            return ""
        from . import collect
        removed = collect.make_room(self, place, lambda: place.has_room(manifest))
        if place.has_room(manifest):
            return ""
        return ("%s has no room for %d files with %d bytes, although %d sets with %d bytes were removed that "
                "nobody used" % (place, len(manifest.files), manifest.size, removed[0], removed[1]))

    def _claim(self, path):
        for _ in range(TRIES):
            try:
                return Lock(path, EXCLUSIVE, os.O_RDWR | os.O_CREAT | NOFOLLOW, self.wait)
            except Gone:
                pass  # it was removed with its set
        raise EnvironmentError(0, "the lock %s is removed again and again" % path)

    def nowhere(self):
        """Return the error if no place can be written."""
        return StoreError("there is no folder for packages on this host: " + "; ".join(self.tried))

    def other(self, place, name, native, manifest):
        """Return (place, Lock) behind a place that has no room for a set; None if it has."""
        fault = self.full(place, manifest)
        if not fault:
            return None
        self.tried = [fault]
        # only those behind it: two who wait for each other's locks would wait for ever
        claim = self.claim(name, native, self.places[self.places.index(place) + 1:], manifest)
        if claim is None:
            raise self.nowhere()
        return claim

    def hold(self, place, name):
        """Lock a set's folder and those around it, shared. Return False if it is not there."""
        base = path(place, name)
        for _ in range(TRIES):
            locks = []
            try:
                for each in (as_bytes(place.around), place.raw, base):
                    if each not in self.held:
                        locks.append(Lock(each, SHARED, wait=self.wait))
                self.held.update([(lock.path, lock) for lock in locks])
                return True
            except (Gone, EnvironmentError):
                for lock in locks:
                    lock.close()
                if not isinstance(sys.exc_info()[1], Gone) or not os.path.isdir(base):
                    break
        return False

    def _open(self, place, name):
        if not self.hold(place, name):
            return False
        base = path(place, name)
        if not seal.is_whole(base, read(path(place, name, self.seal))):
            manifest = self.manifest(place, name)
            if manifest is None or not seal.is_true(base, manifest):
                self.held.pop(base).close()
                return False
            seal.keep(path(place, name, self.seal), base, manifest)
        self.use(place, name)
        return True

    def use(self, place, name):
        """Note that a set is in use by this process."""
        self.used.append((place, name))
        self.note(place, name)

    def note(self, place, name):
        touch(path(place, name, ".lock"))
        held = self.held.get(path(place, name))
        if held is None or not held.real:
            try:
                write(path(place, name, ".open"), b"")
            except EnvironmentError:
                pass

    def manifest(self, place, name):
        """Return the manifest of a folder, if it is there and has this id."""
        from .manifest import Manifest, ManifestError
        about = read_about(place, name)
        try:
            manifest = about and Manifest(about[3])
        except ManifestError:
            return None
        return manifest if manifest and manifest.id == name else None

    def keep(self, files):
        """Return a folder with these files, {relative path: bytes}; None if there is no place for one."""
        from . import manifest
        files = dict([(path if isinstance(path, bytes) else path.encode("utf-8"), files[path])
                      for path in files])
        text = manifest.written([(path, manifest.identity(files[path]).encode("ascii"), len(files[path]),
                                  False, INNER_TIME) for path in files])
        name = manifest.identity(text)
        folder = self.find(name, False)
        claim = None if folder else self.claim(name, False)
        if claim is None:
            return folder
        folder = self.find(name, False)
        if folder:
            claim[1].close()
            return folder
        from .draft import Draft
        draft = Draft(self, claim[0], claim[1], manifest.Manifest(text), b"")
        for number in list(draft.wanted):
            draft.feed(files[draft.manifest.files[number][0]])
        return draft.finish()

    def attend(self):
        """Clean up, then note every hour that the sets are in use. Runs in a thread."""
        try:
            from . import collect
            for each in self.gone:
                remove_tree(each)
            collect.collect(self)
            while True:
                sleep(HOUR)
                for place, name in self.used:
                    self.note(place, name)
                    touch(place.raw)
        except Exception:
            pass  # the interpreter ends, or user code has broken imports; the locks remain


def path(place, name, end=""):
    """Return the path of a set's folder, or of a file of it, as file calls take it."""
    return place.raw + as_bytes("/" + name + end)


def read_about(place, name):
    """Return (title, number of files, bytes, manifest) of `ID.set`; None if it cannot be read."""
    data = read(path(place, name, ".set"))
    parts = data.split(b"\n", 2) if data else ()
    try:
        files, size = parts[1].split(b" ")
        return parts[0], int(files), int(size), parts[2]
    except (ValueError, IndexError):
        return None


def write_about(place, title, manifest):
    numbers = ("\n%d %d\n" % (len(manifest.files), manifest.size)).encode("ascii")
    write(path(place, manifest.id, ".set"), title.replace(b"\n", b" ") + numbers + manifest.text)


def last_use(place, name):
    """Return when a set was used last, by the clock of its file system; 0 if nothing tells it."""
    return max([time_of(path(place, name, end)) or 0 for end in (".lock", ".open")])


def sets(place):
    """Return the ids of all folders in a place."""
    try:
        names = os.listdir(place.path)
    except EnvironmentError:
        return []
    return [name for name in names if len(name) == 64 and not name.strip("0123456789abcdef")]


def listing():
    """Return what this host holds, for `execnet packages`."""
    from . import collect
    return collect.listing(Store())


def clean(all=True):
    """Remove what is not in use; without `all`, what has not been used for a day. Return what was removed."""
    from . import collect
    return collect.collect(Store(), True, all)
