"""End to end, on interpreters that can fork: kept work (remote/agent/kept.py and what it loads). Run by
hosts.py."""
import os
import random
import signal
import time

from case import Host, alive, gone
from daemon import LIFE, TIMEOUT, bundle, payload, sha, wire

OTHER = b"2" * 16
# writes as many lines of 8 bytes as its argument says, says so in a file, and stays
LINES = ("import sys,time\nout=getattr(sys.stdout,'buffer',sys.stdout)\nn=int(sys.argv[1])\n"
         "for at in range(0,n,8192):\n"
         " out.write(b''.join([('%07d\\n'%i).encode('ascii') for i in range(at,min(at+8192,n))]))\n"
         "out.flush()\nf=open(sys.argv[2],'w');f.write('done\\n');f.close()\ntime.sleep(1000)\n")
# as LINES, but with as little work as can be
BLOCKS = ("import os,sys,time\nn=int(sys.argv[1])\n"
          "for at in range(n):\n"
          " data=b'%08x' % at * 8192 if sys.version_info[0]>2 else ('%08x'%at)*8192\n"
          " while data: data=data[os.write(1,data):]\n"
          "f=open(sys.argv[2],'w');f.write('done\\n');f.close()\ntime.sleep(1000)\n")
# a program that lets others in: answers each line of each connection in capitals
KERNEL = """
import array, os, socket, sys, threading
try:
    door = socket.socket(fileno=int(os.environ['EXECNET_ENTRY']))
except TypeError:
    fd = int(os.environ['EXECNET_ENTRY'])
    door = socket.fromfd(fd, socket.AF_UNIX, socket.SOCK_STREAM)
def receive():
    if hasattr(door, 'recvmsg'):
        byte, parts, _, _ = door.recvmsg(1, socket.CMSG_SPACE(4))
        if not byte:
            os._exit(0)
        assert byte == b'e' or sys.argv[1] == 'any', byte
        return array.array('i', parts[0][2][:4])[0]
    import _multiprocessing
    return _multiprocessing.recvfd(door.fileno())
def serve(fd):
    while True:
        data = os.read(fd, 65536)
        if not data:
            os.close(fd)
            return
        if data == b'wait\\n': door.send(b'w')
        if data == b'read\\n': door.send(b'r')
        data = data.upper()
        while data:
            data = data[os.write(fd, data):]
while True:
    thread = threading.Thread(target=serve, args=(receive(),))
    thread.daemon = True
    thread.start()
"""


