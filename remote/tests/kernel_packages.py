"""End to end: packages, from the conversation before HELLO to the folders on the host. Run by
kernel_packages_tests.py."""
import fcntl
import json
import marshal
import os
import shutil
import tempfile
import time
import zlib

from kernel_case import Kernel
from packages_client import Files, Supplier

from kernel_client import EXEC, EXIT, FILES, PACKAGES, TIMEOUT

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../protocol/vectors/manifests.json")
ONE = {"one.py": b"x = 1\n", "pack/__init__.py": b"", "pack/inner.py": b"y = 2\n" + b"# a comment\n" * 20000,
       "pack/data.bin": bytes(range(256)) * 700}


class Hosts(Kernel):
    """A store of its own for each test."""

    digests = {}

    def setUp(self):
        self.tmp = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.tmp, True)
        self.home = os.path.join(self.tmp, "home")
        for name in ("home", "tmp", "var", "shm"):
            os.mkdir(self.path(name), 0o700)
        self.changes = [('TMP = "/tmp"', "TMP = %r" % self.path("tmp")),
                        ('("/var/tmp", "/dev/shm")', "(%r, %r)" % (self.path("var"), self.path("shm")))]
        self.store = os.path.join(self.path("tmp"), "execnet-%d" % os.getuid(), "packages")

    def few(self, *cases):
        """Return the cases; on Jython, which takes seconds to start, only the first two."""
        return cases[:2] if self.jython else cases

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    @classmethod
    def digest(cls):
        """Return the digest of the interpreter's facts."""
        if cls.python not in cls.digests:
            client = Supplier(cls.python)
            cls.digests[cls.python] = client.hear("facts")["digest"]
            client.kill()
        return cls.digests[cls.python]

    def supplier(self, sets, changes=(), env=(), known=True, visit=False, **options):
        env = dict(os.environ, HOME=self.home, XDG_CACHE_HOME="", PYTHONDONTWRITEBYTECODE="", **dict(env))
        digest = self.digest() if known and not visit else ""
        client = Supplier(self.python, sets, self.changes + list(changes), env=env, digest=digest,
                          visit=visit, **options)
        self.addCleanup(client.kill)
        return client

    def opened(self, sets, *how, **options):
        """Return a gateway with packages, after HELLO."""
        client = self.supplier(sets, *how, **options)
        client.packages = client.answer()["packages"]
        return client

    def used(self, sets, code, **options):
        """Open a gateway, run code, and end it. Return it and what it sent."""
        client = self.opened(sets, **options)
        values = client.run(code)
        self.assertEqual(0, client.exit(), client.stderr)
        return client, values

    def names(self, where=None):
        """Return the sets in a store, without those that a kernel makes for its children."""
        return sorted(name for name in os.listdir(where or self.store) if len(name) == 64
                      and not self.title(name, where).startswith("\n"))

    def drafts(self, where=None):
        """Return what is unfinished in a store, or on its way out."""
        where = where or self.store
        return [name for name in os.listdir(where) if name[0] == "." and name != ".collected"] \
            if os.path.exists(where) else []

    def leave(self, name, where=None):
        """Make a folder with a file of 12 bytes, as a killed process leaves it."""
        folder = os.path.join(where or self.store, name)
        os.makedirs(folder, 0o700)
        with open(os.path.join(folder, "file.py"), "wb") as file:
            file.write(b"x = 12345678")

    def title(self, name, where=None):
        try:
            with open(os.path.join(where or self.store, name + ".set")) as file:
                return file.readline()
        except FileNotFoundError:
            return "\n"  # it is being removed

    def until(self, holds):
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it never holds")
            time.sleep(0.01)

    def collected_long_ago(self):
        """Let the next gateway collect."""
        mark = os.path.join(self.store, ".collected")
        with open(mark, "a"):
            os.utime(mark, (5, 5))


