"""End to end: agents under every interpreter found, booted by `sh -c SCRIPT` as ssh would, driven by a
stand-in daemon.

`python3 remote/tests/hosts.py [-v] [INTERPRETER…] [-k TEST]`; runs on CPython 3.9 or later. Interpreters are
those of pyenv and of PATH; what is missing is skipped. With EXECNET_CI=1 nothing may be missing.
"""
import os
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from ahead import Ahead  # noqa: E402
from keeping import Keeping  # noqa: E402
from kernel_folder import WRITES, names  # noqa: E402
from looking import Looking, LookingElsewhere  # noqa: E402
from terminals import Terminals  # noqa: E402

from case import Host, gone, main, suite  # noqa: E402
from daemon import PATIENT, TIMEOUT, Timeout, bundle, payload, sha, wire  # noqa: E402
from outliving import Posix  # noqa: E402


class Everywhere(Host):
    """Tests that hold on Jython, too."""

    def test_a_host_joins_runs_a_process_and_ends_without_a_trace(self):
        link = self.joined()
        self.assertEqual(0 if self.jython else 1, link.info["resume"])
        with open("/proc/sys/kernel/random/boot_id") as file:
            self.assertEqual(file.read().strip().encode(), link.table[u"boot"])
        self.assertNotIn(u"place", link.table)
        state, node = link.table_of_nodes["n1"]
        self.assertEqual(0, state)
        self.assertEqual(link.table[u"version"], node[u"version"])
        how, value, out, err, _ = link.run("-c", "import sys;sys.stdout.write(sys.stdin.read()[::-1]);"
                                           "sys.stderr.write('e');sys.exit(7)", stdin=b"hello")
        self.assertEqual((0, 7, b"olleh", b"e"), (how, value, out, err))
        self.assertEqual(0, link.end())
        self.assertEqual(b"", said(link.stderr))

    def test_noise_before_the_marker_does_no_harm(self):
        link = self.link(wrap="echo 'Welcome to build1'; {}")
        link.hello()
        self.assertEqual(b"Welcome to build1\n", link.noise)

    def test_binary_data_and_arguments(self):
        link = self.joined()
        data = bytes(range(256)) * 400
        how, value, out, err, _ = link.run("cat", stdin=data[:20000], role=1)
        self.assertEqual((0, 0, sha(data[:20000])), (how, value, sha(out)))
        how, value, out, _, _ = link.run("sh", "-c", "printf %s \"$1\"; exit 3", "sh", "a b\n'\"$x\\ ",
                                         role=1)
        self.assertEqual((0, 3, b"a b\n'\"$x\\ "), (how, value, out))

    def test_a_command_of_the_host_is_looked_up_in_its_path(self):
        link = self.joined(config=[("env.FROM_HOST", "host"), ("chdir", self.folder)])
        code = "echo $FROM_HOST $0; pwd; cat"
        how, value, out, err, message = link.run("sh", "-c", code, "-F", "~/x", node="", stdin=b"in")
        self.assertEqual((0, 0), (how, value), (err, message))
        self.assertEqual(["host -F", os.path.realpath(self.folder), "in"], out.decode().split("\n"))
        how, value, _, _, message = link.run("no-such-command", node="")
        self.assertEqual((2, 2), (how, value))
        self.assertIn("cannot execute no-such-command: ", message)

    def test_without_a_path_no_program_of_the_start_folder_is_taken(self):
        for name in ("sort", "own"):
            with open(self.path(name), "w") as file:
                file.write("#!/bin/sh\necho taken\n")
            os.chmod(self.path(name), 0o755)
        env = {"HOME": self.folder, "JAVA_HOME": os.environ.get("JAVA_HOME", "")}
        link = self.joined(config=[("chdir", self.folder)], wrap="unset PATH; {}", env=env)
        for name, said in (("sort", b"a\nb\n"), ("./own", b"taken\n"), ("~/own", b"taken\n")):
            how, value, out, err, message = link.run(name, node="", stdin=b"b\na\n")
            self.assertEqual((0, 0, said), (how, value, out), (name, err, message))

    def test_an_account_that_is_looked_up_holds_up_nobody(self):
        blocks = "__import__('time').sleep(1e5)"
        link = self.joined(payload=payload(("            entry = pwd.getpwnam(",
                                            "            %s\n            entry = pwd.getpwnam(" % blocks)))
        for role, argv in ((0, ("~bob/x",)), (1, ("~bob/x",)), (1, ("true", "-F", "~bob/x"))):
            id = link.spawn(*argv, node="", role=role)
            self.assertEqual(id, link.wait(wire.RESUMED)["id"])
            self.assertEqual(b"x", link.run("-c", "import sys;sys.stdout.write('x')")[2])
            link.send(wire.RELEASE, id=id)
            link.wait(wire.FORGET, id=id)

    def test_environment_folder_and_mark(self):
        link = self.joined(config=[("node.n1", ""), ("env.FROM_HOST", "host"), ("env.BOTH", "host"),
                                   ("chdir", self.folder)])
        code = "echo $FROM_HOST $BOTH $OWN; pwd; echo $EXECNET_PROCESS"
        how, value, out, err, message = link.run(
            "-c", "import os,sys;sys.stdout.flush();sys.exit(os.system(%r))" % code,
            env=[("BOTH", "spawn"), ("OWN", "spawn")])
        words = out.decode().split("\n")
        self.assertEqual(["host spawn spawn", os.path.realpath(self.folder)], words[:2], (err, message))
        self.assertEqual(32, len(words[2]))
        how, value, out, _, _ = link.run("sh", "-c", "pwd", role=1, chdir="/usr")
        self.assertEqual(b"/usr\n", out)

    def test_a_folder_is_told_as_shells_do(self):
        link = self.joined(config=[("node.n1", ""), ("chdir", self.folder)])
        code = "import os,sys;sys.stdout.write(os.environ['PWD'])"
        for folder in (self.folder, "/usr"):
            how, value, out, err, message = link.run("-c", code,
                                                     chdir="" if folder == self.folder else folder)
            self.assertEqual(folder.encode(), out, (err, message))

    def test_what_cannot_start_says_why(self):
        link = self.joined()
        how, value, out, err, message = link.run("-c", "pass", chdir="/no/such")
        self.assertEqual((2, 2, b"", b""), (how, value, out, err))
        self.assertEqual("cannot change to directory /no/such: No such file or directory", message)
        how, value, _, _, message = link.run("no-such-command", role=1)
        self.assertEqual((2, 2, "cannot execute no-such-command: No such file or directory"),
                         (how, value, message))
        how, value, _, _, message = link.run("-c", "pass", node="other")
        self.assertEqual((2, "there is no node other on this host"), (how, message))

    def test_signals_reach_the_process_and_its_exit_tells(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "trap 'echo got; exit 5' INT; echo ready; while :; do sleep 0.05; done",
                        role=1)
        link.wait(wire.DATA, id=id)
        link.send(wire.SIGNAL, id=id, sequence=1, mask=1 << 2)
        self.assertEqual(1, link.wait(wire.SIGNALED, id=id)["sequence"])
        self.assertEqual(5, link.wait(wire.EXIT, id=id)["value"])
        id = link.spawn("sh", "-c", "echo ready; exec sleep 1000", role=1)
        link.wait(wire.DATA, id=id)
        link.send(wire.SIGNAL, id=id, sequence=1, mask=1 << 15)
        exit = link.wait(wire.EXIT, id=id)
        self.assertEqual((1, 15), (exit["how"], exit["value"]))

    def test_output_stops_at_its_credit(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "head -c 3000000 /dev/zero; echo done >&2", role=1, limit=100000)
        got = 0
        while got < 100000:
            got += len(link.wait(wire.DATA, id=id, stream=1)["data"])
        self.assertEqual(100000, got)
        with self.assertRaises(Timeout):
            link.wait(wire.DATA, timeout=0.5, id=id)
        self.assertEqual((0, 0), link.finish(id, got={1: b"x" * got})[:2])

    def test_stdin_flows_as_far_as_the_process_reads(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "read line; echo $line; head -c 299994 | wc -c", role=1)
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
        id = link.spawn("sh", "-c", "exec <&-; echo closed; sleep 0.3; echo bye", role=1)
        link.wait(wire.DATA, id=id)
        link.data(id, 0, b"nobody reads this")
        link.wait(wire.STOP, id=id, stream=0)
        self.assertEqual(0, link.wait(wire.EXIT, id=id)["value"])

    def test_stop_of_stdout_closes_the_pipe(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "trap '' PIPE; while echo y; do :; done 2>/dev/null; echo end >&2",
                        role=1)
        link.wait(wire.DATA, id=id)
        link.send(wire.STOP, id=id, stream=1)
        self.assertEqual(b"end\n", link.wait(wire.DATA, id=id, stream=2)["data"])
        link.wait(wire.EXIT, id=id)

    def test_what_the_leader_leaves_behind_is_ended_before_exit(self):
        link = self.joined()
        how, value, out, _, _ = link.run("sh", "-c", "sleep 1000 & echo $!", role=1)
        self.assertEqual((0, 0), (how, value))
        self.assertTrue(gone(int(out)))

    def test_release_hangs_up(self):
        link = self.joined(payload=PATIENT)
        id = link.spawn("sh", "-c", "echo $$; exec sleep 1000", role=1)
        pid = int(link.wait(wire.DATA, id=id)["data"])
        link.send(wire.RELEASE, id=id)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid))

    def test_what_ignores_a_hangup_is_killed(self):
        link = self.joined(payload=payload(("HANGUP_GRACE = 5.0", "HANGUP_GRACE = 1.0")))
        id = link.spawn("sh", "-c", "trap '' HUP; echo $$; while :; do sleep 0.1; done", role=1)
        pid = int(link.wait(wire.DATA, id=id)["data"])
        before = time.monotonic()
        link.send(wire.RELEASE, id=id)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid))
        self.assertGreater(time.monotonic() - before, 0.9)

    def test_end_takes_everything_along(self):
        link = self.joined()
        pids = []
        for _ in range(3):
            id = link.spawn("sh", "-c", "sleep 1000 & echo $$ $!; wait", role=1)
            pids += [int(word) for word in link.wait(wire.DATA, id=id)["data"].split()]
        self.assertEqual(0, link.end())
        self.assertTrue(gone(*pids))

    def test_a_broken_frame_ends_the_link_and_says_so(self):
        link = self.joined()
        link.raw(b"\x99\0\0\0")
        link.wait(None)
        link.process.wait(TIMEOUT)
        link.close()
        self.assertIn(b"unknown frame kind 0x99", link.stderr)

    def test_where_there_is_but_one_python_all_of_them_are_told_at_once(self):
        nowhere = [("env." + name, self.folder) for name in ("PATH", "HOME", "PYENV_ROOT")]
        link = self.joined(config=[("node.n1", "*")] + nowhere)
        self.assertEqual(1, len(link.table_of_nodes), link.table_of_nodes)

    def test_nodes_are_asked_what_they_are(self):
        self.make("notpython", "#!/bin/sh\necho 'I am no snake'; exit 3\n")
        link = self.joined(config=[("node.own", ""), ("node.other", self.python + " -E"),
                                   ("node.true", "/bin/true"),
                                   ("node.bad", self.path("notpython")), ("node.none", "/no/such/python")])
        nodes = link.table_of_nodes
        self.assertEqual([0, 0, 1, 1, 1],
                         [nodes[name][0] for name in ("own", "other", "true", "bad", "none")])
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


