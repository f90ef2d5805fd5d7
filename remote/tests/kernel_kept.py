"""End to end: channels with names, and who enters. Run by kernel_kept_tests.py."""
import marshal
import socket
import struct
import textwrap
import time
import unittest

from kept_client import Keeper, Program

from kernel_client import (
    DATA,
    ESCAPED,
    EXEC,
    LAST,
    NAME,
    PACKAGES,
    STRCONFIG,
    TIMEOUT,
    TOOK,
    WINDOW,
    Timeout,
    bundle,
    wire,
)

TEN = 10 << 20
ECHO = "for value in channel: channel.send(value)"
MANY_SENDERS = """
import threading
def work(name):
    for i in range(150):
        channel.send((name, i, b"x" * (i * 700)))
threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


class Keeping(unittest.TestCase):
    """`python` is set by the subclasses that kernel_kept_tests makes."""

    python = None
    jython = False

    def keep(self, config=(), **options):
        keeper = Keeper(self.python, config, **options)
        self.addCleanup(keeper.kill)
        return keeper

    def two(self, program):
        return program.greeting["dialect"] == 2

    def until(self, holds):
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)


class Kept(Keeping):

    # --- who enters

    def test_each_program_is_greeted_and_finds_the_same_interpreter(self):
        keeper = self.keep({"id": "gw7", "window": 4321})
        pids, seen = set(), []
        for _ in range(5):
            program = keeper.enter()
            self.assertEqual(({}, 4321), (program.channels, program.greeting["window"]))
            pids.add(program.greeting["pid"])
            seen += program.run("import sys\nsys.seen = getattr(sys, 'seen', 0) + 1\nchannel.send(sys.seen)\n"
                                "channel.send(channel.gateway.id)")
            program.leave()
        self.assertEqual({keeper.process.pid}, pids)
        self.assertEqual([1, "gw7", 2, "gw7", 3, "gw7", 4, "gw7", 5, "gw7"], seen)

    def test_a_new_connection_ends_the_one_before_also_in_the_middle_of_a_frame(self):
        keeper = self.keep()
        whole = wire.header.pack(DATA, 1, 100) + b"N" * 100
        for cut in (1, 5, 9, 10, 60, 108):
            before = keeper.enter()
            before.raw(whole[:cut])
            after = keeper.enter()
            self.assertTrue(before.ended.wait(TIMEOUT), "it has not ended")
            self.assertEqual([cut], after.run("channel.send(%d)" % cut))
        self.assertEqual(b"", keeper.stderr)

    def test_a_program_that_enters_twice_at_once_is_in_once(self):
        keeper = self.keep()
        programs = [Program(keeper) for _ in range(20)]
        programs[-1].hello()
        self.assertEqual([1], programs[-1].run("channel.send(1)"))
        for program in programs[:-1]:
            self.assertTrue(program.ended.wait(TIMEOUT))

    def test_what_is_no_protocol_ends_the_connection_and_nothing_else(self):
        keeper = self.keep()
        program = keeper.enter()
        number = program.execute_named("work", ECHO)
        program.send(number, 1)
        self.assertEqual(1, program.take(number))
        for kind, payload in ((255, b""), (TOOK, b"\xff" * 8), (TOOK, b"x"), (EXEC, b"N"),
                              (ESCAPED, b"(\x03\0\0\0.i\0\0\0\0i\x05\0\0\0"),
                              ("unnamed", None)):
            if kind == "unnamed":
                payload = b"(\x03\0\0\0.i\0\0\0\0i" + struct.pack("<I", number)
                program.frame(ESCAPED, program.execute("channel.receive()"), payload)
            else:
                program.frame(kind, number, payload)
            self.assertTrue(program.ended.wait(TIMEOUT))
            program = keeper.enter()
            number = program.channels["work"][0]
        program.send(number, 5)
        self.assertEqual(5, program.take(number))
        keeper.wait_stderr(b"execnet: protocol error: ")
        keeper.wait_stderr(b"TOOK of a value that was not sent")

    def test_three_threads_and_no_more(self):
        keeper = self.keep()
        program = keeper.enter()
        number = program.execute_named("work", ECHO)
        for _ in range(3):
            program = keeper.enter()
            number = program.channels["work"][0]
            program.send(number, 5)
            self.assertEqual(5, program.take(number))
        if program.greeting["implementation"] == "cpython":
            def threads():
                with open("/proc/%d/status" % keeper.process.pid) as file:
                    return int(file.read().split("Threads:")[1].split()[0])
            self.until(lambda: threads() == 3)

    def test_packages_are_spoken_of_with_the_first_program_alone(self):
        asked = {"bundle": bundle.packages(), "facts": "", "sets": [], "isolate": False, "beside": [],
                 "visit": False}
        keeper = self.keep({"packages": asked})
        program = Program(keeper)
        facts = program.get(PACKAGES, 0)
        self.assertEqual("facts", facts[0])
        program.frame(PACKAGES, 0, marshal.dumps(("sets", [], False, []), 2))
        first = program.hello()["packages"]
        self.assertEqual([2], program.run("channel.send(1 + 1)"))
        program = keeper.enter()
        self.assertEqual(first, program.greeting["packages"])
        self.assertEqual([2], program.run("channel.send(1 + 1)"))

    def test_what_a_program_sent_before_it_left_arrives(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "sum = 0\nwhile 1:\n  value = channel.receive()\n  sum += 1\n"
                              "  if value is None: channel.send(sum); sum = 0")
        for _ in range(30):
            number = program.channels["work"][0] if program.channels else 1
            for _ in range(40):
                program.send(number, b"x" * 1500)
            program.send(number, None)
            # its end of the connection is closed when the next one comes, as the agent does
            program.sock.shutdown(socket.SHUT_WR)
            program = keeper.enter()
            self.assertEqual(41, program.take(program.channels["work"][0]))

    def test_user_code_that_breaks_imports_does_not_lock_programs_out(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", ECHO)
        if program.greeting["implementation"] != "cpython" or self.two(program):
            return  # those kernels say so and end
        program.run("import builtins, sys\n"
                    "def broken(*args, **how): raise ImportError('broken')\n"
                    "builtins.__import__ = broken\nsys.meta_path[:] = []\n"
                    "for name in list(sys.modules):\n"
                    "  if name.startswith('execnet_kernel'): del sys.modules[name]")
        for _ in range(3):
            program = keeper.enter()
            number = program.channels["work"][0]
            program.send(number, 1)
            self.assertEqual(1, program.take(number))

    def test_code_that_wants_sigpipe_outlives_a_program_that_leaves(self):
        keeper = self.keep()
        program = keeper.enter()
        program.run("import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)")
        for _ in range(5):
            program = keeper.enter(auto_credit=False)
            number = program.execute("while 1: channel.send(b'x' * 100000)")
            program.receive(number)
            program.leave()
        self.assertEqual([1], keeper.enter().run("channel.send(1)"))

    # --- names

    def test_a_name_is_found_by_the_next_program_with_its_counts(self):
        keeper = self.keep()
        program = keeper.enter()
        number = program.execute_named("work", "for value in channel: channel.send((value, len(value)))")
        for value in ("a", "bb", "ccc"):
            program.send(number, value)
        self.assertEqual(("a", 1), program.take(number))
        self.assertEqual([("bb", 2), ("ccc", 3)], [program.receive(number) for _ in range(2)])
        program.leave()
        program = keeper.enter()
        number, took, received, credit, end = program.channels["work"]
        self.assertEqual((0, 1, 3, WINDOW, False), (number & 1, took, received, credit, end))
        self.assertEqual([("bb", 2), ("ccc", 3)], [program.take(number) for _ in range(2)])
        program.send(number, "dddd")
        self.assertEqual(("dddd", 4), program.take(number))

    def test_code_and_programs_may_name_a_channel(self):
        keeper = self.keep()
        program = keeper.enter()
        number, told = program.ask("by program")
        self.assertEqual(("by program", told[1], 0, 0, WINDOW, False), told)
        other = program.execute("def serve():\n"
                                "  mine = channel.gateway.channel(u'by code')\n  mine.send(1)\n"
                                "  channel.send(repr(mine))\n"
                                "  theirs = channel.gateway.channel('by program')\n"
                                "  theirs.send(theirs.receive() + 1)\n"
                                "  mine.send(theirs.receive())\nserve()")
        # of the other one it may tell, too: it need not have had the question when it wrote that
        _, by_code, told = program.first(lambda frame: frame[0] == NAME and frame[2][0] == "by code")
        self.assertEqual(("by code", 0), (told[0], told[1]))
        program.named[by_code] = 0
        self.assertEqual("<Channel 'by code' open>", program.receive(other))
        self.assertEqual(by_code, program.ask("by code")[0])
        self.assertEqual(1, program.take(by_code))
        self.assertEqual((by_code, 1), (lambda answer: (answer[0], answer[1][2]))(program.ask("by code")))
        program.send(number, 20)
        self.assertEqual(21, program.take(number))
        program = keeper.enter()  # the execution goes on without its client
        self.assertEqual({"by code", "by program"}, set(program.channels))
        program.send(program.channels["by program"][0], "later")
        self.assertEqual("later", program.take(program.channels["by code"][0]))

    def test_a_name_is_there_once_and_is_text_of_a_line(self):
        keeper = self.keep()
        program = keeper.enter()
        first = program.execute_named("work", ECHO)
        second = program.execute_named("work", ECHO)
        self.assertIn("there is a channel named work already", program.end(second))
        program.send(second, "to nobody")
        program.close(second)
        for name in ("", "x" * 65, "a\nb", "a\x9fb", 5, b"work"):
            if self.two(program) and name == b"work":
                continue
            number = program.execute_named(name, ECHO)
            self.assertIn("a channel's name has ", program.end(number))
            self.assertRaisesRegex(RuntimeError, "a channel's name has ", program.ask, name)
        self.assertEqual([True], program.run("try: channel.gateway.channel('')\n"
                                             "except ValueError: channel.send(True)"))
        self.assertEqual([True], program.run("try: channel.gateway.channel(u'\\ud800')\n"
                                             "except ValueError: channel.send(True)"))
        for name in ("x" * 64, "Ünï ö €"):
            self.assertEqual(name, program.ask(name)[1][0])
        program.send(first, 1)
        self.assertEqual(1, program.take(first))

    def test_there_are_a_thousand_names_and_the_next_one_is_refused(self):
        keeper = self.keep()
        program = keeper.enter()
        program.run("kept = [channel.gateway.channel('name %d' % i) for i in range(999)]\n"
                    "channel.gateway.channel('last')")
        self.assertRaisesRegex(RuntimeError, "at most 1000 channels", program.ask, "more")
        self.assertIn("at most 1000 channels", program.end(program.execute_named("more", "1")))
        program = keeper.enter()
        self.assertEqual(1000, len(program.channels))
        number = program.channels["last"][0]
        program.close(number)
        program.end(number)
        self.assertEqual("more", program.ask("more")[1][0])

    def test_no_channel_is_part_of_a_value_on_a_named_one(self):
        keeper = self.keep()
        program = keeper.enter()
        answers = program.run(textwrap.dedent("""
            named = channel.gateway.channel("named")
            for way, value in ((named, channel), (named, [1, {2: named}]), (channel, (named,))):
                try:
                    way.send(value)
                except Exception as error:
                    channel.send([type(error).__name__, str(error)])
        """))
        self.assertEqual([["DumpError", "cannot send a Channel"],
                          ["DumpError", "cannot send a NamedChannel, at [1][2]"],
                          ["DumpError", "cannot send a NamedChannel, at [0]"]], answers)

    def test_a_lost_channel_object_and_last_do_not_concern_it(self):
        keeper = self.keep()
        program = keeper.enter()
        program.run("import gc\nmine = channel.gateway.channel('mine')\nmine.send(1)\ndel mine\ngc.collect()")
        number, _ = program.ask("mine")
        program.frame(LAST, number)
        program.send(number, 7)
        self.assertEqual(1, program.take(number))
        self.assertEqual([7], program.run("channel.send(channel.gateway.channel('mine').receive())"))

    def test_how_text_travels_stays_as_code_has_set_it(self):
        keeper = self.keep()
        program = keeper.enter()
        program.run("channel.gateway.reconfigure(False, True)\n"
                    "channel.gateway.channel('mine').reconfigure(True, True)")
        for _ in range(2):
            self.assertEqual({0: (False, True), program.ask("mine")[0]: (True, True)},
                             {number: config for _, number, config in
                              (program.next([STRCONFIG]), program.next([STRCONFIG]))})
            program = keeper.enter()

    def test_callbacks_go_on(self):
        keeper = self.keep()
        program = keeper.enter()
        program.run("mine = channel.gateway.channel('mine')\n"
                    "mine.setcallback(lambda value: mine.send(value + 1), endmarker=None)\n"
                    "import sys; sys.mine = mine")
        for i in range(4):
            number, _ = program.ask("mine")
            program.send(number, i)
            self.assertEqual(i + 1, program.take(number))
            program.leave()
            program = keeper.enter()

    # --- what is kept

    def test_a_value_whose_took_did_not_arrive_comes_again(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "for i in range(5): channel.send(i)\nchannel.receive()")
        self.assertEqual(0, program.take(1))
        self.assertEqual(1, program.receive(1))
        program.leave()
        program = keeper.enter()
        number, took = program.channels["work"][:2]
        self.assertEqual(1, took)
        self.assertEqual([1, 2, 3, 4], [program.take(number) for _ in range(4)])

    def test_a_value_whose_took_arrived_does_not_come_again_though_the_answer_was_lost(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "for i in range(5): channel.send(i)\nchannel.receive()")
        program.receive(1)
        program.receive(1)
        program.say_took(1)
        program.sock.shutdown(socket.SHUT_WR)
        program = keeper.enter()
        number, took = program.channels["work"][:2]
        self.assertEqual(1, took)
        self.assertEqual([1, 2, 3, 4], [program.take(number) for _ in range(4)])

    def test_several_may_be_taken_at_once_and_a_count_that_goes_back_changes_nothing(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "for i in range(6): channel.send(i)\nchannel.receive()")
        for _ in range(6):
            program.receive(1)
        for count, answer in ((4, 4), (2, 4), (0, 4), (5, 5)):
            program.frame(TOOK, 1, struct.pack(">Q", count))
            self.assertEqual(answer, program.get(TOOK, 1))
        program = keeper.enter()
        self.assertEqual(5, program.take(program.channels["work"][0]))

    def test_nothing_comes_on_a_channel_that_the_program_has_not_opened(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", "channel.send(1)\nchannel.receive()\n1 // 0")
        program.execute_named("over", "channel.send(2)")
        program.receive(1)
        self.assertIsNone(program.end(3))
        program = keeper.enter(open=False)
        program.run("channel.gateway.channel('third').send(3)")
        work, over = [program.channels[name][0] for name in ("work", "over")]
        program.send(work, 0)
        _, third, _ = program.next([NAME])
        program.run("1")
        self.assertEqual([], program.backlog)
        program.frame(TOOK, over, b"\0" * 8)
        self.assertEqual([0, 2], [program.get(TOOK, over), program.take(over)])
        self.assertIsNone(program.end(over))
        self.assertEqual(third, program.ask("third")[0])
        self.assertEqual(3, program.take(third))
        self.assertEqual(work, program.ask("work")[0])
        self.assertEqual(1, program.take(work))
        self.assertIn("ZeroDivisionError", program.end(work))

    def test_large_values_torn_in_the_middle_come_whole_to_the_next_program(self):
        keeper = self.keep({"window": 4 * TEN})
        program = keeper.enter()
        program.execute_named("work", "for i in range(3): channel.send((i, b'%%d' %% i * %d))\n"
                                      "while 1: channel.receive()" % TEN
                              if not self.two(program) else
                              "for i in range(3): channel.send((i, str(i) * %d))\n"
                              "while 1: channel.receive()" % TEN)
        program.leave()
        for cut in (100, 70000, TEN // 2, TEN + 40, 2 * TEN):
            torn = keeper.connection()
            torn.settimeout(TIMEOUT)
            torn.sendall(wire.header.pack(TOOK, 2, 8) + b"\0" * 8)
            left = cut
            while left:
                part = torn.recv(min(left, 65536))
                self.assertTrue(part, "the connection has ended")
                left -= len(part)
            torn.close()
        program = keeper.enter()
        number = program.channels["work"][0]
        for i in range(3):
            j, data = program.take(number)
            self.assertEqual((i, TEN, {str(i)}), (j, len(data), set(data if self.two(program)
                                                                     else data.decode())))

    def test_a_large_value_to_the_kernel_that_was_torn_does_not_count(self):
        keeper = self.keep({"window": 4 * TEN})
        program = keeper.enter()
        program.execute_named("work", "for value in channel: channel.send(len(value))")
        value = marshal.dumps(b"x" * TEN, 2)
        whole = wire.header.pack(DATA, 1, len(value)) + value
        program.raw(whole)
        self.assertEqual(TEN, program.take(1))
        for cut in (9, 70000, TEN // 2, len(whole) - 1):
            number = program.channels["work"][0] if program.channels else 1
            program.raw(wire.header.pack(DATA, number, len(value)) + value[:cut - 9])
            program.leave()
            program = keeper.enter()
            self.assertEqual((1, 1), program.channels["work"][1:3])
        number = program.channels["work"][0]
        program.raw(wire.header.pack(DATA, number, len(value)) + value)
        self.assertEqual(TEN, program.take(number))

    def test_code_waits_when_its_window_is_full_also_without_a_program_and_the_agent_hears_of_it(self):
        keeper = self.keep({"window": 100000})
        program = keeper.enter()
        program.execute_named("work", "import sys\nfor i in range(50):\n  channel.send((i, b'x' * 9999))\n"
                                      "sys.stderr.write('through\\n')\nchannel.receive()")
        program.leave()
        keeper.until(lambda: keeper.said == b"w", "w")
        self.assertNotIn(b"through", keeper.stderr)
        program = keeper.enter()
        number = program.channels["work"][0]
        held = []
        while len(held) < 10:
            held.append(program.receive(number)[0])
        self.assertRaises(Timeout, program.next, [DATA], number, 0.3)  # the window holds over connections
        for i in range(50):
            if i >= len(held):
                held.append(program.receive(number)[0])
            program.say_took(number)
        self.assertEqual(list(range(50)), held)
        keeper.wait_stderr(b"through")
        keeper.until(lambda: keeper.said in (b"wr", b"wrwr"), "r")

    def test_small_values_fill_the_window_no_more_than_large_ones(self):
        keeper = self.keep({"window": 50000})
        program = keeper.enter()
        program.execute_named("work", "i = 0\nwhile 1:\n  channel.send(i); i += 1")
        program.leave()
        keeper.until(lambda: keeper.said == b"w", "w")
        program = keeper.enter()
        number = program.channels["work"][0]
        size = 0
        try:
            while True:
                program.next([DATA], number, 1)
                size += 5
        except Timeout:
            pass
        self.assertLessEqual(50000 - 5, size)
        self.assertLessEqual(size, 50000 + 5)

    def test_values_to_the_kernel_have_credit_over_connections(self):
        keeper = self.keep({"window": 100000})
        program = keeper.enter()
        program.execute_named("work", "go = channel.gateway.channel('go')\ngo.receive()\nsum = 0\n"
                                      "for value in channel: sum += len(value); channel.send(sum)")
        for _ in range(6):
            program.send(1, b"x" * 9995)
        program = keeper.enter()
        self.assertEqual((0, 6, 40000, False), program.channels["work"][1:])
        number = program.channels["work"][0]
        for _ in range(5):
            program.send(number, b"x" * 9995)
        program = keeper.enter()
        self.assertEqual((0, 11, 0, False), program.channels["work"][1:])
        number = program.channels["work"][0]
        go, _ = program.ask("go")
        program.send(go, 1)
        for i in range(11):
            self.assertEqual(9995 * (i + 1), program.take(number))
        credit = 0
        while credit < 100000:
            credit = program.get(wire.CREDIT, number)
        self.assertLessEqual(credit, 110000)

    def test_many_threads_send_whole_values_each_in_order(self):
        keeper = self.keep()
        program = keeper.enter()
        program.execute_named("work", MANY_SENDERS)
        last = [-1] * 4
        number = 1
        for count in range(600):
            if count % 100 == 50:
                program = keeper.enter()
                number = program.channels["work"][0]
            name, i, data = program.take(number)
            self.assertEqual((last[name] + 1, i * 700), (i, len(data)))
            last[name] = i
        self.assertIsNone(program.end(number))

    def test_handlers_that_raise_in_the_middle_of_a_send_lose_and_repeat_nothing_else(self):
        keeper = self.keep({"window": 1 << 20})
        program = keeper.enter()
        program.execute_named("work", textwrap.dedent("""
            import gc, signal, time
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
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            raised = sent = 0
            began = time.time()
            def goes_on():
                return time.time() - began < (2 if raised > 50 else 200)
            def burst():
                global armed, sent
                while goes_on():
                    armed = True
                    channel.send((sent, "x" * (sent * 7 % 3000)))
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
        """))
        number, last, count = 1, -1, 0
        while True:
            count += 1
            if count % 500 == 0:
                program = keeper.enter()
                number = program.channels["work"][0]
            value = program.take(number)
            if value is None:
                break
            self.assertEqual(value[0] * 7 % 3000, len(value[1]))
            # the sender counts a value when send has returned: a torn one is sent again under the same number
            self.assertIn(value[0], (last, last + 1))
            last = value[0]
        sent, raised = program.take(number)
        self.assertIsNone(program.end(number))
        self.assertIn(last, (sent - 1, sent))
        self.assertGreater(raised, 50)


class Refused(unittest.TestCase):

    python = None
    jython = False

    def refused(self, words, **how):
        keeper = Keeper(self.python, **how)
        self.addCleanup(keeper.kill)
        try:
            self.addCleanup(keeper.connection().close)
        except OSError:
            pass  # it has ended by now
        self.assertEqual(94, keeper.wait())
        self.assertIn(words, keeper.stderr)

    def test_jython_and_a_kernel_without_an_entry_are_not_kept(self):
        if self.jython:
            self.refused(b"execnet: Jython cannot be kept: it has no sockets")
            return
        for entry in ("", "x", "-1", "999"):
            self.refused(b"execnet: it cannot be kept: ", entry=entry)
        self.refused(b"execnet: it cannot be kept: fd 2 is no socket", entry="2")

    def test_what_config_asks_for_and_cannot_be_ends_it_with_a_sentence(self):
        if not self.jython:
            self.refused(b"execnet: cannot make the folder /proc/none/such: ",
                         config={"chdir": "/proc/none/such"})

