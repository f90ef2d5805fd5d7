"""End to end: a folder with a file for every module of the standard library. Nothing that works there may
import one of them, except user code itself. Run by kernel_tests.py."""
import os
import shutil
import subprocess
import sys
import tempfile

from kernel_case import Kernel

from kernel_client import CLOSE, INTERRUPT, STATUS, STRCONFIG, TIMEOUT, Client, Timeout

WRITES = """import os
fd = os.open(%r, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
os.write(fd, (__name__ + "\\n").encode("ascii"))
os.close(fd)
raise ImportError("the folder's %%s" %% __name__)
"""
OTHERS = ["sitecustomize", "usercustomize", "java", "javax", "org", "com", "sun", "jnr", "jarray"]


def names(python):
    """Return the names of all modules in the standard libraries of this interpreter and the one that runs the
    tests."""
    where = subprocess.check_output([python, "-c", "import os; print(os.path.dirname(os.__file__))"],
                                    text=True, cwd="/").strip()
    found = set(OTHERS) | set(getattr(sys, "stdlib_module_names", ()))
    for folder in (where, os.path.join(where, "lib-dynload")):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            word = name.replace("$py.class", "").split(".")[0]
            if word.isidentifier() and (name.endswith((".py", ".so", "$py.class"))
                                        or os.path.isdir(os.path.join(folder, name))):
                found.add(word)
    return found


TOLD = """
import sys
def recurse(n): return recurse(n + 1) + 1
class Odd(Exception):
    def __str__(self): raise ValueError(u"\\xe4\\u20ac")
channel.send(sys.path[0])
{0}
"""
RAISE = ["1/0", "recurse(0)", "raise Odd()", "raise ValueError(u'\\xe4\\u20ac\\U0001f40d')",
         "import none_of_this_name", "raise SystemExit(3)",
         "b'\\xff'.decode('utf-8')", "u'\\xe4'.encode('ascii')", "channel.send(object())",
         "channel.receive(0.01)",
         "int('a')\n" + "x = 1\n" * 50, "missing", "{}.misssing", "[].apend(1)"]
AFTER_3_10 = ["try:\n    1/0\nexcept Exception as e:\n    raise ValueError('from') from e",
              "exec(\"raise ExceptionGroup('g', [ValueError(1), KeyError(2)])\")"]
QUIET = ["print(u'\\xe4\\u20ac')\nimport sys\nsys.stderr.write('x\\n')",
         "channel.send([1, u'\\ud800', {2: (3, b'x' * 100000)}])",
         "d = 1\nfor i in range(3000): d = [d]\ntry:\n    channel.send(d)\nexcept Exception: pass",
         "channel.gateway.execmodel.Event(); channel.gateway.execmodel.queue; "
         "channel.gateway.execmodel.socket",
         "repr(channel.gateway); channel.gateway.remote_status(); channel.gateway._rinfo()",
         "f = channel.makefile('w'); f.write('x'); f.close()",
         "c = channel.gateway.newchannel(); c.setcallback(print if 0 else len, 5); channel.send(c); "
         "c.close(); c.waitclose()",
         "class D(object):\n    def __del__(self): raise ValueError('in a finalizer')\nD()",
         "c = channel.gateway.newchannel(); channel.send(c); c.reconfigure(); c.close('an error'); del c",
         "import _thread as t, time\ndef f(): raise ValueError('in a thread')\n"
         "t.start_new_thread(f, ()); time.sleep(0.3)",
         "import threading\ndef f(): raise ValueError('in a thread')\nt = threading.Thread(target=f)\n"
         "t.start(); t.join()",
         "import os, sys\nif hasattr(os, 'fork'):\n    pid = os.fork()\n    if not pid: 1/0\n"
         "    os.waitpid(pid, 0)"]


