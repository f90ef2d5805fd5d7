"""Interpreters: words, answers and names, without starting one."""
import json
import os
import shutil
import sys
import tempfile
import unittest

from wire_tests import VECTORS

from agent import core, homes, nodes

ANSWER = "\nexecnet:node\n%s\nlinux\n%s\n%s\nx86_64\n"


class Words(unittest.TestCase):

    def test_split_as_a_shell_would(self):
        for line, words in (("python3", ["python3"]), ("python3 -X dev", ["python3", "-X", "dev"]),
                            ("'/a b/python' \"-W x\"", ["/a b/python", "-W x"]), ("a\\ b  c", ["a b", "c"]),
                            ("'' x", ["", "x"])):
            self.assertEqual(words, nodes.split(line))

    def test_commands_are_those_of_the_library(self):
        with open(os.path.join(VECTORS, "python.json"), "rb") as file:
            for case in json.loads(file.read().decode("utf-8")):
                if case["command"] is not None:
                    self.assertEqual(case["command"], nodes.words(case["line"], {}))

    def test_what_only_a_shell_can_make_of_it_is_left_to_one(self):
        env = {b"HOME": b"/home/ann"}
        for line in ("FOO=1 python", "$HOME/py", ". ./act && python", "cd /tmp && python", "exec python",
                     "command python", "python `x`",
                     "nice -n 5 ~/py", "env A=b ~ann/bin/python -u"):
            self.assertEqual(["sh", "-c", line + ' "$@"', "sh"], nodes.words(line, env))
        for line, words in (("~/bin/python -E", ["/home/ann/bin/python", "-E"]),
                            ("env A=b python", ["env", "A=b", "python"]),
                            ("~no-such-user/python", ["~no-such-user/python"]), ("./x=y", ["./x=y"])):
            self.assertEqual(words, nodes.words(line, env))


class Folders(unittest.TestCase):

    def test_where_a_process_goes(self):
        env = {b"HOME": b"/usr"}
        for asked, there in ((b"", b"/etc"), (b"sub", b"/etc/sub"), (b"/x", b"/x"), (b"~", b"/usr"),
                             (b"~/a", b"/usr/a")):
            self.assertEqual(there, homes.where(env, b"/etc", asked))
        self.assertEqual(b"/usr", homes.where(env, b"/no/such", b""))
        self.assertEqual({b"HOME": b"/usr"}, env)

    def test_a_home_that_cannot_be_entered_is_somebody_elses(self):
        env = {b"HOME": b"/no/such"}
        there = homes.where(env, b"/no/such", b"")
        self.assertEqual(there, env[b"HOME"])
        self.assertTrue(os.path.isdir(there))
        self.assertEqual(there + b"/a", homes.where(env, b"/no/such", b"a"))

    def test_an_interpreter_for_a_gateway_does_not_look_in_its_folder(self):
        env = {b"PYTHONSAFEPATH": b"execnet", b"PYTHONPATH": b":/a::b"}
        homes.apart(env, {})
        self.assertEqual({b"PYTHONSAFEPATH": b"execnet", b"PYTHONPATH": b"/a:b",
                          b"EXECNET_PYTHONPATH": b":/a::b"}, env)
        env = {b"PYTHONSAFEPATH": b"execnet", b"PYTHONPATH": b"/a"}
        homes.apart(env, {b"PYTHONSAFEPATH": b"1"})
        self.assertEqual({b"PYTHONSAFEPATH": b"1", b"PYTHONPATH": b"/a"}, env)
        env = {b"PYTHONPATH": b":/a"}
        homes.apart(env, {})
        self.assertEqual({b"PYTHONPATH": b":/a"}, env)


