"""The processes of an agent on a POSIX Python: pipes, signals, exits, sweeps, and probes.

Moves bytes between pipes and the core as credit allows, and tells the core what happened. Knows no link and
no frame. Nothing here waits.
"""
import errno
import os
import select

from agent import children, lifecycle, wire
from agent.lifecycle import AHEAD, SWEEP_GRACE, signal
from agent.loop import AGAIN, BROKEN, IN, OUT
from agent.process import EXITED, KILLED
from agent.wire import MAX_DATA, SHORT, STDERR, STDOUT

SWEEP_LIMIT = 5.0  # seconds after which processes that cannot be killed are left alone
LARGE_PIPES = 16
PAGES = 16  # reads of a terminal in a turn
SAID = -1
AHEAD_OPTIONS = frozenset(["prefix"])


class Family(object):
    """All processes that were started here and have not ended yet."""

    def __init__(self, loop, core, home, say):
        self.loop = loop
        self.core = core
        # say(process, data, now) says at once what a process wrote to stdout. It returns whether then nothing
        # else is to be done, or None if it did not say it
        self.say = say
        # where processes start unless SPAWN or the config says otherwise
        self.home = home and wire.utf8(home)
        self.config = self.env = self.nodes = self.spares = None
        self.by_pid = {}
        self.sweeping = []
        self.sweep_due = False
        self.childless = False
        self.large = 0

    def configure(self, config):
        """Apply the config that the last stub brought."""
        from agent import nodes
        self.end_spares()
        self.config = config
        self.env = lifecycle.environment(config)
        self.nodes = nodes.Nodes(config.nodes, self.nodes, self.core, self.env)
        self._probe()

    def act(self, action, now):
        """Perform an action of the core that concerns a process."""
        kind, process = action[0], action[1]
        child = process.child
        if kind == "start":
            self._start(process, action[2])
        elif kind == "enter":
            from agent import entry
            entry.enter(self.loop, self.core, process)
        elif child is None:
            return
        elif child.apart:
            child.act(kind, action[2] if kind in ("read", "close") else None)
        elif kind == "stdin":
            if child.stdin is not None:
                self._feed(child)
        elif kind == "read":
            if child.outs[action[2]] is not None:
                self._want(child, action[2], now)
        elif kind == "close":
            self._close_out(child, action[2])
        elif kind == "size":
            if child.terminal is not None:
                from agent import terminal
                terminal.resize(child, action[2], action[3])
        elif kind == "signal":
            if child.started:
                self._send(child, action[2])
            else:
                child.early.extend(action[2])
        elif kind == "release":
            self._hang_up(child)

    def end_probes(self, now):
        for child in self.by_pid.values():
            if child.probe is not None:
                self._probe_late(now, child)

    def end_spares(self):
        if self.spares is not None:
            self.spares.end()

    def empty(self):
        return not self.by_pid and not self.sweeping

    def kill(self):
        """Kill all processes at once, without waiting for their end."""
        for child in self.by_pid.values():
            children.kill(-child.pid, signal.SIGKILL)

    def _start(self, process, spawn):
        command = self.nodes.command(spawn["node"]) if spawn["node"] else []
        if isinstance(command, str):
            self.core.not_started(process, errno.ENOENT, command)
            return
        argv, env, chdir, paths = lifecycle.request(spawn, command, self.config, self.env)
        options = [key for key, _ in spawn["options"]]
        if spawn["role"] == AHEAD and set(options) <= AHEAD_OPTIONS:
            if self.spares is None:
                from agent.spare import Spares
                self.spares = Spares(self.loop, self._launch_ahead)
            child = self.spares.take((argv, env, chdir, paths), process.stdin)
            if child is not None:
                self._adopt(process, child)
                return
        terminal = door = None
        if "keep" in options:
            from agent import kept, perils
            process.command = kept.command(argv)
            self.core.keeper.note(process, "host", perils.note())
        try:
            if "terminal" in options:
                from agent.terminal import opened
                terminal = opened(spawn["options"], env)
            if "enter" in options:
                from agent.entry import Door
                door = Door(env)
            child = self._launch(argv, env, chdir, self.config.nice, not process.tunnel, terminal, paths,
                                 door)
        except (EnvironmentError, ValueError) as error:
            if terminal is not None:
                terminal.close()
            if door is not None:
                door.close()
            if isinstance(error, ValueError):
                self.core.not_started(process, errno.EINVAL, "%s" % error.args[0])
            else:
                what = "open a terminal" if "terminal" in options and terminal is None else "start a process"
                self.core.not_started(process, error.errno or 0, "cannot %s: %s" % (what, error.strerror))
            return
        child.process = process
        child.gentle = lifecycle.is_gentle(spawn)
        process.child = child
        if child.started:
            self.core.started(process, child.pid)
        self._listen(child)
        if door is not None:
            child.door = door
            door.listen(self.loop, self.core, process)
        if terminal is not None:
            self.core.child_output_closed(process, STDERR)

    def _launch(self, argv, env, chdir, nice, marked=False, terminal=None, paths=(), door=None):
        env = dict(env)
        mark = lifecycle.mark(env) if marked else None
        child = children.start(argv, env, (self.home, chdir), nice, mark, terminal, paths,
                               None if door is None else door.inherited)
        self.by_pid[child.pid] = child
        if child.error is not None:
            self.loop.arm(child.error, IN, self._on_error_pipe, child)
        return child

    def _listen(self, child):
        """Listen to the pipes of a child that has an owner now."""
        if child.stdin is not None:
            self.loop.arm(child.stdin, 0, self._on_stdin, child)
        self.loop.arm(child.outs[STDOUT], IN, self._on_stdout, child)
        if child.terminal is None:
            self.loop.arm(child.outs[STDERR], IN, self._on_stderr, child)
        else:
            self.loop.disarm(child.stdin)  # it is its stdout that tells of a hang-up

    def _launch_ahead(self, argv, env, chdir, paths):
        try:
            return self._launch(argv, env, chdir, self.config.nice, True, None, paths)
        except EnvironmentError:
            return None  # the next request for this command gets the error

    def _adopt(self, process, child):
        """Make a child that was started ahead this process."""
        child.process = process
        process.child = child
        if child.started:
            self.core.started(process, child.pid)
        self._listen(child)
        if child.stdin is not None:
            self._feed(child)

    def _send(self, child, numbers):
        if child.terminal is None:
            children.send(child, numbers)
        else:
            from agent import terminal
            terminal.send(child, numbers)

    # --- a child's pipes

    def _on_error_pipe(self, child, now, event=IN):
        """Read the error pipe: an end of file without text means that the exec worked."""
        try:
            said = os.read(child.error, 4096)
        except OSError as error:
            if error.errno in AGAIN:
                return
            said = b""
        child.error_said += said
        if said:
            return
        self.loop.close(child.error)
        child.error = None
        child.started = not child.error_said
        if child.process is None:
            return
        if child.started:
            self.core.started(child.process, child.pid)
            self._send(child, child.early)
        else:
            number, _, words = wire.text(child.error_said).partition(" ")
            self.core.not_started(child.process, int(number), words)
            self._let_go(child)

    def _on_stdin(self, child, now, event):
        if event & BROKEN and child.terminal is None or child.process is None:
            self._stdin_closed(child)
        else:
            self._feed(child)

    def _feed(self, child):
        """Write the waiting bytes to its stdin."""
        process = child.process
        stdin = process.stdin
        fd = child.stdin
        while stdin.chunks:
            chunk = stdin.chunks[0]
            try:
                size = os.write(fd, chunk)
            except OSError as error:
                if error.errno in AGAIN:
                    self.loop.arm(fd, OUT)
                elif child.terminal is None or self._terminal_failed(child, error):
                    self._stdin_closed(child)
                return
            if child.terminal is not None:
                child.terminal.wrote(chunk, size)
            elif size == MAX_DATA and not child.large:
                self._enlarge(child)
            self.core.stdin_taken(process, size)
        if child.terminal is not None:
            if stdin.is_finished() and not child.terminal.finish():
                self.loop.arm(fd, OUT)
            else:
                self.loop.disarm(fd)
        elif stdin.is_finished():
            self.loop.close(fd)
            child.stdin = None
        else:
            self.loop.arm(fd, 0)

    def write(self, process, data):
        """Write to its stdin what can be written at once. Return how much that was."""
        child = process.child
        if child is None or child.apart or child.stdin is None or child.terminal is not None:
            return 0
        try:
            return os.write(child.stdin, data)
        except OSError:
            return 0  # what it means shows when it is fed

    def _stdin_closed(self, child):
        if child.stdin is not None:
            self.loop.close(child.stdin)
            child.stdin = None
        if child.process is not None:
            self.core.stdin_closed(child.process)

    def _on_stdout(self, child, now, event):
        size = self._read(child, STDOUT, now)
        if size == SAID:
            return True
        # a full chunk often has another one behind it: save a turn of the loop
        if size == MAX_DATA:
            self._read(child, STDOUT, now)
        elif child.terminal is not None:
            # which gives a page at most
            for _ in range(PAGES):
                if not self._read(child, STDOUT, now):
                    return

    def _on_stderr(self, child, now, event):
        self._read(child, STDERR, now)

    def _read(self, child, stream, now):
        """Read once. Return the number of bytes if more may follow at once, else 0; SAID if all is done."""
        fd = child.outs[stream]
        process = child.process
        room = process.outs[stream].capacity() if process is not None else child.probe.capacity(stream)
        if room <= 0:
            self.loop.disarm(fd)
            return 0
        try:
            data = os.read(fd, MAX_DATA if room > MAX_DATA else room)
        except OSError as error:
            if child.terminal is not None:
                if self._terminal_failed(child, error):
                    self._close_out(child, stream)
                return 0
            if error.errno in AGAIN:
                if child.draining:
                    self._close_out(child, stream)
                return 0
            data = b""
        if not data:
            self._close_out(child, stream)
            return 0
        size = len(data)
        if process is None:
            child.probe.write(stream, data)
            return size
        if child.terminal is not None:
            child.terminal.silent = False
        elif size == MAX_DATA and not child.large:
            self._enlarge(child)
        if size < SHORT and stream == STDOUT and child.terminal is None and size < room:
            done = self.say(process, data, now)
            if done is not None:
                return SAID if done else size
        self.core.child_output(process, stream, data)
        if room == size:
            self.loop.disarm(fd)
            return 0
        return size

    def _want(self, child, stream, now):
        """Read again, because there is room for this output."""
        if child.draining:
            while child.outs[stream] is not None and self._read(child, stream, now):
                pass
        fd = child.outs[stream]
        if fd is not None:
            self.loop.arm(fd, IN)

    def _close_out(self, child, stream):
        fd = child.outs[stream]
        if fd is not None:
            self.loop.close(fd)
            child.outs[stream] = None
            if child.terminal is not None:
                # nobody has its other end now: the system hangs up who uses it
                child.terminal.leave()
                self._stdin_closed(child)
        if child.process is not None:
            self.core.child_output_closed(child.process, stream)

    def _terminal_failed(self, child, error):
        from agent import terminal
        return terminal.failed(self, child, error)

    def _enlarge(self, child):
        if self.large < LARGE_PIPES:
            child.large = True
            self.large += 1
            for each in [child.stdin] + list(child.outs.values()):
                if each is not None:
                    children.enlarge(each)

    # --- the end of a child

    def reap(self, now):
        """Handle SIGCHLD."""
        ended = []
        self.childless = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                self.childless = error.errno == errno.ECHILD
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
            child.sweep_until = now + lifecycle.sweep_grace(child.gentle)
            self.sweeping.append(child)
        self._sweep(now)

    def _sweep(self, now):
        if not self.sweeping:
            return
        still = []
        leaders = None if self.childless else self.by_pid
        for child in self.sweeping:
            first = lifecycle.first_signal(child.gentle)
            hard = child.nudged and now > child.sweep_until
            left = children.sweep(child, leaders,
                                  signal.SIGKILL if hard else first if not child.nudged else 0)
            if left and not child.nudged:
                children.sweep(child, leaders, signal.SIGCONT)
            child.nudged = True
            if left and now < child.sweep_until + SWEEP_LIMIT - SWEEP_GRACE:
                still.append(child)
            else:
                self._drain(child, now)
        self.sweeping = still
        if still and not self.sweep_due:
            self.sweep_due = True
            self.loop.after(0.02, self._sweep_again)

    def _sweep_again(self, now):
        self.sweep_due = False
        self.reap(now)

    def _drain(self, child, now):
        """Read what is left in the pipes: nobody writes any more."""
        child.draining = True
        process = child.process
        if process is None and child.probe is None:
            self._let_go(child)  # hung up, or started ahead and not used yet
            return
        if process is not None:
            if os.WIFSIGNALED(child.status):
                self.core.child_exited(process, KILLED, lifecycle.linux_number(os.WTERMSIG(child.status)))
            else:
                self.core.child_exited(process, EXITED, os.WEXITSTATUS(child.status))
        if child.stdin is not None:
            self.loop.close(child.stdin)
            child.stdin = None
        for stream in (STDOUT, STDERR):
            if child.outs[stream] is not None:
                self._want(child, stream, now)
                if (child.outs[stream] is not None and child.terminal is None
                        and _is_empty(child.outs[stream])):
                    self._close_out(child, stream)
        if child.probe is not None:
            self.nodes.answered(child.probe, children.end_in_words(child.status), child.error_said)
            child.probe = None
            self._let_go(child)
            self._probe()

    def _hang_up(self, child):
        """Hang up a child that the core has forgotten: close its stdio, SIGHUP (with CANCEL: SIGTERM), and
        later SIGKILL."""
        if child.process is not None:
            child.process.child = None
        self._let_go(child)
        if child.alive:
            first = lifecycle.first_signal(child.gentle)
            children.kill(-child.pid, first if child.started else signal.SIGKILL)
            children.kill(-child.pid, signal.SIGCONT)
            if not child.started:
                children.kill(child.pid, signal.SIGKILL)
            self.loop.after(lifecycle.hangup_grace(child.gentle), self._kill, child)

    def _kill(self, now, child):
        if child.alive:
            children.kill(-child.pid, signal.SIGKILL)
            children.kill(child.pid, signal.SIGKILL)

    def _let_go(self, child):
        """Close its fds. Its end is still awaited."""
        child.process = None
        for fd in [child.stdin, child.error] + list(child.outs.values()):
            if fd is not None:
                self.loop.close(fd)
        if child.terminal is not None:
            child.terminal.leave()
        if child.door is not None:
            child.door.close()
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
            try:
                child = self._launch(probe.argv, probe.env, b"", 0)
            except EnvironmentError:
                self.nodes.answered(probe, "", b"0 cannot start a process")
                continue
            child.probe = probe
            os.close(child.stdin)
            child.stdin = None
            self._listen(child)
            self.loop.after(probe.patience, self._probe_late, child)

    def _probe_late(self, now, child):
        if child.probe is not None:
            child.probe.late = True
            children.kill(-child.pid, signal.SIGKILL)
            children.kill(child.pid, signal.SIGKILL)


def _is_empty(fd):
    """Whether a pipe is empty, without reading."""
    poll = select.poll()
    poll.register(fd, IN)
    return not [event for _, event in poll.poll(0) if event & IN]
