"""`dumps` and `loads`: execnet's serialization format, version 2.

The format is a program for a stack machine: a version byte, then opcodes of one letter. Scalars are pushed.
A tuple or set takes its items from the stack; a list or dict is pushed empty, and filled by pushing key and
value of each item. Numbers are big-endian, lengths have four bytes.
"""
import struct
import sys

from ._errors import DumpError, EndOfData, LoadError

VERSION = b"\x02"
NESTING = 2000
TWO = sys.version_info[0] == 2
TEXT = type(u"")
_LONG = type(2**64)  # Python 2 has two kinds
_i32, _f64 = struct.Struct(">i"), struct.Struct(">d")


def dumps(obj):
    """Return the bytes of an object; DumpError if it cannot be sent."""
    out = [VERSION]
    _put(obj, out)
    out.append(b"Q")
    return b"".join(out)


def _put(obj, out):
    """Write an object, without recursion."""
    # for each open container the steps that are left, what is written behind it, and its place in the one
    # around it; a step: what is written before an item, the item, what is written behind it, its place
    stack = [(iter([(b"", obj, b"", None)]), b"", None)]
    while stack:
        steps, closing, _ = stack[-1]
        step = next(steps, None)
        if step is None:
            out.append(closing)
            stack.pop()
            continue
        before, item, behind, place = step
        out.append(before)
        kind = type(item)
        if kind in _CONTAINERS:
            if len(stack) > NESTING:
                raise DumpError("cannot send a value that is nested more than %d deep" % NESTING)
            code, steps = _CONTAINERS[kind]
            if kind is list:
                out.append(code + _length(item))
            elif kind is dict:
                out.append(code)
            else:
                behind = code + _length(item) + behind
            stack.append((steps(item), behind, place))
            continue
        try:
            out.append(_scalar(item, kind))
        except DumpError:
            words = "%s" % sys.exc_info()[1]
        else:
            out.append(behind)
            continue
        where = "".join([form % (key,) for form, key in [each[2] for each in stack if each[2]] + [place]
                         ]) if place else ""
        raise DumpError(words + (", at " + where if where else ""))


def _of_list(items):
    for at, item in enumerate(items):
        yield b"F" + _i32.pack(at), item, b"P", ("[%d]", at)


def _of_dict(items):
    for key, value in items.items():
        yield b"", key, b"", (".keys()%s", "")
        yield b"", value, b"P", ("[%r]", key)


def _of_tuple(items):
    for at, item in enumerate(items):
        yield b"", item, b"", ("[%d]", at)


def _of_set(items):
    for item in items:
        yield b"", item, b"", ("{}%s", "")


_CONTAINERS = {list: (b"K", _of_list), dict: (b"J", _of_dict), tuple: (b"@", _of_tuple), set: (b"O", _of_set),
               frozenset: (b"E", _of_set)}


def _scalar(value, kind):
    if value is None:
        return b"L"
    if kind is bool:
        return b"R" if value else b"C"
    if kind is int or kind is _LONG:
        if -2**31 <= value < 2**31:
            return (b"F" if kind is int else b"G") + _i32.pack(value)
        try:
            return (b"H" if kind is int else b"I") + _sized(("%d" % value).encode("ascii"))
        except ValueError:
            raise DumpError("cannot dump an int as large as this: %s" % sys.exc_info()[1])
    if kind is float:
        return b"D" + _f64.pack(value)
    if kind is complex:
        return b"T" + _f64.pack(value.real) + _f64.pack(value.imag)
    if kind is TEXT:
        try:
            data = value.encode("utf-8")
        except UnicodeError:
            raise DumpError("cannot dump text with lone surrogates")
        return (b"S" if TWO else b"N") + _sized(data)
    if kind is bytes or TWO and isinstance(value, type(sys.platform)):
        return (b"M" if TWO else b"A") + _sized(value)
    name = kind.__name__
    raise DumpError("cannot send %s %s" % ("an" if name[:1] in "aeiouAEIOU" else "a", name))


def _sized(data):
    return _length(data) + data


def _length(sized):
    if len(sized) >= 2**31:
        raise DumpError("cannot dump more than 2 GiB")
    return _i32.pack(len(sized))


