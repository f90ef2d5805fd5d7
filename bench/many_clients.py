"""Many clients of one daemon in one program, for scale.py: `execnet.connect` makes a new one each time.

A process each would take ten times the memory, and the daemon cannot tell the difference: each client has a
socket, an identity and threads of its own.
"""

import sys
import threading

import execnet
from answers import answer, median_of, timed

ECHO = "for item in channel: channel.send(item)"
clients = []


class Client:
    """A connection with one gateway, and a loop there that sends back what it receives."""

    def __init__(self):
        self.network = execnet.connect(sys.argv[1], on_unreachable=False, on_progress=False)
        try:
            self.gateway = self.network.makegateway()
            self.channel = self.gateway.remote_exec(ECHO)
            self.trip()
        except BaseException:
            self.network.close()
            raise

    def trip(self):
        self.channel.send(7)
        assert self.channel.receive() == 7


def open_at_once(count):
    """Seconds until so many more clients have had an answer, and the errors of those that have none."""
    failed = []

    def one():
        try:
            clients.append(Client())
        except Exception as error:
            failed.append("%s: %s" % (type(error).__name__, error))

    threads = [threading.Thread(target=one) for _ in range(count)]

    def act():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(act), failed


def all_at_once():
    """A round trip of each, all at the same time."""
    for client in clients:
        client.channel.send(7)
    for client in clients:
        assert client.channel.receive() == 7


def median_trip(count):
    return median_of(count, clients[0].trip)


answer({"open": open_at_once, "trip": median_trip, "all": lambda count: median_of(count, all_at_once)})
for client in clients:
    client.gateway.exit()
for client in clients:
    client.network.close()
