"""End to end: the real kernel under every interpreter found, over pipes, driven by a stand-in client.

`kernel_tests.py [-v] [INTERPRETER…] [-k TEST]` under CPython 3.9 or later, of pyenv and PATH; with
EXECNET_CI=1 all.
"""
import marshal
import os
import sys
import textwrap
import threading
import time

sys.dont_write_bytecode = True
from kernel_case import Shared
from kernel_channels import Channels, Credit
from kernel_ends import Ends, Start
from kernel_errors import Errors
from kernel_folder import Folder
from kernel_imports import Imports
from kernel_output import Output
from kernel_posix import Posix
from kernel_starts import Starts

from case import main, suite
from kernel_client import CLOSE, DATA, STATUS, Number, wire

sys.setrecursionlimit(20000)
threading.stack_size(64 << 20)

VALUES = [
    None, True, False, 0, 1, -1, 2**31 - 1, -2**31, 2**31, 2**63 - 1, -2**63, 2**64, -2**200, 10**400,
    0.0, -0.0, 1.5, float("inf"), float("-inf"), 1j, complex(1.5, -2.5),
    "", "text", "äöü", "€", "\U0001f40d", "a\0b", "x" * 70000,
    b"", b"bytes", bytes(range(256)), b"\xff" * 70000,
    [], [1, "a", None], (), (1,), ((),), {}, {"a": 1, 2: "b", (1, "x"): None}, set(), {1, 2, 3}, {"a"},
    frozenset([1, 2]),
    [[[]], ({},), {"k": [{"x": (1, {2})}]}], list(range(1000)), {frozenset([1]): {(1, 2): [3]}}, [1.5] * 100,
    [1] * 100, [True] * 100,
]


def nest(depth, value=1):
    for _ in range(depth):
        value = [value]
    return value


