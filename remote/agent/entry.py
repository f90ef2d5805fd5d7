"""How programs enter kept work (docs/protocol.md, section 6): its socket, and the connections it was given.

Loaded when the first such process starts. A Door is the agent's end of the socket that the process inherits;
a Connection stands for the process of a SPAWN of role 3. Nothing here waits.
"""
import errno
import os

try:
    import _socket
except ImportError:
    import socket as _socket

from agent import children, place
from agent.loop import AGAIN, BROKEN, IN, OUT
from agent.process import EXITED
from agent.wire import MAX_DATA, STDERR, STDOUT

ENTRY = b"EXECNET_ENTRY"
SAID = 4096  # bytes of a process about itself that are read in one turn


class Door(object):
    """The socket over which a kept process gets its connections, and says whether it waits for a reader."""

    def __init__(self, env):
        ours, theirs = children.with_fds(place.socketpair)
        ours.setblocking(False)
        self.sock, self.theirs = ours, theirs
        self.inherited = theirs.fileno()
        env[ENTRY] = ("%d" % self.inherited).encode("ascii")
        self.loop = self.core = self.process = None

    def listen(self, loop, core, process):
        """The process has its end."""
        self.theirs.close()
        self.theirs = None
        self.loop, self.core, self.process = loop, core, process
        loop.arm(self.sock.fileno(), IN, self._on_socket, None)

    def close(self):
        if self.theirs is not None:
            self.theirs.close()
        if self.sock is not None:
            if self.loop is not None:
                self.loop.forget(self.sock.fileno())
            self.sock.close()
        self.sock = self.theirs = None

    def _on_socket(self, _, now, event):
        try:
            said = self.sock.recv(SAID)
        except EnvironmentError as error:
            if error.errno in AGAIN:
                return
            said = b""
        if not said:
            self.close()
            return
        last = said.replace(b"\n", b"")[-1:]
        if last in (b"w", b"r"):
            self.core.keeper.wait_for_reader(self.process, last == b"w", now)

    def pass_on(self, sock):
        """Give the process this connection. EnvironmentError: it takes none."""
        if self.sock is None:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        place.send_fd(self.sock, sock.fileno(), b"e")


def enter(loop, core, process):
    """Connect a process with the one that it is to enter."""
    of = process.of
    door = of.child.door if of.child is not None else None
    ours = theirs = None
    try:
        ours, theirs = children.with_fds(place.socketpair)
        ours.setblocking(False)
        if door is None:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        door.pass_on(theirs)
    except (EnvironmentError, _socket.error) as error:
        if ours is not None:
            ours.close()
        number = getattr(error, "errno", None) or errno.EPIPE
        why = "it reads none of them" if number in AGAIN else os.strerror(number)
        core.not_started(process, number, "%s takes no connection: %s" % (of.name, why))
        return
    finally:
        if theirs is not None:
            theirs.close()
    process.child = Connection(loop, core, process, ours)
    core.started(process, of.pid or 0)
    core.child_output_closed(process, STDERR)


class Connection(object):
    """One end of a connection to a kept process; bytes go to and from the core as credit allows."""

    apart = True  # from the children that were started

    def __init__(self, loop, core, process, sock):
        self.loop, self.core, self.process = loop, core, process
        self.sock = sock
        self.fd = sock.fileno()
        self.events = IN
        self.shut = False  # no more is written to it
        loop.arm(self.fd, IN, self._on_socket, None)

    def act(self, kind, stream):
        """Perform an action of the core; `stream` is the one that it concerns, if it concerns one."""
        if self.sock is None:
            return
        if kind == "stdin":
            self._write()
        elif kind == "read":
            self._wait_for(self.events | IN)
        elif kind == "close" and stream == STDOUT:
            self._over()
        elif kind == "release":
            self.process.child = None
            self._close()

    def _on_socket(self, _, now, event):
        if event & (IN | BROKEN):
            self._read(event)
        if self.sock is not None and event & OUT:
            self._write()

    def _read(self, event):
        room = self.process.outs[STDOUT].capacity()
        if room <= 0:
            self._wait_for(self.events & ~IN)
            return
        try:
            data = self.sock.recv(min(room, MAX_DATA))
        except EnvironmentError as error:
            if error.errno in AGAIN:
                return
            data = b""
        if not data:
            self._over()
            return
        self.core.child_output(self.process, STDOUT, data)
        if room == len(data):
            self._wait_for(self.events & ~IN)

    def _write(self):
        stdin = self.process.stdin
        while stdin.chunks:
            try:
                size = os.write(self.fd, stdin.chunks[0])
            except OSError as error:
                if error.errno in AGAIN:
                    self._wait_for(self.events | OUT)
                else:
                    self.core.stdin_closed(self.process)
                    self._wait_for(self.events & ~OUT)
                return
            self.core.stdin_taken(self.process, size)
        self._wait_for(self.events & ~OUT)
        if stdin.is_finished() and not self.shut:
            self.shut = True
            try:
                self.sock.shutdown(_socket.SHUT_WR)
            except EnvironmentError:
                pass

    def _wait_for(self, events):
        if self.sock is None:
            return
        self.events = events
        if events:
            self.loop.arm(self.fd, events)
        else:
            self.loop.disarm(self.fd)  # or the end of the other side would wake us again and again

    def _over(self):
        """The connection has ended."""
        self._close()
        self.core.child_output_closed(self.process, STDOUT)
        self.core.child_exited(self.process, EXITED, 0)

    def _close(self):
        self.loop.forget(self.fd)
        self.sock.close()
        self.sock = None
