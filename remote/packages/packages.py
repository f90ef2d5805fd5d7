"""The conversation about packages before HELLO (docs/kernel.md, section 8)."""
import os
import struct
import sys
import zlib

from . import wire
from .interpreter import as_text, deque, native
from .store import Store
from .values import dumps, loads

PACKAGES, FILES = 12, 13
CHUNK = 262144
BLOCK = 65536
TEXT = 67108864  # bytes that a manifest may have
RESTARTS = 3


class Lost(Exception):
    """The client is gone."""


class Pipe(object):
    """Frames before HELLO."""

    def __init__(self, read, source, write, sink, data):
        self._read, self._source, self._write, self._sink = read, source, write, sink
        self._parser = wire.Parser()
        self._frames = deque(self._parser.feed(data))
        wire.write_all(write, sink, wire.MARKER)

    def tell(self, *words):
        self._tell(dumps(words)[1])

    def want(self, wants):
        """Tell (number, bitmap) of each set. Python 2's marshal would write a bitmap of one byte as text."""
        parts = [struct.pack("<ci5s", b"u", 5, b"wants"), struct.pack("<ci", b"[", len(wants))]
        for at, bits in wants:
            parts.append(struct.pack("<cicici", b"(", 2, b"i", at, b"s", len(bits)) + bits)
        self._tell(struct.pack("<ci", b"(", 2) + b"".join(parts))

    def _tell(self, payload):
        wire.write_all(self._write, self._sink, wire.header.pack(PACKAGES, 0, len(payload)) + payload)

    def peek(self):
        """Wait for the next frame. Return its kind."""
        while not self._frames:
            try:
                data = self._read(self._source, CHUNK)
            except EnvironmentError:
                if wire.is_interrupt(sys.exc_info()[1]):
                    continue
                data = b""
            if not data:
                raise Lost
            self._frames.extend(self._parser.feed(data))
        return self._frames[0][0]

    def next(self):
        """Return (kind, payload) of the next frame."""
        self.peek()
        kind, number, payload = self._frames.popleft()
        if number or kind not in (PACKAGES, FILES):
            raise wire.ProtocolError("a frame of kind 0x%02x before HELLO" % kind)
        return kind, payload

    def rest(self):
        """Return what was read and is not ours."""
        if self._frames:
            raise wire.ProtocolError("more files than were asked for")
        return self._parser.rest()


class Again(Exception):
    """The client names other sets: start over with these."""

    def __init__(self, words):
        Exception.__init__(self, "the sets have changed")
        self.words = words


def prepare(settings, *pipe):
    """Bring the sets onto this host and activate them. Return what HELLO says of it, the bytes that are still
    to be read, and what a thread does then."""
    try:
        pipe = Pipe(*pipe)
        if settings.get("visit"):
            return {u"folders": [], u"environment": {}}, pipe.rest(), None
        return Conversation(pipe, settings).run()
    except wire.ProtocolError:
        _end("protocol error: %s" % sys.exc_info()[1])
    except Lost:
        os._exit(93)


def _end(words):
    sys.stderr.write("execnet: %s\n" % words)
    sys.stderr.flush()
    os._exit(93)


