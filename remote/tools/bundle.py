"""Reference builder of everything that is sent: to a host the script, stage 1 and the agent's bundle
(docs/bootstrap.md); into a gateway's interpreter the stage and the kernel's bundle (docs/kernel.md).

The program's build does the same in Rust; the tests here use this one. Runs on CPython 3 only, never on a
host.
"""
import os
import sys
import zlib

REMOTE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AGENT, KERNEL, PACKAGES, KEPT = [os.path.join(REMOTE, name)
                                 for name in ("agent", "kernel", "packages", "kept")]
CANDIDATES = ["python3", "python", "pypy3", "python2", "jython"]


def source(name, folder=AGENT):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def boot():
    """Return the Python that the script starts, as one line."""
    lines = [line for line in source("boot.py").decode("ascii").splitlines() if not line.startswith("#")]
    return ";".join(lines).replace("LENGTH", str(len(stage1())))


def script(candidates=CANDIDATES):
    """Return the POSIX sh script as one line, for `sh -c '…'`."""
    lines = [line.strip() for line in source("boot.sh").decode("ascii").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    words = " ".join('"%s"' % word if set(word) - SAFE else word for word in candidates)
    text = " ".join(lines).replace("@BOOT@", boot()).replace("@CANDIDATES@", words)
    assert not set(text.replace("! ", "")) & set("'!\n\\"), text
    return text


SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-")


def stage1():
    """Return the first line of the link, with its line end: comment lines are removed, the rest becomes one
    string."""
    lines = [line for line in source("stage1.py").decode("ascii").splitlines() if not line.startswith("#")]
    return ('exec("%s")\n' % escaped("\n".join(lines) + "\n")).encode("ascii")


def escaped(text):
    """Return text as it stands between quotes, in one line."""
    for char, instead in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(char, instead)
    return text


def kernel_stage(inherited="None"):
    """Return the line that a gateway's interpreter is started with (docs/kernel.md); comments are removed."""
    lines = source("stage.py", KERNEL).decode("ascii").splitlines()
    text = "\n".join([line for line in lines if line and not line.startswith("#")]) + "\n"
    return 'exec("%s",{"__name__":"__main__","inherited":%s})' % (escaped(text), inherited)


def squeeze(text):
    """Return the same code on the same lines, without comment lines and docstrings."""
    out, inside = [], False
    for line in text.split("\n"):
        word = line.strip()
        if inside or word.startswith('"""'):
            out.append("" if inside or line == word else line[:len(line) - len(line.lstrip())] + "0")
            inside = not (word.endswith('"""') and (inside or len(word) > 3))
        else:
            out.append("" if word.startswith("#") else line)
    return "\n".join(out)


def records(changes=(), folder=AGENT):
    """Return the records of all modules. `changes`: pairs of texts to replace, for tests."""
    out = []
    for name in source("ORDER", folder).decode("ascii").split():
        path = name.split(".")[1] + ".py" if "." in name else "__init__.py"
        text = source(path, folder).decode("ascii")
        for old, new in changes:
            text = text.replace(old, new)
        text = squeeze(text).encode("ascii")
        out.append(("%s %d\n" % (name, len(text))).encode("ascii") + text)
    return b"".join(out)


def bundle(changes=(), folder=AGENT):
    data = zlib.compress(records(changes, folder), 9)
    return b"%08d" % len(data) + data


def packages(changes=()):
    """Return the bundle for packages, which travels within CONFIG and so without its length."""
    return zlib.compress(records(changes, PACKAGES), 9)


def kept(changes=()):
    """Return the bundle of a kernel that is kept, which travels in the same way."""
    return zlib.compress(records(changes, KEPT), 9)


if __name__ == "__main__":
    print(script(sys.argv[1:] or CANDIDATES))
    print("script %d bytes, stage 1 %d, bundle %d (%d before compression)"
          % (len(script()), len(stage1()), len(bundle()), len(records())), file=sys.stderr)
    print("kernel: stage %d bytes, bundle %d (%d before compression)"
          % (len(kernel_stage()), len(bundle(folder=KERNEL)), len(records(folder=KERNEL))), file=sys.stderr)
    print("packages: bundle %d (%d before compression)" % (len(packages()), len(records(folder=PACKAGES))),
          file=sys.stderr)
    print("kept: bundle %d (%d before compression)" % (len(kept()), len(records(folder=KEPT))),
          file=sys.stderr)
