"""The disk of rings: a child process that writes and reads unlinked files, behind pipes.

Loaded when output first goes to the disk. The agent's loop never touches a disk: it writes requests into one
pipe and reads answers from another, without waiting. The child answers in the order of the requests, and ends
when the agent does. `Spool` is the agent's side, `serve` the child's.
"""
import errno
import os
import struct

from agent import children
from agent.lifecycle import signal
from agent.loop import AGAIN, BROKEN, IN, OUT
from agent.stream import deque

STORE, LOAD, CLOSE = b"s", b"l", b"c"  # requests
STORED, LOADED, FAILED = b"S", b"L", b"F"  # answers
HEAD = struct.Struct(">cIQQI")  # what, number of the ring, size of its file, position, size
ANSWER = struct.Struct(">cIQI")  # what, number of the ring, position, size
READ = 262144
PATIENCE = 60.0  # seconds without an answer after which the disk is given up
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "rootfs")


class Spool(object):
    """Does what rings ask for. `keeper` hears of it."""

    def __init__(self, loop, keeper):
        self.loop = loop
        self.keeper = keeper
        self.numbers = {}  # ring: number
        self.rings = {}  # number: ring
        self.last = 0
        self.asked = deque()  # (ring, position, size of what is stored or None), in the order of the answers
        self.answers = 0
        self.watched = False
        self.outgoing = []
        self.incoming = b""
        self.gone = None  # why there is no child
        self.pid = None
        self._start()

    def do(self, request):
        """Do what the pool asked for."""
        kind, ring = request[0], request[1]
        number = self.numbers.get(ring)
        if number is None and kind != "close":
            self.last += 1
            number = self.numbers[ring] = self.last
            self.rings[number] = ring
        if kind == "close":
            if number is not None:
                del self.numbers[ring], self.rings[number]
                self._send(HEAD.pack(CLOSE, number, 0, 0, 0))
        elif self.gone is not None:
            if kind == "store":
                self.keeper.not_stored(ring, request[2], len(request[3]), self.gone)
            else:
                self.keeper.lost(ring, self.gone)
        elif kind == "store":
            position, data = request[2:]
            self.asked.append((ring, position, len(data)))
            self._send(HEAD.pack(STORE, number, ring.file_size(), position, len(data)), data)
        else:
            position, size = request[2:]
            self.asked.append((ring, position, None))
            self._send(HEAD.pack(LOAD, number, ring.file_size(), position, size))

    def _start(self):
        fds = []
        try:
            fds += children.with_fds(os.pipe)
            fds += children.with_fds(os.pipe)
            self.pid = os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            self.gone = "cannot start what writes to the disk: %s" % error.strerror
            return
        requests, ours_out, ours_in, answers = fds
        if self.pid == 0:
            try:
                _settle([requests, answers])
                serve(requests, answers)
            finally:
                os._exit(0)
        os.close(requests)
        os.close(answers)
        self.write, self.read = ours_out, ours_in
        for fd in (self.write, self.read):
            children.set_cloexec(fd)
            children.set_nonblocking(fd)
            children.enlarge(fd)
        self.loop.arm(self.read, IN, self._on_answer, None)
        self.loop.arm(self.write, 0, self._on_writable, None)

    def _send(self, *buffers):
        if self.gone is None:
            if self.asked and not self.watched:
                self.watched = True
                self.loop.after(PATIENCE, self._watch, self.answers)
            idle = not self.outgoing
            self.outgoing.extend(buffers)
            if idle:
                self._flush()

    def _on_writable(self, _, now, event):
        if event & BROKEN:
            self._lose("what wrote to the disk has ended")
        else:
            self._flush()

    def _flush(self):
        outgoing, done = self.outgoing, 0
        while done < len(outgoing):
            try:
                size = os.write(self.write, outgoing[done])
            except OSError as error:
                if error.errno not in AGAIN:
                    self.outgoing = []
                    self.loop.after(0, self._lose_later)
                    return
                self.loop.arm(self.write, OUT)
                break
            if size == len(outgoing[done]):
                done += 1
            else:
                outgoing[done] = memoryview(outgoing[done])[size:]
        else:
            self.loop.arm(self.write, 0)
        del outgoing[:done]

    def _watch(self, now, answers):
        """Do not let processes wait for a disk that has stopped."""
        self.watched = False
        if self.gone is None and self.asked:
            if self.answers == answers:
                children.kill(self.pid, signal.SIGKILL)
                self._lose("the disk has not answered for %d s" % PATIENCE)
            else:
                self.watched = True
                self.loop.after(PATIENCE, self._watch, self.answers)

    def _lose_later(self, now):
        self._lose("what wrote to the disk has ended")

    def _on_answer(self, _, now, event):
        try:
            data = os.read(self.read, READ)
        except OSError as error:
            if error.errno in AGAIN:
                return
            data = b""
        if not data:
            self._lose("what wrote to the disk has ended")
            return
        data, at = self.incoming + data, 0
        while len(data) - at >= ANSWER.size:
            what, number, position, size = ANSWER.unpack(data[at:at + ANSWER.size])
            end = at + ANSWER.size + (0 if what == STORED else size)
            if end > len(data):
                break
            self._answered(what, data[at + ANSWER.size:end])
            at = end
        self.incoming = data[at:]

    def _answered(self, what, data):
        self.answers += 1
        ring, position, size = self.asked.popleft()
        if what == STORED:
            self.keeper.stored(ring, position, size)
        elif what == LOADED:
            self.keeper.loaded(ring, position, data)
        elif size is not None:
            self.keeper.not_stored(ring, position, size, data.decode("utf-8", "replace"))
        else:
            self.keeper.lost(ring, data.decode("utf-8", "replace"))

    def _lose(self, why):
        """The child is gone, and with it what it held."""
        if self.gone is not None:
            return
        self.gone = why
        self.loop.close(self.read)
        self.loop.close(self.write)
        self.outgoing, self.incoming = [], b""
        asked, self.asked = self.asked, deque()
        for ring, position, size in asked:
            if size is not None:
                self.keeper.not_stored(ring, position, size, why)
        for ring in list(self.rings.values()):
            self.keeper.lost(ring, why)


