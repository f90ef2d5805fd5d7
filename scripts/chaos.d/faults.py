"""The faults: each finds something to disturb, does so, and notes what that entitles to.

A fault that lasts is over in a thread of its own. `Faults.calm` waits until all are.
"""

import os
import random
import signal
import threading
import time

from world import gone, process

HOSTS = ("build1", "build2", "inner", "local")
SSH_HOSTS = ("build1", "build2", "inner")


class Faults:
    def __init__(self, world, ledger, seed, kinds):
        self.world, self.ledger = world, ledger
        self.random = random.Random(seed)
        self.kinds = kinds
        self.busy = set()  # what a fault that lasts has in hand
        self.lasting = []
        self.lock = threading.Lock()

    def one(self):
        """Do one fault. Return whether something was there to be disturbed."""
        kind = self.random.choice(self.kinds)
        host = self.random.choice(HOSTS if kind in ("agent", "stub", "interpreter") else SSH_HOSTS)
        # always as many numbers, so that what a seed means does not depend on what was found
        chance, length, delay = self.random.random(), self.random.random(), self.random.random()
        return getattr(self, kind.replace("-", "_"))(host, chance, length, delay)

    def calm(self):
        """End what lasts, and wait for it."""
        for thread in self.lasting:
            thread.join(120)
        self.lasting = []

    # helpers

    def last(self, what, seconds, begin, end, host=None, outage=True):
        """Do `begin` now and `end` after a while. Return False if something of this name lasts already."""
        with self.lock:
            if what in self.busy:
                return False
            self.busy.add(what)
        out = self.ledger.outage(host) if outage else None
        begin()

        def later():
            time.sleep(seconds)
            try:
                end()
            finally:
                if out is not None:
                    self.ledger.over(out)
                with self.lock:
                    self.busy.discard(what)

        thread = threading.Thread(target=later, daemon=True)
        thread.start()
        self.lasting.append(thread)
        return True

    def stop(self, found, what, seconds, host=None, kind="stop"):
        def begin():
            self.world.stopped[found.pid] = found
            found.send(signal.SIGSTOP)
            self.ledger.fault(kind, f"SIGSTOP {what} {found.pid} for {seconds:.1f} s")

        def end():
            found.send(signal.SIGCONT)
            self.world.stopped.pop(found.pid, None)

        return self.last(("stop", found.pid), seconds, begin, end, host, outage=host != "nobody")

    def broken(self, host):
        self.ledger.over(self.ledger.outage(host))

    def kill_or_stop(self, kind, found, host, chance, length, several=False):
        """Kill one process, or all of them, or stop one."""
        if not found:
            return False
        if chance < 0.65:
            victims = found if several else [self.random.choice(found)]
            self.ledger.fault(f"{kind}-kill", f"SIGKILL {kind} of {host}: {[each.pid for each in victims]}")
            self.broken(host)
            for each in victims:
                each.send(signal.SIGKILL)
            return True
        return self.stop(found[0], f"{kind} of {host}", 0.1 + length * 19, host, f"{kind}-stop")

    # kinds

    def ssh(self, host, chance, length, delay):
        return self.kill_or_stop("ssh", self.world.ssh(host), host, chance, length, several=True)

    def sshd(self, host, chance, length, delay):
        if delay < 0.2:
            listening = [process(pid) for pid in self.world.listening(host)]
            return bool(listening) and self.stop(
                listening[0], f"the listening sshd of {host}", 0.1 + length * 19, host, "sshd-listen-stop"
            )
        return self.kill_or_stop(
            "sshd", self.world.sessions(host), host, chance, length, several=chance < 0.3
        )

    def stub(self, host, chance, length, delay):
        return self.kill_or_stop("stub", self.world.stubs(host), host, chance, length)

    def agent(self, host, chance, length, delay):
        agent = self.world.agents.get(host)
        if agent is None or not agent.is_there():
            self.world.look()
            return False
        if chance < 0.3:
            self.ledger.loses("agent", host)
            self.ledger.fault("agent-kill", f"SIGKILL agent of {host}: {agent.pid}")
            self.broken(host)
            agent.send(signal.SIGKILL)
            return True
        return self.stop(agent, f"agent of {host}", 0.1 + length * 24, host, "agent-stop")

    def daemon(self, host, chance, length, delay):
        daemon = self.world.daemon
        if daemon is None or not daemon.is_there():
            return False
        if chance < 0.35:
            return self.stop(daemon, "the daemon", 0.1 + length * 20, None, "daemon-stop")
        seconds = length * 8 if delay < 0.6 else 0

        number = signal.SIGTERM if chance > 0.93 else signal.SIGKILL
        kind = "daemon-term" if number == signal.SIGTERM else "daemon-kill"

        def begin():
            if number == signal.SIGTERM:
                self.ledger.loses("term")
            what = f"{signal.Signals(number).name} daemon {daemon.pid}"
            self.ledger.fault(kind, f"{what}, started again {seconds:.1f} s later")
            daemon.send(number)
            if not gone(daemon, 60):
                self.ledger.finding(f"the daemon does not end after {what}", daemon)
                daemon.send(signal.SIGKILL)

        return self.last("daemon", seconds, begin, self.world.start)

    def client(self, host, chance, length, delay):
        clients = sorted(self.world.clients.values(), key=lambda each: each.since)
        if not clients:
            return False
        client = clients[int(delay * len(clients))]
        found = process(client.process.pid)
        if found is None or client.process.poll() is not None:
            return False
        what = f"client {client.kind}"
        if chance < 0.4:
            return self.stop(found, what, 0.1 + length * 15, "nobody", "client-stop")
        number = signal.SIGKILL if chance < 0.8 else signal.SIGTERM
        client.signals.append(number)
        kind = "client-kill" if number == signal.SIGKILL else "client-term"
        self.ledger.fault(kind, f"{signal.Signals(number).name} {what}: {found.pid}")
        found.send(number)
        return True

    def interpreter(self, host, chance, length, delay):
        """Kill or stop a process that runs for a client."""
        pids = [pid for client in list(self.world.clients.values()) for pid in client.inner]
        found = [each for each in map(process, pids) if each is not None and each.is_there()]
        if not found:
            return False
        victim = found[int(delay * len(found))]
        if chance < 0.5:
            return self.stop(victim, "interpreter", 0.1 + length * 10, "nobody", "interpreter-stop")
        self.ledger.loses("interpreter", None, victim.pid)
        self.ledger.fault("interpreter-kill", f"SIGKILL interpreter {victim.pid}")
        victim.send(signal.SIGKILL)
        return True

    def link(self, host, chance, length, delay):
        if chance < 0.4:
            self.ledger.fault("link-cut", f"the link to {host} is cut")
            self.broken(host)
            self.world.change_link(f"cut {host}")
            return True
        if chance < 0.75:
            seconds = 0.1 + length * 25

            def begin():
                self.ledger.fault("link-stall", f"the link to {host} is silent for {seconds:.1f} s")
                self.world.change_link(f"stall {host}")

            def end():
                self.world.change_link(f"resume {host}")

            return self.last(("stall", host), seconds, begin, end, host)
        seconds, each_way = 5 + length * 15, int(1 + delay * 300)

        def slow():
            self.ledger.fault("link-slow", f"the link to {host} is {each_way} ms slower for {seconds:.1f} s")
            self.world.change_link(f"delay {host} {each_way}")

        return self.last(
            ("slow", host), seconds, slow, lambda: self.world.change_link(f"delay {host} 0"), host
        )

    def disk(self, host, chance, length, delay):
        disk = self.world.disk
        if disk is None:
            return False
        seconds = 1 + length * 20

        def begin():
            self.ledger.fault("disk-full", f"the disk of build2 is full for {seconds:.1f} s")
            disk.fill()

        return self.last("disk", seconds, begin, disk.free, outage=False)

    def clock(self, host, chance, length, delay):
        if self.world.clock is None:
            return False
        jump = int((1 if chance < 0.5 else -1) * (10 ** (1 + length * 6)))
        seconds = 1 + delay * 20

        def begin():
            self.ledger.fault("clock-jump", f"the clock jumps by {jump} s, and back {seconds:.1f} s later")
            self.world.clock.set(jump)

        return self.last("clock", seconds, begin, lambda: self.world.clock.set(0), outage=False)

    def socket(self, host, chance, length, delay):
        """Remove the daemon's socket, which it makes again within 5 s."""
        path = f"/tmp/execnet-{os.getuid()}/{self.world.name}.daemon.sock"
        if "daemon" in self.busy or not os.path.exists(path):
            return False
        out = self.ledger.outage()
        self.ledger.fault("socket-gone", "the daemon's socket is removed")
        os.unlink(path)

        def later():
            end = time.monotonic() + 60
            while not os.path.exists(path):
                if time.monotonic() > end:
                    self.ledger.finding("the daemon does not make its socket again")
                    break
                time.sleep(0.1)
            self.ledger.over(out)

        thread = threading.Thread(target=later, daemon=True)
        thread.start()
        self.lasting.append(thread)
        return True


KINDS = ("ssh", "sshd", "stub", "agent", "daemon", "client", "interpreter", "link", "disk", "clock", "socket")
