"""An agent on a POSIX Python: one thread around poll().

Owns the link, the socket for stubs, and the order of work in a turn of the loop. Leaves frames to `core`,
credit to `stream` and processes to `family`. Never blocks: not on a write, a child or a stub.
"""
import os
import time

from agent import children, place, wire
from agent.children import set_cloexec, set_nonblocking
from agent.config import Config, hide
from agent.core import Core
from agent.family import SWEEP_LIMIT, Family
from agent.lifecycle import CANCEL_GRACE, signal
from agent.loop import AGAIN, BROKEN, IN, OUT, Loop, clock
from agent.wire import HEAD, MAX_DATA

CHECK_SOCKET = 60.0
CHECK_SOCKET_UNREACHED = 5.0
GIVE_UP = CANCEL_GRACE + SWEEP_LIMIT + 2
VISIT = 10.0
UNMET = 30.0  # seconds; an agent that received nothing has nothing that is worth a longer wait
VISITORS = 16
READ = 262144
AHEAD = 86400  # seconds by which clocks may differ

if hasattr(os, "writev"):
    def write_some(fd, buffers):
        """Write what fits of the buffers, and remove it from the list."""
        size = os.writev(fd, buffers[:64])
        done = 0
        for part in buffers:
            if size < len(part):
                break
            size -= len(part)
            done += 1
        del buffers[:done]
        if size:
            buffers[0] = memoryview(buffers[0])[size:]
else:
    def write_some(fd, buffers):
        """Write what fits of the buffers, and remove it from the list."""
        if len(buffers) > 1:
            buffers[:] = [b"".join([part if isinstance(part, bytes) else part.tobytes() for part in buffers])]
        size = os.write(fd, buffers[0])
        if size == len(buffers[0]):
            del buffers[:]
        else:
            buffers[0] = memoryview(buffers[0])[size:]


