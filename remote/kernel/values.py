"""Values as bytes: marshal, version 2, and a check of the types, one level of nesting after the other.

marshal alone accepts more than we do: objects with a buffer, code, Ellipsis (docs/kernel.md, section 3).
"""
import sys
from itertools import chain
from marshal import dumps as marshal_dumps
from marshal import loads as marshal_loads

from .errors import DumpError
from .interpreter import ANY, JYTHON, TWO, map

MOST = 1073741823
NESTING = 2000

ATOMS = set([type(None), bool, int, float, complex, bytes, type(u"")])
if TWO:
    ATOMS.add(long)  # noqa: F821
    ATOMS.add(type(sys.platform))  # a kind of str on Jython
SEQUENCES = (list, tuple, set, frozenset)
CONTAINERS = set(SEQUENCES + (dict,))
ALLOWED = ATOMS | CONTAINERS


def dumps(value, channel_type=None):
    """Return (whether it has escapes, the bytes)."""
    escaped, data = False, None
    try:
        data = marshal_dumps(value, 2)
    except ANY:
        # a channel, a type that cannot be sent, or nested too deep for this interpreter's marshal
        _not_by_marshal()
    if data is None:
        # outside the handler, so that marshal's error is not shown
        from . import codec
        escaped, data = codec.dumps(value, channel_type)
    elif type(value) not in ATOMS and not allowed(value, data):
        from . import codec
        raise codec.complaint(value, ALLOWED)
    if len(data) > MOST:
        raise DumpError("cannot send a value of %d bytes, at most %d" % (len(data), MOST))
    return escaped, data


def loads(data):
    """Return the value of bytes without escapes."""
    try:
        return marshal_loads(data)
    except ANY:
        _not_by_marshal()
    from . import codec
    return codec.loads(data, None)


def _not_by_marshal():
    """Raise the current exception again if a signal handler raised it: it has frames of its own then."""
    kind, _, trace = sys.exc_info()
    if trace.tb_next is not None and not JYTHON or kind is MemoryError:
        raise


def allowed(value, data):
    """Whether all types in a value can be sent; `data`: the value as marshal wrote it."""
    if type(value) is list or type(value) is tuple:
        # equal types of numbers have their code at equal distances
        size, count = len(data) - 5, len(value)
        if size == 5 * count and data[5::5].count(b"i") == count:
            return True
        if size == 9 * count and data[5::9].count(b"g") == count:
            return True
    level, types = (value,), set((type(value),))
    for _ in range(NESTING + 1):
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
    return False


def _inside(parts):
    """Return the items of all these containers."""
    below = []
    for those, dicts in parts:
        below.append(chain.from_iterable(those))
        if dicts:
            below.append(chain.from_iterable(map(dict.values, those)))
    return chain.from_iterable(below)
