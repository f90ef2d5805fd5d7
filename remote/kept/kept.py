"""What outlives the clients of a kept kernel: the channels with names, `channel.gateway`, and the writer.

It takes a Link's place for all of these, and passes on to the connection of the moment what concerns only
that.
"""
import os
import sys
from time import sleep

from .bell import Bell
from .gateway import Gateway
from .interpreter import ANY, TWO, clock, deque
from .named import Named

MOST_NAMES = 1000
LONGEST_NAME = 64
SAY_AFTER = 0.5  # seconds that code waits for somebody who reads until it is told
DRAINED = 1.0
SHORT = 1.0  # seconds until the writer tries again, when memory was short


class KeptGateway(Gateway):

    def channel(self, name):
        """Return the channel of this name: one that is there, or a new one. It outlives clients."""
        self._link.check()
        if isinstance(name, bytes):
            if not TWO:
                raise TypeError("a name is text")
            name = name.decode("utf-8")
        state, refusal = self._link.open(name)
        if refusal:
            raise ValueError(refusal.encode("utf-8") if TWO else refusal)
        return state.handle()


class Kept(object):

    def __init__(self, config):
        self.pid = os.getpid()
        self.config = config
        self.window = config.get("window") or 8388608
        self.ended = self.lost = False
        self.names = {}
        self.connection = None
        self.runner = self._gateway = None
        self.strconfig = None  # what code has set
        self.stuck = []  # outboxes that have ended, and may be locked
        self.bell = Bell()
        self.idle = False  # the writer has nothing to do
        self._touched = deque()
        self._served = None
        self._full = {}  # {named channel whose code waits: (values taken, since when)}
        self._said = False  # that somebody waits
        self.say = None  # writes a byte to the agent

    # --- as of a Link

    outbox = property(lambda self: self.connection.outbox)
    states = property(lambda self: self.connection.states)

    def check(self, receiving=False):
        if self.pid != os.getpid():
            raise OSError("no channel works in a forked process")
        if self.ended and not receiving:
            raise OSError("cannot send: the gateway has ended")

    def gateway(self):
        if self._gateway is None:
            self._gateway = KeptGateway(self)
        return self._gateway

    def channel(self, number=None):
        connection = self.connection
        if number is None:
            connection.check()
        return connection.channel(number)

    def send(self, kind, number, payload=b"", state=None):
        """Send what concerns the whole gateway, if somebody is there."""
        try:
            self.connection.send(kind, number, payload, state)
        except EnvironmentError:
            if not self.connection.ended:
                raise
        return True

    def forget(self, state):
        pass

    def end_reading(self):
        self.connection.end_reading()
        for state in list(self.names.values()):
            state.end(False)

    def end(self, lost):
        self.lost = self.lost or lost
        self.ended = True
        self.connection.end(lost)
        self.end_reading()

    # --- names

    def open(self, name):
        """Return the channel of a name, made if there is none, or (None, why not)."""
        state = self.names.get(name)
        if state is not None:
            return state, None
        refusal = self._refusal(name)
        if refusal:
            return None, refusal
        new = Named(self, name)
        try:
            state = self.names.setdefault(name, new)
        finally:
            self.touch(new)
        if state is new and len(self.names) > MOST_NAMES:  # several threads at a time
            self.free(new)
            return None, _too_many()
        return state, None

    def add(self, name, connection, number):
        """Return the new channel of an EXEC, or (None, why not)."""
        refusal = self._refusal(name)
        if refusal or name in self.names:
            return None, refusal or (u"there is a channel named %s already: close it, or use another name"
                                     % name)
        state = Named(self, name)
        connection.place(state, number).open = True
        if self.names.setdefault(name, state) is not state:
            del connection.places[state], connection.states[number]
            return self.add(name, connection, number)
        return state, None

    def _refusal(self, name):
        if not isinstance(name, type(u"")) or not 0 < len(name) <= LONGEST_NAME:
            return u"a channel's name has 1 to %d characters" % LONGEST_NAME
        if [char for char in name if char < u" " or u"\x7f" <= char < u"\xa0"]:
            return u"a channel's name has no control characters"
        lone = [char for char in name if u"\ud800" <= char <= u"\udfff"]
        if lone and (sys.maxunicode > 0xffff or len(lone) % 2):
            return u"a channel's name has no lone surrogates"
        if len(self.names) >= MOST_NAMES and name not in self.names:
            return _too_many()
        return None

    def free(self, state):
        """Let another channel have its name."""
        if self.names.get(state.name) is state:
            self.names.pop(state.name, None)

    # --- the writer

    def touch(self, state):
        """Tell the writer that there is something to do on a named channel."""
        self._touched.append(state)
        self.bell.ring()

    def write(self):
        """Run the writer."""
        while True:
            try:
                self.idle = True
                self.bell.wait(self._patience())
                self.idle = False
                self._turn()
            except ANY:
                # memory is short; what was under way on this connection is sent again on the next one
                try:
                    self.connection.hang_up()
                    sys.stderr.write("execnet: cannot write: %s\n" % sys.exc_info()[0].__name__)
                    sleep(SHORT)
                except ANY:
                    pass

    def _turn(self):
        connection = self.connection
        if connection is not self._served:
            self._served = connection
            connection.outbox.settle()
            self._touched.extend(list(connection.places) + list(self.names.values()))
        connection.answer()
        while self._touched:
            state = self._touched.popleft()
            connection.attend(state)
            self._note(state)
        self._tell()

    def _note(self, state):
        """Note whether code waits because nobody reads."""
        if state.blocked and state.is_full() and not state.closed:
            if self._full.get(state, (None,))[0] != state.passed:
                self._full[state] = state.passed, clock()
        else:
            self._full.pop(state, None)

    def _tell(self):
        if self._said and not self._full:
            self._said = False
            self.say(b"r")
        elif not self._said and self._full and self._patience() <= 0:
            self._said = True
            self.say(b"w")

    def _patience(self):
        if self._said or not self._full:
            return None
        return min([since for _, since in self._full.values()]) + SAY_AFTER - clock()

    def drain(self):
        """Wait until what code has sent last is written, if somebody is there."""
        until = clock() + DRAINED
        while not (self.connection.ended or self.idle and not self._touched) and clock() < until:
            sleep(0.001)


def _too_many():
    return u"a gateway has at most %d channels with names" % MOST_NAMES

