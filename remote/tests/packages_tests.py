"""What an interpreter says of itself for choosing packages, and the stand-in for execnet."""
import os
import pickle
import platform
import shutil
import struct
import sys
import tempfile
import unittest
from hashlib import sha256

from packages import facts

REMOTE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(REMOTE, "standin"))
try:
    import execnet
    from execnet import gateway_base
    from execnet._serial import NESTING
finally:
    del sys.path[0]

JYTHON = sys.platform.startswith("java")
TWO = sys.version_info[0] == 2
VALUES = [
    None, True, False, 0, -1, 2**31 - 1, 2**31, -2**31 - 1, 2**63, -2**64, 10**300, 0.0, -1.5, 1e300,
    float("inf"), 2 + 3j, u"", u"s\xf6me \u20ac \0", b"", b"\0\xff",
    [], [1, [2, [3, []]]], (), (1, (u"a", b"b")),
    {}, {u"a": 1, 2: [None], (3, u"x"): {u"y": b"z"}, None: True}, set(), set([1, 2, u"x"]),
    frozenset(), frozenset([1, (2, frozenset([3]))]),
]
# by Python 3: [1, {"a": (None, b"x"), 2: -1.5}, 2**40]
DUMPED = (b"\x02K\0\0\0\x03F\0\0\0\0F\0\0\0\x01PF\0\0\0\x01JN\0\0\0\x01aLA\0\0\0\x01x@\0\0\0\x02PF\0\0\0\x02D"
          b"\xbf\xf8\0\0\0\0\0\0PPF\0\0\0\x02H\0\0\0\r1099511627776PQ")


class Facts(unittest.TestCase):

    def test_markers_are_those_of_pep_508(self):
        implementation = getattr(sys, "implementation", None)
        version = "0"
        if implementation:
            info = implementation.version
            version = "%d.%d.%d" % info[:3]
            if info[3] != "final":
                version += info[3][0] + str(info[4])
        known = facts.collect()
        for name, value in {
                "implementation_name": implementation.name if implementation else "",
                "implementation_version": version,
                "os_name": os.name,
                "platform_machine": platform.machine(),
                "platform_python_implementation": platform.python_implementation(),
                "platform_release": platform.release(),
                "platform_system": platform.system(),
                "platform_version": platform.version(),
                "python_full_version": platform.python_version(),
                "python_version": ".".join(platform.python_version_tuple()[:2]),
                "sys_platform": sys.platform}.items():
            self.assertEqual("%s" % (value,), known[name], name)

    def test_what_wheels_depend_on(self):
        known = facts.collect()
        import sysconfig
        if not TWO:
            self.assertEqual(sysconfig.get_config_var("EXT_SUFFIX"), known["ext_suffix"])
            self.assertEqual(sys.implementation.cache_tag, known["cache_tag"])
        if not JYTHON:
            self.assertEqual(str(struct.calcsize("P") * 8), known["bits"])
            import ctypes
            try:
                version = ctypes.CDLL(None).gnu_get_libc_version
            except AttributeError:
                return
            version.restype = ctypes.c_char_p
            version = version().decode("ascii").split(".")
            self.assertEqual("glibc " + ".".join(version[:2]).split("-")[0], known["libc"])

    def test_they_are_text_and_their_digest_is_that_of_their_lines(self):
        known = facts.collect()
        self.assertEqual(set([type(u"")]), set(map(type, list(known) + list(known.values()))))
        digest = known.pop("digest")
        lines = u"".join(sorted([u"%s=%s\n" % fact for fact in known.items()]))
        self.assertEqual(sha256(lines.encode("utf-8")).hexdigest(), digest)
        self.assertEqual(15, len(known))

    def test_musl_is_known_by_what_its_loader_says(self):
        if JYTHON:
            self.skipTest("Jython loads no extension modules")
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        loader, program = os.path.join(folder, "ld-musl-x86_64.so.1"), os.path.join(folder, "python")
        with open(loader, "w") as file:
            file.write("#!/bin/sh\n"
                       "printf 'musl libc (x86_64)\\nVersion 1.2.4\\nDynamic Program Loader\\n' >&2\n"
                       "exit 1\n")
        os.chmod(loader, 0o755)
        path = loader.encode("ascii") + b"\0"
        for wide, order in ((True, "<"), (False, ">")):
            head = struct.pack(order + ("16sHHIQQQIHHHHHH" if wide else "16sHHIIIIIHHHHHH"),
                               b"\x7fELF" + (b"\2" if wide else b"\1") + (b"\1" if order == "<" else b"\2"),
                               2, 62, 1, 0, 64, 0, 0, 64 if wide else 52, 56 if wide else 32, 2, 0, 0, 0)
            form = order + ("IIQQQQQQ" if wide else "IIIIIIII")
            size, at = struct.calcsize(form), 200
            other = struct.pack(form, 6, *[4] * 7)
            entry = ((3, 4, at, 0, 0, len(path), 0, 1) if wide else (3, at, 0, 0, len(path), 0, 4, 1))
            data = (head.ljust(64, b"\0") + other + struct.pack(form, *entry)).ljust(at, b"\0") + path
            self.assertEqual(56 if wide else 32, size)
            with open(program, "wb") as file:
                file.write(data)
            self.assertEqual("musl 1.2", self.libc_of(program))
        for other in (b"", b"#!/bin/sh\n" + b" " * 100, data[:120], data.replace(b"ld-musl", b"no-musl")):
            with open(program, "wb") as file:
                file.write(other)
            self.assertEqual("", self.libc_of(program))
        self.assertEqual("", self.libc_of(os.path.join(folder, "none")))
        self.assertEqual("", self.libc_of(None))

    def libc_of(self, program):
        """Return the C library of a program where the system does not tell it."""
        confstr, executable = os.confstr, sys.executable

        def unknown(name):
            raise ValueError("unrecognized configuration name")
        os.confstr, sys.executable = unknown, program
        try:
            return facts._libc()
        finally:
            os.confstr, sys.executable = confstr, executable


