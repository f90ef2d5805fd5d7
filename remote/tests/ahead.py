"""End to end, on interpreters that can fork: processes that are started ahead (remote/agent/spare.py). Run by
hosts.py."""
import fcntl
import hashlib
import os
import struct
import termios
import time

from case import Host, alive, gone
from daemon import LIFE, TIMEOUT, bundle, children, wire

WORD = "import sys;sys.stdout.write('begin ');sys.stdout.flush();sys.stdout.write(sys.stdin.read())"
AHEAD = 2


def named(data, count=1):
    """Return what names a prefix."""
    return ("%d %s %d" % (len(data), hashlib.sha256(data).hexdigest(), count)).encode()


def unread(pid):
    """Return how many bytes of its stdout wait in the pipe; None if it has ended."""
    try:
        with open("/proc/%d/fd/1" % pid, "rb", buffering=0) as pipe:
            return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
    except OSError:
        return None


class Ahead(Host):
    """A process that does nothing before its stdin is written, as its client says, and the next one like
    it."""

    def first(self, link, **how):
        """Run one such process from start to end. Return the pid of the one that waits then."""
        self.talk(link, **how)
        deadline = time.monotonic() + TIMEOUT
        while True:
            waiting = children(link.info["pid"])  # once: it may end meanwhile
            if waiting:
                return waiting[0]
            self.assertLess(time.monotonic(), deadline, "none is started ahead")
            time.sleep(0.01)

    def talk(self, link, *words, **how):
        """Run one to its end. Return its pid."""
        id = link.spawn("-c", WORD, *words, role=AHEAD, **how)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        link.data(id, 0, b"end")
        link.send(wire.FIN, id=id, stream=0, length=3)
        how, value, out, err, message = link.finish(id)
        self.assertEqual((0, 0, b"begin end", b""), (how, value, out, err), message)
        return pid

    def begun(self, link, data, count=1, sent=0, **how):
        """Start one whose stdin begins with `data`, `sent` of which are sent at once. Return its id, and how
        much of its stdin the host has, as it says."""
        id = link.spawn("-c", WORD, role=AHEAD, options=[("prefix", named(data, count))], **how)
        if sent:
            link.data(id, 0, data[:sent])
        return id, link.wait(wire.RESUMED, id=id)["stdin_received"]

    def ends(self, link, id, data, more=b""):
        """Send the rest of its stdin, which begins with `data`, and check that it was given all."""
        if more:
            link.data(id, len(data), more)
        link.send(wire.FIN, id=id, stream=0, length=len(data + more))
        self.assertEqual(b"begin " + data + more, link.finish(id)[2])

    def until_waiting(self, link, count, said=6):
        """Wait until so many wait and have written so much, and nothing else runs. Return their pids."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            waiting = children(link.info["pid"])
            if [unread(pid) for pid in waiting] == [said] * count:
                return waiting
            self.assertLess(time.monotonic(), deadline, "%d wait" % len(waiting))
            time.sleep(0.01)

    def test_the_next_one_is_there_with_what_it_said_so_far(self):
        link = self.joined()
        waiting = self.first(link)
        self.assertEqual(waiting, self.talk(link))
        another = self.first(link)
        self.assertNotEqual(waiting, another)
        self.assertEqual(0, link.end())
        self.assertTrue(gone(another))

    def test_only_what_was_asked_for_in_the_same_words_gets_it(self):
        link = self.joined()
        waiting = self.first(link)
        for how in ({"env": [("OWN", "1")]}, {"chdir": "/usr"}):
            self.assertNotEqual(waiting, self.talk(link, **how))
        id = link.spawn("-c", WORD)
        self.assertNotEqual(waiting, link.wait(wire.STARTED, id=id)["pid"])
        self.assertTrue(alive(waiting))
        self.assertEqual(waiting, self.talk(link))

    def test_one_that_died_or_cannot_start_is_nobodys(self):
        link = self.joined()
        waiting = self.first(link)
        os.kill(waiting, 9)
        self.assertTrue(gone(waiting))
        self.assertNotEqual(waiting, self.talk(link))
        for _ in range(2):
            id = link.spawn("-c", WORD, role=AHEAD, chdir="/no/such")
            how, _, _, _, message = link.finish(id)
            self.assertEqual(2, how)
            self.assertIn("/no/such", message)
            time.sleep(0.3)

    def test_one_that_waits_has_what_its_stdin_begins_with(self):
        link = self.joined()
        data = b"0123456789" * 1000
        id, received = self.begun(link, data, sent=len(data))
        self.assertIn(received, (0, len(data)))  # if they came together
        self.ends(link, id, data, b" one")
        for sent in (0, 5000, len(data)):
            waiting = self.until_waiting(link, 1)[0]
            id, received = self.begun(link, data, sent=sent)
            self.assertEqual((len(data), waiting), (received, link.wait(wire.STARTED, id=id)["pid"]))
            self.ends(link, id, data, b" two")
        waiting = self.until_waiting(link, 1)[0]
        # not for a stdin that begins with something else, or with nobody knows what
        for other in (data[:-1], data[1:] + b"x"):
            id, received = self.begun(link, other)
            self.assertEqual(0, received)
            self.assertNotEqual(waiting, link.wait(wire.STARTED, id=id)["pid"])
            link.send(wire.RELEASE, id=id)
        self.assertNotEqual(waiting, self.talk(link))
        self.assertTrue(alive(waiting))
        self.assertEqual(0, link.end())
        self.assertTrue(gone(waiting))

    def test_one_that_reads_late_gets_the_rest_when_it_is_wanted(self):
        link = self.joined()
        data, gate = b"x" * 200000, self.path("gate")
        # each waits for a file of its own
        word = "import os,time\nwhile not os.path.exists(%r + str(os.getpid())): time.sleep(0.01)\n" % gate
        for number in range(2):
            waiting = number and self.until_waiting(link, 1, 0)[0]
            id = link.spawn("-c", word + WORD, role=AHEAD, options=[("prefix", named(data))])
            resumed = link.wait(wire.RESUMED, id=id)
            at, limit = resumed["stdin_received"], resumed["stdin_limit"]
            self.assertEqual(number * len(data), at)
            pid = link.wait(wire.STARTED, id=id)["pid"]
            if number:
                self.assertEqual(waiting, pid)
            open(gate + str(pid), "w").close()
            while at < len(data):
                size = min(limit - at, 60000, len(data) - at)
                if size:
                    link.data(id, at, data[at:at + size])
                    at += size
                else:
                    limit = link.wait(wire.CREDIT, id=id, stream=0)["limit"]
            self.ends(link, id, data, b"end")

    def test_two_wait_where_one_was_not_enough_and_as_many_as_were_announced(self):
        link = self.joined()
        data = b"prefix"

        def run(*had, **how):
            begun = [self.begun(link, data, **how) for _ in had]
            self.assertEqual(list(had), [received for _, received in begun])
            for id, received in begun:
                if not received:
                    link.data(id, 0, data)
                self.ends(link, id, data)
        run(0)
        self.until_waiting(link, 1)
        run(len(data), 0)
        self.until_waiting(link, 2)
        run(len(data), len(data))
        run(0, count=1000, chdir="/usr")
        self.until_waiting(link, min(8, 2 + os.cpu_count()))

    def test_a_prefix_that_cannot_be_one_is_an_error_of_that_process(self):
        link = self.joined()
        for role, name in ((AHEAD, b"none"), (AHEAD, b"300000" + named(b"abc")[1:]), (0, named(b"abc"))):
            how, value, _, _, message = link.finish(
                link.spawn("-c", WORD, role=role, options=[("prefix", name)]))
            self.assertEqual((2, 22), (how, value))
            self.assertIn("a prefix of its stdin was named, but", message)
        id, _ = self.begun(link, b"abc")
        link.send(wire.FIN, id=id, stream=0, length=2)
        link.wait(wire.STOP, id=id)
        self.assertEqual(b"begin ", link.finish(id)[2])
        self.talk(link)

    def test_signals_and_hanging_up_reach_it(self):
        link = self.joined()
        waiting = self.first(link)
        id = link.spawn("-c", WORD, role=AHEAD)
        self.assertEqual(waiting, link.wait(wire.STARTED, id=id)["pid"])
        link.send(wire.SIGNAL, id=id, sequence=1, mask=1 << 15)
        self.assertEqual((1, 15), link.finish(id)[:2])
        waiting = self.first(link)
        id = link.spawn("-c", WORD, role=AHEAD)
        self.assertEqual(waiting, link.wait(wire.STARTED, id=id)["pid"])
        link.send(wire.RELEASE, id=id)
        self.assertTrue(gone(waiting))

    def test_few_wait_and_none_for_long(self):
        # on a busy machine others would go first for longer than that
        changes = [("KEPT = 60.0", "KEPT = 1.0"), ("COURTESY = 20.0", "COURTESY = 0.0")]
        payload = bundle.stage1() + bundle.bundle(changes)
        link = self.joined(payload=payload)
        for number in range(6):
            self.talk(link, str(number))
        time.sleep(0.3)
        self.assertLessEqual(len(children(link.info["pid"])), 4)
        waiting = self.first(link)
        self.assertTrue(gone(waiting))
        self.assertNotEqual(waiting, self.talk(link))

    def test_it_is_not_kept_for_another_life_of_the_daemon(self):
        link = self.joined()
        waiting = self.first(link)
        link.cut()
        second = self.joined(2 * LIFE | 1)
        self.assertEqual(link.incarnation, second.incarnation)
        self.assertTrue(gone(waiting))
