"""Processes that are started without a fork: where, and that they are as those that are forked."""
import os
import resource
import shutil
import tempfile
import unittest

from agent import children, loop, quick

LOCAL = b"""/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
systemd-1 /proc/sys/fs/binfmt_misc autofs rw 0 0
gvfsd-fuse /run/user/1000/gvfs fuse.gvfsd-fuse rw 0 0
tmpfs /tmp tmpfs rw 0 0
"""


class Where(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.path = os.path.join(self.folder, "mounts")

    def tearDown(self):
        shutil.rmtree(self.folder)

    def mounts(self, said):
        with open(self.path, "wb") as file:
            file.write(said)
        mounts = quick.Mounts(self.path)
        try:
            return mounts.are_local()
        finally:
            mounts.give_up()

    def test_only_where_no_file_system_can_make_the_agent_wait(self):
        self.assertTrue(self.mounts(LOCAL))
        for line in (b"server:/home /home nfs4 rw 0 0\n", b"sshfs /mnt fuse.sshfs rw 0 0\n",
                     b"auto /net autofs rw 0 0\n", b"/ /running 9p rw 0 0\n"):
            self.assertFalse(self.mounts(LOCAL + line), line)
        for said in (b"", b"\n", b"what\n"):
            self.assertFalse(self.mounts(said))
        self.assertFalse(quick.Mounts(self.path + ".none").are_local())

    def test_not_for_a_while_after_an_exec_that_took_long(self):
        with open(self.path, "wb") as file:
            file.write(LOCAL)
        mounts = quick.Mounts(self.path)
        mounts.rest_until = loop.clock() + 1000
        self.assertFalse(mounts.are_local())
        mounts.rest_until = loop.clock()
        self.assertTrue(mounts.are_local())
        mounts.give_up()


@unittest.skipUnless(children.QUICK, "there is no posix_spawn here")
class Spawn(unittest.TestCase):

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp()).encode("ascii")
        self.before, quick._mounts = quick._mounts, self
        self.rest_until = 0.0
        self.ours = os.getcwd(), resource.getrlimit(resource.RLIMIT_CORE)

    def are_local(self):
        return True

    def tearDown(self):
        quick._mounts = self.before
        os.chdir(self.ours[0])
        shutil.rmtree(self.folder)

    def spawn(self, *argv, **more):
        """Return the pid and what it writes to its stdout."""
        read, write = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        env = more.get("env", {b"HOME": self.folder, b"PATH": b"/no/such:/usr/bin:/bin"})
        limits = {resource.RLIMIT_CORE: (0, self.ours[1][1])}
        try:
            pid = quick.spawn(list(argv), env, (b"/", more.get("chdir", self.folder)), (null, write, null),
                              children.RESTORED, limits, resource)
        finally:
            os.close(write)
            os.close(null)
        said = b""
        while True:
            part = os.read(read, 4096)
            if not part:
                break
            said += part
        os.close(read)
        if pid is not None:
            os.waitpid(pid, 0)
        self.assertEqual(("/", self.ours[1]), (os.getcwd(), resource.getrlimit(resource.RLIMIT_CORE)))
        return pid, said

    def test_it_is_as_one_that_was_forked(self):
        before = children.signal.signal(children.signal.SIGHUP, children.signal.SIG_IGN)
        try:
            line = (b"pwd; echo $PWD $0 $1; ulimit -Sc; cut -d' ' -f6 /proc/$$/stat; "
                    b"exec grep -E 'Sig(Ign|Blk)' /proc/self/status")
            pid, said = self.spawn(b"sh", b"-c", line, b"a b", b"\xff")
        finally:
            children.signal.signal(children.signal.SIGHUP, before)
        said = said.split(b"\n")
        self.assertEqual([self.folder, self.folder + b" a b \xff", b"0", b"%d" % pid], said[:4])
        # glibc has two signals of its own
        ignored = [int(line.split()[1], 16) & 0x7fffffff for line in said[4:6]]
        self.assertEqual([0, 0], ignored)

    def test_what_fails_is_left_to_a_fork_which_says_why(self):
        os.mkfifo(self.folder + b"/fifo")
        os.chmod(self.folder + b"/fifo", 0o755)
        with open(self.folder + b"/broken", "w") as file:
            file.write("#!/no/such\n")
        os.chmod(self.folder + b"/broken", 0o755)
        for argv, chdir in ((b"no-such", b""), (self.folder + b"/fifo", b""), (b"./fifo", self.folder),
                            (b"./broken", self.folder), (self.folder, b""), (b"true", b"/no/such"),
                            (b"true", b"~"), (b"true", b"/proc/self"), (b"/proc/self/exe", b"")):
            self.assertEqual((None, b""), self.spawn(argv, chdir=chdir), argv)
        env = {b"HOME": b"/no/such", b"PATH": b"/usr/bin:/bin"}
        self.assertEqual((None, b""), self.spawn(b"true", env=env))
        self.assertEqual(b"x", self.spawn(b"printf", b"x", chdir=b"")[1])

    def test_without_path_the_start_folder_is_not_searched(self):
        with open(self.folder + b"/printf", "w") as file:
            file.write("#!/bin/sh\necho taken\n")
        os.chmod(self.folder + b"/printf", 0o755)
        env = {b"HOME": self.folder}
        self.assertEqual(b"x", self.spawn(b"printf", b"x", env=dict(env))[1])
        self.assertEqual(b"taken\n", self.spawn(b"./printf", b"x", env=dict(env))[1])
        env[b"PATH"] = b":/bin"
        self.assertEqual(b"taken\n", self.spawn(b"printf", b"x", env=env)[1])

    def test_one_that_took_long_is_the_last_for_a_while(self):
        clock, times = quick.clock, [0.0]

        def jumping():
            times[0] += 2 * quick.SLOW
            return times[0]

        quick.clock = jumping
        try:
            self.spawn(b"true")
        finally:
            quick.clock = clock
        self.assertTrue(self.rest_until > quick.PAUSE)
