"""Copies of rootdir on hosts: what is in them, and where they are.

Their names are known to what removes them (remote/packages/copies.py).
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from execnet import Channel, Gateway

LARGE = 256 << 20
"""Bytes; more of rootdir is not sent unless somebody says so."""


class Sources:
    """The files of rootdir that travel: by the rules for packages, without what `rsyncignore` names, and with
    some more."""

    def __init__(self, root: Path, ignored: Sequence[str], more: Sequence[str], large: bool) -> None:
        from execnet import _native

        self._held: list[Channel] = []
        matches = [re.compile(fnmatch.translate(pattern)).match for pattern in ignored]

        def is_ignored(path: str) -> bool:
            return any(match(path) or match(os.path.basename(path)) for match in matches)

        try:
            files, self.notes = _native.files_of(str(root), is_ignored if matches else None)
        except OSError as error:
            raise cannot_send(str(error)) from None
        self._root = root
        self._paths = {str(root)}
        sizes = {}
        for file in [*files, *more]:
            path = os.path.join(root, file)
            parents = [path]
            while parents[-1] != str(root):
                parents.append(os.path.dirname(parents[-1]))
            if file in more and any(map(is_ignored, parents[:-1])):
                continue
            try:
                sizes[file] = os.path.getsize(path)
            except FileNotFoundError:
                continue  # gone in the meantime
            if not os.access(path, os.R_OK):
                raise cannot_send(f"cannot send {path}: {os.strerror(errno.EACCES)}")
            self._paths.update(parents)
        if sum(sizes.values()) > LARGE and not large:
            largest = sorted(sizes, key=lambda file: -sizes[file])[:3]
            named = ", ".join(f"{file} ({sizes[file] >> 20} MiB)" for file in largest)
            raise pytest.UsageError(
                f"--net would send {sum(sizes.values()) >> 20} MiB of {root}, more than 256; the largest "
                f"files: {named}; --net 'NAME//large' sends them, --rsyncignore=GLOB leaves some out"
            )

    def send_to(self, gateway: Gateway, host: str) -> str:
        """Make the copy on this gateway's host equal. Return the folder that it is in."""
        import execnet

        paths = self._paths

        class Sending(execnet.RSync):
            def filter(self, path: str) -> bool:
                return path in paths

        channel = gateway.remote_exec(PLACE)
        packages = gateway.packages
        name = f"{self._root.name}-{digest(self._root, host)}"
        channel.send((packages.folders if packages else [], name, gateway.spec.chdir is not None))
        place: str = channel.receive()
        # until then the copy is not somebody else's
        self._held.append(channel)
        sending = Sending(self._root, verbose=False)
        sending.add_target(gateway, os.path.join(place, self._root.name), delete=True)
        sending.send()
        return place


def cannot_send(why: str) -> pytest.UsageError:
    """Return the error for files that cannot travel."""
    from execnet._native import shown

    return pytest.UsageError(shown(f"--net: {why}; --rsyncignore=GLOB leaves it out", one_line=True))


def digest(root: Path, host: str) -> str:
    """Return what tells the copy of this folder from others: hosts may share a file system, and a user may
    come from several machines."""
    words = [socket.gethostname(), str(os.getuid()), str(root), host]
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:12]


PLACE = """
import errno, fcntl, os

folders, name, is_chosen = channel.receive()
stores = [os.path.dirname(os.path.dirname(folder)) for folder in folders]
stores = [store for store in stores if os.path.isdir(store) and os.access(store, os.W_OK)]
stores = [os.path.join(store, "tests") for store in stores]
stores.append(os.path.join(os.path.expanduser("~"), "pyexecnetcache"))
base = os.path.abspath("" if is_chosen else stores[0])

def take(place):
    os.makedirs(place, 0o700, exist_ok=True)
    folder = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.utime(place)
        return os.path.samestat(os.fstat(folder), os.stat(place))
    except OSError as error:
        # there are file systems without locks; and somebody may have removed it just now
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.ENOENT)

places = (os.path.join(base, name if number == 1 else "%s.%d" % (name, number)) for number in range(1, 1000))
channel.send(next(place for place in places if take(place)))
# holds the lock until the run ends
try:
    channel.receive()
except EOFError:
    pass
"""
"""Executed on each host: makes the folder for the copy of rootdir, which no other run has at the time. It is
beside the store of packages, which is known to be writable and to belong to us, and is cleaned up with it."""
