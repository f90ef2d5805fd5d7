"""The agent on Jython: the same core, with threads, because a JVM can neither fork nor poll a pipe.

It is the process that ssh started: when its link ends, it ends its processes and itself (HELLO says resume
0). Owns the link's two streams, Java's processes and the threads around them. One lock guards the core; no
thread holds it while it waits for a stream.
"""
import errno
import os
import sys
import threading

from jarray import zeros
from java.io import File, FileDescriptor, FileOutputStream
from java.lang import Process, ProcessBuilder, Runtime, System, Thread, Throwable

from agent import homes, lifecycle, wire
from agent.core import Core
from agent.greet import Greeting, home
from agent.lifecycle import CANCEL_GRACE, signal
from agent.nodes import Nodes
from agent.process import EXITED, KILLED
from agent.wire import MAX_DATA, STDERR, STDOUT

DRAIN_GRACE = 1.0  # seconds for a pipe that another process still holds


def clock():
    return System.nanoTime() / 1e9


def main(config):
    """Run until the link ends. Return the exit status."""
    return Agent(config).run()


class Agent(object):

    def __init__(self, config):
        self.config = config
        self.changed = threading.Condition(threading.RLock())
        self.out = FileOutputStream(FileDescriptor.out)
        self.children = []
        self.done = False
        self.env = lifecycle.environment(config)
        self.setsid = homes.found("setsid", self.env)
        self.home = home()
        self.nice = homes.found("nice", self.env)
        cpus = str(Runtime.getRuntime().availableProcessors())
        # before Java 9 it does not know its children's pids
        able = os.path.exists("/proc/self/stat") and hasattr(Process, "pid")
        greeting = Greeting(config, 0, {"cpus": cpus, "features": "look" if able else ""})
        self.known = {}
        self.core = Core(greeting.incarnation, greeting.hello, clock(), config.linger, 0, os.getpid())
        self.nodes = Nodes(config.nodes, None, self.core, self.env)

    def run(self):
        self.core.attach(self.config.epoch, clock())
        Runtime.getRuntime().addShutdownHook(Thread(self._kill_all))
        for work in (self._write_link, self._keep_time):
            _thread(work)
        with self.changed:
            self._probe()
        self._read_link()
        with self.changed:
            self.core.detach(clock())
            self.core.end()
            self._act()
        self._wait_for_children()
        Runtime.getRuntime().halt(0)

    def _read_link(self):
        while not self.done:
            try:
                data = os.read(sys.stdin.fileno(), MAX_DATA)
            except (OSError, IOError, Throwable):
                return
            if not data:
                return
            with self.changed:
                try:
                    while self.core.handle_bytes(data, clock()):
                        data = b""
                except wire.RemoteProtocolError:
                    sys.stderr.write("execnet: the agent ended the link: protocol error: "
                                     "%s\n" % sys.exc_info()[1])
                    return
                self._act()

    def _write_link(self):
        core = self.core
        while True:
            with self.changed:
                while not core.wants_output(clock()):
                    if self.done:
                        return
                    self.changed.wait(60)
                data = b"".join(core.poll_output(clock()))
            try:
                self.out.write(data)
            except Throwable:
                with self.changed:
                    core.detach(clock())
                return

    def _keep_time(self):
        while not self.done:
            with self.changed:
                self.core.tick(clock())
                self._act()
                self.changed.wait(max(0.05, min(self.core.deadline() - clock(), 60)))

    def _wait_for_children(self):
        until = clock() + CANCEL_GRACE + DRAIN_GRACE
        with self.changed:
            while [child for child in self.children if not child.gone] and clock() < until:
                self.changed.wait(0.1)

    def _kill_all(self):
        for child in list(self.children):
            child.kill(signal.SIGKILL)

    def _act(self):
        """Called with the lock held."""
        core = self.core
        while core.actions:
            actions, core.actions = core.actions, []
            for action in actions:
                kind = action[0]
                if kind == "start":
                    self._start(action[1], action[2])
                elif kind == "look":
                    _thread(self._look, action[1])
                elif kind == "end":
                    _thread(self._end)
                elif action[1].child is not None:
                    if kind == "signal":
                        action[1].child.signal(action[2])
                    elif kind == "release":
                        action[1].child.hang_up()
                    elif kind == "close":
                        action[1].child.close_out(action[2])
        self.changed.notifyAll()

    def _look(self, epoch):
        from agent import look
        with self.changed:
            leaders = look.leaders(self.core)
            known = self.known
        rows = []
        for _ in look.rows(leaders, known, rows, clock):
            Thread.sleep(20)
        frame = look.frame(look.facts(), rows)
        with self.changed:
            self.core.looked(epoch, frame)
            self.changed.notifyAll()

    def _end(self):
        """End the link when all processes have ended."""
        self._wait_for_children()
        self.done = True
        with self.changed:
            self.changed.notifyAll()
        Runtime.getRuntime().halt(0)

    def _start(self, process, spawn):
        command = self.nodes.command(spawn["node"]) if spawn["node"] else []
        if isinstance(command, str):
            self.core.not_started(process, errno.ENOENT, command)
            return
        argv, env, chdir, paths = lifecycle.request(spawn, command, self.config, self.env)
        if not process.tunnel:
            lifecycle.mark(env)
        child = Child(self, process, None)
        child.gentle = lifecycle.is_gentle(spawn)
        process.child = child
        self.children.append(child)
        _thread(child.run, argv, env, chdir, self.config.nice, paths)

    def _probe(self):
        """Called with the lock held."""
        while True:
            probe = self.nodes.next()
            if probe is None:
                return
            child = Child(self, None, probe)
            self.children.append(child)
            _thread(child.run, probe.argv, probe.env, "", 0, [])


