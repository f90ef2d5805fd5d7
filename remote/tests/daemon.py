"""A stand-in for the daemon, for the end-to-end tests: boots an agent under a given Python and speaks frames
with it.

CPython 3.9 or later. Blocking, one reader thread per link.
"""
import glob
import hashlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "tools"), os.path.dirname(HERE)]

import bundle  # noqa: E402
from agent import wire  # noqa: E402


def payload(*replaced):
    """Return what is sent to a host, with other limits in its source: pairs of old and new."""
    return bundle.stage1() + bundle.bundle(list(replaced))


PAYLOAD = payload()
# with these limits, a process that ends did so by itself
PATIENT = payload(("HANGUP_GRACE = 5.0", "HANGUP_GRACE = 9e5"))
TIMEOUT = 300  # seconds; a limit for hangs: on a busy machine everything takes ten times as long
LIFE = 1 << 32


class Timeout(Exception):
    pass


class Link:
    """One link to an agent."""

    def __init__(self, python, key="00112233aabbccdd", secret="ab" * 32, epoch=1 << 32 | 1,
                 linger=2 * TIMEOUT, config=(),
                 candidates=None, env=None, cwd=None, payload=PAYLOAD, auto_ack=True, wrap="{}",
                 version=wire.VERSION, features=b""):
        self.secret, self.key, self.epoch = secret, key, epoch
        script = bundle.script(candidates or [python])
        self.marker = wire.MARKER[:-2] + b"\0" + bytes([version])
        self.process = subprocess.Popen(["sh", "-c", wrap.replace("{}", script)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0, env=env, cwd=cwd)
        table = [("network", b"test"), ("host", b"h"), ("key", key.encode()), ("secret", secret.encode()),
                 ("epoch", b"%d" % epoch), ("linger", b"%d" % linger), ("agent", b""), ("features", features)]
        table += [(k, v if isinstance(v, bytes) else v.encode()) for k, v in (config or [("node.n1", "")])]
        data = wire.encode_table(table)
        self.parser = wire.Parser()
        self.frames = queue.Queue()
        self.noise = b""
        self.stderr = b""
        self.auto_ack = auto_ack
        self.lock = threading.Lock()
        self.backlog = []
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_stderr, daemon=True)]
        for thread in self.threads:
            thread.start()
        try:
            self._write(payload + b"%08d" % len(data) + data)
        except OSError:
            pass

    # --- raw

    def _write(self, data):
        with self.lock:
            view = memoryview(data)
            while view:
                view = view[self.process.stdin.write(view):]

    def _read(self):
        fd = self.process.stdout.fileno()
        data = b""
        marked = False
        acked = 0
        while True:
            try:
                part = os.read(fd, 262144)
            except OSError:
                part = b""
            if not part:
                break
            if not marked:
                data += part
                at = data.find(self.marker)
                if at < 0:
                    continue
                self.noise = data[:at]
                part = data[at + len(self.marker):]
                marked = True
            for frame in self.parser.feed(part):
                self.frames.put(frame)
            if self.auto_ack and self.parser.parsed - acked >= 32768:
                acked = self.parser.parsed
                try:
                    self.send(wire.ACK, bytes=acked)
                except (OSError, ValueError):
                    pass
        if not marked:
            self.noise = data
        self.frames.put((None, None))

    def _read_stderr(self):
        while True:
            part = os.read(self.process.stderr.fileno(), 65536)
            if not part:
                return
            self.stderr += part

    def send(self, kind, **fields):
        self._write(wire.frame(kind, **fields))

    def data(self, id, position, data):
        self._write(wire.data_header(id, 0, position, len(data)) + data)

    def next(self, timeout=TIMEOUT):
        """Return the next frame as (kind, fields); kind is None at the end of the link."""
        if self.backlog:
            return self.backlog.pop(0)
        return self._next(timeout)

    def _next(self, timeout):
        try:
            if timeout <= 0:
                raise queue.Empty
            kind, body = self.frames.get(timeout=timeout)
        except queue.Empty:
            raise Timeout("no frame; noise %r stderr %r" % (self.noise, self.stderr)) from None
        if kind is None:
            self.frames.put((None, None))  # the link stays ended, for every wait that follows
            return None, {}
        return kind, wire.decode(kind, body)

    def wait(self, kind, timeout=TIMEOUT, **match):
        """Return the next frame of this kind; keep the others for later."""
        for at, (known, fields) in enumerate(self.backlog):
            if known == kind and all(fields[k] == v for k, v in match.items()):
                return self.backlog.pop(at)[1]
        deadline = time.monotonic() + timeout
        while True:
            known, fields = self._next(deadline - time.monotonic())
            if known == kind and (known is None or all(fields[k] == v for k, v in match.items())):
                return fields
            if known is None:
                raise Timeout("the link ended; noise %r stderr %r" % (self.noise, self.stderr))
            self.backlog.append((known, fields))

    def hello(self):
        self.info = self.wait(wire.HELLO)
        assert self.info["epoch"] == self.epoch, self.info
        self.incarnation = self.info["incarnation"]
        self.table = dict(self.info["table"])
        return self.info

    def nodes(self):
        found = {}
        while True:
            kind, fields = self._next(TIMEOUT)
            if kind == wire.NODE:
                found[fields["name"]] = fields["state"], dict(fields["table"])
            elif kind == wire.NODES:
                return found
            elif kind is None:
                raise Timeout("the link ended; noise %r stderr %r" % (self.noise, self.stderr))
            else:
                self.backlog.append((kind, fields))

    def raw(self, data):
        self._write(data)

    def cut(self):
        """Close our side, as when the daemon dies. Return the exit status of the script."""
        self.process.stdin.close()
        return self._ended()

    def kill(self):
        """Send SIGKILL to the script and the stub, as when ssh dies; bytes under way are lost."""
        agent = self.info["pid"]
        found = children(self.process.pid)
        spared = [agent] + children(agent)  # looked up last: it may start something meanwhile
        for pid in [pid for pid in found if pid not in spared][::-1] + [self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # the process has ended meanwhile
        self.process.wait()
        self.close()

    def close(self):
        """Wait for the script, and read the rest of stderr."""
        self._ended()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except OSError:
                pass

    def end(self):
        self.send(wire.END)
        while self._next(TIMEOUT)[0] is not None:
            pass
        return self._ended()

    def _ended(self):
        """Return the exit status of the script, once all its output was read."""
        status = self.process.wait(TIMEOUT)
        for thread in self.threads:
            thread.join(TIMEOUT)
            if thread.is_alive():
                raise Timeout("still open: %s" % "; ".join(self._holders()))
        return status

    def _holders(self):
        """Return the processes that have the other end of one of our pipes."""
        pipes = [os.readlink("/proc/self/fd/%d" % pipe.fileno())
                 for pipe in (self.process.stdout, self.process.stderr)]
        for folder in glob.glob("/proc/[0-9]*"):
            try:
                held = [os.readlink(fd) for fd in glob.glob(folder + "/fd/*")]
                if folder != "/proc/%d" % os.getpid() and set(pipes) & set(held):
                    with open(folder + "/cmdline") as file:
                        yield folder + " " + file.read().replace("\0", " ")[:300]
            except OSError:
                pass  # the process has ended meanwhile

    # --- a process

    def spawn(self, *argv, id=None, node="n1", attempt=1, role=0, limit=1 << 20, env=(), chdir="",
              incarnation=None, owner=b"o" * 16, options=()):
        id = id or os.urandom(16)
        self.send(wire.SPAWN, id=id, attempt=attempt, incarnation=incarnation or self.incarnation,
                  owner=owner,
                  role=role, stdout_limit=limit, stderr_limit=limit, host="h", node="" if role == 1 else node,
                  chdir=chdir, argv=[a if isinstance(a, bytes) else a.encode() for a in argv],
                  env=[(k, v.encode()) for k, v in env], options=list(options))
        return id

    def finish(self, id, timeout=TIMEOUT, release=True, got=None):
        """Return everything until EXIT: (how, value, stdout, stderr, message). Grants credit as data arrives;
        `got` was received before."""
        got = {1: b"", 2: b"", **(got or {})}
        for stream in (1, 2):
            if got[stream]:
                self._credit(id, stream, len(got[stream]))
        exit = None
        deadline = time.monotonic() + timeout
        queue, self.backlog = self.backlog, []
        while exit is None or len(got[1]) < exit["stdout_length"] or len(got[2]) < exit["stderr_length"]:
            kind, fields = queue.pop(0) if queue else self._next(deadline - time.monotonic())
            if kind is None:
                raise Timeout("the link ended; stderr %r" % self.stderr)
            if fields.get("id") != id:
                self.backlog.append((kind, fields))
            elif kind == wire.DATA:
                stream = fields["stream"]
                assert fields["position"] == len(got[stream]), (fields["position"], len(got[stream]))
                got[stream] += fields["data"]
                self._credit(id, stream, len(got[stream]))
            elif kind == wire.EXIT:
                exit = fields
        self.backlog += queue
        if release:
            self.send(wire.RELEASE, id=id)
            self.wait(wire.FORGET, id=id)
        return exit["how"], exit["value"], got[1], got[2], exit["message"]

    def _credit(self, id, stream, received):
        self.send(wire.CREDIT, id=id, stream=stream, received=received, limit=received + (1 << 20))

    def run(self, *argv, stdin=b"", **how):
        id = self.spawn(*argv, **how)
        if stdin:
            self.data(id, 0, stdin)
        self.send(wire.FIN, id=id, stream=0, length=len(stdin))
        return self.finish(id)


def children(pid):
    """Return the processes that this one started, and those that they started, even if threads and processes
    end meanwhile."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as file:
                    parents.setdefault(int(file.read().rpartition(")")[2].split()[1]), []).append(int(name))
            except (IOError, OSError):
                continue
    found = list(parents.get(pid, ()))
    for child in found:
        found += parents.get(child, ())
    return found


def sha(data):
    return hashlib.sha256(data).hexdigest()
