"""The conversations of protocol/vectors, held with the core. The model of the protocol's simulation gives the
same answers."""
import json
import os
import unittest
from binascii import hexlify, unhexlify

from agent import wire
from agent.core import Core
from agent.wire import RemoteProtocolError

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "protocol", "vectors")


def unhex(text):
    return unhexlify(text.encode("ascii"))


def identify(process):
    return hexlify(process.id).decode("ascii")


class Talk(object):
    """A core, and the steps of a transcript."""

    def __init__(self, agent):
        table = [(key, unhex(value)) for key, value in agent["table"]]
        self.now = 0.0
        self.core = Core(unhex(agent["incarnation"]), table, self.now, float(agent["linger"]),
                         agent["resume"], agent["pid"], lambda: lambda: self.now)
        self.keeps = agent.get("keeps", False)
        for name in agent["nodes"]:
            self.core.node(name, 0, [])
        self.core.nodes_known(True)
        self.processes = {}

    def step(self, what, value):
        return getattr(self, "on_" + what)(value)

    def process(self, value):
        return self.processes[value["id"]]

    def on_attach(self, epoch):
        self.core.attach(epoch, self.now, self.keeps)

    def on_detach(self, _):
        self.core.detach(self.now)

    def on_wait(self, seconds):
        for _ in range(seconds):
            self.now += 1
            if self.now >= self.core.deadline():
                self.core.tick(self.now)

    def on_in(self, data):
        self.core.handle_bytes(unhex(data), self.now)
        self.remember()

    def on_bad(self, data):
        try:
            self.core.handle_bytes(unhex(data), self.now)
        except RemoteProtocolError:
            return
        raise AssertionError("this did not end the link")

    def on_out(self, frames):
        out = []
        while True:
            parts = self.core.poll_output(self.now)
            if not parts:
                break
            out.extend([bytes(part) for part in parts])
        found = b"".join(out)
        if found.startswith(wire.MARKER):
            found = found[len(wire.MARKER):]
        expected = said(b"".join([unhex(frame) for frame in frames]))
        return expected, said(found)

    def on_actions(self, expected):
        self.remember()
        found = []
        for action in self.core.actions:
            if action[0] not in ("stdin", "read", "disk"):
                found.append([action[0]] + [identify(process) for process in action[1:2]]
                             + (list(action[2:]) if action[0] != "start" else []))
        del self.core.actions[:]
        return [action for action in expected if action[0] not in ("stdin", "read")], found

    def remember(self):
        for process in self.core.processes.values():
            self.processes[identify(process)] = process

    def on_child_started(self, value):
        self.core.started(self.process(value), value["pid"])

    def on_child_not_started(self, value):
        self.core.not_started(self.process(value), value["errno"], value["message"])

    def on_child_output(self, value):
        self.core.child_output(self.process(value), value["stream"], unhex(value["data"]))

    def on_child_output_closed(self, value):
        self.core.child_output_closed(self.process(value), value["stream"])

    def on_child_exited(self, value):
        self.core.child_exited(self.process(value), value["how"], value["value"])

    def on_child_closes_stdin(self, value):
        self.core.stdin_closed(self.process(value))

    def on_child_takes(self, value):
        process = self.process(value)
        found = b"".join([bytes(chunk) for chunk in process.stdin.chunks])
        self.core.stdin_taken(process, len(found))
        return unhex(value["data"]), found

    def on_room(self, value):
        return value["bytes"], self.process(value).outs[value["stream"]].capacity()


def said(data):
    """Return what frames say in the end: control in any order, DATA joined, RESUMED first for each
    process."""
    control, streams, seen = [], {}, set()
    for kind, body in wire.Parser().feed(data) if data else []:
        fields = wire.decode(kind, body)
        id = fields.get("id")
        if kind == wire.RESUMED:
            assert id not in seen, "RESUMED is not the first of its process"
            assert fields.pop("stdin_limit") - fields["stdin_received"] <= 2097152
        if kind not in (wire.KEPT, wire.LEFT, wire.TAKEN):
            seen.add(id)
        if kind == wire.DATA:
            stream = streams.setdefault((id, fields["stream"]), [fields["position"], b""])
            assert stream[0] + len(stream[1]) == fields["position"]
            stream[1] += fields["data"]
        elif kind not in (wire.CREDIT, wire.ACK):
            control.append((kind, sorted(fields.items())))
    return sorted(control), streams


class Transcripts(unittest.TestCase):
    def test_every_transcript(self):
        self.hold("transcripts.json")

    def test_every_transcript_of_kept_work(self):
        self.hold("kept.json")

    def hold(self, name):
        with open(os.path.join(VECTORS, name)) as file:
            document = json.load(file)
        self.assertTrue(document["transcripts"])
        for transcript in document["transcripts"]:
            talk = Talk(document["agent"])
            for index, step in enumerate(transcript["steps"]):
                (what, value), = step.items()
                place = "%s, step %d: %s" % (transcript["name"], index, what)
                try:
                    compared = talk.step(what, value)
                except Exception as error:
                    raise AssertionError("%s: %r" % (place, error))
                if compared is not None:
                    self.assertEqual(compared[0], compared[1], place)
