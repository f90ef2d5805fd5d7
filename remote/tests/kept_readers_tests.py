"""Kept work at the core: who reads along or enters, and what daemons are told."""
from core_tests import LIFE
from kept_tests import FIRST, ID, SECOND, Kept, Test, about, number, only, output

from agent import wire


class Reading(Test):

    def read(self, words=b"train all", id=b"r" * 16, limit=1000):
        return self.host.spawn(id, role=4, argv=[], node=u"", options=[(u"keep", words)], stdout_limit=limit,
                               stderr_limit=limit)

    def test_a_reader_gets_what_is_held_and_what_follows(self):
        process = self.host.runs(value=b"train 100 last=6 wait")
        self.host.leave()
        self.host.write(b"0123456789")
        frames = self.read()
        self.assertEqual([wire.RESUMED, wire.STARTED, wire.STOP, wire.SKIP, wire.DATA], self.kinds(frames))
        self.assertEqual((4, b"456789"), (frames[4][1]["position"], frames[4][1]["data"]))
        frames = self.read(b"train 2", b"q" * 16)
        self.assertEqual((8, b"89"), (frames[4][1]["position"], frames[4][1]["data"]))
        self.host.core.child_output(process, 1, b"ab")
        self.assertEqual([b"q" * 16, b"r" * 16], sorted([fields["id"] for _, fields in self.host.poll()]))
        self.host.core.child_exited(process, 1, 9)
        self.host.core.child_output_closed(process, 1)
        self.host.core.child_output_closed(process, 2)
        exits = only(wire.EXIT, self.host.poll())
        self.assertEqual([(1, 9, 12, 0)] * 2, [(exit["how"], exit["value"], exit["stdout_length"],
                                                exit["stderr_length"]) for exit in exits])
        self.assertEqual([(wire.FORGET, {"id": b"r" * 16})], self.host.say(wire.RELEASE, id=b"r" * 16))
        exit, = only(wire.EXIT, self.read(id=b"s" * 16))
        self.assertEqual((1, 9), (exit["how"], exit["value"]))
        self.assertTrue(self.host.core.keeps())

    def test_a_slow_reader_holds_nobody_up_and_is_skipped_forward(self):
        self.host.runs(value=b"train 100 last=6 wait")
        self.read(limit=3)
        self.host.write(b"0123456789")
        self.assertEqual(6, len(self.host.core.processes[ID].outs[1].ring.blocks[0]) - 4)
        self.host.say(wire.CREDIT, id=ID, stream=1, received=10, limit=1000)
        frames = self.host.say(wire.CREDIT, id=b"r" * 16, stream=1, received=3, limit=1000)
        self.assertEqual([wire.SKIP, wire.DATA], self.kinds(frames))
        self.assertEqual([4, (4, b"456789")], output(frames))

    def test_a_reader_without_credit_hears_no_skip_and_one_of_a_tiny_ring_few(self):
        process = self.host.runs(value=b"train 100 last=6 wait")
        self.host.leave()
        self.read(limit=3)
        self.read(id=b"q" * 16, limit=1000000)
        said = []
        for _ in range(1000):
            said += self.host.write(b"0123456789")
        skips = [fields["id"] for fields in only(wire.SKIP, said)]
        self.assertEqual(1, skips.count(b"r" * 16))
        self.assertLessEqual(skips.count(b"q" * 16), 11)
        self.host.core.child_output_closed(process, 1)
        frames = [(kind, fields) for kind, fields in self.host.poll() if fields["id"] == b"q" * 16]
        self.assertEqual([9994, (9994, b"456789")], output(frames))

    def test_a_reader_resumes_after_a_break(self):
        self.host.runs()
        self.read()
        self.host.write(b"0123456789")
        self.host.reattach(LIFE | 2)
        frames = self.host.resume(b"r" * 16, attempt=2, out=4)
        self.assertEqual((4, b"456789"), (frames[-1][1]["position"], frames[-1][1]["data"]))

    def test_what_is_held_now_can_be_read_by_itself(self):
        process = self.host.runs(value=b"train 100 last=6 wait")
        self.host.leave()
        self.host.write(b"0123456789")
        frames = self.read(b"train all once")
        said = [(4, b"456789")]
        self.assertEqual([4] + said, output(frames))
        exit, = only(wire.EXIT, frames)
        self.assertEqual((0, 0, 10, 0), (exit["how"], exit["value"], exit["stdout_length"],
                                         exit["stderr_length"]))
        self.host.core.child_output(process, 1, b"ab")
        self.assertEqual([], output(self.host.poll()))
        # what was dropped before it was sent is skipped, and nothing beyond its end is
        slow = self.read(b"train 4 once", b"s" * 16, limit=9)
        self.assertEqual([8, (8, b"8")], output(slow))
        self.host.core.child_output(process, 1, b"0123456789")
        frames = self.host.say(wire.CREDIT, id=b"s" * 16, stream=1, received=9, limit=1000)
        self.assertEqual([12], output(frames))
        frames = self.host.resume(b"s" * 16, attempt=2, out=9)
        self.assertEqual([12], output(frames))
        self.assertEqual(12, only(wire.EXIT, frames)[0]["stdout_length"])

    def test_what_cannot_be_read_is_refused_in_words(self):
        self.host.runs()
        for at, (words, said) in enumerate([(b"other all", u"nothing with the name other"),
                                            (b"train", u"not said from where"),
                                            (b"train x", u"not said from where"),
                                            (b"train all twice", u"not said from where"),
                                            (b"train once", u"not said from where"),
                                            (b"\x1b[2J all", u"no name")]):
            message = self.refused(self.read(words, number(at)))
            self.assertTrue(said in message, message)
        for at in range(16):
            self.read(id=number(100 + at))
        message = self.refused(self.read())
        self.assertTrue(u"16 programs read along" in message, message)

    def test_readers_end_with_what_they_read(self):
        self.host.runs()
        self.read()
        frames = self.host.leave(end=1)
        self.assertEqual([ID, b"r" * 16], sorted([fields["id"] for fields in only(wire.FORGET, frames)]))
        self.assertEqual({}, self.host.core.processes)

    def test_signals_sizes_and_input_of_readers_reach_nobody(self):
        self.host.runs()
        self.read()
        size = self.host.core.processes[ID].size
        self.host.say(wire.SIZE, id=b"r" * 16, sequence=1, rows=30, columns=90)
        self.assertEqual(size, self.host.core.processes[ID].size)
        del self.host.core.actions[:]
        self.host.say(wire.DATA, id=b"r" * 16, stream=0, position=0, data=b"x")
        self.host.say(wire.FIN, id=b"r" * 16, stream=0, length=1)
        self.assertEqual([], self.host.core.actions)


