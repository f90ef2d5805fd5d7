"""End to end: how kernels start and end, and what user code, signals and forks may do to them. Run by kernel_tests.py."""
import os
import shutil
import signal
import tempfile
import textwrap
import time
from functools import cached_property

from kernel_case import Kernel

from kernel_client import BUNDLE, DATA, EXIT, INTERRUPT, TIMEOUT

PATIENT = "INTERRUPT_AFTER, KILL_AFTER = 9e5, 9e5"  # what ends in time with these was not ended by them
ASLEEP = 0.3  # until the main thread, which has just said so, sleeps: a signal just before is noticed later


class Start(Kernel):

    def test_config_is_followed_before_hello(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        folder = os.path.realpath(folder) + "/new/er"
        before = os.nice(0)
        k = self.start({"chdir": folder, "nice": 3, "env": {"KERNEL_TEST": "wörd"}, "dont_write_bytecode": True})
        self.assertEqual(folder, k.hello()["cwd"])
        if not self.jython:
            self.assertEqual([[min(before + 3, 19), True, folder]],
                             k.run("import os, sys; channel.send([os.nice(0), sys.dont_write_bytecode, os.getcwd()])"))
        self.assertEqual(["wörd".encode("utf-8").decode("latin-1") if k.reader.two else "wörd"], k.run("import os; channel.send(os.environ['KERNEL_TEST'])")) \
            if not self.jython else None

    def test_a_silent_one_lets_nothing_through_that_is_written_to_stdout(self):
        for silent, seen in ((True, b"by stderr\n"), (False, b"by print\nby shell\nby stderr\n")):
            k = self.start({"silent": silent})
            k.hello()
            self.assertEqual([1], k.run("import os, sys\nprint('by print')\nsys.stdout.flush()\nos.system('echo by shell')\n"
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
            return  # it cannot
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.mkdir(folder + "/site")
        with open(folder + "/site/sitecustomize.py", "w") as file:
            file.write("import os\nwith open(%r, 'a') as file: file.write('%%d\\n' %% os.getpid())\n" % (folder + "/starts"))
        env = dict(os.environ, PYTHONPATH=folder + "/site", PYTHONDONTWRITEBYTECODE="1", PWD=folder)
        for changes, starts in ((None, 1), ("site/new.py", 2), ("same", 1)):
            if os.path.exists(folder + "/starts"):
                os.remove(folder + "/starts")
            k = self.start(start=False, env=env, cwd=folder, argv=("-W", "error"), words=("ahead",))
            k.until_it_reads()
            if changes:
                with open("%s/%s" % (folder, changes), "w") as file:
                    file.write("here = 1\n")
            k.begin()
            self.assertEqual(k.process.pid, k.hello()["pid"])
            self.assertEqual([[["-c"], ["error"], folder]], k.run("import os, sys; channel.send([sys.argv, sys.warnoptions, os.getcwd()])"))
            with open(folder + "/starts") as file:
                self.assertEqual(starts, len(file.readlines()), changes)
            if changes == "site/new.py":
                self.assertEqual([1], k.run("import new; channel.send(new.here)"))

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

        for change, code in ((install, "import new; channel.send(%r in sys.path)" % folder), (edit, "channel.send(%r in sys.path)" % (folder + "/base"))):
            k = self.start(start=False, env=env, cwd=folder, words=("ahead",))
            k.until_it_reads()
            change()
            k.begin()
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
            k = self.start(start=False, env=dict(os.environ, PWD=folder), cwd=folder, words=("ahead",))
            k.until_it_reads()
            os.rmdir(folder)
            if then:
                os.mkdir(folder)
                with open(folder + "/file", "w"):
                    pass
                k.begin()
                k.hello()
                self.assertEqual([["file"]], k.run("import os; channel.send(os.listdir('.'))"))
                shutil.rmtree(folder)
            else:
                try:
                    k.begin()
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
        """A kernel with other limits."""
        usual = "INTERRUPT_AFTER, KILL_AFTER = 5.0, 10.0"
        k = self.start(self.config, limits=[(usual, each) for each in limits])
        k.hello()
        return k

    def test_exit_ends_an_idle_kernel_with_its_atexit_functions(self):
        k = self.limited(PATIENT)
        k.run("import atexit, os, sys; atexit.register(lambda: (sys.stderr.write('at exit\\n'), sys.stderr.flush()))")
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
        number = k.execute("import time, sys\ntry:\n  channel.send(1)\n  time.sleep(1000)\nexcept KeyboardInterrupt:\n  sys.stderr.write('interrupted\\n')")
        k.receive(number)
        started = time.monotonic()
        self.assertEqual(0, k.exit())
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assertIn(b"interrupted", k.stderr)

    def test_the_end_of_stdin_interrupts_at_once(self):
        k = self.limited(PATIENT)
        number = k.execute("import time, sys\ntry:\n  channel.send(1)\n  time.sleep(1000)\nfinally:\n  sys.stderr.write('cleaned\\n')")
        k.receive(number)
        k.process.stdin.close()
        self.end_in_time(k)
        self.assertIn(b"cleaned", k.stderr)

    def test_what_is_sent_after_exit_arrives(self):
        number = self.k.execute("channel.send(0)\nsum = 0\nfor item in channel: sum += item\nchannel.send(sum)")
        self.k.receive(number)
        self.k.send(number, 20)
        self.k.send(number, 22)
        self.assertEqual(0, self.k.exit())
        self.assertEqual(42, self.k.receive(number))
        self.assertIsNone(self.k.end(number))

    def test_what_does_not_end_is_ended_after_a_while(self):
        k = self.limited("INTERRUPT_AFTER, KILL_AFTER = 9e5, 1.0")
        number = k.execute("import time, threading\ndef work():\n  while 1:\n    try: time.sleep(1000)\n    except KeyboardInterrupt: pass\n"
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
        self.k.frame(INTERRUPT)  # nobody executes
        self.assertEqual([1], self.k.run("channel.send(1)"))

    def test_code_that_follows_an_answer_finds_the_main_thread(self):
        soon = "import sys\nrun = sys.modules['execnet_kernel.run']\nchannel.send(run.SOON)\nrun.SOON = %r"
        source = ("import time\ntry: from thread import get_ident\nexcept ImportError: from _thread import get_ident\n"
                  "channel.send(get_ident())\ntime.sleep(0.05)")
        before, = self.k.run(soon % 30)  # however busy this machine is
        first, = self.k.run(source)
        for _ in range(5):
            # the end of the one before is not waited for
            self.assertEqual(first, self.k.receive(self.k.execute(source)))
        self.k.run(soon % before)

    def test_code_without_a_thread_is_refused_and_nothing_else(self):
        source = ("import sys\nrun = sys.modules['execnet_kernel.run']\nold = run.start_new_thread\n"
                  "def fail(*args): raise RuntimeError('no thread')\nrun.start_new_thread = fail\nchannel.send(1)\nchannel.receive()\n"
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
        source = ("import sys\nrun = sys.modules['execnet_kernel.run']\ndef short(*args):\n  raise MemoryError\n"
                  "run.Task._judge = short\n%s\n1 // 0")
        self.assertEqual("MemoryError", self.k.end(self.k.execute(source % "")))
        self.assertEqual("an error that could not be told", self.k.end(self.k.execute(source % "run.ended_by = short")))

    def test_subprocesses_that_inherit_stdio_neither_read_nor_write_the_protocol(self):
        number = self.k.execute(textwrap.dedent("""
            import os, subprocess
            channel.receive()
            os.system("echo by shell; cat")
            channel.send(subprocess.Popen("cat", shell=True, stdout=subprocess.PIPE).communicate()[0].decode("ascii"))
            channel.send(channel.receive())
        """))
        for value in (1, 2):
            self.k.send(number, value)
        self.k.wait_stderr(b"by shell\n")
        self.assertEqual("", self.k.receive(number))
        self.assertEqual(2, self.k.receive(number))
        self.assertEqual(0, self.k.exit())

    def test_a_subprocess_that_lives_on_does_not_hold_the_protocol(self):
        number = self.k.execute("import subprocess\nchild = subprocess.Popen('echo $$; exec sleep 1000', shell=True, stdout=subprocess.PIPE)\n"
                                "channel.send(int(child.stdout.readline()))")
        self.addCleanup(os.kill, self.k.receive(number), signal.SIGKILL)
        self.k.process.stdin.close()
        self.assertEqual(0, self.k.process.wait(TIMEOUT))
        self.assertTrue(self.k.ended.wait(TIMEOUT), "stdout is still open")

    def test_main_thread_only(self):
        k = self.start({"execmodel": "main_thread_only"})
        k.hello()
        source = "import threading\nchannel.send([type(threading.current_thread()).__name__, channel.gateway.execmodel.backend])\nchannel.receive()"
        first = k.execute(source)
        self.assertEqual(["_MainThread", "main_thread_only"], k.receive(first))
        started = time.monotonic()
        second = k.execute("channel.send(2)")
        self.assertEqual("concurrent remote_exec would cause deadlock for main_thread_only execmodel", k.end(second))
        self.assertGreater(time.monotonic() - started, 0.9)
        third = k.execute("channel.send(3)")
        k.send(first, 1)
        self.assertEqual(3, k.receive(third))
        for i in range(20):
            self.assertEqual([i], k.run("channel.send(%d)" % i))


class Posix(Kernel):

    def setUp(self):
        self.k = self.start()
        self.hello = self.k.hello()

    def test_fds_and_subprocesses(self):
        number = self.k.execute(textwrap.dedent("""
            import os, subprocess, sys
            os.write(1, b"by fd 1\\n")
            subprocess.call([sys.executable, "-c", "import os; os.write(1, b'by child ' + repr(os.read(0, 9)).encode('ascii')[-2:] + b'\\\\n')"])
            code = "import os\\nopen_ = []\\nfor fd in range(3, 40):\\n try: os.fstat(fd); open_.append(fd)\\n except OSError: pass\\nprint(open_)"
            channel.send(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, close_fds=False).communicate()[0].decode("ascii").strip())
        """))
        inherited = self.k.receive(number)
        self.k.wait_stderr(b"by fd 1\n")
        self.k.wait_stderr(b"by child ''\n")
        self.assertEqual("[]", inherited)

    def test_one_that_leads_its_session_takes_its_children_along_when_the_client_is_gone(self):
        for last in ("channel.receive()", "import time\nwhile 1:\n  try: time.sleep(1000)\n  except KeyboardInterrupt: pass"):
            k = self.start(start_new_session=True)
            k.hello()
            number = k.execute("import subprocess\nfor trap in ('', 'trap \"\" HUP;'):\n  child = subprocess.Popen(trap + 'echo; sleep 1000; echo left >&2',\n"
                               "    shell=True, stdout=subprocess.PIPE)\n  child.stdout.readline()\nchannel.send(1)\n" + last)
            k.receive(number)
            k.process.stdin.close()
            self.end_in_time(k)
            self.assertFalse([thread for thread in k.threads if thread.is_alive()], "its children hold stderr")

    def test_children_live_on_where_it_leads_no_session_or_was_told_to_exit(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.mkfifo(folder + "/go")
        for leads in (False, True):
            k = self.start(start_new_session=leads)
            k.hello()
            k.run("import subprocess\nchild = subprocess.Popen('echo; read go <%s/go; echo alive >&2', shell=True, stdout=subprocess.PIPE)\n"
                  "child.stdout.readline()" % folder)
            if leads:
                k.frame(EXIT)
            else:
                k.process.stdin.close()
            self.assertEqual(0, k.process.wait(TIMEOUT))
            with open(folder + "/go", "r+b", 0) as go:
                go.write(b"go\n")
                k.wait_stderr(b"alive\n")

    def test_errors_are_told_where_no_more_files_can_be_opened(self):
        # the library that CPython 3.8 and before opens when its first thread ends, which is a moment after the kernel's start
        self.k.run("import sys, time\nfor _ in range(100 if (3,) < sys.version_info < (3, 9) else 0):\n"
                   "  if 'libgcc_s' in open('/proc/self/maps').read(): break\n  time.sleep(0.01)")
        source = ("import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\nopened = []\ndef work():\n"
                  "  while 1: opened.append(os.open('/dev/null', os.O_RDONLY))\ntry:\n  work()\nfinally:\n  channel.send(opened)")
        in_main = self.k.execute(source)
        opened = self.k.receive(in_main)
        self.check_told(self.k.end(in_main), "OSError: [Errno 24] Too many open files", 5)
        self.k.close(in_main)
        waiting = self.k.execute("import os\nfor fd in %r: os.close(fd)\nchannel.send(1); channel.receive()" % opened)
        self.k.receive(waiting)
        in_thread = self.k.execute(source)
        self.k.receive(in_thread)
        self.check_told(self.k.end(in_thread), "OSError: [Errno 24] Too many open files", 5)
        self.k.close(in_thread)
        self.assertEqual([1], self.k.run("channel.send(1)"))

    def test_errors_are_told_where_there_is_no_memory(self):
        if self.hello["implementation"] == "pypy":
            return  # it aborts
        error = self.fail_with(self.k, textwrap.dedent("""
            import resource
            with open("/proc/self/statm") as file:
                most = int(file.read().split()[0]) * 4096 + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            kept = []
            def work():
                size = 1 << 24
                while 1:
                    try:
                        kept.append(bytearray(size))
                    except MemoryError:
                        size >>= 1
                        if size < 1024:
                            raise
            work()
        """))
        if self.hello["dialect"] == 2:
            self.assertIn("MemoryError", error)  # there nothing is put by to say more with
        else:
            self.check_told(error, "MemoryError", 11)

    def check_told(self, error, what, line):
        self.assertIn("Traceback (most recent call last):\n", error)
        self.assertIn('line %d, in work\n' % line, error)
        self.assertIn("\n" + what, error)

    def test_a_forked_child_has_no_channels_and_its_end_is_its_own(self):
        for how in ("pass", "import sys; sys.exit(3)", "1 // 0", "import os; os._exit(3)"):
            number = self.k.execute(textwrap.dedent("""
                import os, atexit
                main = os.getpid()
                atexit.register(lambda: None)
                extra = channel.gateway.newchannel()
                pid = os.fork()
                if pid == 0:
                    told = 0
                    for call in (lambda: channel.send(1), channel.receive, channel.gateway.newchannel, channel.waitclose, extra.close):
                        try:
                            call()
                        except OSError:
                            told += 1
                    del extra
                    if told != 5:
                        os._exit(77)
                    %s
                else:
                    channel.send(os.waitpid(pid, 0)[1] >> 8)
                    channel.send(channel.receive() + 1)
            """) % how)
            self.assertEqual({"pass": 0, "1 // 0": 1}.get(how, 3), self.k.receive(number), how)
            self.k.send(number, 1)
            self.assertEqual(2, self.k.receive(number))
            self.assertIsNone(self.k.end(number))
            self.k.close(number)

    def test_a_child_that_lives_on_does_not_hold_the_protocol(self):
        number = self.k.execute("import os, time\npid = os.fork()\nif pid == 0:\n  time.sleep(1000); os._exit(0)\nchannel.send(pid)")
        pid = self.k.receive(number)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        if self.hello_version() < (3, 7):
            return  # there it holds them, but never writes
        self.assertEqual(0, self.k_exit())

    def hello_version(self):
        return tuple(self.k.run("import sys; channel.send(tuple(sys.version_info[:2]))")[0])

    def k_exit(self):
        self.k.frame(EXIT)
        status = self.k.process.wait(TIMEOUT)
        self.assertTrue(self.k.ended.wait(TIMEOUT), "stdout is still open")
        return status

    def test_handlers_that_raise_in_the_middle_of_a_send_corrupt_nothing(self):
        for size, period in ((10, 0.0003), (3000, 0.0005), (200000, 0.002)):
            number = self.k.execute(textwrap.dedent("""
                import gc, signal, time
                # PyPy clears up after imports whenever it likes; what is raised within that is lost, with the import lock held
                gc.collect()
                gc.collect()
                class Alarm(Exception):
                    pass
                armed = False
                def handler(number, frame):
                    global armed
                    if armed:
                        armed = False
                        raise Alarm
                signal.signal(signal.SIGALRM, handler)
                signal.setitimer(signal.ITIMER_REAL, %f, %f)
                raised = sent = 0
                payload = b"x" * %d
                began = time.time()
                def goes_on():
                    return time.time() - began < (1.5 if raised > 10 else %d)
                def burst():
                    global armed, sent
                    while goes_on():
                        armed = True
                        channel.send((sent, payload))
                        sent += 1
                while goes_on():
                    try:
                        burst()
                        armed = False
                    except Alarm:
                        raised += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
                channel.send(None)
                channel.send([sent, raised])
            """) % (period, period, size, TIMEOUT))
            last, count = -1, 0
            while True:
                value = self.k.receive(number)
                if value is None:
                    break
                self.assertEqual(size, len(value[1]))
                # the sender counts a value when send returned: one that was torn is sent under the same number again
                self.assertIn(value[0], (last, last + 1))
                last = value[0]
                count += 1
            sent, raised = self.k.receive(number)
            self.assertIsNone(self.k.end(number))
            self.k.close(number)
            self.assertGreaterEqual(count, sent)
            self.assertGreater(raised, 10)

    def test_handlers_may_send_themselves(self):
        number = self.k.execute(textwrap.dedent("""
            import signal, time
            count = [0]
            inside = []
            def handler(number, frame):
                if not inside:
                    inside.append(1)
                    count[0] += 1
                    channel.send("by handler")
                    inside.pop()
            signal.signal(signal.SIGALRM, handler)
            # not so often that a busy machine has time for handlers only
            signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
            until = time.time() + 1
            sent = 0
            while time.time() < until:
                try:
                    channel.send(b"x" * 5000)
                    sent += 1
                except (OSError, IOError) as error:
                    if error.errno != 4:
                        raise
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            channel.send([sent, count[0]])
        """))
        counts = [0, 0]
        while True:
            value = self.k.receive(number)
            if isinstance(value, list):
                break
            counts[value == "by handler"] += 1
        self.assertEqual(value, counts)
        self.assertGreater(counts[1], 10)

    def test_a_handler_runs_while_the_main_thread_waits_to_receive(self):
        number = self.k.execute(textwrap.dedent("""
            import signal
            class Alarm(Exception):
                pass
            def handler(number, frame):
                raise Alarm
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                channel.receive()
            except Alarm:
                channel.send("alarm")
            channel.send(channel.receive() + 1)
        """))
        self.assertEqual("alarm", self.k.receive(number))
        self.k.send(number, 1)
        self.assertEqual(2, self.k.receive(number))

    def test_many_threads_send_whole_values(self):
        number = self.k.execute(textwrap.dedent("""
            import threading
            def work(name):
                for i in range(200):
                    channel.send((name, i, b"x" * (i * 700)))
            threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        """))
        last = [-1] * 4
        for _ in range(800):
            name, i, data = self.k.receive(number)
            self.assertEqual((last[name] + 1, i * 700), (i, len(data)))
            last[name] = i
        self.assertIsNone(self.k.end(number))

    def test_a_kernel_started_with_signals_ignored_can_be_interrupted(self):
        k = self.start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        k.hello()
        number = k.execute("import time\nchannel.send(1)\ntime.sleep(1000)")
        k.receive(number)
        time.sleep(ASLEEP)
        k.frame(INTERRUPT)
        self.assertEqual("keyboard-interrupted", k.end(number))

    def test_a_kernel_without_stderr_works(self):
        k = self.start(preexec_fn=lambda: os.close(2))
        k.hello()
        self.assertEqual([1], k.run("print('lost'); channel.send(1)"))
