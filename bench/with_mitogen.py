"""Measures mitogen for gateways.py: contexts instead of gateways, calls instead of messages."""

import json
import os
import sys

import mitogen.core
import mitogen.master
from answers import MB, VALUES, answer, median_of, timed

# The functions that run in a context.

taken = []


def echo(item):
    return item


def take(item):
    taken.append(1)


def count_taken():
    count = len(taken)
    del taken[:]
    return count


def size(item):
    return len(item)


def give():
    return mitogen.core.Blob(GIVEN)


GIVEN = os.urandom(MB)


class Mitogen:
    def __init__(self, router, facts):
        self.router = router
        self.facts = facts
        self.places = {}

    def at(self, place):
        """A lasting context at `popen`, `ssh` or `hops`."""
        if place not in self.places:
            python = self.facts["python"]
            if place == "popen":
                made = self.router.local(python_path=sys.executable)
            elif place == "ssh":
                args = ["-F", self.facts["config"]]
                made = self.router.ssh(
                    hostname="build1", python_path=python, ssh_args=args, compression=False
                )
            else:
                made = self.router.ssh(
                    hostname="inner", python_path=python, compression=False, via=self.at("ssh")
                )
            made.call(echo, 1)
            self.places[place] = made
        return self.places[place]

    def many(self, count):
        host = self.at("ssh")
        made = []

        def act():
            made.extend(self.router.local(via=host, python_path=self.facts["python"]) for _ in range(count))
            for context in made:
                context.call(os.getpid)

        took = timed(act)
        for context in made:
            context.shutdown(wait=True)
        return took

    def rtt(self, place, count):
        context = self.at(place)
        return median_of(count, lambda: context.call(echo, 7))

    def flow(self, place, count):
        context = self.at(place)

        def act():
            for _ in range(count):
                context.call_no_reply(take, 7)
            assert context.call(count_taken) == count

        return timed(act) / count

    def up(self, place, count):
        data = mitogen.core.Blob(os.urandom(MB))
        return self.calls(place, count, size, data)

    def down(self, place, count):
        return self.calls(place, count, give)

    def calls(self, place, count, function, *args):
        context = self.at(place)

        def act():
            for receiver in [context.call_async(function, *args) for _ in range(count)]:
                receiver.get().unpickle()

        return timed(act) / count

    def values(self, kind):
        value = VALUES[kind]()
        context = self.at("popen")
        return timed(lambda: context.call(echo, value))


def main():
    broker = mitogen.master.Broker()
    peer = Mitogen(mitogen.master.Router(broker), json.loads(sys.argv[1]))
    names = ("many", "rtt", "flow", "up", "down", "values")
    try:
        answer({"open": lambda: peer.many(1), **{name: getattr(peer, name) for name in names}})
    finally:
        broker.shutdown()
        broker.join()


if __name__ == "__main__":
    main()
