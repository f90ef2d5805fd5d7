"""End to end: the folders of packages under every interpreter found. Called as kernel_tests.py is."""
import sys

sys.dont_write_bytecode = True
from kernel_store import Mounts, Store

from case import main, suite


def load_tests(loader, tests, pattern):
    return suite(loader, lambda jython: (Store,) if jython else (Store, Mounts))


if __name__ == "__main__":
    main()
