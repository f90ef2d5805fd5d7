"""Starts and ends the host's processes: fork, exec, signals, and what is left of a session.

Knows no frame and no credit. Nothing here waits: a child reports failures through its error pipe, and the
loop in `posix` asks again and again for what a leader left behind. Only `quick` waits for an exec, where that
takes no time.
"""
import errno
import fcntl
import os
import sys

from agent import homes
from agent.config import prctl
from agent.lifecycle import MARK, local_signals, signal

RESTORED = "HUP INT QUIT PIPE TERM CHLD CONT TSTP TTIN TTOU USR1 XFSZ XFZ".split()
RESTORED = [getattr(signal, "SIG" + name) for name in RESTORED if hasattr(signal, "SIG" + name)]
PIPE_SIZE = 524288
F_SETPIPE_SZ = 1031
QUICK = sys.platform.startswith("linux") and hasattr(os, "posix_spawn")

resource = None
_limits = {}  # limits that we changed: kind to soft and hard before


class Child(object):
    """A started process as the loop sees it: its fds (None once closed), and the progress of its end."""

    __slots__ = ("pid", "mark", "stdin", "outs", "error", "error_said", "process", "probe", "started",
                 "alive", "status",
                 "early", "sweep_until", "draining", "large", "nudged", "gentle", "terminal", "door")

    apart = False  # not a child in truth

    def __init__(self):
        self.process = self.probe = None
        self.error_said = b""
        self.started = False
        self.alive = True  # the leader is not reaped yet
        self.status = None
        self.early = []  # signals that arrived before the exec
        self.sweep_until = None
        self.draining = self.large = self.nudged = False
        self.terminal = None  # instead of pipes
        self.door = None  # its socket, if it admits programs
        self.gentle = False  # it may hold a job elsewhere: SIGTERM, and time to cancel it


def start(argv, env, chdir, nice, mark, terminal=None, paths=(), inherited=None):
    """Fork and exec; OSError if even the fork fails. All strings are bytes. `chdir`: the folder of the login,
    and the requested one. `terminal`: its stdio, instead of pipes. `paths` as of `lifecycle.request`.
    `inherited`: an fd that it has, too."""
    pipes = []
    pid = None
    paths = [at for at in paths if argv[at][:1] == b"~"]
    try:
        while len(pipes) < (0 if terminal else 3):
            pipes.append(_pipe())
        if QUICK and terminal is None and not nice and not paths and inherited is None:
            from agent import quick
            stdio = pipes[0][0], pipes[1][1], pipes[2][1]
            pid = quick.spawn(argv, env, chdir, stdio, RESTORED, _limits, resource)
        if pid is None:
            pipes.append(_pipe())
            pid = os.fork()
    except OSError:
        for pair in pipes:
            os.close(pair[0])
            os.close(pair[1])
        raise
    if pid == 0:
        _become(pipes, terminal, argv, env, chdir, nice, paths, inherited)
    child = Child()
    child.pid = pid
    child.mark = mark
    child.error = None
    child.started = len(pipes) == 3
    if not child.started:
        child.error, failed = pipes.pop()
        os.close(failed)
        set_nonblocking(child.error)
    if terminal is not None:
        child.terminal = terminal
        child.stdin, child.outs = terminal.input, {1: terminal.output, 2: None}
        return child
    (stdin, ours_in), (ours_out, stdout), (ours_err, stderr) = pipes
    for fd in (stdin, stdout, stderr):
        os.close(fd)
    for fd in (ours_in, ours_out, ours_err):
        set_nonblocking(fd)
    child.stdin = ours_in
    child.outs = {1: ours_out, 2: ours_err}
    return child


def _pipe():
    pair = with_fds(os.pipe)
    if sys.version_info[0] < 3:
        for fd in pair:
            set_cloexec(fd)
    return pair


def with_fds(make):
    """Call what opens fds, if need be with a higher limit."""
    while True:
        try:
            return make()
        except OSError as error:
            if error.errno != errno.EMFILE or not _raise_limit():
                raise


def _become(pipes, terminal, argv, env, chdir, nice, paths, inherited):
    """Run in the child; never return."""
    failed = pipes[-1][1]
    doing = "start"
    try:
        try:
            os.setsid()
            for number in RESTORED:
                signal.signal(number, signal.SIG_DFL)
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
            if terminal is not None:
                terminal.become()
            else:
                os.dup2(pipes[0][0], 0)
                os.dup2(pipes[1][1], 1)
                os.dup2(pipes[2][1], 2)
            if inherited is not None:
                fcntl.fcntl(inherited, fcntl.F_SETFD, 0)
            for kind in _limits:
                resource.setrlimit(kind, _limits[kind])
            chdir = env[b"PWD"] = homes.where(env, *chdir)
            doing = "change to directory " + _shown(chdir)
            os.chdir(chdir)
            if nice:
                doing = "set nice to %d" % nice
                os.nice(nice)
            for at in paths:
                argv[at] = homes.expand(argv[at], env)
            doing = "execute " + _shown(argv[0])
            _execute(argv, env)
        except OSError as error:
            said = "%d cannot %s: %s" % (error.errno or 0, doing, error.strerror)
        except BaseException as error:
            said = "0 cannot %s: %s" % (doing, error)
        os.write(failed, said.encode("utf-8", "replace") if sys.version_info[0] > 2 else said)
    finally:
        os._exit(127)


