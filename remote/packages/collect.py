"""What goes when nobody has used it for a day, or when there is too much or no room; and what a host holds.

The age is the difference to a file touched now in the same folder, because clocks differ.
"""
import os
import sys

from . import copies
from .interpreter import as_text
from .locks import (
    EXCLUSIVE,
    FULL,
    NOFOLLOW,
    Busy,
    Gone,
    Lock,
    create,
    remove,
    remove_tree,
    sleep,
    time_of,
    touch,
)
from .places import MISSING, as_bytes
from .store import Store, StoreError, last_use, path, read_about, sets

DAY = 86400
MOST = 2147483648  # bytes of all sets in a place
HOUR = 3600  # seconds between two collections, and between two notes that a set is in use
UNFINISHED = u"unfinished"  # the title of drafts, and of what is being deleted
ROOM = ("make room there (`execnet packages NETWORK --clean` removes what is not in use), or name a folder "
        "on another disk (env:EXECNET_PACKAGES_FOLDER=/PATH in the spec)")


def listing():
    """Return what this host holds, for `execnet packages`: a dict for each set, and one without an id for all
    that is unfinished in a place. Instead of the list, `fault` says why the folder that was named for it
    cannot be used."""
    store, found = Store(), []
    fault = _fault(store)
    if fault:
        return fault
    for place in store.places:
        if place.fault():
            continue
        now = _now(place)
        for name in sets(place):
            about = read_about(place, name)
            if about and not about[0]:
                continue  # made by a kernel for its children
            lock = _unused(place, name, now)
            found.append({
                u"id": u"" + name, u"title": about[0].decode("utf-8", "replace") if about else u"",
                u"size": about[2] if about else 0, u"files": about[1] if about else 0,
                u"used": max(0, int(now - _stamp(place, name, now))), u"in_use": lock is None,
                u"where": as_text(place.raw)})
            for each in lock or ():
                each.close()
        found += [copies.about(place, name, now) for name in copies.copies(place)]
        found += _about_unfinished(place, now)
    return found


def clean():
    """Remove what is not in use. Return what was removed, and what is in use; or `fault`, as `listing`."""
    store = Store()
    return _fault(store) or collect(store, True, True)


def _fault(store):
    """Return what is said instead of an answer, if a folder was named that cannot be used; else None."""
    for place in store.places:
        words = place.named and _obstacle(place)
        if words:
            return {u"fault": as_text(words)}


def _obstacle(place):
    """Return why nothing can be written in a place, nor can it be made; empty if it can. Makes nothing that
    stays. Full disks are none: there something can be removed."""
    words = place.fault()
    if words and not words.endswith(" " + MISSING):
        return words
    folder = place.path
    while not os.path.lexists(folder):
        folder = folder.rpartition("/")[0] or "/"
    trial = as_bytes("%s/.gone-%d" % (folder, os.getpid()))
    try:
        os.mkdir(trial, 0o700)
    except EnvironmentError:
        error = sys.exc_info()[1]
        if error.errno in FULL:
            return ""
        return "cannot %s %s: %s" % (
            "write in" if folder == place.path else "make", place, error.strerror or error)
    remove_tree(trial)
    return ""


def attend(store):
    """Clean up, then note every hour that the sets are in use. Runs in a thread."""
    for each in store.gone:
        remove_tree(each)
    collect(store)
    while True:
        sleep(HOUR)
        for place, name in store.used:
            store.note(place, name)
            touch(place.raw)


