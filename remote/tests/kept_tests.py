"""Kept work at the core: names, holders, time and ends. No processes, no links."""
import unittest

from core_tests import LIFE, Host

from agent import core, wire
from agent.wire import RemoteProtocolError

ID = b"p" * 16
FIRST, SECOND, THIRD = b"o" * 16, b"s" * 16, b"t" * 16
BAD = u"""
 1 wait wait
-a 1 wait wait
.a 1 wait wait
a/b 1 wait wait
\xc3\xa4 1 wait wait
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1 wait wait
a
a 1 wait
a 0 wait wait
a -1 wait wait
a 1 wait wait wait
a 9999999999 wait wait
a 1 last wait
a 1 last=0 wait
a 1 last=1k wait
a 1 wait=1 wait
a 1 wait spill=-1
a 1 keep=1 wait
a 1 last=4294967297 wait"""
KEEP = [(u"keep", b"train 100 wait wait")]


class Kept(Host):
    """A core that can keep work, and a clock that counts sleep."""

    def __init__(self, daemon_keeps=True):
        self.slept = 0.0
        self.daemon_keeps = daemon_keeps
        Host.__init__(self)

    def make(self):
        return core.Core(b"i" * 16, [(u"features", b"terminal keep enter")], self.now, 600.0,
                         calendar=lambda: lambda: self.now + self.slept)

    def reattach(self, epoch, daemon_keeps=True):
        self.daemon_keeps = daemon_keeps
        self.attach(epoch)
        return self.greeting

    def keep(self, id=ID, value=b"train 100 wait wait", more=(), **other):
        return self.spawn(id, options=[(u"keep", value)] + list(more), **other)

    def runs(self, id=ID, **how):
        self.keep(id, **how)
        process = self.core.processes[id]
        self.core.started(process, 42)
        self.poll()
        self.core.actions = []
        return process

    def take(self, id=ID, owner=SECOND, tenure=0, attempt=9, program=u"prog", pid=77):
        return self.say(wire.TAKE, id=id, attempt=attempt, incarnation=b"i" * 16, owner=owner, tenure=tenure,
                        pid=pid, program=program, host=u"h")

    def leave(self, id=ID, owner=FIRST, end=0):
        return self.say(wire.LEAVE, id=id, owner=owner, end=end)

    def write(self, data, id=ID, stream=1):
        self.core.child_output(self.core.processes[id], stream, data)
        return self.poll()

    def pass_time(self, seconds):
        self.now += seconds
        if self.now >= self.core.deadline():
            self.core.tick(self.now)
        return self.poll()


def only(kind, frames):
    return [fields for each, fields in frames if each == kind]


def output(frames):
    """Return SKIPs as positions, and DATA as positions with bytes."""
    return [fields["position"] if kind == wire.SKIP else (fields["position"], fields["data"])
            for kind, fields in frames if kind in (wire.SKIP, wire.DATA)]


def number(at):
    """Return an id."""
    return ("%016d" % at).encode("ascii")


def about(frames):
    """Return the tables of the KEPTs by name."""
    found = {}
    for fields in only(wire.KEPT, frames):
        table = dict(fields["table"])
        found[table[u"name"].decode("ascii")] = table
    return found


class Test(unittest.TestCase):

    def setUp(self):
        self.host = Kept()

    def kinds(self, frames):
        return [kind for kind, _ in frames]

    def refused(self, frames):
        exit, = only(wire.EXIT, frames)
        self.assertEqual(2, exit["how"])
        self.assertEqual([], only(wire.KEPT, frames))
        return exit["message"]


