"""End to end, on interpreters that can fork: processes with a terminal (remote/agent/terminal.py). Run by
hosts.py."""
import os
import re

from case import Host, alive, gone
from daemon import LIFE, payload, sha, wire

SIZE = [("terminal", b"24 80")]
READY = b"ready\r\n"


class Terminal:
    """A process with a terminal, as its client sees it."""

    def __init__(self, link, *argv, node="", **how):
        self.link = link
        self.id = link.spawn(*argv, node=node, options=how.pop("options", SIZE), **how)
        self.seen = b""
        self.typed = 0
        self.received = 0

    def type(self, data):
        self.link.data(self.id, self.typed, data)
        self.typed += len(data)

    def finish_input(self):
        self.link.send(wire.FIN, id=self.id, stream=0, length=self.typed)

    def until(self, text):
        """Read until the output has this text, and return what came before it."""
        while text not in self.seen:
            fields = self.link.wait(wire.DATA, id=self.id, stream=1)
            self.seen += fields["data"]
            self.received += len(fields["data"])
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self, release=True):
        """Return how it ended, its value, and the rest of its output."""
        got = {1: b"x" * self.received}
        how, value, out, err, message = self.link.finish(self.id, got=got, release=release)
        assert err == b"", err
        return how, value, self.seen + out[self.received:], message

    def pid(self):
        return self.link.wait(wire.STARTED, id=self.id)["pid"]


