"""The socket to the agent, by which programs enter, and the reader of a kept kernel.

Nobody goes on in the stream of another one: a client that died may have left half a frame behind. So each
connection begins with the marker, and what it leaves unfinished goes with it.
"""
import os
import stat
import struct
import sys
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_STREAM
from _socket import socket as socket_type
from select import POLLIN, poll
from select import error as select_error

from . import wire
from .connection import NO_SIGNAL, Connection, quiet
from .interpreter import ANY, TWO, clock, start_new_thread
from .interrupt import interrupt
from .kept import Kept
from .run import Runner
from .start import CHUNK, LONG, Kernel, hello

if TWO:
    import fcntl
    from _multiprocessing import recvfd
    from _socket import MSG_PEEK, fromfd
else:
    from _socket import CMSG_SPACE, SCM_RIGHTS, SOL_SOCKET

VARIABLE = "EXECNET_ENTRY"
INTERRUPT_LEFT = 5.0  # seconds that code without a name goes on when its client has left
LEFT_BEHIND = 4194304  # bytes that a client has sent and that are read when the next one is there


def take_over(source, sink):
    """Leave stdin and stdout, and return the kernel when the first program has entered."""
    entry = Entry(os.environ.pop(VARIABLE, ""))
    os.close(source)
    os.close(sink)
    sock = None
    while sock is None:
        try:
            sock = entry.next()
        except EOFError:
            os._exit(0)
    return KeptKernel(entry, sock)


