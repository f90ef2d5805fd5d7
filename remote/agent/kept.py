"""Kept work: what stays when its client leaves or dies (docs/protocol.md, section 6).

Loaded when somebody first asks for it. Decides for the core who holds a process, what was left, how long it
stays, who may read along or enter, and what daemons are told. No fds; the clock that counts sleep comes from
the driver.
"""
from agent import wire
from agent.process import EXITED, Process
from agent.ring import BLOCK, LAST, SPILL, WAIT, Output, Pool, Reading, Ring, Snapshot
from agent.wire import STDERR, STDOUT

MOST = 200
MOST_RECORDS = 100
MOST_READERS = 16
DECLARED = 4 << 30  # bytes of all rings together
CHECK = 60.0  # seconds after which the clock is looked at again: a sleeping host wakes no timer
PATIENCE = 1.0  # seconds between what a process says of itself
RECENT = 10.0  # seconds for which KEPT is good enough for a look
TAKES = 8  # of these last ones it is known whether they were granted
COMMAND = 256
PAGE = 4096  # bytes of a terminal that are said at once
TAKEN = 256  # a flag of processes, above those in `process`
ENTRY, READER = 3, 4  # roles in SPAWN
NEVER = float("inf")
NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
EXISTS, MISSING, INVALID, REFUSED, TOO_MANY, TOO_LARGE = 17, 2, 22, 13, 11, 28  # errno


class Refused(Exception):
    """Errno and a sentence."""


class Ringed(Process):
    """A process whose output is in rings."""

    __slots__ = ()
    plain = False

    def say_data(self, out):
        """Append SKIP and DATA of one stream, by turns. Return their size."""
        outs = self.outs
        errors_next = self.err_first and outs[STDERR].unsent() or not outs[STDOUT].unsent()
        stream = STDERR if errors_next else STDOUT
        reading = outs[stream]
        if self.muted or not reading.unsent():
            self.in_turn = False
            return 0
        self.err_first = stream == STDOUT
        size, position = 0, reading.skip()
        if position is not None:
            out.append(wire.frame(wire.SKIP, id=self.id, stream=stream, position=position))
            size = 29
        if reading.unsent():
            position, data = reading.next_data()
            out.append(wire.data_header(self.id, stream, position, len(data)))
            out.append(data)
            size += 29 + len(data)
        self.in_turn = self.has_unsent()
        return size


class Kept(Ringed):
    """One that is kept, from its start to the end of its record."""

    __slots__ = ("name", "node", "command", "seconds", "policies", "tenure", "owner", "program",
                 "program_pid", "held", "lapsed", "taking", "asked", "takes", "since", "born", "ended",
                 "size", "enter", "waits", "notes", "readers", "entries", "told")

    def __init__(self, id, identity, fields, asked, pool, now):
        terminal = dict(fields["options"]).get("terminal")
        Process.__init__(self, id, identity, False, None, None, terminal is not None)
        self.name, self.seconds, self.policies = asked.name, asked.seconds, asked.policies
        self.outs = {}
        for stream, words in ((STDOUT, asked.policies[0]), (STDERR, asked.policies[1])):
            ring = Ring(words[0], words[1], pool, BLOCK if terminal is None else PAGE)
            limit = fields["stdout_limit" if stream == STDOUT else "stderr_limit"]
            self.outs[stream] = Output(ring, limit, (self, stream))
        self.node = fields["node"]
        self.command = command(fields["argv"])
        self.tenure = 1
        self.owner = fields["owner"]  # of the last one who held it
        self.program, self.program_pid = u"", 0
        self.held = True
        self.lapsed = False  # its holder was not heard of, and may come back
        self.taking = False  # no RESUME has followed the last TAKE yet
        self.asked = 0  # the attempt of that TAKE
        self.takes = []  # (owner, attempt) of the last ones
        self.since = self.born = now
        self.ended = None
        self.size = _size(terminal)
        self.enter = u"enter" in dict(fields["options"])
        self.waits = False
        self.notes = {}  # what they are about: text
        self.readers, self.entries = [], []
        self.told = -NEVER

    def rings(self):
        return [self.outs[STDOUT].ring, self.outs[STDERR].ring]

    def say(self, out, flags):
        if flags & TAKEN:
            stdin, outs = self.stdin, self.outs
            rows, columns = self.size
            if self.terminal and not rows and not columns:
                rows, columns = 24, 80
            ended = stdin.length is not None and stdin.received == stdin.length
            ends = stdin.stopped * 1 + ended * 2 + outs[STDOUT].stopped * 4 + outs[STDERR].stopped * 8
            out.append(wire.frame(
                wire.TAKEN, id=self.id, attempt=self.asked, tenure=self.tenure, last=self.attempt,
                signals=self.signals, sizes=self.sizes, rows=rows, columns=columns, ends=ends,
                stdin=stdin.received, stdout_start=outs[STDOUT].ring.start, stdout_end=outs[STDOUT].end,
                stderr_start=outs[STDERR].ring.start, stderr_end=outs[STDERR].end))
        Process.say(self, out, flags)

    def table(self, now):
        """Return the table of KEPT."""
        about = {"name": self.name, "node": self.node, "command": self.command,
                 "tenure": "%d" % self.tenure, "seconds": "%d" % self.seconds,
                 "stdout": _words(self.policies[0]), "stderr": _words(self.policies[1]),
                 "age": "%d" % max(0, (now - self.born) * 1000)}
        if self.pid is not None:
            about["pid"] = "%d" % self.pid
        if self.held:
            about["holder"] = "".join(["%02x" % byte for byte in bytearray(self.owner)])
            if self.program:
                about["program"], about["program-pid"] = self.program, "%d" % self.program_pid
        else:
            about["left"] = "%d" % max(0, (self.seconds - (now - self.since)) * 1000)
        if self.exit is not None:
            about["exit"] = "%d %d" % self.exit[:2]
            about["ended"] = "%d" % max(0, (now - self.ended) * 1000)
            if self.exit[2]:
                about["message"] = self.exit[2]
        for key, holds in (("terminal", self.terminal), ("enter", self.enter), ("waits", self.waits)):
            if holds:
                about[key] = "1"
        if self.notes:
            about["note"] = u"; ".join([wire.text(self.notes[key]) for key in sorted(self.notes)])[:2000]
        return [(key, wire.utf8(about[key])) for key in sorted(about)]


