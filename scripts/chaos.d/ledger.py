"""What has happened: faults, outages, operations, findings. Alone decides whether a loss was promised.

Times are those of the monotonic clock. Everything here may be called by any thread.
"""

import collections
import threading
import time

LIMIT = 120
"""Seconds within which anything must have happened that does not wait for a fault to be over."""
LATE = 45
"""Seconds after an outage in which a start may still fail: the next attempt comes up to 30 s later."""


class Ledger:
    def __init__(self, seed, verbose=False):
        self.seed, self.verbose = seed, verbose
        self.start = time.monotonic()
        self.lock = threading.RLock()
        self.recent = collections.deque(maxlen=40)
        self.faults = collections.Counter()
        self.done = collections.Counter()
        self.told = collections.Counter()
        self.findings = []
        self.closed = False  # the run is being ended, which nothing is expected to survive
        self.known = set()
        self.losses = []  # (time, kind, host or None for all, pid or None)
        self.outages = []  # [begin, end or None, host or None for all]
        self.on_finding = lambda: None

    def now(self):
        return time.monotonic() - self.start

    def say(self, text, keep=True):
        line = f"[{self.now():7.1f}] {text}"
        with self.lock:
            if keep:
                self.recent.append(line)
            print(line, flush=True)

    def fault(self, kind, text):
        with self.lock:
            self.faults[kind] += 1
            self.say(f"fault {self.faults.total()}: {text}")

    def verified(self, what, count=1):
        with self.lock:
            self.done[what] += count

    def tell(self, what, text=""):
        """Count something that is allowed and worth knowing, such as a loss that was said."""
        with self.lock:
            self.told[what] += 1
        if self.verbose:
            self.say(f"  {what}: {' / '.join(text.split(chr(10)))[-400:]}", keep=False)

    def finding(self, title, detail=""):
        """Note an outcome contrary to what is promised."""
        with self.lock:
            if self.closed:
                return
            self.findings.append(title)
            self.say(f"FINDING (seed {self.seed}): {title}")
            for line in str(detail).strip().splitlines():
                print(f"    | {line}")
            print("    recent:")
            for line in self.recent:
                print(f"    > {line}")
            print(end="", flush=True)
        self.on_finding()

    # what a fault entitles to

    def loses(self, kind, host=None, pid=None):
        """Note that processes end by a fault: those of a host, of all hosts, or one."""
        with self.lock:
            self.losses.append((time.monotonic(), kind, host, pid))

    def lost(self, host, since, pid=None):
        """Return the kinds of faults since then that end a process on this host, with this pid."""
        with self.lock:
            return {
                kind
                for at, kind, of, whose in self.losses
                if at >= since and of in (None, host) and whose in (None, pid)
            }

    def outage(self, host=None):
        """Note that a host, or all of them, may be out of reach. Return what is passed to `over`."""
        with self.lock:
            outage = [time.monotonic(), None, host]
            self.outages.append(outage)
            return outage

    def over(self, outage):
        with self.lock:
            outage[1] = time.monotonic()

    def impaired(self, host, via=None, since=None):
        """Whether the host may have been out of reach at some time since then, or is about to come back."""
        since = time.monotonic() if since is None else since
        with self.lock:
            return any(
                of in (None, host, via) and (end is None or end > since - LATE) for _, end, of in self.outages
            )

    def calm_since(self):
        """Return since when no outage has been going on, or None if one is."""
        with self.lock:
            ends = [end for _, end, _ in self.outages]
            return None if None in ends else max(ends, default=self.start)
