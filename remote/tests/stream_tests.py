"""Positions, credit and replay of one stream."""
import random
import unittest

from agent.stream import MAX_WINDOW, STDIN_WINDOW, RecvStream, SendStream
from agent.wire import RemoteProtocolError


def drain(out):
    parts = []
    while out.unsent():
        parts.append(out.next_data())
    return parts


class Out(unittest.TestCase):

    def test_room_is_credit_not_used(self):
        out = SendStream(10)
        self.assertEqual(10, out.capacity())
        out.write(b"abcd")
        self.assertEqual(6, out.capacity())
        out.next_data()
        out.credit(4, 14)
        self.assertEqual(10, out.capacity())

    def test_resume_sends_again_from_the_position_named(self):
        out = SendStream(100)
        for part in (b"abc" * 2000, b"def", b"ghi"):
            out.credit(0, 100000)
            out.write(part)
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
            out, written, got = SendStream(5000), b"", b""
            for _ in range(400):
                what = rng.randrange(5)
                if what <= 1 and out.capacity():
                    size = min(out.capacity(), rng.choice((1, 2, 7, 100, 5000)))
                    data = bytes(bytearray([rng.randrange(256)])) * size
                    out.write(data)
                    written += data
                elif what == 2 and out.unsent():
                    position, data = out.next_data()
                    self.assertEqual(len(got), position)
                    got += bytes(data)
                elif what == 3:
                    out.credit(len(got), len(got) + 5000)
                elif rng.randrange(10) == 0:
                    got = got[:rng.randint(out.acknowledged, len(got))]
                    out.resume(len(got), len(got) + 5000)
            while out.unsent():
                got += bytes(out.next_data()[1])
            self.assertEqual(written, got)

    def test_tiny_writes_do_not_cost_an_object_each(self):
        out = SendStream(MAX_WINDOW)
        for _ in range(20000):
            out.write(b"x")
        self.assertTrue(len(out._chunks) < 20)

    def test_what_a_client_cannot_mean_is_refused(self):
        out = SendStream(10)
        out.write(b"abcd")
        out.next_data()
        self.assertRaises(RemoteProtocolError, out.credit, 5, 20)
        out.credit(3, 10)
        self.assertRaises(RemoteProtocolError, out.resume, 2, 10)
        self.assertRaises(RemoteProtocolError, out.resume, 5, 10)
        self.assertRaises(RemoteProtocolError, out.credit, 3, 3 + MAX_WINDOW + 1)

    def test_credit_never_moves_back(self):
        out = SendStream(10)
        out.write(b"abcd")
        out.next_data()
        out.credit(4, 20)
        self.assertFalse(out.credit(2, 12))
        self.assertEqual((4, 20), (out.acknowledged, out.limit))

    def test_stop_drops_everything(self):
        out = SendStream(10)
        out.write(b"abcd")
        out.stop()
        self.assertEqual((0, 0), (out.capacity(), out.unsent()))
        out.resume(0, 10)
        self.assertFalse(out.unsent())


class In(unittest.TestCase):

    def test_duplicates_are_dropped_by_position(self):
        stdin = RecvStream()
        self.assertTrue(stdin.data(0, b"abc"))
        self.assertFalse(stdin.data(0, b"abc"))
        self.assertTrue(stdin.data(1, b"bcd"))
        self.assertEqual(b"abcd", b"".join(stdin.chunks))

    def test_gaps_and_overruns_are_refused(self):
        stdin = RecvStream()
        self.assertRaises(RemoteProtocolError, stdin.data, 1, b"a")
        self.assertRaises(RemoteProtocolError, stdin.data, 0, b"a" * (STDIN_WINDOW + 1))
        stdin.data(0, b"abc")
        self.assertRaises(RemoteProtocolError, stdin.fin, 2)
        stdin.fin(4)
        self.assertRaises(RemoteProtocolError, stdin.fin, 5)
        self.assertRaises(RemoteProtocolError, stdin.data, 3, b"de")

    def test_credit_doubles_while_it_is_used_and_the_pool_allows(self):
        stdin, position = RecvStream(), 0
        while stdin.window < MAX_WINDOW:
            stdin.data(position, b"x" * (stdin.limit - position))
            position = stdin.limit
            stdin.consume(position - stdin.consumed)
            self.assertTrue(stdin.credit(MAX_WINDOW) is not None)
            self.assertEqual(stdin.consumed + stdin.window, stdin.limit)
        stdin.data(position, b"x" * (stdin.limit - position))
        stdin.consume(stdin.limit - stdin.consumed)
        self.assertEqual(0, stdin.credit(MAX_WINDOW))

    def test_no_growth_without_a_pool(self):
        stdin = RecvStream()
        stdin.data(0, b"x" * STDIN_WINDOW)
        self.assertTrue(stdin.credit(0) is None)
        stdin.consume(STDIN_WINDOW)
        self.assertEqual(0, stdin.credit(0))
        self.assertEqual((STDIN_WINDOW, 2 * STDIN_WINDOW), (stdin.window, stdin.limit))

    def test_partial_writes(self):
        stdin = RecvStream()
        stdin.data(0, b"abcdef")
        stdin.data(6, b"ghi")
        stdin.consume(2)
        self.assertEqual(b"cdef", bytes(bytearray(stdin.chunks[0])))
        stdin.consume(5)
        self.assertEqual(b"hi", bytes(bytearray(stdin.chunks[0])))
        stdin.fin(9)
        self.assertFalse(stdin.is_finished())
        stdin.consume(2)
        self.assertTrue(stdin.is_finished())

    def test_after_stop_bytes_are_counted_and_dropped(self):
        stdin = RecvStream()
        stdin.data(0, b"abc")
        stdin.stop()
        self.assertFalse(stdin.data(3, b"def"))
        self.assertEqual((6, 0), (stdin.received, len(stdin.chunks)))
