"""End to end: user code breaks imports, and the kernel must not fall silent. Run by kernel_tests.py."""
from kernel_case import Kernel

from kernel_client import DATA, STATUS

PATCHED = """
try:
    import builtins
except ImportError:
    import __builtin__ as builtins
def broken(name, *args, **kwargs):
    raise ImportError(name)
real, builtins.__import__ = builtins.__import__, broken
channel.send("patched")
while not channel._state.items:
    sum(range(1000))
builtins.__import__ = real
channel.send("as it was")
"""
SOME = "import sys\nfor name in list(sys.modules):\n    if name.startswith('e'): del sys.modules[name]"
ALL = "import sys; sys.modules.clear()"


class Imports(Kernel):

    def started(self):
        """Return a kernel, and whether it has builtins and modules of its own."""
        k = self.start()
        hello = k.hello()
        return k, hello["implementation"] == "cpython" and hello["dialect"] == 3

    def check(self, k, lives):
        """Check that it answers STATUS, or ends and says why."""
        k.frame(STATUS, 1)
        if lives:
            k.get(STATUS, 1)
        else:
            self.assertEqual(94, k.wait())
            self.assertIn(b"Error" if not self.jython else b"E", k.stderr)

    def test_import_is_patched(self):
        k, lives = self.started()
        number = k.execute(PATCHED)
        self.assertEqual("patched", k.get(DATA, number))
        self.check(k, lives)
        if lives:
            k.send(number, 1)
            self.assertEqual("as it was", k.get(DATA, number))
            self.assertEqual(0, k.exit())

    def test_modules_are_gone(self):
        for code in (SOME, ALL):
            k, lives = self.started()
            k.run(code)
            self.check(k, lives)
            if lives:
                self.assertEqual(0, k.exit())

    def test_user_code_has_the_builtins_of_everybody(self):
        k, _ = self.started()
        k.run("import sys\nsys.modules.get('builtins', sys.modules.get('__builtin__')).added = 5")
        self.assertEqual([5], k.run("channel.send(added)"))
        self.assertEqual(0, k.exit())
