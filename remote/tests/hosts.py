"""End to end: agents under every interpreter found, booted by `sh -c SCRIPT` as ssh would, driven by a stand-in daemon.

`python3 remote/tests/hosts.py [-v] [INTERPRETER…] [-k TEST]`; runs on CPython 3.9 or later. Interpreters are those of pyenv
and of PATH; what is missing is skipped. With EXECNET_CI=1 nothing may be missing.
"""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
from daemon import LIFE, TIMEOUT, Link, Timeout, bundle, sha, wire  # noqa: E402

WANTED = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "pypy3", "jython"]
OPTIONAL = ["3.14"]
FOLDER = "/tmp/execnet-%d" % os.getuid()
ECHO = "import os\nwhile 1:\n d=os.read(0,65536)\n if not d: break\n while d: d=d[os.write(1,d):]\n"


def interpreters():
    root = os.environ.get("PYENV_ROOT")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], stdout=subprocess.PIPE, text=True).stdout.strip()
    found = {}
    for name in WANTED:
        if name[0].isdigit():
            paths = glob.glob("%s/versions/%s.*/bin/python" % (root, name)) if root else []
            paths += [path for path in [shutil.which("python" + name)] if path and "/shims/" not in path]
        else:
            paths = [path for path in [shutil.which(name)] if path]
        if paths:
            found[name] = paths[0]
    return found