class Asking(Test):

    def test_what_is_kept_is_told_from_its_start_and_on_each_attach_before_keeps(self):
        self.assertEqual([(wire.KEEPS, {"count": 0})], self.host.greeting[-1:])
        frames = self.host.keep(value=b"a.b-c_1 604800 last=1000 spill=5", argv=[b"x", b"\xff y"])
        table = about(frames)[u"a.b-c_1"]
        self.assertEqual((b"604800", b"last=1000", b"spill=5", b"n1", b"1", b"0"),
                         tuple([table[key] for key in (u"seconds", u"stdout", u"stderr", u"node", u"tenure",
                                                       u"age")]))
        self.assertEqual((b"6f" * 16, u"x \ufffd y".encode("utf-8")), (table[u"holder"], table[u"command"]))
        self.assertTrue(u"left" not in table and u"pid" not in table)
        self.host.core.started(self.host.core.processes[ID], 42)
        self.assertEqual(b"42", about(self.host.poll())[u"a.b-c_1"][u"pid"])
        greeting = self.host.reattach(LIFE | 2)
        self.assertEqual([wire.HELLO, wire.NODE, wire.NODES, wire.KEPT, wire.KEEPS], self.kinds(greeting))
        self.assertEqual({"count": 1}, greeting[-1][1])

    def test_a_daemon_that_does_not_name_it_hears_nothing(self):
        self.host.runs()
        greeting = self.host.reattach(LIFE | 2, False)
        self.assertEqual([wire.HELLO, wire.NODE, wire.NODES], self.kinds(greeting))
        self.host.resume(attempt=2)
        self.assertEqual([(wire.FORGET, {"id": ID})], self.host.say(wire.RELEASE, id=ID))
        self.assertEqual([u"train"], list(self.host.core.keeper.names))
        self.assertFalse(self.host.core.wants_output(self.host.now))

    def test_names_policies_and_times_that_cannot_be_are_refused_in_words(self):
        for at, value in enumerate(BAD.split("\n")):
            words = self.refused(self.host.keep(number(at), value.encode("latin-1")))
            self.assertTrue(u"cannot keep" in words, words)
        self.assertEqual([], self.host.core.actions)

    def test_a_name_that_runs_is_taken_and_one_that_ended_is_given_on(self):
        first = self.host.runs()
        words = self.refused(self.host.keep(b"q" * 16))
        self.assertTrue(u"the name train is taken on this host" in words, words)
        self.host.say(wire.RELEASE, id=b"q" * 16)
        self.host.core.child_exited(first, 0, 3)
        frames = self.host.keep(b"r" * 16)
        self.assertEqual([{"id": ID}], only(wire.FORGET, frames))
        self.assertEqual([b"r" * 16], [fields["id"] for fields in only(wire.KEPT, frames)])

    def test_at_most_200_run_and_100_records_stay(self):
        host = self.host
        for at in range(200):
            host.keep(number(at), ("n%d 100 wait wait" % at).encode("ascii"))
        words = self.refused(host.keep(b"one too many    "))
        self.assertTrue(u"this host keeps 200 processes already" in words, words)
        for at in range(200):
            host.now += 0.01
            host.core.child_exited(host.core.processes[number(at)], 0, 0)
        self.assertEqual(100, len(host.core.keeper.kept))
        forgotten = [fields["id"] for fields in only(wire.FORGET, host.poll())]
        self.assertEqual([number(at) for at in range(100)], sorted(forgotten))

    def test_rings_of_4_gib_are_held_and_no_more(self):
        self.host.runs(value=b"a 100 spill=2147483648 last=2147483648")
        words = self.refused(self.host.keep(b"q" * 16, b"b 100 wait last=1"))
        self.assertTrue(u"more than 4 GiB" in words, words)
        self.assertEqual([], only(wire.EXIT, self.host.keep(b"r" * 16, b"c 100 wait wait")))

    def test_only_plain_processes_are_kept(self):
        for role in (1, 2):
            words = self.refused(self.host.keep(number(role), role=role))
            self.assertTrue(u"plain" in words, words)
        self.refused(self.host.spawn(b"e" * 16, options=[(u"enter", b"")]))

    def test_an_agent_that_cannot_keep_ends_the_link(self):
        plain = Host()
        for role, options in ((0, KEEP), (3, []), (4, [])):
            self.assertRaises(RemoteProtocolError, plain.spawn, role=role, options=options)

    def test_a_command_that_could_not_start_leaves_a_record_that_says_why(self):
        self.host.keep()
        self.host.core.not_started(self.host.core.processes[ID], 2, "cannot execute x")
        frames = self.host.poll()
        table = about(frames)[u"train"]
        self.assertEqual((b"2 2", b"cannot execute x", b"0"),
                         (table[u"exit"], table[u"message"], table[u"ended"]))
        self.assertEqual(1, len(only(wire.EXIT, frames)))


