"""Where the disk's files are made, and the child that writes them, without an agent."""
import os
import shutil
import struct
import tempfile
import unittest

from agent import spool

MOUNTS = (b"sysfs /sys sysfs rw 0 0\n/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n"
          b"/dev/vdb /tmp/big xfs rw 0 0\ntmpfs /home/a\\040b tmpfs rw 0 0\n")


class Folders(unittest.TestCase):

    def test_the_cache_folder_comes_first_and_nothing_relative(self):
        self.assertEqual(["/x/execnet", "/h/.cache/execnet", "/var/tmp/execnet-7"],
                         spool.folders({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, 7))
        self.assertEqual(["/var/tmp/execnet-7"], spool.folders({"XDG_CACHE_HOME": "x"}, 7))

    def test_what_is_in_memory_is_no_disk(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(MOUNTS)
            file.flush()
            for folder, holds in (("/", True), ("/var/tmp/execnet-7", True), ("/tmp/x", False),
                                  ("/tmpx", True), ("/tmp/big/x", True), ("/home/a b/.cache", False)):
                self.assertEqual(holds, spool.is_on_disk(folder, file.name), folder)


class Child(unittest.TestCase):
    """The child's side, forked as the agent does."""

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp(dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, home):
        requests, self.write = os.pipe()
        self.read, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.environ["XDG_CACHE_HOME"] = home
                spool._settle([requests, answers])
                spool.serve(requests, answers)
            finally:
                os._exit(0)
        os.close(requests)
        os.close(answers)

    def end(self):
        os.close(self.write)
        self.assertEqual(b"", os.read(self.read, 10))
        os.close(self.read)
        os.waitpid(self.pid, 0)

    def say(self, what, number, position, data=b"", size=None, modulus=100):
        head = spool.HEAD.pack(what, number, modulus, position, len(data) if size is None else size)
        os.write(self.write, head + data)

    def answer(self):
        what, number, position, size = spool.ANSWER.unpack(self.receive(spool.ANSWER.size))
        return what, number, position, size if what == spool.STORED else self.receive(size)

    def receive(self, size):
        data = b""
        while len(data) < size:
            part = os.read(self.read, size - len(data))
            self.assertTrue(part)
            data += part
        return data

    def test_files_are_rings_without_a_name_and_answers_come_in_order(self):
        self.start(self.folder)
        self.say(spool.STORE, 1, 0, b"a" * 100)
        self.say(spool.STORE, 2, 0, b"z" * 10)
        self.say(spool.STORE, 1, 180, b"b" * 30)
        self.say(spool.LOAD, 1, 180, size=40)
        self.say(spool.LOAD, 2, 0, size=5)
        self.assertEqual([(spool.STORED, 1, 0, 100), (spool.STORED, 2, 0, 10), (spool.STORED, 1, 180, 30)],
                         [self.answer() for _ in range(3)])
        self.assertEqual((spool.LOADED, 1, 180, b"b" * 30 + b"a" * 10), self.answer())
        self.assertEqual((spool.LOADED, 2, 0, b"z" * 5), self.answer())
        self.assertEqual([], os.listdir(self.folder))
        self.say(spool.CLOSE, 1, 0)
        self.say(spool.LOAD, 1, 0, size=5)
        self.assertEqual((spool.FAILED, 1, 0), self.answer()[:3])
        self.end()

    def test_a_folder_that_is_open_to_others_is_not_used(self):
        os.mkdir(self.folder + "/execnet", 0o777)
        os.chmod(self.folder + "/execnet", 0o777)
        self.start(self.folder)
        self.say(spool.STORE, 1, 0, b"a" * 100)
        self.assertEqual((spool.STORED, 1, 0, 100), self.answer())
        self.end()
        with open(self.folder + "/execnet/x", "w"):
            pass  # it was neither used nor removed

    def test_it_ends_in_the_middle_of_a_request(self):
        self.start(self.folder)
        os.write(self.write, spool.HEAD.pack(spool.STORE, 1, 100, 0, 50) + b"abc")
        self.end()

    def test_requests_and_answers_have_no_gaps(self):
        self.assertEqual((25, 17), (spool.HEAD.size, spool.ANSWER.size))
        self.assertRaises(struct.error, spool.HEAD.pack, b"s", 1 << 32, 0, 0, 0)


if __name__ == "__main__":
    unittest.main()
