"""Kept work at the core: takers, breaks, lives and deaths in any order."""
import random

from core_tests import LIFE
from kept_tests import FIRST, ID, SECOND, THIRD, Kept, Test, only

from agent import wire


class Client(object):
    """One that takes a kept process, and dies or loses its link at any moment."""

    def __init__(self, owner):
        self.owner = owner
        self.attempt = 0
        self.tenure = None  # it holds the process, as far as it knows
        self.asking = self.resuming = False
        self.position = self.limit = 0


class AnyOrder(Test):
    """Takers, breaks, lives and deaths in any order: no breach, no byte twice or in a wrong place, nothing
    for somebody who does not hold it, nothing past a limit."""

    def test_any_order(self):
        for seed in range(12):
            for policy in (b"wait", b"last=50", b"last=3000", b"spill=100000"):
                self.play(random.Random(seed), policy)

    def play(self, rng, policy):
        self.host = Kept()
        self.process = self.host.runs(value=b"train 100000 " + policy + b" wait")
        self.clients = [Client(FIRST), Client(SECOND), Client(THIRD)]
        first = self.holder = self.clients[0]
        first.tenure, first.attempt, first.limit = 1, 1, 1000
        self.written = b""
        self.epoch = LIFE | 1
        for _ in range(150):
            what = rng.choice("write write write take take resume credit credit cut leave old die".split())
            getattr(self, what)(rng, rng.choice(self.clients))
        # in the end somebody reads all that is held
        self.clients[0].resuming = False
        while self.holder is not self.clients[0] or not self.holder.resuming:
            self.take(rng, self.clients[0])
        self.resume(rng, self.clients[0])
        held = self.process.outs[1].ring.start
        for _ in range(200):
            self.credit(rng, self.clients[0], 1 << 20)
        self.assertEqual(len(self.written), self.clients[0].position)
        if policy == b"wait":
            self.assertLessEqual(held, len(self.written))
        else:
            size = int(policy.partition(b"=")[2])
            self.assertLessEqual(held, max(0, len(self.written) - size))

    def hear(self, frames):
        for kind, fields in frames:
            holder = self.holder
            if kind == wire.TAKEN:
                taker, = [each for each in self.clients if each.asking and each.attempt == fields["attempt"]]
                self.holder = taker
                taker.asking, taker.resuming = False, True
                taker.tenure, taker.attempt = fields["tenure"], max(taker.attempt, fields["last"])
                self.start = fields["stdout_start"]
                self.assertEqual(len(self.written), fields["stdout_end"])
            elif kind == wire.LEFT:
                for each in self.clients:
                    if each.owner == fields["owner"]:
                        each.tenure = None
                        each.asking = each.resuming = False
            elif kind == wire.SKIP and fields["stream"] == 1:
                self.assertTrue(holder is not None and not holder.resuming)
                self.assertLess(holder.position, fields["position"])
                holder.position = fields["position"]
                holder.limit = max(holder.limit, holder.position)
            elif kind == wire.DATA:
                self.assertTrue(holder is not None and not holder.resuming)
                end = fields["position"] + len(fields["data"])
                self.assertEqual(holder.position, fields["position"])
                self.assertEqual(self.written[fields["position"]:end], fields["data"])
                self.assertLessEqual(end, holder.limit)
                holder.position = end

    def write(self, rng, client):
        room = min(self.process.outs[1].capacity(), rng.choice([1, 60, 5000]))
        if room > 0 and len(self.written) < 60000:
            data = bytes(bytearray([rng.randrange(256) for _ in range(rng.randint(1, room))]))
            self.written += data
            self.hear(self.host.write(data))
        for action in self.host.core.actions:
            if action[0] == "disk":
                self.assertEqual("close", action[1][0])
        self.host.core.actions = []

    def take(self, rng, client):
        client.attempt += 1
        client.asking, client.resuming = True, False
        tenure = client.tenure or 0
        self.hear(self.host.take(owner=client.owner, tenure=rng.choice([0, tenure]), attempt=client.attempt))

    def resume(self, rng, client):
        if client is self.holder and client.tenure and client.resuming:
            client.attempt += 1
            client.position = rng.choice([0, client.position, self.start, rng.randint(0, len(self.written))])
            client.limit = client.position + rng.choice([0, 10, 5000])
            client.resuming = False
            self.hear(self.host.resume(attempt=client.attempt, out=client.position,
                                       limit=client.limit - client.position))

    def credit(self, rng, client, size=None):
        if client is self.holder and client.tenure and not client.resuming:
            limit = client.position + (size or rng.choice([10, 5000]))
            client.limit = max(client.limit, limit)
            self.hear(self.host.say(wire.CREDIT, id=ID, stream=1, received=client.position,
                                    limit=client.limit))

    def old(self, rng, client):
        """One that lost it goes on as if it had not."""
        if client is not self.holder and self.holder is not None and self.holder.resuming:
            self.hear(self.host.say(wire.CREDIT, id=ID, stream=1, received=0, limit=5000))
            self.hear(self.host.say(wire.DATA, id=ID, stream=0, position=7, data=b"lost"))

    def leave(self, rng, client):
        self.hear(self.host.leave(owner=client.owner))

    def die(self, rng, client):
        """Its daemon says so; another program with a new id comes in its place."""
        self.hear(self.host.leave(owner=client.owner))
        fresh = Client(bytes(bytearray([rng.randrange(256) for _ in range(16)])))
        self.clients[self.clients.index(client)] = fresh
        if client is self.holder:
            self.holder = None

    def cut(self, rng, client):
        self.epoch = self.epoch + rng.choice([1, 1, 1 << 32])
        self.host.core.detach(self.host.now)
        self.write(rng, client)
        self.host.reattach(self.epoch)
        for each in self.clients:
            each.asking = False
        holder = self.holder
        if holder is not None and holder.tenure and not holder.resuming and rng.randrange(3):
            holder.attempt += 1
            holder.limit = holder.position + 1000
            self.hear(self.host.resume(attempt=holder.attempt, out=holder.position))
        elif holder is not None and holder.tenure:
            holder.resuming = True  # it says nothing before it has taken it again
            self.start = 0
            self.hear(self.host.pass_time(rng.choice([1, 40])))

    def test_two_that_take_at_once_are_both_answered(self):
        self.host.runs()
        frames = self.host.take(owner=SECOND, attempt=1) + self.host.take(owner=THIRD, attempt=1)
        self.assertEqual([2, 3], [fields["tenure"] for fields in only(wire.TAKEN, frames)])
        self.assertEqual([(wire.LEFT, dict(id=ID, owner=SECOND, pid=77, program=u"prog"))],
                         self.host.take(owner=SECOND, tenure=2, attempt=2))
