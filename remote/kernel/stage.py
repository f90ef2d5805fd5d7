# The interpreter is started with this as `-c` (docs/kernel.md, section 1): it reads the bundle from stdin and
# executes its first record, with names of its own. `inherited`: None on a node; in a child of the client, the
# fds to close.
import sys
# until the kernel is loaded nothing is imported from the current folder; `here`: path entries that user code
# gets back
here = [(0, sys.path.pop(0))] if sys.path[:1] == [""] else []
import os, zlib
if inherited is not None:
    if getattr(os, "getpgrp", int)() != os.getpid():
        getattr(os, "setsid", int)()
    for fd in inherited:
        getattr(os, "closerange", max)(fd, fd + 1)

# `ahead`: it waits before it is used. `again:FD`: it has waited, and begins anew with what it has read
how = sys.argv[-1:] and sys.argv[-1].split(":")[0]
ahead = how in ("ahead", "again") and sys.argv.pop()
sources = [int(fd) for fd in ahead and ahead.split(":")[1:] or ()] + [sys.stdin.fileno()]

def read(size):
    data = bytes()
    while len(data) < size:
        part = os.read(sources[0], size - len(data))
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

def restart(said):
    if not hasattr(os, "execv"):
        return
    try:
        with open("/proc/self/cmdline", "rb") as file:
            command = file.read().split(b"\0")[:-1]
        os.chdir(os.environ.get("PWD", "."))
        fd = unlinked()
        while said:
            said = said[os.write(fd, said):]
        os.lseek(fd, 0, 0)
        os.execv(sys.executable, command[:-1] + [("again:%d" % fd).encode("ascii")])
    except EnvironmentError:
        sys.exit("execnet: cannot start again: %s" % sys.exc_info()[1])

# an inherited file without a name
def unlinked():
    if hasattr(os, "memfd_create"):
        return os.memfd_create("execnet", 0)
    name = "/execnet-%d-%d" % (os.getuid(), os.getpid())
    for folder in ("/dev/shm", "/tmp", "."):
        try:
            fd = os.open(folder + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 384)
        except EnvironmentError:
            continue
        os.unlink(folder + name)
        other = os.dup(fd)
        os.dup2(fd, other)
        os.close(fd)
        return other
    raise EnvironmentError("no folder for a file")

# the first byte of CONFIG, if it has waited for that; if something has changed meanwhile, it starts again
def first():
    said = read(1) if ahead else bytes()
    if how == "ahead" and look(paths) != known:
        restart(bundle + said)
    while len(sources) > 1:
        os.close(sources.pop(0))
    return said

# restore the variables and path that kept the interpreter from importing from its folder
def put_right():
    if os.environ.get("PYTHONSAFEPATH") == "execnet":
        del os.environ["PYTHONSAFEPATH"]
        if getattr(sys.flags, "safe_path", False) and not sys.flags.ignore_environment and not told():
            here.append((0, ""))
    path = os.environ.pop("EXECNET_PYTHONPATH", None)
    if path is not None:
        os.environ["PYTHONPATH"] = path
        for at, entry in enumerate(path.split(":")):
            if not entry:
                here.insert(0, (at, folder()))
                break

# whether the interpreter was started with `-P`
def told():
    for word in sys.orig_argv[1:]:
        if word == "-c":
            return False
        if word[:1] == "-" and word[1:2] not in "-XW" and "P" in word:
            return True

def folder():
    try:
        return os.getcwd()
    except OSError:
        return ""

if how == "ahead":
    paths = watched()
    known = look(paths)
bundle = read(8)
bundle += read(int(bundle))
data = zlib.decompress(bundle[8:])
at = data.index(b"\n") + 1
end = at + int(data[:at].split()[1])
exec(compile(data[at:end], "<execnet_kernel.load>", "exec"))
