"""The kernel's values: what is allowed, the golden vectors that Rust reads too, and the two codecs against
each other."""
import json
import marshal
import os
import struct
import sys
import unittest
from binascii import hexlify, unhexlify

from kernel import codec, values
from kernel.errors import DumpError, LoadError

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "protocol", "vectors")
TWO = sys.version_info[0] == 2


class Channel(object):
    def __init__(self, id):
        self.id = id

    def __eq__(self, other):
        return self.id == other.id


def load(name):
    with open(os.path.join(VECTORS, name)) as file:
        return json.load(file)


def same(one, other):
    """Whether two values are equal, with equal types at every level; nan equals nan."""
    if type(one) is not type(other) and not TWO:
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all([same(a, b) for a, b in zip(one, other)])
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    return one == other


class Vectors(unittest.TestCase):

    def vectors(self):
        for vector in load("values.json")["values"]:
            if vector["dialect"] == (2 if TWO else 3):
                value = eval(vector["value"], {"nan": float("nan"), "inf": float("inf"), "channel": Channel})
                yield vector["name"], value, unhexlify(vector["hex"]), vector

    def test_they_are_read(self):
        seen = 0
        for name, value, data, vector in self.vectors():
            seen += 1
            if vector.get("escaped"):
                self.assertTrue(same(value, codec.loads(data, Channel)), name)
                self.assertRaises(LoadError, codec.loads, data, None)
            else:
                self.assertTrue(same(value, values.loads(data)), name)
                if not set(data) & set(b"R") and "interned" not in name:
                    self.assertTrue(same(value, codec.loads(data, None)), name)
        self.assertTrue(seen > 20)

    def test_they_are_written(self):
        for name, value, data, vector in self.vectors():
            # a long there
            if vector.get("written", True) and not (values.JYTHON and name == "smallest 32-bit int"):
                escaped, written = values.dumps(value, Channel)
                self.assertEqual(hexlify(data), hexlify(written), name)
                self.assertEqual(vector.get("escaped", False), escaped, name)
                escaped, written = codec.dumps(value, Channel)
                self.assertEqual(hexlify(data), hexlify(written), name)

    @unittest.skipIf(TWO, "its marshal knows no references to text")
    def test_keys_may_be_referred_to(self):
        data = b"[\x02\0\0\0{\xf5\x02\0\0\0abi\1\0\0\0\xf5\1\0\0\0ci\2\0\0\0" b"0{r\1\0\0\0r\0\0\0\0" b"0"
        value = [{"ab": 1, "c": 2}, {"c": "ab"}]
        self.assertEqual(value, values.loads(data))
        self.assertEqual(value, codec.loads(data, Channel))
        self.assertRaises(LoadError, codec.loads, data.replace(b"r\1", b"r\2"), Channel)

    def test_what_must_be_refused_is_refused(self):
        """The bounded reader refuses it; marshal itself need not."""
        for vector in load("values.json")["refused"]:
            if vector.get("kernel", True):
                try:
                    value = codec.loads(unhexlify(vector["hex"]), None)
                except (LoadError, ValueError, TypeError, EOFError, struct.error):
                    continue
                self.fail("%s: read as %r" % (vector["name"], value))


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


class Types(unittest.TestCase):

    def refused(self, value, words):
        try:
            values.dumps(value)
        except DumpError as error:
            self.assertTrue(words in str(error), str(error))
        else:
            self.fail("%r was taken" % (value,))

    def test_what_marshal_takes_and_we_do_not(self):
        code = compile("1", "x", "eval")
        for value, words in ((bytearray(b"x"), "a bytearray"), (memoryview(b"x"), "a memoryview"),
                             (Ellipsis, "an ellipsis"), (StopIteration, "a type"),
                             (code, "code")):
            self.refused(value, words)
            self.refused([1, (value,)], ", at [1][0]")
            self.refused({"k": value}, ", at ['k']")

    def test_subclasses(self):
        for kind in (int, float, str, bytes, list, tuple, dict, set, frozenset, complex):
            value = type("Own", (kind,), {})()
            self.refused(value, "cannot send an Own")
            self.refused([0.5] * 70 + [value], "cannot send an Own, at [70]")
            self.refused([1] * 70 + [[value]], "cannot send an Own, at [70][0]")

    def test_long_lists_that_are_alike_are_still_looked_at(self):
        for good in ([1] * 1000, [1.5] * 1000, (1,) * 1000, [True] * 1000, ["x"] * 1000, [2**40] * 1000,
                     [1, 1.5] * 500):
            self.assertEqual((False, marshal.dumps(good, 2)), values.dumps(good))
        self.refused([bytearray(0)] * 1000, ", at [0]")
        self.refused([bytearray(4)] * 1000, ", at [0]")
        self.refused([1] * 1000 + [bytearray(0)], ", at [1000]")

    def test_mixed_levels(self):
        value = [1, "a", {"k": (1, [2, {3: frozenset([4])}])}, [[], {}, set()], (None, 1.5, 1j)]
        self.assertEqual(value, values.loads(values.dumps(value)[1]))

    def test_nesting(self):
        for depth in (1, 500, 1500, 2000):
            _, data = values.dumps(nested(depth))
            self.assertEqual(b"[\1\0\0\0" * depth + b"i\1\0\0\0", data)
            back = values.loads(data)
            for _ in range(depth):
                back, = back
            self.assertEqual(1, back)
        self.refused(nested(2001), "nested more than 2000 deep")
        loop = []
        loop.append(loop)
        self.refused(loop, "nested more than 2000 deep")

    def test_errors_of_others_go_on(self):
        """A signal handler may raise anywhere."""
        class Torn(Exception):
            pass

        def torn(value, version):
            raise Torn
        before, values.marshal_dumps = values.marshal_dumps, torn
        try:
            if not values.JYTHON:
                self.assertRaises(Torn, values.dumps, 1)
        finally:
            values.marshal_dumps = before

    def test_channels_anywhere(self):
        one = Channel(7)
        for value in (one, [one], {"k": [one, (one, 1)]}, [Channel(4294967295)]):
            escaped, data = values.dumps(value, Channel)
            self.assertTrue(escaped)
            self.assertTrue(same(value, codec.loads(data, Channel)))
        self.refused([one], "cannot send a Channel, at [0]")
