"""End to end, on interpreters that can fork: processes that are started ahead (remote/agent/spare.py). Run by
hosts.py."""
import os
import time

from case import Host, alive, gone
from daemon import LIFE, TIMEOUT, bundle, children, wire

WORD = "import sys;sys.stdout.write('begin ');sys.stdout.flush();sys.stdout.write(sys.stdin.read())"
AHEAD = 2


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
        payload = bundle.stage1() + bundle.bundle([("KEPT = 30.0", "KEPT = 1.0")])
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