class Agent(object):
    """Runs until END, SIGTERM, or `linger` seconds without a link."""

    def __init__(self, config, here, listener, stub, settled, greeting):
        self.config = config
        self.here = here
        self.listener = listener
        self.done = False
        self.ended_by = None  # time at which processes that still run are given up
        self.link = None  # (fd to read, fd to write)
        self.met = False  # something has arrived
        self.stub = None
        self.outgoing = []
        self.more = False  # not all bytes that were read are handled
        self.leaving = False  # the link ends once everything is said
        self.visitors = {}
        self.child_ended = False
        self.looker = None
        self.settled = settled
        self.loop = Loop()
        self._wake_on_signals()
        self.born = now = clock()
        self.first_life = config.epoch >> 32
        self.spool = None
        self.core = Core(greeting.incarnation, greeting.hello, now, config.linger, greeting.resume,
                         os.getpid(), _calendar)
        self.family = Family(self.loop, self.core, settled.home, self._say)
        self._configure(config)
        if listener is not None:
            self.loop.arm(listener.fileno(), IN, self._on_listener, None)
            self.loop.after(CHECK_SOCKET_UNREACHED, self._check_socket)
        self._take_link(os.dup(0), os.dup(1), stub, config.epoch, now)
        self.core.greeted(greeting.size, greeting.told, greeting.complete, greeting.parsed)
        self.met = bool(greeting.parsed or greeting.arrived)
        if greeting.arrived:
            self._handle(greeting.arrived, now)
            self.more = True  # or what is to be done would wait for the next byte

    def _wake_on_signals(self):
        signal.signal(signal.SIGCHLD, self._on_sigchld)
        self.woken, self.wake = os.pipe()
        for fd in (self.woken, self.wake):
            set_cloexec(fd)
            set_nonblocking(fd)
        signal.set_wakeup_fd(self.wake)
        self.loop.arm(self.woken, IN, self._on_wake)

    def _configure(self, config):
        """Apply the config that the last stub brought."""
        self.config = config
        self.core.linger = config.linger
        self.family.configure(config)

    # --- the loop

    def run(self):
        try:
            self._run()
        except BaseException:
            self._tell_stub(_traceback())  # fd 2 is closed by now
            raise
        finally:
            self.family.kill()
            if self.here is not None:
                self.here.leave()

    def _run(self):
        core = self.core
        now = clock()
        self._flush(now)
        self._quiet()
        hide()
        children.adopt()
        children.prepare()
        loop, settled = self.loop, self.settled
        while not self.done:
            until = core.deadline()
            now = loop.turn(now if self.more else until)
            while loop.done and now < until and not self.more:
                now = loop.turn(until)
            if self.more:
                self._handle(b"", now)
            if self.child_ended:
                self.child_ended = False
                self._on_wake(None, now, IN)  # which saves a turn
                self.family.reap(now)
            if settled.terminated:
                settled.terminated = False
                core.end()
            if now >= until:
                core.tick(now)
            loop.due(now)
            if core.actions:
                self._act(now)
            if self.outgoing or core.wants_output(now) or self.leaving:
                self._flush(now)
            if self.ended_by is not None:
                self._maybe_done(now)

    def _on_wake(self, _, now, event):
        try:
            os.read(self.woken, 4096)
        except OSError:
            pass

    def _on_sigchld(self, number, frame):
        self.child_ended = True

    # --- the link

    def _take_link(self, read, write, stub, epoch, now):
        for fd in (read, write):
            set_cloexec(fd)
            set_nonblocking(fd)
        self.link = read, write
        self.narrow = set(self.link)  # pipes that have not carried much yet
        self.stub = stub
        self.outgoing = []
        self.more = self.leaving = False
        stub.setblocking(False)
        self.loop.arm(read, IN, self._on_link, None)
        self.loop.arm(write, 0, self._on_link_writable, None)
        self.loop.arm(stub.fileno(), IN, self._on_stub, None)
        self.core.attach(epoch, now, self.config.keeps and self.core.resume)

    def _drop_link(self, now, why=None):
        if self.link is None:
            return
        for fd in self.link:
            self.loop.close(fd)
        self.link = None
        self.outgoing = []
        self.more = False
        if why:
            self._tell_stub("execnet: the agent ended the link: %s\n" % why)
        stub, self.stub = self.stub, None
        self.loop.forget(stub.fileno())
        stub.close()
        if not self.met:
            self.core.linger = min(self.core.linger, UNMET)
        self.core.detach(now)
        if self.listener is None:
            self.core.end()  # no stub can reach us
        else:
            self._ensure_socket(now)

    def _on_link(self, _, now, event):
        if self.more:
            return
        try:
            data = os.read(self.link[0], READ)
        except OSError as error:
            if error.errno in AGAIN:
                return
            data = b""
        if not data:
            self._drop_link(now)
            return
        self.met = True
        if len(data) >= MAX_DATA:
            self._widen(self.link[0])
        process = self.core.stdin_of(data)
        if process is not None:
            return self._pass(process, data, now)
        self._handle(data, now)

    def _pass(self, process, data, now):
        """Write a whole frame's data to its process at once. Return whether that is all there is to do."""
        size = self.family.write(process, data[HEAD:])
        if size == len(data) - HEAD:
            return self.core.wrote(process, size + HEAD, now)
        self._handle(data, now)
        if size:
            self.core.stdin_taken(process, size)
        return False

    def _say(self, process, data, now):
        """As Family wants it."""
        if self.outgoing or self.more:
            return None
        frame = self.core.stdout_frame(process, data, now)
        if frame is None:
            return None
        try:
            size = os.write(self.link[1], frame)
        except OSError:
            size = 0  # what it means shows when it is written again
        if size == len(frame):
            return True
        self.outgoing = [frame[size:]]
        return False

    def _handle(self, data, now):
        try:
            self.more = self.core.handle_bytes(data, now)
        except wire.RemoteProtocolError as error:
            self._act(now)
            self._drop_link(now, "protocol error: %s" % error)

    def _on_link_writable(self, _, now, event):
        if event & BROKEN:
            self._drop_link(now)
        else:
            self._flush(now)

    def _tell_stub(self, words):
        """Send text that the stub writes to stderr."""
        try:
            if self.stub is not None:
                self.stub.send(wire.utf8(words))
        except EnvironmentError:
            pass

    def _on_stub(self, _, now, event):
        try:
            if self.stub.recv(64):
                return
        except EnvironmentError as error:
            if error.errno in AGAIN:
                return
        self._drop_link(now)

    def _flush(self, now):
        core = self.core
        while self.link is not None:
            outgoing = self.outgoing
            if not outgoing:
                if core.wants_output(now):
                    self.outgoing = outgoing = core.poll_output(now)
                if not outgoing:
                    self.loop.arm(self.link[1], 0)
                    if self.leaving:
                        self._drop_link(now)
                    return
            try:
                write_some(self.link[1], outgoing)
            except OSError as error:
                if error.errno not in AGAIN:
                    self._drop_link(now)
                    return
                self._widen(self.link[1])
                self.loop.arm(self.link[1], OUT)
                return

    def _widen(self, fd):
        """Give a busy link large pipes; an idle one leaves the user's share of pipe memory alone."""
        if fd in self.narrow:
            self.narrow.discard(fd)
            children.enlarge(fd)

    def _quiet(self):
        """Close fds 0 to 2: nobody is behind them any more."""
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)

    # --- stubs

    def _on_listener(self, _, now, event):
        visitor = place.accept(self.listener)
        if visitor is None:  # perhaps no fds are left: avoid a busy loop
            self.loop.disarm(self.listener.fileno())
            self.loop.after(1.0, self._listen_again)
            return
        fd = visitor.sock.fileno()
        if len(self.visitors) >= VISITORS:
            visitor.close()
            return
        self.visitors[fd] = visitor
        self.loop.arm(fd, IN, self._on_visitor, visitor)
        self.loop.after(VISIT, self._lose_visitor, visitor)

    def _listen_again(self, now):
        self.loop.arm(self.listener.fileno(), IN)

    def _lose_visitor(self, now, visitor):
        for fd, known in list(self.visitors.items()):
            if known is visitor:
                self._release_visitor(fd)
                visitor.close()

    def _release_visitor(self, fd):
        del self.visitors[fd]
        self.loop.forget(fd)

    def _on_visitor(self, visitor, now, event):
        fd = visitor.sock.fileno()
        try:
            complete = visitor.readable()
        except (ValueError, EnvironmentError) as error:
            if getattr(error, "errno", None) in AGAIN:
                return
            complete = False
            self._release_visitor(fd)
            visitor.close()
        if complete:
            self._release_visitor(fd)
            self._admit(visitor, now)

    def _admit(self, visitor, now):
        from binascii import unhexlify
        try:
            config = Config(visitor.config)
        except (KeyError, ValueError, wire.RemoteProtocolError):
            config = None
        if visitor.secret != unhexlify(self.config.secret):
            visitor.answer(b"S")
        elif visitor.verb == b"E" and self.core.keeps():
            names = wire.utf8(self.core.keeper.names_told())
            visitor.answer(b"P", place.sized(names))
        elif visitor.verb in (b"E", b"F"):
            visitor.answer(b"K")
            self._drop_link(now)
            self.core.end(True)
        elif visitor.version != wire.VERSION:
            visitor.answer(b"V")
        elif visitor.epoch <= self.core.epoch or visitor.epoch >> 32 > self._last_life(now):
            visitor.answer(b"O")
        elif config is not None and not self.core.ending:
            visitor.answer(b"K")
            self._drop_link(now)
            self._configure(config)
            (read, write), visitor.fds = visitor.fds, []
            self._take_link(read, write, visitor.sock, visitor.epoch, now)
            return
        visitor.close()

    def _last_life(self, now):
        """Return the highest life that a daemon can have by now: lives grow more slowly than seconds, and are
        seconds at most. Otherwise a thief of the secret could attach with a life that no daemon ever
        reaches."""
        return max(time.time(), self.first_life + now - self.born) + AHEAD

    def _check_socket(self, now):
        self._ensure_socket(now)
        if not self.core.ending:
            self.loop.after(CHECK_SOCKET if self.link else CHECK_SOCKET_UNREACHED, self._check_socket)

    def _ensure_socket(self, now):
        """Bind the socket again after a cleaner of /tmp removed it, or another account took our folder's
        name."""
        if self.core.ending or self.here.present() and self.here.owned():
            return
        try:
            if not self.here.owned():
                self.here.leave()
                if not self.here.lock():
                    if self.link is None:
                        self.core.end(True)  # another agent has our place, so no stub will come
                    return
                self.here.sign()
            listener = self.here.listen()
        except (place.PlaceError, EnvironmentError):
            return
        self.loop.forget(self.listener.fileno())
        self.listener.close()
        self.listener = listener
        self.loop.arm(listener.fileno(), IN, self._on_listener, None)

    # --- what the core wants

    def _act(self, now):
        core = self.core
        while core.actions:
            actions, core.actions = core.actions, []
            for action in actions:
                if action[0] == "end":
                    self._end(now)
                elif action[0] == "look":
                    self._look(action[1], now)
                elif action[0] == "drop":
                    self.leaving = True
                elif action[0] == "disk":
                    self._use_disk(action[1])
                else:
                    self.family.act(action, now)

    def _look(self, epoch, now):
        if self.looker is None:
            from agent.look import Looker
            self.looker = Looker(self.loop, self.core, self.family.env)
        self.looker.look(epoch, now)

    def _use_disk(self, request):
        if self.spool is None:
            from agent.spool import Spool
            self.spool = Spool(self.loop, self.core.keeper)
        self.spool.do(request)

    # --- our own end

    def _end(self, now):
        self.ended_by = now + GIVE_UP
        self.loop.after(GIVE_UP, self._maybe_done)
        if self.here is not None and self.here.owned():
            self.here.remove_socket()
        self.family.end_probes(now)
        self.family.end_spares()

    def _maybe_done(self, now):
        said = self.link is None or not self.outgoing and not self.core.wants_output(now)
        self.done = self.family.empty() and said or now >= self.ended_by


def _calendar():
    from agent import perils
    return perils.calendar()


def _traceback():
    import traceback
    return "execnet: the agent failed\n" + traceback.format_exc()