class StandIn(unittest.TestCase):

    def test_values_come_back(self):
        for value in VALUES:
            back = execnet.loads(execnet.dumps(value))
            self.assertEqual(value, back)
            if not TWO:
                self.assertEqual(type(value), type(back))

    def test_bytes_are_those_of_execnet(self):
        value = [1, {u"a": (None, b"x"), 2: -1.5}, 2**40]
        if TWO:
            self.assertEqual([1, {u"a": (None, b"x"), 2: -1.5}, 2**40], execnet.loads(DUMPED))
        else:
            self.assertEqual(DUMPED, execnet.dumps(value))
            self.assertEqual(value, execnet.loads(DUMPED))
        python_2 = b"\x02M\0\0\0\x03a\xffbQ"
        self.assertEqual(b"a\xffb", execnet.loads(python_2))
        self.assertEqual(u"a\xffb", execnet.loads(python_2, py2str_as_py3str=True))
        self.assertEqual(b"x", execnet.loads(b"\x02N\0\0\0\x01xQ", py3str_as_py2str=True))
        self.assertEqual([1, u"a"], execnet.loads(bytearray(execnet.dumps([1, u"a"]))))

    def test_what_cannot_be_sent_is_named_with_its_place(self):
        class Own(dict):
            pass
        for value, words in (
                (object(), "cannot send an object"),
                ([1, 2, {"key": bytearray(b"x")}], "cannot send a bytearray, at [2]['key']"),
                (Own(), "cannot send an Own"),
                ((1, [memoryview(b"x")]), "cannot send a memoryview, at [1][0]"),
                (Ellipsis, "cannot send an ellipsis"),
                (set([(1, object())]), "cannot send an object, at {}[1]"),
                ([int], "cannot send a type, at [0]")):
            try:
                execnet.dumps(value)
            except execnet.DumpError:
                self.assertEqual(words, str(sys.exc_info()[1]))
            else:
                self.fail("%r was dumped" % (value,))
        if not TWO:
            self.assertRaises(execnet.DumpError, execnet.dumps, "\ud800")

    def test_as_many_levels_as_a_channel_takes(self):
        value = []
        for _ in range(NESTING - 1):
            value = [value]
        dumped = execnet.dumps(value)
        self.assertEqual(dumped, execnet.dumps(execnet.loads(dumped)))
        self.assertRaises(execnet.DumpError, execnet.dumps, [value])
        value.append(value)
        self.assertRaises(execnet.DumpError, execnet.dumps, value)
        deeper = b"\x02" + b"K\0\0\0\1F\0\0\0\0" * (NESTING + 1) + b"LP" * 1 + b"P" * NESTING + b"Q"
        self.assertRaises(execnet.LoadError, execnet.loads, deeper)

    def test_what_is_no_value_does_not_load(self):
        for data in (b"", b"\x01Q", b"\x02", b"\x02Q", b"\x02LLQ", b"\x02F\0\0", b"\x02?", b"\x02P",
                     b"\x02@\x7f\xff\xff\xffQ", b"\x02B\0\0\0\x01Q", b"\x02A\xff\xff\xff\xffQ",
                     b"\x02H\0\0\0\x01xQ", b"\x02JJLPQ", b"\x02K\0\0\0\1F\0\0\0\1LPQ",
                     b"\x02N\0\0\0\1\xffQ", b"\x02JO\0\0\0\1Q"):
            self.assertRaises(execnet.DataFormatError, execnet.loads, data)
        dumped = execnet.dumps([1, {u"a": (None, b"x" * 10)}, set([2, 3.5])])
        for length in range(len(dumped)):
            self.assertRaises(execnet.LoadError, execnet.loads, dumped[:length])

    def test_values_in_files(self):
        import io
        file = io.BytesIO()
        execnet.dump(file, [1, u"two"])
        execnet.dump(file, 3)
        file.seek(0)
        self.assertEqual([[1, u"two"], 3], [execnet.load(file), execnet.load(file)])
        self.assertRaises(execnet.LoadError, execnet.load, file)
        self.assertRaises(TypeError, execnet.load, io.StringIO(u"text"))

    def test_names_are_there_and_what_would_start_something_says_what_is_missing(self):
        for name in execnet.__all__:
            self.assertTrue(hasattr(execnet, name), name)
        group = execnet.Group(execmodel="main_thread_only")
        self.assertEqual(([], "main_thread_only"), (list(group), group.execmodel.backend))
        group.terminate()

        class Copy(execnet.RSync):
            def filter(self, path):
                return True
        for action in (execnet.makegateway, group.makegateway, lambda: execnet.Group(["popen"]),
                       lambda: execnet.connect("net"), lambda: Copy(".").add_target(None, "."),
                       execnet.Gateway, execnet.Channel):
            try:
                action()
            except RuntimeError:
                self.assertIn("works only where execnet is installed", str(sys.exc_info()[1]))
            else:
                self.fail("%r works" % action)

    def test_specs_are_read(self):
        spec = execnet.XSpec("net=mynet//platform=java//env:LANG=C//nice=5//x")
        self.assertEqual(("java", {"LANG": "C"}, "5", True, None),
                         (spec.platform, spec.env, spec.nice, spec.x, spec.popen))
        self.assertEqual("ssh://host:22", execnet.XSpec("ssh=ssh://host:22//python=x").ssh)
        self.assertEqual((spec, hash(spec)), (execnet.XSpec(str(spec)), hash(execnet.XSpec(str(spec)))))
        for text in ("popen//popen", "=x", "env=x", "env:A=1//env:A=2"):
            self.assertRaises(ValueError, execnet.XSpec, text)
        self.assertRaises(AttributeError, execnet.XSpec, "_x=1")

    def test_execution_models_have_what_a_worker_uses(self):
        model = gateway_base.get_execmodel("thread")
        event, queue = model.Event(), model.queue.Queue()
        model.start(lambda text: (queue.put(text), event.set()), ("done",))
        event.wait()
        with model.RLock():
            self.assertEqual("done", queue.get())
        self.assertRaises(ValueError, gateway_base.get_execmodel, "gevent")

    def test_errors_are_as_programs_expect_them(self):
        error = execnet.RemoteError("it failed")
        for each in (error, pickle.loads(pickle.dumps(error))):
            self.assertEqual(("it failed", "it failed", "RemoteError: it failed"),
                             (str(each), each.formatted, repr(each)))
        self.assertTrue(issubclass(execnet.TimeoutError, IOError))
        self.assertTrue(issubclass(execnet.GatewayDied, EOFError))
        self.assertTrue(issubclass(execnet.DumpError, execnet.DataFormatError))


if __name__ == "__main__":
    unittest.main()
