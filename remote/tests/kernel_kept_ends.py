"""End to end: how kept kernels and their channels end, and programs that take over. Run by
kernel_kept_tests.py."""
import marshal
import os
import random
import signal
import socket
import textwrap
import threading

from kernel_kept import ECHO, Keeping

from case import gone
from kernel_client import CLOSE, EXIT, TIMEOUT, TOOK, Timeout

SOON = [("INTERRUPT_LEFT = 5.0", "INTERRUPT_LEFT = 0.2")]
NEVER = [("INTERRUPT_LEFT = 5.0", "INTERRUPT_LEFT = 9e5")]


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


class Ends(Keeping):

    def test_an_error_is_kept_behind_the_last_value_until_a_program_has_seen_it(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "channel.send(1)\nchannel.receive()\nchannel.send(2)\n1 // 0")
        program.receive(1)
        program.send(1, 0)
        program.receive(1)
        program.end(1)
        for _ in range(3):
            program = keeper.enter()
            number, took, received, _, end = program.channels["work"]
            self.assertEqual((0, 1, True), (took, received, end))
            self.assertEqual([1, 2], [program.receive(number) for _ in range(2)])
            self.assertIn("ZeroDivisionError", program.end(number))
        self.assertEqual((1, 2), (self.taken(program, number), self.taken(program, number)))
        program = keeper.enter()
        number, took = program.channels["work"][:2]
        self.assertEqual(2, took)
        self.assertIn("ZeroDivisionError", program.end(number))
        self.assertIn("is a channel named", program.end(program.execute_named("work", ECHO)))
        program.close(number)
        again = program.execute_named("work", ECHO)
        program.send(again, 1)
        self.assertEqual(1, program.take(again))

    def taken(self, program, number):
        program.say_took(number)
        count = program.get(TOOK, number)
        return count or program.get(TOOK, number)  # the first one answered that it was opened

    def test_the_end_comes_only_when_the_last_value_has_been_sent(self):
        keeper = self.keep({"window": 30000})
        program = keeper.enter()
        program.execute_named("work", "for i in range(10): channel.send((i, 'x' * 20000))")
        for i in range(10):
            if i % 3 == 2:
                program = keeper.enter()
            number = program.channels["work"][0] if program.channels else 1
            self.assertEqual(i, program.take(number)[0])
        self.assertIsNone(program.end(number))

    def test_a_program_may_close_it_and_code_reads_what_has_arrived(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", textwrap.dedent("""
            out = channel.gateway.channel("out")
            channel.send("nobody takes this")
            out.receive()
            out.send(list(channel))
            try:
                channel.send(1)
            except (OSError, IOError):
                out.send("closed")
            out.receive()
            1 // 0
        """))
        program.receive(1)
        program.send(1, "a")
        program.send(1, "b")
        program.close(1)
        out, _ = program.ask("out")
        program.send(out, 1)
        self.assertEqual(["a", "b"], program.take(out))
        self.assertEqual("closed", program.take(out))
        self.assertRaises(Timeout, program.next, [CLOSE], 1, 0.1)  # its code still runs
        program = keeper.enter()
        number, _, _, _, end = program.channels["work"]
        self.assertTrue(end)
        program.send(program.channels["out"][0], 1)
        self.assertIn("ZeroDivisionError", program.end(number))
        self.assertEqual({"out"}, set(keeper.enter().channels))

    def test_one_that_nobody_executes_is_free_at_once(self):
        keeper = self.keep()
        program = keeper.enter()
        other = program.execute("it = channel.gateway.channel('it')\nchannel.send(0)\n"
                                "channel.receive()\nchannel.send(it.isclosed())\nlist(it)")
        program.receive(other)
        number, _ = program.ask("it")
        program.close(number, "mine")
        self.assertIsNone(program.end(number))
        program.send(other, 1)
        self.assertTrue(program.receive(other))
        self.assertIn("RemoteError: mine", program.end(other))
        other = program.execute("it = channel.gateway.channel('it')\nchannel.send(it.isclosed())\n"
                                "it.send(5)\nit.close('over')\ntry: it.send(6)\n"
                                "except (OSError, IOError): channel.send('closed')")
        self.assertEqual([False, "closed"], [program.receive(other) for _ in range(2)])
        number, told = program.ask("it")
        self.assertEqual((0, 0), told[2:4])
        self.assertEqual(5, program.take(number))
        self.assertEqual("over", program.end(number))

    # --- what a program leaves behind

    def log(self, program):
        """Have a channel `log`, which other code has as sys.log."""
        number = program.execute_named("log", "import sys\nsys.log = channel\nchannel.send(0)\n"
                                              "channel.receive()")
        self.assertEqual(0, program.take(number))

    def test_code_without_a_name_ends_with_its_program(self):
        keeper = self.keep(limits=NEVER)
        program = keeper.enter()
        self.log(program)
        program.execute(textwrap.dedent("""
            import sys
            try:
                channel.receive()
            except EOFError:
                sys.log.send("eof")
            try:
                channel.send(1)
            except (OSError, IOError):
                sys.log.send(str(sys.exc_info()[1]))
            try:
                channel.gateway.newchannel().send(1)
                sys.log.send("there is a client")
            except (OSError, IOError):
                sys.log.send(str(sys.exc_info()[1]))
            sys.log.send(len(channel.gateway.remote_status().__dict__))
        """))
        program.receive(program.execute("channel.send(1)"))
        program.leave()
        program = keeper.enter()
        number = program.channels["log"][0]
        self.assertEqual("eof", program.take(number))
        self.assertEqual("cannot send: the client has left", program.take(number))
        self.assertIn(program.take(number), ("there is a client", "cannot send: the client has left"))
        self.assertEqual(4, program.take(number))

    def test_code_without_a_name_is_interrupted_in_the_main_thread_after_a_while(self):
        keeper = self.keep(limits=SOON)
        program = keeper.enter()
        number = program.execute("import sys, time\nchannel.send(1)\ntry: time.sleep(1000)\n"
                                 "except KeyboardInterrupt: sys.stderr.write('interrupted\\n')")
        program.receive(number)
        program.leave()
        keeper.wait_stderr(b"interrupted\n")
        program = keeper.enter()
        main = ("import threading\nchannel.send(threading.current_thread().name)")
        self.assertEqual(["MainThread"], program.run(main))

    def test_code_with_a_name_is_not_interrupted(self):
        keeper = self.keep(limits=SOON)
        program = keeper.enter()
        number = program.execute_named("work", "import time\nchannel.send(1)\n"
                                               "for i in range(20): time.sleep(0.05)\nchannel.send(2)")
        self.assertEqual(1, program.take(number))
        for _ in range(5):
            program.leave()
            program = keeper.enter()
        number = program.channels["work"][0]
        self.assertEqual(2, program.take(number))
        self.assertIsNone(program.end(number))
        self.assertEqual(b"", keeper.stderr)

    def test_a_thread_that_writes_to_a_program_that_does_not_read_goes_on_when_it_has_left(self):
        keeper = self.keep({"window": 1 << 28}, limits=NEVER)
        program = keeper.enter()
        self.log(program)
        source = ("import sys\nchannel.send(1)\ntry:\n  while 1: channel.send('x' * 300000)\n"
                  "except (OSError, IOError): sys.log.send('ended')")
        for _ in range(2):  # in the main thread's place, and in another one
            deaf = keeper.connection()
            deaf.settimeout(TIMEOUT)
            number = 1
            payload = marshal.dumps(("source", source, None, None, None, None, None), 2)
            deaf.sendall(b"\x02" + number.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload)
            for _ in range(4000):
                self.assertTrue(deaf.recv(1), "the connection has ended")
            deaf.close()
            program = keeper.enter()
            self.assertEqual("ended", program.take(program.channels["log"][0]))

    def test_a_fork_has_no_channels_and_does_not_hold_the_connection(self):
        keeper = self.keep()
        program = keeper.enter()
        number = program.execute_named("work", textwrap.dedent("""
            import os, time
            def fails(call):
                try:
                    call()
                except OSError:
                    return 1
                return 0
            pid = os.fork()
            if pid == 0:
                told = sum(map(fails, (lambda: channel.send(1), channel.receive, channel.waitclose,
                                       channel.close, channel.gateway.newchannel,
                                       lambda: channel.gateway.channel("other"))))
                os._exit(told)
            channel.send(os.waitpid(pid, 0)[1] >> 8)
            pid = os.fork()
            if pid == 0:
                time.sleep(1000)
                os._exit(0)
            channel.send(pid)
            channel.receive()
        """))
        self.assertEqual(6, program.take(number))
        pid = program.take(number)
        self.addCleanup(end, pid)
        for _ in range(3):
            program.leave()
            program = keeper.enter()
        after = keeper.enter()
        self.assertTrue(program.ended.wait(TIMEOUT))
        after.send(after.channels["work"][0], 1)
        self.assertIsNone(after.end(after.channels["work"][0]))
        after.frame(EXIT)
        # it has the kernel's stderr
        end(pid)
        self.assertEqual(0, keeper.wait())

    def test_after_hundreds_of_programs_no_fd_is_left(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", ECHO)
        fds = "/proc/%d/fd" % keeper.process.pid
        before = None
        for i in range(200):
            program = keeper.enter()
            number = program.channels["work"][0]
            program.send(number, i)
            if i % 3:
                self.assertEqual(i, self.last_of(program, number, i))
            if i == 20:
                before = len(os.listdir(fds))
        program.run("import gc; gc.collect()")
        self.until(lambda: len(os.listdir(fds)) <= before + 3)

    def last_of(self, program, number, last):
        while True:
            value = program.take(number)
            if value == last:
                return value

    # --- the end of the kernel

    def test_exit_ends_it_and_what_code_sends_then_still_goes_out(self):
        keeper = self.keep()
        program = keeper.enter()
        number = program.execute_named("work", "channel.send(1)\nsum = 0\nfor item in channel: sum += item\n"
                                               "channel.send(sum)\n1 // 0")
        program.receive(number)
        program.send(number, 20)
        program.send(number, 22)
        program.frame(EXIT)
        self.assertEqual(0, keeper.wait())
        self.assertEqual(42, program.receive(number))
        self.assertIn("ZeroDivisionError", program.end(number))

    def test_the_end_of_the_agent_ends_it_with_its_process_group(self):
        for entered in (True, False):
            keeper = self.keep(start_new_session=True)
            pid = None
            if entered:
                program = keeper.enter()
                pid, = program.run("import subprocess\nchannel.send(subprocess.Popen(['sleep', '1000']).pid)")
                program.execute_named("work", "channel.receive()")
            keeper.entry.shutdown(socket.SHUT_RDWR)
            self.assertEqual(0, keeper.wait())
            if pid:
                self.assertTrue(gone(pid))

    def test_sighup_ends_it(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "channel.receive()")
        os.kill(keeper.process.pid, signal.SIGHUP)
        self.assertEqual(-signal.SIGHUP, keeper.wait())


class Takeovers(Keeping):

    def test_programs_that_die_at_random_moments_lose_and_repeat_nothing(self):
        seed = int.from_bytes(os.urandom(4), "big")
        chance = random.Random(seed)
        turns = int(os.environ.get("EXECNET_TAKEOVERS", "40"))
        keeper = self.keep({"window": 3 << 20})
        program = keeper.enter()
        # numbered values of up to 10 MB outward; inward they must come one after the other
        program.execute_named("out", textwrap.dedent("""
            import random
            chance = random.Random(5)
            i = 0
            while 1:
                size = 10485760 if chance.random() < 0.02 else int(chance.random() ** 6 * 300000)
                channel.send((i, "x" * size))
                i += 1
        """))
        program.execute_named("in", textwrap.dedent("""
            errors = channel.gateway.channel("errors")
            expected = 0
            while 1:
                number, data = channel.receive()
                if number != expected:
                    errors.send([number, expected])
                expected = number + 1
        """))
        last = self.expected = -1
        for turn in range(turns):
            try:
                last = self.turn(keeper, chance, last)
            except AssertionError as error:
                raise AssertionError("seed %d, turn %d: %s" % (seed, turn, error))
        program = keeper.enter()
        self.assertEqual((0, 0), program.ask("errors")[1][2:4])
        out, took = program.channels["out"][:2]
        for number in range(took, max(took, turns)):
            self.assertEqual(number, program.take(out)[0])
        self.assertEqual(b"", keeper.stderr)

    def turn(self, keeper, chance, last):
        """One program, which dies. Return the number of the last value that a program got."""
        program = keeper.enter()
        out, took = program.channels["out"][:2]
        # a value whose TOOK arrived, but not the answer, was lost with its program
        self.assertIn(took, (last + 1, last + 2))
        last = took - 1
        inward, _, received, credit, _ = program.channels["in"]
        timer = threading.Timer(chance.random() ** 2 * 0.15, program.sock.shutdown, [socket.SHUT_RDWR])
        timer.start()
        try:
            while True:
                if credit > 0 and chance.random() < 0.5:
                    size = 4000000 if chance.random() < 0.02 else chance.randrange(3000)
                    program.send(inward, (received, b"x" * size))
                    received, credit = received + 1, credit - size - 50
                number, data = program.take(out)
                self.assertEqual(last + 1, number)
                last = number
        except (EOFError, OSError):
            pass
        timer.join()
        program.leave()
        return last
