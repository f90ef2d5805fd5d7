"""The agent's place on its host: a folder, the lock and socket in it, and what passes over them
(docs/protocol.md, 1.3).

The usual folder is /tmp/execnet-UID. Another account may have created it first; then the next folder that is
ours alone is used, and a note in the home folder names it. Knows no process and no frame.
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
from agent.config import boot_id

OPENING = b"execnet:stub\0"
HEAD = len(OPENING) + 2 + 1 + 32 + 8 + 4
CONFIG_LIMIT = 1048576
ADDRESS = 103  # bytes that a socket's path may have on every system


class PlaceError(Exception):
    """The folder cannot be used."""


class Place(object):
    """Folder, lock and socket of one network's agent on this host."""

    def __init__(self, key, root="/tmp"):
        self.name = "%s-%s" % (key, boot_id()[:8])
        self.homes = _homes()
        self.folders = _folders(root) + self.homes
        self.folder = self.socket_path = self.lock_path = None
        self.passed = []  # why the folders before it were not taken
        self.refused = {}  # our own folders in which no lock or socket can be made, and why
        self.met = None  # lock of the agent that was connected to last
        self.lock_fd = None

    def _choose(self):
        """Choose the first folder that is ours alone; create it if necessary."""
        passed = []
        for folder in self.folders:
            try:
                if folder in self.refused:
                    raise PlaceError(self.refused[folder])
                if make(folder, folder in self.homes):
                    self.folder, self.passed = folder, passed
                    self.socket_path = "%s/%s.sock" % (folder, self.name)
                    self.lock_path = "%s/%s.lock" % (folder, self.name)
                    return
            except PlaceError as error:
                passed.append(str(error))
        self.refused = {}
        raise PlaceError("; ".join(passed))

    def pass_over(self, error):
        """Give up a folder in which no lock or socket can be made, so that the next one is tried."""
        self.leave()
        self.refused[self.folder] = "%s cannot be used: %s" % (self.folder, error.strerror or error)

    def elsewhere(self):
        """Return where the socket is and why; empty for the usual folder."""
        if self.folder == self.folders[0]:
            return ""
        return "%s: %s" % (self.folder, "; ".join(self.passed))

    def tmp(self):
        """Return a word that identifies /tmp: logins may have one each."""
        about = os.stat(self.folders[0].rpartition("/")[0])
        return "%x-%x" % (about.st_dev, about.st_ino)

    def lock(self):
        """Try to become this network's agent here."""
        self._choose()
        for folder in self._known():
            # an agent may have chosen another folder, when other folders were usable
            path = "%s/%s.lock" % (folder, self.name)
            if folder == self.folder or not os.path.exists(path):
                continue
            try:
                fd = _lock(path, 0)
            except EnvironmentError:
                continue  # no agent can have locked it
            if fd is not None:
                if fd < 0:
                    return False
                os.close(fd)
        try:
            fd = _lock(self.lock_path, os.O_CREAT)
        except EnvironmentError as error:
            self.pass_over(error)
            return self.lock()
        if fd is None or fd < 0:
            return False
        self.lock_fd = fd
        return True

    def sign(self):
        """Write our process id into the lock, and the folder into the note, if there is room."""
        try:
            os.ftruncate(self.lock_fd, 0)
            os.write(self.lock_fd, ("%d\n" % os.getpid()).encode("ascii"))
        except EnvironmentError:
            pass
        if self.folder != self.folders[0]:
            for home in self.homes:
                try:
                    if make(home, True):
                        _write("%s/%s.at" % (home, self.name), self.folder)
                except (PlaceError, EnvironmentError):
                    pass

    def holder(self):
        """Return the process that has the lock, in words."""
        try:
            with open(self.met) as file:
                return "process %d" % int(file.read(32))
        except (TypeError, ValueError, EnvironmentError):
            return "of an unknown process"

    def unlock(self):
        """Close the lock here; a forked copy keeps it."""
        if self.lock_fd is not None:
            os.close(self.lock_fd)
            self.lock_fd = None

    def owned(self):
        """Whether we still hold the lock file, and its folder is still ours alone."""
        return self.lock_fd is not None and _fault(self.folder) == "" and _same(self.lock_fd, self.lock_path)

    def listen(self):
        """Return the socket, bound anew; only for the holder of the lock."""
        _unlink(self.socket_path)
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        cloexec(sock.fileno())
        mask = os.umask(0o077)
        try:
            _reach(sock.bind, self.socket_path)
        finally:
            os.umask(mask)
        sock.listen(16)
        sock.setblocking(False)
        return sock

    def connect(self):
        """Return a connection to the living agent, or None."""
        for folder in self._known():
            path = "%s/%s.sock" % (folder, self.name)
            if not _is_socket(path):
                continue
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            cloexec(sock.fileno())
            sock.settimeout(20)
            try:
                _reach(sock.connect, path)
                if same_user(sock):
                    self.met = path[:-4] + "lock"
                    return sock
            except _socket.error:
                pass
            sock.close()
        return None

    def _known(self):
        """Return the folders that are ours alone and may contain a socket of this name."""
        noted = []
        for home in self.homes:
            if _fault(home) == "":
                try:
                    with open("%s/%s.at" % (home, self.name)) as file:
                        noted.append(file.read(4096))
                except EnvironmentError:
                    pass
        return [folder for folder in self.folders + noted if folder[:1] == "/" and _fault(folder) == ""]

    def present(self):
        """Whether the socket is still there."""
        return _is_socket(self.socket_path)

    def remove_socket(self):
        _unlink(self.socket_path)

    def leave(self):
        """Remove everything that we made."""
        if self.lock_fd is not None and _same(self.lock_fd, self.lock_path):
            _unlink(self.socket_path)
            _unlink(self.lock_path)
            if self.folder != self.folders[0]:
                for home in self.homes:
                    _unlink("%s/%s.at" % (home, self.name))
        self.unlock()
        made = [self.folder]
        if self.folder != self.folders[0]:
            made += [path for home in self.homes for path in (home, home.rpartition("/")[0])]
        for folder in made:
            try:
                os.rmdir(folder)
            except OSError:
                pass


