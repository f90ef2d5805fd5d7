"""The agent's place on its host: /tmp/execnet-UID, the lock, the socket, and what passes over it (docs/protocol.md, 1.3).

Trusts nothing in /tmp that is not ours alone. Holds no process and no frame.
"""
import errno
import os
import stat
import struct
import sys

try:
    import _socket  # the `socket` module costs 5 ms to import
except ImportError:
    import socket as _socket
import fcntl

from agent import wire

OPENING = b"execnet:stub\0"
HEAD = len(OPENING) + 2 + 1 + 32 + 8 + 4
CONFIG_LIMIT = 1048576


class PlaceError(Exception):
    """The folder cannot be used."""


class Place(object):
    """Paths, lock and socket of one network's agent on this host."""

    def __init__(self, key, root="/tmp"):
        self.folder = "%s/execnet-%d" % (root, os.geteuid())
        self.socket_path = "%s/%s-%s.sock" % (self.folder, key, _boot())
        self.lock_path = self.socket_path[:-4] + "lock"
        self.lock_fd = None
        self._check()

    def _check(self):
        try:
            os.mkdir(self.folder, 0o700)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise PlaceError("cannot make %s: %s" % (self.folder, error.strerror))
        try:
            about = os.lstat(self.folder)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise PlaceError("cannot look at %s: %s" % (self.folder, error.strerror))
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise PlaceError("%s is not a private folder of this user" % self.folder)

    def lock(self):
        """Try to become this network's agent here."""
        self._check()
        while True:
            try:
                fd = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return False  # somebody took the empty folder away: try again
                raise
            cloexec(fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (IOError, OSError):
                os.close(fd)
                return False
            if _same(fd, self.lock_path):
                self.lock_fd = fd
                return True
            os.close(fd)  # removed by the one who had it before

    def unlock(self):
        """Let go of this copy; a forked copy keeps the lock."""
        if self.lock_fd is not None:
            os.close(self.lock_fd)
            self.lock_fd = None

    def owned(self):
        """Whether the lock file is still the one that we hold."""
        return self.lock_fd is not None and _same(self.lock_fd, self.lock_path)

    def listen(self):
        """The socket, bound anew. Only for the one with the lock."""
        try:
            os.unlink(self.socket_path)
        except OSError:
            pass
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        cloexec(sock.fileno())
        mask = os.umask(0o077)
        try:
            sock.bind(self.socket_path)
        finally:
            os.umask(mask)
        sock.listen(16)
        sock.setblocking(False)
        return sock

    def connect(self):
        """A connection to the living agent, or None."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        cloexec(sock.fileno())
        sock.settimeout(20)
        try:
            sock.connect(self.socket_path)
        except _socket.error:
            sock.close()
            return None
        if not same_user(sock):
            sock.close()
            raise PlaceError("%s belongs to another user's process" % self.socket_path)
        return sock

    def present(self):
        """Whether the socket is still there."""
        try:
            return stat.S_ISSOCK(os.lstat(self.socket_path).st_mode)
        except OSError:
            return False

    def remove_socket(self):
        _unlink(self.socket_path)

    def leave(self):
        """Nothing stays behind."""
        if self.owned():
            _unlink(self.socket_path)
            _unlink(self.lock_path)
        self.unlock()
        try:
            os.rmdir(self.folder)
        except OSError:
            pass


class Visitor(object):
    """A stub's connection at the agent: collects its fds and its request without waiting."""

    def __init__(self, sock):
        self.sock = sock
        self.fds = []
        self._data = b""
        self.version = self.verb = self.secret = self.epoch = self.config = None

    def readable(self):
        """True when the request is complete, False when more must come. ValueError, IOError: not a stub."""
        if len(self.fds) < 2:
            self.fds.append(_receive_fd(self.sock))
            return False
        data = self.sock.recv(65536)
        if not data:
            raise ValueError("a stub that went away")
        self._data = data = self._data + data
        if data[:len(OPENING)] != OPENING[:len(data)]:
            raise ValueError("not a stub")
        if len(data) < HEAD:
            return False
        self.version, self.verb, self.secret, self.epoch, size = struct.unpack(">Hc32sQI", data[len(OPENING):HEAD])
        if size > CONFIG_LIMIT:
            raise ValueError("a config of %d bytes" % size)
        self.config = data[HEAD:HEAD + size]
        return len(data) >= HEAD + size

    def answer(self, code):
        try:
            self.sock.send(code + struct.pack(">H", wire.VERSION))
        except _socket.error:
            pass

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.sock.close()


def knock(sock, verb, config):
    """The stub's request on a fresh connection. Returns the agent's code and version; code is empty if it hung up."""
    from binascii import unhexlify
    message = OPENING + struct.pack(">Hc32sQI", wire.VERSION, verb, unhexlify(config.secret), config.epoch,
                                    len(config.raw)) + config.raw
    try:
        _send_fd(sock, 0)
        _send_fd(sock, 1)
        while message:
            message = message[sock.send(message):]
        answer = b""
        while len(answer) < 3:
            part = sock.recv(3 - len(answer))
            if not part:
                return b"", 0
            answer += part
    except _socket.error:
        return b"", 0
    return answer[:1], struct.unpack(">H", answer[1:])[0]


def accept(listener):
    """A visitor, or None."""
    try:
        if hasattr(listener, "_accept"):
            fd, _ = listener._accept()
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        else:
            sock, _ = listener.accept()
    except _socket.error:
        return None
    cloexec(sock.fileno())
    sock.setblocking(False)
    if not same_user(sock):
        sock.close()
        return None
    return Visitor(sock)


def same_user(sock):
    """Whether the other end runs as our user; where that cannot be asked the folder's mode has to do."""
    if not sys.platform.startswith("linux"):
        return True
    peer = sock.getsockopt(_socket.SOL_SOCKET, getattr(_socket, "SO_PEERCRED", 17), 12)
    return struct.unpack("3i", peer)[1] == os.geteuid()


def socketpair():
    pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    for sock in pair:
        cloexec(sock.fileno())
    return pair


def cloexec(fd):
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)


def _send_fd(sock, fd):
    # One byte with one fd each: all that Python 2.7 can do.
    if hasattr(sock, "sendmsg"):
        sock.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))])
    else:
        import _multiprocessing
        _multiprocessing.sendfd(sock.fileno(), fd)


def _receive_fd(sock):
    if hasattr(sock, "recvmsg"):
        _, messages, _, _ = sock.recvmsg(1, _socket.CMSG_SPACE(4))
        fds = [struct.unpack("i", data[:4])[0] for level, kind, data in messages
               if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS]
        if len(fds) != 1:
            raise ValueError("a byte without an fd")
        fd = fds[0]
    else:
        import _multiprocessing
        fd = _multiprocessing.recvfd(sock.fileno())
    cloexec(fd)
    return fd


def _boot():
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(8)
    except (IOError, OSError):
        return "0"


def _same(fd, path):
    try:
        here, there = os.fstat(fd), os.lstat(path)
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        pass