class Entering(Test):

    def enter(self, id=b"e" * 16, owner=FIRST, name=b"train"):
        return self.host.spawn(id, role=3, owner=owner, argv=[], node=u"", options=[(u"enter", name)])

    def setUp(self):
        self.host = Kept()
        self.host.runs(more=[(u"enter", b"")])

    def test_the_holder_enters_and_nobody_else(self):
        self.enter()
        self.assertEqual(["enter"], [action[0] for action in self.host.core.actions])
        self.host.say(wire.SIZE, id=b"e" * 16, sequence=1, rows=30, columns=90)
        words = self.refused(self.enter(b"f" * 16, SECOND))
        self.assertTrue(u"only the program that holds train" in words, words)
        self.host.leave()
        self.refused(self.enter(b"g" * 16))
        self.host.runs(b"n" * 16, value=b"plain 100 wait wait")
        self.refused(self.enter(b"h" * 16, name=b"plain"))
        self.refused(self.enter(b"j" * 16, name=b"other"))

    def test_who_takes_over_ends_the_entries_before(self):
        self.enter()
        frames = self.host.take()
        self.assertEqual([{"id": b"e" * 16}], only(wire.FORGET, frames))
        self.enter(b"f" * 16, SECOND)
        self.assertEqual([], only(wire.FORGET, self.host.take(tenure=2)))

    def test_that_its_code_waits_for_a_reader_is_told_once_a_second_at_most(self):
        process, keeper = self.host.core.processes[ID], self.host.core.keeper
        self.host.pass_time(5)
        keeper.wait_for_reader(process, True, self.host.now)
        self.assertEqual(b"1", about(self.host.poll())[u"train"][u"waits"])
        for at in range(100):
            keeper.wait_for_reader(process, bool(at % 2), self.host.now)
            self.assertEqual([], self.host.poll())
        keeper.wait_for_reader(process, False, self.host.now)
        self.assertTrue(self.host.core.deadline() <= self.host.now + 1)
        self.assertTrue(u"waits" not in about(self.host.pass_time(1))[u"train"])


class Looking(Test):

    def test_before_a_look_what_was_told_long_ago_is_told_again(self):
        self.host.runs()
        frame = wire.frame(wire.LOOKED, table=[], rows=[])
        self.host.now += 11
        self.host.say(wire.LOOK)
        self.host.core.looked(LIFE | 1, frame)
        frames = self.host.poll()
        self.assertEqual([wire.KEPT, wire.LOOKED], self.kinds(frames))
        self.assertEqual(b"11000", about(frames)[u"train"][u"age"])
        self.host.say(wire.LOOK)
        self.host.core.looked(LIFE | 1, frame)
        self.assertEqual([wire.LOOKED], self.kinds(self.host.poll()))


class Notes(Test):

    def test_trouble_with_the_disk_is_noted(self):
        process = self.host.runs(value=b"train 100 spill=1000000 wait")
        self.host.leave()
        self.host.core.child_output(process, 1, b"x" * 300000)
        disk = [action[1] for action in self.host.core.actions if action[0] == "disk"]
        self.assertEqual(set(["store"]), set([request[0] for request in disk]))
        for _, ring, position, data in disk:
            self.host.core.keeper.not_stored(ring, position, len(data), "the disk is full")
        table = about(self.host.poll())[u"train"]
        self.assertEqual(b"less of its output is held: the disk is full", table[u"note"])
        taken, = only(wire.TAKEN, self.host.take())
        self.assertEqual((0, 300000), (taken["stdout_start"], taken["stdout_end"]))
