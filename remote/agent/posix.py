"""The loop of an agent on a POSIX Python: one thread around poll().

Owns every fd: the link, the socket for stubs, the pipes of processes; and every timer. Decides nothing about frames
(core) or credit (stream). Never blocks: not on a write, not on a child, not on a stub.
"""
import errno
import os
import select
import sys
import time

from agent import children, place, wire
from agent.children import set_cloexec, set_nonblocking, signal
from agent.core import EXITED, KILLED, Core
from agent.wire import CHUNK, STDERR, STDIN, STDOUT

IN, OUT = select.POLLIN, select.POLLOUT
BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL
HANGUP_GRACE = 5.0  # from SIGHUP to SIGKILL
SWEEP_GRACE = 0.2  # the same for what a leader leaves behind
SWEEP_LIMIT = 5.0  # then what cannot be killed is left alone
CHECK_SOCKET = 60.0
CHECK_SOCKET_UNREACHED = 5.0
VISIT = 10.0
VISITORS = 16
LARGE_PIPES = 16
READ = 131072
AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)

if hasattr(time, "monotonic"):
    clock = time.monotonic
else:
    _drift = [os.times()[4] - time.time()]

    def clock():
        """time.time(), with its jumps taken out by comparing it with os.times()."""
        steady = os.times()[4]
        fine = time.time() + _drift[0]
        if abs(fine - steady) > 1:
            _drift[0] += steady - fine
            return steady
        return fine

if hasattr(os, "writev"):
    def write_some(fd, buffers):
        """Write what fits of the list of buffers, and take it off the list."""
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
        """Write what fits of the list of buffers, and take it off the list."""
        if len(buffers) > 1:
            buffers[:] = [b"".join([part if isinstance(part, bytes) else part.tobytes() for part in buffers])]
        size = os.write(fd, buffers[0])
        if size == len(buffers[0]):
            del buffers[:]
        else:
            buffers[0] = memoryview(buffers[0])[size:]


