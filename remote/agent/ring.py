"""What is held of the output of kept work, in memory and on disk, and who reads it from which position.

A Ring has the bytes of one output from `start` to `end`: those before `base` are on disk, the others in
memory, in blocks. An Output is the end of the process and its holder, a Reading that of somebody who reads
along. The Pool is the memory that all rings share. No fds, no clock, no frames: the pool asks for what
concerns the disk.
"""
from agent.stream import MAX_WINDOW
from agent.wire import RemoteProtocolError

BLOCK = 65536
MEMORY = 64 * 1048576  # bytes of all rings together
SHORT = 65536  # bytes of an output for the disk that stay in memory
UNDER_WAY = 4 * 1048576  # bytes that may wait to be written
PIECE = 262144  # bytes that are read from the disk at once
STEP = 1024  # bytes that readers of smaller rings are skipped forward at least
FREE = 1048576  # room of an output that nobody takes
WAIT, LAST, SPILL = "wait", "last", "spill"


class Pool(object):
    """`ask` is called with what the disk shall do: ("store", ring, position, bytes), ("load", ring, position,
    size), ("close", ring). Answers come by Ring's stored, not_stored, loaded and lost. `wake` is called with
    each output that may be read again."""

    def __init__(self, ask, wake, most=MEMORY):
        self.ask = ask
        self.wake = wake
        self.most = most
        self.used = 0  # bytes in memory
        self.under_way = 0  # bytes of them that are being written
        self.rings = []
        self.waiting = []

    def add(self, ring):
        self.rings.append(ring)

    def close(self, ring):
        """Let go of everything that this ring holds."""
        if ring in self.rings:
            self.rings.remove(ring)
            ring.drop(ring.end)
            if ring.on_disk:
                self.ask(("close", ring))
            self.awake()

    def is_full(self):
        return self.used > self.most

    def awake(self):
        """Let those go on that wait for memory or for the disk."""
        if self.waiting and self.under_way <= UNDER_WAY // 2:
            full = self.is_full()
            waiting, self.waiting = self.waiting, []
            for output in waiting:
                if output.needs_room(full):
                    self.waiting.append(output)
                else:
                    self.wake(output)

    def make_room(self):
        """Write or drop the oldest bytes of the largest rings until all fit into the memory."""
        tired = set()
        while self.used - self.under_way > self.most:
            rings = [ring for ring in self.rings if ring.policy != WAIT and ring not in tired and ring.blocks]
            if not rings:
                return
            ring = max(rings, key=lambda ring: ring.end - ring.going)
            if self.under_way < UNDER_WAY and ring.store():
                continue
            if not (ring.broken and ring.give_up()):
                tired.add(ring)