class Folder(Kernel):

    def setUp(self):
        self.there = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.there, True)
        self.folder = os.path.join(self.there, "folder")
        self.marker = os.path.join(self.there, "marker")
        os.mkdir(self.folder)
        for name in names(self.python):
            self.write(name, WRITES % self.marker)
        self.write("mine", "value = 5")

    def write(self, name, text):
        with open(os.path.join(self.folder, name + ".py"), "w") as file:
            file.write(text)

    def ran(self):
        try:
            with open(self.marker) as file:
                return file.read().split()
        except OSError:
            return []

    def interrupted(self, k, number, hello):
        """Wait for the end. PyPy loses an exception that a handler raises during the cleanup after an import:
        send it again if necessary."""
        tries = 10 if hello["implementation"] == "pypy" else 1
        for left in reversed(range(tries)):
            k.frame(INTERRUPT)
            try:
                return k.get(CLOSE, number, TIMEOUT / tries)
            except Timeout:
                if not left:
                    raise

    def everything(self, k):
        """Let a kernel do everything that it can, in this folder."""
        hello = k.hello()
        three = hello["dialect"] == 3
        self.assertEqual([5], k.run("import mine; channel.send(mine.value)"))
        for code in RAISE + (AFTER_3_10 if hello["version_info"][:2] >= (3, 11) else []):
            self.assertTrue(self.fail_with(k, TOLD.format(code)))
            self.assertEqual([], self.ran(), code)
        for code in QUIET:
            if "threading" in code and not (three and hello["version_info"][:2] < (3, 13)
                                            and hello["implementation"] == "cpython"):
                continue  # user code would import the folder's module
            if "execmodel" in code and not three or "_thread as t" in code and not three:
                continue
            number = k.execute(code)
            k.end(number)
            self.assertEqual([], self.ran(), code)
        self.assertIn("SyntaxError", self.fail_with(k, "1 +"))
        self.assertIn("RuntimeError" if hello["implementation"] != "jython" else "", self.fail_with(
            k, "def f(channel):\n    raise RuntimeError('x')", kind="function", name="f"))
        self.assertEqual([], self.ran())
        # errors that nobody receives, and settings of the client
        number = k.execute("c = channel.gateway.newchannel(); channel.send(c); channel.receive(); del c")
        inner = k.receive(number)
        k.close(inner, "an error from the client")
        k.send(number, 1)
        k.end(number)
        k.frame(STRCONFIG, 0, b"\1\0")
        k.frame(STATUS, k.new())
        # two at a time, one of them interrupted
        number = k.execute("channel.send(1)\nwhile not channel.isclosed(): sum(range(1000))")
        k.receive(number)
        other = k.execute("1/0")
        self.assertIn("ZeroDivisionError", k.end(other))
        if not self.jython:
            k.run("import gc\ngc.collect()\ngc.collect()")  # of imports
            self.assertEqual("keyboard-interrupted", self.interrupted(k, number, hello))
        else:
            k.close(number)
        self.assertEqual([], self.ran())
        argv = k.execute("import sys; channel.send(sys.stdin.read()); sys.exit(1)", argv=["x"],
                         stdin=k.number + 4)
        k.new()
        stdin = k.number
        k.send(stdin, b"words")
        k.close(stdin)
        self.assertIn("SystemExit", k.end(argv))
        k.frame(0x0f)  # a protocol error ends it
        k.wait()
        self.assertEqual([], self.ran())

    def test_it_is_started_there(self):
        self.everything(self.start(cwd=self.folder, env=self.environment()))

    def test_it_goes_there(self):
        self.everything(self.start({"chdir": self.folder}, cwd="/"))

    def test_it_ends_as_a_program_does(self):
        k = self.start({"chdir": self.folder}, cwd="/")
        if k.hello()["dialect"] == 3:  # elsewhere it is a file in the folder
            k.run("import atexit\natexit.register(lambda: 1/0)")
        self.assertEqual(0, k.exit())
        self.assertEqual([], self.ran())

    def test_empty_entries_of_pythonpath_are_user_codes(self):
        if self.jython:
            return
        env = self.environment()
        env["PYTHONPATH"], env["EXECNET_PYTHONPATH"] = "/usr/share", "/usr/share:"
        k = self.start(cwd=self.folder, env=env)
        k.hello()
        found = k.run("import sys, os, mine\nchannel.send([sys.path[:3], os.environ['PYTHONPATH'], "
                      "os.environ.get('EXECNET_PYTHONPATH'),"
                      " os.environ.get('PYTHONSAFEPATH'), mine.value])")
        self.assertEqual([[["", "/usr/share", self.folder], "/usr/share:", None, None, 5]], found)
        self.assertIn("ZeroDivisionError", self.fail_with(k, "1/0"))
        self.assertEqual(0, k.exit())
        self.assertEqual([], self.ran())

    def test_code_finds_what_it_imports_itself(self):
        k = self.start({"chdir": self.folder}, cwd="/")
        hello = k.hello()
        self.write("antigravity", "channel = 7")
        self.write("wave", "import antigravity as other")
        self.assertEqual([7], k.run("import wave; channel.send(wave.other.channel)"))
        if (hello["implementation"], hello["dialect"]) == ("cpython", 3):
            k.run("import sys\nsys.meta_path[:] = sys.meta_path[1:]")
        self.assertIn("ZeroDivisionError", self.fail_with(k, "1/0"))
        self.assertEqual(0, k.exit())
        self.assertEqual([], self.ran())

    def test_who_has_no_wish_for_the_folder_does_not_get_it(self):
        hello = self.start().hello()
        if hello["implementation"] != "cpython" or hello["version_info"][:2] < (3, 11):
            return
        for words in (["-P"], ["-I"]):
            k = Client(self.python, argv=words, env=self.environment())
            self.addCleanup(k.kill)
            k.hello()
            self.assertEqual([False], k.run("import sys; channel.send('' in sys.path)"))
            self.assertEqual(0, k.exit())

    def environment(self):
        """Start it as a client or an agent does."""
        return dict(os.environ, PYTHONSAFEPATH="execnet")