class Packages(Hosts):

    def test_sets_are_sent_once_and_imported_from_their_folders(self):
        sets = [Files(ONE), Files({"two.py": b"from pack.inner import y\n"}, "another")]
        code = "import one, two; channel.send((one.x, two.y, one.__file__, two.__file__))"
        client, values = self.used(sets, code, known=False)
        self.assertEqual(["facts", "lacks", "wants"], client.told)
        self.assertEqual(["one.py", "pack/data.bin", "pack/inner.py", "two.py"], sorted(client.sent))
        folders = [os.path.join(self.store, each.id) for each in sets]
        self.assertEqual(folders, client.packages["folders"])
        self.assertEqual((1, 2), values[0][:2])
        self.assertEqual(folders, [os.path.dirname(each) for each in values[0][2:]])
        client, values = self.used(sets, code)
        self.assertEqual([], client.told)
        self.assertEqual(1, values[0][0])
        for path, content, _, mtime in sets[0].files:
            about = os.lstat(os.path.join(folders[0], path.decode()))
            self.assertEqual((0o100444, mtime), (about.st_mode, int(about.st_mtime)))
            with open(os.path.join(folders[0], path.decode()), "rb") as file:
                self.assertEqual(content, file.read())

    def test_an_edited_file_is_all_that_is_sent(self):
        self.used([Files(ONE)], "import one, pack.inner")
        client, values = self.used([Files(dict(ONE, **{"one.py": b"x = 3\n"}))],
                                   "import one; channel.send(one.x)")
        self.assertEqual(["one.py"], client.sent)
        self.assertEqual([3], values)
        self.assertEqual(2, len(self.names()))

    def test_a_visitor_lists_and_cleans(self):
        for_use = self.opened([Files(ONE, "in use")])
        self.used([Files({"two.py": b"1\n"}, "unused")], "import two")
        client = self.opened([], visit=True)
        self.assertEqual({"folders": [], "environment": {}}, client.packages)
        found = client.run("channel.send(channel.gateway._packages('list'))")[0]
        found = {each["title"]: each for each in found}
        self.assertEqual({"in use", "unused"}, set(found))
        self.assertEqual([(True, 4, sum(map(len, ONE.values()))), (self.jython, 1, 2)],
                         [(each["in_use"], each["files"], each["size"])
                          for each in (found["in use"], found["unused"])])
        cleaned = client.run("channel.send(channel.gateway._packages('clean'))")[0]
        if not self.jython:  # where what was used today counts as in use
            self.assertEqual(["in use"], cleaned["in_use"])
            self.assertEqual([Files(ONE).id], self.names())
        self.assertEqual([1], for_use.run("import one; channel.send(one.x)"))

    def test_what_is_unfinished_is_listed_and_cleaned_too(self):
        writing = self.supplier([Files(ONE)])
        writing.manifests(writing.hear("lacks"))
        writing.hear("wants")
        client = self.opened([], visit=True)
        listed = "channel.send(channel.gateway._packages('list'))"
        found, = client.run(listed)[0]
        self.assertEqual(("", "unfinished", 0, True, self.store),
                         tuple(found[key] for key in ("id", "title", "size", "in_use", "where")))
        killed = Files({"two.py": b""}).id
        tests = os.path.join(os.path.dirname(self.store), "tests")
        names = [".new-%s-1" % killed, ".gone-%s-1" % killed]
        for name in names:
            self.leave(name)
        self.leave(".gone-1-project-0123456789ab", tests)
        with open(os.path.join(self.store, killed + ".set"), "w"):
            pass
        if self.jython:  # where a draft may be written for a day
            os.utime(os.path.join(self.store, names[0]), (5, 5))
        found, = client.run(listed)[0]
        self.assertEqual((36, 4, True),
                         tuple(found[key] for key in ("size", "files", "in_use")))
        cleaned = client.run("channel.send(channel.gateway._packages('clean'))")[0]
        self.assertEqual({"removed": 3, "bytes": 36, "in_use": ["unfinished"]}, cleaned)
        self.assertEqual([], os.listdir(tests))
        self.assertEqual([], [name for name in os.listdir(self.store) if killed in name])
        writing.kill()
        if not self.jython:
            found, = client.run(listed)[0]
            self.assertFalse(found["in_use"])
            cleaned = client.run("channel.send(channel.gateway._packages('clean'))")[0]
            self.assertEqual((1, []), (cleaned["removed"], cleaned["in_use"]))
            self.assertEqual(([], []), (client.run(listed)[0], self.drafts()))

    def test_a_named_folder_that_cannot_be_used_is_a_fault(self):
        where = self.path("named")
        with open(self.path("file"), "w"):
            pass
        os.mkdir(self.path("open"))
        os.chmod(self.path("open"), 0o777)
        for named, fault in self.few(
                (where, None),
                (self.path("open"), "%s is open to other users" % self.path("open")),
                (self.path("file", "deep", "named"), "cannot make %s: Not a directory"
                 % self.path("file", "deep", "named", "packages")),
                ("/proc/none", "cannot make /proc/none/packages: No such file or directory"),
                (self.path("one:two"), "%s has a `:` in its name, where PYTHONPATH would be cut"
                 % self.path("one:two"))):
            client = self.opened([], visit=True, env={"EXECNET_PACKAGES_FOLDER": named})
            for verb, nothing in (("list", []), ("clean", {"removed": 0, "bytes": 0, "in_use": []})):
                found = client.run("channel.send(channel.gateway._packages(%r))" % verb)[0]
                self.assertEqual({"fault": fault} if fault else nothing, found)
        # it asks, and makes nothing
        self.assertEqual(["file", "home", "open", "shm", "tmp", "var"], sorted(os.listdir(self.tmp)))
        self.assertEqual([], os.listdir(self.path("open")))

    def test_sizes_are_said_as_by_the_command(self):
        sizes = [0, 1023, 1024, 10000, 10240, 1023000, 1023999, 1468006, 3 << 30, 5000 << 30]
        client = self.opened([], visit=True)
        code = "from execnet_kernel import collect; channel.send([collect.as_size(n) for n in %r])" % sizes
        self.assertEqual(["0 B", "1023 B", "1.0 KiB", "9.8 KiB", "10 KiB", "999 KiB", "1.0 MiB", "1.4 MiB",
                          "3.0 GiB", "5000 GiB"], client.run(code)[0])

    def test_copies_of_tests_are_listed_and_cleaned_too(self):
        if self.jython:
            return  # without locks they stay
        self.used([Files(ONE)], "import one")
        tests = os.path.join(os.path.dirname(self.store), "tests")
        used, free, old = ["%s-0123456789ab" % name for name in ("used", "free.x", "old")]
        used += ".2"
        # somebody else's, in a folder that was named for packages
        others = [".gone-1", ".gone-1-x", "0123456789ab", "unit", "unit-1", "used-0123456789abc"]
        for name in [used, free, old] + others:
            os.makedirs(os.path.join(tests, name, "folder"), 0o700)
            with open(os.path.join(tests, name, "folder", "a.py"), "wb") as file:
                file.write(b"12345")
            if name != used and name != free:
                os.utime(os.path.join(tests, name), (1, 1))
        lock = os.open(os.path.join(tests, used), os.O_RDONLY)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = self.opened([], visit=True)
        found = client.run("channel.send(channel.gateway._packages('list'))")[0]
        found = {each["id"]: each for each in found if each["where"] == tests}
        self.assertEqual({used: True, free: False, old: False},
                         {name: each["in_use"] for name, each in found.items()})
        self.assertEqual(("tests of free.x", 5, 1),
                         tuple(found[free][key] for key in ("title", "size", "files")))
        self.collected_long_ago()
        collector = self.opened([Files({"two.py": b"1\n"})])
        self.until(lambda: sorted(others + [free, used]) == sorted(os.listdir(tests)))
        collector.exit()
        cleaned = client.run("channel.send(channel.gateway._packages('clean'))")[0]
        self.assertEqual((sorted(others + [used]), ["tests of used"]),
                         (sorted(os.listdir(tests)), cleaned["in_use"]))