class Asking(unittest.TestCase):

    def setUp(self):
        self.core = core.Core(b"i" * 16, [], 0.0)

    def nodes(self, *wanted):
        return nodes.Nodes(list(wanted), None, self.core, {})

    def told(self):
        return [(name, state, dict(table)) for name, state, table in self.core.nodes]

    def test_the_agents_own_interpreter_is_known_at_once(self):
        self.nodes(("h", ""))
        (name, state, table), = self.told()
        self.assertEqual(("h", nodes.READY, False), (name, state, self.core.probing))
        self.assertEqual("%d.%d.%d" % tuple(sys.version_info[:3]), table["version"].decode("ascii"))

    def test_another_is_asked_and_started_by_what_it_says_it_is(self):
        found = self.nodes(("h", "python9 -X dev"))
        self.assertEqual([("h", nodes.PROBING, {})], self.told())
        self.assertTrue(isinstance(found.command("h"), str))
        probe = found.next()
        self.assertEqual([b"python9", b"-X", b"dev", b"-S", b"-c"], probe.argv[:5])
        self.assertEqual(None, found.next())
        probe.write(1, (ANSWER % ("/opt/python9", "cpython", "3.9.1")).encode("ascii"))
        found.answered(probe, "exit status 0", b"")
        self.assertEqual(["python9", "-X", "dev"], found.command("h"))
        self.assertEqual(nodes.READY, self.told()[0][1])
        self.assertEqual(b"/opt/python9", self.told()[0][2]["executable"])
        self.assertFalse(self.core.probing)

    def test_what_just_finds_the_interpreter_is_left_out_and_what_does_more_is_not(self):
        folder = os.path.realpath(tempfile.mkdtemp())
        try:
            os.mkdir(os.path.join(folder, "shims"))
            for name in ("real", "wrapper", "shims/shim"):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("#!/bin/sh\n")
                os.chmod(os.path.join(folder, name), 0o755)
            real = os.path.join(folder, "real")
            os.symlink(real, os.path.join(folder, "link"))
            env = {b"PATH": (folder + ":" + folder + "/shims").encode("ascii")}
            for words, command in (("link -O", [real, "-O"]), ("shim", [real]), ("wrapper", ["wrapper"]),
                                   ("env A=b real", ["env", "A=b", "real"])):
                found = nodes.Nodes([("h", words)], None, self.core, env)
                self.answer(found, found.next(), (real, "cpython", "3.9.1"))
                self.assertEqual(command, found.command("h"))
        finally:
            shutil.rmtree(folder)

    def test_what_failed_is_asked_again_on_the_next_link(self):
        wanted = [("h", ""), ("other", "python9")]
        found = nodes.Nodes(wanted, None, self.core, {})
        found.answered(found.next(), "exit status 1", b"")
        self.assertEqual(nodes.FAILED, self.told()[1][1])
        found = nodes.Nodes(wanted, found, self.core, {})
        self.assertEqual((nodes.PROBING, True), (self.told()[1][1], self.core.probing))
        self.answer(found, found.next(), ("/x", "cpython", "3.9.1"))
        self.assertEqual((nodes.READY, False), (self.told()[1][1], self.core.probing))
        self.assertEqual(None, nodes.Nodes(wanted, found, self.core, {}).next())

    def failure(self, said, end, failure=b"", late=False):
        found = self.nodes(("h", "/bin/true"))
        probe = found.next()
        probe.write(1, said)
        probe.late = late
        found.answered(probe, end, failure)
        (_, state, table), = self.told()
        self.assertEqual(nodes.FAILED, state)
        self.assertTrue("cannot be used" in found.command("h"))
        return table["message"].decode("ascii")

    def test_what_is_no_python_says_why(self):
        self.assertEqual("/bin/true did not answer as a Python: exit status 0, it printed nothing",
                         self.failure(b"", "exit status 0"))
        self.assertEqual("/bin/true did not answer as a Python: exit status 3, it printed a b",
                         self.failure(b"a\nb", "exit status 3"))
        self.assertEqual("/bin/true did not answer as a Python: signal 9, it printed nothing",
                         self.failure(b"", "signal 9"))
        self.assertEqual("cannot execute x: No", self.failure(b"", "", b"2 cannot execute x: No"))
        self.assertEqual("/bin/true did not answer within 20 seconds",
                         self.failure(b"", "signal 9", late=True))
        old = ANSWER % ("/bin/py", "cpython", "3.5.2")
        self.assertEqual("/bin/true is Python 3.5.2, needs 2.7 or 3.6+",
                         self.failure(old.encode("ascii"), "exit status 0"))

    def test_every_interpreter_gets_a_name_of_its_own(self):
        folder = os.path.realpath(tempfile.mkdtemp())
        try:
            for name in ("python", "python2", "python3", "python3.9", "pypy3", "jython"):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("#!/bin/sh\n")
                os.chmod(os.path.join(folder, name), 0o755)
            found = nodes.Nodes([("h", "*")], None, self.core, {b"PATH": folder.encode("ascii")})
            probes = {}
            while True:
                probe = found.next()
                if probe is None:
                    break
                probes[os.path.basename(probe.words[0])] = probe
            self.assertEqual(4, len(probes))
            answers = {"python": ("/x/a", "cpython", "5.1.1"), "python2": None,
                       "python3": ("/x/b", "cpython", "5.1.1"),
                       "python3.9": ("/x/c", "cpython", "5.1.1"), "pypy3": ("/x/d", "pypy", "5.2.3"),
                       "jython": ("/odd", "jython", "2.9.3")}
            for name in ("python3", "python2", "python", "python3.9"):
                self.answer(found, probes[name], answers[name])
            while True:
                probe = found.next()
                if probe is None:
                    break
                self.answer(found, probe, answers[os.path.basename(probe.words[0])])
            names = [name for name, _, _ in self.told()][1:]
            self.assertEqual(["h:cpython5.1", "h:cpython5.1.1", "h:cpython5.1.1-2", "h:pypy5.2",
                              "h:jython2.9"],
                             [name for name in names if not name.startswith("h:" + self.told()[0][0])])
            self.assertEqual(["/x/a"], found.command("h:cpython5.1"))
            self.assertEqual([os.path.join(folder, "jython")], found.command("h:jython2.9"))
            self.assertFalse(self.core.probing)
        finally:
            shutil.rmtree(folder)

    def answer(self, found, probe, answer):
        if answer:
            probe.write(1, (ANSWER % answer).encode("ascii"))
        found.answered(probe, "exit status 0", b"")
