"""The greeting of a new agent, sent before the rest of the agent is compiled.

Compiling the agent takes longer than everything else together. So the fresh fork sends HELLO and the nodes
that it need not ask, and loads the rest when something but PING arrives, or when a processor is free, where a
thousand agents may start on one machine. Knows no process.
"""
import os
import select
import sys
import time

try:
    import _signal as signal  # the `signal` module imports enum, 5 ms
except ImportError:
    import signal

from agent import wire
from agent.config import boot_id

PAUSE = 0.1  # seconds of the first look whether a processor is free, then twice that, at most MOST_PAUSE
MOST_PAUSE = 4.0
RESTS = 12  # as many looks: half a minute
PINGS = 4096  # bytes of PING that are answered here
PING, PONG = [wire.frame(kind, token=0)[:4] for kind in (wire.PING, wire.PONG)]  # without their token
READY = 0
IGNORED = "SIGHUP SIGINT SIGQUIT SIGPIPE SIGTSTP SIGUSR1".split()

clock = getattr(time, "monotonic", time.time)


class Greeting(object):
    """The frames that were sent behind the marker, and their `size`; what has arrived since then, and of how
    many bytes before it each is `parsed`."""

    def __init__(self, config, resume, more):
        self.incarnation = os.urandom(16)
        self.resume = resume
        self.about = about_self()
        self.hello = self._table(more)
        self.told = known = [name for name, python in config.nodes if is_own(python)]
        table = pairs(self.about)
        frames = [wire.frame(wire.HELLO, incarnation=self.incarnation, epoch=config.epoch, resume=resume,
                             pid=os.getpid(),
                             table=self.hello)]
        frames += [wire.frame(wire.NODE, name=name, state=READY, table=table) for name in known]
        self.complete = len(known) == len(config.nodes)
        if self.complete:
            frames.append(wire.frame(wire.NODES, count=len(known)))
        if resume and config.keeps:
            frames.append(wire.frame(wire.KEEPS, count=0))
        self.frames = b"".join(frames)
        self.size = len(self.frames)
        self.arrived = b""
        self.parsed = 0

    def rest(self, link, others, settled):
        """Wait until there is something to do for the whole agent, or a moment; longer while the machine is
        busy. `link`: the fds to read and to write; `others`: what else may become readable."""
        pause, before = PAUSE, idle()
        for _ in range(RESTS if self.complete else 0):
            until = clock() + pause
            while clock() < until:
                try:
                    ready = select.select([link[0]] + others, [], [], max(0, min(pause, until - clock())))[0]
                    if ready and not (ready == [link[0]] and self._answer(*link)):
                        return
                except (OSError, select.error):
                    return
            now = idle()
            if settled.terminated or not was_busy(before, now):
                return
            pause, before = min(2 * pause, MOST_PAUSE), now

    def _answer(self, read, write):
        """Answer PINGs, which measure the link. Return whether that is all that has arrived."""
        data = os.read(read, PINGS)
        self.arrived += data
        size = 12
        while len(self.arrived) >= size and self.arrived[:4] == PING:
            token, self.arrived = self.arrived[4:size], self.arrived[size:]
            self.parsed += size
            self.size += size
            os.write(write, PONG + token)
        return bool(data) and not self.arrived and self.parsed < PINGS

    def _table(self, more):
        about = dict(self.about)
        about["hostname"] = os.uname()[1]
        about["boot"] = boot_id()
        try:
            about["cpus"] = str(len(os.sched_getaffinity(0)))
        except (AttributeError, OSError):
            try:
                about["cpus"] = str(os.sysconf("SC_NPROCESSORS_ONLN"))
            except (AttributeError, ValueError, OSError):
                about["cpus"] = "1"
        about.update(more)
        about["features"] = " ".join(features(self.resume) + about.get("features", "").split())
        return pairs(about)


class Settled(object):
    """Leaves the session, the folder and the signals of the login; `terminated` after SIGTERM."""

    def __init__(self):
        self.terminated = False
        os.setsid()
        self.home = home()
        os.chdir("/")
        for name in IGNORED:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number, frame):
        self.terminated = True


def home():
    """Return the folder that the login began in, or None: the script passes it, and starts us in `/`."""
    try:
        return (sys.argv[2:3] or [os.getcwd()])[0]
    except OSError:
        return None


def idle():
    """Return the seconds since the boot, and those that all processors together had nothing to do. None if
    the system does not tell (Linux does)."""
    try:
        with open("/proc/uptime") as file:
            return [float(word) for word in file.read().split()[:2]]
    except (EnvironmentError, ValueError):
        return None


def was_busy(before, now):
    """Whether less than half a processor was idle between these two times."""
    return bool(before and now) and now[1] - before[1] < (now[0] - before[0]) / 2


def is_busy():
    """Whether more than two others wait for each processor, or have it, at this moment (Linux)."""
    try:
        with open("/proc/loadavg") as file:
            running = int(file.read().split()[3].split("/")[0])
        return running - 1 > 2 * os.sysconf("SC_NPROCESSORS_ONLN")  # we ourselves are one of them
    except (EnvironmentError, IndexError, ValueError):
        return False


def about_self():
    """Return what NODE says of the agent's own interpreter."""
    platform = str(sys.platform)
    implementation = getattr(sys, "implementation", None)
    if implementation is not None:
        implementation = implementation.name
    elif platform.startswith("java"):
        implementation = "jython"
    else:
        implementation = "pypy" if "PyPy" in sys.version else "cpython"
    return {
        "executable": own_command()[0],
        "platform": platform,
        "implementation": str(implementation),
        "version": "%d.%d.%d" % tuple(sys.version_info[:3]),
        "machine": os.uname()[4],
    }


def features(resume):
    """Return what this agent can do beyond the protocol's version (docs/protocol.md, 2.4). Nothing is
    imported for that: the greeting does not wait."""
    found = ["look"] if hasattr(os, "fork") else []  # Jython looks whether it can
    if found and sys.platform.startswith("linux"):
        found.append("prefix")
    if hasattr(os, "openpty") and _is_there("fcntl") and _is_there("termios"):
        found.append("terminal")
    if resume and hasattr(os, "fork"):
        found.append("keep")
        if _passes_fds():
            found.append("enter")
    return found


def _passes_fds():
    sockets = sys.modules.get("_socket")  # of `place`
    return hasattr(getattr(sockets, "socket", None), "sendmsg") or _is_there("_multiprocessing")


def _is_there(name):
    if name in sys.modules or name in sys.builtin_module_names:
        return True
    try:
        if sys.version_info[0] == 2:
            import imp  # built in
            imp.find_module(name)[0].close()
            return True
        finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
        return any([finder.find_spec(name, None) is not None for finder in finders])
    except ImportError:
        return False


def own_command():
    """Return the command of the agent's own interpreter."""
    executable = sys.executable
    if not executable and os.path.exists("/proc/self/exe"):
        executable = os.path.realpath("/proc/self/exe")
    return [str(executable or "python")]


def is_own(python):
    """Whether this python= is certainly the agent's own interpreter, so that it need not be asked."""
    if not python:
        return True
    if "/" in python:
        return python == sys.executable
    for folder in os.environ.get("PATH", "").split(":"):
        path = folder + "/" + python
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path == sys.executable
    return False


def pairs(table):
    """Return a dict of text as the pairs of a table, sorted."""
    return [(key, wire.utf8(table[key])) for key in sorted(table)]