class Terminals(Host):

    def terminal(self, *argv, **how):
        if not self.links:
            self.joined()
        return Terminal(self.links[-1], *argv, **how)

    def shell(self, code, *args, **how):
        return self.terminal("sh", "-c", code, "sh", *args, **how)

    def test_it_is_the_terminal_of_its_session_and_has_its_size_from_the_start(self):
        shell = self.shell("stty size; tty; test -t 0 -a -t 1 -a -t 2 && echo all; ps -o tty= -p $$;"
                           "sh -c 'echo on its terminal > /dev/tty'", options=[("terminal", b"50 132")])
        self.assertIn(b"terminal", self.links[0].table["features"].split())
        self.assertEqual(0, self.links[0].wait(wire.FIN, id=shell.id, stream=2)["length"])
        how, value, out, _ = shell.end()
        lines = out.decode().split("\r\n")
        self.assertEqual((0, 0, "50 132", "all", "on its terminal"),
                         (how, value, lines[0], lines[2], lines[4]))
        self.assertEqual(lines[1], "/dev/" + lines[3].strip())

    def test_what_is_no_size_is_refused_in_words(self):
        for size in (b"", b"24", b"24 80 1", b"-1 80", b"24 65536", b"a b", b"\xff"):
            how, value, _, message = self.terminal("true", options=[("terminal", size)]).end()
            self.assertEqual((2, 22), (how, value))
            self.assertIn("cannot make a terminal of size", message)
        how, value, _, message = self.terminal("no-such-command").end()
        self.assertEqual((2, 2), (how, value))
        self.assertIn("cannot execute no-such-command", message)

    def test_another_size_is_told_and_so_is_the_same_one(self):
        shell = self.shell("trap 'echo size $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done")
        shell.until(READY)
        link = self.links[0]
        for sequence, rows, columns in ((1, 30, 90), (2, 30, 90), (5, 65535, 1)):
            link.send(wire.SIZE, id=shell.id, sequence=sequence, rows=rows, columns=columns)
            shell.until(b"size %d %d\r\n" % (rows, columns))
        link.send(wire.SIZE, id=shell.id, sequence=5, rows=1, columns=1)
        link.send(wire.SIZE, id=shell.id, sequence=4, rows=2, columns=2)
        link.send(wire.SIZE, id=shell.id, sequence=6, rows=3, columns=3)
        self.assertNotIn(b"size", shell.until(b"size 3 3\r\n"))
        plain = link.spawn("sleep", "1000", node="")
        link.send(wire.SIZE, id=plain, sequence=1, rows=3, columns=3)
        link.wait(wire.STARTED, id=plain)
        link.send(wire.RELEASE, id=shell.id)
        link.send(wire.RELEASE, id=plain)

    def test_keys_and_signals_go_to_the_foreground(self):
        shell = self.shell("set -m; trap 'echo outer' INT;"
                           "sh -c 'trap \"echo inner; exit 3\" INT; echo begun;"
                           "while :; do sleep 0.05; done';"
                           "echo status $?")
        shell.until(b"begun\r\n")
        self.links[0].send(wire.SIGNAL, id=shell.id, sequence=1, mask=1 << 2)
        shell.until(b"inner\r\n")
        self.assertNotIn(b"outer", shell.until(b"status 3\r\n"))
        self.assertEqual((0, 0), shell.end()[:2])
        cat = self.terminal("cat")
        cat.type(b"a\n")
        cat.until(b"a\r\na\r\n")
        cat.type(b"\x03")
        self.assertEqual((1, 2), cat.end()[:2])

    def test_the_end_of_input_is_typed_and_leaves_the_terminal(self):
        code = "cat; printf 'over. '; stty size; echo done"
        for typed in (b"", b"line\n", b"lin"):
            shell = self.shell(code)
            if typed:
                shell.type(typed)
                shell.until(typed.strip())
            shell.finish_input()
            how, value, out, _ = shell.end()
            self.assertEqual((0, 0), (how, value))
            self.assertTrue(out.endswith(b"over. 24 80\r\ndone\r\n"), out)

    def test_backspace_removes_a_character_of_utf8(self):
        shell = self.shell("read line; printf %s \"$line\" | wc -c", env=[("LC_ALL", "C.UTF-8")])
        shell.type(u"\xe4b\xfc\x7f\x7f\n".encode("utf-8"))
        self.assertIn(b"\n2\r\n", shell.end()[2])

    def test_whoever_closes_the_output_hangs_up(self):
        shell = self.shell("trap 'echo hup > %s; exit 4' HUP; echo ready; while :; do sleep 0.05; done"
                           % self.path("hup"))
        shell.until(READY)
        self.links[0].send(wire.STOP, id=shell.id, stream=1)
        self.assertEqual("hup", self.wait_for(self.path("hup")))
        self.assertEqual(shell.id, self.links[0].wait(wire.STOP, id=shell.id, stream=0)["id"])
        exit = self.links[0].wait(wire.EXIT, id=shell.id)
        self.assertEqual((0, 4), (exit["how"], exit["value"]))

    def test_at_its_release_the_whole_session_ends(self):
        shell = self.shell("set -m; trap '' HUP; sleep 1000 & echo pid $!; sh -c 'trap \"\" HUP TERM; echo"
                           " pid $$; while :; do sleep 0.05; done'")
        pids = [shell.pid()]
        for _ in range(2):
            shell.until(b"pid ")
            pids.append(int(shell.until(b"\r\n")))
        self.links[0].send(wire.RELEASE, id=shell.id)
        self.assertTrue(gone(*pids), pids)

    def test_all_output_arrives_however_late_and_much_it_is(self):
        shell = self.shell("(head -c 700000 /dev/zero | tr '\\0' x) & wait; printf end")
        how, value, out, _ = shell.end()
        self.assertEqual((0, 0, 700003, b"xend"), (how, value, len(out), out[-4:]))
        for _ in range(20):
            self.assertEqual((0, 0, b"last words"), self.terminal("printf", "last words").end()[:3])

    def test_output_stops_at_its_credit(self):
        shell = self.shell("head -c 300000 /dev/zero | tr '\\0' x; printf end", limit=5000)
        got = b""
        while len(got) < 5000:
            got += self.links[0].wait(wire.DATA, id=shell.id, stream=1)["data"]
        self.assertEqual(5000, len(got))
        # nor is anything sent on a later turn
        for token in (1, 2):
            self.links[0].send(wire.PING, token=token)
            self.links[0].wait(wire.PONG, token=token)
        self.assertEqual([], [kind for kind, _ in self.links[0].backlog if kind == wire.DATA])
        shell.received = len(got)
        how, value, out, _ = shell.end()
        self.assertEqual((0, 0, 295003, b"xend"), (how, value, len(out), out[-4:]))

    def test_input_waits_for_whoever_reads_it(self):
        shell = self.shell("stty raw -echo; echo ready; sleep 0.3; head -c 300000 | sha256sum; cat")
        shell.until(b"ready\n")
        # every part of it differs from every other one
        data = b"".join(b"%08x" % number for number in range(300000 // 8))
        self.feed(shell, data)
        self.assertEqual(sha(data).encode(), shell.until(b" "))
        self.links[0].send(wire.RELEASE, id=shell.id)

    def feed(self, shell, data):
        link, position, limit = self.links[0], 0, 32768
        while position < len(data):
            while position >= limit:
                limit = link.wait(wire.CREDIT, id=shell.id, stream=0)["limit"]
            part = data[position:min(limit, position + 65536)]
            link.data(shell.id, position, part)
            position += len(part)

    def test_a_cut_link_changes_nothing(self):
        shell = self.shell("trap 'echo size $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done")
        shell.until(READY)
        pid = shell.pid()
        self.links[0].cut()
        link = self.joined(LIFE | 2)
        link.send(wire.RESUME, id=shell.id, attempt=2, stdout_received=shell.received,
                  stdout_limit=shell.received + 100000, stderr_received=0, stderr_limit=100000)
        self.assertEqual(0, link.wait(wire.RESUMED, id=shell.id)["stdin_received"])
        link.send(wire.SIZE, id=shell.id, sequence=0, rows=24, columns=80)
        link.send(wire.SIZE, id=shell.id, sequence=1, rows=10, columns=20)
        shell.link = link
        self.assertEqual(b"", shell.until(b"size 10 20\r\n"))
        self.assertTrue(alive(pid))
        link.send(wire.RELEASE, id=shell.id)
        self.assertTrue(gone(pid))

    def test_a_program_that_hangs_its_terminal_up_does_not_take_the_agent_along(self):
        code = ("import os,signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
                "hung = __import__('ctypes').CDLL(None).vhangup()\n"
                "with open(%r, 'w') as file: file.write('%%d\\n' %% hung)\n" % self.path("hung"))
        python = self.terminal("-c", code, node="n1")
        self.assertEqual((0, 0), python.end()[:2])
        if self.wait_for(self.path("hung")) != "0":
            self.skipTest("this account may not hang a terminal up")

    def test_an_agent_whose_end_of_a_terminal_fails_does_not_spin(self):
        # as on systems where the agent's own hold on the other end does not help
        released = payload(("            self.core.child_output_closed(process, STDERR)\n",
                            "            terminal.leave()\n"
                            "            self.core.child_output_closed(process, STDERR)\n"))
        link = self.joined(payload=released)
        closed, spent, over = self.path("closed"), self.path("spent"), self.path("over")
        # as much processor time as the agent would get if it spins
        code = ("import os,time\n"
                "def tell(path):\n"
                "    with open(path, 'w') as file: file.write('x\\n')\n"
                "for fd in (0, 1, 2): os.close(fd)\n"
                "tell(%r)\nuntil = sum(os.times()[:2]) + 1\n"
                "while sum(os.times()[:2]) < until: pass\n"
                "tell(%r)\nwhile not os.path.exists(%r): time.sleep(0.01)\n" % (closed, spent, over))
        python = self.terminal("-c", code, node="n1")
        self.wait_for(closed)
        before = self.cpu(link.info["pid"])
        self.wait_for(spent)
        self.assertLess(self.cpu(link.info["pid"]) - before, 0.3, "the agent spins")
        open(over, "w").close()
        self.assertEqual((0, 0), python.end()[:2])

    def cpu(self, pid):
        with open("/proc/%d/stat" % pid) as file:
            times = file.read().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def test_the_interpreter_is_interactive(self):
        python = self.terminal("-q" if self.python_is_3() else "-i", node="n1",
                               env=[("TERM", "dumb"), ("PYTHON_BASIC_REPL", "1")])
        python.until(b">>> ")
        python.type(b"import time; print('sl' + 'eeps'); time.sleep(1000)\r")
        python.until(b"sleeps\r\n")
        python.type(b"\x03")
        python.until(b"KeyboardInterrupt")
        python.until(b">>> ")
        python.type(b"6 * 7\r")
        python.until(b"42\r\n")
        python.until(b">>> ")
        python.type(b"\x04")
        self.assertEqual((0, 0), python.end()[:2])

    def python_is_3(self):
        version = dict(self.links[0].table if self.links else self.joined().table)["version"]
        return not re.match(b"2[.]", version)
