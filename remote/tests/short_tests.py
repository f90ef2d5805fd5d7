"""The short way of a small DATA frame says and does the same as the way of every other frame."""
import random
import unittest

from core_tests import LIFE, Host

from agent import wire

IDS = [b"a" * 16, b"b" * 16, b"c" * 16]


class Both(object):
    """Two hosts to which the same happens. Only the first one takes the short way where it can."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.hosts = [Host(), Host()]
        self.said = [b"", b""]
        self.short = [0, 0]  # frames that went the short way: to processes, and from them
        self.waiting = {}  # bytes of each stdin that were not taken
        self.sent = {}
        self.epoch = LIFE | 1
        for id in IDS:
            self.frame(wire.SPAWN, id=id, attempt=1, incarnation=b"i" * 16, owner=b"o" * 16, role=0,
                       stdout_limit=200000, stderr_limit=200000, host=u"h", node=u"n1", chdir=u"",
                       argv=[b"x"], env=[], options=[])
            self.sent[id], self.waiting[id] = 0, 0
        self.attempt = 1
        self.check()

    def check(self):
        one, other = [host.core for host in self.hosts]
        for core in (one, other):
            core.actions = []
        assert self.said[0] == self.said[1]
        self.said = [b"", b""]
        states = [self.state(core) for core in (one, other)]
        assert states[0] == states[1], [pair for pair in zip(*states) if pair[0] != pair[1]]

    def state(self, core):
        found = [core._parser.parsed, core._acked, core.last_byte, core._pace.sent, core._pace.acked]
        for id in IDS:
            process = core.processes[id]
            for what in (process.stdin, process.outs[1], process.outs[2]):
                found.append([(name, getattr(what, name)) for name in what.__slots__ if "chunks" not in name])
            found.append(b"".join(process.outs[1]._chunks))
        return found

    def poll(self, number):
        host = self.hosts[number]
        while host.core.wants_output(host.now):
            self.said[number] += b"".join([bytes(part) for part in host.core.poll_output(host.now)])

    def arrive(self, data, id=None, size=0):
        """These bytes come on the link; `id`: a process takes `size` bytes of its stdin after that."""
        for number, host in enumerate(self.hosts):
            process = None if number else host.core.stdin_of(data)
            if process is not None:
                self.short[0] += 1
                assert process.id == id
                took = min(size, len(data) - wire.HEAD)
                if took == len(data) - wire.HEAD:
                    if host.core.wrote(process, len(data), host.now):
                        assert not host.core.wants_output(host.now) and not host.core.actions
                    continue
            host.core.handle_bytes(data, host.now)
            if id is not None:
                host.core.stdin_taken(host.core.processes[id], size)
        for number in (0, 1):
            self.poll(number)

    def frame(self, kind, **fields):
        self.arrive(wire.frame(kind, **fields))

    def act(self):
        rng = self.rng
        id = rng.choice(IDS)
        what = rng.randrange(20)
        process = self.hosts[1].core.processes[id]
        if what < 9:
            room = process.stdin.limit - self.sent[id]
            size = min(room, rng.choice((1, 1, 5, 100, 3000, 20000)))
            if not size or process.muted:
                return
            data = wire.data_header(id, 0, self.sent[id], size) + b"x" * size
            self.sent[id] += size
            self.waiting[id] += size
            if rng.randrange(8) == 0:
                cut = rng.randrange(len(data))
                self.arrive(data[:cut])
                data = data[cut:]
            elif rng.randrange(8) == 0:
                data += wire.frame(wire.PING, token=7)
            took = self.waiting[id] if rng.randrange(4) else rng.randint(0, self.waiting[id])
            self.waiting[id] -= took
            self.arrive(data, id, took)
        elif what < 16:
            stream = rng.choice((1, 1, 1, 2))
            room = process.outs[stream].capacity()
            size = min(room, rng.choice((1, 1, 7, 500, 9000, 50000)))
            if size:
                self.output(id, stream, b"y" * size, room)
        elif what == 16:
            acked = self.hosts[1].core._pace
            self.frame(wire.ACK, bytes=rng.randint(acked.acked, acked.sent))
        elif what == 17 and not process.muted:
            out = process.outs[1]
            self.frame(wire.CREDIT, id=id, stream=1, received=out.sent, limit=out.sent + 200000)
        elif what == 18 and rng.randrange(20) == 0:
            self.epoch += 1
            self.attempt += 1
            for host in self.hosts:
                host.attach(self.epoch)
            for id in IDS:
                outs = self.hosts[1].core.processes[id].outs
                self.frame(wire.RESUME, id=id, attempt=self.attempt, stdout_received=outs[1].sent,
                           stdout_limit=outs[1].sent + 200000, stderr_received=outs[2].sent,
                           stderr_limit=outs[2].sent + 200000)
                self.sent[id] = self.hosts[1].core.processes[id].stdin.received
        elif what == 19:
            self.hosts[0].now += rng.random()
            self.hosts[1].now = self.hosts[0].now

    def output(self, id, stream, data, room):
        for number, host in enumerate(self.hosts):
            process = host.core.processes[id]
            frame = None
            if number == 0 and stream == 1 and len(data) < min(room, wire.SHORT):
                frame = host.core.stdout_frame(process, data, host.now)
            if frame is not None:
                self.short[1] += 1
                self.said[0] += frame
                assert not host.core.wants_output(host.now)
            else:
                host.core.child_output(process, stream, data)
                self.poll(number)


class Short(unittest.TestCase):

    def test_whatever_happens_both_ways_say_and_do_the_same(self):
        short = [0, 0]
        for seed in range(40):
            both = Both(seed)
            for _ in range(300):
                both.act()
                both.check()
            short = [short[0] + both.short[0], short[1] + both.short[1]]
        self.assertTrue(short[0] > 1500 and short[1] > 400, short)