def _folders(root):
    """Return folders outside the home folder, best first. A login over ssh may lack the variable: try its
    usual value, too."""
    uid = os.geteuid()
    found = ["%s/execnet-%d" % (root, uid)]
    for above in (os.environ.get("XDG_RUNTIME_DIR", ""), "/run/user/%d" % uid):
        if above[:1] == "/" and above + "/execnet" not in found:
            found.append(above + "/execnet")
    return found


def _homes():
    """Return folders in the home folder. Hosts may share it: the names in them contain the boot id."""
    home = os.environ.get("HOME", "")
    if home[:1] != "/":
        try:
            import pwd
            home = pwd.getpwuid(os.geteuid())[5]
        except (ImportError, KeyError):
            home = ""
    found = []
    for above in (home + "/.local/state" if home[:1] == "/" else "", os.environ.get("XDG_STATE_HOME", "")):
        if above[:1] == "/" and above + "/execnet/.agents" not in found:
            found.append(above + "/execnet/.agents")
    return found


def make(folder, above):
    """Create a folder; with `above`, also its parents. Return False if that place does not exist; raise
    PlaceError if others control it."""
    parent = folder.rpartition("/")[0] or "/"
    mask = os.umask(0o077)
    try:
        if above and not os.path.isdir(parent):
            os.makedirs(parent)
        fault = _fault(parent, True)
        if fault is None:
            return False
        if fault:
            raise PlaceError("%s %s" % (parent, fault))
        os.mkdir(folder, 0o700)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise PlaceError("cannot make %s: %s" % (folder, error.strerror))
    finally:
        os.umask(mask)
    fault = _fault(folder)
    if fault:
        raise PlaceError("%s %s" % (folder, fault))
    return True