class Agent(object):
    """Runs until END, SIGTERM, or nobody came for `linger` seconds."""

    def __init__(self, config, here, listener, stub, settled, greeting):
        self.config = config
        self.here = here
        self.listener = listener
        self.done = False
        self.ended_by = None  # when what still runs is given up
        self.link = None  # (fd to read, fd to write)
        self.stub = None
        self.outgoing = []
        self.visitors = {}
        self.by_pid = {}
        self.sweeping = []
        self.sweep_due = False
        self.timers = []
        self.large = 0
        self.child_ended = False
        self.poll = select.poll()
        self.armed = {}
        self.handlers = {}
        self.fresh = set()  # fds that got their handler in this round: events of the round are not theirs
        self.settled = settled
        self.home = settled.home
        self._wake_on_signals()
        now = clock()
        self.core = Core(greeting.incarnation, greeting.hello, now, config.linger, greeting.resume, os.getpid())
        self.nodes = None
        self._configure(config)
        if listener is not None:
            self._arm(listener.fileno(), IN, self._on_listener, None)
            self._after(CHECK_SOCKET_UNREACHED, self._check_socket)
        self._take_link(os.dup(0), os.dup(1), stub, config.epoch, now)
        self.core.greeted(greeting.size)

    def _wake_on_signals(self):
        signal.signal(signal.SIGCHLD, self._on_sigchld)
        wake, self.wake = os.pipe()
        for fd in (wake, self.wake):
            set_cloexec(fd)
            set_nonblocking(fd)
        signal.set_wakeup_fd(self.wake)
        self._arm(wake, IN, self._on_wake, wake)

    def _configure(self, config):
        """A config as the last stub brought it."""
        from agent import nodes
        self.config = config
        self.core.linger = config.linger
        self.env = children.environ()
        self.env.update(config.env)
        self.nodes = nodes.Nodes(config.nodes, self.nodes, self.core, self.env)
        self._probe()

    # --- the loop

    def run(self):
        try:
            self._run()
        except BaseException:
            self._tell_stub(_traceback())  # fd 2 is not ours any more
            raise
        finally:
            for child in self.by_pid.values():
                children.kill(-child.pid, signal.SIGKILL)
            self._leave()

    def _run(self):
        core = self.core
        now = clock()
        self._flush(now)
        self._quiet()
        children.adopt()
        poll, handlers = self.poll, self.handlers
        while not self.done:
            now = clock()
            when = min([core.deadline()] + [timer[0] for timer in self.timers])
            try:
                events = poll.poll(max(0, min(when - now, 3600.0)) * 1000 + 1)
            except (OSError, select.error) as error:
                if error.args[0] != errno.EINTR:
                    raise
                events = []
            now = clock()
            self.fresh.clear()
            for fd, event in events:
                handler = handlers.get(fd)
                if handler is not None and fd not in self.fresh:  # it may have been closed, even opened anew
                    handler[0](handler[1], now, event)
            if self.child_ended:
                self._reap(now)
            if self.settled.terminated and not core.ending:
                core.end()
            core.tick(now)
            self._timers(now)
            self._act(now)
            self._flush(now)
            self._maybe_done(now)

    def _arm(self, fd, events, handler=None, what=None):
        if handler is not None:
            self.handlers[fd] = handler, what
            self.fresh.add(fd)
        if self.armed.get(fd) != events:
            self.armed[fd] = events
            self.poll.register(fd, events)

    def _disarm(self, fd):
        """Not even errors are wanted; for a fd that may be armed again."""
        if self.armed.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def _close(self, fd):
        self._disarm(fd)
        self.handlers.pop(fd, None)
        os.close(fd)

    def _after(self, delay, what, *args):
        self.timers.append((clock() + delay, what, args))

    def _timers(self, now):
        due = [timer for timer in self.timers if timer[0] <= now]
        if due:
            self.timers = [timer for timer in self.timers if timer[0] > now]
            for _, what, args in due:
                what(now, *args)

    def _on_wake(self, fd, now, event):
        try:
            os.read(fd, 4096)
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
        self.narrow = set(self.link)  # pipes that did not carry much yet
        self.stub = stub
        self.outgoing = []
        stub.setblocking(False)
        self._arm(read, IN, self._on_link, None)
        self._arm(write, 0, self._on_link_writable, None)
        self._arm(stub.fileno(), IN, self._on_stub, None)
        self.core.attach(epoch, now)

    def _drop_link(self, now, why=None):
        if self.link is None:
            return
        for fd in self.link:
            self._close(fd)
        self.link = None
        self.outgoing = []
        if why:
            self._tell_stub("execnet: the agent ended the link: %s\n" % why)
        stub, self.stub = self.stub, None
        self._disarm(stub.fileno())
        self.handlers.pop(stub.fileno(), None)
        stub.close()
        self.core.detach(now)
        if self.listener is None:
            self.core.end()  # nobody can come back
        else:
            self._ensure_socket(now)

    def _on_link(self, _, now, event):
        try:
            data = os.read(self.link[0], READ)
        except OSError as error:
            if error.errno in AGAIN:
                return
            data = b""
        if not data:
            self._drop_link(now)
            return
        if len(data) >= CHUNK:
            self._widen(self.link[0])
        try:
            self.core.handle_bytes(data, now)
        except wire.RemoteProtocolError as error:
            self._act(now)
            self._drop_link(now, "protocol error: %s" % error)

    def _on_link_writable(self, _, now, event):
        if event & BROKEN:
            self._drop_link(now)
        else:
            self._flush(now)

    def _tell_stub(self, words):
        """What the stub writes to stderr: the only words of ours that are not frames."""
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
        while self.link is not None:
            outgoing = self.outgoing
            if not outgoing:
                if self.core.wants_output(now):
                    self.outgoing = outgoing = self.core.poll_output(now)
                if not outgoing:
                    self._arm(self.link[1], 0)
                    return
            try:
                write_some(self.link[1], outgoing)
            except OSError as error:
                if error.errno not in AGAIN:
                    self._drop_link(now)
                    return
                self._widen(self.link[1])
                self._arm(self.link[1], OUT)
                return

    def _widen(self, fd):
        """A link that carries much gets large pipes; an idle one leaves the user's share of pipe memory alone."""
        if fd in self.narrow:
            self.narrow.discard(fd)
            children.enlarge(fd)

    def _quiet(self):
        """From here on there is nobody behind fds 0 to 2."""
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        if null > 2:
            os.close(null)

    # --- stubs

    def _on_listener(self, _, now, event):
        visitor = place.accept(self.listener)
        if visitor is None:
            return
        fd = visitor.sock.fileno()
        if len(self.visitors) >= VISITORS:
            visitor.close()
            return
        self.visitors[fd] = visitor
        self._arm(fd, IN, self._on_visitor, visitor)
        self._after(VISIT, self._lose_visitor, visitor)

    def _lose_visitor(self, now, visitor):
        for fd, known in list(self.visitors.items()):
            if known is visitor:
                self._release_visitor(fd)
                visitor.close()

    def _release_visitor(self, fd):
        del self.visitors[fd]
        self._disarm(fd)
        self.handlers.pop(fd, None)

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
        from agent.stub import Config
        from binascii import unhexlify
        if visitor.secret != unhexlify(self.config.secret):
            visitor.answer(b"S")
        elif visitor.verb == b"E":
            visitor.answer(b"K")
            self._drop_link(now)
            self.core.end()
        elif visitor.version != wire.VERSION:
            visitor.answer(b"V")
        elif visitor.epoch <= self.core.epoch:
            visitor.answer(b"O")
        else:
            config = Config(visitor.config)
            visitor.answer(b"K")
            self._drop_link(now)
            (read, write), visitor.fds = visitor.fds, []
            self._take_link(read, write, visitor.sock, visitor.epoch, now)
            self._configure(config)
            return
        visitor.close()

    def _check_socket(self, now):
        self._ensure_socket(now)
        if not self.core.ending:
            self._after(CHECK_SOCKET if self.link else CHECK_SOCKET_UNREACHED, self._check_socket)

    def _ensure_socket(self, now):
        """A cleaner of /tmp must not make the agent unreachable."""
        if self.core.ending or self.here.present() and self.here.owned():
            return
        try:
            if not self.here.owned():
                self.here.unlock()
                if not self.here.lock():
                    if self.link is None:
                        self.core.end()  # another agent has our place, nobody will come
                    return
            listener = self.here.listen()
        except (place.PlaceError, EnvironmentError):
            return
        fd = self.listener.fileno()
        self._disarm(fd)
        self.handlers.pop(fd, None)
        self.listener.close()
        self.listener = listener
        self._arm(listener.fileno(), IN, self._on_listener, None)

    # --- what the core wants

    def _act(self, now):
        core = self.core
        while core.actions:
            actions, core.actions = core.actions, []
            for action in actions:
                kind, process = action[0], action[1] if len(action) > 1 else None
                child = process and process.child
                if kind == "start":
                    self._start(process, action[2])
                elif kind == "end":
                    self._end(now)
                elif child is None:
                    continue
                elif kind == "stdin":
                    if child.stdin is not None:
                        self._feed(child)
                elif kind == "read":
                    if child.outs[action[2]] is not None:
                        self._want(child, action[2], now)
                elif kind == "close":
                    self._close_out(child, action[2])
                elif kind == "signal":
                    if child.started:
                        children.send(child, action[2])
                    else:
                        child.early.extend(action[2])
                elif kind == "release":
                    self._hang_up(child)

    def _start(self, process, spawn):
        command = self.nodes.command(spawn["node"]) if not process.tunnel else []
        if isinstance(command, str):
            self.core.not_started(process, errno.ENOENT, command)
            return
        env = dict(self.env)
        env.update([(wire.utf8(key), value) for key, value in spawn["env"]])
        mark = None
        if not process.tunnel:
            from binascii import hexlify
            mark = env[children.MARK] = hexlify(process.id)
        chdir = wire.utf8(spawn["chdir"]) or self.config.chdir
        argv = [wire.utf8(word) for word in command] + spawn["argv"]
        child = self._launch(process, argv, env, chdir, mark, self.config.nice)
        if child is not None:
            process.child = child

    def _launch(self, process, argv, env, chdir, mark, nice):
        home = self.home
        if chdir and not chdir.startswith(b"/"):
            if chdir[:1] == b"~":
                chdir = wire.utf8(os.path.expanduser(chdir))
            elif home:
                chdir = wire.utf8(home) + b"/" + chdir
        try:
            child = children.start(argv, env, chdir or home and wire.utf8(home), nice, mark)
        except EnvironmentError as error:
            if process is not None:
                self.core.not_started(process, error.errno or 0, "cannot start a process: %s" % error.strerror)
            return None
        child.process = process
        self.by_pid[child.pid] = child
        self._arm(child.error, IN, self._on_error_pipe, child)
        self._arm(child.stdin, 0, self._on_stdin, child)
        self._arm(child.outs[STDOUT], IN, self._on_stdout, child)
        self._arm(child.outs[STDERR], IN, self._on_stderr, child)
        return child

    # --- a child's pipes

    def _on_error_pipe(self, child, now, event=IN):
        """EOF without a word: the exec worked."""
        try:
            said = os.read(child.error, 4096)
        except OSError as error:
            if error.errno in AGAIN:
                return
            said = b""
        child.error_said += said
        if said:
            return
        self._close(child.error)
        child.error = None
        child.started = not child.error_said
        if child.process is None:
            return
        if child.started:
            self.core.started(child.process, child.pid)
            children.send(child, child.early)
        else:
            number, _, words = wire.text(child.error_said).partition(" ")
            self.core.not_started(child.process, int(number), words)
            self._let_go(child)

    def _on_stdin(self, child, now, event):
        if event & BROKEN or child.process is None:
            self._stdin_closed(child)
        else:
            self._feed(child)

    def _feed(self, child):
        """Write to its stdin what there is."""
        process = child.process
        stdin = process.stdin
        fd = child.stdin
        while stdin.chunks:
            chunk = stdin.chunks[0]
            try:
                size = os.write(fd, chunk)
            except OSError as error:
                if error.errno in AGAIN:
                    self._arm(fd, OUT)
                else:
                    self._stdin_closed(child)
                return
            if size == CHUNK:
                self._enlarge(child, fd)
            self.core.stdin_taken(process, size)
        if stdin.done():
            self._close(fd)
            child.stdin = None
        else:
            self._arm(fd, 0)

    def _stdin_closed(self, child):
        if child.stdin is not None:
            self._close(child.stdin)
            child.stdin = None
        if child.process is not None:
            self.core.stdin_closed(child.process)

    def _on_stdout(self, child, now, event):
        self._read(child, STDOUT, now)

    def _on_stderr(self, child, now, event):
        self._read(child, STDERR, now)

    def _read(self, child, stream, now):
        """One read. True when another may bring more at once."""
        fd = child.outs[stream]
        process = child.process
        room = process.outs[stream].room() if process is not None else child.probe.room(stream)
        if room <= 0:
            self._disarm(fd)
            return False
        try:
            data = os.read(fd, CHUNK if room > CHUNK else room)
        except OSError as error:
            if error.errno in AGAIN:
                if child.draining:
                    self._close_out(child, stream)
                return False
            data = b""
        if not data:
            self._close_out(child, stream)
            return False
        if process is None:
            child.probe.put(stream, data)
            return True
        if len(data) == CHUNK:
            self._enlarge(child, fd)
        self.core.child_output(process, stream, data)
        if room == len(data):
            self._disarm(fd)
            return False
        return True

    def _want(self, child, stream, now):
        """There is room for this output."""
        if child.draining:
            while child.outs[stream] is not None and self._read(child, stream, now):
                pass
        fd = child.outs[stream]
        if fd is not None:
            self._arm(fd, IN)

    def _close_out(self, child, stream):
        fd = child.outs[stream]
        if fd is not None:
            self._close(fd)
            child.outs[stream] = None
        if child.process is not None:
            self.core.child_output_closed(child.process, stream)

    def _enlarge(self, child, fd):
        if not child.large and self.large < LARGE_PIPES:
            child.large = True
            self.large += 1
            for each in [child.stdin] + list(child.outs.values()):
                if each is not None:
                    children.enlarge(each)

    # --- the end of a child

    def _reap(self, now):
        self.child_ended = False
        ended = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                break
            if pid == 0:
                break
            child = self.by_pid.pop(pid, None)
            if child is not None:
                child.alive = False
                child.status = status
                ended.append(child)
        for child in ended:
            while child.error is not None:
                before = child.error_said
                self._on_error_pipe(child, now)
                if child.error is not None and child.error_said == before:
                    break
            child.sweep_until = now + SWEEP_LIMIT
            self.sweeping.append(child)
        self._sweep(now)

    def _sweep(self, now):
        if not self.sweeping:
            return
        still = []
        for child in self.sweeping:
            hard = child.nudged and now > child.sweep_until - SWEEP_LIMIT + SWEEP_GRACE
            left = children.sweep(child, self.by_pid, signal.SIGKILL if hard else signal.SIGHUP if not child.nudged else 0)
            if left and not child.nudged:
                children.sweep(child, self.by_pid, signal.SIGCONT)
            child.nudged = True
            if left and now < child.sweep_until:
                still.append(child)
            else:
                self._drain(child, now)
        self.sweeping = still
        if still and not self.sweep_due:
            self.sweep_due = True
            self._after(0.02, self._sweep_again)

    def _sweep_again(self, now):
        self.sweep_due = False
        self._reap(now)

    def _drain(self, child, now):
        """Nobody is left to write: what the pipes hold is the rest."""
        if child.gone:
            return
        child.draining = True
        process = child.process
        if process is not None:
            if os.WIFSIGNALED(child.status):
                self.core.child_exited(process, KILLED, children.linux_number(os.WTERMSIG(child.status)))
            else:
                self.core.child_exited(process, EXITED, os.WEXITSTATUS(child.status))
        if child.stdin is not None:
            self._close(child.stdin)
            child.stdin = None
        for stream in (STDOUT, STDERR):
            if child.outs[stream] is not None:
                self._want(child, stream, now)
                if child.outs[stream] is not None and _is_empty(child.outs[stream]):
                    self._close_out(child, stream)
        if child.probe is not None:
            self.nodes.answered(child.probe, children.end_in_words(child.status), child.error_said)
            child.probe = None
            self._let_go(child)
            self._probe()
        elif child.process is None:
            self._let_go(child)

    def _hang_up(self, child):
        """The core forgot it: no stdio, SIGHUP, and later SIGKILL."""
        if child.process is not None:
            child.process.child = None
        self._let_go(child)
        if child.alive:
            children.kill(-child.pid, signal.SIGHUP if child.started else signal.SIGKILL)
            children.kill(-child.pid, signal.SIGCONT)
            if not child.started:
                children.kill(child.pid, signal.SIGKILL)
            self._after(HANGUP_GRACE, self._kill, child)

    def _kill(self, now, child):
        if child.alive:
            children.kill(-child.pid, signal.SIGKILL)
            children.kill(child.pid, signal.SIGKILL)

    def _let_go(self, child):
        """Close what is open of it. Its end is still looked after."""
        child.process = None
        for fd in [child.stdin, child.error] + list(child.outs.values()):
            if fd is not None:
                self._close(fd)
        child.stdin = child.error = None
        child.outs = {STDOUT: None, STDERR: None}
        if child.large:
            child.large = False
            self.large -= 1

    # --- nodes

    def _probe(self):
        while self.nodes is not None:
            probe = self.nodes.next()
            if probe is None:
                return
            child = self._launch(None, probe.argv, self.env, None, None, 0)
            if child is None:
                self.nodes.answered(probe, "", b"0 cannot start a process")
                continue
            child.probe = probe
            self._close(child.stdin)
            child.stdin = None
            self._after(probe.patience, self._probe_late, child)

    def _probe_late(self, now, child):
        if child.probe is not None:
            child.probe.late = True
            children.kill(-child.pid, signal.SIGKILL)
            children.kill(child.pid, signal.SIGKILL)

    # --- our own end

    def _end(self, now):
        self.ended_by = now + HANGUP_GRACE + SWEEP_LIMIT + 2
        self._after(self.ended_by - now, self._maybe_done)
        if self.here is not None and self.here.owned():
            self.here.remove_socket()
        for child in self.by_pid.values():
            if child.probe is not None:
                self._probe_late(now, child)

    def _maybe_done(self, now):
        if self.ended_by is not None and (not self.by_pid and not self.sweeping and not self.core.wants_output(now)
                                          and not self.outgoing or now >= self.ended_by):
            self.done = True

    def _leave(self):
        if self.here is not None:
            self.here.leave()


def _is_empty(fd):
    """Whether a pipe holds nothing, asked without reading."""
    poll = select.poll()
    poll.register(fd, IN)
    return not [event for _, event in poll.poll(0) if event & IN]


def _traceback():
    import traceback
    return "execnet: the agent failed\n" + traceback.format_exc()
