"""What the agent sends and does for each frame, without processes and links."""
import unittest

from agent import core, pace, wire
from agent.wire import RemoteProtocolError

LIFE = 1 << 32


class Host(object):
    """A core with the daemon's side of its link."""

    def __init__(self):
        self.now = 100.0
        self.core = self.make()
        self.core.node(u"n1", 0, [])
        self.core.nodes_known(True)
        self.attach(LIFE | 1)

    daemon_keeps = False

    def make(self):
        return core.Core(b"i" * 16, [(u"hostname", b"h"), (u"features", b"terminal")], self.now, 600.0)

    def attach(self, epoch):
        if self.core.attached:
            self.core.detach(self.now)
        self.parser = wire.Parser()
        self.core.attach(epoch, self.now, self.daemon_keeps)
        out = b"".join([bytes(part) for part in self.core.poll_output(self.now)])
        assert out[:16] == wire.MARKER
        self.greeting = self.frames(out[16:])

    def frames(self, data):
        return [(kind, wire.decode(kind, body)) for kind, body in self.parser.feed(data)]

    def poll(self):
        return self.frames(b"".join([bytes(part) for part in self.core.poll_output(self.now)]))

    def kinds(self):
        return [kind for kind, _ in self.poll()]

    def say(self, kind, **fields):
        self.core.handle_bytes(wire.frame(kind, **fields), self.now)
        return self.poll()

    def spawn(self, id=b"p" * 16, **other):
        fields = dict(id=id, attempt=1, incarnation=b"i" * 16, owner=b"o" * 16, role=0, stdout_limit=1000,
                      stderr_limit=1000, host=u"h", node=u"n1", chdir=u"", argv=[b"-c", b"pass"], env=[],
                      options=[])
        fields.update(other)
        return self.say(wire.SPAWN, **fields)

    def started(self, id=b"p" * 16, **other):
        self.spawn(id, **other)
        process = self.core.processes[id]
        self.core.started(process, 42)
        self.poll()
        self.core.actions = []
        return process

    def resume(self, id=b"p" * 16, attempt=2, out=0, err=0, limit=1000):
        return self.say(wire.RESUME, id=id, attempt=attempt, stdout_received=out, stdout_limit=out + limit,
                        stderr_received=err, stderr_limit=err + limit)


class Test(unittest.TestCase):

    def setUp(self):
        self.host = Host()
        self.core = self.host.core

    def kinds(self, frames):
        return [kind for kind, _ in frames]

    def actions(self):
        actions, self.core.actions = self.core.actions, []
        return [action[0] for action in actions]


