"""End to end: how the client learns of errors in code whose channel it has closed, and how long they may be.
Run by kernel_tests.py."""
from kernel_case import Shared

from kernel_client import DATA

LATE = "channel.send(1)\ntry:\n    channel.receive()\nexcept EOFError: pass\n"


class Errors(Shared):

    def closed(self, source):
        """Return the error in CLOSE if the client has closed the channel before the code ended."""
        number = self.k.execute(LATE + source)
        self.k.get(DATA, number)
        self.k.close(number)
        return self.k.end(number)

    def test_code_whose_channel_was_closed_answers_at_its_end_with_its_error(self):
        self.assertIn("ZeroDivisionError", self.closed("1 // 0"))
        self.assertIsNone(self.closed("pass"))
        self.assertIn("OSError" if not self.jython else "Error", self.closed("raise OSError('of its own')"))
        # in other threads, too
        first = self.k.execute("channel.send(1); channel.receive()")
        self.k.get(DATA, first)
        self.assertIn("ZeroDivisionError", self.closed("1 // 0"))
        self.k.close(first)
        self.assertIsNone(self.k.end(first))

    def test_what_fails_because_the_client_closed_the_channel_is_no_error(self):
        self.assertIsNone(self.closed("channel.send(1)"))
        self.assertIsNone(self.closed("channel.receive()"))
        self.assertIsNone(self.closed("for item in channel: pass\nchannel.send(2)"))

    def test_a_long_error_is_cut_before_it_is_sent(self):
        for source in ("raise ValueError('x' * 3000000)", "raise ValueError(u'\\u20ac' * 3000000)"):
            said = self.fail_with(self.k, source)
            self.assertLess(len(said.encode("utf-8")), 1 << 20)
            self.assertIn("Traceback", said)
            self.assertIn("(cut off: it is ", said[-100:])
