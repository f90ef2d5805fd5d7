"""Starts a process without a copy of the agent's memory, which costs most of a fork: with posix_spawn.

The agent stands still until the exec, so this is only for hosts where no file system can make it wait.
Everything else, and everything that fails, is left to `children.start`. Linux, CPython 3.8 and later.
"""
import os
import select

from agent import homes
from agent.loop import clock

LOCAL = frozenset(b"ext2 ext3 ext4 xfs btrfs f2fs jfs zfs bcachefs tmpfs ramfs overlay squashfs erofs "
                  b"iso9660 vfat exfat".split())
OF_SYSTEM = (b"/proc/", b"/sys/", b"/dev/", b"/run/")  # nothing is started from there
SLOW = 1.0  # seconds that an exec may take; if one took longer, none is waited for during the next PAUSE
PAUSE = 60.0


class Mounts(object):
    """Whether all file systems of this host are local; looked up again only after a change."""

    def __init__(self, path="/proc/self/mounts"):
        self.fd = None
        self.local = False
        self.rest_until = 0.0
        try:
            self.fd = os.open(path, os.O_RDONLY)
            self.changes = select.poll()
            self.changes.register(self.fd, select.POLLPRI | select.POLLERR)
            self._look()
        except (OSError, ValueError):
            self.give_up()

    def are_local(self):
        if self.fd is not None and self.changes.poll(0):
            try:
                self._look()
            except (OSError, ValueError):
                self.give_up()
        return self.local and clock() >= self.rest_until

    def give_up(self):
        if self.fd is not None:
            os.close(self.fd)
        self.fd, self.local = None, False

    def _look(self):
        os.lseek(self.fd, 0, os.SEEK_SET)
        said = b""
        while True:
            part = os.read(self.fd, 65536)
            if not part:
                break
            said += part
        kinds = []
        for line in said.splitlines():
            _, folder, kind = line.split(b" ", 3)[:3]
            if not (folder + b"/").startswith(OF_SYSTEM):
                kinds.append(kind)
        self.local = bool(kinds) and LOCAL.issuperset(kinds)


_mounts = None


def spawn(argv, env, chdir, stdio, restored, limits, resource):
    """Start it as the leader of a session of its own. Return its pid, or None if it was not started.

    `chdir` as in `children.start`; `stdio`: its three fds; `limits`: what it has where the agent has others.
    """
    global _mounts
    if _mounts is None:
        _mounts = Mounts()
    start, asked = chdir
    # names of accounts may be looked up far away: that is for a child
    if not _mounts.are_local() or not homes.opens(env.get(b"HOME") or b"") or asked.startswith(b"~"):
        return None
    folder = env[b"PWD"] = homes.where(env, start, asked)
    ours = [(kind, resource.getrlimit(kind)) for kind in limits]
    actions = [(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(stdio)]
    began = clock()
    try:
        os.chdir(folder)
        program = homes.found(argv[0], env)  # an exec of a FIFO would wait
        if program is None or (folder + b"/").startswith(OF_SYSTEM) or program.startswith(OF_SYSTEM):
            return None
        for kind in limits:
            resource.setrlimit(kind, limits[kind])
        return os.posix_spawn(program, argv, env, file_actions=actions, setsid=True, setsigmask=[],
                              setsigdef=restored)
    except (OSError, ValueError, NotImplementedError):
        return None
    finally:
        for kind, values in ours:
            resource.setrlimit(kind, values)
        os.chdir("/")
        if clock() > began + SLOW:
            _mounts.rest_until = clock() + PAUSE
