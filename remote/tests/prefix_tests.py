"""Prefixes of stdin: how they are learned, and how a process that has one already goes on."""
import random
import unittest

from agent import prefix
from agent.prefix import Beginning, Store
from agent.stream import STDIN_WINDOW


def option(data, count=1):
    return ("%d %s %d" % (len(data), prefix._digest(data), count)).encode("ascii")


class Begun(unittest.TestCase):
    """A stdin of which it is known with what it begins."""

    def test_the_bytes_are_kept_as_they_pass_in_whatever_pieces(self):
        rng = random.Random(7)
        for size in (1, 2, 100, 5000):
            data = bytes(bytearray([rng.randrange(256) for _ in range(size)]))
            stdin, at = Beginning(option(data)), 0
            everything = data + b"rest" * 300
            while at < size:
                self.assertEqual(None, stdin.take_prefix())
                start = rng.randint(0, at)  # some of it comes again
                stdin.data(start, everything[start:at + rng.randint(1, 700)])
                at = stdin.received
                stdin.consume(rng.randint(0, at - stdin.consumed))
            self.assertEqual([data, None], [stdin.take_prefix(), stdin.take_prefix()])

    def test_the_process_that_waited_gets_each_byte_once(self):
        data, more = b"0123456789", b"abcdef"
        for taken in (0, 1, 9, 10):
            for arrived in (0, 3, 10, 12, 16):
                stdin = Beginning(option(data))
                if arrived:
                    stdin.data(0, (data + more)[:arrived])
                stdin.adopt(data, taken)
                self.assertEqual((max(arrived, 10), 10 + STDIN_WINDOW), (stdin.received, stdin.limit))
                for start in (0, 7, 10, 12):  # what was on its way
                    if start <= stdin.received:
                        stdin.data(start, (data + more)[start:])
                rest = b"".join([bytes(chunk) for chunk in stdin.chunks])
                self.assertEqual((data + more)[taken:], rest)
                stdin.fin(16)
                stdin.consume(len(rest))
                self.assertTrue(stdin.is_finished())

    def test_an_end_before_the_prefix_is_the_end_of_this_stdin_only(self):
        stdin = Beginning(option(b"x" * 10))
        stdin.data(0, b"xxx")
        stdin.fin(3)
        self.assertTrue(stdin.stopped and stdin.is_finished())
        self.assertFalse(stdin.data(3, b"yyy"))
        self.assertEqual(None, stdin.take_prefix())

    def test_only_a_length_a_hash_and_a_count_name_a_prefix(self):
        good = option(b"abc", 65535)
        self.assertEqual((3, 65535), (Beginning(good).prefix[0], Beginning(good).count))
        for bad in (b"", b"3", good[:-6], good + b" 1", good.replace(b"3 ", b"0 ", 1),
                    good.replace(b"3 ", b"-3 ", 1), good.replace(b"3 ", b"262145 ", 1), good + b"0",
                    good[:-5] + b"0", good.upper(), good.replace(b"b", b"g"), good.replace(b"3 ", b"3  ", 1),
                    b"\xff" + good):
            self.assertRaises(ValueError, Beginning, bad)


class Known(unittest.TestCase):

    def test_few_are_kept_and_only_what_has_their_hash(self):
        store = Store()
        name = 3, prefix._digest(b"abc")
        store.learn(name, b"abd")
        self.assertEqual(None, store.get(name))
        datas = [bytes(bytearray([65 + number])) * 10 for number in range(5)]
        names = [(10, prefix._digest(data)) for data in datas]
        for name, data in list(zip(names, datas))[:4]:
            store.learn(name, data)
        self.assertEqual(datas[0], store.get(names[0]))
        store.learn(names[4], datas[4])
        self.assertEqual([datas[0], None] + datas[2:], [store.get(name) for name in names])

    def test_they_take_no_more_than_a_mebibyte(self):
        store = Store()
        datas = [bytes(bytearray([65 + number])) * prefix.LONGEST for number in range(4)]
        names = [(prefix.LONGEST, prefix._digest(data)) for data in datas]
        for name, data in zip(names, datas):
            store.learn(name, data)
        self.assertEqual(datas, [store.get(name) for name in names])
        small = 1, prefix._digest(b"x")
        store.learn(small, b"x")
        self.assertEqual([None] + datas[1:] + [b"x"], [store.get(name) for name in names + [small]])
