"""One process as the core knows it: its streams, how it ended, and what is still to be said of it.

Of each kind of control frame only the last one counts: a process keeps flags, and its frames are made when
there is room to write them. No fds and no clock; it never decides what happens next.
"""
from agent import wire
from agent.stream import RecvStream, SendStream
from agent.wire import HEAD, STDERR, STDIN, STDOUT

RESUMED, STARTED, CREDIT, FIN_OUT, FIN_ERR, STOP, SIGNALED, EXIT = 1, 2, 4, 8, 16, 32, 64, 128
FIN_OF = {STDOUT: FIN_OUT, STDERR: FIN_ERR}

EXITED, KILLED, NOT_STARTED = 0, 1, 2


class Process(object):
    """`child` belongs to the driver."""

    plain = True  # not kept, nor concerned with what is

    __slots__ = ("id", "identity", "tunnel", "attempt", "muted", "unclaimed", "pid", "stdin", "outs", "flags",
                 "signals", "sizes", "terminal", "kills", "exit", "in_turn", "child", "err_first", "listed")

    def __init__(self, id, identity, tunnel, stdout_limit, stderr_limit, terminal=False):
        self.id = id
        self.identity = identity
        self.tunnel = tunnel
        self.attempt = 0
        self.muted = False
        self.unclaimed = False
        self.pid = None
        self.stdin = RecvStream()
        if stdout_limit is not None:
            self.outs = {STDOUT: SendStream(stdout_limit), STDERR: SendStream(stderr_limit)}
        self.flags = 0
        self.signals = 0  # sequence number of the last ones that were applied
        self.terminal = terminal
        self.sizes = 0  # sequence number of the last one that its terminal was given
        self.kills = 0  # sequence number of the last KILL
        self.exit = None  # (how, value, message)
        self.in_turn = False
        self.err_first = False
        self.listed = False
        self.child = None

    def has_ended(self):
        """Whether it has exited, and nothing more comes from its outputs: time for EXIT."""
        return self.exit and all([out.finished or out.stopped for out in self.outs.values()])

    def has_unsent(self):
        """Whether it has output that may be sent."""
        return bool(self.outs[STDOUT].unsent() or self.outs[STDERR].unsent())

    def all_to_say(self):
        """Return the flags for all that a client must know after a break."""
        flags = RESUMED
        if self.pid is not None:
            flags |= STARTED
        for stream in (STDOUT, STDERR):
            if self.outs[stream].finished and not self.outs[stream].stopped:
                flags |= FIN_OF[stream]
        if self.stdin.stopped:
            flags |= STOP
        if self.signals:
            flags |= SIGNALED
        if self.has_ended():
            flags |= EXIT
        return flags

    def say(self, out, flags):
        """Append the frames for these flags."""
        id = self.id
        if flags & RESUMED:
            out.append(wire.frame(wire.RESUMED, id=id, attempt=self.attempt,
                                  stdin_received=self.stdin.received,
                                  stdin_limit=self.stdin.limit))
        if flags & STARTED:
            out.append(wire.frame(wire.STARTED, id=id, pid=self.pid))
        if flags & CREDIT and not flags & RESUMED:
            out.append(wire.frame(wire.CREDIT, id=id, stream=STDIN, received=self.stdin.received,
                                  limit=self.stdin.limit))
        for stream in (STDOUT, STDERR):
            if flags & FIN_OF[stream]:
                out.append(wire.frame(wire.FIN, id=id, stream=stream, length=self.outs[stream].end))
        if flags & STOP:
            out.append(wire.frame(wire.STOP, id=id, stream=STDIN))
        if flags & SIGNALED:
            out.append(wire.frame(wire.SIGNALED, id=id, sequence=self.signals))
        if flags & EXIT:
            how, value, message = self.exit
            out.append(wire.frame(wire.EXIT, id=id, how=how, value=value,
                                  stdout_length=self.outs[STDOUT].end,
                                  stderr_length=self.outs[STDERR].end, message=message))

    def say_data(self, out):
        """Append one DATA frame, alternating between its two streams. Return its size."""
        outs = self.outs
        errors_next = self.err_first and outs[STDERR].unsent() or not outs[STDOUT].unsent()
        stream = STDERR if errors_next else STDOUT
        if self.muted or not outs[stream].unsent():
            self.in_turn = False
            return 0
        self.err_first = stream == STDOUT
        position, data = outs[stream].next_data()
        self.in_turn = self.has_unsent()
        out.append(wire.data_header(self.id, stream, position, len(data)))
        out.append(data)
        return HEAD + len(data)
