"""What the processes that run here use, told when somebody looks: the contents of LOOKED.

Compiled at the first look. On Linux it reads /proc, a few milliseconds at a time; elsewhere it runs `ps`. It
looks at the sessions that the agent started, and at nothing else of the host. Knows no link.
"""
import os
import struct

from agent import wire

SLICE = 0.005  # seconds of work in one turn
WHOLE = 30.0  # seconds between searches of all of /proc for what left its parent
COMMANDS = 10.0  # seconds after which a command is read again
MOST = 1000
MOST_COMMAND = 256
UNKNOWN = (1 << 64) - 1
PS = "-A -o pid= -o ppid= -o pgid= -o time= -o etime= -o rss= -o args=".split()
PS_EVERY = 5.0  # seconds: `ps` costs much more than /proc
PS_PATIENCE = 10.0
PS_OUTPUT = 8388608

PS_PIECE = 16384  # bytes of it that are read in one turn
ODD = (EnvironmentError, ValueError, IndexError, OverflowError)  # what a host tells that is no fact

_row = struct.Struct(">16sIIQQQH")


def _sysconf(name, otherwise):
    try:
        return os.sysconf(name)
    except (AttributeError, ValueError, OSError):
        return otherwise


TICK = 1000.0 / _sysconf("SC_CLK_TCK", 100)  # ms
PAGE = _sysconf("SC_PAGE_SIZE", 4096)


class Known(object):
    """What earlier looks found out about one session."""

    __slots__ = ("pids", "command", "read_at")

    def __init__(self):
        self.pids = set()
        self.command = None
        self.read_at = None


def leaders(core):
    """Return (id, pid) of the processes that run; the pid is 0 before they have one."""
    # who reads along or entered has no process of its own
    running = [process for process in core.processes.values()
               if process.exit is None and getattr(process, "of", None) is None]
    return [(process.id, process.pid or 0) for process in running][:MOST]


class Turn(object):
    """Says when a turn has worked enough."""

    def __init__(self, clock):
        self.clock = clock
        self.until = None

    def is_over(self):
        """Whether to yield now. The next turn begins when this is called again."""
        now = self.clock()
        if self.until is None or now <= self.until:
            self.until = self.until or now + SLICE
            return False
        self.until = None
        return True


def rows(leaders, known, found, clock):
    """Append a row for each of these processes to `found`. A generator: it yields when a turn is over.

    `known` (a dict) is kept from look to look.
    """
    try:
        for _ in _rows(leaders, known, found, clock):
            yield
    except ODD:
        pass  # a /proc that is unlike Linux's: what was found must do


def _rows(leaders, known, found, clock):
    turn = Turn(clock)
    now = clock()
    by_pid = dict([(pid, id) for id, pid in leaders if pid])
    for pid in [pid for pid in known if pid not in by_pid and pid is not None]:
        del known[pid]
    for pid in by_pid:
        if pid not in known:
            known[pid] = Known()
    if by_pid and now >= known.get(None, 0) + WHOLE:
        known[None] = now
        for name in os.listdir("/proc"):
            if turn.is_over():
                yield
            stat = _stat(name) if name.isdigit() else None
            if stat and int(stat[3]) in by_pid:
                known[int(stat[3])].pids.add(int(name))
    uptime = float((_read("/proc/uptime") or b"0").split()[0]) * 1000
    for id, leader in leaders:
        if not leader:
            found.append(nothing(id))
            continue
        session = known[leader]
        cpu = memory = 0
        age = UNKNOWN
        pids, todo = set(), [leader] + [pid for pid in session.pids if pid != leader]
        while todo:
            if turn.is_over():
                yield
            pid = todo.pop()
            stat = None if pid in pids else _stat(pid)
            if not stat or int(stat[3]) != leader:
                continue
            pids.add(pid)
            cpu += int(stat[11]) + int(stat[12]) + int(stat[13]) + int(stat[14])
            memory += int(stat[21])
            if pid == leader:
                age = max(0, int(uptime - int(stat[19]) * TICK))
            below = _read("/proc/%d/task/%d/children" % (pid, pid))
            todo.extend([int(child) for child in (below or b"").split()])
        session.pids = pids
        if not pids:
            found.append(nothing(id, leader))
            continue
        if session.command is None or now >= session.read_at + COMMANDS:
            said = _read("/proc/%d/cmdline" % leader) or b""
            session.command, session.read_at = clean(said.replace(b"\0", b" ")), now
        found.append(row(id, leader, len(pids), age, int(cpu * TICK), memory * PAGE, session.command))


