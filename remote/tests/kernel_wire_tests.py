"""The kernel's frames and outbox, without starting an interpreter."""
import errno
import os
import struct
import unittest
from collections import deque

from kernel import wire
from kernel.link import Link
from kernel.wire import CLOSE, DATA, Outbox, Parser, ProtocolError


def frame(kind, channel, payload=b""):
    return wire.header.pack(kind, channel, len(payload)) + payload


class Frames(unittest.TestCase):

    def test_the_layout_is_kind_channel_length_payload(self):
        self.assertEqual([(3, 0x01020304, b"ab")], Parser().feed(b"\x03\x01\x02\x03\x04\0\0\0\x02ab"))

    def test_the_parser_does_not_care_how_bytes_arrive(self):
        stream = b"".join([frame(kind, kind + 7, b"x" * (kind * 11)) for kind in range(1, 12)])
        stream += frame(DATA, 1, b"y" * 70000) + frame(DATA, 2, b"z" * 65537) + frame(CLOSE, 2)
        whole = Parser().feed(stream)
        self.assertEqual(14, len(whole))
        self.assertEqual((DATA, 1, b"y" * 70000), whole[11])
        for step in (1, 2, 3, 8, 9, 10, 64, 5000, 70008, 70009, 70010, 70018):
            parser, found = Parser(), []
            for at in range(0, len(stream), step):
                found += parser.feed(stream[at:at + step])
            self.assertEqual(whole, found)

    def test_it_knows_how_much_is_missing(self):
        parser = Parser()
        self.assertEqual(9, parser.missing())
        for data, missing in ((b"\x03\0\0", 6), (b"\0\x01\0\x01\0\0", 65536), (b"", 65536), (b"x" * 65535, 1),
                              (b"x", 9)):
            parser.feed(data)
            self.assertEqual(missing, parser.missing())
        parser.feed(frame(DATA, 1, b"y" * 70000) + b"\x03")
        self.assertEqual(8, parser.missing())

    def test_an_unknown_kind_and_a_length_that_is_too_large_are_refused_before_their_bytes_arrive(self):
        for bad in (b"\0" * 9, b"\x10" + b"\0" * 8, struct.pack(">BII", 3, 1, 1073741824)):
            self.assertRaises(ProtocolError, Parser().feed, bad)
        self.assertEqual([], Parser().feed(struct.pack(">BII", 3, 1, 1073741823)))


class Credit(object):
    """What an outbox knows of a channel."""

    def __init__(self, credit):
        self.sent, self.credit, self.closed = 0, credit, False


class Pipe(object):
    """A sink that takes so many bytes at a time, and fails where it is told to."""

    def __init__(self, most=1 << 30):
        self.data, self.most, self.fail, self.broken = b"", most, deque(), 0

    def write(self, fd, data):
        if self.fail:
            error = self.fail.popleft()
            if error is not None:
                raise error
        data = memoryview(data)[:self.most].tobytes()
        self.data += data
        return len(data)

    def gone(self):
        self.broken += 1