def collect(store, at_once=False, everything=False):
    """Remove what is not in use. `at_once`: although it was done within the hour; `everything`: also what was
    used today. Return what was removed."""
    removed, size, in_use = 0, 0, []
    for place in store.places:
        if place.fault():
            continue
        last, now = _mark(place)
        if now is None and everything:  # a full disk has no room for the mark
            now = _now(place)
        if now is None or not at_once and 0 <= now - last < HOUR:
            continue
        count, bytes_of, is_written = _sweep(place, now)
        removed, size = removed + count, size + bytes_of
        if is_written:
            in_use.append(UNFINISHED)
        known = []
        for name in sets(place):
            about = read_about(place, name) or (b"", 0, 0, b"")
            known.append((_stamp(place, name, now), name, about[2], about[0]))
        total, kept = sum([each[2] for each in known]), []
        for stamp, name, bytes_of, title in sorted(known):
            if not everything and total <= MOST and -DAY < now - stamp < DAY:
                continue
            if _remove(place, name, now):
                # what a kernel made for its children is not listed, so it is not counted
                removed, size, total = removed + (1 if title else 0), size + bytes_of, total - bytes_of
            elif title:
                kept.append((name, title.decode("utf-8", "replace")))
        # another host of this folder may have removed it meanwhile
        in_use += [title for name, title in kept if os.path.lexists(path(place, name))]
        for name in copies.copies(place):
            if not everything and -DAY < now - copies.last_use(place, name) < DAY:
                continue
            bytes_of = copies.remove(place, name)
            if bytes_of is None:
                in_use.append(copies.about(place, name, now)[u"title"])
            else:
                removed, size = removed + 1, size + bytes_of
    return {u"removed": removed, u"bytes": size, u"in_use": in_use}


def other_place(store, place, name, native, manifest):
    """Return (place, Lock) behind a place that has no room for a set; None if it has, after what nobody uses
    was removed."""
    store.tried = [_full(place, manifest)]
    if not store.tried[0]:
        return None
    # only those behind it: two who wait for each other's locks would wait for ever
    places = store.places[store.places.index(place) + 1:]
    claim = store.claim(name, native, places, lambda place: _full(place, manifest))
    if claim is None:
        raise store.nowhere(ROOM)
    return claim


def _full(place, manifest):
    """Return why there is no room for a set; empty if there is."""
    removed = make_room(place, manifest)
    if place.has_room(manifest):
        return ""
    count = len(manifest.files)
    words = "%s has no room for %s of packages in %d file%s" % (
        place, as_size(manifest.size), count, "" if count == 1 else "s")
    if removed:
        words += ", although %s that nobody used were removed" % as_size(removed)
    return words


def full(place, manifest, error):
    """Return the error if a disk has become full while a set was written."""
    words = "cannot write %s of packages in %s: %s" % (as_size(manifest.size), place, error.strerror)
    removed = make_room(place, manifest)
    if removed:
        words += "; %s that nobody used are removed now" % as_size(removed)
    return StoreError("%s; %s" % (words, ROOM))


def as_size(count):
    """Return a number of bytes as people write it, with no more than three digits."""
    if count < 1024:
        return "%d B" % count
    number, unit = count / 1024.0, "KiB"
    for following in ("MiB", "GiB"):
        if number >= 999.5:
            number, unit = number / 1024, following
    return "%.*f %s" % (1 if number < 9.95 else 0, number, unit)


def make_room(place, manifest):
    """Remove what is unfinished and sets that nobody uses in a place, the oldest first, until there is room
    for one. Return how many bytes went."""
    removed = 0
    if place.has_room(manifest):
        return removed
    now = _mark(place)[1]
    if now is None:
        now = _now(place)
    removed += _sweep(place, now)[1]
    for _, name in sorted([(_stamp(place, name, now), name) for name in sets(place)]):
        if place.has_room(manifest):
            break
        about = read_about(place, name)
        if _remove(place, name, now):
            removed += about[2] if about else 0
    return removed


def _remove(place, name, now):
    """Remove a set that nobody uses. Return whether it is gone."""
    locks = _unused(place, name, now)
    if locks is None:
        return False
    gone = place.raw + as_bytes("/.gone-%s-%d" % (name, os.getpid()))
    try:
        os.rename(path(place, name), gone)
    except EnvironmentError:
        return False
    else:
        _remove_beside(place, name)
    finally:
        for lock in locks:
            lock.close()
    remove_tree(gone)
    return True