# --- the child


def _settle(fds):
    """Become a process of its own, with nothing of the agent's but these fds."""
    os.setsid()
    for name in ("SIGTERM", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    try:
        opened = [int(name) for name in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        opened = range(4096)
    for fd in opened:
        if fd > 2 and fd not in fds:
            try:
                os.close(fd)
            except OSError:
                pass


def serve(requests, answers):
    """Answer requests until their end."""
    files = {}
    while True:
        head = _receive(requests, HEAD.size)
        if head is None:
            return
        what, number, modulus, position, size = HEAD.unpack(head)
        data = _receive(requests, size) if what == STORE else b""
        if data is None:
            return
        if what == CLOSE:
            if number in files:
                os.close(files.pop(number))
            continue
        try:
            if number not in files:
                files[number] = _open()
            if what == STORE:
                _at(files[number], modulus, position, data, None)
                answer = ANSWER.pack(STORED, number, position, size)
            else:
                data = _at(files[number], modulus, position, None, size)
                answer = ANSWER.pack(LOADED, number, position, len(data)) + data
        except EnvironmentError as error:
            words = error.strerror or "%s" % error
            if error.filename:
                words = "%s: %s" % (error.filename, words)
            words = words if isinstance(words, bytes) else words.encode("utf-8", "replace")
            answer = ANSWER.pack(FAILED, number, position, len(words)) + words
        while answer:
            answer = answer[os.write(answers, answer):]


def _receive(fd, size):
    parts = []
    while size:
        part = os.read(fd, min(size, READ))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _at(fd, modulus, position, data, size):
    """Write `data` at its place, or return what stands there."""
    found, size = [], len(data) if data is not None else size
    done = 0
    while done < size:
        at = (position + done) % modulus
        part = min(size - done, modulus - at)
        os.lseek(fd, at, os.SEEK_SET)
        if data is None:
            read = os.read(fd, part)
            if not read:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            found.append(read)
            done += len(read)
        else:
            done += os.write(fd, data[done:done + part])
    return b"".join(found)


def _open():
    """Return a fresh file without a name, on a disk."""
    from binascii import hexlify

    from agent import place
    why = None
    for folder in folders(os.environ, os.geteuid()):
        try:
            if not is_on_disk(folder):
                raise place.PlaceError("%s is in memory" % folder)
            made = not os.path.isdir(folder)
            if not place.make(folder, True):
                continue
            path = "%s/%s" % (folder, hexlify(os.urandom(8)).decode("ascii"))
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
            os.unlink(path)
            if made:
                try:
                    os.rmdir(folder)
                except OSError:
                    pass  # somebody else has something there by now
            return fd
        except (place.PlaceError, EnvironmentError) as error:
            words = "%s" % error
            if isinstance(error, EnvironmentError):
                words = "%s: %s" % (folder, error.strerror)
            why = why or words
    raise OSError(errno.ENOENT, why or "there is no folder on a disk")


def folders(env, uid):
    """Return the folders for files, best first."""
    found = []
    for above in (env.get("XDG_CACHE_HOME", ""), env.get("HOME", "") + "/.cache"):
        if above[:1] == "/" and above != "/.cache":
            found.append(above + "/execnet")
    return found + ["/var/tmp/execnet-%d" % uid]


def is_on_disk(folder, mounts="/proc/self/mounts"):
    """Whether this folder, which need not be there yet, is on a disk."""
    try:
        with open(mounts, "rb") as file:
            lines = file.read().splitlines()
    except EnvironmentError:
        return True
    path = os.path.realpath(folder)
    best, kind = "", ""
    for line in lines:
        words = line.split(b" ")
        if len(words) < 3:
            continue
        at = words[1].decode("latin-1").replace("\\040", " ")
        # of two that are mounted on one folder the later one counts
        if (path + "/").startswith(at.rstrip("/") + "/") and len(at) >= len(best):
            best, kind = at, words[2].decode("latin-1")
    return kind not in IN_MEMORY

