"""Frames as bytes: kinds, limits, and the layout of every body (docs/protocol.md, section 2).

Encodes and decodes, and nothing else: no positions, no processes, no IO. Malformed bytes raise
RemoteProtocolError; no length is trusted before it was checked.
"""
import struct

VERSION = 2
MARKER = b"\0execnet:link\0" + struct.pack(">H", VERSION)

PING, PONG, ACK = 0x01, 0x02, 0x03
HELLO, NODE, END, NODES, LOOK, LOOKED = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
KEPT, KEEPS, END_ALL = 0x16, 0x17, 0x18
SPAWN, RESUME, RESUMED, STARTED = 0x20, 0x21, 0x22, 0x23
DATA, CREDIT, FIN, STOP = 0x24, 0x25, 0x26, 0x27
SIGNAL, SIGNALED, EXIT, RELEASE, FORGET, SIZE = 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d
KILL, KILLED = 0x2e, 0x2f
TAKE, TAKEN, LEAVE, LEFT, SKIP = 0x40, 0x41, 0x42, 0x43, 0x44

STDIN, STDOUT, STDERR = 0, 1, 2
MAX_DATA = 65536
HEAD = 29  # bytes of a DATA frame before its data
SHORT = 16384  # bytes that may take the short way
MOST = (1 << 64) - 1

# kind: (name, limit of the body, fields). A field is NAME:TYPE: 16 is that many bytes, one letter is
# struct's.
KINDS = {
    PING: ("PING", 8, "token:Q"),
    PONG: ("PONG", 8, "token:Q"),
    ACK: ("ACK", 8, "bytes:Q"),
    HELLO: ("HELLO", 65536, "incarnation:16 epoch:Q resume:B pid:I table:table"),
    NODE: ("NODE", 65536, "name:str state:B table:table"),
    END: ("END", 0, ""),
    NODES: ("NODES", 2, "count:H"),
    LOOK: ("LOOK", 0, ""),
    LOOKED: ("LOOKED", 524288, "table:table rows:list"),
    SPAWN: ("SPAWN", 1048576, "id:16 attempt:I incarnation:16 owner:16 role:role"
            " stdout_limit:Q stderr_limit:Q host:str node:str chdir:str argv:list env:table options:table"),
    RESUME: ("RESUME", 256, "id:16 attempt:I stdout_received:Q stdout_limit:Q"
             " stderr_received:Q stderr_limit:Q"),
    RESUMED: ("RESUMED", 256, "id:16 attempt:I stdin_received:Q stdin_limit:Q"),
    STARTED: ("STARTED", 20, "id:16 pid:I"),
    DATA: ("DATA", 65561, "id:16 stream:stream position:Q data:rest"),
    CREDIT: ("CREDIT", 33, "id:16 stream:stream received:Q limit:Q"),
    FIN: ("FIN", 25, "id:16 stream:stream length:Q"),
    STOP: ("STOP", 17, "id:16 stream:stream"),
    SIGNAL: ("SIGNAL", 28, "id:16 sequence:I mask:Q"),
    SIGNALED: ("SIGNALED", 20, "id:16 sequence:I"),
    EXIT: ("EXIT", 8192, "id:16 how:B value:I stdout_length:Q stderr_length:Q message:str"),
    RELEASE: ("RELEASE", 16, "id:16"),
    FORGET: ("FORGET", 16, "id:16"),
    SIZE: ("SIZE", 24, "id:16 sequence:I rows:H columns:H"),
    KILL: ("KILL", 32, "id:16 sequence:Q mask:Q"),
    KILLED: ("KILLED", 24, "id:16 sequence:Q"),
    KEPT: ("KEPT", 65536, "id:16 table:table"),
    KEEPS: ("KEEPS", 2, "count:H"),
    END_ALL: ("END_ALL", 0, ""),
    TAKE: ("TAKE", 1024, "id:16 attempt:I incarnation:16 owner:16 tenure:I pid:I program:str host:str"),
    TAKEN: ("TAKEN", 256, "id:16 attempt:I tenure:I last:I signals:I sizes:I rows:H columns:H ends:B"
            " stdin:Q stdout_start:Q stdout_end:Q stderr_start:Q stderr_end:Q"),
    LEAVE: ("LEAVE", 33, "id:16 owner:16 end:B"),
    LEFT: ("LEFT", 1024, "id:16 owner:16 pid:I program:str"),
    SKIP: ("SKIP", 25, "id:16 stream:stream position:Q"),
}

_header = struct.Struct(">I")
_u8 = struct.Struct(">B")
_u16 = struct.Struct(">H")
_u32 = struct.Struct(">I")
_data = struct.Struct(">I16sBQ")
_data_body = struct.Struct(">16sBQ")
_layouts = {}
_SMALL = {"stream": STDERR, "role": 4}  # bytes with a maximum


class RemoteProtocolError(Exception):
    """The other end violated the protocol: the link must end."""


def frame(kind, **fields):
    """Return a whole frame of this kind."""
    parts = []
    for name, how in _layout(kind):
        parts.append(_pack(how, fields[name]))
    body = b"".join(parts)
    return _header.pack(kind << 24 | len(body)) + body


unpack_data_header = _data.unpack_from


def data_header(id, stream, position, size):
    """Return the header of a DATA frame with `size` bytes of data."""
    return _data.pack(DATA << 24 | size + 25, id, stream, position)


