"""What the agent does with each frame: processes, attaching, muting, taking turns, acknowledging.

A state machine without fds and clock. A driver (posix, jvm) passes in what arrived and what processes did,
then performs `actions` and writes what poll_output() returns. Of each kind of control frame only the last one
counts, so nothing here is a queue.
"""
import zlib

from agent import wire
from agent.outlet import ACK_AFTER, Outlet
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
from agent.wire import HEAD, SHORT, STDERR, STDIN, STDOUT, RemoteProtocolError

UNCLAIMED = 30.0
SILENCE = 30.0  # seconds that an open link may be silent, even if `linger` is shorter
POOL = 64 * 1048576  # bytes; half of it is for windows that grow
MEMORY_OF_IDS = 16384
TURN = 256  # frames that are handled before processes get their turn: some milliseconds
NEVER = float("inf")
DATA_KIND = wire.DATA << 24
TUNNEL, AHEAD, ENTRY, READER = 1, 2, 3, 4  # roles in SPAWN
KEEP, ENTER, PREFIX = u"keep", u"enter", u"prefix"  # features


class Core(Outlet):
    """`actions` is a list of tuples for the driver, which empties it:

    ("start", process, spawn)         start it: `spawn` is the SPAWN's fields
    ("stdin", process)                there are bytes for its stdin, or its end
    ("read", process, stream)         there is room for its output again
    ("close", process, stream)        nobody wants this output any more
    ("signal", process, numbers)      send these signals, by their Linux numbers
    ("size", process, rows, columns)  give its terminal this size, if it has one
    ("release", process)              hang it up; the core has forgotten it
    ("enter", process)                connect it with the kept process that it is of
    ("disk", request)                 what `ring.Pool` asks for
    ("look", epoch)                   tell looked() what processes use
    ("drop",)                         end the link once everything was said
    ("end",)                          hang up everything and end
    """

    def __init__(self, incarnation, hello, now, linger=600.0, resume=1, pid=0, calendar=None):
        self.incarnation = incarnation
        self.hello = hello  # the table of HELLO, as pairs
        self.features = wire.text(dict(hello).get("features", b"")).split(" ")
        self.resume = resume
        self.pid = pid
        self.calendar = calendar  # returns a clock that counts sleep
        self.keeper = None  # of kept work, once there is some
        self.daemon_keeps = False  # the daemon understands what is said of it
        self.dismissed = False  # only kept work holds the agent here
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

    def attach(self, epoch, now, daemon_keeps=False):
        """Start with a link of this epoch: poll_output() returns marker and HELLO first."""
        self.dismissed = False
        self.daemon_keeps = daemon_keeps
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
        if self.keeper is not None:
            self.keeper.detached()
            self.dismissed = self.dismissed and self.keeps()

    def handle_bytes(self, data, now):
        """Handle bytes from the link. RemoteProtocolError: the link must end.

        Return True if they contain more than a turn's work: call again with b"" when others had their turn.
        """
        self.last_byte = now
        self.dismissed = False
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

    def stdin_of(self, data):
        """Return the process whose stdin goes on with these bytes of the link, if they are one short DATA
        frame and nothing of that stdin waits: the driver may write them at once, all but the first HEAD, and
        say so to wrote(). Return None for everything else, which is for handle_bytes()."""
        size = len(data)
        if not HEAD < size < SHORT or self._parser.pending():
            return None
        head, id, stream, position = wire.unpack_data_header(data)
        process = self.processes.get(id)
        if head != DATA_KIND | size - 4 or stream != STDIN or process is None or process.muted:
            return None
        stdin = process.stdin
        if (stdin.chunks or position != stdin.received or position < stdin.begun_at or stdin.stopped
                or stdin.length is not None or position + size - HEAD > stdin.limit):
            return None
        return process

    def wrote(self, process, size, now):
        """Note that the process took a whole frame of `size` bytes. Return False if there is something to say
        of it."""
        self.last_byte = now
        self.dismissed = False
        self._parser.parsed += size
        stdin = process.stdin
        stdin.received = stdin.consumed = stdin.received + size - HEAD
        if (stdin.limit - stdin.consumed) * 2 <= stdin.window:
            self.stdin_taken(process, 0)
            return False
        return self._parser.parsed - self._acked < ACK_AFTER and not self._turns and not self._shown

    # --- time

    def deadline(self):
        """Return when tick() has something to do."""
        when = NEVER if self.ending or self.dismissed else self.last_byte + self._patience()
        if self.keeper is not None:
            when = min(when, self.keeper.check_at)
        if self._unclaimed_until is not None and self._unclaimed_until < when:
            return self._unclaimed_until
        return when

    def tick(self, now):
        if now >= self.last_byte + self._patience() and not self.dismissed:
            if self.keeper is not None:
                self.keeper.lapse_all()
            self.end()
        if self.keeper is not None:
            self.keeper.tick(now)
            silent = not self.attached or now >= self.last_byte + self._patience()
            if self.dismissed and silent and not self.keeps():
                self.end()
        if self._unclaimed_until is not None and now >= self._unclaimed_until:
            self._unclaimed_until = self._unclaimed_left = None
            for process in list(self.processes.values()):
                if process.unclaimed and process.id in self.processes:
                    if self._is_kept(process):
                        self.keeper.lapse(process)
                    else:
                        self.end_process(process)

    def _patience(self):
        return max(self.linger, SILENCE) if self.attached else self.linger

    def end(self, everything=False):
        """Hang up all processes, once, and end; only those that are not kept, if there is kept work."""
        if self.ending:
            return
        self.dismissed = True
        stays = not everything and self.keeps()
        self.ending = not stays
        for process in list(self.processes.values()):
            if process.id in self.processes and not (stays and self._is_kept(process)):
                self.end_process(process)
        if not stays:
            self._forgets = {}
            self.actions.append(("end",))

    # --- kept work

    def keeps(self):
        """Whether there is kept work, or a record of it."""
        return self.keeper is not None and bool(self.keeper.kept)

    def _is_kept(self, process):
        return self.keeper is not None and process.id in self.keeper.kept

    def _keeper(self):
        if self.keeper is None:
            from agent.kept import Keeper
            self.keeper = Keeper(self, self.calendar())
        return self.keeper

    def end_process(self, process):
        """Forget a process, and hang it up."""
        self._forget(process)
        self._forgets[process.id] = True
        self.actions.append(("release", process))

    def reading_closed(self, process, stream):
        """What it reads along with has closed this stream."""
        if not process.outs[stream].stopped:
            self._mark(process, FIN_OF[stream])
        self.queue_more(process)
        self.mark_exit(process)

    # --- what processes did

    def started(self, process, pid):
        process.pid = pid
        self._mark(process, STARTED)
        if not process.plain:
            self.keeper.started(process)

    def not_started(self, process, errno, message):
        process.exit = NOT_STARTED, errno & 0xffffffff, message[:1000]
        process.outs[STDOUT].finish()
        process.outs[STDERR].finish()
        self.stdin_closed(process)
        self._mark(process, FIN_OUT | FIN_ERR | EXIT)
        if not process.plain:
            self.keeper.exited(process)

    def child_output(self, process, stream, data):
        """The process wrote `data`: at most capacity() of this stream."""
        process.outs[stream].write(data)
        if not process.in_turn and not process.muted:
            self._queue(process)
        if not process.plain:
            self.keeper.output(process)

    def child_output_closed(self, process, stream):
        """The process closed this stream."""
        out = process.outs[stream]
        if not out.finished:
            out.finish()
            if not out.stopped:
                self._mark(process, FIN_OF[stream])
            self.mark_exit(process)
            if not process.plain:
                self.keeper.output_closed(process, stream)

    def child_exited(self, process, how, value, message=""):
        """The leader and the rest of its session have ended. EXIT follows when both outputs are closed."""
        process.exit = how, value, message
        self.stdin_closed(process)
        self.mark_exit(process)
        if not process.plain:
            self.keeper.exited(process)

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

    def mark_exit(self, process):
        if process.has_ended():
            self._mark(process, EXIT)

    def _forget(self, process):
        del self.processes[process.id]
        self._grown -= process.stdin.window - STDIN_WINDOW
        self.mute(process)
        self._remember(process.id)
        if not process.plain:
            self.keeper.forgotten(process)

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
            self.say_forget(id)
        elif not process.muted:
            return process
        return None

    def say_forget(self, id):
        if len(self._forgets) >= 65536:
            raise RemoteProtocolError("too many unknown ids")
        self._forgets[id] = True

    def _on_ping(self, fields, body, now):
        self._pongs.append(fields["token"])
        del self._pongs[:-16]

    def _on_ack(self, fields, body, now):
        self._pace.acknowledged(fields["bytes"], now)

    def _on_end(self, fields, body, now):
        if self.keeps():
            self.keeper.lapse_all()
            self.actions.append(("drop",))
        self.end()

    def _on_end_all(self, fields, body, now):
        self.end(True)

    def _on_spawn(self, fields, body, now):
        id = fields["id"]
        rest = body[20:]
        identity = fields["owner"], len(rest), zlib.crc32(rest) & 0xffffffff, zlib.adler32(rest) & 0xffffffff
        process = self.processes.get(id)
        if process is not None:
            if process.identity != identity:
                raise RemoteProtocolError("a second SPAWN of one id differs from the first")
            self._resume(process, fields["attempt"], 0, fields["stdout_limit"], 0, fields["stderr_limit"],
                         fields["owner"])
            return
        if fields["incarnation"] != self.incarnation or id in self._known_ids or self.ending:
            self.say_forget(id)
            return
        keys, role = [key for key, _ in fields["options"]], fields["role"]
        for key in keys + {ENTRY: [ENTER], READER: [KEEP]}.get(role, []):
            if key not in self.features:
                raise RemoteProtocolError("SPAWN with an option that this agent did not name")
        process, action, refused = None, None, None
        if role not in (ENTRY, READER) and not fields["argv"] and not fields["node"]:
            refused = 22, "no command was given"
        elif role in (ENTRY, READER) or KEEP in keys or ENTER in keys:
            process, action, refused = self._keeper().asked(fields, identity)
        if process is None:
            process = Process(id, identity, role == TUNNEL, fields["stdout_limit"], fields["stderr_limit"],
                              "terminal" in keys)
            action = "start", process, fields
            if PREFIX in keys:
                refused = self._promised(process, fields)
        process.attempt = fields["attempt"]
        self.processes[id] = process
        self._attend(process)
        self._mark(process, RESUMED)
        if refused is not None:
            self.not_started(process, *refused)
        elif action is not None:
            self.actions.append(action)
        else:
            self._say_all(process)

    def _promised(self, process, fields):
        """Note with what its stdin begins. Return why that cannot be, or None."""
        from agent.prefix import Beginning
        try:
            if fields["role"] != AHEAD:
                raise ValueError("the process is not one that may be started ahead")
            process.stdin = Beginning([value for key, value in fields["options"] if key == PREFIX][0])
        except ValueError as error:
            return 22, "a prefix of its stdin was named, but %s" % error
        return None

    def _on_resume(self, fields, body, now):
        process = self.processes.get(fields["id"])
        if process is None:
            self.say_forget(fields["id"])
            return
        self._resume(process, fields["attempt"], fields["stdout_received"], fields["stdout_limit"],
                     fields["stderr_received"], fields["stderr_limit"])

    def _resume(self, process, attempt, out_received, out_limit, err_received, err_limit, owner=None):
        if not process.plain and not self.keeper.resumes(process, attempt, owner):
            return
        for stream, received, limit in ((STDOUT, out_received, out_limit), (STDERR, err_received, err_limit)):
            process.outs[stream].resume(received, limit)
            if process.outs[stream].capacity():
                self.actions.append(("read", process, stream))
        process.attempt = attempt
        process.muted = process.unclaimed = False
        self._attend(process)
        self._say_all(process)

    def _say_all(self, process):
        self._mark(process, process.all_to_say())
        self.queue_more(process)

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
            stopped = process.stdin.stopped
            process.stdin.fin(fields["length"])
            if not stopped:
                if process.stdin.stopped:
                    self._mark(process, STOP)
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
            if not process.plain:
                self.queue_more(process)

    def _on_stop(self, fields, body, now):
        process, out = self._out(fields)
        if process is not None and not out.stopped:
            out.stop()
            self.actions.append(("close", process, fields["stream"]))
            self.mark_exit(process)
            if not process.plain:
                self.keeper.output_closed(process, fields["stream"])

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
            if self._is_kept(process):
                process.size = fields["rows"], fields["columns"]
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
            self.say_forget(fields["id"])
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
        if process is None:
            self.forget_id(id)
        elif self._is_kept(process):
            self.keeper.leave(id, None, False)
        else:
            self.end_process(process)

    def forget_id(self, id):
        """Answer that there is no such process, and start none with this id."""
        self._remember(id)
        self.say_forget(id)

    def _on_take(self, fields, body, now):
        self._keeper().take(fields)

    def _on_leave(self, fields, body, now):
        self._keeper().leave(fields["id"], fields["owner"], fields["end"])


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
    wire.END_ALL: Core._on_end_all,
    wire.TAKE: Core._on_take,
    wire.LEAVE: Core._on_leave,
}