class Outboxes(unittest.TestCase):

    def setUp(self):
        self.pipe = Pipe()
        self.outbox = Outbox(self.pipe.write, 1, self.pipe.gone)

    def frames(self):
        return Parser().feed(self.pipe.data)

    def test_frames_are_written_whole_however_little_a_write_takes(self):
        self.pipe.most = 7
        self.outbox.send(DATA, 1, b"a" * 100)
        self.outbox.send(CLOSE, 1)
        self.assertEqual([(DATA, 1, b"a" * 100), (CLOSE, 1, b"")], self.frames())

    def test_large_payloads_follow_their_header(self):
        self.pipe.most = 50000
        self.outbox.send(DATA, 1, b"a" * 200000, Credit(1))
        self.outbox.send(DATA, 3, b"b")
        self.assertEqual([(DATA, 1, b"a" * 200000), (DATA, 3, b"b")], self.frames())

    def test_what_an_exception_left_is_written_by_the_next(self):
        self.pipe.most = 10
        for size in (5, 200, 100000):
            self.pipe.data = b""
            self.pipe.fail = deque([None, ZeroDivisionError()])
            self.assertRaises(ZeroDivisionError, self.outbox.send, DATA, 1, b"a" * size)
            self.assertTrue(0 < len(self.pipe.data) <= 10)
            self.assertTrue(self.outbox.left_over())
            self.pipe.most = 1 << 30
            self.outbox.send(DATA, 3, b"next")
            self.assertEqual([(DATA, 1, b"a" * size), (DATA, 3, b"next")], self.frames())
            self.assertFalse(self.outbox.left_over())
            self.pipe.most = 10

    def test_an_interrupted_write_is_begun_again(self):
        import errno
        self.pipe.fail.append(OSError(errno.EINTR, "interrupted"))
        self.outbox.send(DATA, 1, b"a")
        self.assertEqual([(DATA, 1, b"a")], self.frames())

    def test_a_write_may_begin_while_there_is_any_credit(self):
        state = Credit(10)
        self.assertTrue(self.outbox.send(DATA, 1, b"123456789", state))
        self.assertTrue(self.outbox.send(DATA, 1, b"x" * 50, state))
        self.assertFalse(self.outbox.send(DATA, 1, b"y", state))
        self.assertEqual(59, state.sent)
        state.credit = 60
        self.assertTrue(self.outbox.send(DATA, 1, b"y", state))
        self.assertEqual([9, 50, 1], [len(payload) for _, _, payload in self.frames()])

    def test_nothing_is_sent_behind_a_close(self):
        state = Credit(10)
        state.closed = True
        self.assertRaises(OSError, self.outbox.send, DATA, 1, b"x", state)
        self.assertEqual(b"", self.pipe.data)

    def test_a_count_that_an_exception_kept_back_is_made_up_for(self):
        state = Credit(10)
        self.pipe.fail.append(ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, self.outbox.send, DATA, 1, b"x" * 10, state)
        self.assertFalse(self.outbox.send(DATA, 1, b"y", state))
        self.assertEqual([(DATA, 1, b"x" * 10)], self.frames())

    def test_a_send_within_a_send_comes_behind_it(self):
        """Send as from a signal handler: the same thread holds the lock."""
        write, outbox = self.pipe.write, self.outbox

        def busy(fd, data):
            outbox._write = write
            self.assertTrue(outbox.send(DATA, 3, b"inner"))
            return write(fd, data)

        outbox._write = busy
        outbox.send(DATA, 1, b"outer")
        self.assertEqual([(DATA, 1, b"outer"), (DATA, 3, b"inner")], self.frames())

    def test_a_reader_that_is_gone_is_told_once_per_write(self):
        import errno
        self.pipe.fail.append(OSError(errno.EPIPE, "broken pipe"))
        self.assertRaises(EnvironmentError, self.outbox.send, DATA, 1, b"a")
        self.assertEqual(1, self.pipe.broken)

    def test_a_posted_frame_is_written_by_itself(self):
        source, sink = os.pipe()
        try:
            Outbox(lambda fd, data: os.write(sink, data), sink, self.pipe.gone).post(CLOSE, 7)
            self.assertEqual(frame(CLOSE, 7), os.read(source, 100))
        finally:
            os.close(source)
            os.close(sink)


class Taking(unittest.TestCase):

    def take(self, error):
        """Receive a value whose credit cannot be sent."""
        def write(fd, data):
            raise error
        link = Link({"window": 4}, write, 1, lambda: None)
        channel = link.channel(1)
        link.feed(frame(DATA, 1, b"i\x07\0\0\0"))
        return channel.receive()

    def test_nobody_wants_it_who_is_gone(self):
        for number in wire.GONE:
            self.assertEqual(7, self.take(EnvironmentError(number, "gone")))

    def test_what_a_signal_handler_raises_is_raised(self):
        self.assertRaises(EnvironmentError, self.take, EnvironmentError(errno.ENOENT, "a handler's"))