def _fault(folder, shared=False):
    """Return why a folder is not ours alone; empty if it is, None if it does not exist. `shared`: others may
    read it, or it has the sticky bit, as /tmp has, so that nobody can remove our files."""
    try:
        about = os.lstat(folder)
    except OSError:
        return None
    if stat.S_ISLNK(about.st_mode) and not shared:
        return "is a link"
    if shared:
        try:
            about = os.stat(folder)
        except OSError:
            return None
    if not stat.S_ISDIR(about.st_mode):
        return "is not a folder"
    if shared and about.st_mode & stat.S_ISVTX:
        return ""
    if about.st_uid != os.geteuid():
        return "belongs to another user"
    if about.st_mode & (0o022 if shared else 0o077):
        return "is open to other users"
    return ""


def _lock(path, flags):
    """Return a locked file; -1 if another process has it, None if it does not exist."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None  # the empty folder was removed meanwhile: try again
            raise
        cloexec(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (IOError, OSError):
            os.close(fd)
            return -1
        if _same(fd, path):
            return fd
        os.close(fd)  # its previous holder removed it


def _reach(call, path):
    """Call with a socket's address; if the path is too long, by way of its opened folder."""
    if len(path) <= ADDRESS:
        return call(path)
    if not sys.platform.startswith("linux"):
        raise PlaceError("%s is too long for a socket" % path)
    folder, _, name = path.rpartition("/")
    fd = os.open(folder, os.O_RDONLY)
    try:
        return call("/proc/self/fd/%d/%s" % (fd, name))
    finally:
        os.close(fd)


def _write(path, text):
    """Write a file completely or not at all."""
    draft = "%s.%d" % (path, os.getpid())
    with open(draft, "w") as file:
        file.write(text)
    os.rename(draft, path)


def _is_socket(path):
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


class Visitor(object):
    """A stub's connection to the agent: collects its fds and its request without waiting."""

    def __init__(self, sock):
        self.sock = sock
        self.fds = []
        self._data = b""
        self.version = self.verb = self.secret = self.epoch = self.config = None

    def readable(self):
        """Return True when the request is complete, False if more must come. ValueError, IOError: not a
        stub."""
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
        head = struct.unpack(">Hc32sQI", data[len(OPENING):HEAD])
        self.version, self.verb, self.secret, self.epoch, size = head
        if size > CONFIG_LIMIT:
            raise ValueError("a config of %d bytes" % size)
        self.config = data[HEAD:HEAD + size]
        return len(data) >= HEAD + size

    def answer(self, code, more=b""):
        try:
            self.sock.send(code + struct.pack(">H", wire.VERSION) + more)
        except _socket.error:
            pass

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.sock.close()


def knock(sock, verb, config):
    """Send the stub's request on a fresh connection. Return the agent's code and version, and what it keeps
    if it does not end for that; the code is empty if it hung up."""
    from binascii import unhexlify
    message = OPENING + struct.pack(">Hc32sQI", wire.VERSION, verb, unhexlify(config.secret), config.epoch,
                                    len(config.raw)) + config.raw
    try:
        send_fd(sock, 0, b"\0")
        send_fd(sock, 1, b"\0")
        while message:
            message = message[sock.send(message):]
        code, version = struct.unpack(">cH", _receive(sock, 3))
        kept = b""
        if code == b"P":
            kept = _receive(sock, struct.unpack(">H", _receive(sock, 2))[0])
    except (_socket.error, EOFError):
        return b"", 0, b""
    return code, version, kept


def sized(names):
    """Return names as they follow the code `P`."""
    names = names[:65535].decode("utf-8", "ignore").encode("utf-8")
    return struct.pack(">H", len(names)) + names


def _receive(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def accept(listener):
    """Return a visitor, or None."""
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
    """Whether the other end runs as our user; if the system cannot tell, the folder's mode protects us."""
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


def send_fd(sock, fd, byte):
    """Pass an fd with one byte: Python 2.7 can do no more, and chooses the byte itself."""
    if hasattr(sock, "sendmsg"):
        sock.sendmsg([byte], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))])
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
