"""A set in memory, where nothing can be written: a zip without compression, for pure code. Child processes
have no part in it."""
import os
import sys
import time
import zipfile
from hashlib import sha256

from .draft import Wrong
from .manifest import shown


class Memory(object):
    """As a Draft, but kept by this process alone."""

    def __init__(self, manifest):
        self.manifest = manifest
        self.wanted = [number for number, file in enumerate(manifest.files) if file[2]]
        self._fd = _fd()
        self._zip = zipfile.ZipFile(os.fdopen(os.dup(self._fd), "w+b"), "w")
        self._parts = []
        self._at = self._have = 0
        for path, _, size, _, mtime in manifest.files:
            if not size:
                self._add(path, mtime, b"")

    def bitmap(self):
        bits = bytearray((len(self.manifest.files) + 7) // 8)
        for number in self.wanted:
            bits[number // 8] |= 1 << number % 8
        return bytes(bits)

    def complete(self):
        return self._at == len(self.wanted)

    def feed(self, data):
        while data and not self.complete():
            path, digest, size, _, mtime = self.manifest.files[self.wanted[self._at]]
            part = data[:size - self._have]
            self._parts.append(part)
            self._have += len(part)
            data = data[len(part):]
            if self._have == size:
                content = b"".join(self._parts)
                if sha256(content).hexdigest().encode("ascii") != digest:
                    raise Wrong("%s is not what the manifest says" % shown(path))
                self._add(path, mtime, content)
                self._parts, self._have = [], 0
                self._at += 1
        return data

    def finish(self):
        """Return the entry of sys.path."""
        self._zip.close()
        return "/proc/self/fd/%d" % self._fd

    def drop(self):
        os.close(self._fd)

    def _add(self, path, mtime, content):
        name = path.decode("utf-8")
        when = max(time.gmtime(mtime)[:6], (1980, 1, 1, 0, 0, 0))
        self._zip.writestr(zipfile.ZipInfo(name if sys.version_info[0] > 2 else path, when), content)


def possible():
    return sys.platform.startswith("linux") and (hasattr(os, "memfd_create") or _libc() is not None)


def _fd():
    if hasattr(os, "memfd_create"):
        return os.memfd_create("execnet packages")
    return _libc()(b"execnet packages", 1)


def _libc():
    try:
        import ctypes
        return ctypes.CDLL(None).memfd_create
    except (ImportError, AttributeError, OSError):
        return None
