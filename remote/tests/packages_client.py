"""The client's half of the conversation about packages, for the kernel's end-to-end tests: sets of files, and
who answers for them. Contains no tests."""
import hashlib
import marshal
import time
import zlib

from kernel_client import FILES, HELLO, PACKAGES, TIMEOUT, Client, bundle

BLOCK = 65536
TIME = 1700000000

class Files:
    """A set: `files` are {path: bytes}, or (path, bytes, executable, mtime)."""

    def __init__(self, files, title="some", native=False):
        if isinstance(files, dict):
            files = [(path, content, False, TIME) for path, content in files.items()]
        self.files = sorted((path.encode(), content, x, mtime) for path, content, x, mtime in files)
        self.title, self.native = title, native
        lines = [b"execnet packages 1"]
        for path, content, x, mtime in self.files:
            lines.append(b"%s %d %s %d %s" % (hashlib.sha256(content).hexdigest().encode(), len(content),
                                             b"x" if x else b"-", mtime, path))
        self.manifest = b"\n".join(lines) + b"\n"

    @property
    def id(self):
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def triple(self):
        return self.id, self.native, self.title


class Supplier(Client):
    """A client that was asked for packages, and answers. `told`: the verbs that it heard, `sent`: the paths
    of files that it sent, `noted`: what `waits` said."""

    def __init__(self, python, sets=(), changes=(), digest="", visit=False, config=(),
                 isolate=False, beside=(), **options):
        self.sets, self.told, self.sent, self.noted = list(sets), [], [], []
        self.isolate, self.beside = isolate, list(beside)
        asked = {"bundle": bundle.packages(changes), "facts": digest,
                 "sets": [each.triple for each in self.sets] if digest else [],
                 "isolate": isolate, "beside": list(beside), "visit": visit}
        Client.__init__(self, python, dict(config, packages=asked), **options)

    def say(self, *words):
        self.frame(PACKAGES, 0, marshal.dumps(words, 2))

    def hear(self, *verbs):
        """Return the kernel's next words, without those that it waits."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            words = self.get(PACKAGES, 0, deadline - time.monotonic())
            if words[0] != "waits" or "waits" in verbs:
                break
            self.noted.append(words[1])
        self.told.append(words[0])
        assert words[0] in verbs, (words, verbs)
        return words[1]

    def answer(self):
        """Answer until HELLO. Return it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            kind, _, words = self.next([PACKAGES, HELLO], 0, deadline - time.monotonic())
            if kind == HELLO:
                self.backlog.insert(0, (kind, 0, words))
                return self.hello()
            if words[0] == "waits":
                self.noted.append(words[1])
                continue
            self.told.append(words[0])
            if words[0] == "facts":
                self.facts = words[1]
                self.say("sets", [each.triple for each in self.sets], self.isolate, self.beside)
            elif words[0] == "lacks":
                self.manifests(words[1])
            else:
                self.send_files(words[1])

    def manifests(self, numbers):
        self.say("manifests", [(number, zlib.compress(self.sets[number].manifest)) for number in numbers])

    def send_files(self, wants, cut=None):
        """Send what is wanted; `cut`: only so many bytes."""
        content = []
        for number, bits in wants:
            for at, (path, data, _, _) in enumerate(self.sets[number].files):
                if bits[at // 8] >> at % 8 & 1:
                    self.sent.append(path.decode())
                    content.append(data)
        content = b"".join(content)[:cut]
        for at in range(0, len(content), BLOCK):
            block = content[at:at + BLOCK]
            packed = zlib.compress(block, 1)
            if len(packed) < len(block):
                self.frame(FILES, 0, b"\1" + packed)
            else:
                self.frame(FILES, 0, b"\0" + block)