class Entry(object):

    def __init__(self, number):
        if not number.isdigit():
            raise OSError("it cannot be kept: nobody told it by which fd programs enter (%s=%r)"
                          % (VARIABLE, number))
        try:
            is_socket = stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except EnvironmentError:
            is_socket = False
        if not is_socket:
            raise OSError("it cannot be kept: fd %s is no socket that programs enter by" % number)
        self.sock = _as_socket(int(number))

    def next(self):
        """Return the connection of a program; None if there was none after all. Raise EOFError at the end of
        the agent."""
        try:
            fd = self._next_on_two() if TWO else self._next()
        except EnvironmentError:
            if wire.is_interrupt(sys.exc_info()[1]):
                return None
            raise EOFError
        try:
            return None if fd is None else _as_socket(fd)
        except EnvironmentError:  # too many fds are open
            return None

    def _next(self):
        data, ancillary, _, _ = self.sock.recvmsg(1, CMSG_SPACE(4))
        fds = []
        for level, kind, payload in ancillary:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                fds.extend(struct.unpack("%di" % (len(payload) // 4), payload[:len(payload) // 4 * 4]))
        while len(fds) > 1:
            os.close(fds.pop())
        if not data:
            raise EOFError
        return fds[0] if fds else None

    def _next_on_two(self):
        if not self.sock.recv(1, MSG_PEEK):
            raise EOFError
        try:
            return recvfd(self.sock.fileno())
        except RuntimeError:
            return None  # a byte alone

    def say(self, word):
        """Tell the agent something by one byte, without waiting."""
        try:
            self.sock.send(word, MSG_DONTWAIT | NO_SIGNAL)
        except EnvironmentError:
            pass  # the agent is gone, or reads nothing: the reader learns of it


class KeptRunner(Runner):

    def _main(self):
        Runner._main(self)
        if self.done:
            self.link.drain()


class KeptKernel(Kernel):

    new_runner = KeptRunner

    def __init__(self, entry, sock):
        Kernel.__init__(self, socket_type.recv, sock, socket_type.send, sock)
        self._entry = entry
        self._first = sock
        self._poll = poll()
        self._left = []  # connections that have ended, and may not be closed yet
        self._abandoned = []  # (when their code is interrupted, connection)

    def _new_link(self, settings):
        return Kept(settings)

    def _greet(self, packages):
        self._packages = packages
        self.link.say = self._entry.say
        self._enter(self._first, not packages)

    def _let_go(self):
        for sock in [self._entry.sock] + [each.sock for each in self._left + [self.link.connection]]:
            try:
                sock.close()
            except EnvironmentError:
                pass

    # --- the reader

    def _until_exit(self, data):
        """Handle frames until EXIT. Return False if the agent goes without it."""
        kept = self.link
        start_new_thread(kept.write, ())
        entry = self._entry.sock.fileno()
        self._poll.register(entry, POLLIN)
        if self._feed(kept.connection, data):
            return True
        while True:
            ready = self._ready()
            connection = kept.connection
            if connection.fd in ready and self._hear(connection):
                return True
            if entry in ready:
                try:
                    sock = self._entry.next()
                except EOFError:
                    return False
                if sock is not None:
                    if self._read_rest(connection):
                        return True
                    self._leave(connection)
                    try:
                        self._enter(sock)
                    except ANY:  # memory is short: the program learns that it is not in
                        sys.stderr.write("execnet: cannot let a program in: %s\n"
                                         % sys.exc_info()[0].__name__)
                        sock.close()
            self._interrupt_abandoned()

    def _ready(self):
        patience = None
        if self._abandoned:
            patience = max(0, self._abandoned[0][0] - clock()) * 1000 + 1
        try:
            return [fd for fd, _ in self._poll.poll(patience)]
        except (EnvironmentError, select_error):
            return []  # a signal, on Python 2

    def _enter(self, sock, marker=True):
        """Greet the next client. The writer does the writing."""
        kept = self.link
        connection = Connection(kept, quiet(sock))
        channels = []
        for state in list(kept.names.values()):
            place = connection.place(state)
            channels.append((state.name, place.number) + state.told(place))
        greeting = hello(self._packages, channels=channels, window=kept.window)
        if kept.strconfig is not None:
            greeting += connection.strconfig_frame(0, kept.strconfig)
        connection.outbox.greet(wire.MARKER + greeting if marker else greeting)
        kept.connection = connection
        kept.bell.ring()
        self._poll.register(connection.fd, POLLIN)

    def _hear(self, connection):
        """Read once. Return whether the client said EXIT."""
        try:
            data = connection.sock.recv(CHUNK if connection.missing() < LONG else LONG)
        except EnvironmentError:
            if wire.is_interrupt(sys.exc_info()[1]):
                return False
            data = b""
        if not data:
            self._leave(connection)
            return False
        return self._feed(connection, data)

    def _read_rest(self, connection):
        """Read what the client has left behind."""
        size = 0
        while not connection.ended and size < LEFT_BEHIND:
            try:
                data = connection.sock.recv(CHUNK, MSG_DONTWAIT)
            except EnvironmentError:
                if wire.is_interrupt(sys.exc_info()[1]):
                    continue
                break
            if not data:
                break
            size += len(data)
            if self._feed(connection, data):
                return True
        return False

    def _feed(self, connection, data):
        try:
            return connection.feed(data)
        except wire.ProtocolError:
            sys.stderr.write("execnet: protocol error: %s\n" % sys.exc_info()[1])
        except ANY:
            try:
                import traceback
                traceback.print_exc()
            except ANY:  # no file can be opened, or there is no memory
                sys.stderr.write("execnet: a frame was not understood: %s\n" % sys.exc_info()[0].__name__)
        self._leave(connection)
        return False

    def _leave(self, connection):
        """End a connection, and nothing else."""
        if not connection.ended:
            self._poll.unregister(connection.fd)
            connection.leave()
            self._abandoned.append((clock() + INTERRUPT_LEFT, connection))
            self._left.append(connection)
            self.link.stuck.append(connection.outbox)
        for each in list(self._left):
            # a thread that is about to write must not write to another file of this number
            if each.outbox.end():
                self.link.stuck.remove(each.outbox)
                self._left.remove(each)
                each.sock.close()

    def _interrupt_abandoned(self):
        """Raise KeyboardInterrupt in code without a name that goes on in the main thread without its
        client."""
        runner = self.link.runner
        while self._abandoned and self._abandoned[0][0] <= clock():
            _, connection = self._abandoned.pop(0)
            for task in list(runner.waiting):
                if runner.task is not None and _is_of(task, connection) and runner._drop(task):
                    task.close()
            if _is_of(runner.task, connection):
                interrupt(runner)


def _is_of(task, connection):
    channel = task and task.channel
    return channel is not None and channel._state.link is connection


def _as_socket(fd):
    """Return a socket for an fd, which it takes over."""
    if TWO:
        try:
            sock = fromfd(fd, AF_UNIX, SOCK_STREAM)
        finally:
            os.close(fd)
        fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    else:
        sock = socket_type(AF_UNIX, SOCK_STREAM, 0, fd)
        os.set_inheritable(fd, False)
    sock.setblocking(True)
    return sock