class Keeping(Host):

    def joined(self, epoch=LIFE | 1, **how):
        return Host.joined(self, epoch, **dict({"features": b"keep"}, **how))

    def tearDown(self):
        for link in self.links:
            if link.process.poll() is None:
                try:
                    link.send(wire.END_ALL)
                    link.wait(None)
                except (OSError, ValueError):
                    pass
        agents = [link.info["pid"] for link in self.links if hasattr(link, "info")]
        if [pid for pid in agents if alive(pid)]:
            # what is kept outlives SIGTERM
            last = max(link.epoch for link in self.links)
            link = Host.joined(self, last + 1, features=b"keep")
            link.send(wire.END_ALL)
            link.wait(None)
        Host.tearDown(self)

    def keep(self, link, *argv, name="train", seconds=1000, out="wait", err="wait", more=(), **how):
        value = ("%s %d %s %s" % (name, seconds, out, err)).encode()
        return link.spawn(*argv, options=[("keep", value)] + list(more), **how)

    def told(self, link, name="train", **match):
        """Return the next KEPT of this name that matches, as text."""
        while True:
            table = {key: value.decode() for key, value in link.wait(wire.KEPT)["table"]}
            if table["name"] == name and all(table.get(key) == value for key, value in match.items()):
                return table

    def take(self, link, id, owner=OTHER, tenure=0, attempt=50, program="second"):
        link.send(wire.TAKE, id=id, attempt=attempt, incarnation=link.incarnation, owner=owner, tenure=tenure,
                  pid=7, program=program, host="h")
        return link.wait(wire.TAKEN, id=id)

    def resume(self, link, id, taken, out=0, limit=1 << 20):
        # what an earlier holder was sent is void
        link.backlog = [(kind, fields) for kind, fields in link.backlog
                        if kind not in (wire.SKIP, wire.DATA) or fields["id"] != id]
        link.send(wire.RESUME, id=id, attempt=taken["last"] + 1, stdout_received=out,
                  stdout_limit=out + limit, stderr_received=0, stderr_limit=limit)
        return link.wait(wire.RESUMED, id=id, attempt=taken["last"] + 1)

    def leave(self, link, id, owner=b"o" * 16):
        link.send(wire.LEAVE, id=id, owner=owner, end=0)
        return link.wait(wire.LEFT, id=id)

    def take_all(self, link, id, end):
        """Take it once the agent has read all its output."""
        taken = []

        def has_all():
            if taken:
                self.leave(link, id, OTHER)
            taken[:] = [self.take(link, id)]
            return taken[0]["stdout_end"] >= end
        self.wait_until(has_all)
        return taken[0]

    def output(self, link, id, end, got=0):
        """Return SKIP's position and the bytes up to `end`; credit is granted as they arrive."""
        start, data, granted, others = got, [], 0, []
        while got < end:
            kind, fields = link.next()
            self.assertIsNotNone(kind, link.stderr)
            if fields.get("id") != id or fields.get("stream") != 1 or kind not in (wire.SKIP, wire.DATA):
                others.append((kind, fields))
                continue
            if kind == wire.SKIP:
                self.assertEqual([], data)
                start = got = fields["position"]
            else:
                self.assertEqual(got, fields["position"])
                data.append(fields["data"])
                got += len(fields["data"])
            if got >= granted + (1 << 18) or kind == wire.SKIP:
                granted = got
                link.send(wire.CREDIT, id=id, stream=1, received=got, limit=got + (1 << 20))
        link.backlog = others + link.backlog
        return start, b"".join(data)

    def pid(self, link, id):
        return link.wait(wire.STARTED, id=id)["pid"]

    def rss(self, pid):
        with open("/proc/%d/status" % pid) as file:
            return int(file.read().partition("VmRSS:")[2].split()[0]) * 1024

    # --- who dies

    def test_it_survives_link_end_newer_life_and_sigterm_and_another_takes_it_over(self):
        link = self.joined()
        self.assertIn(b"keep", link.table["features"].split())
        self.assertEqual(0, link.wait(wire.KEEPS)["count"])
        id = self.keep(link, "-c", "import sys\nwhile 1:\n print(sys.stdin.readline().upper())\n"
                       " sys.stdout.flush()")
        pid = self.pid(link, id)
        self.assertEqual(str(pid), self.told(link, pid=str(pid))["pid"])
        link.data(id, 0, b"one\n")
        self.output(link, id, 5)
        other = link.spawn("sleep", "1000", node="")
        other_pid = self.pid(link, other)
        link.kill()
        link = self.joined(LIFE | 2)
        self.assertEqual(1, link.wait(wire.KEEPS)["count"])
        os.kill(link.info["pid"], signal.SIGTERM)
        link.wait(wire.FORGET, id=other)
        self.assertTrue(gone(other_pid))
        self.assertEqual(0, link.end())
        self.assertTrue(alive(pid) and alive(link.info["pid"]))
        link = self.joined(2 << 32 | 1)
        self.assertEqual("train", self.told(link)["name"])
        taken = self.take(link, id)
        self.assertEqual((2, 4), (taken["tenure"], taken["stdin"]))
        self.resume(link, id, taken)
        link.data(id, 4, b"two\n")
        self.assertEqual((0, b"ONE\n\nTWO\n\n"), self.output(link, id, 10))
        link.send(wire.LEAVE, id=id, owner=OTHER, end=1)
        link.wait(wire.FORGET, id=id)
        self.assertTrue(gone(pid))

    def test_time_ends_it_with_the_agent_that_stayed_for_it(self):
        link = self.joined()
        id = self.keep(link, "sh", "-c", "trap '' HUP; echo ready; while :; do sleep 1; done", node="",
                       seconds=1)
        pid = self.pid(link, id)
        self.output(link, id, 6)
        agent = link.info["pid"]
        self.assertEqual(0, link.end())
        self.assertTrue(gone(pid, agent))

    def test_the_exit_stays_for_everybody_until_its_time_is_over(self):
        link = self.joined()
        id = self.keep(link, "sh", "-c", "echo said; exit 7", node="", out="last=100")
        self.assertEqual((0, 7, b"said\n", b""), link.finish(id, release=False)[:4])
        self.assertEqual("", self.leave(link, id)["program"])
        self.assertEqual("0 7", self.told(link, exit="0 7")["exit"])
        for owner in (b"a" * 16, b"b" * 16):
            taken = self.take(link, id, owner)
            self.assertEqual((0, 5), (taken["stdout_start"], taken["stdout_end"]))
            self.resume(link, id, taken)
            self.assertEqual((0, 7, b"said\n"), link.finish(id, release=False)[:3])

    def test_a_name_that_is_taken_starts_nothing(self):
        link = self.joined()
        self.keep(link, "sleep", "1000", node="")
        id = self.keep(link, "touch", self.path("ran"), node="")
        exit = link.wait(wire.EXIT, id=id)
        self.assertEqual(2, exit["how"])
        self.assertIn("the name train is taken on this host", exit["message"])
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_an_agent_of_another_version_is_not_replaced_unless_that_is_said(self):
        link = self.joined()
        pid = self.pid(link, self.keep(link, "sleep", "1000", node=""))
        later = bundle.stage1() + bundle.bundle([("VERSION = 2", "VERSION = 3")])
        second = self.link(LIFE | 2, payload=later, version=3)
        self.assertEqual(92, second.process.wait(TIMEOUT))
        second.close()
        self.assertIn(b"keeps work here: train", second.stderr)
        self.assertTrue(alive(pid))
        self.assertEqual(b"x", link.run("-c", "import sys;sys.stdout.write('x')")[2])
        third = self.link(LIFE | 3, payload=later, version=3,
                          config=[("node.n1", ""), ("end_kept", "1")])
        third.hello()
        self.assertEqual(b"2", third.table["replaced"])
        self.assertTrue(gone(pid, link.info["pid"]))

    def test_a_removed_socket_is_bound_again_while_work_is_kept(self):
        link = self.joined(payload=payload(("CHECK_SOCKET_UNREACHED = 5.0", "CHECK_SOCKET_UNREACHED = 0.2")))
        id = self.keep(link, "sleep", "1000", node="")
        self.pid(link, id)
        link.end()
        for path in self.files():
            if path.endswith(".sock"):
                os.unlink(path)
        self.wait_until(lambda: [path for path in self.files() if path.endswith(".sock")])
        self.assertEqual(link.incarnation, self.joined(LIFE | 2).incarnation)

    def test_what_nobody_can_reach_any_more_is_not_kept(self):
        link = self.joined()
        while True:
            pid = self.pid(link, self.keep(link, "sleep", "1000", node=""))
            link.end()
            for path in self.files():
                os.unlink(path)
            other = self.joined(self.links[-1].epoch + 1)
            if other.incarnation != link.incarnation:
                break
            # it has found out in time
            other.send(wire.END_ALL)
            other.wait(None)
            self.assertTrue(gone(link.info["pid"]))
            link = self.joined(other.epoch + 1)
        self.assertTrue(gone(pid, link.info["pid"]))

    # --- output

    def test_the_last_bytes_of_much_output_are_there_exactly(self):
        link = self.joined()
        lines = 3 * (1 << 20)
        for name, policy, size in (("a", "last=4194304", 4 << 20), ("b", "spill=10000000", 10000000),
                                   ("c", "last=5", 5)):
            done = self.path(name)
            id = self.keep(link, "-c", LINES, str(lines), done, name=name, out=policy)
            self.leave(link, id)
            self.wait_for(done)
            end = lines * 8
            taken = self.take_all(link, id, end)
            self.assertEqual((end - size, end), (taken["stdout_start"], taken["stdout_end"]))
            self.resume(link, id, taken)
            start, data = self.output(link, id, end)
            expected = b"".join(b"%07d\n" % at for at in range((end - size) // 8, lines))[-size:]
            self.assertEqual((end - size, sha(expected)), (start, sha(data)))
            link.send(wire.LEAVE, id=id, owner=OTHER, end=1)
            link.wait(wire.FORGET, id=id)

    def test_a_gibibyte_that_nobody_reads_costs_neither_memory_nor_disk(self):
        link = self.joined()
        agent = link.info["pid"]
        most = {}
        for name, policy in (("a", "spill=67108864"), ("b", "last=4194304")):
            done = self.path(name)
            id = self.keep(link, "-c", BLOCKS, str(1 << 14), done, name=name, out=policy)
            self.leave(link, id)
            most[name] = 0

            def measured(name=name, done=done):
                most[name] = max(most[name], self.rss(agent))
                return os.path.exists(done)
            self.wait_until(measured)
            self.take_all(link, id, 1 << 30)
            reader = link.spawn(node="", role=4, options=[("keep", ("%s 1048576" % name).encode())])
            start, data = self.output(link, reader, 1 << 30)
            self.assertEqual((1 << 30) - (1 << 20), start)
            self.assertEqual(b"".join(b"%08x" % at * 8192 for at in range((1 << 14) - 16, 1 << 14)), data)
        limit = 100 if self.rss(agent) > 60 << 20 else 48
        self.assertLess(max(most.values()) >> 20, limit)

    def test_what_is_larger_than_the_memory_of_all_rings_goes_on_to_the_disk(self):
        released = payload(("MEMORY = 64 * 1048576", "MEMORY = 4 * 1048576"))
        link = self.joined(payload=released)
        blocks, size = 1000, 500 << 16
        id = self.keep(link, "-c", BLOCKS, str(blocks), self.path("done"), out="last=%d" % size)
        self.leave(link, id)
        self.wait_for(self.path("done"))
        taken = self.take_all(link, id, blocks << 16)
        self.assertEqual((blocks << 16) - size, taken["stdout_start"])
        self.resume(link, id, taken)
        expected = b"".join(b"%08x" % at * 8192 for at in range(500, 1000))
        self.assertEqual(sha(expected), sha(self.output(link, id, blocks << 16)[1]))

    def test_what_waits_is_complete_however_late_it_is_read(self):
        link = self.joined()
        id = self.keep(link, "-c", LINES, "200000", self.path("done"), limit=16384)
        self.pid(link, id)
        link.kill()
        link = self.joined(LIFE | 2)
        taken = self.take(link, id)
        self.resume(link, id, taken)
        self.assertEqual((0, sha(b"".join(b"%07d\n" % at for at in range(200000)))),
                         (lambda found: (found[0], sha(found[1])))(self.output(link, id, 1600000)))

    def test_takers_that_die_at_any_moment_leave_nothing_half(self):
        rng = random.Random(7)
        link = self.joined()
        code = "import os\nwhile 1:\n d=os.read(0,70000)\n while d: d=d[os.write(1,d):]\n"
        id = self.keep(link, "-c", code)
        self.pid(link, id)
        epoch = LIFE | 1
        written = b"".join(b"%07d\n" % at for at in range(400000))
        for turn in range(40):
            owner = b"%016d" % turn
            taken = self.take(link, id, owner, attempt=turn + 10)
            link.backlog = []  # what came before is for the holder before
            got = rng.randint(taken["stdout_start"], taken["stdout_end"])
            link.send(wire.RESUME, id=id, attempt=taken["last"] + 1, stdout_received=got,
                      stdout_limit=got + 40000, stderr_received=0, stderr_limit=1000)
            resumed = link.wait(wire.RESUMED, id=id, attempt=taken["last"] + 1)
            self.assertEqual(taken["stdin"], resumed["stdin_received"])
            sent, limit = resumed["stdin_received"], resumed["stdin_limit"]
            for _ in range(rng.randrange(60)):
                if sent < min(limit, len(written)) and rng.randrange(2):
                    part = written[sent:min(limit, sent + rng.randint(1, 65536))]
                    link.data(id, sent, part)
                    sent += len(part)
                    continue
                link.send(wire.PING, token=turn)
                link.wait(wire.PONG, token=turn)
                for kind, fields in link.backlog:
                    if fields.get("id") == id and kind == wire.CREDIT:
                        limit = fields["limit"]
                    elif fields.get("id") == id and kind == wire.DATA:
                        self.assertEqual(got, fields["position"])
                        self.assertEqual(written[got:got + len(fields["data"])], fields["data"])
                        got += len(fields["data"])
                        link.send(wire.CREDIT, id=id, stream=1, received=got, limit=got + 40000)
                link.backlog = []
            what = rng.randrange(3)
            if what == 0:
                link.kill()
                epoch += rng.choice([1, LIFE])
                link = self.joined(epoch)
            elif what == 1:
                self.leave(link, id, owner)
        self.assertGreater(got, 100000)

    def test_a_full_disk_makes_the_output_shorter_and_is_noted(self):
        # 512 or 1024 bytes each, by the shell
        link = self.joined(wrap="ulimit -f 2000; {}")
        id = self.keep(link, "-c", LINES, str(1 << 20), "/dev/null", out="spill=1000000000")
        self.pid(link, id)
        self.leave(link, id)
        note = ""
        while "held" not in note:
            note = self.told(link).get("note", "")
        self.assertIn("less of its output is held: ", note)
        taken = self.take_all(link, id, 8 << 20)
        self.resume(link, id, taken)
        start, data = self.output(link, id, 8 << 20)
        self.assertEqual((taken["stdout_start"], (8 << 20) - start), (start, len(data)))
        self.assertEqual(b"%07d\n" % ((1 << 20) - 1), data[-8:])
        self.assertGreaterEqual(len(data), 1 << 20)

    def test_without_a_folder_for_it_output_stays_in_memory_and_that_is_noted(self):
        released = payload(("is_on_disk(folder):\n", "False:\n"))
        link = self.joined(payload=released)
        id = self.keep(link, "-c", LINES, "100000", self.path("done"), out="spill=1000000")
        self.leave(link, id)
        self.wait_for(self.path("done"))
        note = ""
        while "held" not in note:
            note = self.told(link).get("note", "")
        self.assertIn("is in memory", note)
        taken = self.take_all(link, id, 800000)
        self.assertEqual((800000, 0), (taken["stdout_end"], taken["stdout_start"]))
        self.resume(link, id, taken)
        self.assertEqual(b"".join(b"%07d\n" % at for at in range(100000)), self.output(link, id, 800000)[1])

    def test_a_disk_writer_that_dies_takes_only_what_it_held(self):
        link = self.joined()
        # more than may wait to be written, so that some of it is on the disk
        id = self.keep(link, "-c", LINES, "1600000", self.path("done"), out="spill=100000000")
        self.leave(link, id)
        self.wait_for(self.path("done"))
        agent = link.info["pid"]
        writer, = self.writers(agent)
        os.kill(writer, signal.SIGKILL)
        note = ""
        while "has ended" not in note:
            note = self.told(link).get("note", "")
        taken = self.take_all(link, id, 12800000)
        self.assertTrue(0 < taken["stdout_start"] < 12800000, taken)
        self.resume(link, id, taken)
        data = self.output(link, id, 12800000)[1]
        self.assertEqual(b"1599999\n", data[-8:])

    def test_nobody_waits_for_a_disk_that_has_stopped(self):
        released = payload(("PATIENCE = 60.0  # seconds without", "PATIENCE = 5.0  # seconds without"))
        link = self.joined(payload=released)
        code = LINES.replace("for at", "out.write(b'x'*1000000)\nout.flush()\nsys.stdin.readline()\nfor at")
        id = self.keep(link, "-c", code, "4000000", self.path("done"), out="spill=1000000000")
        self.pid(link, id)  # from here on, what looks like the agent is no child of it that is about to start
        self.leave(link, id)
        agent = link.info["pid"]
        self.wait_until(lambda: self.writers(agent))
        writer, = self.writers(agent)
        os.kill(writer, signal.SIGSTOP)
        taken = self.take_all(link, id, 1000000)
        self.resume(link, id, taken)
        link.data(id, 0, b"\n")
        self.leave(link, id, OTHER)
        note = ""
        while "has not answered" not in note:
            note = self.told(link).get("note", "")
        self.wait_for(self.path("done"))
        self.assertTrue(gone(writer))
        self.assertEqual(33000000, self.take_all(link, id, 33000000)["stdout_end"])

    def test_what_writes_to_the_disk_ends_with_the_agent_and_leaves_nothing(self):
        cache = self.path("cache")
        link = self.joined(env=dict(os.environ, XDG_CACHE_HOME=cache))
        id = self.keep(link, "-c", LINES, "400000", self.path("done"), out="spill=100000000")
        self.leave(link, id)
        self.wait_for(self.path("done"))
        agent = link.info["pid"]
        pids = self.children(agent)
        writer, = self.writers(agent)
        os.kill(agent, signal.SIGKILL)
        link.close()
        self.assertTrue(gone(agent, writer))
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.assertFalse(os.path.isdir(cache) and os.listdir(cache))
        for path in self.files():
            os.unlink(path)

    def children(self, pid):
        from daemon import children
        return [child for child in children(pid) if alive(child)]

    def writers(self, agent):
        return [pid for pid in self.children(agent) if self.command(pid) == self.command(agent)]

    def command(self, pid):
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                return file.read()
        except OSError:
            return b""

    def test_a_reader_reads_along_and_holds_nobody_up(self):
        link = self.joined()
        id = self.keep(link, "-c", "import sys\nfor line in iter(sys.stdin.readline, ''):\n"
                       " sys.stdout.write(line * 100); sys.stdout.flush()\nsys.exit(3)", out="last=100000")
        reader = link.spawn(node="", role=4, options=[("keep", b"train all")], limit=100)
        link.wait(wire.RESUMED, id=reader)
        link.data(id, 0, b"x" * 99 + b"\n")
        self.output(link, id, 10000)
        got = b""
        while len(got) < 100:
            got += link.wait(wire.DATA, id=reader)["data"]
        self.assertEqual(100, len(got))
        link.send(wire.FIN, id=id, stream=0, length=100)
        exit = link.wait(wire.EXIT, id=id)
        self.assertEqual((0, 3, 10000), (exit["how"], exit["value"], exit["stdout_length"]))
        how, value, out, _, _ = link.finish(reader, got={1: got})
        self.assertEqual((0, 3, (b"x" * 99 + b"\n") * 100), (how, value, out))

    # --- entries

    def kernel(self, link, **how):
        word = "any" if self.is_2() else "e"
        id = self.keep(link, "-c", KERNEL, word, more=[("enter", b"")], **how)
        self.assertEqual("1", self.told(link)["enter"])
        return id, self.pid(link, id)

    def is_2(self):
        return dict(self.links[0].table)["version"].startswith(b"2.")

    def enter(self, link, owner=b"o" * 16):
        return link.spawn(node="", role=3, owner=owner, options=[("enter", b"train")])

    def test_programs_enter_one_after_the_other_and_their_end_is_not_its_end(self):
        link = self.joined()
        self.assertIn(b"enter", link.table["features"].split())
        id, pid = self.kernel(link)
        first = self.enter(link)
        self.assertEqual(pid, link.wait(wire.STARTED, id=first)["pid"])
        link.data(first, 0, b"hello\n")
        self.output(link, first, 6)
        link.send(wire.FIN, id=first, stream=0, length=6)
        exit = link.wait(wire.EXIT, id=first)
        self.assertEqual((0, 0, 6, 0), (exit["how"], exit["value"], exit["stdout_length"],
                                        exit["stderr_length"]))
        second = self.enter(link)
        link.wait(wire.STARTED, id=second)
        refused = link.wait(wire.EXIT, id=self.enter(link, OTHER))
        self.assertIn("only the program that holds train", refused["message"])
        self.take(link, id)
        link.wait(wire.FORGET, id=second)
        third = self.enter(link, OTHER)
        link.data(third, 0, b"again\n")
        self.assertEqual(b"AGAIN\n", self.output(link, third, 6)[1])
        link.send(wire.RELEASE, id=third)
        link.wait(wire.FORGET, id=third)
        self.assertTrue(alive(pid))

    def test_much_passes_through_an_entry_and_a_broken_link_loses_nothing(self):
        link = self.joined()
        self.kernel(link)
        id = self.enter(link)
        data = b"".join(b"%07d\n" % at for at in range(200000))
        limit, sent, got, cut = 32768, 0, b"", False
        while len(got) < len(data):
            if sent < min(limit, len(data)):
                part = data[sent:min(limit, sent + 65536)]
                link.data(id, sent, part)
                sent += len(part)
                continue
            kind, fields = link.next()
            self.assertIsNotNone(kind, link.stderr)
            if fields.get("id") != id:
                continue
            if kind in (wire.CREDIT, wire.RESUMED):
                limit = fields["limit" if kind == wire.CREDIT else "stdin_limit"]
            elif kind == wire.DATA:
                self.assertEqual(len(got), fields["position"])
                got += fields["data"]
                link.send(wire.CREDIT, id=id, stream=1, received=len(got), limit=len(got) + (1 << 18))
            if not cut and len(got) > len(data) // 2:
                cut = True
                link.kill()
                link = self.joined(LIFE | 2)
                link.send(wire.RESUME, id=id, attempt=2, stdout_received=len(got),
                          stdout_limit=len(got) + (1 << 18), stderr_received=0, stderr_limit=1000)
                resumed = link.wait(wire.RESUMED, id=id)
                sent, limit = resumed["stdin_received"], resumed["stdin_limit"]
        self.assertEqual(sha(data.upper()), sha(got))

    def test_that_its_code_waits_is_told(self):
        link = self.joined()
        self.kernel(link)
        id = self.enter(link)
        for word, waits in ((b"wait\n", "1"), (b"read\n", None)):
            link.data(id, 0 if waits else 5, word)
            while self.told(link).get("waits") != waits:
                pass

    def test_only_the_process_itself_has_the_socket(self):
        link = self.joined()
        self.kernel(link)
        out = link.run("sh", "-c", "ls -l /proc/self/fd; echo ${EXECNET_ENTRY-none}", node="")[2]
        self.assertNotIn(b"socket:", out)
        self.assertTrue(out.endswith(b"none\n"))

    def test_the_end_of_the_agent_is_told_by_the_socket(self):
        link = self.joined()
        _, pid = self.kernel(link)
        os.kill(link.info["pid"], signal.SIGKILL)
        self.assertTrue(gone(pid))
        link.close()
        for path in self.files():
            os.unlink(path)

    def test_a_terminal_is_kept_with_its_size(self):
        link = self.joined()
        code = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
        id = self.keep(link, "sh", "-c", code, node="", out="last=1000", more=[("terminal", b"24 80")])
        self.output(link, id, 7)
        link.send(wire.SIZE, id=id, sequence=4, rows=30, columns=90)
        self.output(link, id, 14, 7)
        link.kill()
        link = self.joined(LIFE | 2)
        taken = self.take(link, id)
        self.assertEqual((4, 30, 90, 0), (taken["sizes"], taken["rows"], taken["columns"],
                                          taken["stdout_start"]))
        self.resume(link, id, taken)
        self.assertEqual(b"ready\r\n30 90\r\n", self.output(link, id, 14)[1])
        link.send(wire.SIZE, id=id, sequence=5, rows=31, columns=91)
        self.assertEqual(b"31 91\r\n", self.output(link, id, 21, 14)[1])

    # --- what it costs

    def test_200_idle_ones_cost_little_memory_and_no_processor_time(self):
        link = self.joined()
        agent = link.info["pid"]
        before = self.rss(agent)
        script = "echo up; exec sleep 1000"
        ids = [self.keep(link, "sh", "-c", script, node="", name="n%d" % at, out="last=1048576")
               for at in range(200)]
        for id in ids:
            self.pid(link, id)
            self.leave(link, id)
        link.end()
        used = self.cpu(agent)
        time.sleep(3)
        self.assertLess(self.cpu(agent) - used, 0.05)
        if b"pypy" not in dict(self.links[0].table)["implementation"]:  # which collects when it likes to
            after = self.rss(agent)
            self.assertLess(after - before, 6 << 20, "%d KiB before, %d after" % (before >> 10, after >> 10))
            if self.id().rpartition(".")[0].endswith(("3_11", "3_13")):
                self.assertLess(after, 24 << 20)

    def cpu(self, pid):
        with open("/proc/%d/stat" % pid) as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
