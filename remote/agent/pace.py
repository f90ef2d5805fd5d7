"""How much may be under way on a link (docs/protocol.md, 3.1): counts, samples and the window. No frames, no clock."""

SMALLEST = 262144
LARGEST = 4194304
SAMPLE_FROM = 131072
LATELY = 10.0


class Pace(object):
    """The window follows twice the highest rate lately times the lowest round trip lately."""

    def __init__(self):
        self.window = SMALLEST
        self.sent = 0
        self.acked = 0
        self._mark = None  # (bytes sent, when, acked then) of the round trip being measured
        self._samples = []  # (when, rate, round trip)

    def under_way(self):
        return self.sent - self.acked

    def open(self):
        return self.sent - self.acked < self.window

    def sent_more(self, size, now):
        self.sent += size
        # An ACK comes at least for every 65,536 bytes: a mark that far back is certain to be answered while we wait.
        if self._mark is None and self.sent - self.acked >= SAMPLE_FROM:
            self._mark = self.sent - 65536, now, self.acked

    def acknowledged(self, total, now):
        if total > self.sent:
            from agent.wire import RemoteProtocolError
            raise RemoteProtocolError("ACK of %d bytes, %d were sent" % (total, self.sent))
        self.acked = max(self.acked, total)
        if self._mark is None or self.acked < self._mark[0]:
            return
        _, when, acked = self._mark
        self._mark = None
        trip = max(now - when, 0.000001)
        samples = [sample for sample in self._samples[-15:] if now - sample[0] < LATELY]
        samples.append((now, (self.acked - acked) / trip, trip))
        self._samples = samples
        product = max([sample[1] for sample in samples]) * min([sample[2] for sample in samples])
        self.window = int(min(max(2 * product, SMALLEST), LARGEST))
