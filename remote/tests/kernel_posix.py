"""End to end: what signals, forks, subprocesses and a lack of files or memory do to kernels, except on
Jython. Run by kernel_tests.py."""
import os
import shutil
import signal
import tempfile
import textwrap
import time

from kernel_case import ASLEEP, Kernel

from kernel_client import EXIT, INTERRUPT, TIMEOUT


class Posix(Kernel):

    def setUp(self):
        self.k = self.start()
        self.hello = self.k.hello()

    def test_fds_and_subprocesses(self):
        number = self.k.execute(textwrap.dedent("""
            import os, subprocess, sys
            os.write(1, b"by fd 1\\n")
            code = "import os\\nos.write(1, b'child ' + repr(os.read(0, 9)).encode('ascii')[-2:] + b'\\\\n')"
            subprocess.call([sys.executable, "-c", code])
            code = ("import os\\nopen_ = []\\nfor fd in range(3, 40):\\n"
                    " try: os.fstat(fd); open_.append(fd)\\n except OSError: pass\\nprint(open_)")
            child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, close_fds=False)
            channel.send(child.communicate()[0].decode("ascii").strip())
        """))
        inherited = self.k.receive(number)
        self.k.wait_stderr(b"by fd 1\n")
        self.k.wait_stderr(b"child ''\n")
        self.assertEqual("[]", inherited)

    def test_one_that_leads_its_session_takes_its_children_along_when_the_client_is_gone(self):
        for last in ("channel.receive()",
                     "import time\nwhile 1:\n  try: time.sleep(1000)\n  except KeyboardInterrupt: pass"):
            k = self.start(start_new_session=True)
            k.hello()
            number = k.execute("import subprocess\nfor trap in ('', 'trap \"\" HUP;'):\n"
                               "  child = subprocess.Popen(trap + 'echo; sleep 1000; echo left >&2',\n"
                               "    shell=True, stdout=subprocess.PIPE)\n  child.stdout.readline()\n"
                               "channel.send(1)\n" + last)
            k.receive(number)
            k.process.stdin.close()
            self.end_in_time(k)
            self.assertFalse([thread for thread in k.threads if thread.is_alive()],
                             "its children hold stderr")

    def test_children_live_on_where_it_leads_no_session_or_was_told_to_exit(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.mkfifo(folder + "/go")
        for leads in (False, True):
            k = self.start(start_new_session=leads)
            k.hello()
            k.run("import subprocess\nchild = subprocess.Popen('echo; read go <%s/go; echo alive >&2', "
                  "shell=True, stdout=subprocess.PIPE)\n"
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
        # the library that CPython 3.8 and before opens when its first thread ends, shortly after the start
        self.k.run("import sys, time\nfor _ in range(100 if (3,) < sys.version_info < (3, 9) else 0):\n"
                   "  if 'libgcc_s' in open('/proc/self/maps').read(): break\n  time.sleep(0.01)")
        source = ("import os, resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\nopened = []\n"
                  "def work():\n"
                  "  while 1: opened.append(os.open('/dev/null', os.O_RDONLY))\ntry:\n  work()\nfinally:\n"
                  "  channel.send(opened)")
        in_main = self.k.execute(source)
        opened = self.k.receive(in_main)
        self.check_told(self.k.end(in_main), "OSError: [Errno 24] Too many open files", 5)
        self.k.close(in_main)
        waiting = self.k.execute("import os\nfor fd in %r: os.close(fd)\n"
                                 "channel.send(1); channel.receive()" % opened)
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
            self.assertIn("MemoryError", error)  # there is no reserve to report more with
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
                    for call in (lambda: channel.send(1), channel.receive, channel.gateway.newchannel,
                                 channel.waitclose, extra.close):
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
        number = self.k.execute("import os, time\npid = os.fork()\nif pid == 0:\n"
                                "  time.sleep(1000); os._exit(0)\nchannel.send(pid)")
        pid = self.k.receive(number)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        if self.hello_version() < (3, 7):
            return  # the child holds the fds, but never writes
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
                # PyPy clears up after imports whenever it likes; what is raised within that is lost, with the
                # import lock held
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
                # the sender counts a value when send has returned: a torn one is sent again under the same
                # number
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
