"""Rings of kept output, against a plain model: positions, several readers, SKIP, memory, and a disk that
answers late, fails, or loses everything."""
import random
import unittest

from agent import ring as rings
from agent.ring import BLOCK, LAST, SPILL, WAIT, Output, Pool, Reading, Ring
from agent.stream import MAX_WINDOW
from agent.wire import RemoteProtocolError

SEED = bytes(bytearray([number * 7 % 251 for number in range(65521)]))
TURNS = [bytes(bytearray([byte ^ turn for byte in range(256)])) for turn in range(199)]


def content(position, size):
    """Return what stands at a position: no two places nearby are alike."""
    out = []
    while size:
        at = position % 65521
        part = min(size, 65521 - at)
        out.append(SEED[at:at + part].translate(TURNS[position // 65521 % 199]))
        position += part
        size -= part
    return b"".join(out)


class Disk(object):
    """Does what a pool asks for, when it is told to; may be full."""

    def __init__(self):
        self.todo, self.files, self.full, self.most = [], {}, False, 0

    def ask(self, request):
        self.todo.append(request)

    def step(self):
        kind, ring = self.todo[0][:2]
        request = self.todo.pop(0)
        if kind == "close":
            self.files.pop(ring, None)
            return
        file = self.files.setdefault(ring, bytearray())
        modulus = ring.file_size()
        if kind == "store":
            position, data = request[2:]
            if self.full:
                ring.not_stored(position, len(data))
                return
            for at in range(0, len(data), BLOCK):
                place = (position + at) % modulus
                file.extend(bytearray(max(0, place + len(data) - len(file))))
                file[place:place + len(data)] = data
            self.most = max(self.most, len(file))
            ring.stored(position, len(data))
        else:
            position, size = request[2:]
            found = bytearray()
            while len(found) < size:
                place = (position + len(found)) % modulus
                found += file[place:min(place + size - len(found), modulus)]
            ring.loaded(position, bytes(found))


class World(object):

    def __init__(self, policy, size, most=rings.MEMORY):
        self.disk = Disk()
        self.woken = []
        self.pool = Pool(self.disk.ask, self.woken.append, most)
        self.ring = Ring(policy, size, self.pool)
        self.out = Output(self.ring, 0, None)

    def write(self, size):
        self.out.write(content(self.ring.end, size))

    def settle(self):
        while self.disk.todo:
            self.disk.step()

    def read(self, reading, most=1 << 40):
        """Read all that can be had; return it as (position, bytes) pairs without gaps between them, SKIPs as
        positions."""
        found = []
        while most > 0:
            if not reading.unsent():
                if reading.wanted is None:
                    break
                self.disk.step()
                continue
            position = reading.skip()
            if position is not None:
                found.append(position)
            if reading.unsent():
                found.append(reading.next_data())
                most -= len(found[-1][1])
        return found


class Simple(unittest.TestCase):

    def test_the_last_bytes_are_held_exactly_and_the_gap_is_told(self):
        for policy in (LAST, SPILL):
            for size in (1, 1000, BLOCK, 3 * BLOCK + 5):
                world = World(policy, size)
                world.out.leave()
                for _ in range(40):
                    world.write(BLOCK // 3)
                end = world.ring.end
                self.assertEqual(max(0, end - size), world.ring.start)
                world.out.take()
                world.out.resume(0, MAX_WINDOW)
                found = world.read(world.out)
                self.assertEqual(end - size, found[0])
                world.out.credit(found[0], found[0] + MAX_WINDOW)
                found += world.read(world.out)
                got = b"".join([each[1] for each in found[1:]])
                self.assertEqual(content(end - size, size), got)
                self.assertEqual(end - size, found[1][0])

    def test_what_waits_keeps_what_was_not_acknowledged_and_no_more(self):
        world = World(WAIT, 0)
        world.out.resume(0, 100000)
        world.write(100000)
        self.assertEqual(0, world.out.capacity())
        self.assertEqual([(0, content(0, BLOCK)), (BLOCK, content(BLOCK, 100000 - BLOCK))],
                         world.read(world.out))
        world.out.credit(70000, 100000)
        world.out.leave()
        self.assertEqual((70000, 100000, 0), (world.ring.start, world.ring.end, world.out.capacity()))
        world.out.take()
        world.out.resume(60000, 60010)
        self.assertEqual([70000], world.read(world.out))
        world.out.credit(70000, 70010)
        self.assertEqual([(70000, content(70000, 10))], world.read(world.out))
        world.out.credit(70010, 1 << 20)
        world.read(world.out)
        world.out.credit(100000, 1 << 20)
        self.assertEqual((0, {}), (world.pool.used, world.ring.blocks))

    def test_never_past_the_limit_however_much_is_held(self):
        world = World(LAST, 1 << 20)
        world.out.leave()
        world.write(1 << 20)
        world.out.take()
        world.out.resume(5, 10)
        self.assertEqual([(5, content(5, 5))], world.read(world.out))
        self.assertEqual((0, 0), (world.out.unsent(), world.out.capacity()))

    def test_all_credit_is_void_when_somebody_takes_it(self):
        world = World(WAIT, 0)
        world.out.resume(0, 1000)
        world.write(10)
        world.out.take()
        self.assertEqual((0, 0), (world.out.capacity(), world.out.unsent()))

    def test_what_a_client_cannot_mean_is_refused(self):
        world = World(WAIT, 0)
        world.out.resume(0, 1000)
        world.write(10)
        self.assertRaises(RemoteProtocolError, world.out.resume, 11, 20)
        self.assertRaises(RemoteProtocolError, world.out.credit, 5, 20)
        self.assertRaises(RemoteProtocolError, world.out.resume, 0, MAX_WINDOW + 1)

    def test_stop_drops_everything(self):
        world = World(SPILL, 1 << 20)
        world.out.leave()
        world.write(1 << 20)
        world.settle()
        world.out.stop()
        world.write(10)
        self.assertEqual((0, 0, 1 << 20), (world.pool.used, world.out.unsent(), world.ring.end))

    def test_tiny_writes_cost_no_object_each(self):
        world = World(LAST, 1 << 20)
        world.out.leave()
        for _ in range(5000):
            world.write(3)
        self.assertEqual(1, len(world.ring.blocks))

    def test_an_unused_ring_holds_no_block(self):
        world = World(LAST, 1 << 20)
        self.assertEqual({}, world.ring.blocks)


class Memory(unittest.TestCase):

    def test_rings_share_a_bounded_memory_and_the_rest_goes_to_the_disk(self):
        disk, woken = Disk(), []
        pool = Pool(disk.ask, woken.append, 40 * BLOCK)
        outs = [Output(Ring(LAST, 30 * BLOCK, pool), 0, None) for _ in range(4)]
        for out in outs:
            out.leave()
        for turn in range(200):
            out = outs[turn % 4]
            if out.capacity():
                out.write(content(out.ring.end, BLOCK // 2 + turn))
            if turn % 3 == 0 and disk.todo:
                disk.step()
            self.assertLessEqual(pool.used, 40 * BLOCK + rings.UNDER_WAY + BLOCK)
        while disk.todo:
            disk.step()
        self.assertLessEqual(pool.used, 40 * BLOCK)
        self.assertTrue(disk.most)
        for out in outs:
            self.assertEqual(max(0, out.ring.end - 30 * BLOCK), out.ring.start)
            reading = Reading(out.ring, 1 << 20)
            got = b""
            out.ring.readings = [reading]
            while reading.sent < out.ring.end:
                if reading.unsent():
                    reading.skip()
                    if reading.unsent():
                        position, data = reading.next_data()
                        self.assertEqual(content(position, len(data)), data)
                        got += data
                    reading.credit(reading.sent, reading.sent + MAX_WINDOW)
                else:
                    disk.step()
            self.assertEqual(out.ring.end - out.ring.start, len(got))

    def test_a_full_disk_makes_rings_as_short_as_the_memory(self):
        for policy in (LAST, SPILL):
            world = World(policy, 100 * BLOCK, 20 * BLOCK)
            world.out.leave()
            for number in range(150):
                world.disk.full = number > 60
                world.write(BLOCK)
                world.settle()
            self.assertTrue(world.ring.broken)
            self.assertLessEqual(world.pool.used, 20 * BLOCK)
            held = world.ring.end - world.ring.start
            self.assertTrue(18 * BLOCK <= held <= 20 * BLOCK, held)
            world.out.take()
            world.out.resume(0, 1)
            self.assertEqual([world.ring.start], world.read(world.out))

    def test_more_than_the_memory_holds_goes_on_to_the_disk_without_end(self):
        for late in (1, 100):
            world = World(LAST, 200 * BLOCK, 100 * BLOCK)
            world.out.leave()
            for turn in range(300):
                for _ in range(100):
                    if world.out.capacity():
                        world.write(BLOCK)
                if turn % late == 0:
                    del world.woken[:]
                    waits = not world.out.capacity()
                    world.settle()
                    self.assertEqual([world.out] if waits else [], world.woken)
            world.settle()
            self.assertEqual(200 * BLOCK, world.ring.end - world.ring.start)
            self.assertLessEqual(world.pool.used, 100 * BLOCK)

    def test_an_output_waits_while_the_disk_is_slow_and_is_woken(self):
        world = World(SPILL, 1 << 30)
        world.out.leave()
        while world.out.capacity():
            world.write(BLOCK)
            self.assertLess(world.ring.end, 3 * rings.UNDER_WAY)
        self.assertEqual([], world.woken)
        world.settle()
        self.assertEqual([world.out], world.woken)
        self.assertTrue(world.out.capacity())

    def test_a_holder_that_has_everything_does_not_make_the_memory_larger(self):
        for policy in (LAST, SPILL):
            for disk in ("full", "slow"):
                world = World(policy, 1000 * BLOCK, 100 * BLOCK)
                world.disk.full = disk == "full"
                for turn in range(2000):
                    world.out.credit(world.out.sent, world.out.sent + 2 * BLOCK)
                    if world.out.capacity():
                        world.write(BLOCK)
                    while world.out.unsent():
                        world.out.skip()
                        if world.out.unsent():
                            world.out.next_data()
                    if world.disk.todo and (disk == "full" or turn % 4 == 0):
                        world.disk.step()
                    self.assertLessEqual(world.pool.used, 100 * BLOCK + rings.UNDER_WAY + 3 * BLOCK)
                world.settle()
                self.assertEqual(disk == "full", world.ring.broken)
                self.assertGreater(world.ring.end, 400 * BLOCK)
                self.assertGreaterEqual(world.ring.end - world.ring.start, 90 * BLOCK)

    def test_a_full_disk_takes_nothing_from_a_holder_that_is_slow(self):
        world = World(LAST, 1000 * BLOCK, 4 * BLOCK)
        world.disk.full = True
        world.out.credit(0, 10 * BLOCK)
        while world.out.capacity():
            world.write(BLOCK)
            world.settle()
        self.assertEqual((0, 10 * BLOCK), (world.ring.start, world.ring.end))
        got = world.read(world.out)
        self.assertEqual(content(0, 10 * BLOCK), b"".join([data for _, data in got]))

    def test_memory_that_others_hold_stops_nothing_that_goes_to_the_disk(self):
        world = World(SPILL, 1 << 30, 2 * BLOCK)
        waits = Output(Ring(WAIT, 0, world.pool), 0, None)
        waits.resume(0, 1 << 20)
        waits.leave()
        waits.write(content(0, 2 * BLOCK + 1))
        self.assertEqual(0, waits.capacity())
        world.out.leave()
        for _ in range(3):
            while world.out.capacity():
                world.write(BLOCK)
            world.settle()
            self.assertEqual([world.out], world.woken)
            del world.woken[:]
        self.assertEqual([waits], world.pool.waiting)

    def test_what_waits_takes_no_more_once_the_memory_is_full(self):
        world = World(WAIT, 0, 2 * BLOCK)
        world.out.resume(0, 1 << 20)
        world.out.leave()
        self.assertEqual(1 << 20, world.out.capacity())
        world.write(2 * BLOCK + 1)
        self.assertEqual(0, world.out.capacity())
        other = Ring(LAST, BLOCK, world.pool)
        Output(other, 0, None)
        world.out.stop()
        self.assertEqual([world.out], world.woken)

    def test_closing_gives_everything_back(self):
        world = World(SPILL, 1 << 30)
        world.out.leave()
        for _ in range(20):
            world.write(BLOCK + 3)
        world.disk.step()
        world.pool.close(world.ring)
        world.settle()
        self.assertEqual((0, 0, {}), (world.pool.used, world.pool.under_way, world.disk.files))

    def test_a_lost_disk_moves_readers_on(self):
        world = World(SPILL, 1 << 30)
        world.out.leave()
        for _ in range(20):
            world.write(BLOCK)
        world.settle()
        reading = Reading(world.ring, MAX_WINDOW)
        world.ring.readings = [reading]
        self.assertEqual(0, reading.unsent())
        self.assertEqual([reading], world.ring.lost())
        self.assertEqual(world.ring.base, world.read(reading)[0])


class Model(unittest.TestCase):
    """Any order of events: each reader gets what was written, at its position, and gaps are told."""

    def test_any_order(self):
        for seed in range(30):
            self.play(random.Random(seed), seed)

    def play(self, rng, seed):
        policy = rng.choice([WAIT, LAST, SPILL])
        size = 0 if policy == WAIT else rng.choice([1, 5000, BLOCK, 5 * BLOCK, 40 * BLOCK])
        world = World(policy, size, rng.choice([3 * BLOCK, 30 * BLOCK, rings.MEMORY]))
        ring, out = world.ring, world.out
        out.resume(0, rng.randrange(1 << 17))
        told = {out: 0}  # each reader: the position up to which it has, or was told of, everything
        held = True
        for _ in range(400):
            what = rng.randrange(9)
            if what < 3:
                room = min(out.capacity(), rng.choice([1, 100, BLOCK, 3 * BLOCK]))
                if room:
                    world.write(rng.randint(1, room))
            elif what == 3 and world.disk.todo:
                world.disk.full = world.disk.full or seed % 7 == 0 and rng.randrange(100) == 0
                world.disk.step()
            elif what == 4:
                for reading in told:
                    if reading is not out or held:
                        self.hear(world, told, reading, world.read(reading, rng.randrange(1, 1 << 17)))
            elif what == 5:
                for reading in told:
                    if reading is not out or held:
                        reading.credit(told[reading], told[reading] + rng.randrange(1 << 18))
            elif what == 6 and rng.randrange(3) == 0:
                if held:
                    out.leave()
                else:
                    out.take()
                    told[out] = rng.choice([told[out], ring.start, ring.end, rng.randint(0, ring.end)])
                    out.resume(told[out], told[out] + rng.randrange(1 << 18))
                held = not held
            elif what == 7 and rng.randrange(10) == 0 and len(told) < 4:
                floor = rng.randint(0, ring.end)
                reading = Reading(ring, rng.randrange(1 << 18), floor)
                ring.readings = (ring.readings or []) + [reading]
                told[reading] = 0
            elif what == 8 and rng.randrange(5) == 0:
                reading = rng.choice(sorted(told, key=id))
                if reading is not out or held:
                    reading.resume(told[reading], told[reading] + rng.randrange(1 << 18))
            self.check(world, held, policy, size)

    def hear(self, world, told, reading, found):
        for each in found:
            if isinstance(each, tuple):
                position, data = each
                self.assertEqual(told[reading], position)
                self.assertEqual(content(position, len(data)), data)
                self.assertLessEqual(position + len(data), reading.limit)
                told[reading] = position + len(data)
            else:
                self.assertLess(told[reading], each)
                told[reading] = each

    def check(self, world, held, policy, size):
        ring, pool = world.ring, world.pool
        self.assertLessEqual(ring.start, ring.end)
        self.assertLessEqual(ring.base, ring.going)
        self.assertLessEqual(ring.going, ring.end)
        self.assertEqual(sum([len(block) for block in ring.blocks.values()]), pool.used)
        self.assertLessEqual(world.disk.most, ring.file_size())
        if policy == WAIT:
            self.assertEqual(ring.start, max(ring.start, world.out.acknowledged if held else 0))
        elif not ring.broken:
            # the promised bytes are there
            self.assertLessEqual(ring.start, max(0, ring.end - size))
            if not held:
                self.assertEqual(max(0, ring.end - size), ring.start)


if __name__ == "__main__":
    unittest.main()