def gone(*pids, seconds=20):
    """Whether all these processes end in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not [pid for pid in pids if alive(pid)]:
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Host(unittest.TestCase):
    """One agent of a fresh key; `python` is set by the subclasses made below."""

    python = None
    jython = False

    def setUp(self):
        self.key = os.urandom(8).hex()
        self.links = []
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def tearDown(self):
        agents = [link.info["pid"] for link in self.links if hasattr(link, "info")]
        for link in self.links:
            if link.process.poll() is None:
                try:
                    link.end()
                except (Timeout, OSError, ValueError):
                    link.process.kill()
        for pid in agents:
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
        self.assertTrue(gone(*agents), "an agent stays")
        self.assertEqual([], self.files())
        for link in self.links:
            link.close()

    def files(self):
        return glob.glob("%s/%s*" % (FOLDER, self.key))

    def link(self, epoch=LIFE | 1, **how):
        link = Link(how.pop("python", self.python), key=how.pop("key", self.key), epoch=epoch, **how)
        self.links.append(link)
        return link

    def joined(self, epoch=LIFE | 1, **how):
        link = self.link(epoch, **how)
        link.hello()
        link.table_of_nodes = link.nodes()
        return link

    def path(self, name):
        return os.path.join(self.folder, name)

    def wait_for(self, path):
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            if os.path.exists(path):
                with open(path) as file:
                    text = file.read()
                if text.endswith("\n"):
                    return text.strip()
            time.sleep(0.01)
        self.fail("nobody wrote " + path)


class Everywhere(Host):
    """What holds on Jython too."""

    def test_a_host_joins_runs_a_process_and_ends_without_a_trace(self):
        link = self.joined()
        self.assertEqual(0 if self.jython else 1, link.info["resume"])
        state, node = link.table_of_nodes["n1"]
        self.assertEqual(0, state)
        self.assertEqual(link.table[u"version"], node[u"version"])
        how, value, out, err, _ = link.run("-c", "import sys;sys.stdout.write(sys.stdin.read()[::-1]);"
                                           "sys.stderr.write('e');sys.exit(7)", stdin=b"hello")
        self.assertEqual((0, 7, b"olleh", b"e"), (how, value, out, err))
        self.assertEqual(0, link.end())
        self.assertEqual(b"", link.stderr)

    def test_noise_before_the_marker_does_no_harm(self):
        link = self.link(wrap="echo 'Welcome to build1'; {}")
        link.hello()
        self.assertEqual(b"Welcome to build1\n", link.noise)

    def test_binary_data_and_arguments(self):
        link = self.joined()
        data = bytes(range(256)) * 400
        how, value, out, err, _ = link.run("cat", stdin=data[:20000], flags=1)
        self.assertEqual((0, 0, sha(data[:20000])), (how, value, sha(out)))
        how, value, out, _, _ = link.run("sh", "-c", "printf %s \"$1\"; exit 3", "sh", "a b\n'\"$x\\ ", flags=1)
        self.assertEqual((0, 3, b"a b\n'\"$x\\ "), (how, value, out))

    def test_environment_folder_and_mark(self):
        link = self.joined(config=[("node.n1", ""), ("env.FROM_HOST", "host"), ("env.BOTH", "host"), ("chdir", self.folder)])
        code = "echo $FROM_HOST $BOTH $OWN; pwd; echo $EXECNET_PROCESS"
        how, value, out, err, message = link.run(
            "-c", "import os,sys;sys.stdout.flush();sys.exit(os.system(%r))" % code, env=[("BOTH", "spawn"), ("OWN", "spawn")])
        words = out.decode().split("\n")
        self.assertEqual(["host spawn spawn", os.path.realpath(self.folder)], words[:2], (err, message))
        self.assertEqual(32, len(words[2]))
        how, value, out, _, _ = link.run("sh", "-c", "pwd", flags=1, chdir="/usr")
        self.assertEqual(b"/usr\n", out)

    def test_what_cannot_start_says_why(self):
        link = self.joined()
        how, value, out, err, message = link.run("-c", "pass", chdir="/no/such")
        self.assertEqual((2, 2, b"", b""), (how, value, out, err))
        self.assertEqual("cannot change to directory /no/such: No such file or directory", message)
        how, value, _, _, message = link.run("no-such-command", flags=1)
        self.assertEqual((2, 2, "cannot execute no-such-command: No such file or directory"), (how, value, message))
        how, value, _, _, message = link.run("-c", "pass", node="other")
        self.assertEqual((2, "there is no node other on this host"), (how, message))

    def test_signals_reach_the_process_and_its_exit_tells(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.05; done", flags=1)
        link.wait(wire.DATA, id=id)
        link.send(wire.SIGNAL, id=id, sequence=1, mask=1 << 2)
        self.assertEqual(1, link.wait(wire.SIGNALED, id=id)["sequence"])
        self.assertEqual(5, link.wait(wire.EXIT, id=id)["value"])
        id = link.spawn("sh", "-c", "echo ready; exec sleep 100", flags=1)
        link.wait(wire.DATA, id=id)
        link.send(wire.SIGNAL, id=id, sequence=1, mask=1 << 15)
        exit = link.wait(wire.EXIT, id=id)
        self.assertEqual((1, 15), (exit["how"], exit["value"]))

    def test_output_stops_at_its_credit(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "head -c 3000000 /dev/zero; echo done >&2", flags=1, limit=100000)
        got = 0
        while got < 100000:
            got += len(link.wait(wire.DATA, id=id, stream=1)["data"])
        self.assertEqual(100000, got)
        with self.assertRaises(Timeout):
            link.wait(wire.DATA, timeout=0.5, id=id)
        self.assertEqual((0, 0), link.finish(id, got={1: b"x" * got})[:2])

    def test_stdin_flows_as_far_as_the_process_reads(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "read line; echo $line; head -c 299994 | wc -c", flags=1)
        data = b"first\n" + b"x" * 299994
        self.feed(link, id, data)
        how, value, out, _, _ = link.finish(id)
        self.assertEqual((0, 0, [b"first", b"299994"]), (how, value, out.split()))

    def feed(self, link, id, data, position=0):
        limit, kept = 32768, []
        while position < len(data):
            while position >= limit:
                kind, fields = link.next()
                self.assertIsNotNone(kind, link.stderr)
                if kind in (wire.CREDIT, wire.RESUMED) and fields["id"] == id:
                    limit = fields["limit" if kind == wire.CREDIT else "stdin_limit"]
                else:
                    kept.append((kind, fields))
            part = data[position:min(limit, position + 65536)]
            link.data(id, position, part)
            position += len(part)
        link.send(wire.FIN, id=id, stream=0, length=len(data))
        link.backlog = kept + link.backlog

    def test_a_process_that_closes_stdin_says_stop(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "exec <&-; echo closed; sleep 0.3; echo bye", flags=1)
        link.wait(wire.DATA, id=id)
        link.data(id, 0, b"nobody reads this")
        link.wait(wire.STOP, id=id, stream=0)
        self.assertEqual(0, link.wait(wire.EXIT, id=id)["value"])

    def test_stop_of_stdout_closes_the_pipe(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "trap '' PIPE; while echo y; do :; done 2>/dev/null; echo end >&2", flags=1)
        link.wait(wire.DATA, id=id)
        link.send(wire.STOP, id=id, stream=1)
        self.assertEqual(b"end\n", link.wait(wire.DATA, id=id, stream=2)["data"])
        link.wait(wire.EXIT, id=id)

    def test_what_the_leader_leaves_behind_is_ended_before_exit(self):
        link = self.joined()
        how, value, out, _, _ = link.run("sh", "-c", "sleep 100 & echo $!", flags=1)
        self.assertEqual((0, 0), (how, value))
        self.assertTrue(gone(int(out), seconds=1))

    def test_release_hangs_up(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "echo $$; exec sleep 100", flags=1)
        pid = int(link.wait(wire.DATA, id=id)["data"])
        link.send(wire.RELEASE, id=id)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid, seconds=2))
        id = link.spawn("sh", "-c", "trap '' HUP; echo $$; while :; do sleep 0.1; done", flags=1)
        pid = int(link.wait(wire.DATA, id=id)["data"])
        before = time.monotonic()
        link.send(wire.RELEASE, id=id)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid))
        self.assertGreater(time.monotonic() - before, 4)

    def test_end_takes_everything_along(self):
        link = self.joined()
        pids = []
        for _ in range(3):
            id = link.spawn("sh", "-c", "sleep 100 & echo $$ $!; wait", flags=1)
            pids += [int(word) for word in link.wait(wire.DATA, id=id)["data"].split()]
        self.assertEqual(0, link.end())
        self.assertTrue(gone(*pids, seconds=2))

    def test_a_broken_frame_ends_the_link_and_says_so(self):
        link = self.joined()
        link.raw(b"\x99\0\0\0")
        link.wait(None)
        link.process.wait(TIMEOUT)
        link.close()
        self.assertIn(b"unknown frame kind 0x99", link.stderr)

    def test_nodes_are_asked_what_they_are(self):
        self.make("notpython", "#!/bin/sh\necho 'I am no snake'; exit 3\n")
        link = self.joined(config=[("node.own", ""), ("node.other", self.python + " -E"), ("node.true", "/bin/true"),
                                   ("node.bad", self.path("notpython")), ("node.none", "/no/such/python")])
        nodes = link.table_of_nodes
        self.assertEqual([0, 0, 1, 1, 1], [nodes[name][0] for name in ("own", "other", "true", "bad", "none")])
        self.assertEqual(link.table[u"version"], nodes["other"][1][u"version"])
        self.assertEqual(b"/bin/true did not answer as a Python: exit status 0, it printed nothing",
                         nodes["true"][1][u"message"])
        self.assertEqual(b"%s did not answer as a Python: exit status 3, it printed I am no snake"
                         % self.path("notpython").encode(), nodes["bad"][1][u"message"])
        self.assertIn(b"cannot execute /no/such/python", nodes["none"][1][u"message"])
        self.assertEqual(b"hi", link.run("-c", "import sys;sys.stdout.write('hi')", node="other")[2])
        how, _, _, _, message = link.run("-c", "pass", node="true")
        self.assertEqual((2, True), (how, message.startswith("node true cannot be used: /bin/true did not")))

    def make(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        os.chmod(self.path(name), 0o755)
        return self.path(name)


class Posix(Host):
    """What needs an agent that outlives its link."""

    def attached(self, epoch, **how):
        link = self.joined(epoch, **how)
        self.assertEqual(self.links[0].incarnation, link.incarnation)
        return link

    def test_a_process_survives_its_link_and_every_byte_arrives_once_both_ways(self):
        data = os.urandom(1 << 20) * 24
        link = self.joined()
        id = link.spawn("-c", ECHO)
        sender = Sender(data)
        got = b""
        for cut in range(4):
            sender.attach(link, id)
            goal = len(data) if cut == 3 else len(got) + len(data) // 5
            while len(got) < goal:
                kind, fields = link.next()
                self.assertIsNotNone(kind, link.stderr)
                if kind == wire.DATA:
                    self.assertEqual(len(got), fields["position"])
                    got += fields["data"]
                    link.send(wire.CREDIT, id=id, stream=1, received=len(got), limit=len(got) + (1 << 20))
                else:
                    sender.told(kind, fields)
            sender.detach()
            if cut < 3:
                link.kill()
                link = self.attached(LIFE | cut + 2)
                link.send(wire.RESUME, id=id, attempt=cut + 2, stdout_received=len(got), stdout_limit=len(got) + (1 << 20),
                          stderr_received=0, stderr_limit=1 << 20)
                resumed = link.wait(wire.RESUMED, id=id)
                self.assertEqual(cut + 2, resumed["attempt"])
                sender.told(wire.RESUMED, resumed)
        self.assertEqual(sha(data), sha(got))
        link.send(wire.FIN, id=id, stream=0, length=len(data))
        self.assertEqual(0, link.wait(wire.EXIT, id=id)["value"])

    def test_the_stub_ends_with_its_link_even_while_the_agent_lives(self):
        link = self.joined()
        id = link.spawn("sleep", "100", flags=1)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        self.assertEqual(0, link.cut())
        self.assertTrue(alive(pid))
        second = self.attached(LIFE | 2)
        third = self.attached(LIFE | 3)
        second.wait(None)
        self.assertEqual(0, second.process.wait(TIMEOUT))
        self.assertTrue(alive(third.info["pid"]))

    def test_wrong_secret_and_old_epoch_are_refused(self):
        first = self.joined(LIFE | 5)
        wrong = self.link(LIFE | 6, secret="cd" * 32)
        self.assertEqual(95, wrong.process.wait(TIMEOUT))
        wrong.close()
        self.assertIn(b"another secret", wrong.stderr)
        for epoch in (LIFE | 5, LIFE | 4, 1):
            old = self.link(epoch)
            self.assertEqual(96, old.process.wait(TIMEOUT))
            old.close()
            self.assertIn(b"not newer", old.stderr)
        self.assertEqual(b"x", first.run("-c", "import sys;sys.stdout.write('x')")[2])

    def test_an_agent_of_another_version_is_replaced_and_that_is_reported(self):
        first = self.joined()
        id = first.spawn("sleep", "100", flags=1)
        pid = first.wait(wire.STARTED, id=id)["pid"]
        second = self.link(LIFE | 2, payload=bundle.stage1() + bundle.bundle([("VERSION = 1", "VERSION = 2")]), version=2)
        second.hello()
        self.assertNotEqual(first.incarnation, second.incarnation)
        self.assertEqual(b"1", second.table["replaced"])
        self.assertTrue(gone(pid, first.info["pid"]))

    def test_stub_and_agent_may_be_different_pythons(self):
        others = [path for name, path in sorted(interpreters().items()) if name in ("2.7", "3.6", "3.13", "pypy3")]
        for other in others:
            key = os.urandom(8).hex()
            first = self.joined(key=key)
            second = self.joined(LIFE | 2, key=key, python=other)
            self.assertEqual(first.incarnation, second.incarnation)
            self.assertEqual(b"x", second.run("-c", "import sys;sys.stdout.write('x')")[2])
            second.end()

    def test_a_place_that_cannot_be_used_costs_only_the_resuming(self):
        link = self.link(payload=bundle.stage1() + bundle.bundle([("root=\"/tmp\"", "root=\"%s/none\"" % self.folder)]))
        link.hello()
        self.assertEqual(0, link.info["resume"])
        self.assertIn(b"it cannot outlive its link: cannot make %s/none/execnet-" % self.folder.encode(),
                      link.table["message"])
        id = link.spawn("sleep", "100", flags=1)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        link.cut()
        self.assertTrue(gone(pid, link.info["pid"]))

    def test_linger(self):
        link = self.joined(linger=2)
        id = link.spawn("sh", "-c", "sleep 100 & echo $$ $!; wait", flags=1)
        pids = [int(word) for word in link.wait(wire.DATA, id=id)["data"].split()]
        link.cut()
        time.sleep(1)
        self.assertTrue(alive(link.info["pid"]))
        self.assertTrue(gone(link.info["pid"], *pids, seconds=6))
        self.assertEqual([], self.files())

    def test_orphans_that_left_the_session_are_ended(self):
        link = self.joined()
        pidfile = self.path("pid")
        code = ("import os,sys,time\nif os.fork()==0:\n os.setsid()\n if os.fork()==0:\n  os.close(0);os.close(1);os.close(2)\n"
                "  f=open(%r,'w');f.write('%%d\\n'%%os.getpid());f.close()\n  time.sleep(100)\n os._exit(0)\nos.wait()\n"
                "while not os.path.exists(%r): time.sleep(0.01)\n" % (pidfile, pidfile))
        how, value, _, err, _ = link.run("-c", code)
        self.assertEqual((0, 0), (how, value), err)
        self.assertTrue(gone(int(self.wait_for(pidfile)), seconds=0.5))

    def test_a_child_that_keeps_stdout_open_delays_nothing(self):
        link = self.joined()
        before = time.monotonic()
        how, value, out, _, _ = link.run("sh", "-c", "trap '' HUP; sleep 100 & echo $!", flags=1)
        self.assertEqual((0, 0), (how, value))
        self.assertLess(time.monotonic() - before, 4)
        self.assertTrue(gone(int(out), seconds=0.5))

    def test_a_newer_life_ends_tunnels_and_keeps_what_is_resumed(self):
        link = self.joined()
        tunnel = link.spawn("sleep", "100", flags=1)
        kept = link.spawn("-c", "import time;time.sleep(100)")
        pids = dict((id, link.wait(wire.STARTED, id=id)["pid"]) for id in (tunnel, kept))
        link.kill()
        link = self.attached(2 << 32 | 1)
        self.assertTrue(gone(pids[tunnel]))
        link.send(wire.RESUME, id=kept, attempt=2, stdout_received=0, stdout_limit=1000, stderr_received=0, stderr_limit=1000)
        self.assertEqual(2, link.wait(wire.RESUMED, id=kept)["attempt"])
        self.assertEqual(pids[kept], link.wait(wire.STARTED, id=kept)["pid"])

    def test_what_nobody_claims_is_hung_up(self):
        hasty = bundle.stage1() + bundle.bundle([("UNCLAIMED = 30.0", "UNCLAIMED = 1.5")])
        link = self.joined(payload=hasty)
        id = link.spawn("-c", "import time;time.sleep(100)")
        pid = link.wait(wire.STARTED, id=id)["pid"]
        link.kill()
        link = self.attached(2 << 32 | 1, payload=hasty)
        with self.assertRaises(Timeout):
            link.wait(wire.FORGET, timeout=1, id=id)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid))

    def test_sigterm_ends_the_agent_cleanly(self):
        link = self.joined()
        id = link.spawn("sleep", "100", flags=1)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        os.kill(link.info["pid"], signal.SIGTERM)
        link.wait(None)
        self.assertTrue(gone(pid, link.info["pid"]))

    def test_a_removed_socket_is_bound_again(self):
        link = self.joined()
        link.cut()
        for path in self.files():
            if path.endswith(".sock"):
                os.unlink(path)
        self.attached(LIFE | 2)

    def test_a_lock_without_a_socket_of_a_dead_agent_is_no_obstacle(self):
        link = self.joined()
        os.kill(link.info["pid"], signal.SIGKILL)
        link.wait(None)
        self.assertEqual(2, len(self.files()))
        second = self.joined(LIFE | 2)
        self.assertNotEqual(link.incarnation, second.incarnation)

    def test_two_stubs_at_once_find_one_agent(self):
        links = [self.link(LIFE | number) for number in range(1, 5)]
        seen = set()
        for link in links:
            try:
                seen.add(link.hello()["incarnation"])
            except Timeout:
                self.assertIn(link.process.wait(TIMEOUT), (0, 96))
        self.assertEqual(1, len(seen))

    def test_the_socket_folder_is_private(self):
        self.joined()
        mode = os.lstat(FOLDER).st_mode & 0o777
        self.assertEqual(0o700, mode)
        for path in self.files():
            self.assertEqual(0, os.lstat(path).st_mode & 0o077, path)

    def test_no_fd_leaks_into_a_process(self):
        link = self.joined()
        out = link.run("sh", "-c", "ls /proc/self/fd", flags=1)[2]
        self.assertLessEqual(set(out.split()), {b"0", b"1", b"2", b"3"})

    def test_signal_dispositions_are_the_usual_ones(self):
        link = self.joined()
        out = link.run("sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status", flags=1)[2]
        self.assertEqual([b"0" * 16] * 2, out.split()[1::2])

    def test_nobody_waits_for_a_child_that_does_not_get_to_its_exec(self):
        if not hasattr(os, "mkfifo"):
            self.skipTest("no fifos here")
        os.mkfifo(self.path("hang"))
        self.assertTrue(os.access("/bin/sh", os.X_OK))
        os.chmod(self.path("hang"), 0o755)
        link = self.joined()
        link.spawn(self.path("hang"), flags=1)
        self.assertEqual(b"x", link.run("-c", "import sys;sys.stdout.write('x')")[2])

    def test_many_processes_at_once(self):
        link = self.joined()
        ids = [link.spawn("sh", "-c", "read x; echo $x; exit %d" % (number % 7), flags=1) for number in range(300)]
        for number, id in enumerate(ids):
            data = b"%d\n" % number
            link.data(id, 0, data)
            link.send(wire.FIN, id=id, stream=0, length=len(data))
        for number, id in enumerate(ids):
            self.assertEqual((0, number % 7, b"%d\n" % number), link.finish(id)[:3])

    def test_an_idle_agent_sleeps(self):
        link = self.joined()
        time.sleep(3)
        before = self.switches(link.info["pid"])
        time.sleep(3)
        self.assertEqual(before, self.switches(link.info["pid"]))

    def switches(self, pid):
        with open("/proc/%d/status" % pid) as file:
            return [line for line in file if "voluntary_ctxt" in line][0]

    def test_every_interpreter_becomes_a_node(self):
        link = self.joined(config=[("node.h", "*")])
        self.assertTrue(all(name.startswith("h:") for name in link.table_of_nodes), link.table_of_nodes)
        self.assertGreaterEqual(len(link.table_of_nodes), 2)
        for name, (state, table) in link.table_of_nodes.items():
            self.assertEqual(0, state)
            if b"jython" not in table[u"implementation"]:
                out = link.run("-c", "import sys;sys.stdout.write('%d.%d.%d'%sys.version_info[:3])", node=name)[2]
                self.assertEqual(table[u"version"], out)


class Jython(Host):

    def test_its_processes_end_with_its_link(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "sleep 100 & echo $$ $!; wait", flags=1)
        pids = [int(word) for word in link.wait(wire.DATA, id=id)["data"].split()]
        link.cut()
        self.assertTrue(gone(link.info["pid"], *pids))


class Script(Host):
    """The script alone: which Python it takes, and what it says when there is none."""

    def run_script(self, candidates, files, stdin=b""):
        for name, text in files.items():
            with open(self.path(name), "w") as file:
                file.write("#!/bin/sh\n" + text)
            os.chmod(self.path(name), 0o755)
        return subprocess.run(["/bin/sh", "-c", bundle.script(candidates)], input=stdin, capture_output=True,
                              env={"PATH": self.folder}, timeout=TIMEOUT)

    def test_nothing_found(self):
        done = self.run_script(["python3", "python"], {})
        self.assertEqual((127, b"execnet: no Python found (tried python3 python)\n"), (done.returncode, done.stderr))

    def test_shims_that_fail_are_passed_over(self):
        done = self.run_script(["python3", "python2", "python"], {
            "python3": "exit 127", "python2": "exit 1", "python": "exec %s \"$@\"" % self.python}, b"import os;os._exit(0)\n")
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        done = self.run_script(["python3", "python2"], {"python3": "exit 127", "python2": "exit 1"})
        self.assertEqual((127, b"execnet: no Python found (tried python3 (exit status 127) python2 (exit status 1))\n"),
                         (done.returncode, done.stderr))

    def test_too_old_is_said_when_nothing_else_is_there(self):
        files = {"python3": "test $1 = -V && { echo Python 3.5.1; exit; }; exit 91"}
        done = self.run_script(["python3", "python"], files)
        self.assertEqual((91, "execnet: %s is Python 3.5.1, needs 2.7 or 3.6+\n" % self.path("python3")),
                         (done.returncode, done.stderr.decode()))
        files["python"] = "exec %s \"$@\"" % self.python
        self.assertEqual(0, self.run_script(["python3", "python"], files, b"import os;os._exit(0)\n").returncode)

    def test_a_python_that_took_the_link_is_the_last(self):
        for status in (93, 96, 137):
            done = self.run_script(["python3", "python"], {"python3": "exit %d" % status, "python": "echo no; exit 0"})
            self.assertEqual((status, b""), (done.returncode, done.stdout))

    def test_a_path_with_a_space(self):
        os.mkdir(self.path("my python"))
        os.symlink(shutil.which("env"), self.path("env"))
        with open(self.path("my python/py"), "w") as file:
            file.write("#!/bin/sh\nexit 0\n")
        os.chmod(self.path("my python/py"), 0o755)
        self.assertEqual(0, self.run_script([self.path("my python/py")], {}).returncode)

    def test_every_login_shell_passes_it_on(self):
        quoted = "sh -c '%s'" % bundle.script([self.python])
        for shell in ("sh", "bash", "dash", "zsh", "csh", "tcsh", "fish", "ksh"):
            if shutil.which(shell):
                done = subprocess.run([shell, "-c", quoted], input=b"import os;os.write(1,b'ok');os._exit(0)\n",
                                      capture_output=True)
                self.assertEqual((0, b"ok"), (done.returncode, done.stdout), (shell, done.stderr))

    def test_a_link_that_ends_during_the_bootstrap(self):
        done = subprocess.run(["sh", "-c", bundle.script([self.python])], input=bundle.stage1() + bundle.bundle()[:500],
                              capture_output=True)
        self.assertEqual((93, b"execnet: the link ended while the agent was being sent\n"), (done.returncode, done.stderr))

    def test_modules_in_the_working_folder_are_not_taken(self):
        for name in ("os.py", "zlib.py", "io.py", "struct.py", "agent.py", "traceback.py"):
            with open(self.path(name), "w") as file:
                file.write("raise SystemExit('taken')")
        link = self.joined(cwd=self.folder)
        self.assertEqual(0, link.end())


class Sender:
    """Sends `data` to a process's stdin from a thread, as credit allows, over one link after the other."""

    def __init__(self, data):
        self.data = data
        self.position = 0
        self.limit = 32768
        self.changed = threading.Condition()

    def told(self, kind, fields):
        with self.changed:
            if kind == wire.CREDIT:
                self.limit = max(self.limit, fields["limit"])
            elif kind == wire.RESUMED:
                self.position, self.limit = fields["stdin_received"], fields["stdin_limit"]
            self.changed.notify()

    def attach(self, link, id):
        self.stopped = False
        self.thread = threading.Thread(target=self._run, args=(link, id), daemon=True)
        self.thread.start()

    def detach(self):
        with self.changed:
            self.stopped = True
            self.changed.notify()

    def _run(self, link, id):
        while True:
            with self.changed:
                while self.position >= self.limit and not self.stopped:
                    self.changed.wait()
                if self.stopped or self.position >= len(self.data):
                    return
                part = self.data[self.position:min(self.limit, self.position + 65536)]
                position = self.position
                self.position += len(part)
            try:
                link.data(id, position, part)
            except (OSError, ValueError):
                return


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite()
    found = interpreters()
    chosen = [word for word in CHOSEN if word in WANTED] or WANTED
    for name in chosen:
        if name not in found:
            missing = type("Missing_" + name, (unittest.TestCase,), {
                "test_it_is_here": unittest.skip("no %s on this machine" % name)(lambda self: None)})
            if os.environ.get("EXECNET_CI") and name not in OPTIONAL:
                missing.test_it_is_here = lambda self: self.fail("not on this machine")
            suite.addTests(loader.loadTestsFromTestCase(missing))
            continue
        jython = name == "jython"
        for base in (Everywhere, Jython if jython else Posix) + (() if jython else (Script,)):
            case = type("%s_%s" % (base.__name__, name.replace(".", "_")), (base,),
                        {"python": found[name], "jython": jython})
            suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


CHOSEN = []

if __name__ == "__main__":
    CHOSEN = [word for word in sys.argv[1:] if word in WANTED]
    unittest.main(argv=sys.argv[:1] + [word for word in sys.argv[1:] if word not in WANTED])