def _execute(argv, env):
    name = argv[0]
    if b"/" in name:
        os.execve(name, argv, env)
    kept = None
    for folder in homes.folders(env):
        try:
            os.execve(folder + b"/" + name, argv, env)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) and kept is None:
                kept = error
    raise kept or OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _shown(value):
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def prepare():
    """Import what cannot be imported once there are no fds left, and disable core dumps of the agent, which
    has a secret."""
    global resource
    try:
        import resource
        _limit(resource.RLIMIT_CORE, 0)
    except (ImportError, AttributeError, ValueError, EnvironmentError):
        pass


def _raise_limit():
    """Raise the limit of open files as far as possible for the agent; its processes keep the old limit."""
    if resource is None or resource.RLIMIT_NOFILE in _limits:
        return False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return False
    try:
        _limit(resource.RLIMIT_NOFILE, most)
    except (ValueError, EnvironmentError):
        return False
    return True


def _limit(kind, soft):
    """Set a soft limit for the agent only."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    _limits[kind] = before


def send(child, numbers):
    """Send signals, given by their Linux numbers, in this order."""
    for number, to_group in local_signals(numbers):
        if child.alive:
            kill(-child.pid if to_group else child.pid, number)


def kill(pid, number):
    """Send a signal. Return False if there is no such process or group."""
    try:
        if pid < 0:
            os.killpg(-pid, number)
        else:
            os.kill(pid, number)
        return True
    except (OSError, ValueError) as error:
        return getattr(error, "errno", None) == errno.EPERM


def end_in_words(status):
    if os.WIFSIGNALED(status):
        return "signal %d" % os.WTERMSIG(status)
    return "exit status %d" % os.WEXITSTATUS(status)


def sweep(child, leaders, number):
    """Send `number` to the rest of a session whose leader has ended. Return False if nothing is left.
    `leaders`: None if we have no children at all, and so no orphans."""
    left = kill(-child.pid, number)
    for pid in _orphans(leaders) if leaders is not None else ():
        if _belongs(pid, child):
            for each in [pid] + _below(pid):
                left = kill(each, number) or left
    return left


def adopt():
    """Become the parent of every orphan below us (Linux), so that none survives its session."""
    return prctl(36, 1)


def _orphans(leaders):
    """Return our children that we did not start."""
    return [pid for pid in _children("self") if pid not in leaders]


def _below(pid):
    found, at = _children(pid), 0
    while at < len(found):
        found.extend(_children(found[at]))
        at += 1
    return found


def _children(pid):
    """Return the children of a process; Linux only, otherwise none."""
    found = []
    try:
        for task in os.listdir("/proc/%s/task" % pid):
            found.extend([int(word) for word in _read("/proc/%s/task/%s/children" % (pid, task)).split()])
        return found
    except (IOError, OSError):
        pass
    if not sys.platform.startswith("linux"):
        return found
    parent = os.getpid() if pid == "self" else pid  # for a kernel without the children file
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        stat = _stat(int(name)) if name.isdigit() else None
        if stat and int(stat[1]) == parent:
            found.append(int(name))
    return found


def _belongs(pid, child):
    stat = _stat(pid)
    if stat is None or stat[0] == b"Z":
        return False
    if int(stat[3]) == child.pid:
        return True
    if child.mark is None:
        return False
    try:
        return MARK + b"=" + child.mark in _read("/proc/%d/environ" % pid).split(b"\0")
    except (IOError, OSError):
        return False


def _stat(pid):
    """Return state, parent, group and session of a process, or None."""
    try:
        return _read("/proc/%d/stat" % pid).rpartition(b")")[2].split()
    except (IOError, OSError):
        return None


def _read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(fd, 65536)]
        while parts[-1]:
            parts.append(os.read(fd, 65536))
        return b"".join(parts)
    finally:
        os.close(fd)


def set_cloexec(fd):
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)


def set_nonblocking(fd):
    if hasattr(os, "set_blocking"):
        os.set_blocking(fd, False)
    else:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)


def enlarge(fd):
    """Enlarge the buffer of a pipe, where the system can."""
    try:
        fcntl.fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE)
    except (IOError, OSError):
        pass