class Answers(Hosts):
    """A client that answers wrongly, or otherwise."""

    def stop(self, client, status=93):
        """Check that the kernel ends. Return why."""
        self.assertEqual(status, client.wait(), client.stderr)
        self.assertEqual([], self.drafts())
        return client.stderr.decode()

    def lacking(self, *sets, **options):
        client = self.supplier(sets or [Files(ONE)], **options)
        self.assertEqual(list(range(len(client.sets))), sorted(client.hear("lacks")))
        return client

    def wanting(self, *sets, **options):
        client = self.lacking(*sets, **options)
        client.manifests(range(len(client.sets)))
        return client, client.hear("wants")

    def refused(self, text, words):
        """Check that a manifest is refused whose id is right."""
        files = Files({})
        files.manifest = text
        client = self.lacking(files)
        client.manifests([0])
        self.assertIn(words, self.stop(client))

    def test_a_manifest_that_leads_out_of_its_folder_is_refused(self):
        line = Files({"PATH": b""}).manifest
        for path in self.few(b"../up.py", b"/tmp/absolute.py", b"a/../../b", b"a//b", b".", b"n\0l"):
            self.refused(line.replace(b"PATH", path), "protocol error")
        self.assertEqual([], [name for name in os.listdir(self.store) if "lock" not in name])

    def test_a_manifest_of_another_id_is_refused(self):
        client = self.lacking()
        client.sets[0] = Files({"two.py": b"2"})
        client.manifests([0])
        self.assertIn("has another id", self.stop(client))

    def test_other_manifests_than_were_asked_for_are_refused(self):
        for answer in self.few([], [0, 1], [0, 0], [1]):
            client = self.lacking()
            client.sets.append(client.sets[0])
            client.manifests(answer)
            self.assertIn("other manifests", self.stop(client))

    def test_a_file_that_is_not_what_the_manifest_says_is_not_kept(self):
        client, wants = self.wanting()
        client.sets[0].files[0] = (b"one.py", b"x = 9\n", False, 0)
        client.send_files(wants)
        self.assertIn("'one.py' is not what the manifest says", self.stop(client))
        self.assertEqual([], self.names())

    def test_an_empty_file_must_be_empty_by_its_hash(self):
        self.refused(Files({"a": b"1"}).manifest.replace(b" 1 - ", b" 0 - "), "is empty, but not by its hash")

    def test_more_than_was_asked_for_is_refused(self):
        client, wants = self.wanting()
        client.sets[0].files[-1] = client.sets[0].files[-1][:1] + (client.sets[0].files[-1][1] + b"more",)
        client.sets[0].files[-1] += (False, 0)
        client.send_files(wants)
        self.assertIn("more files than were asked for", self.stop(client))
        client, wants = self.wanting()
        client.send_files(wants + wants)
        self.assertIn("more files than were asked for", self.stop(client))

    def test_what_is_no_answer_is_refused(self):
        for words in self.few(("wrong", 1), ("manifests",), ("manifests", [], 1), (), [1], None, "lacks",
                              ("lacks", [0])):
            client = self.lacking()
            client.frame(PACKAGES, 0, marshal.dumps(words, 2))
            self.assertIn("protocol error", self.stop(client))

    def test_frames_that_do_not_belong_there_are_refused(self):
        for kind, number, payload in self.few((EXEC, 1, b""), (FILES, 0, b"\0x"), (EXIT, 0, b""),
                                              (PACKAGES, 1, b"N"), (14, 0, b"")):
            client = self.lacking()
            client.frame(kind, number, payload)
            self.assertIn("protocol error", self.stop(client))

    def test_blocks_that_are_wrong_are_refused(self):
        bomb = zlib.compress(bytes(1 << 20))
        for block in self.few(b"", b"\1" + bomb, b"\0", b"\2x", b"\1x", b"\0" + bytes(65537),
                              b"\1" + zlib.compress(b"")):
            client, _ = self.wanting()
            client.frame(FILES, 0, block)
            self.assertIn("protocol error", self.stop(client))

    def test_a_client_that_goes_leaves_no_draft(self):
        client, wants = self.wanting()
        client.send_files(wants, 70000)
        client.process.stdin.close()
        self.assertEqual("", self.stop(client))
        self.assertEqual([], self.names())

    def test_the_client_starts_over_with_other_sets(self):
        client = self.lacking()
        for number, cut in enumerate((10, 70000, None)):
            client.sets = [Files(dict(ONE, **{"one.py": b"x = %d\n" % number}))]
            client.say("sets", [client.sets[0].triple], False, [])
            client.manifests(client.hear("lacks"))
            client.send_files(client.hear("wants"), cut)
        client.answer()
        self.assertEqual([2], client.run("import one; channel.send(one.x)"))
        self.assertEqual((1, []), (len(self.names()), self.drafts()))

    def test_not_for_ever(self):
        client = self.lacking()
        for _ in range(4):
            client.say("sets", [each.triple for each in client.sets], False, [])
            if _ < 3:
                client.hear("lacks")
        self.assertIn("the sets changed more than 3 times", self.stop(client))

    def test_ids_that_are_none_are_refused(self):
        for name in self.few("../" + "a" * 61, "a" * 63, "A" * 64, "g" * 64):
            files = Files(ONE)
            client = self.supplier([], known=False)
            client.hear("facts")
            client.say("sets", [(name, False, files.title)], False, [])
            self.assertIn("is no id of a set", self.stop(client))

    def test_visiting_does_nothing_with_sets(self):
        client = self.opened([Files(ONE)], visit=True)
        self.assertEqual(([], 0), (client.told, client.exit()))
        self.assertFalse(os.path.exists(self.store))


