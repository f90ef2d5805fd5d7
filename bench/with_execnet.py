"""Measures this package or execnet 2, whichever is installed, with the same calls; for gateways.py."""

import json
import os
import sys
import time

import execnet
from answers import MB, VALUES, answer, median_of, timed

FACTS = json.loads(sys.argv[1])
OURS = FACTS["network"] is not None
ECHO = "for item in channel: channel.send(item)"
COUNT = """
count = 0
for item in channel:
    if item is None:
        break
    count += 1
channel.send(count)
"""
GIVE = """
import os
data = os.urandom(1000000)
channel.send(None)
for number in range(channel.receive()):
    channel.send(data)
"""

group = execnet.Group()
network = execnet.connect(FACTS["network"]) if OURS else None
places = {}


def spec(host, config, more=""):
    return "ssh=%s%s//python=%s%s" % (host, config and "//ssh_config=" + config, FACTS["python"], more)


def at(place):
    """A lasting gateway at `popen`, `ssh` or `hops`."""
    if place not in places:
        if place == "popen":
            places[place] = group.makegateway("popen")
        elif OURS:
            places[place] = network.makegateway(node={"ssh": "build1", "hops": "inner"}[place])
        elif place == "ssh":
            places[place] = group.makegateway(spec("build1", FACTS["config"], "//id=ssh"))
        else:
            at("ssh")
            places[place] = group.makegateway(spec("inner", "", "//via=ssh"))
    return places[place]


def makegateways(count):
    """With stock execnet, a single gateway uses the warm ControlMaster. A gateway on the host starts several,
    because sshd allows 10 sessions per connection."""
    if OURS:
        return network.makegateways(count, node="build1")
    if count == 1:
        return [group.makegateway(spec("build1", FACTS["mux"]))]
    at("ssh")
    return [group.makegateway("popen//via=ssh//python=" + FACTS["python"]) for _ in range(count)]


def many(count):
    made = []

    def act():
        made.extend(makegateways(count))
        channels = [gateway.remote_exec("channel.send(1)") for gateway in made]
        assert sum(channel.receive() for channel in channels) == count

    took = timed(act)
    for gateway in made:
        gateway.exit()
    for gateway in made:
        gateway.join()
    return took


def ready(node, pause):
    """Seconds to open a gateway when the one before it has long been opened."""
    time.sleep(pause)
    made = []
    took = timed(lambda: made.append(network.makegateway(node=node)))
    made[0].exit()
    made[0].join()
    return took


def rtt(place, count):
    channel = at(place).remote_exec(ECHO)

    def act():
        channel.send(7)
        channel.receive()

    took = median_of(count, act)
    channel.close()
    return took


def send(place, item, count):
    """Seconds per item, until the last of `count` items has arrived."""
    channel = at(place).remote_exec(COUNT)

    def act():
        for _ in range(count):
            channel.send(item)
        channel.send(None)
        assert channel.receive() == count

    return timed(act) / count


def down(place, count):
    channel = at(place).remote_exec(GIVE)
    channel.receive()

    def act():
        channel.send(count)
        for _ in range(count):
            channel.receive()

    return timed(act) / count


def values(kind):
    value = VALUES[kind]()
    channel = at("popen").remote_exec(ECHO)

    def act():
        channel.send(value)
        assert len(channel.receive()) == len(value)

    took = timed(act)
    channel.close()
    return took


answer(
    {
        "open": lambda: many(1),
        "many": many,
        "ready": ready,
        "rtt": rtt,
        "flow": lambda place, count: send(place, 7, count),
        "up": lambda place, count: send(place, os.urandom(MB), count),
        "down": down,
        "values": values,
    }
)
group.terminate(5)
if network:
    network.close()