def _remove_beside(place, name):
    """Remove the files of a set whose folder is gone, the lock last. It is held."""
    for each in os.listdir(place.path):
        if each.startswith(name + ".") and each != name + ".lock":
            remove(place.raw + as_bytes("/" + each))
    remove(path(place, name, ".lock"))


def _unused(place, name, now):
    """Return the locks of a set that nobody uses or writes; None if somebody does."""
    locks = []
    try:
        locks.append(Lock(path(place, name, ".lock"), EXCLUSIVE, os.O_RDWR | os.O_CREAT | NOFOLLOW))
        locks.append(Lock(path(place, name), EXCLUSIVE))
        opened = time_of(path(place, name, ".open"))
        real = [lock for lock in locks if not lock.real] == []
        if not real:  # then whoever uses it touches a file
            opened = max(opened or 0, _stamp(place, name, now))
        if opened is None or not -DAY < now - opened < DAY:
            return locks
    except (Busy, Gone, EnvironmentError):
        pass
    for lock in locks:
        lock.close()
    return None


def _sweep(place, now):
    """Remove what killed processes have left. Return (how many folders, how many bytes, whether there are
    drafts that somebody may still write)."""
    removed, size, is_written = 0, 0, False
    for each in copies.left(place) + _left(place):
        size, removed = size + copies.size_of(each)[0], removed + 1
        remove_tree(each)
    for name in _drafts(place):
        lock = _unwritten(place, name, now)
        if lock is None:
            is_written = True
            continue
        draft = path(place, name)
        size, removed = size + copies.size_of(draft)[0], removed + 1
        remove_tree(draft)
        if not os.path.isdir(path(place, name[5:69])):
            _remove_beside(place, name[5:69])
        lock.close()
    return removed, size, is_written


def _about_unfinished(place, now):
    """Return what `execnet packages` shows of what is unfinished, in a list with a dict or none."""
    size = files = 0
    times, in_use = [], False
    for name in _drafts(place):
        lock = _unwritten(place, name, now)
        if lock:
            lock.close()
        in_use = in_use or lock is None
    for each in copies.left(place) + _left(place) + [path(place, name) for name in _drafts(place)]:
        more = copies.size_of(each)
        size, files = size + more[0], files + more[1]
        times.append(time_of(each) or now)
    return [{u"id": u"", u"title": UNFINISHED, u"size": size, u"files": files,
             u"used": max(0, int(now - max(times))), u"in_use": in_use,
             u"where": as_text(place.raw)}] if times else []


def _left(place):
    """Return the paths of what is being deleted, or was when a process was killed."""
    return [path(place, name) for name in os.listdir(place.path) if name.startswith(".gone-")]


def _drafts(place):
    """Return the names of drafts; behind `.new-` there is the id."""
    return [name for name in os.listdir(place.path) if name.startswith(".new-") and len(name) > 70]


def _unwritten(place, name, now):
    """Return the lock of a draft that nobody writes; None if somebody may."""
    try:
        lock = Lock(path(place, name[5:69], ".lock"), EXCLUSIVE, os.O_RDWR | os.O_CREAT | NOFOLLOW)
    except (Busy, Gone, EnvironmentError):
        return None
    # a writer without locks may still be at work
    if lock.real and not name.endswith("-open") or \
            not -DAY < now - (time_of(path(place, name)) or 0) < DAY:
        return lock
    lock.close()
    return None


def _stamp(place, name, now):
    """Return when a set was used last, which is now if nothing tells it."""
    return last_use(place, name) or now


def _mark(place):
    """Return (when a collection began here last, now by this folder's clock or None)."""
    mark = place.raw + as_bytes("/.collected")
    last = time_of(mark)
    if not touch(mark):
        try:
            os.close(create(mark))
        except EnvironmentError:
            return 0, None
    return (0 if last is None else last), time_of(mark)


def _now(place):
    """Return now by this folder's clock."""
    mark = place.raw + as_bytes("/.now-%d" % os.getpid())
    try:
        remove(mark)
        os.close(create(mark))
        return time_of(mark)
    except EnvironmentError:
        import time
        return time.time()
    finally:
        remove(mark)
