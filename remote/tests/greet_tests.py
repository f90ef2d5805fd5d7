"""The greeting of a new agent, and what it does until the rest of the agent is there."""
import os
import unittest

from agent import greet, wire
from agent.config import Config


class Settled(object):
    terminated = False


@unittest.skipUnless(hasattr(os, "fork"), "a Java agent is there as a whole")
class Rest(unittest.TestCase):

    def setUp(self):
        fields = [(u"key", b"0a"), (u"secret", b"s" * 16), (u"epoch", b"1")]
        self.greeting = greet.Greeting(Config(wire.encode_table(fields)), 1, {})
        self.size = self.greeting.size
        self.ours, write = os.pipe()
        read, self.theirs = os.pipe()
        self.fds = [self.ours, write, read, self.theirs]
        self.link = (read, write)
        self.before = greet.was_busy
        self.addCleanup(self.restore)

    def restore(self):
        greet.was_busy = self.before
        for fd in self.fds:
            os.close(fd)

    def rest(self, looks, said=b""):
        """Rest with a machine that is busy for so many looks, after these bytes have arrived."""
        looks = [True] * looks
        greet.was_busy = lambda before, now: bool(looks) and looks.pop()
        if said:
            os.write(self.theirs, said)
        self.greeting.rest(self.link, [], Settled)
        return len(looks)

    def test_pings_are_answered_and_count(self):
        pings = [wire.frame(wire.PING, token=token) for token in (7, 8)]
        self.assertEqual(0, self.rest(0, b"".join(pings)))
        pongs = b"".join([wire.frame(wire.PONG, token=token) for token in (7, 8)])
        self.assertEqual(pongs, os.read(self.ours, 100))
        self.assertEqual((b"", 24, self.size + 24),
                         (self.greeting.arrived, self.greeting.parsed, self.greeting.size))

    def test_all_else_is_left_for_the_agent(self):
        ping, look = wire.frame(wire.PING, token=7), wire.frame(wire.ACK, bytes=9)
        for said, left in ((look, look), (ping + look, look), (ping + look[:3], look[:3]),
                           (ping[:5], ping[:5])):
            self.greeting.arrived = b""
            self.assertEqual(9, self.rest(9, said))
            self.assertEqual(left, self.greeting.arrived)

    def test_it_rests_on_while_the_machine_is_busy(self):
        self.assertEqual(0, self.rest(2, wire.frame(wire.PING, token=7)))
        begin = [9.0, 9.0]
        for before, now, busy in ((begin, [10.0, 10.0], False), (begin, [10.0, 9.4], True),
                                  (None, begin, False), (begin, None, False)):
            self.assertEqual(busy, self.before(before, now))

    def test_the_end_of_the_link_ends_it(self):
        os.close(self.theirs)
        self.fds.remove(self.theirs)
        self.assertEqual(9, self.rest(9))

    def test_nodes_that_must_be_asked_are_asked_at_once(self):
        self.greeting.complete = False
        self.assertEqual(9, self.rest(9))

    def test_a_flood_of_pings_is_for_the_agent(self):
        self.assertEqual(9, self.rest(9, wire.frame(wire.PING, token=1) * 400))
