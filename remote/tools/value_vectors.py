"""Writes protocol/vectors/values.json: `python3 remote/tools/value_vectors.py PYTHON2.7`. Runs on CPython 3
only.

Dialect 3 is what marshal of this interpreter writes, dialect 2 that of the given CPython 2.7.
"""
import json
import marshal
import os
import subprocess
import sys

sys.dont_write_bytecode = True
REMOTE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, REMOTE)

from kernel import codec  # noqa: E402

BOTH = [
    ("none", "None"), ("true", "True"), ("false", "False"),
    ("zero", "0"), ("minus one", "-1"), ("largest 32-bit int", "2147483647"),
    ("smallest 32-bit int", "-2147483648"),
    ("int beyond 32 bits", "2147483648"), ("int below 32 bits", "-2147483649"),
    ("largest 64-bit int", "9223372036854775807"),
    ("smallest 64-bit int", "-9223372036854775808"), ("int beyond 64 bits", "18446744073709551616"),
    ("negative int of 15-bit digits", "-(1 << 75)"), ("long int", "10 ** 50"),
    ("float", "1.5"), ("negative zero", "-0.0"), ("infinity", "inf"), ("minus infinity", "-inf"),
    ("not a number", "nan"),
    ("smallest float", "5e-324"), ("complex", "complex(1.5, -2.5)"),
    ("no text", "u''"), ("text", "u'text'"), ("latin-1 text", "u'\\xe4\\xf6\\xfc'"),
    ("text beyond the BMP", "u'\\U0001f40d'"),
    ("a zero in text", "u'a\\x00b'"),
    ("no bytes", "b''"), ("bytes", "b'\\x00\\xff'"),
    ("no list", "[]"), ("list", "[1, u'a', None]"), ("no tuple", "()"), ("tuple", "(1, (2,))"),
    ("no dict", "{}"),
    ("dict", "{u'k': [1.5]}"), ("dict with a tuple as key", "{(1, u'x'): None}"), ("no set", "set()"),
    ("set", "set([1])"),
    ("frozenset", "frozenset([u'a'])"), ("set of a frozenset", "set([frozenset()])"),
    ("all together", "[{u'a': (1, [2.0, set([3]), {4: frozenset([5])}])}, True, 1j]"),
]
ONLY_3 = [("lone high surrogate", "u'a\\ud800'"), ("lone low surrogate", "u'\\udfff'")]
# `str` of Python 2: text as bytes, read as latin-1 text unless py2str_as_py3str is false
ONLY_2 = [("str", "b'a b'"), ("interned str", "['abc']"),
          ("interned str again", "['abc', 'x y', 'abc', 'abc']"),
          ("interned str as keys", "[{'key': 1}, {'key': 2}]"),
          ("two interned strs", "['one', 'two', 'two', 'one']")]
ESCAPED = [("channel", "channel(5)"), ("channels in a value", "{u'pair': [channel(1), (channel(2),)]}"),
           ("channel with the largest number", "[channel(4294967295)]")]

REFUSED = [
    ("nothing", "", "no value"),
    ("unknown code", "7a", ""), ("null", "30", "the end of a dict, alone"),
    ("code object", "63000000000000000000000000", "`c` is never a value"),
    ("ellipsis", "2e", "outside of an escape"),
    ("stop iteration", "53", ""), ("text float", "6603312e35", "version 0 of marshal"),
    ("text complex", "7801310131", ""),
    ("reference flag", "e900000000", "version 3 of marshal"), ("reference", "7200000000", "version 3"),
    ("short ascii", "7a0161", "version 4"), ("small tuple", "290169" + "01000000", "version 4"),
    ("int cut short", "69010000", ""), ("float cut short", "67000000", ""),
    ("complex cut short", "79" + "00" * 15, ""),
    ("long int without digits", "6c02000000", ""), ("bytes cut short", "730400000061", ""),
    ("text cut short", "750400000061", ""),
    ("negative length of bytes", "73ffffffff", ""), ("negative length of text", "75ffffffff", ""),
    ("negative count", "5bffffffff", ""),
    ("forged count of a list", "5bffffff7f", "no such memory may be taken"),
    ("forged count of a tuple", "28ffffff7f4e", ""), ("forged count of a set", "3cffffff7f4e", ""),
    ("forged length of text", "75ffffff7f61", ""), ("list cut short", "5b020000004e", ""),
    ("dict without its end", "7b4e4e", ""),
    ("dict with a key alone", "7b4e30", ""), ("list as a key", "7b5b000000004e30", "unhashable"),
    ("dict in a set", "3c010000007b30", "unhashable"),
    ("escape in a frame without", "28030000002e69000000006901000000", ""),
    ("nested too deeply", "5b01000000" * 2001 + "4e", "2,001 levels"),
]
NOT_BY_THE_KERNEL = [
    ("text that is no UTF-8", "7501000000ff", ""), ("text cut within a character", "7502000000e282", ""),
    ("two values", "4e4e", "bytes behind the value"),
    ("digit of a long int that is too large", "6c01000000ffff", "15 bits each"),
    ("long int with a leading zero digit", "6c0200000001000000", "not normal"),
    ("interned str that was not there", "5200000000", "dialect 2"),
]


def main(python2):
    space = {"nan": float("nan"), "inf": float("inf"), "channel": Channel}
    values = []
    for name, text in BOTH + ONLY_3:
        values.append(entry(name, 3, text, marshal.dumps(eval(text, space), 2)))
    for name, text in BOTH + ONLY_2:
        program = "import marshal, binascii\ninf, nan = float('inf'), float('nan')\n"
        program += "print(binascii.hexlify(marshal.dumps(%s, 2)))" % text
        data = bytes.fromhex(subprocess.check_output([python2, "-c", program]).decode("ascii"))
        values.append(entry(name, 2, text, data))
        if "interned" in name or data[:1] in b"tI" or text == "nan":  # depends on the interpreter
            values[-1]["written"] = False
    for dialect in (3, 2):
        for name, text in ESCAPED:
            values.append(entry(name, dialect, text, codec.dumps(eval(text, space), Channel)[1],
                                escaped=True))
    lone = marshal.dumps([(..., 1, "a\ud800b\U0001f40d".encode("utf-16-be", "surrogatepass"))], 2)
    values.append(entry("lone surrogate by escape", 3, "[u'a\\ud800b\\U0001f40d']", lone, escaped=True,
                        written=False))
    for dialect in (3, 2):
        pair = marshal.dumps((..., 1, "\U0001f40d".encode("utf-16-be")), 2)
        values.append(entry("text by escape", dialect, "u'\\U0001f40d'", pair, escaped=True, written=False))
    refused = [{"name": name, "hex": data, "why": why} for name, data, why in REFUSED]
    refused += [{"name": name, "hex": data, "why": why, "kernel": False} for name, data,
                why in NOT_BY_THE_KERNEL]
    path = os.path.join(os.path.dirname(REMOTE), "protocol", "vectors", "values.json")
    with open(path, "w") as file:
        file.write('{"values": [\n%s\n],\n"refused": [\n%s\n]}\n' % tuple(
            [",\n".join(["  " + json.dumps(item) for item in items]) for items in (values, refused)]))


def entry(name, dialect, text, data, **more):
    return dict({"name": name, "dialect": dialect, "value": text, "hex": data.hex()}, **more)


class Channel(object):
    def __init__(self, id):
        self.id = id


if __name__ == "__main__":
    main(sys.argv[1])
