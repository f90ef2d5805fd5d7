"""The loop of an agent."""
import os
import tempfile
import unittest

from agent.loop import BROKEN, IN, OUT, Loop


class Fds(unittest.TestCase):

    def setUp(self):
        self.loop = Loop()
        self.heard = []
        self.read, self.write = os.pipe()
        self.open = set([self.read, self.write])

    def tearDown(self):
        for fd in self.open:
            self.loop.close(fd)

    def hear(self, what, now, event):
        self.heard.append((what, event))

    def turn(self):
        self.heard = []
        self.loop.turn(0)
        return self.heard

    def test_what_is_armed_is_heard_of_until_it_is_not(self):
        self.loop.arm(self.read, IN, self.hear, "read")
        self.loop.arm(self.write, 0, self.hear, "write")
        self.assertEqual([], self.turn())
        os.write(self.write, b"x")
        self.assertEqual([("read", IN)], self.turn())
        self.loop.arm(self.read, 0)
        self.loop.arm(self.write, OUT)
        self.assertEqual([("write", OUT)], self.turn())
        self.loop.disarm(self.write)
        self.assertEqual([], self.turn())
        self.loop.arm(self.write, OUT)
        self.assertEqual([("write", OUT)], self.turn())

    def test_an_end_is_heard_of_whatever_is_armed(self):
        self.loop.arm(self.write, 0, self.hear, "write")
        os.close(self.read)
        self.open.remove(self.read)
        (what, event), = self.turn()
        self.assertTrue(what == "write" and event & BROKEN)

    def test_an_fd_that_was_closed_and_opened_again_is_another_one(self):
        other = os.pipe()
        self.open.update(other)
        self.loop.arm(self.write, OUT, self.hear, "old")
        self.loop.close(self.write)
        again = os.dup(other[1])
        self.assertEqual(self.write, again)
        self.loop.arm(again, OUT, self.hear, "new")
        self.assertEqual([("new", OUT)], self.turn())
        self.loop.forget(again)
        self.assertEqual([], self.turn())

    def test_one_that_another_owner_closed_first_is_forgotten(self):
        self.loop.arm(self.read, IN, self.hear, "read")
        os.close(self.read)
        self.open.remove(self.read)
        self.loop.forget(self.read)
        self.assertEqual([], self.turn())

    def test_files_are_ready_and_others_are_heard_of_as_before(self):
        self.loop.arm(self.write, OUT, self.hear, "write")
        with tempfile.TemporaryFile() as file:
            self.loop.arm(file.fileno(), IN, self.hear, "file")
            self.assertEqual([("file", IN), ("write", OUT)], sorted(self.turn()))
            self.loop.forget(file.fileno())
        self.loop.arm(self.write, 0)
        self.assertEqual([], self.turn())

    def test_a_child_does_not_inherit_it(self):
        import fcntl
        poll = self.loop._poll
        if hasattr(poll, "_epoll"):
            self.assertTrue(fcntl.fcntl(poll._epoll.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC)