def row(id, pid, count, age, cpu, memory, command):
    # a number that cannot be is not told
    age, cpu, memory = [number if 0 <= number < UNKNOWN else UNKNOWN for number in (age, cpu, memory)]
    return _row.pack(id, pid, count, age, cpu, memory, len(command)) + command


def nothing(id, pid=0):
    """The row of a process that the host tells nothing about."""
    return row(id, pid, 1, UNKNOWN, UNKNOWN, UNKNOWN, b"")


def clean(said):
    """Return a command as UTF-8 for a row."""
    said = said[:MOST_COMMAND].strip().decode("utf-8", "replace")
    # 2.7 decodes surrogates, which are no UTF-8
    said = u"".join([u"?" if 0xd800 <= ord(c) <= 0xdfff else c for c in said]).encode("utf-8")
    return said[:MOST_COMMAND].decode("utf-8", "ignore").encode("utf-8")


def facts():
    """Return what LOOKED says of the host."""
    about = {}
    try:
        about["load"] = "%.2f %.2f %.2f" % os.getloadavg()
    except (AttributeError, OSError):
        load = _read("/proc/loadavg")
        if load:
            about["load"] = wire.text(b" ".join(load.split()[:3]))
    for line in (_read("/proc/meminfo") or b"").split(b"\n", 5)[:5]:
        words = line.split()
        if len(words) == 3 and words[1].isdigit() and words[0] in (b"MemTotal:", b"MemAvailable:"):
            about["memory" if words[0] == b"MemTotal:" else "available"] = str(int(words[1]) * 1024)
    if "memory" not in about and _sysconf("SC_PHYS_PAGES", 0) > 0:
        about["memory"] = str(os.sysconf("SC_PHYS_PAGES") * PAGE)
    uptime = _read("/proc/uptime")
    if uptime:
        about["uptime"] = wire.text(uptime.split()[0])
    return [(key, wire.utf8(about[key])) for key in sorted(about)]


def frame(facts, rows):
    return wire.frame(wire.LOOKED, table=facts, rows=rows)


def _stat(pid):
    """Return the fields of a process behind its name, or None."""
    said = _read("/proc/%s/stat" % pid)
    return said and said[said.rfind(b")") + 2:].split() or None