class Values(Shared):

    def echo(self):
        number = self.k.execute("for item in channel: channel.send(item)")
        self.addCleanup(self.k.close, number)
        return number

    def test_values_of_every_kind_come_back_equal_and_of_the_same_type(self):
        number = self.echo()
        for value in VALUES:
            self.k.send(number, value)
            back = self.k.receive(number)
            self.assertEqual(repr(self.dialect(value)),
                             repr(back)) if not isinstance(value, (dict, set, frozenset)) else None
            self.assertEqual((type(self.dialect(value)), self.dialect(value)), (type(back), back))
        self.k.send(number, float("nan"))
        back = self.k.receive(number)
        self.assertTrue(back != back)

    def test_they_are_what_python_calls_them_there(self):
        number = self.k.execute("""
            for item in channel:
                channel.send(type(item).__name__)
        """.replace("\n            ", "\n"))
        two = self.hello["dialect"] == 2
        for value, name in ((None, "NoneType"), (True, "bool"), (1, "int"), (1.5, "float"), (1j, "complex"),
                            ("x", "unicode" if two else "str"),
                            (b"x", "str" if two else "bytes"), ([], "list"), ((), "tuple"), ({}, "dict"),
                            (set(), "set"),
                            (frozenset(), "frozenset"), (2**80, "long" if two else "int")):
            self.k.send(number, value)
            self.assertEqual(name, self.k.receive(number))
        self.k.close(number)

    def test_lone_surrogates(self):
        number = self.k.execute("channel.send([len(channel.receive()), channel.receive()])")
        if self.jython:
            self.k.frame(wire.ESCAPED, number, marshal.dumps((..., 1, b"\xd8\0"), 2))
            error = self.k.end(number)
            self.assertIn("lone surrogate", error or "")
            self.k.close(number)
            return
        self.k.send(number, "a\ud800b")
        self.k.frame(wire.ESCAPED, number,
                     marshal.dumps([(..., 1, "\udfffx\U00010000\ud800".encode("utf-16-be", "surrogatepass"))],
                                   2))
        self.assertEqual([3, ["\udfffx\U00010000\ud800"]], self.k.receive(number))

    def test_pairs_of_surrogates_in_an_escape_are_one_character(self):
        number = self.echo()
        self.k.frame(wire.ESCAPED, number, marshal.dumps((..., 1, "a\U0001f40db".encode("utf-16-be")), 2))
        self.assertEqual("a\U0001f40db", self.k.receive(number))

    def test_two_thousand_levels_go_both_ways(self):
        number = self.echo()
        for depth in (100, 1000, 1900, 2000):
            data = b"[\1\0\0\0" * depth + b"i\7\0\0\0"
            self.k.frame(DATA, number, data)
            self.assertEqual(nest(depth, 7), self.k.receive(number))

    def test_deeper_is_refused(self):
        error = self.fail_with(self.k, "v = 1\nfor i in range(2001): v = [v]\nchannel.send(v)")
        self.assertIn("DumpError: cannot send a value that is nested more than 2000 deep", error)
        self.assertIn("DumpError", self.fail_with(self.k, "v = []\nv.append(v)\nchannel.send(v)"))

    def test_what_cannot_be_sent_says_what_and_where(self):
        for source, words in (
                ("bytearray(b'x')", "cannot send a bytearray"),
                ("[1, 2, {'key': bytearray(b'x')}]", "cannot send a bytearray, at [2]['key']"),
                ("[1, 2, ({'key': memoryview(b'x')},)]", "cannot send a memoryview"),
                ("Ellipsis", "ellipsis"),
                ("[Ellipsis]", "ellipsis"),
                ("(Ellipsis, 0, 1)", "ellipsis"),
                ("[1, StopIteration]", "cannot send a type, at [1]"),
                ("{(1, object()): 1}", "cannot send an object, at .keys()[1]"),
                ("set([object()])", "cannot send an object, at {}"),
                ("[compile('1', 'x', 'exec')]", "cannot send a code" if not self.jython else "code, at [0]"),
                ("type('Sub', (int,), {})(5)", "cannot send a Sub"),
                ("[0] * 99 + [type('Sub', (float,), {})(5)]", "cannot send a Sub, at [99]"),
                ("[1] * 99 + [bytearray(0)]", "cannot send a bytearray, at [99]"),
                ("[bytearray(0)] + [1] * 99", "cannot send a bytearray, at [0]"),
                ("[[{}], [type('Sub', (str,), {})('x')]]", "cannot send a Sub, at [1][0]"),
                ("[{'a': 1}, {'a': type('Sub', (dict,), {})()}]", "cannot send a Sub, at [1]['a']")):
            error = self.fail_with(self.k, "channel.send(%s)" % source)
            self.assertIn("DumpError: ", error, source)
            self.assertIn(words, error, source)
            self.assertEqual(1, error.count("Traceback"), error)

    def test_a_refused_value_leaves_the_channel_as_it_was(self):
        self.assertEqual([1, 2], self.k.run("channel.send(1)\ntry: channel.send([object()])\n"
                                            "except Exception: channel.send(2)"))

    def test_channels_travel_inside_values(self):
        number = self.k.execute(textwrap.dedent("""
            a, b = channel.receive()["pair"]
            assert a.receive() == "early"
            b.send("by b")
            own = channel.gateway.newchannel()
            channel.send([own, (a, channel)])
            own.send("by own")
            channel.send(own.receive() is channel)
        """))
        a, b = self.k.new(), self.k.new()
        self.k.frame(DATA, a, marshal.dumps("early", 2))
        self.k.frame(wire.ESCAPED, number, marshal.dumps({"pair": ((..., 0, a), (..., 0, b))}, 2))
        self.assertEqual("by b", self.k.receive(b))
        own, pair = self.k.receive(number)
        self.assertIsInstance(own, Number)
        self.assertEqual(0, own % 2)
        self.assertEqual((a, number), pair)
        self.assertEqual("by own", self.k.receive(own))
        self.k.frame(wire.ESCAPED, own, marshal.dumps((..., 0, number), 2))
        self.assertEqual(True, self.k.receive(number))
        self.assertIsNone(self.k.end(number))

    def test_a_channel_that_was_closed_before_it_was_taken_still_has_its_items(self):
        number = self.k.execute("import time\nfor i in range(200):\n  if channel._state.items: break\n"
                                "  time.sleep(0.01)\n"
                                "time.sleep(0.1)\nc = channel.receive()\nchannel.send(list(c))")
        inner = self.k.new()
        self.k.frame(wire.ESCAPED, number, marshal.dumps([(..., 0, inner)], 2)[5:])
        for item in (1, 2):
            self.k.send(inner, item)
        self.k.close(inner)
        self.assertIsNone(self.k.end(inner))
        self.assertEqual([1, 2], self.k.receive(number))


