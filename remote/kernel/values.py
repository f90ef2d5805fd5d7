"""Values as bytes: marshal, version 2, and a look at the types of one level of nesting after the other.

marshal alone would take more than we do: whatever has a buffer, code, Ellipsis. docs/kernel.md, section 3.
"""
import sys
from itertools import chain
from marshal import dumps as marshal_dumps
from marshal import loads as marshal_loads

MOST = 1073741823
NESTING = 2000

ATOMS = set([type(None), bool, int, float, complex, bytes, type(u"")])
if sys.version_info[0] == 2:
    from itertools import imap as map
    ATOMS.add(long)  # noqa: F821
SEQUENCES = (list, tuple, set, frozenset)
CONTAINERS = set(SEQUENCES + (dict,))
ALLOWED = ATOMS | CONTAINERS


class DataFormatError(Exception):
    """A value that cannot travel."""


class DumpError(DataFormatError):
    """A value that cannot be sent."""


class LoadError(DataFormatError):
    """Bytes that are no value, or not one of this interpreter."""


def dumps(value, channel_type=None):
    """(whether it has escapes, the bytes)."""
    try:
        data = marshal_dumps(value, 2)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except Exception:
        # a channel, something that nobody can send, or too deep for this interpreter's marshal
        from . import codec
        escaped, data = codec.dumps(value, channel_type)
    else:
        escaped = False
        if type(value) not in ATOMS and not allowed(value, data):
            from . import codec
            raise codec.complaint(value, ALLOWED)
    if len(data) > MOST:
        raise DumpError("cannot send a value of %d bytes, at most %d" % (len(data), MOST))
    return escaped, data


def loads(data):
    """The value of bytes without escapes."""
    try:
        return marshal_loads(data)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except Exception:
        from . import codec
        return codec.loads(data, None)


def allowed(value, data):
    """Whether all types in there are ours; `data` is what marshal made of it."""
    count = len(value)
    if type(value) is list or type(value) is tuple:
        # alike numbers: each has its type's code in the same place
        width = len(data) - 5
        if count > 64:
            if width == 5 * count:
                if data[5::5].count(b"i") == count:
                    return True
            elif width == 9 * count and data[5::9].count(b"g") == count:
                return True
    level, types = (value,), set((type(value),))
    while True:
        if not types <= ALLOWED:
            return False
        inner = types & CONTAINERS
        if not inner:
            return True
        parts = []
        for kind in inner:
            those = level if len(types) == 1 else [item for item in level if type(item) is kind]
            parts.append((those, kind is dict))
        types = set(map(type, _inside(parts)))
        if types & CONTAINERS:
            level = list(_inside(parts))


def _inside(parts):
    """What is in all these containers."""
    below = []
    for those, dicts in parts:
        below.append(chain.from_iterable(those))
        if dicts:
            below.append(chain.from_iterable(map(dict.values, those)))
    return chain.from_iterable(below)