def _read(path):
    """Return the beginning of a file of /proc, or None."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except (OSError, IOError):
        return None
    try:
        return os.read(fd, 4096)
    except (OSError, IOError):
        return None
    finally:
        os.close(fd)


class Looker(object):
    """Looks for an agent on POSIX. One look at a time: another one while it lasts is answered with it."""

    def __init__(self, loop, core, env):
        from agent.loop import clock
        self.loop = loop
        self.core = core
        self.env = env
        self.clock = clock
        self.known = {}
        self.epoch = None
        self.found = []
        self.work = None
        self.linux = os.path.exists("/proc/self/stat")
        # of `ps`: what it told, when, and what it tells now: parsed, the line that is not whole, its length
        self.table, self.told_at = [], None
        self.fresh, self.rest, self.length = [], b"", 0

    def look(self, epoch, now):
        self.epoch = epoch
        if self.work is not None:
            return
        if self.linux:
            self.found = []
            self.work = rows(leaders(self.core), self.known, self.found, self.clock)
            self._go_on(now)
        elif self.told_at is not None and now < self.told_at + PS_EVERY:
            self._tell()
        else:
            self._ask_ps(now)

    def _go_on(self, now):
        for _ in self.work:
            self.loop.after(0, self._go_on)
            return
        self.work = None
        self.core.looked(self.epoch, frame(facts(), self.found))

    # --- ps

    def _ask_ps(self, now):
        from agent import children
        from agent.loop import IN
        try:
            argv = [wire.utf8(word) for word in ["ps"] + PS]
            child = children.start(argv, self.env, (None, b"/"), 0, None)
        except EnvironmentError:
            self._tell()
            return
        self.work = child
        self.fresh, self.rest, self.length = [], b"", 0
        # its end is nobody's: the agent reaps it with the others
        for fd in (child.stdin, child.outs[2], child.error):
            if fd is not None:
                os.close(fd)
        self.loop.arm(child.outs[1], IN, self._on_ps, child)
        self.loop.after(PS_PATIENCE, self._late, child)

    def _on_ps(self, child, now, event):
        from agent.loop import AGAIN
        try:
            said = os.read(child.outs[1], PS_PIECE)
        except OSError as error:
            if error.errno in AGAIN:
                return
            said = b""
        lines, _, self.rest = (self.rest + said).rpartition(b"\n")
        self.fresh += parse_ps(lines)
        self.length += len(said)
        if not said or self.length > PS_OUTPUT:
            self._ps_over(child, now)

    def _late(self, now, child):
        if self.work is child:
            from agent import children
            from agent.lifecycle import signal
            children.kill(-child.pid, signal.SIGKILL)
            self._ps_over(child, now)

    def _ps_over(self, child, now):
        self.loop.close(child.outs[1])
        self.work = None
        self.table, self.told_at = self.fresh + parse_ps(self.rest), now
        self.fresh, self.rest = [], b""
        self._tell()

    def _tell(self):
        self.core.looked(self.epoch, frame(facts(), ps_rows(leaders(self.core), self.table)))


def parse_ps(said):
    """Return (pid, parent, group, cpu, age, memory, command) of each line that `ps` printed."""
    table = []
    for line in said.split(b"\n"):
        words = line.split(None, 6)
        try:
            pid, parent, group = [int(word) for word in words[:3]]
            command = words[6][:MOST_COMMAND] if len(words) > 6 else b""
            table.append((pid, parent, group, milliseconds(words[3]), milliseconds(words[4]),
                          int(words[5]) * 1024, command))
        except ODD:
            continue
    return table


def milliseconds(time):
    """Read [[DD-]HH:]MM:SS[.CC]."""
    days, _, clock = time.rpartition(b"-")
    seconds = 0.0
    for part in clock.split(b":"):
        seconds = seconds * 60 + float(part)
    return int((int(days or 0) * 86400 + seconds) * 1000)


def ps_rows(leaders, table):
    """Return the rows of these processes: each with its group, and with everything below it."""
    session = dict([(pid, pid) for _, pid in leaders if pid])
    own = set(session)
    grown = True
    while grown:
        grown = False
        for pid, parent, group, _, _, _, _ in table:
            if pid not in session:
                leader = group if group in own else session.get(parent)
                if leader is not None:
                    session[pid] = leader
                    grown = True
    found = {}
    for pid, _, _, cpu, age, memory, command in table:
        leader = session.get(pid)
        if leader is not None:
            count, all_cpu, its_age, all_memory, its_command = found.get(leader, (0, 0, UNKNOWN, 0, b""))
            if pid == leader:
                its_age, its_command = age, clean(command)
            found[leader] = count + 1, all_cpu + cpu, its_age, all_memory + memory, its_command
    return [row(id, pid, *[found[pid][at] for at in (0, 2, 1, 3, 4)]) if pid in found else nothing(id, pid)
            for id, pid in leaders]
