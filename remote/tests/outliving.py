"""End to end, on interpreters that can fork: what outlives a link, and what must end all the same. Run by
hosts.py."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

from case import FOLDER, Host, alive, gone, interpreters
from daemon import LIFE, PATIENT, TIMEOUT, Timeout, bundle, sha, wire

ECHO = "import os\nwhile 1:\n d=os.read(0,65536)\n if not d: break\n while d: d=d[os.write(1,d):]\n"


class Posix(Host):
    """Tests that need an agent that outlives its link."""

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
                link.send(wire.RESUME, id=id, attempt=cut + 2, stdout_received=len(got),
                          stdout_limit=len(got) + (1 << 20),
                          stderr_received=0, stderr_limit=1 << 20)
                resumed = link.wait(wire.RESUMED, id=id)
                self.assertEqual(cut + 2, resumed["attempt"])
                sender.told(wire.RESUMED, resumed)
        self.assertEqual(sha(data), sha(got))
        link.send(wire.FIN, id=id, stream=0, length=len(data))
        self.assertEqual(0, link.wait(wire.EXIT, id=id)["value"])

    def test_the_stub_ends_with_its_link_even_while_the_agent_lives(self):
        link = self.joined()
        id = link.spawn("sleep", "1000", role=1)
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
        self.assertIn(b"(process %d) has another secret" % first.info["pid"], wrong.stderr)
        for epoch in (LIFE | 5, LIFE | 4, 1):
            old = self.link(epoch)
            self.assertEqual(96, old.process.wait(TIMEOUT))
            old.close()
            self.assertIn(b"its agent (process %d) was attached with a later epoch" % first.info["pid"],
                          old.stderr)
        self.assertEqual(b"x", first.run("-c", "import sys;sys.stdout.write('x')")[2])

    def test_an_agent_of_another_version_is_replaced_and_that_is_reported(self):
        first = self.joined()
        id = first.spawn("sleep", "1000", role=1)
        pid = first.wait(wire.STARTED, id=id)["pid"]
        second = self.link(LIFE | 2, payload=bundle.stage1() + bundle.bundle([("VERSION = 2",
                                                                               "VERSION = 3")]), version=3)
        second.hello()
        self.assertNotEqual(first.incarnation, second.incarnation)
        self.assertEqual(b"2", second.table["replaced"])
        self.assertTrue(gone(pid, first.info["pid"]))

    def test_an_agent_that_keeps_work_is_not_replaced(self):
        first = self.joined()
        path = [path for path in self.files() if path.endswith(".sock")][0]
        os.rename(path, path + ".real")
        later = socket.socket(socket.AF_UNIX)
        later.bind(path)
        later.listen(5)
        later.settimeout(TIMEOUT)
        os.chmod(path, 0o600)

        def answer():
            for _ in range(2):
                visitor, _ = later.accept()
                visitor.settimeout(TIMEOUT)
                request = b""
                while len(request) < 18:
                    part = visitor.recv(18 - len(request))
                    if not part:
                        break
                    request += part
                names = u"train, n\xe4chtlich".encode("utf-8")
                said = b"V\0\3" if request[17:] == b"A" else b"P\0\3" + struct.pack(">H", len(names)) + names
                visitor.sendall(said)
                visitor.close()
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        second = self.link(LIFE | 2)
        self.assertEqual(92, second.process.wait(TIMEOUT))
        thread.join(TIMEOUT)
        self.assertFalse(thread.is_alive())
        second.close()
        said = second.stderr.decode("utf-8")
        self.assertIn(u"an agent of protocol version 3", said)
        self.assertIn(u"keeps work here: train, n\xe4chtlich", said)
        later.close()
        os.rename(path + ".real", path)
        self.assertEqual(b"x", first.run("-c", "import sys;sys.stdout.write('x')")[2])

    def test_stub_and_agent_may_be_different_pythons(self):
        others = [path for name, path in sorted(interpreters().items())
                  if name in ("2.7", "3.6", "3.13", "pypy3")]
        for other in others:
            key = os.urandom(8).hex()
            first = self.joined(key=key)
            second = self.joined(LIFE | 2, key=key, python=other)
            self.assertEqual(first.incarnation, second.incarnation)
            self.assertEqual(b"x", second.run("-c", "import sys;sys.stdout.write('x')")[2])
            second.end()

    def test_an_epoch_that_no_daemon_can_have_is_refused(self):
        first = self.joined(LIFE | 5)
        for epoch in (2 ** 64 - 1, 2 ** 63, int(time.time() + 2 * 86400) << 32,
                      9 * 86400 + int(time.time()) << 32):
            thief = self.link(epoch)
            self.assertEqual(96, thief.process.wait(TIMEOUT), epoch)
            thief.close()
        # a lost count continues with seconds
        for epoch in (LIFE | 6, 7 << 32 | 1, int(time.time()) << 32):
            self.assertEqual(first.incarnation, self.attached(epoch).incarnation)

    def elsewhere(self, **more):
        """Return a bundle with a /tmp of its own, and an environment with the other folders."""
        for name in ("tmp", "run", "home"):
            if not os.path.exists(self.path(name)):
                os.mkdir(self.path(name), 0o700)
        env = dict(os.environ, HOME=self.path("home"), XDG_RUNTIME_DIR=self.path("run"), **more)
        env.pop("XDG_STATE_HOME", None)
        payload = bundle.stage1() + bundle.bundle([('root="/tmp"', 'root="%s"' % self.path("tmp"))])
        return self.path("tmp/execnet-%d" % os.getuid()), env, payload

    def left(self):
        return [name for _, _, names in os.walk(self.folder) for name in names]

    def test_a_folder_that_takes_no_lock_or_socket_is_passed_over(self):
        from agent.config import boot_id
        usual, env, payload = self.elsewhere()
        for ending in ("lock", "sock"):
            key = os.urandom(8).hex()
            in_the_way = "%s/%s-%s.%s" % (usual, key, boot_id()[:8], ending)
            os.makedirs(in_the_way, 0o700)
            os.chmod(usual, 0o700)
            link = self.joined(key=key, env=env, payload=payload)
            self.assertEqual(1, link.info["resume"])
            said = link.table[u"place"].decode("utf-8")
            self.assertTrue(said.startswith("%s: %s cannot be used: " % (self.path("run/execnet"), usual)),
                            said)
            link.cut()
            second = self.joined(LIFE | 2, key=key, env=env, payload=payload)
            self.assertEqual(link.incarnation, second.incarnation)
            second.end()
            os.rmdir(in_the_way)
        self.assertEqual([], self.left())

    def test_an_agent_lives_where_there_is_no_room_for_a_byte(self):
        key = os.urandom(8).hex()
        full = bundle.bundle([('os.write(self.lock_fd, ("%d',
                               'os.write(os.open("/dev/full", os.O_WRONLY), ("%d')])
        link = self.joined(key=key, payload=bundle.stage1() + full)
        self.assertEqual(1, link.info["resume"])
        link.cut()
        self.assertEqual(link.incarnation, self.joined(LIFE | 2, key=key).incarnation)

    def test_a_folder_that_is_not_ours_alone_is_passed_over_and_the_agent_found_again(self):
        def open_to_others(path):
            os.mkdir(path)
            os.chmod(path, 0o755)
        usual, env, payload = self.elsewhere()
        bare = dict(env)
        del bare["XDG_RUNTIME_DIR"]
        for squat, why in [(lambda path: open(path, "w").close(), "is not a folder"),
                           (lambda path: os.symlink(self.path("run"), path), "is a link"),
                           (open_to_others, "is open to other users")]:
            squat(usual)
            key = os.urandom(8).hex()
            link = self.joined(key=key, env=env, payload=payload)
            self.assertEqual(("%s: %s %s" % (self.path("run/execnet"), usual, why)).encode(),
                             link.table[u"place"])
            id = link.spawn("-c", ECHO)
            link.wait(wire.STARTED, id=id)
            link.cut()
            # a login without the variable finds it through the note
            second = self.joined(LIFE | 2, key=key, env=bare, payload=payload)
            self.assertEqual(link.incarnation, second.incarnation)
            if os.path.isdir(usual) and not os.path.islink(usual):
                os.rmdir(usual)
            else:
                os.unlink(usual)
            # and so does a login that could use the usual folder
            third = self.joined(LIFE | 3, key=key, env=bare, payload=payload)
            self.assertEqual(link.incarnation, third.incarnation)
            self.assertEqual(0, third.end())
            self.assertTrue(gone(link.info["pid"]))
            self.assertEqual([], self.left())

    def test_the_last_resort_is_the_home_folder_however_long_its_path_is(self):
        usual, env, payload = self.elsewhere()
        open(usual, "w").close()
        env["HOME"] = self.path("home/" + "h" * 90)
        env["XDG_RUNTIME_DIR"] = self.path("none")
        if os.getuid() == 0 and os.path.isdir("/run/user/0"):
            self.skipTest("this user has a runtime folder")
        os.mkdir(env["HOME"])
        link = self.joined(env=env, payload=payload)
        self.assertIn(b"/.local/state/execnet/.agents: ", link.table[u"place"])
        link.cut()
        second = self.joined(LIFE | 2, env=env, payload=payload)
        self.assertEqual(link.incarnation, second.incarnation)
        self.assertEqual(0, second.end())

    def test_a_folder_whose_name_somebody_else_takes_is_left_for_the_next_one(self):
        usual, env, payload = self.elsewhere()
        link = self.joined(env=env, payload=payload)
        self.assertNotIn(u"place", link.table)
        shutil.rmtree(usual)
        open(usual, "w").close()
        link.cut()
        self.wait_until(lambda: [name for name in self.left() if name.endswith(".sock")])
        second = self.joined(LIFE | 2, env=env, payload=payload)
        self.assertEqual(link.incarnation, second.incarnation)
        self.assertEqual(0, second.end())

    def test_a_place_that_cannot_be_used_costs_only_the_resuming(self):
        usual, env, payload = self.elsewhere()
        for path in (usual, self.path("file")):
            open(path, "w").close()
        link = self.link(env=dict(env, HOME=self.path("file"), XDG_RUNTIME_DIR=self.path("none")),
                         payload=payload)
        link.hello()
        if os.path.isdir("/run/user/%d" % os.getuid()):
            self.skipTest("this user has a runtime folder")
        self.assertEqual(0, link.info["resume"])
        self.assertIn(("it cannot outlive its link: %s is not a folder; " % usual).encode(),
                      link.table["message"])
        self.assertFalse({b"keep", b"enter"} & set(link.table["features"].split()))
        id = link.spawn("sleep", "1000", role=1)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        link.cut()
        self.assertTrue(gone(pid, link.info["pid"]))

    def test_an_agent_leaves_no_core_and_what_it_starts_keeps_its_limit(self):
        link = self.joined(wrap="ulimit -Sc 64; {}")
        out = link.run("sh", "-c", "ulimit -Sc", role=1)[2]
        self.assertEqual(b"64", out.strip())
        with open("/proc/%d/limits" % link.info["pid"]) as file:
            self.assertEqual("0",
                             [line for line in file if line.startswith("Max core file size")][0].split()[4])

    def test_the_memory_of_agent_and_stub_is_closed_to_their_own_user(self):
        if os.getuid():
            self.skipTest("only root can become another user")
        uid = 61000 + os.getpid() % 1000
        python = os.path.realpath(self.python)
        wrap = "exec setpriv --reuid=%d --regid=%d --clear-groups %s" % (uid, uid, "sh -c '{}'")
        test = subprocess.run(wrap.replace("{}", "test -x %s" % python), shell=True)
        if test.returncode:
            self.skipTest("another user cannot run this Python")
        link = self.joined(wrap=wrap, env=dict(os.environ, HOME="/"), cwd="/", python=python)
        id = link.spawn("sleep", "100", role=1)
        child = link.wait(wire.STARTED, id=id)["pid"]
        # files of a process that may not be inspected belong to root
        owner = lambda pid: os.stat("/proc/%d/environ" % pid).st_uid  # noqa: E731
        with open("/proc/%d/stat" % link.info["pid"]) as file:
            stub = int(file.read().rpartition(")")[2].split()[1])
        self.wait_until(lambda: owner(stub) == 0)
        self.assertEqual((0, uid), (owner(link.info["pid"]), owner(child)))
        self.assertEqual(0, link.end())

    def test_an_agent_that_has_no_files_left_refuses_only_what_it_cannot_start(self):
        for soft, hard in ((41, 41), (40, 40), (40, 4096)):
            link = self.link(key=os.urandom(8).hex(), wrap="ulimit -Sn %d; ulimit -Hn %d; {}" % (soft, hard))
            link.hello()
            link.nodes()
            ids = [link.spawn("sleep", "1000", role=1) for _ in range(20)]
            ends = []
            while len(ends) < len(ids):
                kind, fields = link.next()
                self.assertIsNotNone(kind, link.stderr)
                if kind == wire.STARTED:
                    ends.append(None)
                elif kind == wire.EXIT:
                    ends.append(fields["message"])
            said = set(ends)
            self.assertEqual({None} if hard > 1000 else {None, "cannot start a process: Too many open files"},
                             said)
            self.assertEqual(0, link.end())

    def test_an_idle_link_is_not_taken_for_a_lost_one_however_short_linger_is(self):
        link = self.joined(linger=1)
        time.sleep(2.5)
        self.assertEqual(b"x", link.run("-c", "import sys;sys.stdout.write('x')")[2])

    def test_linger(self):
        link = self.joined(linger=2)
        id = link.spawn("sh", "-c", "sleep 1000 & echo $$ $!; wait", role=1)
        pids = [int(word) for word in link.wait(wire.DATA, id=id)["data"].split()]
        before = time.monotonic()
        link.cut()
        self.assertTrue(gone(link.info["pid"], *pids))
        self.assertGreater(time.monotonic() - before, 1.9)
        self.assertEqual([], self.files())

    def test_orphans_that_left_the_session_are_ended(self):
        link = self.joined()
        pidfile = self.path("pid")
        code = ("import os,sys,time\nif os.fork()==0:\n os.setsid()\n if os.fork()==0:\n"
                "  os.close(0);os.close(1);os.close(2)\n"
                "  f=open(%r,'w');f.write('%%d\\n'%%os.getpid());f.close();os.rename(f.name,%r)\n"
                "  time.sleep(1000)\n os._exit(0)\nos.wait()\n"
                "while not os.path.exists(%r): time.sleep(0.01)\n" % (pidfile + "~", pidfile, pidfile))
        how, value, _, err, _ = link.run("-c", code)
        self.assertEqual((0, 0), (how, value), err)
        self.assertTrue(gone(int(self.wait_for(pidfile))))

    def test_a_child_that_keeps_stdout_open_delays_nothing(self):
        link = self.joined(payload=PATIENT)
        how, value, out, _, _ = link.run("sh", "-c", "trap '' HUP; sleep 1000 & echo $!", role=1)
        self.assertEqual((0, 0), (how, value))
        self.assertTrue(gone(int(out)))

    def test_a_newer_life_ends_tunnels_and_keeps_what_is_resumed(self):
        link = self.joined()
        tunnel = link.spawn("sleep", "1000", role=1)
        kept = link.spawn("-c", "import time;time.sleep(1000)")
        pids = dict((id, link.wait(wire.STARTED, id=id)["pid"]) for id in (tunnel, kept))
        link.kill()
        link = self.attached(2 << 32 | 1)
        self.assertTrue(gone(pids[tunnel]))
        link.send(wire.RESUME, id=kept, attempt=2, stdout_received=0, stdout_limit=1000, stderr_received=0,
                  stderr_limit=1000)
        self.assertEqual(2, link.wait(wire.RESUMED, id=kept)["attempt"])
        self.assertEqual(pids[kept], link.wait(wire.STARTED, id=kept)["pid"])

    def test_what_nobody_claims_is_hung_up(self):
        hasty = bundle.stage1() + bundle.bundle([("UNCLAIMED = 30.0", "UNCLAIMED = 1.5")])
        link = self.joined(payload=hasty)
        id = link.spawn("-c", "import time;time.sleep(1000)")
        pid = link.wait(wire.STARTED, id=id)["pid"]
        link.kill()
        link = self.attached(2 << 32 | 1, payload=hasty)
        with self.assertRaises(Timeout):
            link.wait(wire.FORGET, timeout=1, id=id)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid))

    def test_sigterm_ends_the_agent_cleanly(self):
        link = self.joined()
        id = link.spawn("sleep", "1000", role=1)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        os.kill(link.info["pid"], signal.SIGTERM)
        link.wait(None)
        self.assertTrue(gone(pid, link.info["pid"]))

    def test_a_command_that_may_hold_a_job_is_asked_to_end_and_given_time(self):
        link = self.joined()
        log = self.path("log")
        code = ("trap 'echo TERM >>%s; sleep 1; echo end >>%s; exit' TERM; trap 'echo HUP >>%s' HUP; echo "
                "up; " % ((log,) * 3))
        env = [("EXECNET_CANCEL", "1")]
        ids = [link.spawn("sh", "-c", code + more, role=1, env=env)
               for more in ("sleep 100 & wait", "(%s sleep 100 & wait)" % code)]
        for id in ids:
            link.wait(wire.DATA, id=id)
        link.send(wire.RELEASE, id=ids[0])
        link.wait(wire.FORGET, id=ids[0])
        self.assertEqual(0, link.end())
        self.assertTrue(gone(link.info["pid"], seconds=TIMEOUT))
        with open(log) as file:
            said = file.read().split()
        self.assertEqual(said.count("TERM"), said.count("end"), said)
        self.assertNotIn("HUP", said)

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
        out = link.run("sh", "-c", "ls /proc/self/fd", role=1)[2]
        self.assertLessEqual(set(out.split()), {b"0", b"1", b"2", b"3"})

    def test_signal_dispositions_are_the_usual_ones(self):
        link = self.joined()
        out = link.run("sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status", role=1)[2]
        # those of a C library for itself are of no interest
        self.assertEqual([0, 0], [int(mask, 16) & 0x7fffffff for mask in out.split()[1::2]])

    def test_nobody_waits_for_a_child_that_does_not_get_to_its_exec(self):
        if not hasattr(os, "mkfifo"):
            self.skipTest("no fifos here")
        os.mkfifo(self.path("hang"))
        self.assertTrue(os.access("/bin/sh", os.X_OK))
        os.chmod(self.path("hang"), 0o755)
        link = self.joined()
        link.spawn(self.path("hang"), role=1)
        self.assertEqual(b"x", link.run("-c", "import sys;sys.stdout.write('x')")[2])

    def test_many_processes_at_once(self):
        link = self.joined()
        ids = [link.spawn("sh", "-c", "read x; echo $x; exit %d" % (number % 7), role=1)
               for number in range(300)]
        for number, id in enumerate(ids):
            data = b"%d\n" % number
            link.data(id, 0, data)
            link.send(wire.FIN, id=id, stream=0, length=len(data))
        for number, id in enumerate(ids):
            self.assertEqual((0, number % 7, b"%d\n" % number), link.finish(id)[:3])

    def test_an_idle_agent_sleeps(self):
        link = self.joined()
        # the rest of it is loaded first, after two idle seconds, which takes its time on a busy machine
        deadline = time.monotonic() + TIMEOUT
        before = None
        while before != self.switches(link.info["pid"]):
            self.assertLess(time.monotonic(), deadline, "it wakes all the time")
            before = self.switches(link.info["pid"])
            time.sleep(3)

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
                out = link.run("-c", "import sys;sys.stdout.write('%d.%d.%d'%sys.version_info[:3])",
                               node=name)[2]
                self.assertEqual(table[u"version"], out)


class Sender:
    """Sends `data` to a process's stdin from a thread, as credit allows, over one link after another."""

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
