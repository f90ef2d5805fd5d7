# What the interpreter is started with, as `-c` (docs/kernel.md, section 1): reads the bundle from stdin and executes its first record.
import sys
here = [sys.path.pop(0)] if sys.path[:1] == [""] else []
import os, zlib

def read(size):
    data = bytes()
    while len(data) < size:
        part = os.read(sys.stdin.fileno(), size - len(data))
        if not part:
            sys.exit(93)
        data += part
    return data

def watched():
    site = sys.modules.get("site")
    paths = [os.environ.get("PWD", ".")] + sys.path + [sys.executable, getattr(site, "USER_SITE", None)]
    paths += [getattr(sys.modules.get(name), "__file__", None) for name in ("sitecustomize", "usercustomize")]
    for path in site and sys.path or []:
        try:
            paths += [os.path.join(path, name) for name in os.listdir(path) if name.endswith(".pth")]
        except Exception:
            pass
    return paths

def look(paths):
    found = []
    for path in paths:
        try:
            stat = os.stat(path)
            found.append((stat.st_dev, stat.st_ino, stat.st_mtime if found else 0))
        except Exception:
            found.append(None)
    return found

def restart():
    try:
        with open("/proc/self/cmdline", "rb") as file:
            command = file.read().split(b"\0")[:-1]
        os.chdir(os.environ.get("PWD", "."))
        os.execv(sys.executable, command[:-1] + [first.encode("ascii")])
    except EnvironmentError:
        sys.exit("execnet: cannot start again: %s" % sys.exc_info()[1])
    except AttributeError:
        pass

# `ahead`: it may have been waiting for long; when what it would be now has changed it starts again, given the digit that it has read
first = "".join(sys.argv[1:])
del sys.argv[1:]
if first == "ahead":
    paths = watched()
    known = look(paths)
    first = read(1).decode("ascii")
    if look(paths) != known:
        restart()
data = zlib.decompress(read(int(first + read(8 - len(first)).decode("ascii"))))
at = data.index(b"\n") + 1
end = at + int(data[:at].split()[1])
exec(data[at:end])
