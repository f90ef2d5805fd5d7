"""The receiving half of `RSync`: runs on the other side, on any Python.

Each entry of the tree arrives as one message, parents first: a list (a folder: its mode, then the names in
it), a tuple (a file: mode, time, size), or None (a link, which follows at the end). The answers say which
files are needed, and when the copy is complete.
"""

# mypy: ignore-errors


def receive_tree(channel):
    import hashlib
    import os
    import shutil
    import stat
    import sys

    # file names of Python 2 are bytes; those that are not UTF-8 arrive as lone surrogates, as Python 3 has
    # them
    has_bytes = bytes is str and not sys.platform.startswith("java")

    def native(text):
        """Return a file name or path as the functions of `os` take it."""
        if not has_bytes:
            return text
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        parts, at, before = [], 0, 0
        for index, code in enumerate(map(ord, text)):
            # in a narrow build some characters are pairs of surrogates
            if 0xDC80 <= code <= 0xDCFF and not 0xD800 <= before <= 0xDBFF:
                parts += [text[at:index].encode("utf-8"), chr(code - 0xDC00)]
                at = index + 1
            before = code
        return b"".join(parts) + text[at:].encode("utf-8")

    grain = 1e-6 if bytes is str else 0  # resolution to which Python 2 sets times, in seconds
    top, options = channel.receive()
    top = native(top)
    wanted = []

    def remove(path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, True)
        else:
            try:
                os.unlink(path)
            except OSError:
                # another program may have removed it meanwhile
                if lstat(path):
                    raise

    def lstat(path):
        try:
            return os.lstat(path)
        except OSError:
            return None

    def folder(path, relative, entry):
        found = lstat(path)
        if found and not stat.S_ISDIR(found.st_mode):
            # remove links, too, even at the top: what they lead to is not part of the copy
            os.unlink(path)
            found = None
        if not found:
            os.makedirs(path)
        mode, names = entry[0], entry[1:]
        if mode:
            # read-only folders must be filled as well
            os.chmod(path, stat.S_IMODE(mode) | 0o700)
        for name in names:
            if name in ("", os.curdir, os.pardir) or os.sep in name:
                raise ValueError("not a name in a folder: %r" % (name,))
            tree(os.path.join(path, native(name)), relative + [name])
        if options.get("delete"):
            for other in set(os.listdir(path)).difference(map(native, names)):
                remove(os.path.join(path, other))

    def regular(path, relative, entry):
        mode, mtime, size = entry
        found = lstat(path)
        if found and relative == [] and stat.S_ISDIR(found.st_mode):
            raise ValueError("a folder is there, which a file does not replace: %r" % (path,))
        checksum = None
        if found and not stat.S_ISREG(found.st_mode):
            remove(path)
        elif found and found.st_size == size:
            if abs(found.st_mtime - mtime) <= grain:
                if mode and mode != found.st_mode:
                    os.chmod(path, stat.S_IMODE(mode))
                return
            with open(path, "rb") as file:
                checksum = hashlib.md5(file.read()).hexdigest()
        channel.send(("send", (relative, checksum)))
        wanted.append((path, relative, entry))

    def tree(path, relative):
        entry = channel.receive()
        if isinstance(entry, list):
            folder(path, relative, entry)
        elif entry is not None:
            regular(path, relative, entry)

    tree(top, [])
    channel.send(("list_done", None))

    for path, relative, (mode, mtime, _size) in wanted:
        data = channel.receive()
        channel.send(("ack", "/".join(relative)))
        if data is not None:
            if os.path.exists(path) and not os.access(path, os.W_OK):
                os.unlink(path)
            with open(path, "wb") as file:
                file.write(data)
        try:
            if mode:
                os.chmod(path, stat.S_IMODE(mode))
            os.utime(path, (mtime, mtime))
        except OSError:
            pass
    channel.send(("links", None))

    for kind, relative, target in iter(channel.receive, 42):
        path, target = os.path.join(top, native(relative)), native(target)
        if lstat(path):
            remove(path)
        os.symlink(os.path.join(top, target) if kind == "linkbase" else target, path)
    channel.send(("done", None))


if __name__ == "__channelexec__":
    receive_tree(channel)  # noqa: F821
