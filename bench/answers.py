"""Shared by the two programs that measure peers: their requests, and the values they send."""

import json
import os
import sys
import time
from statistics import median

VALUES = {
    "list of 1e6 ints": lambda: list(range(10**6)),
    "1e5 dicts": lambda: [{"name": "n%d" % n, "size": n, "share": n / 7} for n in range(10**5)],
}
MB = 10**6


def answer(measures):
    """Answers each request on stdin, `[name, arguments…]`, with the function of that name in `measures`."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        name, *args = json.loads(line)
        print(json.dumps(measures[name](*args)), file=answers)


def timed(act):
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def median_of(count, act):
    """The median time of a call, after 20 calls to warm up."""
    for _ in range(20):
        act()
    return median(timed(act) for _ in range(count))
