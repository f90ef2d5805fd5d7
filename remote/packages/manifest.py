"""Manifests: which files a set has (docs/kernel.md, section 8). No IO."""

HEAD = b"execnet packages 1"
LONGEST = 255  # bytes that a part of a path may have
LATEST = 4294967295
HEX, DIGITS = b"0123456789abcdef", b"0123456789"


class ManifestError(Exception):
    """It is not a manifest, or names files that must not be written."""


class Manifest(object):
    """`files`: (path, hash, size, executable, mtime) in the order of their paths, in bytes; `folders`: those
    that they need, each behind the one that it is in; `size`: of all files together."""

    def __init__(self, text):
        self.text = text
        self.id = identity(text)
        self.files = []
        self.folders = []
        self.size = 0
        lines = text.split(b"\n")
        if lines[0] != HEAD or lines.pop():
            raise ManifestError("this is no manifest of version 1")
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            raise ManifestError("a manifest must be UTF-8")
        if [part for part in text.split(b"\xed")[1:] if part[:1] >= b"\xa0"]:  # Python 2 takes surrogates
            raise ManifestError("a manifest must be UTF-8")
        if b"\0" in text:
            raise ManifestError("a manifest with a NUL")
        names, last, known = {}, b"", set([b""])  # files by their folded names; folders
        for line in lines[1:]:
            path = self._line(line)
            if path <= last:
                raise ManifestError("%s is not in its order" % shown(path))
            last = path
            above = []
            parent = path.rpartition(b"/")[0]
            while parent not in known:
                known.add(parent)
                above.insert(0, parent)
                parent = parent.rpartition(b"/")[0]
            self.folders += above
            folded = _folded(path)
            if folded in names:
                raise ManifestError("%s and %s cannot both be written" % (shown(names[folded]), shown(path)))
            names[folded] = path
        for path in names.values():
            if path in known:
                raise ManifestError("%s cannot be a file and a folder" % shown(path))

    def _line(self, line):
        """Read a line. Return its path."""
        fields = line.split(b" ", 4)
        if len(fields) != 5:
            raise ManifestError("a line of %d parts" % len(fields))
        digest, size, kind, mtime, path = fields
        if len(digest) != 64 or digest.strip(HEX) or kind not in (b"x", b"-"):
            raise ManifestError("the line of %s is wrong" % shown(path))
        size, mtime = _number(size), _number(mtime)
        if mtime > LATEST:
            raise ManifestError("a time beyond 32 bits")
        for part in path.split(b"/"):
            if part in (b"", b".", b"..") or len(part) > LONGEST:
                raise ManifestError("%s is no path inside a folder" % shown(path))
        self.files.append((path, digest, size, kind == b"x", mtime))
        self.size += size
        return path


def identity(text):
    """Return the id of a manifest: its SHA-256, as this interpreter's `str`."""
    for name in ("_sha2", "_sha256", "hashlib"):  # the last takes long to import
        try:
            return __import__(name).sha256(text).hexdigest()
        except (ImportError, AttributeError):
            pass


def written(files):
    """Return the text of a manifest of (path, hash, size, executable, mtime)."""
    lines = [HEAD]
    for path, digest, size, executable, mtime in sorted(files):
        numbers = "%d %s %d " % (size, "x" if executable else "-", mtime)
        lines.append(digest + b" " + numbers.encode("ascii") + path)
    return b"\n".join(lines) + b"\n"


def shown(path):
    """Return a path as text for a message."""
    return repr(path.decode("utf-8", "replace")).lstrip("u")


def _number(digits):
    if not digits or digits.strip(DIGITS) or len(digits) > 19 or digits[:1] == b"0" != digits:
        raise ManifestError("a number must be decimal")
    return int(digits)


def _folded(path):
    text = path.decode("utf-8")
    return text.casefold() if hasattr(text, "casefold") else text.lower()
