"""End to end: packages under every interpreter found, driven by a stand-in client. Called as
kernel_tests.py is."""
import sys

sys.dont_write_bytecode = True
from kernel_activate import Activate
from kernel_packages import Answers, Manifests, Packages

from case import main, suite


def load_tests(loader, tests, pattern):
    return suite(loader, lambda jython: (Activate, Packages, Answers, Manifests))


if __name__ == "__main__":
    main()