class Jython(Host):

    def test_it_does_not_claim_to_keep_work(self):
        for options, role in (([("keep", b"train 100 wait wait")], 0), ([("enter", b"train")], 3),
                              ([("keep", b"train all")], 4)):
            link = self.joined(key=os.urandom(8).hex(), features=b"keep")
            self.assertFalse({b"keep", b"enter"} & set(link.table["features"].split()))
            link.spawn("true", node="", options=options, role=role)
            self.assertEqual((None, {}), link.next())
            self.wait_until(lambda link=link: b"an option that this agent did not name" in link.stderr)

    def test_it_does_not_claim_to_have_terminals(self):
        link = self.joined()
        self.assertNotIn(b"terminal", link.table["features"].split())
        link.spawn("true", node="", options=[("terminal", b"24 80")])
        self.assertEqual((None, {}), link.next())
        self.wait_until(lambda: b"an option that this agent did not name" in link.stderr)

    def test_its_processes_end_with_its_link(self):
        link = self.joined()
        id = link.spawn("sh", "-c", "sleep 1000 & echo $$ $!; wait", role=1)
        pids = [int(word) for word in link.wait(wire.DATA, id=id)["data"].split()]
        link.cut()
        self.assertTrue(gone(link.info["pid"], *pids))


def stage(code):
    """Return code as a first line of the link, as long as stage 1: boot accepts no other length."""
    return code.ljust(len(bundle.stage1()) - 1) + b"\n"