class Child(object):
    """One process or probe: a thread that runs it, and one for each stream."""

    def __init__(self, agent, process, probe):
        self.agent = agent
        self.process = process  # None for a probe, or after the hang-up
        self.probe = probe
        self.java = None
        self.pid = None
        self.gone = False
        self.released = False
        self.gentle = False  # as in `children`
        self.early = []
        self.sent = []
        self.open = set([STDOUT, STDERR])
        self.reading = {}  # stream: when the read began

    def run(self, *how):
        try:
            self._run(*how)
        finally:
            with self.agent.changed:
                self.gone = True
                self.agent.children.remove(self)
                self.agent._act()
                self.agent._probe()

    def _run(self, *how):
        agent = self.agent
        failure = self._launch(*how)
        with agent.changed:
            if failure:
                if self.probe is not None:
                    agent.nodes.answered(self.probe, "", "%d %s" % failure)
                elif self.process is not None:
                    agent.core.not_started(self.process, *failure)
                return
            self.pid = int(self.java.pid()) if hasattr(self.java, "pid") else None
            if self.process is not None:
                agent.core.started(self.process, self.pid or 0)
            self.signal(self.early)
            if self.released:
                self.kill(signal.SIGKILL)
            agent._act()
        _thread(self._read, STDOUT, self.java.getInputStream())
        _thread(self._read, STDERR, self.java.getErrorStream())
        if self.probe is not None:
            self.java.getOutputStream().close()
            timer = threading.Timer(self.probe.patience, self._late)
            timer.setDaemon(True)
            timer.start()
        else:
            _thread(self._write, self.java.getOutputStream())
        status = self.java.waitFor()
        self._sweep()
        self._finish(status)

    def _launch(self, argv, env, chdir, nice, paths):
        chdir = env["PWD"] = homes.where(env, self.agent.home, chdir)
        if not os.path.isdir(chdir):
            return errno.ENOENT, "cannot change to directory %s: %s" % (chdir, os.strerror(errno.ENOENT))
        for at in paths:
            argv[at] = homes.expand(argv[at], env)
        if not homes.found(argv[0], env, chdir):
            return errno.ENOENT, "cannot execute %s: %s" % (argv[0], os.strerror(errno.ENOENT))
        if nice and self.agent.nice:
            argv = ["nice", "-n", str(nice)] + argv
        if self.agent.setsid:
            argv = ["setsid"] + argv
        builder = ProcessBuilder([_java(word) for word in argv])
        table = builder.environment()
        table.clear()
        for key in env:
            table.put(_java(key), _java(env[key]))
        builder.directory(File(_java(chdir)))
        try:
            self.java = builder.start()
        except Throwable:
            return errno.EIO, "cannot execute %s: %s" % (argv[0], sys.exc_info()[1])
        return None

    def _read(self, stream, source):
        agent = self.agent
        changed = agent.changed
        buffer = zeros(MAX_DATA, "b")
        while True:
            with changed:
                room = self._room(stream)
                while room <= 0:
                    if room < 0:
                        return
                    changed.wait(60)
                    room = self._room(stream)
                self.reading[stream] = clock()
            try:
                size = source.read(buffer, 0, min(room, MAX_DATA))
            except Throwable:
                size = -1
            data = buffer[:size].tostring() if size > 0 else b""
            with changed:
                self.reading.pop(stream, None)
                if size <= 0 or self._room(stream) < 0:
                    self._closed(stream)
                    return
                if self.probe is not None:
                    self.probe.write(stream, data)
                elif self.process is not None:
                    agent.core.child_output(self.process, stream, data)
                changed.notifyAll()

    def _room(self, stream):
        """Return how many bytes may be read; negative if the output is not wanted any more."""
        if stream not in self.open or self.released:
            return -1
        if self.probe is not None:
            return self.probe.capacity(stream)
        out = self.process.outs[stream]
        return -1 if out.stopped else out.capacity()

    def _closed(self, stream):
        self.open.discard(stream)
        if self.process is not None:
            self.agent.core.child_output_closed(self.process, stream)
        self.agent.changed.notifyAll()

    def _write(self, sink):
        changed, core = self.agent.changed, self.agent.core
        try:
            while True:
                with changed:
                    while True:
                        process = self.process
                        stdin = process and process.stdin
                        if stdin is None or stdin.stopped or stdin.is_finished():
                            return
                        if stdin.chunks:
                            break
                        changed.wait(60)
                    chunk = stdin.chunks[0]
                sink.write(chunk)
                sink.flush()
                with changed:
                    if self.process is not None and not stdin.stopped:
                        core.stdin_taken(process, len(chunk))
                    changed.notifyAll()
        except Throwable:
            with changed:
                if self.process is not None:
                    core.stdin_closed(self.process)
                changed.notifyAll()
        finally:
            try:
                sink.close()
            except Throwable:
                pass

    def _sweep(self):
        """End the rest of the session."""
        if self.pid is None or not self.agent.setsid:
            return
        if _kill(-self.pid, lifecycle.first_signal(self.gentle)):
            _kill(-self.pid, signal.SIGCONT)
            until = clock() + lifecycle.sweep_grace(self.gentle)
            while _kill(-self.pid, 0) and clock() < until:
                Thread.sleep(20)
            _kill(-self.pid, signal.SIGKILL)

    def _finish(self, status):
        agent = self.agent
        with agent.changed:
            if self.process is not None:
                number = status - 128
                how = (KILLED, lifecycle.linux_number(number)) if number in self.sent else (EXITED, status)
                agent.core.child_exited(self.process, *how)
            agent.changed.notifyAll()
            ended = clock()
            while self.open and not self.released:
                for stream in list(self.open):
                    since = self.reading.get(stream)
                    if since is not None and clock() - max(since, ended) > DRAIN_GRACE:
                        self._closed(stream)
                agent.changed.wait(0.1 if self.reading else 60)
            if self.probe is not None:
                agent.nodes.answered(self.probe, "exit status %d" % status, "")

    def _late(self):
        self.probe.late = True
        self.kill(signal.SIGKILL)

    # --- with the lock held

    def signal(self, numbers):
        if self.pid is None:
            self.early.extend(numbers)
            return
        for number, to_group in lifecycle.local_signals(numbers):
            self.sent.append(number)
            _kill(-self.pid if to_group and self.agent.setsid else self.pid, number)

    def hang_up(self):
        self.process = None
        self.released = True
        if self.java is not None:
            try:
                self.java.getOutputStream().close()
            except Throwable:
                pass
            self.kill(lifecycle.first_signal(self.gentle))
            self.kill(signal.SIGCONT)
            timer = threading.Timer(lifecycle.hangup_grace(self.gentle), self.kill, [signal.SIGKILL])
            timer.setDaemon(True)
            timer.start()

    def close_out(self, stream):
        try:
            (self.java.getInputStream() if stream == STDOUT else self.java.getErrorStream()).close()
        except (AttributeError, Throwable):
            pass

    def kill(self, number):
        if self.pid is not None and not self.gone:
            _kill(-self.pid if self.agent.setsid else self.pid, number)


def _kill(pid, number):
    try:
        os.kill(pid, number)
        return True
    except (OSError, Throwable):
        return False


def _java(word):
    """Return bytes as text for Java; bytes that are not UTF-8 are passed as latin-1."""
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        return word.decode("latin-1")


def _thread(work, *args):
    thread = threading.Thread(target=work, args=args)
    thread.setDaemon(True)
    thread.start()
