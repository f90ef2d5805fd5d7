"""What the agent does with each frame: processes, attaching, muting, taking turns, acknowledging.

A state machine without fds and clock. A driver (posix, jvm) passes in what arrived and what processes did,
then performs `actions` and writes what poll_output() returns. Of each kind of control frame only the last one
counts, so nothing here is a queue.
"""
import zlib

from agent import wire
from agent.outlet import Outlet
from agent.process import (
    CREDIT,
    EXIT,
    FIN_ERR,
    FIN_OF,
    FIN_OUT,
    NOT_STARTED,
    RESUMED,
    SIGNALED,
    STARTED,
    STOP,
    Process,
)
from agent.stream import STDIN_WINDOW, deque
from agent.wire import STDERR, STDIN, STDOUT, RemoteProtocolError

UNCLAIMED = 30.0
SILENCE = 30.0  # seconds that an open link may be silent, even if `linger` is shorter
POOL = 64 * 1048576  # bytes; half of it is for windows that grow
MEMORY_OF_IDS = 16384
TURN = 256  # frames that are handled before processes get their turn: some milliseconds
TUNNEL = 1  # a role in SPAWN


class Core(Outlet):
    """`actions` is a list of tuples for the driver, which empties it:

    ("start", process, spawn)         start it: `spawn` is the SPAWN's fields
    ("stdin", process)                there are bytes for its stdin, or its end
    ("read", process, stream)         there is room for its output again
    ("close", process, stream)        nobody wants this output any more
    ("signal", process, numbers)      send these signals, by their Linux numbers
    ("size", process, rows, columns)  give its terminal this size, if it has one
    ("release", process)              hang it up; the core has forgotten it
    ("look", epoch)                   tell looked() what processes use
    ("end",)                          hang up everything and end
    """

    def __init__(self, incarnation, hello, now, linger=600.0, resume=1, pid=0):
        self.incarnation = incarnation
        self.hello = hello  # the table of HELLO, as pairs
        self.features = wire.text(dict(hello).get("features", b"")).split(" ")
        self.resume = resume
        self.pid = pid
        self.linger = linger
        self.epoch = 0
        self.attached = False
        self.ending = False
        self.actions = []
        self.processes = {}
        self.nodes = []  # (name, state, table), in the order of their first report
        self.probing = True
        self.last_byte = now
        # seconds of link time that unclaimed processes of an older life have left
        self._unclaimed_left = None
        self._unclaimed_until = None
        self._ids = deque()  # known ids, so that no SPAWN runs twice
        self._known_ids = set()
        self._grown = 0
        self._open(False)

    # --- the link

    def attach(self, epoch, now):
        """Start with a link of this epoch: poll_output() returns marker and HELLO first."""
        newer_life = epoch >> 32 > self.epoch >> 32
        self.epoch = epoch
        self.last_byte = now
        self._open(True)
        for process in list(self.processes.values()):
            process.muted = True
            process.in_turn = process.listed = False
            process.flags = 0
            if newer_life:
                if process.tunnel:
                    self._forget(process)
                    self.actions.append(("release", process))
                else:
                    process.unclaimed = True
                    self._unclaimed_left = UNCLAIMED
        if self._unclaimed_left is not None:
            self._unclaimed_until = now + self._unclaimed_left

    def detach(self, now):
        """Drop the link. Processes stay, nothing is sent."""
        if now < self.last_byte + SILENCE:
            self.last_byte = now
        if self._unclaimed_until is not None:
            self._unclaimed_left = max(0.0, self._unclaimed_until - now)
            self._unclaimed_until = None
        self._open(False)

    def handle_bytes(self, data, now):
        """Handle bytes from the link. RemoteProtocolError: the link must end.

        Return True if they contain more than a turn's work: call again with b"" when others had their turn.
        """
        self.last_byte = now
        frames = self._parser.feed(data, TURN)
        for kind, body in frames:
            if kind == wire.DATA:
                self._on_data(*wire.decode_data(body))
                continue
            handler = _HANDLERS.get(kind)
            if handler is None:
                raise RemoteProtocolError("%s is not for an agent" % wire.KINDS[kind][0])
            handler(self, wire.decode(kind, body), body, now)
        return len(frames) == TURN

    # --- time

    def deadline(self):
        """Return when tick() has something to do."""
        when = self.last_byte + (86400 if self.ending else self._patience())
        if self._unclaimed_until is not None and self._unclaimed_until < when:
            return self._unclaimed_until
        return when

    def tick(self, now):
        if now >= self.last_byte + self._patience():
            self.end()
        if self._unclaimed_until is not None and now >= self._unclaimed_until:
            self._unclaimed_until = self._unclaimed_left = None
            for process in list(self.processes.values()):
                if process.unclaimed:
                    self._forget(process)
                    self._forgets[process.id] = True
                    self.actions.append(("release", process))

    def _patience(self):
        return max(self.linger, SILENCE) if self.attached else self.linger

    def end(self):
        """Hang up all processes, once."""
        if self.ending:
            return
        self.ending = True
        for process in list(self.processes.values()):
            self._forget(process)
            self.actions.append(("release", process))
        self.actions.append(("end",))

    # --- what processes did

    def started(self, process, pid):
        process.pid = pid
        self._mark(process, STARTED)

    def not_started(self, process, errno, message):
        process.exit = NOT_STARTED, errno & 0xffffffff, message[:1000]
        process.outs[STDOUT].finish()
        process.outs[STDERR].finish()
        self.stdin_closed(process)
        self._mark(process, FIN_OUT | FIN_ERR | EXIT)

    def child_output(self, process, stream, data):
        """The process wrote `data`: at most capacity() of this stream."""
        process.outs[stream].write(data)
        if not process.in_turn and not process.muted:
            self._queue(process)

    def child_output_closed(self, process, stream):
        """The process closed this stream."""
        out = process.outs[stream]
        if not out.finished:
            out.finish()
            if not out.stopped:
                self._mark(process, FIN_OF[stream])
            self._mark_exit(process)

    def child_exited(self, process, how, value, message=""):
        """The leader and the rest of its session have ended. EXIT follows when both outputs are closed."""
        process.exit = how, value, message
        self.stdin_closed(process)
        self._mark_exit(process)

    def stdin_taken(self, process, size):
        """The process read `size` bytes of its stdin."""
        stdin = process.stdin
        stdin.consume(size)
        grown = stdin.credit(POOL // 2 - self._grown)
        if grown is not None:
            self._grown += grown
            self._mark(process, CREDIT)

    def stdin_closed(self, process):
        """The process closed its stdin."""
        if not process.stdin.stopped:
            process.stdin.stop()
            self._mark(process, STOP)

    def _mark_exit(self, process):
        if process.has_ended():
            self._mark(process, EXIT)

    def _forget(self, process):
        del self.processes[process.id]
        self._grown -= process.stdin.window - STDIN_WINDOW
        process.muted = True
        process.flags = 0
        self._terminals.discard(process.id)
        self._pace.has_terminal = bool(self._terminals)
        self._remember(process.id)

    def _remember(self, id):
        if id not in self._known_ids:
            self._known_ids.add(id)
            self._ids.append(id)
            if len(self._ids) > MEMORY_OF_IDS:
                self._known_ids.discard(self._ids.popleft())

    # --- frames

    def _heard(self, id):
        """Return the process that a frame is for; None if the frame must be dropped."""
        process = self.processes.get(id)
        if process is None:
            self._say_forget(id)
        elif not process.muted:
            return process
        return None

    def _say_forget(self, id):
        if len(self._forgets) >= 65536:
            raise RemoteProtocolError("too many unknown ids")
        self._forgets[id] = True

    def _on_ping(self, fields, body, now):
        self._pongs.append(fields["token"])
        del self._pongs[:-16]

    def _on_ack(self, fields, body, now):
        self._pace.acknowledged(fields["bytes"], now)

    def _on_end(self, fields, body, now):
        self.end()

    def _on_spawn(self, fields, body, now):
        id = fields["id"]
        rest = body[20:]
        identity = fields["owner"], len(rest), zlib.crc32(rest) & 0xffffffff, zlib.adler32(rest) & 0xffffffff
        process = self.processes.get(id)
        if process is not None:
            if process.identity != identity:
                raise RemoteProtocolError("a second SPAWN of one id differs from the first")
            self._resume(process, fields["attempt"], 0, fields["stdout_limit"], 0, fields["stderr_limit"])
            return
        if fields["incarnation"] != self.incarnation or id in self._known_ids or self.ending:
            self._say_forget(id)
            return
        for key, _ in fields["options"]:
            if key not in self.features:
                raise RemoteProtocolError("SPAWN with an option that this agent did not name")
        process = Process(id, identity, fields["role"] == TUNNEL, fields["stdout_limit"],
                          fields["stderr_limit"], "terminal" in [key for key, _ in fields["options"]])
        process.attempt = fields["attempt"]
        self.processes[id] = process
        self._attend(process)
        self._mark(process, RESUMED)
        if not fields["argv"] and not fields["node"]:
            self.not_started(process, 22, "no command was given")
            return
        self.actions.append(("start", process, fields))

    def _on_resume(self, fields, body, now):
        process = self.processes.get(fields["id"])
        if process is None:
            self._say_forget(fields["id"])
            return
        self._resume(process, fields["attempt"], fields["stdout_received"], fields["stdout_limit"],
                     fields["stderr_received"], fields["stderr_limit"])

    def _resume(self, process, attempt, out_received, out_limit, err_received, err_limit):
        for stream, received, limit in ((STDOUT, out_received, out_limit), (STDERR, err_received, err_limit)):
            process.outs[stream].resume(received, limit)
            if process.outs[stream].capacity():
                self.actions.append(("read", process, stream))
        process.attempt = attempt
        process.muted = process.unclaimed = False
        self._attend(process)
        self._mark(process, process.all_to_say())
        if not process.in_turn and process.has_unsent():
            self._queue(process)

    def _attend(self, process):
        """Note that somebody sits before the terminal of this process, if it has one."""
        if process.terminal:
            self._terminals.add(process.id)
            self._pace.has_terminal = True

    def _on_data(self, id, stream, position, data):
        process = self._heard(id)
        if stream != STDIN or len(data) > wire.MAX_DATA:
            raise RemoteProtocolError("DATA for stream %d of %d bytes" % (stream, len(data)))
        if process is not None and process.stdin.data(position, data):
            self.actions.append(("stdin", process))

    def _on_fin(self, fields, body, now):
        if fields["stream"] != STDIN:
            raise RemoteProtocolError("FIN for stream %d" % fields["stream"])
        process = self._heard(fields["id"])
        if process is not None:
            process.stdin.fin(fields["length"])
            if not process.stdin.stopped:
                self.actions.append(("stdin", process))

    def _out(self, fields):
        if fields["stream"] not in (STDOUT, STDERR):
            raise RemoteProtocolError("credit or stop for stream %d" % fields["stream"])
        process = self._heard(fields["id"])
        return process, process and process.outs[fields["stream"]]

    def _on_credit(self, fields, body, now):
        process, out = self._out(fields)
        if process is not None and out.credit(fields["received"], fields["limit"]):
            self.actions.append(("read", process, fields["stream"]))

    def _on_stop(self, fields, body, now):
        process, out = self._out(fields)
        if process is not None and not out.stopped:
            out.stop()
            self.actions.append(("close", process, fields["stream"]))
            self._mark_exit(process)

    def _on_signal(self, fields, body, now):
        process = self._heard(fields["id"])
        if process is None:
            return
        if fields["sequence"] > process.signals:
            process.signals = fields["sequence"]
            self._signal(process, fields["mask"])
        self._mark(process, SIGNALED)

    def _on_size(self, fields, body, now):
        process = self._heard(fields["id"])
        if process is not None and fields["sequence"] > process.sizes:
            process.sizes = fields["sequence"]
            self.actions.append(("size", process, fields["rows"], fields["columns"]))

    def _signal(self, process, mask):
        # SIGCONT first, so that a stopped process can take the others
        numbers = sorted([n for n in range(1, 64) if mask >> n & 1], key=lambda n: (n != 18, n))
        if numbers and process.exit is None:
            self.actions.append(("signal", process, numbers))

    def _on_kill(self, fields, body, now):
        """Send signals of somebody other than its client: muted or not."""
        process = self.processes.get(fields["id"])
        if process is None:
            self._say_forget(fields["id"])
            return
        if fields["sequence"] > process.kills:
            process.kills = fields["sequence"]
            self._signal(process, fields["mask"])
        self._kills[process.id] = fields["sequence"]

    def _on_look(self, fields, body, now):
        self.actions.append(("look", self.epoch))

    def _on_release(self, fields, body, now):
        id = fields["id"]
        process = self.processes.get(id)
        if process is not None:
            self._forget(process)
            self.actions.append(("release", process))
        else:
            self._remember(id)
        self._say_forget(id)


_HANDLERS = {
    wire.PING: Core._on_ping,
    wire.PONG: lambda core, fields, body, now: None,
    wire.ACK: Core._on_ack,
    wire.END: Core._on_end,
    wire.SPAWN: Core._on_spawn,
    wire.RESUME: Core._on_resume,
    wire.CREDIT: Core._on_credit,
    wire.FIN: Core._on_fin,
    wire.STOP: Core._on_stop,
    wire.SIGNAL: Core._on_signal,
    wire.SIZE: Core._on_size,
    wire.RELEASE: Core._on_release,
    wire.KILL: Core._on_kill,
    wire.LOOK: Core._on_look,
}