class Holding(Test):

    def test_another_client_takes_it_over_and_goes_on_from_what_it_is_told(self):
        process = self.host.runs()
        self.host.write(b"0123456789")
        self.host.say(wire.DATA, id=ID, stream=0, position=0, data=b"abc")
        self.host.say(wire.SIGNAL, id=ID, sequence=7, mask=2)
        self.host.say(wire.CREDIT, id=ID, stream=1, received=4, limit=1004)
        frames = self.host.take()
        taken, = only(wire.TAKEN, frames)
        self.assertEqual(dict(id=ID, attempt=9, tenure=2, last=1, signals=7, sizes=0, rows=0, columns=0,
                              ends=0, stdin=3, stdout_start=4, stdout_end=10, stderr_start=0, stderr_end=0),
                         taken)
        table = about(frames)[u"train"]
        self.assertEqual((b"2", b"73" * 16, b"prog", b"77"),
                         tuple([table[key] for key in (u"tenure", u"holder", u"program", u"program-pid")]))
        # nothing passes before its RESUME, and no old credit counts
        self.host.say(wire.CREDIT, id=ID, stream=1, received=5, limit=2000)
        self.assertEqual([], self.host.write(b"x"))
        self.assertEqual(0, process.outs[1].capacity())
        frames = self.host.resume(attempt=2, out=5, limit=3)
        self.assertEqual([wire.RESUMED, wire.STARTED, wire.SIGNALED, wire.DATA], self.kinds(frames))
        self.assertEqual((5, b"567"), (frames[-1][1]["position"], frames[-1][1]["data"]))
        frames = self.host.say(wire.CREDIT, id=ID, stream=1, received=8, limit=108)
        self.assertEqual((8, b"89x"), (frames[0][1]["position"], frames[0][1]["data"]))

    def test_what_is_not_held_any_more_is_skipped(self):
        self.host.runs(value=b"train 100 last=4 wait")
        self.host.leave()
        self.host.write(b"0123456789")
        taken, = only(wire.TAKEN, self.host.take())
        self.assertEqual((6, 10), (taken["stdout_start"], taken["stdout_end"]))
        frames = self.host.resume(attempt=2, out=0)
        self.assertEqual([wire.RESUMED, wire.STARTED, wire.SKIP, wire.DATA], self.kinds(frames))
        self.assertEqual([6, (6, b"6789")], output(frames))

    def test_a_skip_is_told_also_where_credit_ends(self):
        self.host.runs(value=b"train 100 last=4 wait")
        self.host.leave()
        self.host.write(b"0123456789")
        self.host.take()
        frames = self.host.resume(attempt=2, out=0, limit=5)
        self.assertEqual([wire.RESUMED, wire.STARTED, wire.SKIP], self.kinds(frames))
        frames = self.host.say(wire.CREDIT, id=ID, stream=1, received=6, limit=8)
        self.assertEqual([(wire.DATA, dict(id=ID, stream=1, position=6, data=b"67"))], frames)

    def test_who_lost_it_is_told_by_whom_and_what_it_still_says_is_no_breach(self):
        self.host.runs()
        self.host.take()
        left = [(wire.LEFT, dict(id=ID, owner=FIRST, pid=77, program=u"prog"))]
        self.assertEqual(left, self.host.take(owner=FIRST, tenure=1, attempt=3))
        self.assertEqual(left, self.host.leave(owner=FIRST))
        self.assertEqual(left, self.host.leave(owner=FIRST, end=1))
        self.assertEqual(left, self.host.keep(attempt=4))
        self.host.say(wire.DATA, id=ID, stream=0, position=5, data=b"abc")
        self.assertEqual([], self.host.resume(attempt=1))

    def test_a_take_that_is_repeated_changes_nothing(self):
        self.host.runs()
        self.host.take()
        taken, = only(wire.TAKEN, self.host.take(attempt=10))
        self.assertEqual((2, 10), (taken["tenure"], taken["attempt"]))
        self.host.take(owner=THIRD, attempt=1, program=u"other", pid=5)
        # the answer to its first one was lost, and meanwhile another one took it
        self.assertEqual([(wire.LEFT, dict(id=ID, owner=SECOND, pid=5, program=u"other"))],
                         self.host.take(attempt=10))
        taken, = only(wire.TAKEN, self.host.take(attempt=11))
        self.assertEqual(4, taken["tenure"])

    def test_a_take_of_what_is_not_kept_is_answered_forget_and_ends_nothing(self):
        self.host.started(b"n" * 16)
        for id in (b"n" * 16, b"u" * 16):
            self.assertEqual([(wire.FORGET, {"id": id})], self.host.take(id))
        self.assertTrue(b"n" * 16 in self.host.core.processes)
        self.assertEqual([], self.host.core.actions)

    def test_a_tenure_lasts_until_somebody_takes_over(self):
        self.host.runs()
        self.host.reattach(2 << 32 | 1)
        table = about(self.host.pass_time(31))[u"train"]
        self.assertTrue(u"holder" not in table)
        taken, = only(wire.TAKEN, self.host.take(owner=FIRST, tenure=1, attempt=2))
        self.assertEqual((1, 1), (taken["tenure"], taken["last"]))

    def test_a_holder_that_was_out_of_reach_for_long_goes_on_by_resume(self):
        self.host.runs()
        self.host.core.detach(self.host.now)
        self.host.pass_time(601)
        self.assertFalse(self.host.core.ending)
        self.host.reattach(LIFE | 2)
        frames = self.host.resume(attempt=2)
        self.assertTrue(wire.RESUMED in self.kinds(frames))
        self.assertTrue(self.host.core.processes[ID].held)

    def test_an_end_of_stdin_whose_bytes_never_came_is_void_at_a_take(self):
        self.host.runs()
        self.host.say(wire.DATA, id=ID, stream=0, position=0, data=b"abc")
        self.host.say(wire.FIN, id=ID, stream=0, length=10)
        taken, = only(wire.TAKEN, self.host.take())
        self.assertEqual(0, taken["ends"])
        self.host.resume(attempt=2)
        self.host.say(wire.FIN, id=ID, stream=0, length=3)
        taken, = only(wire.TAKEN, self.host.take(owner=THIRD))
        self.assertEqual(2, taken["ends"])

    def test_the_ends_and_the_size_of_a_terminal_are_told(self):
        self.host.runs(more=[(u"terminal", b"24 80")])
        self.host.say(wire.SIZE, id=ID, sequence=3, rows=30, columns=90)
        self.host.say(wire.STOP, id=ID, stream=2)
        self.host.core.stdin_closed(self.host.core.processes[ID])
        taken, = only(wire.TAKEN, self.host.take())
        self.assertEqual((9, 3, 30, 90), tuple([taken[key] for key in ("ends", "sizes", "rows", "columns")]))
        self.host.runs(b"z" * 16, value=b"z 100 wait wait", more=[(u"terminal", b"0 0")])
        taken, = only(wire.TAKEN, self.host.take(b"z" * 16))
        self.assertEqual((24, 80), (taken["rows"], taken["columns"]))

    def test_what_is_left_stays_and_what_is_not_kept_ends(self):
        self.host.runs()
        self.host.started(b"n" * 16)
        frames = self.host.leave()
        self.assertEqual([dict(id=ID, owner=FIRST, pid=0, program=u"")], only(wire.LEFT, frames))
        self.assertEqual(b"100000", about(frames)[u"train"][u"left"])
        self.assertEqual([wire.FORGET], self.kinds(self.host.leave(b"n" * 16)))
        self.assertEqual([(wire.FORGET, {"id": b"u" * 16})], self.host.leave(b"u" * 16))
        self.assertEqual([(wire.FORGET, {"id": b"u" * 16})], self.host.spawn(b"u" * 16))
        self.assertEqual([dict(id=ID, owner=FIRST, pid=0, program=u"")], only(wire.LEFT, self.host.resume()))
        self.assertEqual([ID], list(self.host.core.processes))
        self.assertEqual(["release"], [each[0] for each in self.host.core.actions if each[0] != "read"])

    def test_of_what_is_forgotten_nothing_is_told(self):
        self.host.runs()
        process = self.host.core.processes[ID]
        self.assertEqual([(wire.FORGET, {"id": ID})], self.host.leave(end=1))
        self.host.core.keeper.changed(process)
        self.host.core.keeper.exited(process)
        self.assertEqual([], only(wire.KEPT, self.host.leave()))

    def test_leave_with_end_ends_it_and_release_does_not(self):
        self.host.runs()
        frames = self.host.say(wire.RELEASE, id=ID)
        self.assertEqual([dict(id=ID, owner=FIRST, pid=0, program=u"")], only(wire.LEFT, frames))
        self.assertEqual([(wire.FORGET, {"id": ID})], self.host.leave(end=1))
        self.assertEqual(["release"], [each[0] for each in self.host.core.actions if each[0] != "read"])
        self.assertFalse(self.host.core.keeps())

    def test_output_goes_on_by_its_policy_while_the_holder_is_away(self):
        process = self.host.runs(value=b"train 100 last=4 wait")
        self.host.core.detach(self.host.now)
        self.assertTrue(("read", process, 1) in self.host.core.actions)
        self.assertTrue(process.outs[1].capacity() > 1000 and process.outs[2].capacity() == 1000)
        self.host.core.child_output(process, 1, b"x" * 5000)
        self.host.reattach(LIFE | 2)
        self.host.core.child_output(process, 1, b"y")
        frames = self.host.resume(attempt=2, limit=5100)
        self.assertEqual((4997, b"xxxy"), (frames[-1][1]["position"], frames[-1][1]["data"]))
        self.assertEqual(99, process.outs[1].capacity())

    def test_a_newer_life_hangs_up_only_what_is_not_kept(self):
        self.host.runs()
        self.host.started(b"n" * 16)
        self.host.reattach(2 << 32 | 1)
        frames = self.host.pass_time(31)
        self.assertEqual([{"id": b"n" * 16}], only(wire.FORGET, frames))
        self.assertEqual([ID], list(self.host.core.processes))