class Conversation(object):

    def __init__(self, pipe, settings):
        self.pipe = pipe
        self.sets = _sets(settings.get("sets"))
        self.isolate, self.beside = settings.get("isolate"), settings.get("beside") or []
        self.digest = settings.get("facts")
        self.store = Store(self._waits)
        self.title = u""  # of the set whose lock is waited for
        self.drafts = []
        self.claims = {}  # number of a set: (place, Lock)

    def run(self):
        from . import facts
        known = facts.collect()
        if known["digest"] != self.digest:
            self.pipe.tell(u"facts", dict([(as_text(key), as_text(known[key])) for key in known]))
            self._take(self._words("sets"))
        for _ in range(RESTARTS + 1):
            try:
                folders = self._folders()
                break
            except Again:
                self._take(sys.exc_info()[1].words)
        else:
            raise wire.ProtocolError("the sets changed more than %d times" % RESTARTS)
        from . import activate
        environment = activate.activate(folders, self.isolate, [native(each) for each in self.beside],
                                        self._keep)
        told = {u"folders": [as_text(folder) for folder in folders],
                u"environment": dict([(as_text(name), as_text(environment[name])) for name in environment])}
        return told, self.pipe.rest(), self._attend

    def _keep(self, files):
        from . import doors
        return doors.keep(self.store, files)

    def _attend(self):
        try:
            from . import collect
            collect.attend(self.store)
        except Exception:
            pass  # the interpreter ends, or user code has broken imports; the locks remain

    def _take(self, words):
        self.sets, self.isolate, self.beside = _sets(words[1]), words[2], words[3]

    def _waits(self, holder):
        self.pipe.tell(u"waits", u"%s, which process %d receives" % (self.title, holder) if holder
                       else self.title)

    def _words(self, *verbs):
        """Return the client's next words, if they begin with one of these verbs."""
        kind, payload = self.pipe.next()
        words = loads(payload) if kind == PACKAGES else None
        if not isinstance(words, tuple) or not words or not isinstance(words[0], type(u"")):
            raise wire.ProtocolError("an answer about packages was expected")
        if words[0] == u"sets" and len(words) == 4:
            if "sets" not in verbs:
                raise Again(words)
            return words
        if words[0] not in verbs or len(words) != 2:
            raise wire.ProtocolError("%r is no answer here" % native(words[0]))
        return words

    def _folders(self):
        """Return the folder of each set, after those that are missing were sent."""
        try:
            found, missing = {}, []
            # all in one order: nobody waits for somebody who waits for him
            for name, at in sorted([(each[0], at) for at, each in enumerate(self.sets)]):
                if name not in found:
                    found[name] = self._find(at)
                    if found[name] is None:
                        missing.append(at)
            if missing:
                self._receive(missing, found)
            return [found[each[0]] for each in self.sets]
        finally:
            for draft in self.drafts:
                draft.drop()
            for _, lock in self.claims.values():
                lock.close()
            self.drafts, self.claims = [], {}

    def _find(self, at):
        """Return the folder of a set. If it is not there, return None, and be its only writer."""
        name, is_native, self.title = self.sets[at]
        folder = self.store.find(name, is_native)
        if folder is None:
            claim = self.store.claim(name, is_native)
            if claim is None:
                from . import memory
                if is_native or len(self.store.places) == 1 or not memory.possible():
                    raise self.store.nowhere()
                return None
            self.claims[at] = claim
            # another gateway may have written it while we waited
            folder = self.store.find(name, is_native)
        return folder

    def _receive(self, missing, found):
        from . import draft, manifest
        self.pipe.tell(u"lacks", missing)
        answers = self._words("manifests")[1]
        if [each[0] for each in answers] != missing:
            raise wire.ProtocolError("other manifests than were asked for")
        try:
            wants = []
            for at, packed in answers:
                name, _, title = self.sets[at]
                known = manifest.Manifest(_unzipped(packed, TEXT))
                if known.id != name:
                    raise wire.ProtocolError("the manifest of %s has another id" % native(title))
                found[name] = self._begin(at, known)
                if found[name] is None and self.drafts[-1].wanted:
                    wants.append((at, self.drafts[-1].bitmap()))
            if wants:
                self.pipe.want(wants)
            while self.drafts:
                while not self.drafts[0].complete():
                    rest = self._block()
                    for each in self.drafts:
                        rest = each.feed(rest)
                    if rest:
                        raise wire.ProtocolError("more files than were asked for")
                complete = self.drafts.pop(0)
                found[complete.manifest.id] = complete.finish()
        except (manifest.ManifestError, draft.Wrong):
            raise wire.ProtocolError("%s" % sys.exc_info()[1])

    def _begin(self, at, manifest):
        """Begin to write a set, as the last of `drafts`; or return its folder, if another gateway has written
        it where there is room."""
        name, is_native, title = self.sets[at]
        if at not in self.claims:
            from .memory import Memory
            self.drafts.append(Memory(manifest))
            return None
        place, lock = self.claims[at]
        other = None if place.has_room(manifest) else self._other(place, name, is_native, manifest)
        if other:
            place, lock = self.claims[~at] = other
            folder = self.store.find(name, is_native)
            if folder:
                return folder
        from .draft import Draft
        self.drafts.append(Draft(self.store, place, lock, manifest, title.encode("utf-8")))
        place.reserved += sum([manifest.files[number][2] for number in self.drafts[-1].wanted])
        return None

    def _other(self, *how):
        from . import collect
        return collect.other_place(self.store, *how)

    def _block(self):
        """Return the next bytes of files."""
        if self.pipe.peek() == PACKAGES:
            self._words()  # the client starts over, or it is wrong
        payload = self.pipe.next()[1]
        method, data = payload[:1], payload[1:]
        if method == b"\1":
            data = _unzipped(data, BLOCK)
        elif method != b"\0":
            raise wire.ProtocolError("files in an unknown form")
        if not 0 < len(data) <= BLOCK:
            raise wire.ProtocolError("a block of %d bytes" % len(data))
        return data


def _unzipped(data, most):
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(data, most)
        if unzip.unconsumed_tail:
            raise wire.ProtocolError("more than %d bytes in one piece" % most)
        return data + unzip.flush()
    except zlib.error:
        raise wire.ProtocolError("zlib data was expected: %s" % sys.exc_info()[1])


def _sets(sets):
    """Return the sets as (id as this interpreter's str, native, title as text)."""
    found = []
    for name, is_native, title in sets or ():
        if len(name) != 64 or native(name).strip("0123456789abcdef"):
            raise wire.ProtocolError("%r is no id of a set" % native(name))
        found.append((str(native(name)), is_native, title))
    return found
