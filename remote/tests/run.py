"""Tests of the agent's and the kernel's parts without IO, for every interpreter: `PYTHON
remote/tests/run.py`.

Standard library only; the same on CPython 2.7 and 3.6 or later, PyPy and Jython.
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.dirname(HERE), HERE]

from runner import Runner  # noqa: E402

if __name__ == "__main__":
    names = ["wire_tests", "stream_tests", "prefix_tests", "short_tests", "ring_tests", "core_tests",
             "kept_tests", "kept_readers_tests", "kept_order_tests", "transcript_tests",
             "nodes_tests", "look_tests", "kernel_wire_tests",
             "kernel_values_tests", "layers_tests", "packages_tests", "perils_tests"]
    if not sys.platform.startswith("java"):
        names += ["greet_tests", "loop_tests", "quick_tests", "spool_tests"]
    suite = unittest.TestLoader().loadTestsFromNames(names)
    result = Runner(verbosity=2 if "-v" in sys.argv else 1).run(suite)
    sys.exit(not result.wasSuccessful())
