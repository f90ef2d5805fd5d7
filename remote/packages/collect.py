"""What goes when nobody has used it for a day, or when there is too much or no room; and what a host holds.

The age is the difference to a file touched now in the same folder, because clocks differ.
"""
import os

from . import copies
from .interpreter import as_text
from .locks import EXCLUSIVE, NOFOLLOW, Busy, Gone, Lock, create, remove, remove_tree, sleep, time_of, touch
from .places import as_bytes
from .store import Store, last_use, path, read_about, sets

DAY = 86400
MOST = 2147483648  # bytes of all sets in a place
HOUR = 3600  # seconds between two collections, and between two notes that a set is in use


def listing():
    """Return what this host holds, for `execnet packages`: a dict for each set."""
    found = []
    for place in Store().places:
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
    return found


def clean():
    """Remove what is not in use. Return what was removed, and what is in use."""
    return collect(Store(), True, True)


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
        if now is None or not at_once and 0 <= now - last < HOUR:
            continue
        _sweep(place, now)
        known = []
        for name in sets(place):
            about = read_about(place, name) or (b"", 0, 0, b"")
            known.append((_stamp(place, name, now), name, about[2], about[0]))
        total = sum([each[2] for each in known])
        for stamp, name, bytes_of, title in sorted(known):
            if not everything and total <= MOST and -DAY < now - stamp < DAY:
                continue
            if _remove(place, name, now):
                # what a kernel made for its children is not listed, so it is not counted
                removed, size, total = removed + (1 if title else 0), size + bytes_of, total - bytes_of
            elif title:
                in_use.append(title.decode("utf-8", "replace"))
        copies.sweep(place)
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
        raise store.nowhere()
    return claim


def _full(place, manifest):
    """Return why there is no room for a set; empty if there is."""
    removed = make_room(place, manifest)
    if place.has_room(manifest):
        return ""
    words = "%s has no room for %d files with %d bytes" % (place, len(manifest.files), manifest.size)
    if removed[0]:
        words += ", although sets (%d) with %d bytes were removed that nobody used" % removed
    return words


def make_room(place, manifest):
    """Remove sets of a place that nobody uses, the oldest first, until there is room for one. Return (their
    number, their bytes)."""
    removed, size = 0, 0
    if place.has_room(manifest):
        return removed, size
    now = _mark(place)[1]
    if now is None:
        now = _now(place)
    _sweep(place, now)
    for _, name in sorted([(_stamp(place, name, now), name) for name in sets(place)]):
        if place.has_room(manifest):
            break
        about = read_about(place, name)
        if _remove(place, name, now):
            removed, size = removed + 1, size + (about[2] if about else 0)
    return removed, size


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
        for each in os.listdir(place.path):
            if each.startswith(name + ".") and each != name + ".lock":
                remove(place.raw + as_bytes("/" + each))
        remove(path(place, name, ".lock"))
    finally:
        for lock in locks:
            lock.close()
    remove_tree(gone)
    return True


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
    """Remove what killed processes have left."""
    for name in os.listdir(place.path):
        full = place.raw + as_bytes("/" + name)
        if name.startswith(".gone-"):
            remove_tree(full)
        elif name.startswith(".new-") and len(name) > 70:
            try:
                lock = Lock(path(place, name[5:69], ".lock"), EXCLUSIVE, os.O_RDWR | os.O_CREAT | NOFOLLOW)
            except (Busy, Gone, EnvironmentError):
                continue
            # a writer without locks may still be at work
            if lock.real and not name.endswith("-open") or not -DAY < now - (time_of(full) or 0) < DAY:
                remove_tree(full)
                if not os.path.isdir(path(place, name[5:69])):
                    remove(lock.path)
            lock.close()


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
