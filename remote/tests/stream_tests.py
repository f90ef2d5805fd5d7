"""Positions, credit and replay of one stream."""
import random
import unittest

from agent.stream import INITIAL, LARGEST, Inflow, Outflow
from agent.wire import RemoteProtocolError


def drain(out):
    parts = []
    while out.waiting():
        parts.append(out.take())
    return parts


class Out(unittest.TestCase):

    def test_room_is_credit_not_used(self):
        out = Outflow(10)
        self.assertEqual(10, out.room())
        out.put(b"abcd")
        self.assertEqual(6, out.room())
        out.take()
        out.grant(4, 14)
        self.assertEqual(10, out.room())

    def test_resume_sends_again_from_the_position_named(self):
        out = Outflow(100)
        for part in (b"abc" * 2000, b"def", b"ghi"):
            out.grant(0, 100000)
            out.put(part)
        everything = b"".join([part for _, part in drain(out)])
        for position in (0, 1, 5999, 6000, 6001, 6005, 6006):
            out.resume(position, 100000)
            parts = drain(out)
            if parts:
                self.assertEqual(position, parts[0][0])
            self.assertEqual(everything[position:], b"".join([bytes(part) for _, part in parts]))

    def test_any_order_of_writing_sending_crediting_and_resuming_keeps_every_byte(self):
        for seed in range(60):
            rng = random.Random(seed)
            out, written, got = Outflow(5000), b"", b""
            for _ in range(400):
                what = rng.randrange(5)
                if what <= 1 and out.room():
                    size = min(out.room(), rng.choice((1, 2, 7, 100, 5000)))
                    data = bytes(bytearray([rng.randrange(256)])) * size
                    out.put(data)
                    written += data
                elif what == 2 and out.waiting():
                    position, data = out.take()
                    self.assertEqual(len(got), position)
                    got += bytes(data)
                elif what == 3:
                    out.grant(len(got), len(got) + 5000)
                elif rng.randrange(10) == 0:
                    got = got[:rng.randint(out.received, len(got))]
                    out.resume(len(got), len(got) + 5000)
            while out.waiting():
                got += bytes(out.take()[1])
            self.assertEqual(written, got)

    def test_tiny_writes_do_not_cost_an_object_each(self):
        out = Outflow(LARGEST)
        for _ in range(20000):
            out.put(b"x")
        self.assertTrue(len(out._chunks) < 20)

    def test_what_a_client_cannot_mean_is_refused(self):
        out = Outflow(10)
        out.put(b"abcd")
        out.take()
        self.assertRaises(RemoteProtocolError, out.grant, 5, 20)
        out.grant(3, 10)
        self.assertRaises(RemoteProtocolError, out.resume, 2, 10)
        self.assertRaises(RemoteProtocolError, out.resume, 5, 10)
        self.assertRaises(RemoteProtocolError, out.grant, 3, 3 + LARGEST + 1)

    def test_credit_never_moves_back(self):
        out = Outflow(10)
        out.put(b"abcd")
        out.take()
        out.grant(4, 20)
        self.assertFalse(out.grant(2, 12))
        self.assertEqual((4, 20), (out.received, out.limit))

    def test_stop_drops_everything(self):
        out = Outflow(10)
        out.put(b"abcd")
        out.stop()
        self.assertEqual((0, False), (out.room(), out.waiting()))
        out.resume(0, 10)
        self.assertFalse(out.waiting())


class In(unittest.TestCase):

    def test_duplicates_are_dropped_by_position(self):
        stdin = Inflow()
        self.assertTrue(stdin.put(0, b"abc"))
        self.assertFalse(stdin.put(0, b"abc"))
        self.assertTrue(stdin.put(1, b"bcd"))
        self.assertEqual(b"abcd", b"".join(stdin.chunks))

    def test_gaps_and_overruns_are_refused(self):
        stdin = Inflow()
        self.assertRaises(RemoteProtocolError, stdin.put, 1, b"a")
        self.assertRaises(RemoteProtocolError, stdin.put, 0, b"a" * (INITIAL + 1))
        stdin.put(0, b"abc")
        self.assertRaises(RemoteProtocolError, stdin.fin, 2)
        stdin.fin(4)
        self.assertRaises(RemoteProtocolError, stdin.fin, 5)
        self.assertRaises(RemoteProtocolError, stdin.put, 3, b"de")

    def test_credit_doubles_while_it_is_used_and_the_pool_allows(self):
        stdin, position = Inflow(), 0
        while stdin.window < LARGEST:
            stdin.put(position, b"x" * (stdin.limit - position))
            position = stdin.limit
            stdin.took(position - stdin.consumed)
            self.assertTrue(stdin.regrant(LARGEST) is not None)
            self.assertEqual(stdin.consumed + stdin.window, stdin.limit)
        stdin.put(position, b"x" * (stdin.limit - position))
        stdin.took(stdin.limit - stdin.consumed)
        self.assertEqual(0, stdin.regrant(LARGEST))

    def test_no_growth_without_a_pool(self):
        stdin = Inflow()
        stdin.put(0, b"x" * INITIAL)
        self.assertTrue(stdin.regrant(0) is None)
        stdin.took(INITIAL)
        self.assertEqual(0, stdin.regrant(0))
        self.assertEqual((INITIAL, 2 * INITIAL), (stdin.window, stdin.limit))

    def test_partial_writes(self):
        stdin = Inflow()
        stdin.put(0, b"abcdef")
        stdin.put(6, b"ghi")
        stdin.took(2)
        self.assertEqual(b"cdef", bytes(bytearray(stdin.chunks[0])))
        stdin.took(5)
        self.assertEqual(b"hi", bytes(bytearray(stdin.chunks[0])))
        stdin.fin(9)
        self.assertFalse(stdin.done())
        stdin.took(2)
        self.assertTrue(stdin.done())

    def test_after_stop_bytes_are_counted_and_dropped(self):
        stdin = Inflow()
        stdin.put(0, b"abc")
        stdin.stop()
        self.assertFalse(stdin.put(3, b"def"))
        self.assertEqual((6, 0), (stdin.received, len(stdin.chunks)))
