"""End to end: what an agent tells of its processes, and the signals of others (remote/agent/look.py). Run by
hosts.py."""
import struct
import time

from case import Host, gone
from daemon import TIMEOUT, payload, wire

# processor time: a busy machine gives less of it than passes
BURN = """import os,sys,time
until=time.time()+1.5
while time.time()<until or sum(os.times()[:2])<0.5: pass
sys.stdout.write('x');sys.stdout.flush();sys.stdin.read()"""
UNKNOWN = (1 << 64) - 1


def look(link):
    """Return the table and the rows, by id, of one look."""
    link.send(wire.LOOK)
    fields = link.wait(wire.LOOKED)
    rows = {}
    for row in fields["rows"]:
        id, *numbers, size = struct.unpack(">16sIIQQQH", row[:50])
        assert len(row) == 50 + size
        rows[id] = tuple(numbers) + (row[50:].decode("utf-8"),)
    return dict(fields["table"]), rows


class Looking(Host):

    how = {}
    exact = True  # cpu time in hundredths of a second

    def test_a_session_is_told_with_all_that_it_uses(self):
        link = self.joined(**self.how)
        if b"look" not in link.table[u"features"].split():
            self.skipTest("this interpreter does not know its processes")
        facts, rows = look(link)
        self.assertEqual({}, rows)
        self.assertEqual(3, len([float(word) for word in facts["load"].split()]))
        burning = link.spawn("-c", BURN)
        sleeping = link.spawn("sh", "-c", "sleep 1000 & sleep 1000 & echo; wait", role=1)
        link.wait(wire.DATA, id=burning)
        link.wait(wire.DATA, id=sleeping)
        pids = dict((id, link.wait(wire.STARTED, id=id)["pid"]) for id in (burning, sleeping))
        link.backlog = []
        until = time.monotonic() + TIMEOUT
        while True:
            _, rows = look(link)
            self.assertEqual(pids, dict((id, row[0]) for id, row in rows.items()))
            if rows[sleeping][1] == 3:
                break
            self.assertLess(time.monotonic(), until)
            time.sleep(0.2)
        pid, count, age, cpu, memory, command = rows[burning]
        self.assertTrue(1000 <= age < 1000 * TIMEOUT, age)
        self.assertTrue((300 if self.exact else 0) <= cpu <= age + 1000, (cpu, age))
        self.assertTrue(1 << 20 < memory < 1 << 33, memory)
        # a command is told so far; how long its options are is for the machine to say
        self.assertIn("jython" if self.jython else "until=time.time()", command)
        self.assertIn("sleep 1000 & sleep", rows[sleeping][5])
        link.send(wire.RELEASE, id=sleeping)
        link.wait(wire.FORGET, id=sleeping)
        self.assertEqual([burning], list(look(link)[1]))
        self.assertEqual(0, link.end())

    def test_somebody_elses_kill_ends_a_process(self):
        link = self.joined(**self.how)
        if b"look" not in link.table[u"features"].split():
            self.skipTest("this interpreter does not know its processes")
        id = link.spawn("sleep", "1000", role=1)
        pid = link.wait(wire.STARTED, id=id)["pid"]
        link.send(wire.KILL, id=id, sequence=1 << 32 | 1, mask=1 << 15)
        self.assertEqual(1 << 32 | 1, link.wait(wire.KILLED, id=id)["sequence"])
        self.assertEqual((1, 15), link.finish(id)[:2])
        self.assertTrue(gone(pid))
        self.assertEqual(0, link.end())


class LookingElsewhere(Looking):
    """The same where there is no /proc but `ps`."""

    how = {"payload": payload(('self.linux = os.path.exists("/proc/self/stat")', "self.linux = False"),
                              ("PS_EVERY = 5.0", "PS_EVERY = 0.0"))}
    exact = False
