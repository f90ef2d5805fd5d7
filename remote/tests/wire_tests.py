"""Frames: layouts, limits, the parser, and the golden vectors that Rust reads too."""
import json
import os
import struct
import unittest
from binascii import hexlify, unhexlify

from agent import wire

ID = b"\x11" * 16
VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "protocol", "vectors")
CLIENT_KINDS = {
    0x30: ("CLIENT", 4096, "client:16 release:str table:table"),
    0x31: ("DAEMON", 4096, "life:I pid:I release:str network:str table:table"),
    0x32: ("SELECT", 65536, "id:16 table:table"),
    0x33: ("PLACED", 65536, "id:16 incarnation:16 host:str node:str table:table"),
    0x34: ("REFUSED", 65536, "id:16 reason:B message:str"),
    0x35: ("CLAIM", 512, "id:16 incarnation:16 host:str"),
    0x36: ("REACHABLE", 16, "id:16"),
    0x37: ("UNREACHABLE", 1024, "id:16 message:str"),
    0x38: ("LOST", 8192, "id:16 message:str"),
    0x3a: ("REQUEST", 1048576, "request:I json:rest"),
    0x3b: ("REPLY", 16777215, "request:I last:B json:rest"),
}
SAMPLES = {"16": ID, "Q": 1 << 40, "I": 7, "H": 3, "B": 1, "str": u"n\xf6de", "list": [b"a", b"", b"\xff"],
           "table": [(u"k", b"v"), (u"k", b"")], "rest": b"data", "stream": 2, "role": 4}


def sample(kind):
    fields = [field.split(":") for field in wire.KINDS[kind][2].split()]
    return dict((name, SAMPLES[how]) for name, how in fields)


class Frames(unittest.TestCase):

    def test_every_kind_survives_encoding_and_decoding(self):
        for kind in wire.KINDS:
            fields = sample(kind)
            frames = wire.Parser().feed(wire.frame(kind, **fields))
            self.assertEqual(1, len(frames))
            self.assertEqual(kind, frames[0][0])
            self.assertEqual(fields, wire.decode(*frames[0]))

    def test_a_cut_or_padded_body_is_refused(self):
        for kind in wire.KINDS:
            body = wire.frame(kind, **sample(kind))[4:]
            for cut in range(len(body)):
                if kind == wire.DATA and cut > 25:
                    continue  # DATA takes what is there
                self.assertRaises(wire.RemoteProtocolError, wire.decode, kind, body[:cut])
            if kind != wire.DATA:
                self.assertRaises(wire.RemoteProtocolError, wire.decode, kind, body + b"x")

    def test_the_parser_does_not_care_how_bytes_arrive(self):
        stream = b"".join([wire.frame(kind, **sample(kind)) for kind in sorted(wire.KINDS)])
        whole = wire.Parser().feed(stream)
        for step in (1, 2, 3, 5, 7, 64):
            parser, found = wire.Parser(), []
            for at in range(0, len(stream), step):
                found += parser.feed(stream[at:at + step])
            self.assertEqual(whole, found)
            self.assertEqual(len(stream), parser.parsed)

    def test_only_whole_frames_count_as_parsed(self):
        parser = wire.Parser()
        frame = wire.frame(wire.PING, token=1)
        parser.feed(frame + frame[:-1])
        self.assertEqual(len(frame), parser.parsed)

    def test_a_length_is_refused_before_its_bytes_arrive(self):
        for kind, (_, limit, _) in wire.KINDS.items():
            self.assertRaises(wire.RemoteProtocolError, wire.Parser().feed,
                              struct.pack(">I", kind << 24 | limit + 1))
        self.assertRaises(wire.RemoteProtocolError, wire.Parser().feed, b"\x7f\0\0\0")

    def test_data_has_its_short_cut(self):
        frame = wire.data_header(ID, 1, 5, 3) + b"abc"
        self.assertEqual(frame, wire.frame(wire.DATA, id=ID, stream=1, position=5, data=b"abc"))
        self.assertEqual((ID, 1, 5, b"abc"), wire.decode_data(frame[4:]))
        self.assertRaises(wire.RemoteProtocolError, wire.decode_data, frame[4:29])

    def test_text_must_be_utf8(self):
        body = wire.frame(wire.NODE, name="x", state=0, table=[])[4:].replace(b"x", b"\xff")
        self.assertRaises(wire.RemoteProtocolError, wire.decode, wire.NODE, body)


class Vectors(unittest.TestCase):

    def test_golden_frames(self):
        vectors = load("frames.json")
        for vector in vectors:
            kind, raw = NUMBERS[vector["kind"]], unhexlify(vector["hex"])
            (parsed, body), = wire.Parser().feed(raw)
            self.assertEqual(kind, parsed, vector["name"])
            fields = dict((name, self._value(how, vector["fields"][name])) for name,
                          how in self._layout(kind))
            self.assertEqual(len(vector["fields"]), len(fields), vector["name"])
            self.assertEqual(fields, wire.decode(kind, body), vector["name"])
            self.assertEqual(hexlify(raw), hexlify(wire.frame(kind, **fields)), vector["name"])
        self.assertEqual(set(NUMBERS), set([vector["kind"] for vector in vectors]))

    def test_bad_frames_are_refused(self):
        for vector in load("bad.json"):
            if "agent" in vector["to"]:
                try:
                    for kind, body in wire.Parser(self.before).feed(unhexlify(vector["hex"])):
                        wire.decode(kind, body)
                except wire.RemoteProtocolError:
                    continue
                self.fail("%s: %s" % (vector["name"], vector["why"]))

    def setUp(self):
        self.before = dict(wire.KINDS)
        wire.KINDS.update(CLIENT_KINDS)

    def tearDown(self):
        wire.KINDS.clear()
        wire.KINDS.update(self.before)

    def _layout(self, kind):
        return [field.split(":") for field in wire.KINDS[kind][2].split()]

    def _value(self, how, value):
        if how in ("16", "rest"):
            return unhexlify(value)
        if how == "list":
            return [unhexlify(item) for item in value]
        if how == "table":
            return [(key, unhexlify(item)) for key, item in value]
        return value


NUMBERS = dict((entry[0], kind) for kinds in (wire.KINDS, CLIENT_KINDS) for kind, entry in kinds.items())


def load(name):
    with open(os.path.join(VECTORS, name)) as file:
        return json.load(file)