class Greeting(Test):

    def test_hello_nodes_then_all_told(self):
        self.assertEqual([wire.HELLO, wire.NODE, wire.NODES], self.kinds(self.host.greeting))
        hello = self.host.greeting[0][1]
        self.assertEqual((LIFE | 1, b"i" * 16, 1), (hello["epoch"], hello["incarnation"], hello["resume"]))

    def test_a_node_is_told_again_when_its_state_changes(self):
        self.core.nodes_known(False)
        self.core.node(u"n2", 2, [])
        self.core.node(u"n2", 0, [])
        self.assertEqual([wire.NODE], self.host.kinds())
        self.host.attach(LIFE | 2)
        self.assertEqual([wire.HELLO, wire.NODE, wire.NODE], self.kinds(self.host.greeting))
        self.core.nodes_known(True)
        self.assertEqual([(wire.NODES, {"count": 2})], self.host.poll())

    def test_what_was_said_ahead_is_not_said_again(self):
        self.core.detach(0)
        self.core.attach(LIFE | 2, 0)
        self.core.node(u"told", 0, [])
        self.core.node(u"found", 0, [])
        self.core.greeted(100, [u"told"], True)
        said = b"".join(self.core.poll_output(0))
        self.assertTrue(b"found" in said and b"told" not in said)
        self.assertEqual([], self.core.poll_output(0))
        self.core.handle_bytes(wire.frame(wire.ACK, bytes=100), 0)

    def test_what_was_handled_ahead_is_acknowledged_too(self):
        self.core.detach(0)
        self.core.attach(LIFE | 2, 0)
        self.core.greeted(100, [], True, 24)
        for _ in range(3000):
            self.core.handle_bytes(wire.frame(wire.PING, token=1), 0)
        self.assertTrue((wire.ACK, {"bytes": 3002 * 12}) in self.host.poll())

    def test_that_all_are_told_is_said_also_when_nothing_was_left_to_ask(self):
        self.core.detach(0)
        self.core.attach(LIFE | 2, 0)
        self.core.node(u"h:cpython3.9", 0, [])
        self.core.greeted(100, [], False)
        self.assertEqual([wire.NODE, wire.NODE, wire.NODES], self.host.kinds())
        self.assertEqual([], self.core.poll_output(0))

    def test_ping_pong_and_ack(self):
        self.assertEqual([(wire.PONG, {"token": 9})], self.host.say(wire.PING, token=9))
        self.assertEqual([], self.host.say(wire.PONG, token=9))
        for _ in range(3000):
            self.core.handle_bytes(wire.frame(wire.PING, token=1), 0)
        frames = self.host.poll()
        self.assertEqual((wire.ACK, {"bytes": 3002 * 12}), frames[0])
        self.assertTrue(len(frames) < 20)

    def test_much_at_once_is_handled_in_turns_and_nothing_is_left_behind(self):
        many = wire.frame(wire.PING, token=1) * 1000 + wire.frame(wire.PING, token=2)[:5]
        turns = [self.core.handle_bytes(many, 0)]
        while turns[-1]:
            turns.append(self.core.handle_bytes(b"", 0))
        self.assertEqual(1000 // 256 + 1, len(turns))
        self.core.handle_bytes(wire.frame(wire.PING, token=2)[5:], 0)
        self.assertEqual((wire.PONG, {"token": 2}), self.host.poll()[-1])

    def test_frames_that_are_not_for_an_agent_end_the_link(self):
        for kind in (wire.HELLO, wire.NODE, wire.RESUMED, wire.EXIT, wire.FORGET, wire.STARTED):
            layout = wire.KINDS[kind][2].split()
            values = {"16": b"x" * 16, "str": u"", "table": []}
            fields = dict((name, values.get(how, 0)) for name, how in [field.split(":") for field in layout])
            self.assertRaises(RemoteProtocolError, self.core.handle_bytes, wire.frame(kind, **fields), 0)

    def test_an_ack_of_more_than_was_sent_ends_the_link(self):
        self.assertRaises(RemoteProtocolError, self.host.say, wire.ACK, bytes=1 << 30)


class Looking(Test):

    def test_a_look_is_answered_on_the_link_it_came_on(self):
        self.assertEqual([], self.host.say(wire.LOOK))
        self.assertEqual([("look", LIFE | 1)], self.core.actions)
        frame = wire.frame(wire.LOOKED, table=[], rows=[])
        self.core.looked(LIFE | 1, frame)
        self.assertEqual([(wire.LOOKED, {"table": [], "rows": []})], self.host.poll())
        self.assertFalse(self.core.wants_output(self.host.now))
        self.host.say(wire.LOOK)
        self.host.attach(LIFE | 2)
        self.core.looked(LIFE | 1, frame)
        self.assertEqual([], self.host.poll())
        self.core.looked(LIFE | 2, frame)
        self.core.detach(self.host.now)
        self.core.looked(LIFE | 2, frame)
        self.host.attach(LIFE | 3)
        self.assertEqual([], self.host.poll())

    def test_the_kills_of_others_have_their_own_sequence_and_reach_muted_processes(self):
        process = self.host.started()
        self.host.attach(2 << 32 | 1)
        id = b"p" * 16
        frames = self.host.say(wire.KILL, id=id, sequence=2 << 32 | 1, mask=1 << 15 | 1 << 18)
        self.assertEqual([(wire.KILLED, {"id": id, "sequence": 2 << 32 | 1})], frames)
        self.assertEqual([("signal", process, [18, 15])], self.core.actions)
        self.core.actions = []
        # again after a break, and then the client's own first one
        for sequence in (2 << 32 | 1, 1 << 32 | 9):
            frames = self.host.say(wire.KILL, id=id, sequence=sequence, mask=1 << 9)
            self.assertEqual([(wire.KILLED, {"id": id, "sequence": sequence})], frames)
        self.assertEqual([], self.core.actions)
        self.host.resume()
        self.core.actions = []
        self.assertEqual([(wire.SIGNALED, {"id": id, "sequence": 1})],
                         self.host.say(wire.SIGNAL, id=id, sequence=1, mask=1 << 2))
        self.assertEqual([("signal", process, [2])], self.core.actions)
        self.assertEqual([(wire.FORGET, {"id": b"x" * 16})],
                         self.host.say(wire.KILL, id=b"x" * 16, sequence=1, mask=2))


class Spawning(Test):

    def test_spawn_is_answered_and_started_once(self):
        frames = self.host.spawn()
        self.assertEqual([(wire.RESUMED,
                           {"id": b"p" * 16, "attempt": 1, "stdin_received": 0, "stdin_limit": 32768})],
                         frames)
        self.assertEqual(["start"], self.actions())
        self.core.started(self.core.processes[b"p" * 16], 42)
        self.assertEqual([(wire.STARTED, {"id": b"p" * 16, "pid": 42})], self.host.poll())
        frames = self.host.spawn(attempt=2)
        self.assertEqual([wire.RESUMED, wire.STARTED], self.kinds(frames))
        self.assertEqual(2, frames[0][1]["attempt"])
        self.assertEqual(["read", "read"], self.actions())

    def test_an_option_that_was_not_named_ends_the_link(self):
        self.assertRaises(RemoteProtocolError, self.host.spawn, options=[(u"later", b"")])

    def test_a_command_of_the_host_needs_one(self):
        frames = self.host.spawn(node=u"", argv=[])
        self.assertEqual((2, 22, u"no command was given"),
                         [(f["how"], f["value"], f["message"]) for kind, f in frames if kind == wire.EXIT][0])

    def test_a_different_second_spawn_ends_the_link(self):
        self.host.spawn()
        for other in (dict(owner=b"x" * 16), dict(argv=[]), dict(node=u"n2"), dict(stdout_limit=999)):
            self.assertRaises(RemoteProtocolError, self.host.spawn, **other)

    def test_another_incarnation_is_forgotten(self):
        self.assertEqual([(wire.FORGET, {"id": b"p" * 16})], self.host.spawn(incarnation=b"x" * 16))
        self.assertEqual([], self.actions())

    def test_a_forgotten_id_never_runs_again(self):
        self.host.started()
        self.assertEqual([(wire.FORGET, {"id": b"p" * 16})], self.host.say(wire.RELEASE, id=b"p" * 16))
        self.assertEqual(["release"], self.actions())
        self.assertEqual([(wire.FORGET, {"id": b"p" * 16})], self.host.spawn())
        self.assertEqual([], self.actions())

    def test_release_before_spawn_wins(self):
        self.host.say(wire.RELEASE, id=b"q" * 16)
        self.assertEqual([wire.FORGET], self.kinds(self.host.spawn(id=b"q" * 16)))

    def test_unknown_ids_are_answered_forget(self):
        id = b"u" * 16
        for kind, fields in ((wire.FIN, dict(stream=0, length=0)), (wire.STOP, dict(stream=1)),
                             (wire.CREDIT, dict(stream=1, received=0, limit=9)),
                             (wire.SIGNAL, dict(sequence=1, mask=4)),
                             (wire.DATA, dict(stream=0, position=0, data=b"x")), (wire.RELEASE, dict())):
            self.assertEqual([(wire.FORGET, {"id": id})], self.host.say(kind, id=id, **fields))

    def test_what_could_not_start_says_so(self):
        self.host.spawn()
        self.core.not_started(self.core.processes[b"p" * 16], 2, u"cannot execute x")
        frames = self.host.poll()
        self.assertEqual([wire.FIN, wire.FIN, wire.STOP, wire.EXIT], self.kinds(frames))
        self.assertEqual((2, 2, u"cannot execute x"),
                         tuple([frames[-1][1][k] for k in ("how", "value", "message")]))


class Streams(Test):

    def test_output_is_sent_within_credit_and_credit_makes_room(self):
        process = self.host.started()
        self.core.child_output(process, 1, b"x" * 1000)
        self.assertEqual(0, process.outs[1].capacity())
        frames = self.host.poll()
        self.assertEqual([wire.DATA], self.kinds(frames))
        self.host.say(wire.CREDIT, id=process.id, stream=1, received=1000, limit=2000)
        self.assertEqual(["read"], self.actions())
        self.assertEqual(1000, process.outs[1].capacity())

    def test_stdin_is_handed_over_and_credited(self):
        process = self.host.started()
        self.host.say(wire.DATA, id=process.id, stream=0, position=0, data=b"x" * 20000)
        self.assertEqual(["stdin"], self.actions())
        self.assertEqual([], self.host.poll())
        self.core.stdin_taken(process, 20000)
        self.assertEqual([(wire.CREDIT,
                           {"id": process.id, "stream": 0, "received": 20000, "limit": 20000 + 65536})],
                         self.host.poll())
        self.host.say(wire.FIN, id=process.id, stream=0, length=20000)
        self.assertTrue(process.stdin.is_finished())

    def test_only_the_last_credit_is_said(self):
        process = self.host.started()
        for position in (0, 20000, 40000):
            self.core.handle_bytes(wire.frame(wire.DATA, id=process.id, stream=0, position=position,
                                              data=b"x" * 20000), 0)
            self.core.stdin_taken(process, 20000)
        credits = [fields for kind, fields in self.host.poll() if kind == wire.CREDIT]
        self.assertEqual([60000], [fields["received"] for fields in credits])

    def test_stdin_growth_stops_at_half_of_the_pool(self):
        for number in range(100):
            process = self.host.started(id=b"%c" % number * 16 if bytes is not str else chr(number) * 16)
            position = 0
            while process.stdin.window < 2097152:
                before = process.stdin.window
                size = process.stdin.limit - position
                process.stdin.data(position, b"x" * size)
                position += size
                self.core.stdin_taken(process, size)
                if process.stdin.window == before:
                    break
        granted = sum([process.stdin.window for process in self.core.processes.values()])
        self.assertTrue(granted <= 32 * 1048576 + 100 * 32768, granted)
        for id in list(self.core.processes):
            self.host.say(wire.RELEASE, id=id)
        self.assertEqual(0, self.core._grown)

    def test_ends(self):
        process = self.host.started()
        self.core.child_output(process, 2, b"abc")
        self.core.child_output_closed(process, 2)
        frames = self.host.poll()
        self.assertEqual([wire.FIN, wire.DATA], self.kinds(frames))
        self.assertEqual(3, frames[0][1]["length"])
        self.core.stdin_closed(process)
        self.assertEqual([(wire.STOP, {"id": process.id, "stream": 0})], self.host.poll())
        self.core.child_exited(process, 0, 3)
        self.assertEqual([], self.host.poll())
        self.core.child_output_closed(process, 1)
        frames = self.host.poll()
        self.assertEqual([wire.FIN, wire.EXIT], self.kinds(frames))
        self.assertEqual((0, 3, 0, 3), tuple([frames[1][1][k] for k in
                                              ("how", "value", "stdout_length", "stderr_length")]))

    def test_stop_lets_the_exit_go_ahead(self):
        process = self.host.started()
        self.core.child_output(process, 1, b"abc")
        self.core.child_exited(process, 0, 0)
        self.core.child_output_closed(process, 2)
        self.host.poll()
        frames = self.host.say(wire.STOP, id=process.id, stream=1)
        self.assertEqual(["close"], self.actions())
        self.assertEqual([wire.EXIT], self.kinds(frames))

    def test_streams_of_the_wrong_direction_end_the_link(self):
        process = self.host.started()
        for kind, fields in ((wire.FIN, dict(stream=1, length=0)), (wire.STOP, dict(stream=0)),
                             (wire.CREDIT, dict(stream=0, received=0, limit=9)),
                             (wire.CREDIT, dict(stream=3, received=0, limit=9)),
                             (wire.DATA, dict(stream=1, position=0, data=b"x"))):
            self.assertRaises(RemoteProtocolError, self.host.say, kind, id=process.id, **fields)

    def test_processes_take_turns_and_control_comes_first(self):
        big = 1 << 20
        processes = [self.host.started(id=id * 16, stdout_limit=big) for id in (b"a", b"b", b"c")]
        for process in processes:
            for _ in range(4):
                self.core.child_output(process, 1, b"x" * 65536)
        self.core.stdin_closed(processes[2])
        seen = []
        while True:
            frames = self.host.poll()
            if not frames:
                break
            seen += [(kind, fields["id"][:1]) for kind, fields in frames]
        self.assertEqual((wire.STOP, b"c"), seen[0])
        self.assertEqual([b"a", b"b", b"c", b"a"], [id for kind, id in seen[1:5]])

    def test_no_more_than_a_window_is_under_way(self):
        for processes, window in ((1, 1048576), (2, 262144)):
            self.setUp()
            started = [self.host.started(id=id * 16, stdout_limit=2097152) for id in (b"a", b"b")[:processes]]
            for process in started * 32:
                self.core.child_output(process, 1, b"x" * 65536)
            sent = 0
            while True:
                frames = self.host.poll()
                if not frames:
                    break
                sent += sum([len(fields["data"]) for _, fields in frames])
            self.assertTrue(window <= sent <= window + 65536, sent)
        self.assertEqual([wire.PONG], self.kinds(self.host.say(wire.PING, token=1)))
        self.host.now += 0.01
        frames = self.host.say(wire.ACK, bytes=200000)
        self.assertEqual(wire.DATA, frames[0][0])


class Signals(Test):

    def test_a_sequence_is_applied_once_and_acknowledged_each_time(self):
        process = self.host.started()
        for _ in range(2):
            frames = self.host.say(wire.SIGNAL, id=process.id, sequence=1, mask=1 << 2 | 1 << 18 | 1 << 15)
            self.assertEqual([(wire.SIGNALED, {"id": process.id, "sequence": 1})], frames)
        self.assertEqual([("signal", process, [18, 2, 15])], self.core.actions)

    def test_after_the_exit_it_is_only_acknowledged(self):
        process = self.host.started()
        self.core.child_exited(process, 0, 0)
        self.host.poll()
        self.assertEqual([wire.SIGNALED],
                         self.kinds(self.host.say(wire.SIGNAL, id=process.id, sequence=1, mask=4)))
        self.assertEqual([], self.actions())


class Terminals(Test):

    SIZE = [(u"terminal", b"24 80")]

    def size(self, sequence, rows):
        frames = self.host.say(wire.SIZE, id=b"p" * 16, sequence=sequence, rows=rows, columns=80)
        self.assertEqual([], frames)
        actions, self.core.actions = self.core.actions, []
        return [action[2:] for action in actions]

    def test_each_size_is_set_once_and_none_comes_back(self):
        self.host.started(options=self.SIZE)
        self.assertEqual([(30, 80)], self.size(1, 30))
        self.assertEqual([(30, 80)], self.size(2, 30))
        self.assertEqual([], self.size(2, 40))
        self.assertEqual([], self.size(0, 24))
        self.host.attach(LIFE | 2)
        self.assertEqual([], self.size(3, 50))
        self.host.resume()
        self.core.actions = []
        self.assertEqual([(50, 80)], self.size(3, 50))

    def test_what_it_shows_goes_before_bulk_and_behind_a_full_window(self):
        bulk = self.host.started(b"b" * 16, stdout_limit=2000000)
        shown = self.host.started(options=self.SIZE, stdout_limit=2000000)
        for _ in range(20):
            self.core.child_output(bulk, 1, b"x" * 65536)
        self.core.child_output(shown, 1, b"first")
        frames = self.host.poll()
        self.assertEqual((b"p" * 16, b"first"), (frames[0][1]["id"], frames[0][1]["data"]))
        while self.host.poll():
            pass
        under_way = self.core._pace.sent
        self.assertTrue(262144 <= under_way < 262144 + 2 * 65536, under_way)
        self.core.child_output(shown, 1, b"echo")
        self.assertTrue(self.core.wants_output(self.host.now))
        self.assertEqual([b"echo"], [fields["data"] for _, fields in self.host.poll()])
        self.assertFalse(self.core.wants_output(self.host.now))
        # once: then it is the turn of the others
        self.core.child_output(shown, 1, b"more")
        self.assertFalse(self.core.wants_output(self.host.now))
        frames = self.host.say(wire.ACK, bytes=100000)
        self.assertEqual(b"more", frames[0][1]["data"])
        self.assertEqual([bulk.id], [fields["id"] for _, fields in frames[1:2]])
        self.assertTrue(self.core._pace.has_terminal)
        self.host.say(wire.RELEASE, id=shown.id)
        self.assertFalse(self.core._pace.has_terminal)


class Resuming(Test):

    def test_a_process_is_muted_until_its_resume(self):
        process = self.host.started()
        self.core.child_output(process, 1, b"abc")
        self.core.stdin_closed(process)
        self.host.poll()
        self.host.attach(LIFE | 2)
        self.core.child_output(process, 1, b"def")
        self.assertEqual([], self.host.poll())
        self.assertEqual([], self.host.say(wire.SIGNAL, id=process.id, sequence=1, mask=4))
        self.assertEqual([], self.host.say(wire.DATA, id=process.id, stream=0, position=9,
                                           data=b"dropped unseen"))
        frames = self.host.resume(attempt=2, out=1)
        self.assertEqual([wire.RESUMED, wire.STARTED, wire.STOP, wire.DATA, wire.DATA][:4],
                         self.kinds(frames)[:4])
        data = [fields for kind, fields in frames if kind == wire.DATA]
        self.assertEqual((1, b"bcdef"), (data[0]["position"], b"".join([fields["data"] for fields in data])))

    def test_everything_that_holds_is_said_again(self):
        process = self.host.started()
        self.host.say(wire.SIGNAL, id=process.id, sequence=4, mask=4)
        self.core.child_exited(process, 1, 15)
        self.core.child_output_closed(process, 1)
        self.core.child_output_closed(process, 2)
        self.host.poll()
        for attempt in (2, 3):
            self.host.attach(LIFE | attempt)
            self.assertEqual([wire.RESUMED, wire.STARTED, wire.FIN, wire.FIN, wire.STOP, wire.SIGNALED,
                              wire.EXIT],
                             self.kinds(self.host.resume(attempt=attempt)))

    def test_release_counts_while_muted(self):
        process = self.host.started()
        self.host.attach(LIFE | 2)
        self.assertEqual([wire.FORGET], self.kinds(self.host.say(wire.RELEASE, id=process.id)))

    def test_a_resume_below_what_was_acknowledged_ends_the_link(self):
        process = self.host.started()
        self.core.child_output(process, 1, b"abc")
        self.host.poll()
        self.host.say(wire.CREDIT, id=process.id, stream=1, received=3, limit=100)
        self.host.attach(LIFE | 2)
        self.assertRaises(RemoteProtocolError, self.host.resume, out=2)

    def test_a_newer_life_ends_tunnels_and_hangs_up_what_nobody_claims(self):
        tunnel = self.host.started(id=b"t" * 16, role=1, node=u"", argv=[b"ssh"])
        claimed, left = self.host.started(id=b"a" * 16), self.host.started(id=b"b" * 16)
        self.host.attach(2 << 32 | 1)
        self.assertEqual([("release", tunnel)], self.core.actions)
        self.core.actions = []
        self.host.resume(id=claimed.id)
        self.core.actions = []
        self.host.now += 20
        self.core.tick(self.host.now)
        self.core.detach(self.host.now)  # the following time does not count as link time
        self.host.now += 100
        self.core.tick(self.host.now)
        self.host.attach(2 << 32 | 2)
        self.host.resume(id=claimed.id)
        self.core.actions = []
        self.host.now += 9
        self.core.tick(self.host.now)
        self.assertEqual([], self.core.actions)
        self.assertEqual(self.core.deadline(), self.host.now + 1)
        self.host.now += 1
        self.core.tick(self.host.now)
        self.assertEqual([("release", left)], self.core.actions)
        self.assertEqual([(wire.FORGET, {"id": left.id})], self.host.poll())
        self.assertTrue(claimed.id in self.core.processes)

    def test_the_same_life_ends_nothing(self):
        self.host.started(id=b"t" * 16, role=1, node=u"", argv=[b"ssh"])
        self.host.attach(LIFE | 2)
        self.host.now += 500
        self.core.tick(self.host.now)
        self.assertEqual([], self.core.actions)


class Ending(Test):

    def test_linger_counts_from_the_last_byte(self):
        self.host.started()
        self.host.now += 300
        self.host.say(wire.PING, token=1)
        self.assertEqual(self.host.now + 600, self.core.deadline())
        self.host.now += 599
        self.core.tick(self.host.now)
        self.assertEqual([], self.actions())
        self.host.now += 1
        self.core.tick(self.host.now)
        self.assertEqual(["release", "end"], self.actions())

    def test_end_hangs_up_everything_once(self):
        self.host.started()
        self.host.say(wire.END)
        self.host.say(wire.END)
        self.assertEqual(["release", "end"], self.actions())
        self.assertEqual([wire.FORGET], self.kinds(self.host.spawn(id=b"z" * 16)))


class Window(unittest.TestCase):

    def run_link(self, rate, trip, seconds):
        """Simulate a busy link of this rate and round trip. Return the window at the end."""
        link, now, queue, free = pace.Pace(), 0.0, [], 0.0
        while now < seconds:
            while link.room(now) > 0:
                link.turn(len(queue) % 2, now)
                link.sent_more(65565, now)
                free = max(free, now) + 65565.0 / rate
                queue.append((free + trip, link.sent))
            now, total = queue.pop(0)
            link.acknowledged(total, now)
        return link.window

    def test_it_follows_the_path(self):
        self.assertEqual(262144, self.run_link(300e6, 0.0001, 2))
        far = self.run_link(100e6, 0.01, 5)
        self.assertTrue(1500000 < far < 3000000, far)
        self.assertEqual(4194304, self.run_link(1e9, 0.1, 10))

    def test_only_those_who_come_back_share_a_link(self):
        link = pace.Pace()
        for second in range(100):  # bulk data, and the PONGs of ten idle links
            link.turn(b"bulk", second)
            link.turn(second % 10, second + 0.5)
            self.assertEqual(pace.ALONE, link.room(second))
        for second in (200, 202):
            link.turn(b"bulk", second)
            link.turn(b"other", second)
        self.assertEqual(pace.MIN_WINDOW, link.room(203))
        self.assertEqual(pace.ALONE, link.room(213))