class Manifests(Hosts):

    def test_vectors(self):
        """The kernel reads and refuses what the vectors say."""
        with open(VECTORS) as file:
            vectors = json.load(file)
        code = """
def run(channel):
    from execnet_kernel import manifest
    for text in channel:
        try:
            found = manifest.Manifest(text)
        except manifest.ManifestError as error:
            channel.send(str(error))
        else:
            channel.send((found.id, [(each[0].decode("utf-8"),) + each[1:] for each in found.files]))
"""
        client = self.opened([], visit=True)
        number = client.execute(code.strip(), kind="function", name="run", kwargs={})

        def read(text):
            client.send(number, text)
            return client.receive(number)

        for vector in vectors["manifests"]:
            found = read(vector["text"].encode())
            self.assertIsInstance(found, tuple, (vector["name"], found))
            name, files = found
            self.assertEqual(vector["id"], name)
            wanted = [(each["path"], each["sha256"], each["size"], each["executable"], each["mtime"])
                      for each in vector["files"]]
            files = [tuple(part.decode() if isinstance(part, bytes) else part for part in each)
                     for each in files]
            self.assertEqual(sorted(wanted, key=lambda each: each[0].encode()), files)
        for vector in vectors["refused"]:
            self.assertIsInstance(read(vector["text"].encode()), str, vector["why"])
        for vector in vectors["malformed"]:
            self.assertIsInstance(read(bytes.fromhex(vector["hex"])), str, vector["why"])
