"""A program that makes a kept gateway or comes back to it, and goes on where the one before was.

    python kept_client.py NETWORK HOST NAME FACTS

FACTS is JSON of what the programs before told: `taken` (values of `down` that were received), `session`,
`acknowledged` (by session: values of `up` that were acknowledged), and `pending` (how many programs since
then may have taken a value that they did not tell). Tells what happens as lines of JSON on
stdout. At the end of stdin it detaches, or ends the gateway if the last line was `exit`.
"""

import faulthandler
import json
import os
import signal
import sys
import threading
import time

import execnet

UP = """
import sys
seen = sys.chaos_seen = {}
for item in channel:
    session, number = item
    expected = seen.get(session, 0)
    if number != expected:
        channel.send(("bad", session, "%d came in session %d, %d was due" % (number, session, expected)))
    seen[session] = number + 1
    channel.send(("ok", session, number))
"""

DOWN = """
import time
number = 0
while True:
    channel.send((number, b"x" * (number * 7919 % 3000)))
    number += 1
    time.sleep(0.001)
"""

ASK = "import sys; channel.send(sys.chaos_seen)"
UNDER_WAY = 50

lock = threading.Lock()


def tell(event, **facts):
    with lock:
        os.write(1, json.dumps(dict(facts, event=event)).encode() + b"\n")


class Session:
    def __init__(self, gateway, facts, is_new):
        self.gateway, self.facts = gateway, facts
        self.number = facts["session"]
        make = gateway.remote_exec if is_new else (lambda _, channel: gateway.channel(channel))
        self.up, self.down = make(UP, channel="up"), make(DOWN, channel="down")
        self.under_way = threading.Semaphore(UNDER_WAY)
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.died = None
        self.pending = False  # the last value may be taken, and the answer is under way
        if not is_new:
            self.compare()

    def compare(self):
        """Check that what the programs before were told still holds."""
        seen = self.gateway.remote_exec(ASK).receive()
        for session, count in self.facts["acknowledged"].items():
            if seen.get(int(session), 0) < count:
                tell("bad", text=f"{count} values were acknowledged in session {session}, it has {seen}")

    def guard(self, part):
        try:
            part()
        except (EOFError, OSError, execnet.RemoteError) as error:
            self.died = self.died or f"{type(error).__name__}: {error}"
        except BaseException as error:
            tell("bad", text=f"{type(error).__name__}: {error}")
        self.over.set()

    def send(self):
        number = 0
        while not self.over.is_set():
            if self.under_way.acquire(timeout=0.1):
                self.up.send((self.number, number))
                number += 1
                time.sleep(0.003)

    def hear(self):
        expected = 0
        while not self.over.is_set():
            try:
                verdict, session, number = self.up.receive(0.5)
            except execnet.TimeoutError:
                continue
            if verdict == "bad":
                tell("bad", text=number)
            elif session == self.number:
                if number != expected:
                    tell("bad", text=f"{number} was acknowledged in session {session}, {expected} was due")
                expected = number + 1
                self.under_way.release()
                tell("acknowledged", session=session, count=expected)

    def fetch(self):
        expected = None
        while not self.over.is_set():
            try:
                number, data = self.down.receive(0.5)
            except execnet.TimeoutError:
                self.pending = True
                continue
            self.pending = False
            taken = self.facts["taken"]
            # who was killed, or left while it waited in vain, may have taken one value more than it told
            first = taken <= number <= taken + self.facts["pending"]
            if not (first if expected is None else number == expected):
                tell("bad", text=f"{number} came on down, {expected or taken} was due")
            if len(data) != number * 7919 % 3000:
                tell("bad", text=f"{number} has another length: {len(data)}")
            expected = number + 1
            tell("taken", count=expected)

    def run(self):
        threads = [
            threading.Thread(target=self.guard, args=(part,)) for part in (self.send, self.hear, self.fetch)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main(name, host, kept, facts):
    faulthandler.register(signal.SIGUSR1)
    facts = json.loads(facts)
    is_new = facts["session"] == 0
    try:
        net = execnet.connect(name, on_unreachable=False)
        gateway = net.makegateway(node=host, keep=kept) if is_new else net.attach(kept)
        pid = gateway._rinfo(update=True).pid
        session = Session(gateway, facts, is_new)
    except (EOFError, OSError, execnet.HostNotFound, execnet.RemoteError) as error:
        tell("refused", text=f"{type(error).__name__}: {error}")
        return
    tell("open", pid=pid, session=session.number)
    words = []

    def listen():
        words.extend(sys.stdin.read().split())
        session.over.set()

    threading.Thread(target=listen, daemon=True).start()
    session.run()
    if session.died:
        tell("died", text=session.died)
    elif words[-1:] == ["exit"]:
        gateway.exit()
        gateway.join(100)
        tell("exited", alive=gateway.hasreceiver())
    else:
        try:
            gateway.detach()
            tell("detached", pending=session.pending)
        except execnet.TimeoutError as error:
            tell("detached", text=str(error), pending=session.pending)
    net.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
