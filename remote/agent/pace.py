"""How many bytes may be under way on a link (docs/protocol.md, 3.1). No frames, no clock."""
from agent.wire import RemoteProtocolError

MIN_WINDOW = 262144
ALONE = 1048576  # smallest window of a process that has the link to itself
MAX_WINDOW = 4194304
ACK_EVERY = 65536  # bytes after which an ACK comes at the latest
BEYOND = 65536  # bytes by which terminals may exceed the window
LATELY = 10.0
BACK = 5.0
REMEMBERED = 8
LONG = 0.01  # seconds: rates are measured over at least this long; over shorter spans ACKs arrive in bursts


class Lately(object):
    """The best of what was measured in this period and the one before."""

    def __init__(self, better):
        self.best = None
        self.at = None  # time of the last measurement
        self._better = better
        self._now = self._before = self._since = None

    def add(self, value, now):
        if self._now is None or now - self._since > LATELY:
            self._before = self._now
            self._now, self._since = value, now
        self._now = self._better(self._now, value)
        self.best = self._now if self._before is None else self._better(self._now, self._before)
        self.at = now


class Pace(object):
    """The window is twice the highest recent rate times the lowest recent round trip.

    A round trip counts only if it began with (almost) nothing under way: behind a full window it would
    measure the window. If there was none for a while, the link is left to run empty once.

    A small message of another process waits behind the bytes under way. If no two processes took turns
    lately, nobody waits, and a larger window bridges the pauses of busy machines. Two processes took turns if
    both came back within BACK. A tunnel whose link is idle sends its PONG every 10 s: that does not count.

    While somebody sits before a terminal, a key waits behind the bytes under way: then the window is as small
    as it can be without a pause, the rate times the round trip.
    """

    def __init__(self):
        self.window = MIN_WINDOW
        self.has_terminal = False
        self.sent = 0
        self.acked = 0
        self._light = None  # round trip being measured: (bytes to be acknowledged, start)
        # rate being measured: (bytes to be acknowledged, start, acknowledged then)
        self._busy = None
        self._trip = Lately(min)  # seconds
        self._rate = Lately(max)  # bytes per second
        self._emptying = False
        self._who = None  # id of the process whose DATA was sent last
        self._began = []  # (id, when) of the last turns, the newest last
        self._back = None  # (id, when) of the last process that came back
        self._shared = None  # when two processes last took turns

    def room(self, now):
        """Return how many bytes of DATA may be sent, give or take a frame; negative if the window is
        exceeded."""
        if self._emptying:
            window = ACK_EVERY
        elif self.has_terminal:
            window = max(self.window // 2, MIN_WINDOW)
        elif self.window >= ALONE or self._shared is not None and now - self._shared < LATELY:
            window = self.window
        else:
            window = ALONE
        return window - self.sent + self.acked

    def turn(self, who, now):
        """Note that DATA of this process is sent."""
        if who == self._who:
            return
        self._who = who
        began = [turn for turn in self._began if turn[0] != who]
        came_back = [turn for turn in self._began if turn[0] == who and now - turn[1] < BACK]
        self._began = began[1 - REMEMBERED:] + [(who, now)]
        if came_back:
            if self._back is not None and self._back[0] != who and now - self._back[1] < BACK:
                self._shared = now
            self._back = who, now

    def is_light(self, size):
        """Whether so little is under way with this that it may be sent, and nothing is measured."""
        return self.sent - self.acked + size < ACK_EVERY

    def sent_more(self, size, now):
        before = self.sent - self.acked
        self.sent += size
        if before + size < ACK_EVERY:
            return
        if self._light is None and before < ACK_EVERY:
            self._light = self.acked + ACK_EVERY, now
        if self._busy is None and before + size >= 2 * ACK_EVERY:
            self._busy = self.sent, now, self.acked

    def acknowledged(self, total, now):
        if total > self.sent:
            raise RemoteProtocolError("ACK of %d bytes, %d were sent" % (total, self.sent))
        self.acked = max(self.acked, total)
        sampled = False
        if self._light is not None and self.acked >= self._light[0]:
            self._trip.add(now - self._light[1], now)
            self._light = None
            sampled = True
        if self._busy is not None and self.acked >= self._busy[0]:
            _, since, acked = self._busy
            if now - since >= LONG:
                self._rate.add((self.acked - acked) / (now - since), now)
                self._busy = None
                sampled = True
        if sampled and self._trip.at is not None and self._rate.at is not None:
            self._emptying = self.window > MIN_WINDOW and now - self._trip.at > LATELY
            self.window = int(min(max(2 * self._rate.best * self._trip.best, MIN_WINDOW), MAX_WINDOW))
