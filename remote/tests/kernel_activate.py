"""End to end: packages that are active in a kernel and in its children. Run by kernel_tests.py."""
import json
import os
import shutil
import subprocess
import tempfile
import textwrap

from kernel_case import Kernel

from kernel_client import bundle

PACKAGES = os.path.join(bundle.REMOTE, "packages")
SOURCES = {"execnet_kernel." + name: bundle.squeeze(bundle.source(name + ".py", PACKAGES).decode("ascii"))
           for name in ("activate", "door")}

# activates as the kernel's half of the conversation does, but with folders that are there already
ACTIVATE = """
import os, sys
def place(files, folder=%(door)r):
    os.path.isdir(folder) or os.mkdir(folder)
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    return folder
sources = %(sources)r
sys.meta_path[0].sources.update([(name, text.encode("ascii")) for name, text in sources.items()])
from execnet_kernel import activate
channel.send(activate.activate(%(folders)r, %(isolate)r, %(beside)r, place))
"""

# what it says of itself, as JSON on stdout
ABOUT = """
import json, os, sys
def about(names):
    out = {"path": sys.path, "files": {}, "exe": sys.prefix}
    for name in names:
        try:
            module = __import__(name, None, None, ["x"])
            out["files"][name] = [getattr(module, "__file__", None), getattr(module, "WHO", None)]
        except ImportError:
            out["files"][name] = None
    return json.dumps(out)
"""


class Activate(Kernel):

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.door = os.path.join(self.folder, "door")
        self.env = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
        self.env["PYTHONUSERBASE"] = os.path.join(self.folder, "user")
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"
        self.site = self.python_says("import site; print(site.getusersitepackages())")

    def python_says(self, code, *argv, **env):
        return subprocess.run([self.python, *argv, "-c", code], env=dict(self.env, **env), check=True,
                              stdout=subprocess.PIPE, text=True, cwd=self.folder).stdout.strip()

    def write(self, path, text="", **more):
        """Write a file; a path that is not absolute is in the folder of the test."""
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))
        return path

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def activated(self, sets, isolate=False, beside=(), **options):
        """Return a kernel with these sets, and the variables for its children."""
        work = self.path("work")
        os.makedirs(work, exist_ok=True)
        for each in sets:
            os.makedirs(self.path(each), exist_ok=True)
        k = self.start({"chdir": work}, env=self.env, **options)
        k.hello()
        how = {"door": self.door, "sources": SOURCES, "folders": [self.path(each) for each in sets],
               "isolate": isolate, "beside": list(beside)}
        variables, = k.run(ACTIVATE % how)
        return k, variables

    def about(self, k, *names):
        """Return what the kernel says of itself."""
        out, = k.run(ABOUT + "channel.send(about(%r))" % (list(names),))
        return json.loads(out)

    def child(self, variables, *names, python=None, argv=(), **env):
        """Return what a child says of itself, started by anybody with the variables."""
        code = ABOUT + "print(about(%r))" % (list(names),)
        out = subprocess.run([python or self.python, *argv, "-c", code],
                             env=dict(self.env, **variables, **env), check=True, stdout=subprocess.PIPE,
                             text=True, cwd=self.path("work")).stdout
        return json.loads(out.splitlines()[-1])

    def everywhere(self, k, variables, *names):
        """Return what the kernel and a child say; it must be the same."""
        here, there = self.about(k, *names), self.child(variables, *names)
        self.assertEqual(here["files"], there["files"])
        self.assertEqual(list(filter(None, here["path"])), list(filter(None, there["path"])))
        return here

    def test_packages_stand_behind_the_library_and_before_what_is_installed(self):
        self.write("one/first.py", "WHO = 'one'")
        self.write("two/first.py", "WHO = 'two'")
        self.write("two/second.py", "WHO = 'two'")
        self.write("two/dataclasses.py", "WHO = 'a backport'")
        self.write("two/json.py", "WHO = 'a backport'")
        self.write(self.path(self.site, "second.py"), "WHO = 'host'")
        self.write(self.path(self.site, "third.py"), "WHO = 'host'")
        k, variables = self.activated(["one", "two"])
        here = self.everywhere(k, variables, "first", "second", "third", "json")
        self.assertEqual("one", here["files"]["first"][1])
        self.assertEqual("two", here["files"]["second"][1])
        self.assertEqual("host", here["files"]["third"][1])
        self.assertEqual(None, here["files"]["json"][1])
        at = here["path"].index(self.path("one"))
        self.assertEqual([self.path("one"), self.path("two")], here["path"][at:at + 2])
        self.assertLess(at, here["path"].index(self.site))
        self.assertEqual(0, k.exit())
