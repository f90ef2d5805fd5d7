"""A program with a gateway to a host: values with numbers and hashes, both ways, checked at both ends.

    python echo_client.py NETWORK HOST SEED

Tells what happens as lines of JSON on stdout, and ends after the end of its stdin, when all is back. `up`
carries this program's values and answers to them, `down` values of the host.
"""

import faulthandler
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time

import execnet

UNDER_WAY = 100

UP = """
import hashlib
expected = 0
for item in channel:
    if item is None:
        channel.send(("end", expected))
        break
    number, data, digest = item
    if number != expected or hashlib.sha256(data).hexdigest() != digest:
        channel.send(("bad", "%r came, %r was due" % (number, expected)))
        break
    expected += 1
    channel.send((number, hashlib.sha256(b"back" + data).hexdigest()))
"""

DOWN = """
import hashlib, os, random
number = 0
for more in channel:
    if more is None:
        channel.send(("end", number, b""))
        break
    for _ in range(more):
        data = os.urandom(random.choice((0, 10, 300, 300, 5000)) if number % 200 else 1500000)
        channel.send((number, hashlib.sha256(data).hexdigest(), data))
        number += 1
"""

lock = threading.Lock()
last = threading.Event()


def tell(event, **facts):
    with lock:
        os.write(1, json.dumps(dict(facts, event=event)).encode() + b"\n")


class Bad(Exception):
    """Something was lost, doubled or changed."""


class Talk:
    """One gateway, from its start until it dies or all is back."""

    def __init__(self, gateway, seed):
        self.random, self.gateway = random.Random(seed), gateway
        self.up, self.down = gateway.remote_exec(UP), gateway.remote_exec(DOWN)
        self.under_way = threading.Semaphore(UNDER_WAY)
        self.sent, self.digests = 0, {}
        self.died = self.bad = None
        self.over = threading.Event()

    def run(self):
        threads = [threading.Thread(target=self.guard, args=(part,)) for part in (self.send, self.hear)]
        for thread in threads:
            thread.start()
        self.guard(self.fetch)
        for thread in threads:
            thread.join()

    def guard(self, part):
        try:
            part()
        except Bad as error:
            self.bad = str(error)
        except (EOFError, OSError, execnet.RemoteError) as error:
            self.died = (self.died or "") + f"{type(error).__name__}: {error}\n"
        except BaseException as error:
            self.bad = f"{type(error).__name__}: {error}"
        if self.bad or self.died:
            self.over.set()
            self.gateway.exit()  # nobody waits for more
            self.under_way.release(UNDER_WAY)

    def send(self):
        while not last.is_set() and not self.over.is_set():
            if not self.under_way.acquire(timeout=0.2):
                continue
            size = self.random.choice((0, 10, 300, 300, 5000)) if self.sent % 300 else 1_500_000
            data = self.random.randbytes(size)
            self.digests[self.sent] = hashlib.sha256(b"back" + data).hexdigest()
            self.up.send((self.sent, data, hashlib.sha256(data).hexdigest()))
            self.sent += 1
            time.sleep(0.002)
        if not self.over.is_set():
            self.up.send(None)

    def hear(self):
        expected = 0
        while True:
            number, digest = self.up.receive()
            if number == "bad":
                raise Bad(f"the host heard {digest}")
            if number == "end":
                if not digest == expected == self.sent:
                    raise Bad(f"{self.sent} were sent, {digest} arrived, {expected} came back")
                return
            if number != expected or digest != self.digests.pop(number, None):
                raise Bad(f"{number} came back, {expected} was due, or it was changed")
            expected += 1
            self.under_way.release()
            if expected % 50 == 0:
                tell("progress", what="values up", count=50)

    def fetch(self):
        expected, ended = 0, False
        self.down.send(2 * UNDER_WAY)
        while True:
            number, digest, data = self.down.receive()
            if number == "end":
                if digest != expected:
                    raise Bad(f"{digest} were sent by the host, {expected} came")
                return
            if number != expected or hashlib.sha256(data).hexdigest() != digest:
                raise Bad(f"{number} came from the host, {expected} was due, or it was changed")
            expected += 1
            if expected % UNDER_WAY == 0:
                tell("progress", what="values down", count=UNDER_WAY)
                time.sleep(0.1)
                if not ended:
                    ended = last.is_set()
                    self.down.send(None if ended else UNDER_WAY)


def main(name, host, seed):
    faulthandler.register(signal.SIGUSR1)
    reading = threading.Thread(target=lambda: (sys.stdin.read(), last.set()), daemon=True)
    reading.start()
    net, number = None, 0
    while not last.is_set():
        number += 1
        since = time.monotonic()
        try:
            net = net or execnet.connect(name, on_unreachable=False)
            gateway = net.makegateway(node=host)
            pid = gateway._rinfo().pid
            talk = Talk(gateway, f"{seed}-{number}")
        except Exception as error:
            tell("refused", text=f"{type(error).__name__}: {error}", since=since)
            last.wait(1)
            continue
        tell("open", pid=pid)
        talk.run()
        # an error of the end that followed counts for nothing
        if talk.bad:
            tell("bad", text=talk.bad)
        elif talk.died:
            tell("died", text=talk.died, since=since, pid=pid)
        else:
            tell("done", pid=pid)
        gateway.exit()
    if net is not None:
        net.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