class Ring(object):
    """Positions: start <= end, base <= going <= end. On disk is what stands between start and base."""

    __slots__ = ("policy", "size", "pool", "piece_size", "output", "start", "end", "base", "going", "blocks",
                 "readings", "finished", "stopped", "away", "on_disk", "broken")

    def __init__(self, policy, size, pool, piece_size=BLOCK):
        self.policy = policy
        self.size = size
        self.pool = pool
        self.piece_size = piece_size  # bytes that are sent at once, at most a block
        self.output = None
        self.start = self.end = self.base = 0
        self.going = 0  # what is before it was given to the disk
        self.blocks = {}  # number: bytes
        self.readings = None  # a list, once there is one
        self.finished = self.stopped = False
        self.away = False  # nobody holds the process, or its holder is out of reach
        self.on_disk = False  # it has a file
        self.broken = False  # the disk took or gave no more
        pool.add(self)

    def file_size(self):
        """Return the bytes that its file needs at most; position n is at n modulo this."""
        return (max(self.size, MAX_WINDOW) // BLOCK + 33) * BLOCK

    def write(self, data):
        """Append what the process wrote."""
        if self.stopped:
            return
        blocks, size, done = self.blocks, len(data), 0
        if not blocks:
            self.base = self.going = self.end
        while done < size:
            number, inside = divmod(self.end, BLOCK)
            take = min(BLOCK - inside, size - done)
            part = data if take == size else data[done:done + take]
            if number not in blocks:
                blocks[number] = part if take == BLOCK else bytearray(part)
            else:
                blocks[number] += part
            done += take
            self.end += take
        pool = self.pool
        pool.used += size
        self.settle()
        self._spill()
        if pool.used > pool.most:
            pool.make_room()

    def _spill(self):
        if self.policy == SPILL:
            while self.end - self.going > SHORT and self.pool.under_way < UNDER_WAY and self.store():
                pass

    def settle(self):
        """Drop what nobody was promised."""
        if self.policy == WAIT:
            self.drop(self.output.acknowledged)
        elif self.away:
            self.drop(self.end - self.size)
        else:
            self.drop(min(self.output.acknowledged, self.end - self.size))

    def give_up(self):
        """Drop the oldest block in memory, but nothing that its holder may still get. Return False if there
        is no such block."""
        until = min((self.base // BLOCK + 1) * BLOCK, self.end)
        if not self.away and self.output.acknowledged < until:
            return False
        self.drop(until)
        return True

    def drop(self, position):
        """Drop everything before a position. In memory, only whole blocks make room."""
        if position <= self.start:
            return
        self.start = position
        if position >= self.end:
            self.start = self.end
            freed = self.end - self.base
            self.blocks.clear()
            self.base = self.end
        else:
            freed = 0
            while self.base // BLOCK < position // BLOCK:
                freed += self._remove_block()
        if freed:
            self.pool.used -= freed
            self.going = max(self.going, self.base)
            self.pool.awake()

    def _remove_block(self):
        number = self.base // BLOCK
        data = self.blocks.pop(number, None)
        self.base = (number + 1) * BLOCK
        return 0 if data is None else len(data)

    def piece(self, position):
        """Return what is in memory from this position on, at most a piece; None if that is on disk."""
        if position < self.base:
            return None
        number = position // BLOCK
        inside = position - max(number * BLOCK, self.base)
        block = self.blocks[number]
        if inside or len(block) > self.piece_size:
            block = block[inside:inside + self.piece_size]
        return block

    # --- the disk

    def store(self):
        """Give the oldest full block to the disk. Return False if there is none."""
        number = self.going // BLOCK
        end = (number + 1) * BLOCK
        if self.broken or end > self.end or end - self.start > self.file_size() or number not in self.blocks:
            return False
        self.on_disk = True
        data = bytes(self.blocks[number])
        self.pool.under_way += len(data)
        position, self.going = self.going, end
        self.pool.ask(("store", self, position, data))
        return True

    def stored(self, position, size):
        """A block is on disk now."""
        self.pool.under_way -= size
        if position == self.base and not self.broken and self.blocks:
            self.pool.used -= self._remove_block()
        self._spill()
        self.pool.make_room()
        self.pool.awake()

    def not_stored(self, position, size):
        """The disk did not take a block: what is not on it stays in memory, as long as it fits."""
        self.pool.under_way -= size
        self.broken = True
        self.going = self.base
        self.pool.make_room()
        self.pool.awake()

    def loaded(self, position, data):
        """Hand over what was read from the disk. Return the readings that wanted it."""
        return self._answer(position, data)

    def lost(self):
        """What was on disk is gone. Return the readings that wanted it."""
        self.broken = True
        self.drop(min(self.base, self.end))
        return self._answer(None, b"")

    def _answer(self, position, data):
        found = [each for each in self.all_readings() if each.wanted is not None
                 and position in (None, each.wanted)]
        for each in found:
            each.wanted = None
            each.loaded = (position, data) if data else None
        return found

    def all_readings(self):
        return [self.output] + (self.readings or [])


class Reading(object):
    """Somebody who reads a ring: acknowledged <= sent <= end, and nothing is sent at or past `limit`."""

    __slots__ = ("ring", "limit", "acknowledged", "sent", "floor", "skipping", "left", "wanted", "loaded",
                 "fresh")

    def __init__(self, ring, limit, floor=0):
        self.ring = ring
        self.limit = 0
        self.floor = floor  # the first position that it wants
        self.acknowledged = self.sent = 0
        self.skipping = False  # `sent` was moved, and it was not told yet
        self.left = False  # it wants no more
        self.fresh = True  # there was no SKIP since its last credit
        self.wanted = None  # position that is being read from the disk
        self.loaded = None  # (position, bytes) from the disk
        self.resume(0, limit)

    end = property(lambda self: self.ring.end)
    finished = property(lambda self: self.ring.finished or self.ring.stopped)
    stopped = property(lambda self: self.left)

    def unsent(self):
        """Return how many bytes can be sent at once, or 1 if there is a SKIP to send."""
        ring = self.ring
        if self.left:
            return 0
        if self.sent < ring.start and not self.skipping:
            # SKIP costs no credit, and too many of them would flood the link: none without credit, and for a
            # few bytes one for each credit
            few = ring.size < STEP and ring.start - self.sent < STEP and not ring.finished
            if self.limit <= self.sent or few and not self.fresh:
                return 0
        if self.sent < ring.start:
            self._move(ring.start)
        if self.skipping:
            return 1
        until = min(self.limit, self.end)
        if self.sent >= until:
            return 0
        if self.sent >= ring.base:
            self.loaded = None
            return until - self.sent
        if self.loaded is not None:
            at, data = self.loaded
            if at <= self.sent < at + len(data):
                return min(until, at + len(data)) - self.sent
            self.loaded = None
        if self.wanted is None:
            asked = [each for each in ring.all_readings() if each.wanted == self.sent]
            self.wanted = self.sent
            if not asked:
                ring.pool.ask(("load", ring, self.sent, min(PIECE, ring.base - self.sent)))
        return 0

    def capacity(self):
        return 0  # nothing writes here

    def skip(self):
        """Return the position before which everything was passed over, if that must be told."""
        if self.skipping:
            self.skipping = False
            return self.sent
        return None

    def next_data(self):
        """Return (position, bytes) to send, at most a piece: only while unsent(), and after skip()."""
        position = self.sent
        data = self.ring.piece(position)
        if data is None:
            at, data = self.loaded
            data = data[position - at:position - at + self.ring.piece_size]
        until = min(self.limit, self.end)
        if len(data) > until - position:
            data = data[:until - position]
        self.sent += len(data)
        return position, data if isinstance(data, bytes) else bytes(data)

    def credit(self, received, limit):
        """As SendStream.credit."""
        if self.stopped:
            return False
        if received > self.sent:
            raise RemoteProtocolError(
                "credit says %d bytes were received, only %d were sent" % (received, self.sent))
        _check(received, limit)
        if received > self.acknowledged:
            self.acknowledged = received
            self._acknowledged()
        if limit > self.limit:
            self.limit = limit
            self.fresh = True
            return True
        return False

    def resume(self, received, limit):
        """Start a new attempt from `received`, or from what is held."""
        if self.stopped:
            return
        ring = self.ring
        if received > ring.end:
            raise RemoteProtocolError("resume from %d, but there are only %d bytes" % (received, ring.end))
        _check(received, limit)
        self.acknowledged = self.sent = received
        self.limit = limit
        self.fresh = True
        self.skipping = False
        if received < max(ring.start, self.floor):
            self._move(max(ring.start, self.floor))
        self._acknowledged()

    def stop(self):
        self.left = True
        self.loaded = None

    def _move(self, position):
        """Pass over everything before a position, which counts as received."""
        self.sent = position
        self.acknowledged = max(self.acknowledged, position)
        self.limit = max(self.limit, position)
        self.skipping = True
        self.fresh = False

    def _acknowledged(self):
        pass


class Snapshot(Reading):
    """Somebody who reads what is held now, and nothing that follows."""

    __slots__ = ("last",)

    def __init__(self, ring, limit, floor=0):
        self.last = ring.end
        Reading.__init__(self, ring, limit, floor)

    end = property(lambda self: self.last)
    finished = True

    def unsent(self):
        return 0 if self.sent >= self.last and not self.skipping else Reading.unsent(self)

    def _move(self, position):
        Reading._move(self, min(position, self.last))


class Output(Reading):
    """What the process writes, for its holder."""

    __slots__ = ("owner",)

    def __init__(self, ring, limit, owner):
        ring.output = self
        self.owner = owner  # (process, stream), for whoever wakes it
        Reading.__init__(self, ring, limit)

    finished = property(lambda self: self.ring.finished)
    stopped = property(lambda self: self.ring.stopped)

    def capacity(self):
        """Return how many bytes may be read from the process now."""
        ring = self.ring
        if ring.stopped or ring.finished:
            return 0
        room = max(0, self.limit - ring.end)
        pool = ring.pool
        if ring.away and ring.policy != WAIT:
            room = FREE
        if room and self.needs_room(pool.is_full()):
            if self not in pool.waiting:
                pool.waiting.append(self)
            return 0
        return room

    def needs_room(self, full):
        """Return whether it waits for memory, of which there is none if `full`, or for the disk."""
        ring = self.ring
        if ring.policy == WAIT:
            return ring.away and full
        return ring.pool.under_way >= UNDER_WAY and (ring.policy == SPILL or full)

    def write(self, data):
        self.ring.write(data)

    def finish(self):
        self.ring.finished = True

    def leave(self):
        """Its holder is out of reach."""
        self.ring.away = True
        self.ring.settle()

    def come_back(self):
        self.ring.away = False

    def take(self):
        """Somebody else holds it now: all credit is void."""
        if not self.ring.stopped:
            self.ring.away = False
            self.acknowledged = self.ring.start
            self.sent = self.limit = self.ring.end

    def stop(self):
        Reading.stop(self)
        self.ring.drop(self.ring.end)
        self.ring.stopped = True
        self.sent = self.ring.end

    def _acknowledged(self):
        self.ring.settle()


def _check(received, limit):
    if limit - received > MAX_WINDOW:
        raise RemoteProtocolError("a credit of %d bytes, at most %d" % (limit - received, MAX_WINDOW))
