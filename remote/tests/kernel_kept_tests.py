"""End to end: kernels that are kept, entered by stand-in programs. Called as kernel_tests.py is."""
import sys

sys.dont_write_bytecode = True
from kernel_kept import Kept, Refused
from kernel_kept_ends import Ends, Takeovers

from case import main, suite


def load_tests(loader, tests, pattern):
    return suite(loader, lambda jython: (Refused,) if jython else (Kept, Ends, Takeovers, Refused))


if __name__ == "__main__":
    main()
