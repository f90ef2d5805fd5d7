"""Values as bytes without marshal's limits: with escapes (channels, lone surrogates), and 2,000 levels deep.

The same bytes as marshal's, version 2, for values that marshal cannot handle: it knows no channels, and in
some interpreters it stops before 2,000 levels. Slow, and without recursion.
"""
import struct
from marshal import dumps as marshal_dumps
from marshal import loads as marshal_loads

from .errors import DumpError, LoadError
from .interpreter import TWO
from .values import ALLOWED, CONTAINERS, NESTING

OPENING = {list: b"[", tuple: b"(", set: b"<", frozenset: b">"}
MAKE = {b"[": list, b"(": tuple, b"<": set, b">": frozenset}
WIDTH = {b"i": 4, b"I": 8, b"g": 8, b"y": 16, b"N": 0, b"T": 0, b"F": 0, b".": 0, b"r": 4}
NOTED = b"\xf5"  # text that a reference may name later: u with marshal's flag
ESCAPE = b"(\x03\0\0\0.i\0\0\0\0"  # a channel's number follows
_i32 = struct.Struct("<i")
_END = object()


def dumps(value, channel_type):
    """Return (whether there are escapes, the bytes)."""
    out = []
    stack = [(iter((value,)), b"")]
    escaped = False
    allowed = ALLOWED | set([channel_type])
    while stack:
        items, closing = stack[-1]
        item = next(items, _END)
        if item is _END:
            out.append(closing)
            stack.pop()
            continue
        kind = type(item)
        if kind not in allowed:
            raise complaint(value, allowed)
        if kind in CONTAINERS:
            if len(stack) > NESTING:
                raise too_deep()
            if kind is dict:
                out.append(b"{")
                stack.append((_pairs(item), b"0"))
            else:
                out.append(OPENING[kind] + _i32.pack(len(item)))
                stack.append((iter(item), b""))
        elif kind is channel_type:
            escaped = True
            out.append(ESCAPE + b"i" + struct.pack("<I", item.id))
        else:
            out.append(marshal_dumps(item, 2))
    return escaped, b"".join(out)


def _pairs(table):
    for key, value in table.items():
        yield key
        yield value


def loads(data, channel):
    """Return the value. `channel` returns the channel of a number; None if escapes are not allowed."""
    at = 0
    stack = []  # [code, number of missing items, items]
    noted = []  # keys that a reference may name
    while True:
        code = data[at:at + 1]
        at += 1
        if code in MAKE:
            count, = _i32.unpack(data[at:at + 4])
            at += 4
            if not 0 <= count <= len(data):
                raise LoadError("a container of %d" % count)
            stack.append([code, count, []])
            if len(stack) > NESTING:
                raise LoadError("nested more than %d deep" % NESTING)
        elif code == b"{":
            stack.append([code, -1, []])
        elif code == b"0" and stack and stack[-1][0] == b"{":
            stack[-1][1] = 0
        else:
            if code in (b"s", b"u", b"t", NOTED):
                size = 4 + _i32.unpack(data[at:at + 4])[0]
            elif code == b"l":
                size = 4 + 2 * abs(_i32.unpack(data[at:at + 4])[0])
            else:
                size = WIDTH.get(code, -1)
            if code == b"." and not (stack and stack[-1][0] == b"(" and not stack[-1][2]):
                size = -1  # only escapes begin with it
            if size < 0 or at + size > len(data):
                raise LoadError("no value at byte %d" % (at - 1))
            if code == b".":
                value = Ellipsis
            elif code == b"r":
                number, = struct.unpack("<I", data[at:at + 4])
                if number >= len(noted):
                    raise LoadError("a reference to no key")
                value = noted[number]
            else:
                value = marshal_loads(data[at - 1:at + size])
                if code == NOTED:
                    noted.append(value)
            at += size
            if not stack:
                return value
            stack[-1][2].append(value)
            stack[-1][1] -= 1
        while not stack[-1][1]:
            code, _, items = stack.pop()
            if code == b"{":
                if len(items) % 2:
                    raise LoadError("a key without its value")
                value = dict(zip(items[::2], items[1::2]))
            else:
                value = MAKE[code](items)
                if code == b"(" and items and items[0] is Ellipsis:
                    value = _escape(value, channel)
            if not stack:
                return value
            stack[-1][2].append(value)
            stack[-1][1] -= 1


def _escape(value, channel):
    if channel is not None and len(value) == 3:
        if value[1] == 0:
            return channel(value[2] & 0xffffffff)
        if value[1] == 1:
            return _text(value[2])
    raise LoadError("an escape that means nothing: %r" % (value[1:],))


def _text(data):
    if not TWO:
        return data.decode("utf-16-be", "surrogatepass")
    out = []
    units = struct.unpack(">%dH" % (len(data) // 2), data)
    for at, unit in enumerate(units):
        if 0xdc00 <= unit < 0xe000 and out and at and 0xd800 <= units[at - 1] < 0xdc00:
            out[-1] = data[2 * at - 2:2 * at + 2].decode("utf-16-be")
            continue
        try:
            out.append(unichr(unit))  # noqa: F821
        except ValueError:
            if not (at + 1 < len(units) and 0xdc00 <= units[at + 1] < 0xe000):
                raise LoadError("this interpreter has no text with a lone surrogate")
            out.append(u"")
    return u"".join(out)


def complaint(value, allowed):
    """Return a DumpError about the first part whose type cannot be sent."""
    stack = [("", value)]
    while stack:
        place, item = stack.pop()
        kind = type(item)
        if kind not in allowed:
            name = kind.__name__
            return DumpError("cannot send %s %s%s" % ("an" if name[:1] in "aeiouAEIOU" else "a", name,
                                                     place and ", at " + place))
        if kind is dict:
            inner = [(place + ".keys()", key) for key in item]
            inner += [("%s[%s]" % (place, _short(key)), part) for key, part in item.items()]
        elif kind in (list, tuple):
            inner = [("%s[%d]" % (place, at), part) for at, part in enumerate(item)]
        elif kind in CONTAINERS:
            inner = [(place + "{}", part) for part in item]
        else:
            continue
        stack.extend(reversed(inner))
    return too_deep()


def too_deep():
    return DumpError("cannot send a value that is nested more than %d deep" % NESTING)


def _short(key):
    text = repr(key)
    if text[:2] in ("u'", 'u"'):
        text = text[1:]
    return text if len(text) < 60 else text[:56] + "..."