class Reader(Ringed):
    """Somebody who reads along: its streams are those of `of`."""

    __slots__ = ("of",)

    def __init__(self, id, identity, fields, of, size, once):
        Process.__init__(self, id, identity, False, None, None)
        self.of = of
        self.outs = {}
        kind = Snapshot if once else Reading
        for stream, limit in ((STDOUT, fields["stdout_limit"]), (STDERR, fields["stderr_limit"])):
            ring = of.outs[stream].ring
            floor = ring.start if size is None else max(ring.start, ring.end - size)
            reading = self.outs[stream] = kind(ring, limit, floor)
            ring.readings = (ring.readings or []) + [reading]
        self.pid = of.pid
        self.exit = (EXITED, 0, "") if once else of.exit
        self.stdin.stop()
        of.readers.append(self)


class Entry(Process):
    """A connection that `of` was given."""

    __slots__ = ("of",)
    plain = False

    def __init__(self, id, identity, fields, of):
        Process.__init__(self, id, identity, False, fields["stdout_limit"], fields["stderr_limit"])
        self.of = of
        of.entries.append(self)


class Asked(object):
    """The option `keep` of a SPAWN, read."""

    def __init__(self, value):
        words = _text(value).split(u" ")
        self.name = words[0]
        if not is_name(self.name):
            raise Refused(INVALID, "cannot keep it under this name: a name consists of letters, digits and"
                          " ._-, begins with a letter or digit, and has at most 64 of them")
        if len(words) != 4 or not _is_number(words[1]) or not 0 < int(words[1]) < 1 << 32:
            raise Refused(INVALID, "cannot keep %s: it is not said for how many seconds" % self.name)
        self.seconds = int(words[1])
        self.policies = [self._policy(word) for word in words[2:]]

    def _policy(self, word):
        policy, _, size = word.partition(u"=")
        if word == WAIT:
            return WAIT, 0
        if policy in (LAST, SPILL) and _is_number(size) and 0 < int(size):
            if int(size) <= DECLARED:
                return str(policy), int(size)
            raise Refused(TOO_LARGE, "cannot keep %s: %s bytes of output are more than a host holds: ask for"
                          " at most 4 GiB" % (self.name, size))
        raise Refused(INVALID, "cannot keep %s: its output can wait, or be held by last=BYTES or spill=BYTES"
                      % self.name)