class Time(Test):

    def test_it_runs_while_nobody_holds_it_and_ends_what_runs(self):
        self.host.runs()
        self.host.pass_time(500)
        self.host.say(wire.PING, token=1)
        self.host.leave()
        self.host.pass_time(60)
        self.host.take()
        self.host.pass_time(500)
        self.host.say(wire.PING, token=1)
        self.host.leave(owner=SECOND)
        self.assertEqual([], self.host.pass_time(99))
        self.assertEqual([(wire.FORGET, {"id": ID})], self.host.pass_time(2))
        self.assertEqual(["release"], [action[0] for action in self.host.core.actions if action[0] != "read"])

    def test_sleep_counts_within_a_minute(self):
        self.host.runs(value=b"train 86400 wait wait")
        self.host.leave()
        self.host.pass_time(0)
        self.assertLessEqual(self.host.core.deadline(), self.host.now + 60)
        self.host.slept = 90000.0
        self.assertEqual([(wire.FORGET, {"id": ID})], self.host.pass_time(60))

    def test_it_begins_anew_with_the_exit_and_the_record_stays_for_everybody(self):
        process = self.host.runs()
        self.host.leave()
        self.host.pass_time(90)
        self.host.core.child_exited(process, 0, 3)
        self.host.core.child_output_closed(process, 1)
        self.host.core.child_output_closed(process, 2)
        table = about(self.host.pass_time(90))[u"train"]
        self.assertEqual((b"0 3", b"10000"), (table[u"exit"], table[u"left"]))
        for owner in (SECOND, THIRD):
            self.host.take(owner=owner)
            frames = self.host.resume(attempt=self.host.core.processes[ID].attempt + 1)
            self.assertEqual((0, 3), [(f["how"], f["value"]) for f in only(wire.EXIT, frames)][0])
            self.host.leave(owner=owner)
        self.assertEqual([], only(wire.FORGET, self.host.pass_time(99)))
        self.assertEqual([(wire.FORGET, {"id": ID})], self.host.pass_time(2))

    def test_nothing_wakes_the_agent_more_often_than_once_a_minute(self):
        self.host.runs()
        self.host.runs(b"q" * 16, value=b"b 86400 wait wait")
        self.host.leave(b"q" * 16)
        self.host.core.tick(self.host.now)
        wakes = 0
        while self.host.now < 100 + 3600:
            self.host.now = max(self.host.now, self.host.core.deadline())
            self.host.core.last_byte = self.host.now
            self.host.core.tick(self.host.now)
            wakes += 1
        self.assertLessEqual(wakes, 61)
        self.host.take(b"q" * 16)
        self.host.pass_time(60)
        self.assertEqual(self.host.core.last_byte + 600, self.host.core.deadline())