class Executing(Shared):

    def test_hello_says_who_it_is(self):
        hello = self.hello
        self.assertEqual({"version", "pid", "executable", "version_info", "platform", "implementation", "cwd",
                          "dialect", "maxsize"}, set(hello))
        self.assertEqual(1, hello["version"])
        if not self.jython:
            self.assertEqual(self.k.process.pid, hello["pid"])
        self.assertEqual(os.getcwd(), hello["cwd"])
        self.assertEqual(hello["version_info"][0], hello["dialect"])
        self.assertIn(hello["implementation"], ("cpython", "pypy", "jython"))
        self.assertEqual(self.jython, hello["implementation"] == "jython")

    def test_a_source_runs_with_its_channel_and_name(self):
        self.assertEqual(["__channelexec__", "gw5", True],
                         self.k.run("channel.send(__name__); channel.send(channel.gateway.id); "
                                    "channel.send('__file__' not in globals())"))

    def test_a_function_gets_its_channel_and_arguments(self):
        self.assertEqual([[1, "ä"]], self.k.run("def f(channel, a, b):\n    channel.send([a, b])\n",
                                                kind="function", name="f",
                                               kwargs={"a": 1, "b": "ä"}))

    def test_a_module_knows_its_file_and_may_declare_an_encoding(self):
        source = "# -*- coding: latin-1 -*-\n# ä\nchannel.send((__file__, u'ä', __name__))\n"
        self.assertEqual([("/x/mod.py", "ä", "__channelexec__")],
                         self.k.run(source, kind="module", filename="/x/mod.py"))

    def test_argv_is_that_of_the_code(self):
        self.assertEqual([["prog", "a b"], ["prog", "a b"]],
                         self.k.run("import sys; channel.send(sys.argv); channel.send(list(sys.argv))",
                                    argv=["prog", "a b"]))
        self.assertEqual([["-c"]],
                         self.k.run("import sys; channel.send(sys.argv[:1])")) if not self.jython else None

    def test_names_of_the_platform_can_be_sent(self):
        platform, (name, other) = self.k.run("import os, sys; channel.send(sys.platform); "
                                             "channel.send([sys.platform, os.name])")
        self.assertEqual((self.hello["platform"], str), (platform, type(platform)))
        self.assertEqual((platform, str), (name, type(other)))

    def test_stdin_is_what_comes_on_a_channel(self):
        source = ("import sys\nchannel.send(sys.stdin.readline())\n"
                  "channel.send([line for line in sys.stdin])\nchannel.send(sys.stdin.read())")
        stdin = self.k.new()
        number = self.k.execute(source, stdin=stdin)
        self.k.send(stdin, "ä\nb".encode())
        self.assertEqual(self.dialect("ä\n".encode()) if self.hello["dialect"] == 2 else "ä\n",
                         self.k.receive(number))
        self.k.send(stdin, b"")
        self.k.send(stdin, b"c\n" + b"x" * 70000)
        self.k.close(stdin)
        self.assertEqual(["bc\n", "x" * 70000], self.k.receive(number))
        self.assertEqual("", self.k.receive(number))
        self.k.end(number)

    def test_stdin_that_ends_at_once_is_empty_and_that_of_others_is_left_alone(self):
        stdin = self.k.new()
        number = self.k.execute("import sys; channel.send((sys.stdin.read(), sys.stdin.isatty()))",
                                stdin=stdin)
        self.k.close(stdin)
        self.assertEqual(("", False), self.k.receive(number))
        self.k.end(number)
        self.assertEqual([""], self.k.run("import sys; channel.send(sys.stdin.read())"))

    def test_stdin_that_is_not_read_is_closed_with_its_code(self):
        stdin = self.k.new()
        number = self.k.execute("channel.receive()", stdin=stdin)
        self.k.send(stdin, b"x" * 10)
        self.k.send(number, None)
        self.assertEqual(None, self.k.get(CLOSE, stdin))
        self.k.close(stdin)
        self.k.end(number)

    def test_an_error_comes_as_a_traceback_of_the_users_frames_only(self):
        error = self.fail_with(self.k, "import os\n\ndef inner():\n    raise ValueError('bäd')\n\ninner()\n",
                               filename="/x/prog.py")
        lines = [line for line in error.splitlines() if set(line.strip()) - set("~^")]
        self.assertEqual(["Traceback (most recent call last):",
                          '  File "/x/prog.py", line 6, in <module>', "    inner()",
                          '  File "/x/prog.py", line 4, in inner', "    raise ValueError('bäd')"], lines[:5])
        self.assertIn("ValueError: b", lines[5])
        self.assertNotIn("execnet_kernel", error.replace("execnet_kernel.errors.DumpError", ""))

    def test_functions_keep_their_line_numbers(self):
        error = self.fail_with(self.k, "\n" * 41 + "def f(channel):\n    1 // 0\n", kind="function", name="f",
                               filename="lib.py", kwargs={})
        self.assertIn('File "lib.py", line 43, in f', error)
        self.assertIn("1 // 0", error)

    def test_two_sources_without_a_name_show_their_own_lines(self):
        self.assertIn("first()", self.fail_with(self.k, "first()"))
        self.assertIn("second()", self.fail_with(self.k, "second()"))

    def test_an_error_shows_its_own_lines_whatever_else_begins_meanwhile(self):
        code = """
import linecache
class Begins(Exception):
    others = [(1, None, ["another's line\\n"] * 20, "<remote exec>")]
    def __str__(self):
        if self.others:
            linecache.cache["<remote exec>"] = self.others.pop()
        return "begun"
try:
    raise ValueError("first")
except ValueError:
    raise Begins()
"""
        error = self.fail_with(self.k, code)
        self.assertIn("raise Begins()", error)
        self.assertNotIn("another's", error)

    def test_a_string_that_code_evaluates_is_shown_without_lines_of_another(self):
        for code in ("eval('1 // 0')", "exec('def f():\\n  1 // 0\\nf()')"):
            lines = self.fail_with(self.k, code).splitlines()
            at = max(at for at, line in enumerate(lines) if 'File "<string>"' in line)
            self.assertTrue(lines[at + 1].startswith("ZeroDivisionError"), lines)
        self.assertEqual([[]], self.k.run("import linecache\nchannel.send(linecache.getlines('<string>'))"))

    def test_a_syntax_error_is_reported_with_its_line(self):
        error = self.fail_with(self.k, "x = 1\ny = = 2\n", filename="/x/wrong.py")
        self.assertEqual(["Traceback (most recent call last):", '  File "/x/wrong.py", line 2'],
                         error.splitlines()[:2])
        self.assertIn("SyntaxError", error)
        self.assertNotIn("execnet_kernel", error)

    def test_errors_of_channels_show_only_user_code(self):
        error = self.fail_with(self.k, "channel.receive(timeout=0.01)")
        self.assertEqual("Traceback (most recent call last):", error.splitlines()[0])
        self.assertIn("TimeoutError", error)
        self.assertNotIn('File "<execnet_kernel', error)

    def test_system_exit_ends_only_the_execution(self):
        for code in ("raise SystemExit", "import sys\nsys.exit(0)", "import sys\nsys.exit(3)"):
            self.assertIn("SystemExit", self.fail_with(self.k, code))
        for code in ("raise SystemExit", "import sys\nsys.exit(0)"):  # a program
            self.assertEqual([1], self.k.run("channel.send(1)\n" + code, argv=["prog"]))
        self.assertIn("SystemExit: 3", self.fail_with(self.k, "import sys\nsys.exit(3)", argv=["prog"]))
        self.assertEqual([2], self.k.run("channel.send(2)"))

    def test_the_first_runs_in_the_main_thread_and_others_beside_it(self):
        source = ("import threading\nchannel.send(type(threading.current_thread()).__name__)\n"
                  "channel.receive()")
        while self.status()["numexecuting"]:
            pass  # a channel that the client closed is closed before its code has ended
        first = self.k.execute(source)
        self.assertEqual("_MainThread", self.k.receive(first))
        second = self.k.execute(source)
        self.assertNotEqual("_MainThread", self.k.receive(second))
        status = self.status()
        self.assertEqual((2, 0, "thread"), (status["numexecuting"], status["execqsize"], status["execmodel"]))
        for number in (first, second):
            self.k.send(number, None)
            self.assertIsNone(self.k.end(number))
            self.k.close(number)
        self.assertEqual(["_MainThread"] * 2, [self.k.run(source.rpartition("\n")[0])[0] for _ in range(2)])

    def status(self):
        number = self.k.new()
        self.k.frame(STATUS, number)
        return self.k.get(STATUS, number)

    def test_status_counts_open_channels(self):
        before = self.status()["numchannels"]
        number = self.k.execute("channel.receive()")
        self.assertEqual(before + 1, self.status()["numchannels"])
        self.k.send(number, 1)
        self.k.end(number)
        self.k.close(number)
        deadline = time.monotonic() + 20
        while self.status()["numchannels"] != before and time.monotonic() < deadline:
            pass
        self.assertEqual(before, self.status()["numchannels"])

    def test_what_user_code_says_and_reads(self):
        # PyPy and CPython write line by line, however large their buffers are
        number = self.k.execute("import sys\nsys.stdout.write('by '); sys.stdout.write('line\\n')\n"
                                "channel.send(sys.stdin.read())\nchannel.receive()")
        self.k.wait_stderr(b"by line\n")
        self.assertEqual("", self.k.receive(number))
        self.k.send(number, 1)
        self.k.end(number)


def load_tests(loader, tests, pattern):
    def bases(jython):
        return (Values, Executing, Channels, Credit, Start, Ends, Imports, Output, Errors, Folder,
                Starts) + (() if jython else (Posix,))
    return suite(loader, bases)


if __name__ == "__main__":
    main()
