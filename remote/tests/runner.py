"""Runs tests, and ends with one that hangs: says which it is, and where each of its threads waits.

The same on CPython 2.7 and 3.6 or later, PyPy and Jython. Contains no tests.
"""
import os
import sys
import threading
import time
import traceback
import unittest

clock = getattr(time, "monotonic", time.time)
LIMIT = 900  # seconds without a test that begins; more than a test with one wait that ran into its own limit


class Result(unittest.TextTestResult):
    """A result that knows since when a test runs."""

    def startTest(self, test):
        self.began = test.id(), clock()
        unittest.TextTestResult.startTest(self, test)


class Runner(unittest.TextTestRunner):
    """A runner that lets no test take more than LIMIT, nor the end of the run behind the last one."""

    resultclass = Result

    def _makeResult(self):
        result = unittest.TextTestRunner._makeResult(self)
        result.began = "before the first test", clock()
        thread = threading.Thread(target=end_what_hangs, args=(result,))
        thread.daemon = True
        thread.start()
        return result


def end_what_hangs(result, limit=LIMIT):
    while clock() - result.began[1] < limit:
        time.sleep(1)
    say = sys.stderr.write
    say("\nno end in %d s of %s\n" % (limit, result.began[0]))
    for number, frame in sys._current_frames().items():
        say("thread %s:\n%s" % (number, "".join(traceback.format_stack(frame))))
    sys.stderr.flush()
    os._exit(1)
