"""End to end: the folders of packages on a host, when something goes wrong there. Run by
kernel_store_tests.py."""
import os
import shutil
import stat
import subprocess
import threading
import time
import unittest

from kernel_packages import ONE, Hosts
from packages_client import Files

from kernel_client import TIMEOUT

DAY = 86400
SENT = ["one.py", "pack/data.bin", "pack/inner.py"]
CODE = "import one, pack.inner; channel.send((one.x, pack.inner.y))"
ROOT = os.getuid() == 0
NOBODY = 54321


def can_mount():
    return subprocess.call(["unshare", "-m", "true"], stderr=subprocess.DEVNULL) == 0


class Folders(Hosts):

    def folder(self, files, where=None):
        return os.path.join(where or self.store, files.id)

    def check(self, files, sent, **options):
        """Open another gateway, which gets these files, and finds everything as it should be."""
        client, values = self.used([files], CODE, **options)
        self.assertEqual(sent, sorted(client.sent))
        self.assertEqual([(1, 2)], values)
        self.assertEqual([files.id], self.names())
        return client


class Store(Folders):

    # --- writers

    def begun(self, files, cut, **options):
        """Return a gateway whose client has sent only so many bytes, all of which were written."""
        client = self.supplier([files], **options)
        client.manifests(client.hear("lacks"))
        client.send_files(client.hear("wants"), cut)
        pid = client.process.pid

        def written():
            return sum(os.lstat(os.path.join(where, name)).st_size
                       for draft in self.drafts() if draft.startswith(".new-%s-%d" % (files.id, pid))
                       for where, _, names in os.walk(os.path.join(self.store, draft)) for name in names)

        self.until(lambda: written() >= cut)
        return client

    def test_a_writer_that_is_killed_leaves_nothing_half(self):
        files = Files(ONE)
        for cut in (3, 100000, 250000)[:1 if self.jython else 3]:
            client = self.begun(files, cut)
            client.process.kill()
            client.wait()
            self.assertEqual([], self.names())
            self.assertEqual(1, len(self.drafts()))
        # what was complete is not sent again
        client, values = self.used([files], CODE)
        self.assertEqual(SENT if self.jython else ["pack/inner.py"], sorted(client.sent))
        self.assertEqual(([(1, 2)], [files.id]), (values, self.names()))

    def test_somebody_who_waits_takes_over_from_a_killed_writer(self):
        if self.jython:
            self.skipTest("Jython has no locks")
        files = Files(ONE)
        writer = self.begun(files, 100000)
        waiting = self.supplier([files])
        words = waiting.hear("waits")
        self.assertEqual("some, which process %d receives" % writer.process.pid, words)
        self.assertEqual(words, waiting.hear("waits"))  # again, each second
        writer.process.kill()
        waiting.answer()
        self.assertEqual(["lacks", "wants"], waiting.told[2:])
        self.assertEqual([(1, 2)], waiting.run(CODE))

    def test_of_many_at_a_time_one_receives(self):
        files = [Files(ONE), Files({"two.py": b"2\n"}, "another")]
        self.digest()
        clients = [self.supplier(files[::-1 if number % 2 else 1])
                   for number in range(3 if self.jython else 20)]
        threads = [threading.Thread(target=client.answer) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        for client in clients:
            self.assertEqual([(1, 2)], client.run(CODE))
        if not self.jython:
            self.assertEqual(sorted(SENT + ["two.py"]), sorted(sum([client.sent for client in clients], [])))
        self.assertEqual(sorted(each.id for each in files), self.names())
        self.assertEqual([], self.drafts())

    # --- what happens to a folder

    def test_a_folder_is_hashed_again_after_another_boot_or_a_touch(self):
        files = Files(ONE)
        self.check(files, SENT)
        seal, = [name for name in os.listdir(self.store) if name.startswith(files.id + ".seal-")]
        seal = os.path.join(self.store, seal)
        os.rename(seal, seal + "x")  # as of another boot
        self.check(files, [])
        self.assertTrue(os.path.exists(seal))
        before = os.lstat(seal).st_ino
        os.utime(os.path.join(self.folder(files), "one.py"), (5, 5))
        self.check(files, [])
        self.assertNotEqual(before, os.lstat(seal).st_ino)

    def damage(self, files, harm, sent=(), mended=True):
        """Do something to a folder. The next gateway finds it whole."""
        folder = self.folder(files)
        before = os.lstat(folder).st_ino
        harm(folder)
        self.check(files, list(sent))
        self.assertEqual(mended, before != os.lstat(folder).st_ino)
        names = sorted(name for _, _, names in os.walk(folder) for name in names
                       if not name.endswith((".pyc", ".class")))
        self.assertEqual(sorted(os.path.basename(path) for path in ONE), names)
        for name in ONE:
            self.assertEqual(0o100444, os.lstat(os.path.join(folder, name)).st_mode)

    def test_a_changed_file_is_noticed(self):
        files = Files(ONE)
        self.check(files, SENT)

        def change(folder):
            path = os.path.join(folder, "one.py")
            about = os.lstat(path)
            os.chmod(path, 0o644)
            with open(path, "r+b") as file:
                file.write(b"x = 7\n")
            os.chmod(path, 0o444)
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))

        self.damage(files, change, ["one.py"])

    def test_a_missing_an_additional_and_a_writable_file_are_noticed(self):
        files = Files(ONE)
        self.check(files, SENT)
        self.damage(files, lambda folder: os.remove(os.path.join(folder, "pack/inner.py")), ["pack/inner.py"])
        self.damage(files, lambda folder: shutil.copy(os.path.join(folder, "one.py"),
                                                      os.path.join(folder, "pack", "added.py")))
        if not self.jython:
            self.damage(files, lambda folder: os.chmod(os.path.join(folder, "one.py"), 0o666))
            self.damage(files, lambda folder: os.chmod(os.path.join(folder, "pack"), 0o777))
            self.damage(files, lambda folder: os.chmod(folder, 0o777))

    def test_a_link_or_file_instead_of_a_folder_is_replaced(self):
        files = Files(ONE)
        self.check(files, SENT)

        def link(folder):
            os.rename(folder, self.path("elsewhere"))
            os.symlink(self.path("elsewhere"), folder)

        def write(folder):
            shutil.rmtree(folder)
            with open(folder, "w"):
                pass

        folder = self.folder(files)
        for harm, sent in self.few((link, []), (write, SENT)):
            harm(folder)
            self.check(files, sent)
            self.assertTrue(stat.S_ISDIR(os.lstat(folder).st_mode))

    @unittest.skipUnless(ROOT, "only root can give files away")
    def test_what_belongs_to_another_user_is_not_used(self):
        files = Files(ONE)
        self.check(files, SENT)
        self.damage(files, lambda folder: os.lchown(os.path.join(folder, "one.py"), NOBODY, NOBODY))
        self.damage(files, lambda folder: os.lchown(folder, NOBODY, NOBODY))
        os.chown(os.path.dirname(self.store), NOBODY, NOBODY)
        client, values = self.used([files], CODE)
        where = os.path.join(self.home, ".cache/execnet/packages")
        self.assertEqual([os.path.join(where, files.id)], client.packages["folders"])
        self.assertEqual(([(1, 2)], [files.id]), (values, self.names(where)))

    def test_a_folder_that_is_mended_stays_usable_for_those_who_use_it(self):
        files = Files(ONE)
        client = self.opened([files])
        os.remove(os.path.join(self.folder(files), "one.py"))
        other = self.opened([files])
        self.assertEqual([(1, 2)], client.run(CODE))
        self.assertEqual([(1, 2)], other.run(CODE))
        self.until(lambda: not self.drafts())  # the damaged one is deleted in a thread

    def test_compiled_files_come_along(self):
        first = Files(ONE)
        self.used([first], CODE)
        second = Files(dict(ONE, **{"pack/data.bin": b"other"}))
        client = self.opened([second])
        self.assertEqual(["pack/data.bin"], client.sent)
        compiled = [self.compiled(self.folder(each)) for each in (first, second)]
        self.assertEqual(3, len(compiled[0]))
        self.assertEqual(compiled[0], compiled[1])
        self.assertEqual([(1, 2)], client.run(CODE))

    def compiled(self, folder):
        found = {}
        for where, _, names in os.walk(folder):
            for name in names:
                if name.endswith((".pyc", ".class")):
                    with open(os.path.join(where, name), "rb") as file:
                        found[os.path.relpath(os.path.join(where, name), folder)] = file.read()
        return found

    def test_compiled_files_of_a_damaged_folder_do_not(self):
        files = Files(ONE)
        self.used([files], CODE)
        os.remove(os.path.join(self.folder(files), "pack/data.bin"))
        self.opened([files])
        self.assertEqual({}, self.compiled(self.folder(files)))

    # --- where

    def test_places_that_others_control_are_passed_over(self):
        files = Files(ONE)
        around = os.path.dirname(self.store)
        os.mkdir(around, 0o700)
        os.mkdir(self.path("elsewhere"), 0o700)
        where = os.path.join(self.home, ".cache/execnet/packages")

        def open_to_others():
            os.chmod(around, 0o777)

        def link():
            os.rmdir(around)
            os.symlink(self.path("elsewhere"), around)

        for harm in self.few(open_to_others, link):
            harm()
            client, values = self.used([files], CODE)
            self.assertEqual([os.path.join(where, files.id)], client.packages["folders"])
            self.assertEqual([], os.listdir(self.path("elsewhere")))

    def test_a_folder_can_be_named(self):
        files = Files(ONE)
        where = self.path("named")
        client, values = self.used([files], CODE, env={"EXECNET_PACKAGES_FOLDER": where})
        self.assertEqual([os.path.join(where, "packages", files.id)], client.packages["folders"])
        os.chmod(where, 0o777)
        client = self.supplier([files], env={"EXECNET_PACKAGES_FOLDER": where})
        self.assertEqual(94, client.wait())
        self.assertIn("on this host: %s is open to other users" % where, client.stderr.decode())
        colon = self.path("one:two")  # children would not find it
        for where, why in self.few((colon, "has a `:` in its name"), ("re/lative", "is no absolute path")):
            client = self.supplier([files], env={"EXECNET_PACKAGES_FOLDER": where})
            self.assertEqual(94, client.wait())
            self.assertIn("on this host: %s %s" % (where, why), client.stderr.decode())
            self.assertFalse(os.path.exists(where))

    def nowhere(self):
        """Make all places unusable: nobody can make folders in /proc."""
        self.home = "/proc"
        self.changes = [('TMP = "/tmp"', 'TMP = "/proc"'), ('("/var/tmp", "/dev/shm")', '("/proc",)')]

    def test_where_nothing_can_be_written_pure_sets_are_in_memory(self):
        self.nowhere()
        sets = [Files(ONE), Files({"two.py": b"from pack.inner import y\n", "three/__init__.py": b""}, "two")]
        code = ("import one, two, pkgutil, three; channel.send((one.x, two.y, len(pkgutil.get_data('pack', "
                "'data.bin')), one.__file__))")
        client = self.supplier(sets)
        if self.jython:
            self.assertEqual(94, client.wait())
            return
        client.answer()
        self.assertEqual(sorted(SENT + ["two.py"]), sorted(client.sent))
        values = client.run(code)
        self.assertEqual((1, 2, 179200), values[0][:3])
        self.assertIn("/proc/self/fd/", values[0][3])

    def test_where_nothing_can_be_written_native_sets_are_an_error(self):
        self.nowhere()
        client = self.supplier([Files(ONE, native=True)])
        self.assertEqual(94, client.wait())
        error = client.stderr.decode()
        self.assertIn("execnet: cannot keep packages on this host: cannot make /proc/execnet-",
                      error)
        self.assertEqual(3, error.count("cannot make"))

    # --- how much, how long

    def age(self, files, seconds):
        """Say that a set was used so long ago."""
        for end in (".lock", ".open"):
            path = os.path.join(self.store, files.id + end)
            if os.path.exists(path):
                os.utime(path, (time.time() - seconds,) * 2)

    def test_what_nobody_used_for_a_day_goes(self):
        old, new, held = Files(ONE, "old"), Files({"two.py": b"2\n"}, "new"), Files({"three.py": b""}, "held")
        for files in (old, new):
            self.used([files], "0")
        holder = self.opened([held], [("    collect(store)\n", "    pass\n")])
        for files, age in ((old, DAY + 9), (new, DAY - 99), (held, 9 * DAY)):
            self.age(files, 9 if self.jython and files is held else age)
        left = [".new-%s-1" % old.id, ".gone-%s-1" % old.id]
        for name in left:
            os.makedirs(os.path.join(self.store, name, "pack"))
            if self.jython:
                os.utime(os.path.join(self.store, name), (5, 5))
        self.collected_long_ago()
        self.opened([new])
        self.until(lambda: self.names() == sorted([new.id, held.id]))
        self.until(lambda: not self.drafts())
        self.assertEqual([], [name for name in os.listdir(self.store) if name.startswith(old.id)])
        self.assertEqual(0, holder.exit())

    def test_a_stamp_from_the_future_is_no_reason_to_stay(self):
        old, new = Files(ONE, "old"), Files({"two.py": b"2\n"}, "new")
        self.used([old], "0")
        self.age(old, -9 * DAY)
        self.collected_long_ago()
        self.opened([new])
        self.until(lambda: self.names() == [new.id])

    def test_what_is_too_much_goes_the_oldest_first(self):
        if self.jython:
            self.skipTest("where there are no locks, what was used today stays")
        sets = [Files({"data": b"%d" % number * 100000}, str(number)) for number in range(4)]
        for number, files in enumerate(sets):
            self.used([files], "0")
            self.age(files, (4, 3, 2, 1)[number] * 3600)
        self.collected_long_ago()
        new = Files(ONE)
        size = sum(map(len, ONE.values()))
        self.opened([new], [("MOST = 2147483648", "MOST = %d" % (size + 250000))])
        self.until(lambda: self.names() == sorted(each.id for each in sets[2:] + [new]))

    def test_the_use_is_noted_every_hour(self):
        files = Files(ONE)
        self.opened([files], [("HOUR = 3600", "HOUR = 0.1")])
        stamp = os.path.join(self.store, files.id + (".open" if self.jython else ".lock"))
        os.utime(stamp, (5, 5))
        self.until(lambda: os.lstat(stamp).st_mtime > 5)

    def test_places_that_are_full(self):
        if self.jython:
            self.skipTest("Jython does not say how much room there is")
        files, old = Files(ONE), Files({"two.py": b"2\n"}, "old")
        self.used([old], "0")
        # room when nothing else is there
        room = ('            about = os.statvfs(self.path)\n',
                '            about = os.statvfs(self.path)\n'
                '            if self.path == %r and [1 for n in os.listdir(self.path) if len(n) == 64]:\n'
                '                return False\n' % self.store)
        client = self.opened([files], [room])
        self.assertEqual([self.folder(files)], client.packages["folders"])
        # no room, because somebody uses what is there: the next place
        other = Files(dict(ONE, **{"one.py": b"x = 3\n"}))
        client = self.opened([other], [room])
        where = os.path.join(self.home, ".cache/execnet/packages")
        self.assertEqual([self.folder(other, where)], client.packages["folders"])
        self.assertEqual(["one.py"], client.sent)
        # no room anywhere
        none = ("about.f_bavail * about.f_frsize >= needed", "False")
        self.full(none)
        first = "%s has no room for 1 B of packages in 1 file" % self.store
        self.assertIn(first + "; ", self.full(none))
        self.leave(".gone-1")
        self.assertIn(first + ", although 12 B that nobody used were removed; ", self.full(none))

    def full(self, none):
        """Open a gateway for whose packages there is room nowhere. Return what it says."""
        client = self.supplier([Files({"a": b"1"})], [none])
        client.manifests(client.hear("lacks"))
        self.assertEqual(94, client.wait())
        self.assertEqual([], self.drafts())
        said = client.stderr.decode()
        self.assertEqual(4, said.count("has no room for 1 B of packages in 1 file"), said)
        self.assertIn("; make room there (`execnet packages NETWORK --clean` ", said)
        return said


