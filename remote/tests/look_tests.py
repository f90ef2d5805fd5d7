"""What a look finds: what `ps` prints, /proc in slices, commands fit for a frame."""
import os
import subprocess
import unittest

from agent import look, wire


def read(row):
    fields = look._row.unpack(row[:look._row.size])
    assert fields[-1] == len(row) - look._row.size
    return fields[:-1] + (row[look._row.size:],)


class Commands(unittest.TestCase):

    def test_what_is_no_text_does_not_break_a_frame(self):
        for said in (b"a\xff\xed\xa0\x80b", b"\xc3", b"\xf0\x9f\x98\x80", u"\xe9".encode("utf-8") * 200):
            clean = look.clean(said)
            self.assertTrue(0 < len(clean) <= look.MOST_COMMAND)
            clean.decode("utf-8")
            self.assertFalse(b"\xed\xa0" in clean)
        self.assertEqual(256, len(look.clean(u"\xe9".encode("utf-8") * 200)))
        self.assertEqual(b"sh -c x", look.clean(b"sh -c x "))

    def test_a_row_without_facts_says_so(self):
        self.assertEqual((b"i" * 16, 0, 1) + 3 * (look.UNKNOWN,) + (b"",), read(look.nothing(b"i" * 16)))


class Ps(unittest.TestCase):

    def test_times_in_all_forms(self):
        for said, seconds in ((b"00:01", 1), (b"0:00.25", 0.25), (b"01:02:03", 3723), (b"2-01:02:03", 176523),
                              (b"100:00", 6000)):
            self.assertEqual(seconds * 1000, look.milliseconds(said))

    def test_a_process_is_counted_with_its_group_and_what_is_below_it(self):
        table = look.parse_ps(b"""
  10   1  10 0:01.00 1-00:00:00 100 python -c x
  12  99  12 0:00.50 00:10 10 moved away
  99  11  99 0:00.50 00:10 10 [zombie]
  11  10  10 0:02 00:10 50
  77   1  77 9:00 00:10 9 somebody else's
 not a line
""")
        self.assertEqual(5, len(table))
        rows = look.ps_rows([(b"a" * 16, 10), (b"b" * 16, 0), (b"c" * 16, 5)], table)
        self.assertEqual((b"a" * 16, 10, 4, 86400000, 4000, 170 * 1024, b"python -c x"), read(rows[0]))
        self.assertEqual([look.nothing(b"b" * 16), look.nothing(b"c" * 16, 5)], rows[1:])

    def test_a_process_below_another_one_of_ours_is_its_own(self):
        table = look.parse_ps(b"10 1 10 0:01 00:10 1 a\n20 10 20 0:01 00:10 1 b\n")
        rows = look.ps_rows([(b"a" * 16, 10), (b"b" * 16, 20)], table)
        self.assertEqual([1, 1], [read(row)[2] for row in rows])

    def test_an_odd_line_is_left_out_and_an_odd_number_is_not_told(self):
        table = look.parse_ps(b"1 1 1 1e400 00:01 1 x\n2 2 2 inf:1 00:01 1 x\n3 3 3 nan 00:01 1 x\n"
                              b"4 4 4 0:01 00:01 99999999999999999999 x\n5 5 5 1e300 -9-00:01 -1 x\n")
        self.assertEqual([4, 5], [line[0] for line in table])
        rows = look.ps_rows([(b"a" * 16, 4), (b"b" * 16, 5)], table)
        self.assertEqual((b"a" * 16, 4, 1, 1000, 1000, look.UNKNOWN, b"x"), read(rows[0]))
        self.assertEqual((b"b" * 16, 5, 1) + 3 * (look.UNKNOWN,) + (b"x",), read(rows[1]))

    def test_it_is_read_in_pieces_and_only_our_commands_are_cleaned(self):
        lines = ["%d 1 %d 0:01 00:10 1 a" % (pid, pid) for pid in range(1, 5001)]
        said = "\n".join(lines).encode("ascii")
        cleaned, pieces, clean, parse = [], [], look.clean, look.parse_ps
        pipe = os.pipe()
        core = Core()
        looker = look.Looker(self, core, {})
        looker.work = child = Child()
        child.outs = {1: pipe[0]}
        try:
            look.clean = lambda command: cleaned.append(command) or clean(command)
            look.parse_ps = lambda piece: pieces.append(piece) or parse(piece)
            while core.told is None:
                if said:
                    os.write(pipe[1], said[:9001])
                    said = said[9001:]
                    if not said:
                        os.close(pipe[1])
                looker._on_ps(child, 7.0, None)
        finally:
            look.clean, look.parse_ps = clean, parse
        self.assertTrue(max([len(piece) for piece in pieces]) <= 2 * look.PS_PIECE)
        self.assertEqual((5000, 1, None), (len(looker.table), len(cleaned), looker.work))
        self.assertTrue(read(look.ps_rows([(b"c" * 16, 5000)], looker.table)[0])[-1] == b"a")

    def close(self, fd):
        os.close(fd)