def loads(bytestring, py2str_as_py3str=False, py3str_as_py2str=False):
    """Return the object that `dumps` wrote.

    With `py2str_as_py3str` a `str` of Python 2 becomes text, otherwise bytes. With `py3str_as_py2str` a `str`
    of Python 3 becomes bytes, otherwise text.
    """
    data = bytes(bytestring) if isinstance(bytestring, (bytes, bytearray)) else bytestring.tobytes()
    at = [0]

    def read(size):
        at[0] += size
        return data[at[0] - size:at[0]]

    return load(read, py2str_as_py3str, py3str_as_py2str)


def load(read, py2str_as_py3str, py3str_as_py2str):
    """Return the object whose bytes `read(size)` returns."""

    def take(size):
        if size < 0:
            raise LoadError("a negative length")
        data = b""
        while len(data) < size:
            part = read(size - len(data))
            if not isinstance(part, bytes):
                raise TypeError("a file must be read as bytes, not %s" % type(part).__name__)
            if not part:
                raise EndOfData("the data ends too early")
            data += part
        return data

    def length():
        return _i32.unpack(take(4))[0]

    def text():
        try:
            return take(length()).decode("utf-8")
        except UnicodeError:
            raise LoadError("text that is not UTF-8")

    try:
        version = take(1)
    except EndOfData:
        version = b""
    if version != VERSION:
        raise LoadError("wrong dumpformat version %s" % (ord(version) if version else "b''"))
    stack = []  # pairs of an object and how deep it is nested
    while True:
        code = take(1)
        depth = 0
        if code == b"Q":
            if len(stack) != 1:
                raise LoadError("the data is not one object")
            return stack[0][0]
        if code in b"LRC":
            value = {b"L": None, b"R": True, b"C": False}[code]
        elif code in b"FG":
            value = length() if code == b"F" else _LONG(length())
        elif code in b"HI":
            value = _number(take(length()))
        elif code == b"D":
            value = _f64.unpack(take(8))[0]
        elif code == b"T":
            value = complex(_f64.unpack(take(8))[0], _f64.unpack(take(8))[0])
        elif code == b"A" or code == b"N" and py3str_as_py2str or code == b"M" and not py2str_as_py3str:
            value = take(length())
        elif code in b"NS":
            value = text()
        elif code == b"M":
            value = take(length()).decode("latin-1")
        elif code in b"KJ":
            if code == b"K" and length() < 0:
                raise LoadError("a negative length")
            value, depth = ([] if code == b"K" else {}), 1
        elif code == b"P":
            _place(stack)
            continue
        elif code in b"@OE":
            count = length()
            if not 0 <= count <= len(stack):
                raise LoadError("fewer items than announced")
            depth = _deeper(stack[len(stack) - count:])
            parts = [part for part, _ in stack[len(stack) - count:]]
            del stack[len(stack) - count:]
            try:
                value = {b"@": tuple, b"O": set, b"E": frozenset}[code](parts)
            except TypeError:
                raise LoadError("%s" % sys.exc_info()[1])
        elif code == b"B":
            raise LoadError("a channel, which belongs to a gateway")
        else:
            raise LoadError("unknown opcode 0x%02x" % ord(code))
        stack.append((value, depth))


def _place(stack):
    """Put key and value into the list or dict below them."""
    if len(stack) < 3:
        raise LoadError("an item for nothing")
    (into, depth), (key, _), (value, _) = stack[-3:]
    depth = max(depth, _deeper(stack[-2:]))
    del stack[-3:]
    if type(into) is list:
        if type(key) is not int or key != len(into):
            raise LoadError("a list whose items are not in order")
        into.append(value)
    elif type(into) is dict:
        try:
            into[key] = value
        except TypeError:
            raise LoadError("%s" % sys.exc_info()[1])
    else:
        raise LoadError("an item for something that has none")
    stack.append((into, depth))


def _deeper(pairs):
    depth = 1 + max([depth for _, depth in pairs] or [0])
    if depth > NESTING:
        raise LoadError("nested more than %d deep" % NESTING)
    return depth


def _number(digits):
    text = digits[1:] if digits[:1] == b"-" else digits
    if not text.isdigit():
        raise LoadError("an integer that is not a number")
    try:
        return int(digits)
    except ValueError:
        raise LoadError("%s" % sys.exc_info()[1])