@unittest.skipUnless(ROOT and can_mount(), "only root can mount")
class Mounts(Folders):
    """In a mount namespace of its own."""

    def mounted(self, how, sets, **options):
        """Return a kernel for which `tmp` is mounted in this way."""
        line = "mount -t tmpfs -o %s none '%s' && exec \"$0\" \"$@\"" % (how, self.path("tmp"))
        return self.within(line, self.python, sets, **options)

    def within(self, line, python, sets, **options):
        self.digest()
        own, self.python = self.python, "unshare"
        self.digests["unshare"] = self.digests[own]
        try:
            return self.supplier(sets, argv=["-m", "sh", "-c", line, python], **options)
        finally:
            self.python = own

    def test_programs_are_not_kept_where_they_cannot_be_executed(self):
        sets = [Files(ONE), Files({"two.py": b"2\n"}, "native", native=True)]
        client = self.mounted("mode=1777,noexec", sets)
        folders = client.answer()["packages"]["folders"]
        where = os.path.join(self.home, ".cache/execnet/packages")
        self.assertEqual([self.folder(sets[0]), self.folder(sets[1], where)], folders)
        self.assertEqual([(1, 2)], client.run(CODE))

    def test_a_disk_that_is_full(self):
        where = os.path.join(self.home, ".cache/execnet/packages")
        client = self.mounted("mode=1777,size=256k", [Files(ONE)])
        self.assertEqual([self.folder(Files(ONE), where)], client.answer()["packages"]["folders"])
        self.assertEqual([(1, 2)], client.run(CODE))

    def test_a_disk_that_becomes_full(self):
        client = self.mounted("mode=1777,size=900k", [Files(ONE)])
        client.manifests(client.hear("lacks"))
        wants = client.hear("wants")
        tmp = "/proc/%d/root%s" % (client.process.pid, self.path("tmp"))
        with open(tmp + "/filler", "wb", 0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        try:
            client.send_files(wants)
        except BrokenPipeError:
            pass  # it has noticed before it got everything
        self.assertEqual(94, client.wait())
        error = client.stderr.decode()
        self.assertIn("cannot write 409 KiB of packages in %s: No space left on device; make room there "
                      "(`execnet packages NETWORK --clean`" % self.store, error)
        self.assertIn("another disk (env:EXECNET_PACKAGES_FOLDER=/PATH", error)

    def test_a_folder_that_is_read_only(self):
        client = self.mounted("mode=1777,ro", [Files(ONE)])
        where = os.path.join(self.home, ".cache/execnet/packages")
        self.assertEqual([self.folder(Files(ONE), where)], client.answer()["packages"]["folders"])

    def test_two_users_have_a_folder_each(self):
        files = Files(ONE)
        for path in (self.tmp, self.path("tmp")):
            os.chmod(path, 0o1777)
        os.mkdir(self.path("python"))
        home = os.path.dirname(os.path.dirname(os.path.realpath(self.python)))
        # another user may not reach the interpreter where it is
        line = ("mount --bind '%s' '%s' && exec setpriv --reuid %d --regid %d --clear-groups \"$0\" \"$@\""
                % (home, self.path("python"), NOBODY, NOBODY))
        python = os.path.join(self.path("python/bin"), os.path.basename(os.path.realpath(self.python)))
        clients = [self.supplier([files]), self.within(line, python, [files], env={
            "LD_LIBRARY_PATH": self.path("python/lib")})]
        for client, user in zip(clients, (0, NOBODY)):
            store = os.path.join(self.path("tmp"), "execnet-%d" % user, "packages")
            self.assertEqual([self.folder(files, store)], client.answer()["packages"]["folders"])
            self.assertEqual(SENT, sorted(client.sent))
            self.assertEqual(user, os.lstat(self.folder(files, store)).st_uid)
            self.assertEqual([(1, 2)], client.run(CODE))