class Ends(Test):

    def actions(self):
        actions, self.host.core.actions = self.host.core.actions, []
        return [(action[0], getattr(action[1], "id", None)) if action[1:] else action[0] for action in actions
                if action[0] != "read"]

    def test_end_keeps_and_drops_the_link(self):
        self.host.runs()
        self.host.started(b"n" * 16)
        frames = self.host.say(wire.END)
        self.assertEqual([{"id": b"n" * 16}], only(wire.FORGET, frames))
        self.assertEqual(["drop", ("release", b"n" * 16)], self.actions())
        self.host.core.detach(self.host.now)
        self.host.pass_time(0)
        self.assertEqual(self.host.now + 60, self.host.core.deadline())
        # once its time is over, nothing holds the agent here
        for _ in range(3):
            self.host.pass_time(60)
        self.assertEqual([("release", ID), "end"], self.actions())

    def test_end_all_ends_everything(self):
        self.host.runs()
        self.host.say(wire.END_ALL)
        self.assertEqual([("release", ID), "end"], self.actions())
        self.assertTrue(self.host.core.ending)

    def test_what_ends_the_agent_leaves_kept_work_and_its_link(self):
        self.host.runs()
        self.host.started(b"n" * 16)
        self.host.core.end()
        self.assertEqual([{"id": b"n" * 16}], only(wire.FORGET, self.host.poll()))
        self.assertEqual([("release", b"n" * 16)], self.actions())
        self.assertTrue(self.host.core.processes[ID].held)
        self.host.say(wire.PING, token=1)
        self.host.leave(end=1)
        self.assertFalse(self.host.core.ending)

    def test_linger_ends_the_rest_and_the_agent_waits_without_waking(self):
        self.host.runs(value=b"train 864000 wait wait")
        self.host.started(b"n" * 16)
        self.host.core.detach(self.host.now)
        self.host.pass_time(601)
        self.assertEqual([("release", b"n" * 16)], self.actions())
        wakes = 0
        while self.host.now < 100 + 36000:
            self.host.now = max(self.host.now, self.host.core.deadline())
            self.host.core.tick(self.host.now)
            wakes += 1
        self.assertLessEqual(wakes, 602)
        greeting = self.host.reattach(2 << 32 | 1)
        self.assertEqual({"count": 1}, greeting[-1][1])

    def test_a_dead_link_that_stays_open_holds_no_agent_that_keeps_nothing_more(self):
        process = self.host.runs()
        self.host.pass_time(601)
        self.assertFalse(self.host.core.ending)
        self.host.pass_time(101)
        self.host.core.child_exited(process, 1, 1)
        for stream in (1, 2):
            self.host.core.child_output_closed(process, stream)
        self.host.pass_time(0)
        self.assertFalse(self.host.core.keeps())
        self.assertTrue(self.host.core.ending)

    def test_a_terminal_says_a_page_at_a_time(self):
        terminal = [(u"terminal", b"24 80")]
        for id, more, sizes in ((ID, terminal, [4096, 4096, 1808]), (b"z" * 16, [], [10000])):
            name = b"train" if more else b"other"
            self.host.runs(id, value=name + b" 100 wait wait", more=more, stdout_limit=1000000)
            frames = self.host.write(b"x" * 10000, id)
            self.assertEqual(sizes, [len(fields["data"]) for fields in only(wire.DATA, frames)])
