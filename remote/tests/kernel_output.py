"""End to end: when the output of code is seen, and ends of channels as errors. Run by kernel_tests.py."""
import os

from kernel_case import Kernel

from kernel_client import LAST

PARTIAL = """
import sys
sys.%s.write("begun")
"""
LINE = """
import sys
sys.stderr.write("whole\\n")
channel.receive()
"""
IMPORTED = """
import sys
from types import ModuleType
execnet = sys.modules["execnet"] = ModuleType("execnet")
class RemoteError(Exception): pass
class TimeoutError(IOError): pass
class DataFormatError(Exception): pass
class DumpError(DataFormatError): pass
execnet.RemoteError, execnet.TimeoutError = RemoteError, TimeoutError
execnet.DataFormatError, execnet.DumpError = DataFormatError, DumpError
try:
    channel.receive(timeout=0.01)
except TimeoutError:
    channel.send("TimeoutError")
for kind in DumpError, DataFormatError:
    try:
        channel.send(object())
    except kind:
        channel.send(kind.__name__)
try:
    channel.receive()
except RemoteError:
    sys.stderr.write("RemoteError\\n")
"""


class Output(Kernel):

    def test_a_line_that_was_only_begun_is_shown_at_the_end_of_the_code(self):
        for name in ("stdout", "stderr"):
            k = self.start()
            k.hello()
            k.run(PARTIAL % name)
            k.wait_stderr(b"begun")
            self.assertEqual(0, k.exit())

    def test_a_line_is_shown_at_once_whatever_the_locale(self):
        env = dict(os.environ, LC_ALL="C")
        env.pop("PYTHONUTF8", None)
        k = self.start(env=env)
        k.hello()
        number = k.execute(LINE)
        k.wait_stderr(b"whole\n")
        k.close(number)
        self.assertEqual(0, k.exit())

    def test_files_of_user_code_may_fail_to_flush(self):
        k = self.start()
        k.hello()
        self.assertEqual([1], k.run("import sys\nsys.stdout = sys.stderr = None\nchannel.send(1)"))
        self.assertEqual([2], k.run("channel.send(2)"))
        self.assertEqual(0, k.exit())

    def test_the_end_of_a_channel_is_an_eof_and_no_error_but_to_a_program(self):
        k = self.start()
        k.hello()
        number = k.execute("channel.receive()")
        k.close(number)
        self.assertIsNone(k.end(number))
        number = k.execute("channel.receive()", argv=["program"])
        k.frame(LAST, number)
        self.assertIn("EOFError", k.end(number))
        self.assertIn("EOFError", self.fail_with(k, "raise EOFError"))
        self.assertEqual(0, k.exit())

    def test_errors_can_be_caught_as_those_of_an_execnet_that_is_there(self):
        k = self.start()
        k.hello()
        number = k.execute(IMPORTED)
        caught = [k.receive(number) for _ in range(3)]
        k.close(number, "wrong")
        self.assertEqual(["TimeoutError", "DumpError", "DataFormatError"], caught)
        k.wait_stderr(b"RemoteError")
        self.assertIsNone(k.end(number))
        self.assertEqual(0, k.exit())
