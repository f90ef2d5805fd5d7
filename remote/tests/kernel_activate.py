"""End to end: packages that are active in a kernel and in its children. Run by kernel_packages_tests.py."""
import json
import os
import shutil
import subprocess
import tempfile
import textwrap

from kernel_case import Kernel

from case import interpreters
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

    def host(self, path, text=""):
        """Write a file into the host's site folder."""
        return self.write(self.path(self.site, path), text)

    def test_packages_stand_behind_the_library_and_before_what_is_installed(self):
        self.write("one/first.py", "WHO = 'one'")
        self.write("two/first.py", "WHO = 'two'")
        self.write("two/second.py", "WHO = 'two'")
        self.write("two/json.py", "WHO = 'a backport'")
        self.write("two/dataclasses.py", "WHO = 'a backport'")
        self.host("second.py", "WHO = 'host'")
        self.host("third.py", "WHO = 'host'")
        k, variables = self.activated(["one", "two"])
        here = self.everywhere(k, variables, "first", "second", "third", "json", "dataclasses")
        self.assertEqual("one", here["files"]["first"][1])
        self.assertEqual("two", here["files"]["second"][1])
        self.assertEqual("host", here["files"]["third"][1])
        self.assertEqual(None, here["files"]["json"][1])
        at = here["path"].index(self.path("one"))
        self.assertEqual([self.path("one"), self.path("two")], here["path"][at:at + 2])
        self.assertLess(at, here["path"].index(self.site))
        self.assertEqual(0, k.exit())

    def test_a_namespace_is_split_over_packages_and_the_host(self):
        init = "" if self.has_namespaces() else "from pkgutil import extend_path\n" \
                                                "__path__ = extend_path(__path__, __name__)\n"
        for where in ("one/space/a.py", "two/space/b.py", self.path(self.site, "space/c.py")):
            self.write(where, "WHO = 1")
            if init:
                self.write(os.path.join(os.path.dirname(self.path(where)), "__init__.py"), init)
        k, variables = self.activated(["one", "two"])
        here = self.everywhere(k, variables, "space.a", "space.b", "space.c")
        self.assertNotIn(None, here["files"].values())
        names, = k.run("import pkgutil, space\n"
                       "channel.send(sorted([found[1] for found in pkgutil.iter_modules(space.__path__)]))")
        self.assertEqual(["a", "b", "c"], names)

    def test_entries_beside_come_first_and_may_appear_later(self):
        self.write("work/project/src/early.py", "WHO = 'beside'")
        self.write("one/early.py", "WHO = 'one'")
        self.write("one/late.py", "WHO = 'one'")
        k, variables = self.activated(["one"], beside=["project/src", "later/src"])
        here = self.everywhere(k, variables, "early")
        self.assertEqual("beside", here["files"]["early"][1])
        k.run("import sys\ntry: import missing\nexcept ImportError: pass")
        self.write("work/later/src/late.py", "WHO = 'later'")
        here = self.everywhere(k, variables, "late")
        self.assertEqual("later", here["files"]["late"][1])
        at = here["path"].index(self.path("one"))
        self.assertEqual([self.path("work/project/src"), self.path("work/later/src")],
                         here["path"][at - 2:at])

    def test_what_xdist_copies_loses(self):
        for name in ("pytest/__init__.py", "_pytest/__init__.py", "_pytest/config.py", "py.py", "other.py"):
            self.write("one/" + name, "WHO = 'one'")
            self.write("work/" + name, "WHO = 'copied'")
        k, variables = self.activated(["one"])
        here = self.everywhere(k, variables, "pytest", "_pytest", "_pytest.config", "py", "other")
        self.assertEqual(["copied"] + 4 * ["one"], sorted([who for _, who in here["files"].values()]))
        self.assertEqual("copied", here["files"]["other"][1])

    def test_what_xdist_copies_counts_where_the_packages_have_none(self):
        self.write("one/other.py", "WHO = 'one'")
        self.write("work/_pytest/__init__.py", "WHO = 'copied'")
        k, variables = self.activated(["one"])
        self.assertEqual("copied", self.everywhere(k, variables, "_pytest")["files"]["_pytest"][1])

    def test_lines_of_pth_files_count_as_for_a_site_folder(self):
        self.write("one/a.pth", "# no line\n\nextra\nmissing\n"
                                "import sys; sys.seen = [__import__('mine').WHO]\n")
        self.write("one/mine.py", "WHO = 'one'")
        self.write("one/extra/more.py", "WHO = 'extra'")
        self.write("two/b.pth", "import sys; sys.seen.append('b')\nimport nothing_like_it\nextra\n")
        self.write("two/extra/more.py", "WHO = 'not this one'")
        self.host("mine.py", "WHO = 'host'")
        k, variables = self.activated(["one", "two"])
        here = self.everywhere(k, variables, "more", "mine")
        self.assertEqual("extra", here["files"]["more"][1])
        at = here["path"].index(self.path("one"))
        self.assertEqual(list(map(self.path, ("one", "one/extra", "two"))), here["path"][at:at + 3])
        self.assertEqual([["one", "b"]], k.run("import sys; channel.send(sys.seen)"))
        k.wait_stderr(b"Remainder of file ignored")

    def test_what_is_installed_leaves_with_isolate(self):
        self.isolated_host()
        self.write("one/also.py", "WHO = 'one'")
        k, variables = self.activated(["one"], isolate=True)
        here = self.everywhere(k, variables, "also", "installed", "extra", "edited", "early")
        files = here["files"]
        self.assertEqual("one", files.pop("also")[1])
        self.assertEqual({"installed": None, "extra": None, "edited": None, "early": None}, files)
        self.assertEqual([], [entry for entry in here["path"] if "-packages" in entry or "user" in entry])
        self.assertEqual(0, k.exit())

    def test_what_is_installed_stays_without_isolate_but_for_what_the_packages_have(self):
        self.isolated_host()
        self.write("one/early.py", "WHO = 'one'")
        k, variables = self.activated(["one"])
        files = self.everywhere(k, variables, "also", "installed", "extra", "edited", "early")["files"]
        self.assertEqual({"also": "host", "installed": "host", "extra": "host", "edited": "edited",
                          "early": "one"}, {name: found[1] for name, found in files.items()})

    def isolated_host(self):
        """Install packages in all the ways that site knows."""
        self.host("also.py", "WHO = 'host'")
        self.host("installed.py", "WHO = 'host'")
        self.host("early.py", "WHO = 'host'")
        self.host("host.pth", self.path("user/source") + "\nimport early\nimport __editable___finder\n")
        self.write("user/source/extra.py", "WHO = 'host'")
        self.write("source/edited.py", "WHO = 'edited'")
        self.host("__editable___finder.py", """
            import sys
            class Editable(object):
                @classmethod
                def find_spec(cls, name, path=None, target=None):
                    if name == "edited":
                        from importlib.util import spec_from_file_location
                        return spec_from_file_location(name, %(file)r)
                @classmethod
                def find_module(cls, name, path=None):
                    if name == "edited":
                        return cls
                @classmethod
                def load_module(cls, name):
                    import imp
                    return imp.load_source(name, %(file)r)
            sys.meta_path.append(Editable)
        """ % {"file": self.path("source/edited.py")})

    def test_isolate_takes_site_folders_of_pythonpath_but_no_others(self):
        name = "JYTHONPATH" if self.jython else "PYTHONPATH"
        self.write("own/site-packages/foreign.py", "WHO = 'foreign'")
        self.write("my-packages/mine.py", "WHO = 'mine'")
        self.env[name] = self.path("own/site-packages") + ":" + self.path("my-packages")
        k, variables = self.activated(["one"], isolate=True)
        files = self.everywhere(k, variables, "foreign", "mine")["files"]
        self.assertEqual((None, "mine"), (files["foreign"], files["mine"][1]))

    def test_packages_of_a_gateway_within_a_gateway(self):
        self.write("one/first.py", "WHO = 'one'")
        self.write("one/pytest.py", "WHO = 'one'")
        self.write("one/both.py", "WHO = 'one'")
        self.write("two/both.py", "WHO = 'two'")
        self.write("work/pytest.py", "WHO = 'copied'")
        _, variables = self.activated(["one"])
        self.env.update(variables)
        for isolate in (False, True):
            self.door = self.path("door-%s" % isolate)
            k, variables = self.activated(["two"], isolate=isolate)
            self.assertEqual(self.door + ":" + self.path("door"),
                             variables["JYTHONPATH" if self.jython else "PYTHONPATH"])
            files = self.everywhere(k, variables, "first", "both", "pytest")["files"]
            self.assertEqual([None if isolate else "one", "two", "copied" if isolate else "one"],
                             [files[name] and files[name][1] for name in ("first", "both", "pytest")])

    def test_scripts_are_on_the_path_and_know_the_interpreter(self):
        script = self.write("one/bin/tool", """\
            #!/bin/sh
            exec "$EXECNET_PYTHON" -c "import first; print(first.WHO)"
        """)
        os.chmod(script, 0o755)
        self.write("one/first.py", "WHO = 'by a script'")
        k, variables = self.activated(["one", "two"])
        self.assertEqual(self.path("one/bin") + ":" + self.env["PATH"], variables["PATH"])
        out, = k.run("import subprocess\n"
                     "channel.send(subprocess.check_output(['sh', '-c', 'tool']).decode('ascii'))")
        self.assertEqual("by a script", out.splitlines()[-1])

    def test_a_sitecustomize_of_the_host_still_runs_as_it_did(self):
        self.write("early/sitecustomize.py", "import sys; sys.host = [__name__, __file__, list(sys.path)]")
        self.write("early/first.py", "WHO = 'early'")
        self.write(self.path(self.site, "usercustomize.py"), "import sys; sys.user = 'ran'")
        self.write("one/first.py", "WHO = 'one'")
        name = "JYTHONPATH" if self.jython else "PYTHONPATH"
        self.env[name] = self.path("early")
        code = ("import sys; print(sys.host[:2] + [entry for entry in sys.host[2] if entry], sys.user, "
                "sys.modules['sitecustomize'].__file__)")
        before = self.python_says(code)
        for isolate in (False, True):
            k, variables = self.activated(["one"], isolate=isolate)
            self.assertEqual(self.door + ":" + self.path("early"), variables[name])
            self.assertEqual(before, self.python_says(code, **variables))
            # it was on the path before the standard library
            self.assertEqual("early", self.everywhere(k, variables, "first")["files"]["first"][1])

    def test_an_error_in_a_sitecustomize_of_the_host_is_told_as_before(self):
        self.write("early/sitecustomize.py", "raise ValueError('of the host')")
        self.write("one/first.py", "WHO = 'one'")
        self.env["JYTHONPATH" if self.jython else "PYTHONPATH"] = self.path("early")
        k, variables = self.activated(["one"])
        told = []
        for env in (self.env, dict(self.env, **variables)):
            ended = subprocess.run([self.python, "-c", "pass"], env=env, check=True, stderr=subprocess.PIPE,
                                   text=True)
            told.append(ended.stderr.splitlines()[-1])
        self.assertEqual(*told)
        self.assertEqual("one", self.child(variables, "first")["files"]["first"][1])

    def test_nothing_but_the_packages_is_new_in_a_child(self):
        self.write("one/first.py", "WHO = 'one'")
        k, variables = self.activated(["one"])
        code = "import json, sys; print(json.dumps(sorted(sys.modules)))"
        before, after = json.loads(self.python_says(code)), json.loads(self.python_says(code, **variables))
        self.assertEqual(set(), set(after) - set(before))

    def test_options_that_ignore_the_environment_or_site_have_no_packages(self):
        if self.jython:
            self.skipTest("Jython has other options")
        self.write("one/first.py", "WHO = 'one'")
        k, variables = self.activated(["one"])
        isolated = ["-I"] if self.has_namespaces() else []
        for option in ["-E", "-S"] + isolated:
            self.assertIsNone(self.child(variables, "first", argv=[option])["files"]["first"])
        self.assertEqual("one", self.child(variables, "first", argv=["-s"])["files"]["first"][1])

    def test_another_interpreter_ignores_the_door(self):
        self.write("one/first.py", "WHO = 'one'")
        self.write("early/sitecustomize.py", "import sys; sys.host = 'ran'")
        k, variables = self.activated(["one"])
        variables["PYTHONPATH"] = self.door + ":" + self.path("early")
        others = [path for name, path in interpreters().items()
                  if path != self.python and name in ("2.7", "3.8", "3.11", "3.13", "pypy3")]
        if not others:
            self.skipTest("there is no other interpreter")
        for python in others:
            there = self.child(variables, "first", "sitecustomize", python=python)
            self.assertIsNone(there["files"]["first"])
            self.assertEqual(self.path("early/sitecustomize.py"), there["files"]["sitecustomize"][0])
            self.assertNotIn(self.door, there["path"])

    def test_a_virtual_environment_ignores_the_door(self):
        if self.jython or not self.has_namespaces():
            self.skipTest("it has no venv module")
        self.write("one/first.py", "WHO = 'one'")
        k, variables = self.activated(["one"])
        subprocess.run([self.python, "-m", "venv", "--without-pip", self.path("venv")], env=self.env,
                       check=True)
        python = self.path("venv/bin/python")
        self.assertIsNone(self.child(variables, "first", python=python)["files"]["first"])

    def test_a_kernel_in_a_virtual_environment(self):
        if self.jython or not self.has_namespaces():
            self.skipTest("it has no venv module")
        subprocess.run([self.python, "-m", "venv", "--without-pip", self.path("venv")], env=self.env,
                       check=True)
        base, self.python = self.python, self.path("venv/bin/python")
        self.site = self.python_says("import sys; print(sys.path[-1])")
        self.assertIn("/venv/", self.site)
        self.host("first.py", "WHO = 'host'")
        self.host("second.py", "WHO = 'host'")
        self.write("one/first.py", "WHO = 'one'")
        for isolate in (False, True):
            k, variables = self.activated(["one"], isolate=isolate)
            files = self.everywhere(k, variables, "first", "second")["files"]
            self.assertEqual("one", files["first"][1])
            self.assertEqual(isolate, files["second"] is None)
            self.assertIsNone(self.child(variables, "first", python=base)["files"]["first"])

    def test_children_of_children_and_modules_run_as_programs(self):
        self.write("one/first.py", "WHO = 'one'")
        self.write("one/tool/__init__.py")
        self.write("one/tool/__main__.py", """
            import os, subprocess, sys
            left = int(sys.argv[1])
            if left:
                sys.exit(subprocess.call([os.environ["PYTHON"], "-m", "tool", str(left - 1)]))
            import first
            print(first.WHO)
        """)
        k, variables = self.activated(["one"])
        code = ("import os, subprocess; os.environ['PYTHON'] = %r; channel.send(subprocess.check_output("
                "[%r, '-m', 'tool', '2']).decode('ascii'))" % (self.python, self.python))
        self.assertEqual("one", k.run(code)[0].splitlines()[-1])

    def test_every_way_of_multiprocessing_has_the_packages(self):
        if self.jython:
            self.skipTest("Jython has no multiprocessing")
        self.write("one/work_of.py", """
            import os, sys
            def who(_):
                import pytest
                # the current folder is in it by name where a parent has it as ""
                path = [entry for entry in sys.path if entry not in ("", os.getcwd())]
                return [pytest.WHO, path, os.getpid()]
        """)
        self.write("one/pytest.py", "WHO = 'one'")
        self.write("work/pytest.py", "WHO = 'copied'")
        k, variables = self.activated(["one"], isolate=True, beside=["later"])
        path = [entry for entry in self.about(k)["path"] if entry]
        ways = ["fork", "spawn", "forkserver"] if self.has_namespaces() else [None]
        for way in ways:
            answer, own = k.run("""if True:
                import multiprocessing, os, work_of
                way = %r
                pool = (multiprocessing.get_context(way) if way else multiprocessing).Pool(1)
                channel.send([pool.map(work_of.who, [1])[0], os.getpid()])
                pool.terminate()
            """ % way)[0]
            self.assertEqual(["one", path], answer[:2], way)
            self.assertNotEqual(answer[2], own)

    def test_metadata_and_resources_are_found(self):
        if self.jython or not self.has_namespaces() or self.version() < (3, 8):
            self.skipTest("the standard library has no importlib.metadata")
        self.write("one/dist-1.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: dist\nVersion: 1.5\n")
        self.write("one/dist-1.5.dist-info/entry_points.txt", "[plugins]\none = dist:plugin\n")
        self.write("one/dist/__init__.py", "plugin = 'from one'")
        self.write("one/dist/data.txt", "data")
        self.host("dist-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: dist\nVersion: 2.0\n")
        self.host("foreign-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: foreign\nVersion: 1\n")
        self.host("foreign-1.dist-info/entry_points.txt", "[plugins]\nforeign = foreign:plugin\n")
        code = """if True:
            import importlib.metadata as m
            found = m.entry_points()
            found = found.select(group="plugins") if hasattr(found, "select") else found["plugins"]
            found = sorted([(each.name, each.load() if each.name == "one" else None) for each in found])
            import importlib.resources as r
            read = r.files("dist").joinpath("data.txt") if hasattr(r, "files") else r
            text = read.read_text() if read is not r else r.read_text("dist", "data.txt")
            tell([m.version("dist"), text, found])
        """
        for isolate in (False, True):
            k, variables = self.activated(["one"], isolate=isolate)
            here, = k.run("import importlib.metadata\ntell = channel.send\n" + code)
            foreign = [] if isolate else [("foreign", None)]
            self.assertEqual(["1.5", "data", foreign + [("one", "from one")]], here)
            out = self.python_says("import json\ntell = lambda it: print(json.dumps(it))\n" + code,
                                   **variables)
            self.assertEqual(json.loads(json.dumps(here)), json.loads(out))

    def test_resources_and_sources_of_packages_are_files(self):
        self.write("one/dist/__init__.py", "def function():\n    return 5\n")
        self.write("one/dist/data.txt", "data")
        k, variables = self.activated(["one"])
        self.assertEqual(["data", "def function():\n    return 5\n", ["dist"]], k.run("""if True:
            import dist, inspect, os, pkgutil
            channel.send(pkgutil.get_data("dist", "data.txt").decode("ascii"))
            channel.send(inspect.getsource(dist.function))
            channel.send([found[1] for found in pkgutil.iter_modules([%r])])
        """ % self.path("one")))

    def test_coverage_sees_what_is_installed_beside_it_as_installed(self):
        self.write("site/coverage/__init__.py")
        self.write("own/own.py")
        says = """
            import sys, coverage, sysconfig
            schemes = [sysconfig.get_paths(each) for each in sysconfig.get_scheme_names()]
            names = [[paths[key] for key in ("purelib", "platlib", "stdlib")] for paths in schemes]
        """
        k, variables = self.activated(["site", "own"])
        names, = k.run(textwrap.dedent(says) + "channel.send(names)")
        self.assertIn([self.path("site")] * 2, [paths[:2] for paths in names])
        self.assertNotIn(self.path("own"), sum(names, []))
        child = self.python_says(textwrap.dedent(says) + "print(%r in sum(names, []))" % self.path("site"),
                                 **variables)
        self.assertEqual(child, "True")

    def test_the_kernel_goes_on_importing_from_the_standard_library_only(self):
        for name in ("traceback", "linecache", "threading", "codecs", "signal", "pytest", "site"):
            self.write("work/%s.py" % name, "raise SystemError('of the folder')")
            self.write("one/%s.py" % name, "raise SystemError('of the packages')")
        k, _ = self.activated(["one"], isolate=True)
        error = self.fail_with(k, "raise ValueError('told')")
        self.assertIn("ValueError: told", error)
        self.assertNotIn("SystemError", error)
        number = k.execute("channel.makefile('w').write('x'); channel.receive()")
        self.assertEqual("x", k.receive(number))
        self.assertIn("of the packages", self.fail_with(k, "import pytest"))
        self.assertEqual(0, k.exit())
        self.assertNotIn(b"SystemError", k.stderr)

    def test_paths_need_not_be_ascii(self):
        if self.jython:
            self.skipTest("Jython takes such paths for other text")
        self.write("\xf6ne/first.py", "WHO = 'one'")
        k, variables = self.activated([b"\xc3\xb6ne".decode()])
        self.assertEqual("one", self.everywhere(k, variables, "first")["files"]["first"][1])

    def test_the_stand_in_has_the_errors_of_the_kernel(self):
        shutil.copytree(os.path.join(bundle.REMOTE, "standin", "execnet"), self.path("one/execnet"))
        k, variables = self.activated(["one"])
        self.assertEqual(4 * ["caught"], k.run("""if True:
            import execnet
            for action, errors in (
                    (lambda: channel.send(object()), (execnet.DumpError, execnet.DataFormatError)),
                    (lambda: channel.receive(timeout=0.01), (execnet.TimeoutError, channel.TimeoutError))):
                for error in errors:
                    try:
                        action()
                    except error:
                        channel.send("caught")
        """))
        number = k.execute("""if True:
            import execnet
            for error in (execnet.RemoteError, channel.RemoteError):
                other = channel.gateway.newchannel()
                channel.send(other)
                try:
                    other.receive()
                except error as caught:
                    channel.send([str(caught), caught.formatted, caught.raw, repr(caught)])
        """)
        for _ in range(2):
            k.close(k.receive(number), "it failed")
            self.assertEqual(3 * ["it failed"] + ["RemoteError: it failed"], k.receive(number))
        out = self.python_says("import execnet; print(len(execnet.dumps([1])))", **variables)
        self.assertEqual("18", out)

    def version(self):
        return tuple(json.loads(self.python_says("import sys; print(list(sys.version_info[:2]))")))

    def has_namespaces(self):
        return self.python_says("import sys; print(sys.version_info[0] > 2)") == "True"
