"""The lab, the network on it, and their processes: how they are found, and that nothing of them is left."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
EXECNET = str(ROOT / "target/debug/execnet")
TESTKIT = str(ROOT / "target/debug/execnet-testkit")
MARK = "EXECNET_CHAOS"


class Process:
    """One process, as /proc has it. `start` tells it from another one of the same number."""

    def __init__(self, pid, text=None):
        stat = text or Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = stat.rpartition(")")[2].split()
        self.pid, self.comm = int(pid), stat[stat.index("(") + 1 : stat.rindex(")")]
        self.state, self.parent, self.start = fields[0], int(fields[1]), fields[19]

    def is_there(self):
        try:
            now = Process(self.pid)
        except OSError:
            return False
        return now.start == self.start and now.state not in "ZX"

    def argv(self):
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            return []

    def environment(self):
        try:
            return Path(f"/proc/{self.pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return []

    def send(self, number):
        """Send a signal, unless the process has gone."""
        if self.is_there():
            try:
                os.kill(self.pid, number)
                return True
            except ProcessLookupError:
                pass
        return False

    def __str__(self):
        words = " ".join(" ".join(self.argv()).split())
        return f"{self.pid} ({words[:150] or self.comm}, state {self.state})"


def table():
    """Return all processes that live, by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                process = Process(name)
            except (OSError, ValueError, IndexError):
                continue
            if process.state not in "ZX":
                found[process.pid] = process
    return found


def below(processes, pid):
    """Return what descends from a process."""
    found, open_ = [], [pid]
    while open_:
        parent = open_.pop()
        children = [each for each in processes.values() if each.parent == parent]
        found += children
        open_ += [each.pid for each in children]
    return found


