"""One agent under test, and what every end-to-end test needs to know about this machine: its interpreters and
processes.

Contains no tests.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from daemon import LIFE, TIMEOUT, Link, Timeout
from runner import Runner

WANTED = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "pypy3", "jython"]
OPTIONAL = ["3.14"]
FOLDER = "/tmp/execnet-%d" % os.getuid()


def interpreters():
    root = os.environ.get("PYENV_ROOT")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], stdout=subprocess.PIPE, text=True).stdout.strip()
    found = {}
    for name in WANTED:
        if name[0].isdigit():
            paths = glob.glob("%s/versions/%s.*/bin/python" % (root, name)) if root else []
            paths += [path for path in [shutil.which("python" + name)] if path and "/shims/" not in path]
        else:
            paths = [path for path in [shutil.which(name)] if path]
        if paths:
            found[name] = paths[0]
    return found


def gone(*pids, seconds=TIMEOUT):
    """Whether all these processes end in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not [pid for pid in pids if alive(pid)]:
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Host(unittest.TestCase):
    """One agent of a fresh key; `python` is set by the subclasses made below."""

    python = None
    jython = False

    def setUp(self):
        self.key = os.urandom(8).hex()
        self.links = []
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def tearDown(self):
        agents = [link.info["pid"] for link in self.links if hasattr(link, "info")]
        for link in self.links:
            if link.process.poll() is None:
                try:
                    link.end()
                except (Timeout, OSError, ValueError):
                    link.process.kill()
        for pid in agents:
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
        self.assertTrue(gone(*agents), "an agent stays")
        self.assertEqual([], self.files())
        for link in self.links:
            link.close()

    def files(self):
        return glob.glob("%s/%s*" % (FOLDER, self.key))

    def link(self, epoch=LIFE | 1, **how):
        link = Link(how.pop("python", self.python), key=how.pop("key", self.key), epoch=epoch, **how)
        self.links.append(link)
        return link

    def joined(self, epoch=LIFE | 1, **how):
        link = self.link(epoch, **how)
        link.hello()
        link.table_of_nodes = link.nodes()
        return link

    def path(self, name):
        return os.path.join(self.folder, name)

    def wait_until(self, holds):
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it never holds")
            time.sleep(0.01)

    def wait_for(self, path):
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if os.path.exists(path):
                with open(path) as file:
                    text = file.read()
                if text.endswith("\n"):
                    return text.strip()
            time.sleep(0.01)
        self.fail("nobody wrote " + path)


_chosen = []


def main():
    """Run the tests on the interpreters named as arguments, or on all."""
    _chosen[:] = [word for word in sys.argv[1:] if word in WANTED]
    others = [word for word in sys.argv[1:] if word not in WANTED]
    unittest.main(argv=sys.argv[:1] + others, testRunner=Runner)


def suite(loader, bases):
    """Return the tests of the classes that `bases(is_jython)` returns, for each interpreter."""
    tests = unittest.TestSuite()
    found = interpreters()
    for name in _chosen or WANTED:
        if name not in found:
            missing = type("Missing_" + name, (unittest.TestCase,), {
                "test_it_is_here": unittest.skip("no %s on this machine" % name)(lambda self: None)})
            if os.environ.get("EXECNET_CI") and name not in OPTIONAL:
                missing.test_it_is_here = lambda self: self.fail("not on this machine")
            tests.addTests(loader.loadTestsFromTestCase(missing))
            continue
        jython = name == "jython"
        for base in bases(jython):
            case = type("%s_%s" % (base.__name__, name.replace(".", "_")), (base,),
                        {"python": found[name], "jython": jython})
            tests.addTests(loader.loadTestsFromTestCase(case))
    return tests