class Keeper(object):
    """All kept work of an agent. `core` calls it, and it changes processes of the core."""

    def __init__(self, core, clock):
        self.core = core
        self.clock = clock
        self.pool = Pool(self._ask, self._awake)
        self.kept = {}  # id: Kept
        self.names = {}
        self.news = {}  # id: Kept, of which something is to be told
        self.later = {}  # the same, once PATIENCE is over
        self.left = {}  # (id, owner): (pid, program)
        self.check_at = NEVER

    # --- asking for it

    def asked(self, fields, identity):
        """Return the process that a SPAWN asks for, what the driver must do, and None; or why not."""
        try:
            process, action = self.make(fields, identity)
        except Refused as refused:
            return None, None, refused.args
        return process, action, None

    def make(self, fields, identity):
        """Return the process that a SPAWN asks for, and what the driver must do. Refused says why not."""
        options = dict(fields["options"])
        id, role = fields["id"], fields["role"]
        if role == READER:
            return self._read(id, identity, fields, _text(options.get(u"keep", b""))), None
        if role == ENTRY:
            of = self._named(_text(options.get(u"enter", b"")))
            if not of.enter or of.exit is not None:
                raise Refused(REFUSED, "%s lets nobody in: %s" % (
                    of.name, "it has ended" if of.exit else "it was not started as something to enter"))
            if not of.held or of.owner != fields["owner"]:
                raise Refused(REFUSED, "only the program that holds %s may enter it: attach to it first"
                              % of.name)
            process = Entry(id, identity, fields, of)
            return process, ("enter", process)
        if role != 0 or u"keep" not in options:
            raise Refused(INVALID, "only a plain process can be kept, and only what is kept can be entered")
        asked = Asked(options[u"keep"])
        before = self.names.get(asked.name)
        if before is not None and before.exit is None:
            raise Refused(EXISTS, "the name %s is taken on this host: attach to what has it, end that, or"
                          " choose another name" % asked.name)
        if len([each for each in self.kept.values() if each.exit is None]) >= MOST:
            raise Refused(TOO_MANY, "cannot keep %s: this host keeps %d processes already: end one of them"
                          % (asked.name, MOST))
        others = [each for each in self.kept.values() if each is not before]
        declared = sum([size for each in others for _, size in each.policies])
        if declared + sum([size for _, size in asked.policies]) > DECLARED:
            raise Refused(TOO_LARGE, "cannot keep %s: with its output this host would hold more than 4 GiB:"
                          " ask for less, or end other kept work" % asked.name)
        if before is not None:
            self.end(before)
        process = Kept(id, identity, fields, asked, self.pool, self.clock())
        self.kept[id] = process
        self.names[asked.name] = process
        self.changed(process)
        return process, ("start", process, fields)

    def _read(self, id, identity, fields, words):
        words = words.split(u" ")
        once = words[2:] == [u"once"]
        name, size = words[:2] if len(words) == 2 or once else (words[0], u"")
        if size != u"all" and not _is_number(size):
            raise Refused(INVALID, "cannot read along: it is not said from where")
        of = self._named(name)
        if len(of.readers) >= MOST_READERS:
            raise Refused(TOO_MANY, "%d programs read along with %s already: end one of them"
                          % (MOST_READERS, of.name))
        return Reader(id, identity, fields, of, None if size == u"all" else int(size), once)

    def _named(self, name):
        of = self.names.get(name)
        if of is None:
            raise Refused(MISSING, "nothing with the name %s is kept on this host" % name[:64]
                          if is_name(name) else "no name of kept work was given")
        return of

    # --- who holds it

    def take(self, fields):
        core = self.core
        process = core.processes.get(fields["id"])
        owner, attempt = fields["owner"], fields["attempt"]
        if process is None or fields["incarnation"] != core.incarnation or not isinstance(process, Kept):
            core.say_forget(fields["id"])
            return
        mine = owner == process.owner
        asked = owner, attempt
        if not mine and (fields["tenure"] or asked in process.takes):
            self._say_left(process, owner)
            return
        if mine and fields["tenure"] not in (0, process.tenure):
            self._say_left(process, owner)
            return
        if not mine:
            process.tenure = process.tenure % 0xffffffff + 1
            for entry in list(process.entries):
                core.end_process(entry)
        if asked not in process.takes:
            process.takes = process.takes[1 - TAKES:] + [asked]
        process.owner = owner
        process.program, process.program_pid = fields["program"][:200], fields["pid"]
        process.held, process.lapsed, process.unclaimed = True, False, False
        process.taking, process.asked = True, attempt
        stdin = process.stdin
        if stdin.length is not None and stdin.received < stdin.length:
            stdin.length = None
        for out in process.outs.values():
            out.take()
        core.mute(process)
        core.list(process, TAKEN)
        self.changed(process)

    def resumes(self, process, attempt, owner=None):
        """Whether this RESUME, or repeated SPAWN of `owner`, counts."""
        if not isinstance(process, Kept):
            return True
        if owner not in (None, process.owner) or not process.held and not process.lapsed:
            self._say_left(process, owner or process.owner, owner in (None, process.owner))
            return False
        if process.taking and attempt <= process.attempt:
            return False
        process.taking = False
        if not process.held:
            process.held, process.lapsed = True, False
            self.changed(process)
        for out in process.outs.values():
            out.come_back()
        return True

    def leave(self, id, owner, end):
        """Handle LEAVE, and with `owner` None RELEASE of what is kept."""
        core = self.core
        process = core.processes.get(id)
        if process is None:
            core.forget_id(id)
        elif not isinstance(process, Kept):
            if owner == process.identity[0]:
                core.end_process(process)
            else:
                self.left[id, owner] = 0, u""
        elif owner not in (None, process.owner):
            self._say_left(process, owner)
        elif end:
            self.end(process)
        else:
            self._let(process)
            self._say_left(process, process.owner, True)

    def _say_left(self, process, owner, nobody=False):
        """Tell somebody that another one holds it, or that nobody does."""
        if not self.core.daemon_keeps:
            self.core.say_forget(process.id)
        elif nobody:
            self.left[process.id, owner] = 0, u""
        else:
            self.left[process.id, owner] = process.program_pid, process.program or u"another program"

    def _let(self, process, lapsed=False):
        """Nobody holds it from now on."""
        if process.held:
            process.since = self.clock()
            self.check_at = -NEVER
        process.held, process.lapsed, process.unclaimed = False, lapsed, False
        process.taking = False
        self.core.mute(process)
        self._go_away(process)
        self.changed(process)

    def lapse(self, process):
        """Its holder was not heard of."""
        if process.held:
            self._let(process, True)

    def lapse_all(self):
        for process in self.kept.values():
            self.lapse(process)

    def detached(self):
        """The link is gone: every holder is out of reach."""
        self.left = {}
        for process in self.kept.values():
            if process.held:
                self._go_away(process)

    def _go_away(self, process):
        for stream in (STDOUT, STDERR):
            process.outs[stream].leave()
            if process.outs[stream].capacity():
                self.core.actions.append(("read", process, stream))

    # --- what becomes of it

    def started(self, process):
        if isinstance(process, Kept):
            self.changed(process)

    def output(self, process):
        """It wrote something: those who read along want it, too."""
        for reader in getattr(process, "readers", ()):
            self.core.queue_more(reader)

    def output_closed(self, process, stream):
        for reader in getattr(process, "readers", ()):
            self.core.reading_closed(reader, stream)

    def exited(self, process):
        """It has exited, or could not start."""
        if not isinstance(process, Kept) or not self._has(process):
            return
        process.since = process.ended = self.clock()
        process.waits = False
        self.check_at = -NEVER
        self.changed(process)
        for reader in process.readers:
            if reader.exit is None:
                reader.exit = process.exit
                self.core.mark_exit(reader)
        records = [each for each in self.kept.values() if each.exit is not None and each is not process]
        if len(records) >= MOST_RECORDS:
            self.end(min(records, key=lambda each: (each.held, each.ended)))

    def end(self, process):
        """End it, and all that reads along or entered."""
        self.core.end_process(process)

    def forgotten(self, process):
        """The core has forgotten this process."""
        if isinstance(process, Entry):
            process.of.entries.remove(process)
        elif isinstance(process, Reader):
            process.of.readers.remove(process)
            for stream in (STDOUT, STDERR):
                process.outs[stream].ring.readings.remove(process.outs[stream])
        else:
            del self.kept[process.id]
            if self.names.get(process.name) is process:
                del self.names[process.name]
            self.news.pop(process.id, None)
            self.later.pop(process.id, None)
            for each in process.readers + process.entries:
                self.core.end_process(each)
            for ring in process.rings():
                self.pool.close(ring)
            if not self.kept:
                self.check_at = -NEVER  # the core may have stayed for it

    def end_all(self):
        for process in list(self.kept.values()):
            self.end(process)

    # --- telling

    def changed(self, process):
        if self._has(process):
            self.later.pop(process.id, None)
            self.news[process.id] = process

    def _has(self, process):
        """Whether it has not been forgotten: nothing may be told of it after that."""
        return self.kept.get(process.id) is process

    def wait_for_reader(self, process, waits, now):
        """Its code began or ceased to wait for somebody who reads."""
        if process.waits == waits or process.exit is not None or process.id not in self.kept:
            return
        process.waits = waits
        if now >= process.told + PATIENCE:
            self.changed(process)
        elif process.id not in self.news:
            self.later[process.id] = process
            self.check_at = min(self.check_at, process.told + PATIENCE)

    def note(self, process, about, words):
        """Say something about it to people; empty: no more."""
        if process.notes.get(about, "") != words:
            process.notes[about] = words
            if not words:
                del process.notes[about]
            self.changed(process)

    def has_news(self):
        return bool(self.left or self.news and self.core.daemon_keeps)

    def say(self, out, now):
        """Append what changed: KEPT, and LEFT."""
        core = self.core
        if core.daemon_keeps:
            for process in list(self.news.values()):
                self._say(out, process, now)
            self.news = {}
        for id, owner in self.left:
            pid, program = self.left[id, owner]
            out.append(wire.frame(wire.LEFT, id=id, owner=owner, pid=pid, program=program))
        self.left = {}

    def say_all(self, out, now):
        for process in self.kept.values():
            self._say(out, process, now)
        self.news, self.later = {}, {}
        return len(self.kept)

    def _say(self, out, process, now):
        process.told = now
        self.later.pop(process.id, None)
        out.append(wire.frame(wire.KEPT, id=process.id, table=process.table(self.clock())))

    def looked(self, now):
        """Somebody looks: tell what was told some time ago."""
        for process in self.kept.values():
            if now >= process.told + RECENT:
                self.changed(process)

    def names_told(self):
        """Return the names of all that is kept."""
        return u", ".join(sorted([process.name for process in self.kept.values()]))

    # --- time

    def tick(self, now):
        """End what nobody held for its time."""
        if now < self.check_at:
            return
        for process in list(self.later.values()):
            if now >= process.told + PATIENCE:
                self.changed(process)
        clock, shortest = self.clock(), NEVER
        for process in list(self.kept.values()):
            if not process.held and process.id in self.kept:
                left = process.seconds - (clock - process.since)
                if left <= 0:
                    self.end(process)
                else:
                    shortest = min(shortest, left)
        self.check_at = now + min(shortest, CHECK) if shortest < NEVER else NEVER
        for process in self.later.values():
            self.check_at = min(self.check_at, process.told + PATIENCE)

    # --- the disk

    def _ask(self, request):
        self.core.actions.append(("disk", request))

    def _awake(self, output):
        process, stream = output.owner
        self.core.actions.append(("read", process, stream))

    def stored(self, ring, position, size):
        ring.stored(position, size)

    def not_stored(self, ring, position, size, words):
        ring.not_stored(position, size)
        self._trouble(ring, words)

    def loaded(self, ring, position, data):
        self._wake(ring, ring.loaded(position, data))

    def lost(self, ring, words):
        self._wake(ring, ring.lost())
        self._trouble(ring, words)

    def _wake(self, ring, readings):
        process, stream = ring.output.owner
        for each in [process] + process.readers:
            if each.outs[stream] in readings:
                self.core.queue_more(each)

    def _trouble(self, ring, words):
        process, stream = ring.output.owner
        if process.id in self.kept:
            what = "output" if stream == STDOUT else "errors"
            self.note(process, what, "less of its %s is held: %s" % (what, words))


def is_name(name):
    return 0 < len(name) <= 64 and NAME.issuperset(name) and name[0] not in u"._-"


def command(argv):
    """Return a command for people, as UTF-8."""
    said = b" ".join(argv)[:COMMAND].strip().decode("utf-8", "replace")
    # 2.7 decodes surrogates, which are no UTF-8
    said = u"".join([u"?" if 0xd800 <= ord(c) <= 0xdfff else c for c in said]).encode("utf-8")
    return said[:COMMAND].decode("utf-8", "ignore").encode("utf-8")


def _text(value):
    return value.decode("utf-8", "replace")


def _is_number(word):
    return 0 < len(word) <= 20 and not set(word) - set(u"0123456789")


def _words(policy):
    return policy[0] if policy[0] == WAIT else "%s=%d" % policy


def _size(value):
    words = (value or b"").split(b" ")
    if len(words) == 2 and all([word.isdigit() for word in words]):
        return tuple([min(int(word), 65535) for word in words])
    return 0, 0