class Child(object):
    pass


class Core(object):
    """With one process."""

    def __init__(self):
        process = Child()
        process.id, process.pid, process.exit = b"i" * 16, 17, None
        self.processes = {process.id: process}
        self.told = None

    def looked(self, epoch, frame):
        self.told = frame


class Proc(unittest.TestCase):

    def setUp(self):
        if not os.path.exists("/proc/self/stat"):
            self.skipTest("there is no /proc")

    def test_all_of_proc_is_searched_in_slices_and_seldom(self):
        now = [100.0]

        def clock():
            now[0] += look.SLICE / 4
            return now[0]
        # our own may be led from another namespace, which then has no number here
        shell = subprocess.Popen(["setsid", "sh", "-c", "echo; read end"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)
        shell.stdout.readline()
        try:
            self.search(shell.pid, clock)
        finally:
            shell.communicate(b"\n")

    def search(self, mine, clock):
        known, found = {}, []
        turns = len(list(look.rows([(b"i" * 16, mine)], known, found, clock)))
        many = len([name for name in os.listdir("/proc") if name.isdigit()])
        self.assertTrue(turns >= many // 200, (turns, many))
        id, pid, count, age, cpu, memory, command = read(found[0])
        self.assertEqual((b"i" * 16, mine), (id, pid))
        self.assertTrue(count >= 1 and 0 < memory < 1 << 50, found)
        found = []
        self.assertTrue(len(list(look.rows([(b"i" * 16, mine)], known, found, clock))) < 3)
        self.assertEqual(1, len(found))

    def test_a_large_session_is_looked_at_in_slices_too(self):
        now, longest, began = [0.0], [0.0], [0.0]

        def stat(pid):
            now[0] += 0.00001
            if int(pid) > 2000:
                return None
            return b" ".join([b"S", b"1", b"1", b"1"] + [b"1"] * 20).split()

        def file(path):
            now[0] += 0.000005
            words = path.split("/")
            return str(int(words[2]) + 1).encode("ascii") if words[-1] == "children" else b"0 0"

        before = look._stat, look._read
        look._stat, look._read = stat, file
        try:
            found = []
            for _ in look.rows([(b"i" * 16, 1)], {None: 0.0}, found, lambda: now[0]):
                longest[0], began[0] = max(longest[0], now[0] - began[0]), now[0]
        finally:
            look._stat, look._read = before
        self.assertEqual((b"i" * 16, 1, 2000), read(found[0])[:3])
        self.assertTrue(0 < longest[0] < look.SLICE + 0.0001, longest)

    def test_what_ended_leaves_no_trace(self):
        known = {}
        for leaders in ([(b"i" * 16, os.getpid())], []):
            list(look.rows(leaders, known, [], lambda: 1e9))
        self.assertEqual([None], list(known))

    def test_the_facts_of_the_host_are_numbers(self):
        facts = dict(look.facts())
        self.assertEqual(3, len([float(word) for word in facts["load"].split()]))
        self.assertTrue(0 < int(facts["available"]) <= int(facts["memory"]))
        self.assertTrue(float(facts["uptime"]) > 0)
        wire.frame(wire.LOOKED, table=look.facts(), rows=[])
