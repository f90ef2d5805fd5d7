"""End to end: packages, from the conversation before HELLO to the folders on the host. Run by
kernel_tests.py."""
import json
import os
import shutil
import tempfile

from kernel_case import Kernel
from packages_client import Files, Supplier

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
        env = dict(os.environ, HOME=self.home, XDG_CACHE_HOME="", **dict(env))
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

    def title(self, name, where=None):
        with open(os.path.join(where or self.store, name + ".set")) as file:
            return file.readline()


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
