"""Rounds of work and faults. Each has a lab and a network of its own, and ends with nothing left.

Called by scripts/chaos, within the namespaces that it made.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import KINDS, Faults
from ledger import LIMIT, Ledger
from loads import LOADS
from world import Clock, World, below, gone, table

EVER = 420
"""Seconds without progress that no series of faults explains."""

SOME = 8
"""Files that an agent opens once, when work is kept."""


def arguments(args):
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Faults at random, on a busy network.")
    parser.add_argument("--seed", type=int, help="repeats the faults of a run")
    parser.add_argument("--faults", type=int, default=60, metavar="N", help="ends after N faults [60]")
    parser.add_argument("--time", type=float, metavar="S", help="ends after S seconds at the latest")
    parser.add_argument("--only", metavar="KIND,…", help=f"of {', '.join(KINDS)}; and of {', '.join(LOADS)}")
    parser.add_argument("--round", type=int, default=24, metavar="N", help="faults on one network [24]")
    parser.add_argument(
        "--pause", type=float, default=2.5, metavar="S", help="seconds between two faults [2.5]"
    )
    parser.add_argument("--keep-going", action="store_true", help="goes on after a finding")
    parser.add_argument("--verbose", action="store_true", help="prints what was refused or lost, and said")
    parser.add_argument("--no-mounts", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(args)
    only = [word for word in (given.only or "").split(",") if word]
    unknown = [word for word in only if word not in KINDS and word not in LOADS]
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}")
    given.kinds = [kind for kind in KINDS if kind in only] or list(KINDS)
    given.loads = [load for load in LOADS if load in only] or list(LOADS)
    given.seed = random.randrange(1 << 32) if given.seed is None else given.seed
    return given


class Over(Exception):
    """The run is to end."""


class Round:
    def __init__(self, given, ledger, number, clock):
        self.given, self.ledger = given, ledger
        seed = f"{given.seed}-{number}"
        self.random = random.Random(seed)
        self.world = World(ledger, number, clock, not given.no_mounts)
        self.fds = None
        ledger.on_finding = self.at_finding
        self.faults = Faults(self.world, ledger, f"{seed}-faults", given.kinds)
        self.loads = [
            kind(self.world, host, f"{seed}-{name}-{host}-{kind.__name__}")
            for name in given.loads
            for kind, host in LOADS[name]
        ]

    def at_finding(self):
        """Show what the daemon has logged."""
        log = self.world.folder / "state/execnet" / self.world.name / "log"
        try:
            lines = log.read_text(errors="replace").splitlines()[-25:]
        except OSError:
            return
        print("    the daemon's log:")
        for line in lines:
            print(f"    - {line[:300]}")
        print(end="", flush=True)

    def run(self, count, until):
        """Do so many faults, and end the round. Return how many faults there were."""
        world, done, since_calm = self.world, 0, 0
        self.wait_for_hosts()
        self.fds = self.open_files()
        for load in self.loads:
            load.start()
        time.sleep(3)
        last = time.monotonic()
        while done < count and time.monotonic() < until:
            try:
                if self.faults.one():
                    done += 1
                    since_calm += 1
                    last = time.monotonic()
            except OSError as error:
                self.ledger.say(f"a fault found nothing to disturb any more: {error}")
            self.watch(EVER)
            if since_calm >= 12 or time.monotonic() > last + LIMIT:
                self.calm()
                since_calm, last = 0, time.monotonic()
            # now and then several at once
            if self.random.random() < 0.8:
                time.sleep(self.random.expovariate(1 / self.given.pause))
        self.calm()
        self.finish()
        world.check_ended(self.ledger.calm_since(), LIMIT)
        return done

    # watching

    def watch(self, limit, since=None):
        """Find loads that hang: without progress for so long, or since then."""
        if self.ledger.findings and not self.given.keep_going:
            raise Over
        now = time.monotonic()
        for load in self.loads:
            if load.is_alive() and now - max(load.progress, since or 0) > limit:
                load.finding(f"no progress for {now - load.progress:.0f} s", load.dump())
                self.show_status()
                load.progress = now
                if load.client is not None:
                    load.client.signals.append(signal.SIGKILL)
                    load.client.process.kill()
        self.world.check_ended(self.ledger.calm_since(), LIMIT)

    def show_status(self):
        done = self.world.execnet("status")
        print(done.stdout + done.stderr, flush=True)

    def wait_for_hosts(self):
        """Wait until all hosts are up, with the help that a person would give to one that is rarely tried."""
        end, nudged = time.monotonic() + LIMIT, set()
        while True:
            status = self.world.look()
            down = [h for h in (status or {"hosts": []})["hosts"] if h["state"] != "up"]
            if status is not None and not down:
                return True
            for host in down:
                if (host["retry_in"] or 0) > 30 and host["id"] not in nudged:
                    nudged.add(host["id"])
                    self.ledger.tell(f"hosts that were rarely tried: {host['error']}"[:150])
                    self.world.execnet("addhost", host["spec"])
            if time.monotonic() > end:
                self.ledger.finding(
                    "hosts do not come back", status and [(h["id"], h["error"]) for h in down]
                )
                self.show_status()
                return False
            time.sleep(0.5)

    def calm(self):
        """Without faults every host comes back, and everything goes on."""
        self.faults.calm()
        since = time.monotonic()
        self.wait_for_hosts()
        while any(load.is_alive() and load.progress < since for load in self.loads):
            self.watch(LIMIT, since)
            time.sleep(0.5)
        self.ledger.verified("times that all went on")
        self.ledger.say(f"calm after {time.monotonic() - since:.1f} s; {self.summary()}", keep=False)

    def summary(self):
        with self.ledger.lock:
            return ", ".join(f"{count} {what}" for what, count in self.ledger.done.most_common(4))

    # the end

    def finish(self):
        """End the loads, which check that all is back, then the network, and look for what is left."""
        since = time.monotonic()
        for load in self.loads:
            load.last.set()
        while any(load.is_alive() for load in self.loads):
            self.watch(2 * LIMIT, since)
            if time.monotonic() > since + 4 * LIMIT:
                for load in self.loads:
                    if load.is_alive():
                        load.finding("does not end", load.dump())
                break
            time.sleep(0.3)
        self.nothing_runs()
        self.same_files()
        if self.random.random() < 0.35:
            self.leave_alone()
        self.stop()
        self.nothing_is_left()

    def nothing_runs(self):
        """Of all that was started, nothing runs any more."""
        end = time.monotonic() + LIMIT
        while self.world.ending and time.monotonic() < end:
            self.world.check_ended(self.ledger.calm_since(), LIMIT)
            time.sleep(0.3)
        self.world.check_ended(0, 0)

    def open_files(self):
        """Count the open files of daemon and agents."""
        time.sleep(1)
        processes = {"daemon": self.world.daemon, **self.world.agents}
        return {name: len(os.listdir(f"/proc/{each.pid}/fd")) for name, each in processes.items() if each}

    def same_files(self):
        """Daemon and agents have hardly more files open than at the beginning: kept work takes some."""
        self.wait_for_hosts()
        end = time.monotonic() + 45  # an interpreter that was started ahead stays for up to 30 s
        while True:
            now = self.open_files()
            more = {
                name: (self.fds.get(name), count)
                for name, count in now.items()
                if count > self.fds[name] + SOME
            }
            if not more:
                self.ledger.verified("looks at open files", len(now))
                return
            if time.monotonic() > end:
                detail = [
                    f"{name}: {os.readlink(file)}"
                    for name in more
                    for file in Path(
                        f"/proc/{(self.world.agents.get(name) or self.world.daemon).pid}/fd"
                    ).iterdir()
                    if file.is_symlink()
                ]
                self.ledger.finding(f"files stay open: {more} (before, now)", "\n".join(detail))
                return
            time.sleep(1)

    def leave_alone(self):
        """Kill the daemon and start none: agents end what they run after `linger`, and themselves."""
        world = self.world
        world.write_file("3s")
        self.ledger.say("the daemon is killed and stays away; agents have 3 s")
        world.daemon.send(signal.SIGKILL)
        gone(world.daemon, 10)
        world.start()
        if not self.wait_for_hosts():
            return
        sleeping = subprocess.Popen(
            ["execnet", "python", world.name, "--node", "build2", "-c", "import time; time.sleep(1e6)"],
            env=world.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(2)
        agents, kept = dict(world.agents), self.kept()
        world.daemon.send(signal.SIGKILL)
        gone(world.daemon, 10)
        for host, agent in agents.items():
            mine = [each for each in kept if each["host"] == host]
            if any(each["state"] not in ("ended", "lost") for each in mine):
                continue
            # an agent stays for the records of what has ended, with its child for the disk; no more does
            for each in [agent, *below(table(), agent.pid)]:
                if not (mine and each.argv() == agent.argv()) and not gone(each, LIMIT):
                    self.ledger.finding(f"on {host} something stays beyond linger", each)
            self.ledger.verified("agents that ended after linger" if not mine else "agents left with records")
        sleeping.kill()
        sleeping.wait()
        world.start()
        self.wait_for_hosts()

    def kept(self):
        """Return what the network knows of kept work."""
        done = self.world.execnet("ps", "--json")
        if done.returncode != 0:
            self.ledger.finding(f"ps has status {done.returncode}", done.stderr)
            return []
        return [each["kept"] for each in json.loads(done.stdout)["processes"] if each["kept"]]

    def stop(self):
        """End the network. What is still kept was started by a command that was killed meanwhile."""
        for each in self.kept():
            if each["state"] in ("ended", "lost"):
                continue
            if each["name"] in self.world.refused:
                what = f"{each['name']} is kept on {each['host']}, and its start had failed"
                self.ledger.finding(what, self.world.refused[each["name"]])
            else:
                self.ledger.tell("kept work whose starter was killed")
                self.ledger.say(f"still kept: {each['name']} on {each['host']}: {each['state']}", keep=False)
        done = self.world.execnet("stop", "--end-kept")
        if done.returncode != 0:
            self.ledger.finding(f"stop has status {done.returncode}", done.stdout + done.stderr)

    def nothing_is_left(self):
        """No process of a host or of the network, no socket and no file."""
        end = time.monotonic() + 30
        while True:
            left = [each for each in self.world.ours() if not each.comm.startswith("sshd")]
            # in a /tmp that is shared, others start networks meanwhile
            files = set() if self.given.no_mounts else self.world.traces() - self.world.before
            if not left and not files:
                self.ledger.verified("networks that left nothing")
                return
            if time.monotonic() > end:
                self.ledger.finding("something is left", "\n".join(map(str, left + sorted(files))))
                return
            time.sleep(0.2)


def main(args):
    given = arguments(args)
    ledger = Ledger(given.seed, given.verbose)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    ledger.say(f"seed {given.seed}, {given.faults} faults of {', '.join(given.kinds)}")
    until = time.monotonic() + (given.time or 1e9)
    status = 0
    with tempfile.TemporaryDirectory(prefix="execnet-chaos-clock-") as folder:
        clock = None
        if "clock" in given.kinds:
            try:
                clock = Clock(folder)
            except (OSError, subprocess.CalledProcessError) as error:
                ledger.say(f"no clock jumps, because there is no C compiler: {error}")
        done = number = 0
        try:
            while done < given.faults and time.monotonic() < until:
                number += 1
                round_ = Round(given, ledger, number, clock)
                ledger.say(f"round {number}: network {round_.world.name}")
                try:
                    done += round_.run(min(given.round, given.faults - done), until)
                finally:
                    ledger.closed = True
                    round_.world.close()
                    ledger.closed = False
                if ledger.findings and not given.keep_going:
                    break
        except Over:
            pass
        except KeyboardInterrupt:
            ledger.say("interrupted")
            status = 130
    report(ledger, number)
    return status or (1 if ledger.findings else 0)


def report(ledger, rounds):
    print(f"\nseed {ledger.seed}: {ledger.faults.total()} faults in {rounds} rounds, {ledger.now():.0f} s")
    for title, counter in (("faults", ledger.faults), ("verified", ledger.done), ("allowed", ledger.told)):
        print(f"{title}:")
        for what, count in sorted(counter.items()):
            print(f"  {count:8} {what}")
    print(f"findings: {len(ledger.findings)}")
    for finding in ledger.findings:
        print(f"  {finding}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
