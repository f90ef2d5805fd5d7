"""What may end kept work before its time, read from the files of a system that is a folder."""
import os
import shutil
import tempfile
import time
import unittest

from agent import perils

ALICE, ROOT = (1000, "alice"), (0, "root")
SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
KILLS = "[Login]\nKillUserProcesses=yes\n"


class Perils(unittest.TestCase):

    def setUp(self):
        self.root = tempfile.mkdtemp() + "/"
        self.addCleanup(shutil.rmtree, self.root)
        self.write("proc/self/cgroup", SESSION)

    def write(self, path, text):
        path = self.root + path
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(path.rpartition("/")[0])
        with open(path, "w") as file:
            file.write(text)

    def note(self, account=ALICE):
        return perils._of_logind(self.root, account)

    def test_a_host_that_ends_what_a_session_leaves_is_named_with_the_remedy(self):
        self.assertEqual("", self.note())
        self.write("etc/systemd/logind.conf", KILLS)
        self.assertTrue("alice" in self.note() and "`loginctl enable-linger`" in self.note())
        self.write("var/lib/systemd/linger/alice", "")
        self.assertEqual("", self.note())

    def test_what_is_in_no_session_or_spared_is_not_in_danger(self):
        self.write("etc/systemd/logind.conf", KILLS)
        self.assertEqual("", self.note(ROOT))
        self.write("etc/systemd/logind.conf", KILLS + "KillExcludeUsers=root alice\n")
        self.assertEqual("", self.note())
        self.write("etc/systemd/logind.conf", KILLS + "KillOnlyUsers=bob\n")
        self.assertEqual("", self.note())
        self.write("etc/systemd/logind.conf", KILLS + "KillOnlyUsers=bob alice\n")
        self.assertTrue(self.note())
        self.write("proc/self/cgroup", "0::/user.slice/user-1000.slice/user@1000.service/app.slice\n")
        self.assertEqual("", self.note())

    def test_the_last_drop_in_counts_and_comments_do_not(self):
        self.write("usr/lib/systemd/logind.conf",
                   "[Login]\n#KillUserProcesses=yes\n[Other]\nKillUserProcesses=yes\n")
        self.assertEqual("", self.note())
        self.write("run/systemd/logind.conf.d/20-kill.conf", KILLS)
        self.assertTrue(self.note())
        self.write("etc/systemd/logind.conf.d/30-spare.conf", "[Login]\nKillUserProcesses = no\n")
        self.assertEqual("", self.note())
        # a file of the same name in /etc replaces that of the distribution
        os.unlink(self.root + "etc/systemd/logind.conf.d/30-spare.conf")
        self.write("etc/systemd/logind.conf.d/20-kill.conf", "")
        self.assertEqual("", self.note())

    def test_containers_and_allocations_are_named(self):
        self.assertEqual("", perils._of_container(self.root, {}))
        self.write("proc/1/environ", "PATH=/bin\0container=podman\0")
        self.assertTrue("container" in perils._of_container(self.root, {}))
        self.write("proc/1/environ", "xcontainer=1\0")
        self.assertEqual("", perils._of_container(self.root, {}))
        for path in (".dockerenv", "run/.containerenv"):
            self.write(path, "")
            self.assertTrue("container" in perils._of_container(self.root, {}))
            os.unlink(self.root + path)
        self.assertEqual("", perils._of_allocation({}))
        for key in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"):
            self.assertEqual("it runs in the allocation %s=12.a2J, and ends with it" % key,
                             perils._of_allocation({key: "12.a\x1b2J"}))

    def test_the_clock_goes_on(self):
        clock = perils.calendar()
        before = clock()
        deadline = time.time() + 60
        while clock() <= before:
            self.assertTrue(time.time() < deadline)


if __name__ == "__main__":
    unittest.main()