class World:
    """A lab of build1, build2, and inner behind build1; a network of these and of this machine, `local`."""

    def __init__(self, ledger, number, clock=None, small_disk=False):
        self.ledger = ledger
        self.name = f"chaos-{os.getpid()}-{number}"
        self.temporary = tempfile.TemporaryDirectory(prefix="execnet-chaos-")
        self.folder = Path(self.temporary.name)
        self.env = dict(os.environ)
        self.env[MARK] = str(self.folder)
        for key in ("CONFIG", "STATE", "CACHE"):
            self.env[f"XDG_{key}_HOME"] = str(self.folder / key.lower())
        self.env["PATH"] = f"{os.path.dirname(EXECNET)}:{self.env['PATH']}"
        self.clock = clock
        self.start_env = dict(self.env)
        if clock is not None:
            self.start_env.update(LD_PRELOAD=str(clock.library), EXECNET_CHAOS_CLOCK=str(clock.file))
        self.lock = threading.Lock()
        self.agents, self.daemon = {}, None
        self.stopped = {}  # processes that are stopped by a fault
        self.clients = {}  # pid: Client
        self.ending = []  # (Process, since, what): must end
        self.refused = {}  # name of work that was to be kept: why it was not started
        self.before = self.traces()
        self.lab = subprocess.Popen(
            [TESTKIT, "lab", "--hosts", "2", "--inner", "--proxies"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        config = ""
        for line in self.lab.stdout:
            if line.startswith("ssh_config: "):
                config = line.split()[1]
            if line.startswith("Ctrl-C"):
                break
        assert config, "the lab did not start"
        self.lab_folder = os.path.dirname(config)
        self.specs = {
            "build1": f"ssh=build1//ssh_config={config}",
            "build2": f"ssh=build2//ssh_config={config}",
            "inner": "ssh=inner//via=build1",
            "local": "popen//id=local",
        }
        self.via = {"inner": "build1"}
        self.disk = Disk(Path(self.lab_folder) / "hosts/build2/home/.cache") if small_disk else None
        self.file = self.folder / "config/execnet" / f"{self.name}.toml"
        self.write_file("10m")
        self.start()

    def write_file(self, linger):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(f"hosts = {json.dumps(list(self.specs.values()))}\nlinger = {linger!r}\n")

    # commands

    def execnet(self, verb, *args, limit=150, **more):
        """Run a command of the network to its end, which it must reach."""
        command = [EXECNET, verb, self.name, *args]
        environment = self.start_env if verb == "start" else self.env
        options = dict(stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        try:
            return subprocess.run(command, env=environment, timeout=limit, **{**options, **more})
        except subprocess.TimeoutExpired as error:
            self.ledger.finding(f"execnet {verb} hangs", f"{command}\n{error.stdout}\n{error.stderr}")
            return subprocess.CompletedProcess(command, -1, "", "it hangs")

    def start(self):
        done = self.execnet("start")
        if done.returncode not in (0, 5, 6):
            self.ledger.finding(f"execnet start fails: {done.returncode}", done.stderr)
        self.look()
        return done

    def status(self):
        done = self.execnet("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def look(self):
        """Ask which processes the daemon and the agents are. Return the status, or None without a daemon."""
        status = self.status()
        if status is None:
            return None
        with self.lock:
            self.daemon = process(status["pid"])
            for host in status["hosts"]:
                if host["agent_pid"] and host["state"] == "up":
                    self.agents[host["id"]] = process(host["agent_pid"])
        return status

    def change_link(self, words):
        with self.lock:
            print(words, file=self.lab.stdin, flush=True)
            answer = self.lab.stdout.readline()
        assert answer == "ok\n", (words, answer)

    # who is who

    def ssh(self, host):
        """Return the ssh processes that connect to a host."""
        found = [each for each in table().values() if each.comm == "ssh" and host in each.argv()]
        return [each for each in found if self.is_ours(each)]

    def sessions(self, host):
        """Return sshd's processes for connections to a host, without the listening one."""
        processes = table()
        found = [each for pid in self.listening(host) for each in below(processes, pid)]
        return [each for each in found if each.comm.startswith("sshd")]

    def listening(self, host):
        """Return the pids of the sshd that listens for a host."""
        # it has made one word of its command
        config = f"{self.lab_folder}/hosts/{host}/sshd_config"
        found = [each for each in table().values() if each.comm.startswith("sshd")]
        return [each.pid for each in found if config in " ".join(each.argv())]

    def stubs(self, host):
        """Return the processes that pass a link to the agent of a host."""
        processes = table()
        roots = [self.daemon.pid] if host == "local" and self.daemon else self.listening(host)
        found = [each for root in roots for each in below(processes, root)]
        # the shell that found the Python is its parent, not an agent
        shells = {each.pid for each in found if each.comm == "sh"}
        return [each for each in found if each.comm.startswith("python") and each.parent in shells]

    def is_ours(self, process):
        marks = f"{MARK}={self.folder}", f"EXECNET_TESTKIT_LAB={self.lab_folder}"
        return any(variable in marks for variable in process.environment())

    def ours(self):
        """Return what runs on hosts, and everything that this network's commands have started."""
        return [each for each in table().values() if self.is_ours(each)]

    # the end

    def must_end(self, pid, what):
        """Note that a process must end soon."""
        found = process(pid)
        if found is not None:
            with self.lock:
                self.ending.append((found, time.monotonic(), what))

    def check_ended(self, calm, limit):
        """Note those as findings that have not ended, although nothing has been in the way since `calm`."""
        with self.lock:
            ending, self.ending = self.ending, []
        for found, since, what in ending:
            if not found.is_there():
                self.ledger.verified("ends of processes")
            elif calm is not None and time.monotonic() > max(since, calm) + limit:
                self.ledger.finding(f"{what} still runs", f"{found}")
            else:
                with self.lock:
                    self.ending.append((found, since, what))

    def traces(self):
        """Return the files that networks have in the usual folder."""
        folder = Path(f"/tmp/execnet-{os.getuid()}")
        return {str(path) for path in folder.rglob("*")} if folder.is_dir() else set()

    def close(self):
        """End everything, by pid. For the end, whatever has happened."""
        for found in list(self.stopped.values()):
            found.send(signal.SIGCONT)
        for client in list(self.clients.values()):
            if client.process.poll() is None:
                client.process.kill()
        self.execnet("start", limit=60)
        self.execnet("stop", "--end-kept", limit=60)
        if self.disk is not None:
            self.disk.close()
        self.lab.stdin.close()
        try:
            self.lab.wait(30)
        except subprocess.TimeoutExpired:
            self.lab.kill()
        for found in self.ours():
            found.send(signal.SIGKILL)
        try:
            self.temporary.cleanup()
        except OSError as error:
            self.ledger.say(f"the folder could not be removed: {error}")


def process(pid):
    try:
        return Process(pid)
    except (OSError, ValueError):
        return None


def gone(found, limit):
    end = time.monotonic() + limit
    while found.is_there():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Client:
    """A program that uses the network, and what faults have done to it."""

    def __init__(self, world, kind, host, process):
        self.world, self.kind, self.host, self.process = world, kind, host, process
        self.since = time.monotonic()
        self.signals = []  # what faults have sent
        self.inner = []  # pids of its processes on hosts
        world.clients[process.pid] = self

    def over(self):
        self.world.clients.pop(self.process.pid, None)


class Disk:
    """A disk of a few MiB, in the mount namespace of this run, which can be filled."""

    SIZE = "24m"

    def __init__(self, folder):
        self.folder = folder
        self.memory = folder.parent.parent / "small-disk"
        for each in (folder, self.memory):
            each.mkdir(mode=0o700)
        mount("-t", "tmpfs", "-o", f"size={self.SIZE},mode=700", "execnet-chaos", str(self.memory))
        for each in ("upper", "work", "lower"):
            (self.memory / each).mkdir(mode=0o700)
        # agents do not write rings to a file system in memory; this one is not seen to be in memory
        options = ",".join(f"{each}dir={self.memory / each}" for each in ("lower", "upper", "work"))
        mount("-t", "overlay", "-o", options, "execnet-chaos", str(folder))

    def fill(self):
        with open(self.memory / "filling", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65536))
            except OSError:
                pass

    def free(self):
        (self.memory / "filling").unlink(missing_ok=True)

    def close(self):
        for each in (self.folder, self.memory):
            subprocess.run(["umount", "-l", str(each)], stderr=subprocess.DEVNULL)


def mount(*args):
    subprocess.run(["mount", *args], check=True)


class Clock:
    """The wall clock of the daemon and of the agent on `local`."""

    def __init__(self, folder):
        self.library, self.file = Path(folder) / "clock.so", Path(folder) / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source), "-ldl"], check=True
        )
        self.set(0)

    def set(self, seconds):
        data = seconds.to_bytes(8, "little", signed=True)
        if self.file.exists():
            with open(self.file, "r+b") as file:
                file.write(data)
        else:
            self.file.write_bytes(data)
