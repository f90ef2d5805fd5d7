"""One kernel under test. Contains no tests."""
import unittest

from kernel_client import Client

# seconds that the main thread gets to fall asleep: it notices an earlier signal late
ASLEEP = 0.3


class Kernel(unittest.TestCase):
    """`python` is set by the subclasses made below."""

    python = None
    jython = False
    config = {}

    def start(self, config=(), **options):
        client = Client(self.python, config, **options)
        self.addCleanup(client.kill)
        return client

    def end_in_time(self, client, status=0):
        self.assertEqual(status, client.wait(), client.stderr)

    def fail_with(self, client, *how, **more):
        try:
            client.run(*how, **more)
        except RuntimeError as error:
            return str(error)
        self.fail("no error")


class Shared(Kernel):
    """One kernel for all tests of a class."""

    @classmethod
    def setUpClass(cls):
        cls.k = Client(cls.python, {"id": "gw5", "window": 100000}, auto_credit=True)
        cls.hello = cls.k.hello()

    @classmethod
    def tearDownClass(cls):
        status = cls.k.exit()
        cls.k.kill()
        if status:
            raise AssertionError("the kernel ended with status %d: %s" % (status, cls.k.stderr))

    def dialect(self, value):
        """Return what a value sent to the kernel comes back as: `str` of Python 2 is text here."""
        if self.hello["dialect"] == 2:
            if isinstance(value, bytes):
                return value.decode("latin-1")
            if isinstance(value, (list, tuple, set, frozenset)):
                return type(value)([self.dialect(part) for part in value])
            if isinstance(value, dict):
                return {self.dialect(key): self.dialect(part) for key, part in value.items()}
        return value
