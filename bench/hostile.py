#!/usr/bin/env python3
"""A host that greets like an agent and then floods: `cmd=python3 bench/hostile.py KIND NAME//id=NAME`.

Serves the row `flood` of bench/run.py, and tests of what such a host can do. KIND is one of KINDS.
"""

import os
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "remote"))
from agent.wire import MARKER  # noqa: E402

STRANGER = b"\xee" * 16


def frame(kind, body=b""):
    return struct.pack(">I", kind << 24 | len(body)) + body


def text(value):
    return struct.pack(">H", len(value)) + value


def node(name, state=0):
    return frame(0x11, text(name) + struct.pack(">BH", state, 0))


def take(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            sys.exit("the daemon hung up")
        data += part
    return data


def bootstrap():
    """The config that follows stage 1 and the bundle, as a dict."""
    while take(1) != b"\n":
        pass
    take(int(take(8)))
    config, at, pairs = take(int(take(8))), 2, {}
    for _ in range(struct.unpack(">H", config[:2])[0]):
        size = struct.unpack(">H", config[at : at + 2])[0]
        key, at = config[at + 2 : at + 2 + size], at + 2 + size
        size = struct.unpack(">I", config[at : at + 4])[0]
        pairs[key], at = config[at + 4 : at + 4 + size], at + 4 + size
    return pairs


def greet(name, epoch):
    hello = os.urandom(16) + struct.pack(">QBIH", epoch, 0, os.getpid(), 0)
    say(1, MARKER + frame(0x10, hello) + node(name) + frame(0x13, b"\0\1"))


def say(fd, data):
    data = memoryview(data)
    while data:
        data = data[os.write(fd, data) :]


def repeat_forever(data, fd=1):
    many = data * (262144 // len(data) + 1)
    try:
        while True:
            say(fd, many)
    except OSError:
        sys.exit(1)


# the bytes that each kind repeats forever
KINDS = {
    "ping": lambda name: frame(0x01, bytes(8)),
    "pong": lambda name: frame(0x02, bytes(8)),
    "ack": lambda name: frame(0x03, bytes(8)),
    "node": lambda name: node(name, 2) + node(name, 0),
    "foreign": lambda name: node(b"somebody-else"),
    "forget": lambda name: frame(0x2C, STRANGER),
    "data": lambda name: frame(0x24, STRANGER + struct.pack(">BQ", 1, 0) + b"x"),
    "noise": lambda name: b"Welcome to this host!\r\n",
    "stderr": lambda name: b"a warning of this host\r\n",
    "end": lambda name: b"",
}


def main(kind, name):
    name = name.encode()
    config = bootstrap()
    said = KINDS[kind](name)
    if kind != "noise":
        greet(name, int(config[b"epoch"]))
    if said:
        repeat_forever(said, 2 if kind == "stderr" else 1)


if __name__ == "__main__":
    main(*sys.argv[1:3])
