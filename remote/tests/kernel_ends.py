"""End to end: how kernels start and end. Run by kernel_tests.py."""
import marshal
import os
import shutil
import signal
import tempfile
import textwrap
import time
from functools import cached_property

from kernel_case import ASLEEP, Kernel

from kernel_client import BUNDLE, DATA, HELLO, INTERRUPT, TIMEOUT, wire

# what it was started with, and files that it read in place of stdin
STATE = """import os, sys
paths = ['/proc/self/fd/' + fd for fd in os.listdir('/proc/self/fd')]
files = [os.readlink(path) for path in paths if os.path.exists(path)]
channel.send([sys.argv, sys.warnoptions, os.getcwd(), [file for file in files if 'execnet' in file]])
"""
PATIENT = "INTERRUPT_AFTER, KILL_AFTER = 9e5, 9e5"  # with these limits, a kernel that ends did so by itself


class Start(Kernel):

    def test_config_is_followed_before_hello(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        folder = os.path.realpath(folder) + "/new/er"
        before = os.nice(0)
        k = self.start({"chdir": folder, "nice": 3, "env": {"KERNEL_TEST": "wörd"},
                        "dont_write_bytecode": True})
        self.assertEqual(folder, k.hello()["cwd"])
        if not self.jython:
            self.assertEqual([[min(before + 3, 19), True, folder]],
                             k.run("import os, sys; channel.send([os.nice(0), sys.dont_write_bytecode, "
                                   "os.getcwd()])"))
        self.assertEqual(["wörd".encode("utf-8").decode("latin-1") if k.reader.two else "wörd"],
                         k.run("import os; channel.send(os.environ['KERNEL_TEST'])")) \
            if not self.jython else None

    def test_a_silent_one_lets_nothing_through_that_is_written_to_stdout(self):
        for silent, seen in ((True, b"by stderr\n"), (False, b"by print\nby shell\nby stderr\n")):
            k = self.start({"silent": silent})
            k.hello()
            self.assertEqual([1], k.run("import os, sys\nprint('by print')\nsys.stdout.flush()\n"
                                        "os.system('echo by shell')\n"
                                        "os.system('echo by stderr >&2')\nchannel.send(1)"))
            if self.jython and silent:
                k.run("from java.lang import System\nSystem.out.println('by Java')")
            self.assertEqual(0, k.exit())
            self.assertEqual(seen, k.stderr)

    def test_a_config_that_cannot_be_followed_ends_with_94_and_the_reason(self):
        k = self.start({"chdir": "/proc/none/such"})
        self.assertEqual(94, k.wait())
        self.assertIn(b"execnet: cannot make the folder /proc/none/such: ", k.stderr)
        self.assertNotIn(b"Errno", k.stderr)
        self.assertEqual(b"", k.noise)

    def test_what_comes_before_the_marker_is_noise(self):
        if self.jython:
            return  # no sitecustomize without its site
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        with open(folder + "/sitecustomize.py", "w") as file:
            file.write("import os\nos.write(1, b'noise of a site\\n')\n")
        k = self.start(env=dict(os.environ, PYTHONPATH=folder))
        k.hello()
        self.assertEqual(b"noise of a site\n", k.noise)

    def test_a_zlib_that_lies_in_the_folder_is_not_taken_and_its_modules_are_importable(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        for name in ("zlib", "struct", "kernelneighbour"):
            with open("%s/%s.py" % (folder, name), "w") as file:
                file.write("where = 'here'\n")
        k = self.start(cwd=folder)
        k.hello()
        if self.jython:
            return
        self.assertEqual(["here"], k.run("import kernelneighbour; channel.send(kernelneighbour.where)"))

    def test_one_that_waited_starts_again_when_something_was_installed_meanwhile(self):
        if self.jython:
            return  # Java cannot
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.mkdir(folder + "/site")
        with open(folder + "/site/sitecustomize.py", "w") as file:
            file.write("import os\nwith open(%r, 'a') as file: file.write('%%d\\n' %% "
                       "os.getpid())\n" % (folder + "/starts"))
        env = dict(os.environ, PYTHONPATH=folder + "/site", PYTHONDONTWRITEBYTECODE="1", PWD=folder)
        for changes, starts in ((None, 1), ("site/new.py", 2), ("same", 1)):
            for fed in (False, True):
                if os.path.exists(folder + "/site/new.py"):
                    os.remove(folder + "/site/new.py")
                open(folder + "/starts", "w").close()
                k = self.waiting(fed, env=env, cwd=folder, argv=("-W", "error"))
                if changes:
                    with open("%s/%s" % (folder, changes), "w") as file:
                        file.write("here = 1\n")
                k.wake()
                self.assertEqual(k.process.pid, k.hello()["pid"])
                self.assertEqual([[["-c"], ["error"], folder, []]], k.run(STATE))
                with open(folder + "/starts") as file:
                    self.assertEqual(starts, len(file.readlines()), (changes, fed))
                if changes == "site/new.py":
                    self.assertEqual([1], k.run("import new; channel.send(new.here)"))

    def waiting(self, fed, **how):
        """Return an interpreter that waits, with the bundle if `fed`. Then it is to `wake`."""
        k = self.start(start=False, words=("ahead",), **how)
        if fed:
            k.raw(BUNDLE)
        k.until_it_reads()
        k.wake = k.go_on if fed else k.begin
        return k

    def test_one_that_waits_with_the_bundle_ends_when_nobody_wants_it(self):
        k = self.start(start=False, words=("ahead",))
        k.raw(BUNDLE)
        k.process.stdin.close()
        self.assertEqual(93, k.wait())
        self.assertEqual(b"", k.stderr)

    def test_one_that_waits_with_the_bundle_goes_on_with_config(self):
        for at in (0, 1, 2, 20):
            k = self.start(start=False, words=("ahead",))
            k.raw(BUNDLE)
            config = marshal.dumps({"id": "gw7", "nice": 0}, 2)
            config = wire.header.pack(HELLO, 0, len(config)) + config
            k.raw(config[:at])
            time.sleep(0.05)
            k.raw(config[at:])
            k.hello()
            self.assertEqual(["gw7"], k.run("channel.send(channel.gateway.id)"))

    def test_one_that_waited_sees_a_first_user_site_and_its_pth_files(self):
        if self.jython:
            return
        folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        env = dict(os.environ, PYTHONUSERBASE=folder + "/base", PWD=folder)
        env.pop("PYTHONNOUSERSITE", None)
        k = self.start(env=env)
        k.hello()
        site, = k.run("import site; channel.send(site.USER_SITE)")

        def write(name, text):
            with open(site + "/" + name, "w") as file:
                file.write(text)

        def install():
            os.makedirs(site)
            write("new.py", "")
            write("more.pth", folder + "\n")

        def edit():
            write("more.pth", folder + "/base\n")

        for change, code in ((install, "import new; channel.send(%r in sys.path)" % folder),
                             (edit, "channel.send(%r in sys.path)" % (folder + "/base"))):
            k = self.waiting(True, env=env, cwd=folder)
            change()
            k.wake()
            k.hello()
            self.assertEqual([True], k.run("import sys; " + code), change)

    def test_one_that_waited_in_a_folder_that_was_replaced_is_in_the_new_one(self):
        if self.jython:
            return
        parent = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, parent)
        for then in ("new", None):
            folder = parent + "/folder"
            os.mkdir(folder)
            k = self.waiting(True, env=dict(os.environ, PWD=folder), cwd=folder)
            os.rmdir(folder)
            if then:
                os.mkdir(folder)
                with open(folder + "/file", "w"):
                    pass
                k.wake()
                k.hello()
                self.assertEqual([["file"]], k.run("import os; channel.send(os.listdir('.'))"))
                shutil.rmtree(folder)
            else:
                try:
                    k.wake()
                except OSError:
                    pass
                self.assertEqual(1, k.wait())
                self.assertIn(b"cannot start again", k.stderr)

    def test_nothing_may_come_instead_of_config(self):
        k = self.start(start=False)
        k.raw(BUNDLE)
        k.frame(DATA, 1, b"N")
        self.assertEqual(93, k.wait())
        self.assertIn(b"protocol error", k.stderr)

    def test_a_client_that_goes_during_the_start_leaves_nothing(self):
        k = self.start(start=False)
        k.raw(BUNDLE[:1000])
        k.process.stdin.close()
        self.assertNotEqual(0, k.wait())


class Ends(Kernel):

    @cached_property
    def k(self):
        return self.limited()

    def limited(self, *limits):
        """Start a kernel with other limits."""
        usual = "INTERRUPT_AFTER, KILL_AFTER = 5.0, 10.0"
        k = self.start(self.config, limits=[(usual, each) for each in limits])
        k.hello()
        return k

    def test_exit_ends_an_idle_kernel_with_its_atexit_functions(self):
        k = self.limited(PATIENT)
        k.run("import atexit, os, sys; atexit.register(lambda: (sys.stderr.write('at exit\\n'), "
              "sys.stderr.flush()))")
        self.assertEqual(0, k.exit())
        self.assertIn(b"at exit", k.stderr)

    def test_exit_ends_what_waits_and_lets_it_clean_up(self):
        k = self.limited(PATIENT)
        k.execute("import sys\ntry:\n  channel.receive()\nexcept EOFError:\n  sys.stderr.write('eof\\n')\n"
                  "channel.send(1)\nsys.stderr.write('done\\n')")
        second = k.execute("channel.send(1); channel.receive()")
        k.receive(second)
        self.assertEqual(0, k.exit())
        self.assertIn(b"eof\ndone\n", k.stderr)

    def test_exit_interrupts_a_busy_main_thread_after_a_while(self):
        k = self.limited("INTERRUPT_AFTER, KILL_AFTER = 1.0, 9e5")
        number = k.execute("import time, sys\ntry:\n  channel.send(1)\n  time.sleep(1000)\n"
                           "except KeyboardInterrupt:\n  sys.stderr.write('interrupted\\n')")
        k.receive(number)
        started = time.monotonic()
        self.assertEqual(0, k.exit())
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assertIn(b"interrupted", k.stderr)

    def test_the_end_of_stdin_interrupts_at_once(self):
        k = self.limited(PATIENT)
        number = k.execute("import time, sys\ntry:\n  channel.send(1)\n  time.sleep(1000)\nfinally:\n"
                           "  sys.stderr.write('cleaned\\n')")
        k.receive(number)
        k.process.stdin.close()
        self.end_in_time(k)
        self.assertIn(b"cleaned", k.stderr)

    def test_what_is_sent_after_exit_arrives(self):
        number = self.k.execute("channel.send(0)\nsum = 0\nfor item in channel: sum += item\n"
                                "channel.send(sum)")
        self.k.receive(number)
        self.k.send(number, 20)
        self.k.send(number, 22)
        self.assertEqual(0, self.k.exit())
        self.assertEqual(42, self.k.receive(number))
        self.assertIsNone(self.k.end(number))

    def test_what_does_not_end_is_ended_after_a_while(self):
        k = self.limited("INTERRUPT_AFTER, KILL_AFTER = 9e5, 1.0")
        number = k.execute("import time, threading\ndef work():\n  while 1:\n    try: time.sleep(1000)\n"
                           "    except KeyboardInterrupt: pass\n"
                                "threading.Thread(target=work).start()\nchannel.send(1)\nwork()")
        k.receive(number)
        started = time.monotonic()
        k.process.stdin.close()
        self.assertEqual(0, k.process.wait(TIMEOUT))
        self.assertGreater(time.monotonic() - started, 0.9)

    def test_a_client_that_reads_no_more_ends_it(self):
        self.k.deaf_after = 1
        number = self.k.execute("channel.send(1); channel.receive()\nwhile 1: channel.send(b'x' * 100)")
        self.k.receive(number)
        self.k.send(number, 1)
        self.assertEqual(0, self.k.process.wait(TIMEOUT))

    def test_garbage_ends_it_with_a_word(self):
        for bad in (b"\xff" * 9, b"GET / HTTP/1.1\r\n\r\n"):
            k = self.start()
            k.hello()
            k.raw(bad)
            self.assertEqual(0, k.wait())
            self.assertIn(b"execnet: protocol error: ", k.stderr)

    def test_an_interrupt_reaches_what_the_main_thread_executes(self):
        for source in ("import time\nchannel.send(1)\ntime.sleep(1000)", "channel.send(1)\nchannel.receive()",
                       "channel.send(1)\nchannel.receive(timeout=1000)"):
            number = self.k.execute(source)
            self.k.receive(number)
            time.sleep(ASLEEP)
            self.k.frame(INTERRUPT)
            self.assertEqual("keyboard-interrupted", self.k.end(number))
            self.k.close(number)
        self.k.frame(INTERRUPT)  # no code runs
        self.assertEqual([1], self.k.run("channel.send(1)"))

    def test_code_that_follows_an_answer_finds_the_main_thread(self):
        soon = "import sys\nrun = sys.modules['execnet_kernel.run']\nchannel.send(run.SOON)\nrun.SOON = %r"
        source = ("import time\ntry: from thread import get_ident\n"
                  "except ImportError: from _thread import get_ident\n"
                  "channel.send(get_ident())\ntime.sleep(0.05)")
        before, = self.k.run(soon % 30)  # however busy this machine is
        first, = self.k.run(source)
        for _ in range(5):
            # the end of the previous one is not awaited
            self.assertEqual(first, self.k.receive(self.k.execute(source)))
        self.k.run(soon % before)

    def test_code_without_a_thread_is_refused_and_nothing_else(self):
        source = ("import sys\nrun = sys.modules['execnet_kernel.run']\nold = run.start_new_thread\n"
                  "def fail(*args): raise RuntimeError('no thread')\nrun.start_new_thread = fail\n"
                  "channel.send(1)\nchannel.receive()\n"
                  "run.start_new_thread = old\nchannel.send(2)\nchannel.receive()")
        number = self.k.execute(source)
        self.k.receive(number)
        self.assertIn("no thread can be started", self.k.end(self.k.execute("channel.send(3)")))
        self.k.send(number, 1)
        self.assertEqual(2, self.k.receive(number))
        self.assertEqual([4], self.k.run("channel.send(4)"))
        self.k.send(number, 1)
        self.assertIsNone(self.k.end(number))

    def test_what_failed_is_never_closed_as_if_it_had_not(self):
        waiting = self.k.execute("channel.send(1); channel.receive()")
        self.k.receive(waiting)
        source = ("import sys\nrun = sys.modules['execnet_kernel.run']\ndef short(*args):\n"
                  "  raise MemoryError\n"
                  "run.Task._judge = short\n%s\n1 // 0")
        self.assertEqual("MemoryError", self.k.end(self.k.execute(source % "")))
        self.assertEqual("an error that could not be told",
                         self.k.end(self.k.execute(source % "run.ended_by = short")))

    def test_subprocesses_that_inherit_stdio_neither_read_nor_write_the_protocol(self):
        number = self.k.execute(textwrap.dedent("""
            import os, subprocess
            channel.receive()
            os.system("echo by shell; cat")
            child = subprocess.Popen("cat", shell=True, stdout=subprocess.PIPE)
            channel.send(child.communicate()[0].decode("ascii"))
            channel.send(channel.receive())
        """))
        for value in (1, 2):
            self.k.send(number, value)
        self.k.wait_stderr(b"by shell\n")
        self.assertEqual("", self.k.receive(number))
        self.assertEqual(2, self.k.receive(number))
        self.assertEqual(0, self.k.exit())

    def test_a_subprocess_that_lives_on_does_not_hold_the_protocol(self):
        number = self.k.execute("import subprocess\nchild = subprocess.Popen('echo $$; exec sleep 1000', "
                                "shell=True, stdout=subprocess.PIPE)\n"
                                "channel.send(int(child.stdout.readline()))")
        self.addCleanup(os.kill, self.k.receive(number), signal.SIGKILL)
        self.k.process.stdin.close()
        self.assertEqual(0, self.k.process.wait(TIMEOUT))
        self.assertTrue(self.k.ended.wait(TIMEOUT), "stdout is still open")

    def test_main_thread_only(self):
        k = self.start({"execmodel": "main_thread_only"})
        k.hello()
        source = ("import threading\nchannel.send([type(threading.current_thread()).__name__, "
                  "channel.gateway.execmodel.backend])\nchannel.receive()")
        first = k.execute(source)
        self.assertEqual(["_MainThread", "main_thread_only"], k.receive(first))
        started = time.monotonic()
        second = k.execute("channel.send(2)")
        self.assertEqual("concurrent remote_exec would cause deadlock for main_thread_only execmodel",
                         k.end(second))
        self.assertGreater(time.monotonic() - started, 0.9)
        third = k.execute("channel.send(3)")
        k.send(first, 1)
        self.assertEqual(3, k.receive(third))
        for i in range(20):
            self.assertEqual([i], k.run("channel.send(%d)" % i))
