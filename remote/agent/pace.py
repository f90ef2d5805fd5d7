"""How much may be under way on a link (docs/protocol.md, 3.1): counts, samples and the window. No frames, no clock."""
from agent.wire import RemoteProtocolError

SMALLEST = 262144
LARGEST = 4194304
STEP = 65536  # an ACK comes at least this often
LATELY = 10.0


class Pace(object):
    """The window follows twice the highest rate lately times the lowest round trip lately.

    A round trip counts only when it began with (almost) nothing under way: one that began behind a full window measures
    the window. When there was none for a while the link is left to run empty once.
    """

    def __init__(self):
        self.window = SMALLEST
        self.sent = 0
        self.acked = 0
        self._light = None  # (bytes to be acknowledged, since when) of a round trip being measured
        self._busy = None  # (bytes to be acknowledged, since when, acknowledged then) of a rate being measured
        self._trips = []  # (when, seconds)
        self._rates = []  # (when, bytes per second)
        self._emptying = False

    def under_way(self):
        return self.sent - self.acked

    def open(self):
        """Whether DATA may be sent."""
        return self.sent - self.acked < (STEP if self._emptying else self.window)

    def sent_more(self, size, now):
        before = self.sent - self.acked
        self.sent += size
        if before + size < STEP:
            return
        if self._light is None and before < STEP:
            self._light = self.acked + STEP, now
        if self._busy is None and before + size >= 2 * STEP:
            self._busy = self.sent - STEP, now, self.acked

    def acknowledged(self, total, now):
        if total > self.sent:
            raise RemoteProtocolError("ACK of %d bytes, %d were sent" % (total, self.sent))
        self.acked = max(self.acked, total)
        sampled = False
        if self._light is not None and self.acked >= self._light[0]:
            self._trips = _lately(self._trips, now, now - self._light[1])
            self._light = None
            sampled = True
        if self._busy is not None and self.acked >= self._busy[0]:
            _, since, acked = self._busy
            self._rates = _lately(self._rates, now, (self.acked - acked) / max(now - since, 0.000001))
            self._busy = None
            sampled = True
        if sampled and self._trips and self._rates:
            if now - self._trips[-1][0] > LATELY:
                self._emptying = self.window > SMALLEST
            else:
                self._emptying = False
            product = max([rate for _, rate in self._rates]) * min([trip for _, trip in self._trips])
            self.window = int(min(max(2 * product, SMALLEST), LARGEST))


def _lately(samples, now, value):
    return [sample for sample in samples[-15:] if now - sample[0] < LATELY] + [(now, value)]
