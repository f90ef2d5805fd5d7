"""The store: finds and keeps the folders of sets on this host (docs/kernel.md, section 8).

In a place there are for each set: the folder ID; `ID.set`, its title, numbers and manifest; `ID.seal-BOOT`;
`ID.lock`, which its writer locks, and whose time is that of the last use; `ID.open`, touched where a user
cannot lock. Beside them drafts (`.new-...`) and what is being deleted (`.gone-...`).
"""
import os
import sys

from . import seal
from .locks import EXCLUSIVE, NOFOLLOW, SHARED, Gone, Lock, read, time_of, touch, write
from .places import as_bytes, candidates

TRIES = 9  # how often to start over while somebody else cleans up


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

    def claim(self, name, native, places=None, fault_of=None):
        """Return (place, Lock) where a set can be written; None if there is no such place, see `tried`.
        `fault_of` returns what else may be wrong with a place."""
        if places is None:
            places, self.tried = self.places, []
        for place in places:
            fault = place.fault(make=True)
            if not fault and native and place.no_programs():
                fault = "%s is mounted noexec, and there are extension modules" % place
            if not fault and fault_of:
                fault = fault_of(place)
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

    def _claim(self, path):
        for _ in range(TRIES):
            try:
                return Lock(path, EXCLUSIVE, os.O_RDWR | os.O_CREAT | NOFOLLOW, self.wait)
            except Gone:
                pass  # it was removed with its set
        raise EnvironmentError(0, "the lock %s is removed again and again" % path)

    def nowhere(self, advice=None):
        """Return the error if no place can be written."""
        advice = advice or "name another folder (env:EXECNET_PACKAGES_FOLDER=/PATH in the spec)"
        return StoreError("cannot keep packages on this host: %s; %s" % ("; ".join(self.tried), advice))

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