def decode(kind, body):
    """Return the fields of a body as a dict."""
    fields, at = {}, 0
    for name, how in _layout(kind):
        fields[name], at = _unpack(how, body, at)
    if at != len(body):
        raise RemoteProtocolError("%s with %d bytes too many" % (KINDS[kind][0], len(body) - at))
    if kind == CREDIT:
        _check_credit(fields["received"], fields["limit"])
    elif kind == RESUME:
        _check_credit(fields["stdout_received"], fields["stdout_limit"])
        _check_credit(fields["stderr_received"], fields["stderr_limit"])
    elif kind == DATA:
        decode_data(body)
    elif kind == LEAVE and fields["end"] > 1:
        raise RemoteProtocolError("LEAVE with an end of %d" % fields["end"])
    return fields


def decode_data(body):
    """Return id, stream, position and bytes of a DATA body."""
    if len(body) < 26:
        raise RemoteProtocolError("DATA without data")
    id, stream, position = _data_body.unpack(body[:25])
    if stream > STDERR or position + len(body) - 25 > MOST:
        raise RemoteProtocolError("DATA for stream %d at %d" % (stream, position))
    return id, stream, position, body[25:]


def text(value):
    """Return bytes as text for a str field; text is returned unchanged."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def utf8(value):
    """Return text as bytes for the operating system; bytes are returned unchanged."""
    return value if isinstance(value, bytes) else value.encode("utf-8")


def decode_table(data):
    """Return a table outside a frame (the config) as a list of (key, bytes)."""
    table, at = _unpack("table", data, 0)
    if at != len(data):
        raise RemoteProtocolError("a table with %d bytes too many" % (len(data) - at))
    return table


def encode_table(pairs):
    return _pack("table", pairs)


class Parser(object):
    """Splits a byte stream into (kind, body). `parsed` counts the bytes of whole frames."""

    def __init__(self, kinds=KINDS):
        self.kinds = kinds
        self.parsed = 0
        self._parts = []
        self._have = 0
        self._need = 4

    def pending(self):
        """Return how many bytes wait for the rest of their frame."""
        return self._have

    def feed(self, data, most=MOST):
        """Return the frames that are complete, at most `most`; the rest comes with the next call."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        data = data if len(self._parts) == 1 else b"".join(self._parts)
        frames, at, end, kinds = [], 0, len(data), self.kinds
        need = 4
        while end - at >= 4 and len(frames) < most:
            head, = _header.unpack(data[at:at + 4])
            kind, size = head >> 24, head & 0xffffff
            known = kinds.get(kind)
            if known is None:
                raise RemoteProtocolError("unknown frame kind 0x%02x" % kind)
            if size > known[1]:
                raise RemoteProtocolError("%s of %d bytes, at most %d" % (known[0], size, known[1]))
            need = size + 4
            if end - at < need:
                break
            frames.append((kind, data[at + 4:at + need]))
            at += need
            need = 4
        self.parsed += at
        rest = data[at:] if at else data
        self._parts = [rest] if rest else []
        self._have = end - at
        self._need = need
        return frames


def _check_credit(received, limit):
    if limit < received:
        raise RemoteProtocolError("a limit of %d below %d received" % (limit, received))


def _layout(kind):
    layout = _layouts.get(kind)
    if layout is None:
        layout = _layouts[kind] = [tuple(field.split(":")) for field in KINDS[kind][2].split()]
    return layout


def _pack(how, value):
    if how == "str":
        value = utf8(value)
        return _u16.pack(len(value)) + value
    if how == "blob":
        return _u32.pack(len(value)) + value
    if how == "list":
        return _u16.pack(len(value)) + b"".join([_pack("blob", item) for item in value])
    if how == "table":
        items = [_pack("str", key) + _pack("blob", item) for key, item in value]
        return _u16.pack(len(value)) + b"".join(items)
    if how == "rest":
        return value
    if how == "16":
        if len(value) != 16:
            raise ValueError("an id of %d bytes" % len(value))
        return value
    return struct.pack(">" + ("B" if how in _SMALL else how), value)


def _unpack(how, body, at):
    if how == "str":
        raw, at = _sized(_u16, body, at)
        try:
            return raw.decode("utf-8"), at
        except UnicodeDecodeError:
            raise RemoteProtocolError("text that is not UTF-8")
    if how == "blob":
        return _sized(_u32, body, at)
    if how in ("list", "table"):
        count, at = _number(_u16, body, at)
        items = []
        for _ in range(count):
            if how == "table":
                key, at = _unpack("str", body, at)
                item, at = _sized(_u32, body, at)
                items.append((key, item))
            else:
                item, at = _sized(_u32, body, at)
                items.append(item)
        return items, at
    if how == "rest":
        return body[at:], len(body)
    if how in _SMALL:
        value, at = _number(_u8, body, at)
        if value > _SMALL[how]:
            raise RemoteProtocolError("%s %d" % (how, value))
        return value, at
    if how == "16":
        if len(body) < at + 16:
            raise RemoteProtocolError("a frame that ends too early")
        return body[at:at + 16], at + 16
    return _number(struct.Struct(">" + how), body, at)


def _number(form, body, at):
    end = at + form.size
    if end > len(body):
        raise RemoteProtocolError("a frame that ends too early")
    return form.unpack(body[at:end])[0], end


def _sized(form, body, at):
    size, at = _number(form, body, at)
    if at + size > len(body):
        raise RemoteProtocolError("a frame that ends too early")
    return body[at:at + size], at + size