class Script(Host):
    """The script alone: which Python it picks, and what it says if there is none."""

    def run_script(self, candidates, files, stdin=b""):
        for name, text in files.items():
            with open(self.path(name), "w") as file:
                file.write("#!/bin/sh\n" + text)
            os.chmod(self.path(name), 0o755)
        return subprocess.run(["/bin/sh", "-c", bundle.script(candidates)], input=stdin, capture_output=True,
                              env={"PATH": self.folder}, timeout=TIMEOUT)

    def test_nothing_found(self):
        done = self.run_script(["python3", "python"], {})
        self.assertEqual((127, b"execnet: no Python found (tried python3 python)"),
                         (done.returncode, said(done.stderr)))

    def test_shims_that_fail_are_passed_over(self):
        done = self.run_script(["python3", "python2", "python"], {
            "python3": "exit 127", "python2": "exit 1", "python": "exec %s \"$@\"" % self.python},
            stage(b"import os;os._exit(0)"))
        self.assertEqual((0, b""), (done.returncode, said(done.stderr)))
        done = self.run_script(["python3", "python2"], {"python3": "exit 127", "python2": "exit 1"})
        self.assertEqual((127, b"execnet: no Python found (tried python3 (exit status 127) python2 (exit "
                               b"status 1))"),
                         (done.returncode, said(done.stderr)))

    def test_too_old_is_said_when_nothing_else_is_there(self):
        files = {"python3": "test $1 = -V && { echo Python 3.5.1; exit; }; exit 91"}
        done = self.run_script(["python3", "python"], files)
        self.assertEqual((91, "execnet: %s is Python 3.5.1, needs 2.7 or 3.6+" % self.path("python3")),
                         (done.returncode, said(done.stderr).decode()))
        files["python"] = "exec %s \"$@\"" % self.python
        self.assertEqual(0, self.run_script(["python3", "python"], files,
                                            stage(b"import os;os._exit(0)")).returncode)

    def test_a_python_that_took_the_link_is_the_last(self):
        for status in (93, 96, 137):
            done = self.run_script(["python3", "python"],
                                   {"python3": "exit %d" % status, "python": "echo no; exit 0"})
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
                done = subprocess.run([shell, "-c", quoted],
                                      input=stage(b"import os;os.write(1,b'ok');os._exit(0)"),
                                      capture_output=True)
                self.assertEqual((0, b"ok"), (done.returncode, done.stdout), (shell, done.stderr))

    def test_a_link_that_ends_during_the_bootstrap(self):
        done = subprocess.run(["sh", "-c", bundle.script([self.python])],
                              input=bundle.stage1() + bundle.bundle()[:500],
                              capture_output=True)
        self.assertEqual((93, b"execnet: the link ended while the agent was being sent"),
                         (done.returncode, said(done.stderr)))

    def test_what_hangs_ends_with_its_link(self):
        hangs = ("echo $$ >>{0}/pids; sleep 4000 & echo $! >>{0}/pids; setsid sleep 4000 & echo $! "
                 ">>{0}/pids; wait".format(self.folder))
        for name, text in (("hang", hangs), ("read", "head -c 100 >/dev/null; " + hangs)):
            with open(self.path(name), "w") as file:
                file.write("#!/bin/sh\n" + text + "\n")
            os.chmod(self.path(name), 0o755)
            for shell in ("sh", "bash", "dash", "busybox"):
                for leads in (True, False) if shutil.which(shell) else ():
                    open(self.path("pids"), "w").close()
                    words = [shell, "sh", "-c"] if shell == "busybox" else [shell, "-c"]
                    link = subprocess.Popen(words + [bundle.script([self.path(name)])],
                                            start_new_session=leads,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE)
                    link.stdin.write(b"x" * 200)
                    link.stdin.flush()
                    self.wait_until(lambda: len(self.pids()) == 3)
                    pids = self.pids()
                    for pipe in (link.stdin, link.stdout, link.stderr):
                        pipe.close()
                    self.assertTrue(gone(*pids, seconds=TIMEOUT), (name, shell, leads))
                    link.wait(TIMEOUT)

    def pids(self):
        with open(self.path("pids")) as file:
            return [int(pid) for pid in file.read().split()]

    def test_nobody_watches_an_agent_that_is_up(self):
        link = self.joined()
        self.wait_until(lambda: len(children(link.process.pid)) <= 1)
        self.assertEqual(0, link.end())
        self.assertEqual(b"", said(link.stderr))

    def test_a_link_that_is_gone_before_the_agent_is_there_leaves_nothing(self):
        link = self.link(wrap="sleep 1; {}")
        self.assertEqual(93, link.cut())
        self.assertEqual(b"execnet: the link ended before an agent had it", said(link.stderr))
        self.assertEqual([], self.files())

    def test_an_agent_that_fails_at_its_start_leaves_nothing(self):
        for broken in ("        os.write(1, wire.MARKER + greeting.frames)", "        child = os.fork()"):
            payload = bundle.stage1() + bundle.bundle([(broken,
                                                        broken + "; raise OSError(5, 'no such luck')")])
            link = self.link(payload=payload)
            self.assertEqual(93, link.process.wait(TIMEOUT))
            self.assertEqual([], self.files())

    def test_what_was_sent_and_did_not_arrive_is_said_by_status(self):
        sent = bundle.stage1() + bundle.bundle()
        at = len(bundle.stage1())
        for status, arrives in [(97, b""), (98, sent[20:]), (98, sent[at:]), (98, sent[:at - 20]),
                                (98, sent[:at] + sent[at + 9:]),
                                (98, sent[:at + 8] + sent[at + 9:] + sent[:9])]:
            done = subprocess.run(["sh", "-c", bundle.script([self.python, self.python])], input=arrives,
                                  capture_output=True)
            self.assertEqual(status, done.returncode, (arrives[:30], done.stderr))
        import pty
        ours, theirs = pty.openpty()
        try:
            self.assertEqual(99, subprocess.call(["sh", "-c", bundle.script([self.python])], stdin=theirs))
        finally:
            os.close(ours)
            os.close(theirs)

    def test_modules_in_the_working_folder_are_not_taken(self):
        for name in ("os.py", "zlib.py", "io.py", "struct.py", "agent.py", "traceback.py"):
            with open(self.path(name), "w") as file:
                file.write("raise SystemExit('taken')")
        link = self.joined(cwd=self.folder)
        self.assertEqual(0, link.end())

    def test_nothing_of_a_folder_with_every_modules_name_runs(self):
        marker = self.path("marker")
        for name in names(self.python):
            with open(self.path(name + ".py"), "w") as file:
                file.write(WRITES % marker)
        config = [("node.n1", "env %s -X dev" % self.python if not self.jython else "env " + self.python),
                  ("env.PYTHONPATH", "/usr/share:")]
        link = self.joined(cwd=self.folder, config=config)
        how, value, out, err, message = link.run("sh", "-c", "pwd", role=1)
        self.assertEqual(os.path.realpath(self.folder).encode() + b"\n", out, (err, message))
        self.assertEqual(0, link.end())
        self.assertFalse(os.path.exists(marker), "something ran")


def said(stderr):
    """Return what was written to stderr, without the watch's empty lines, one a second until Python is up."""
    return stderr.strip(b"\n")


def children(pid):
    """Return the children of a process that have not ended."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % name) as file:
                about = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if about[1:2] == [str(pid)] and about[0] not in "ZX":
            found.append(int(name))
    return found


def load_tests(loader, tests, pattern):
    return suite(loader, lambda jython: (Everywhere, Looking, Jython)
                 if jython else (Everywhere, Looking, LookingElsewhere, Posix, Ahead, Terminals, Keeping,
                                             Script))


if __name__ == "__main__":
    main()
