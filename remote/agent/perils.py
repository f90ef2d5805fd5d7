"""What may end kept work before its time, in words for people; and the clock that counts a host's sleep.

Loaded when somebody first asks to keep something. Reads small files of the system, once.
"""
import os
import sys
import time

CONFIGS = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd"]
ALLOCATIONS = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"]
BOOTTIME = 7  # of Linux; in `time` since Python 3.7
TRUE = ("yes", "true", "on", "1")
LIMIT = 65536

_note = None


def note():
    """Return what may end kept work here; empty if nothing is known."""
    global _note
    if _note is None:
        _note = "; ".join([words for words in (_of_logind("/", _account()), _of_container("/", os.environ),
                                               _of_allocation(os.environ)) if words])
    return _note


def calendar():
    """Return a clock that counts the sleep of the host, where there is one."""
    if sys.platform.startswith("linux"):
        if hasattr(time, "clock_gettime"):
            try:
                time.clock_gettime(BOOTTIME)
                return lambda: time.clock_gettime(BOOTTIME)
            except (OSError, ValueError):
                pass
        try:
            _uptime()
            return _uptime
        except (EnvironmentError, ValueError, IndexError):
            pass
    if sys.platform == "darwin" and hasattr(time, "clock_gettime"):
        return lambda: time.clock_gettime(time.CLOCK_MONOTONIC)  # time.monotonic() stands still there
    from agent.loop import clock
    return clock


def _uptime():
    return float(_read("/proc/uptime").split()[0])


def _account():
    """Return uid and name of the account: as the login says, because names may be looked up far away."""
    return os.geteuid(), os.environ.get("USER") or os.environ.get("LOGNAME", "")


def _of_logind(root, account):
    """Whether logind ends what a session has started."""
    uid, name = account
    if "session-" not in _read(root + "proc/self/cgroup"):
        return ""  # it is in no session
    values = logind(root)
    only = values.get("killonlyusers", "").split()
    excluded = values.get("killexcludeusers", "root").split()
    if values.get("killuserprocesses", "no").lower() not in TRUE:
        return ""
    if only and name not in only or name in excluded or uid == 0 and "root" in excluded:
        return ""
    if name and os.path.exists(root + "var/lib/systemd/linger/" + name):
        return ""
    return ("this host ends it when the last login of %s ends (KillUserProcesses=yes): `loginctl"
            " enable-linger` there prevents that" % (name or "its account"))


def logind(root):
    """Return the settings of logind, as far as they are not the usual ones."""
    found = {}
    folders = [root + folder[1:] for folder in CONFIGS]
    for folder in folders:
        if os.path.exists(folder + "/logind.conf"):
            _settings(_read(folder + "/logind.conf"), found)
            break
    dropins = {}
    for folder in reversed(folders):
        try:
            names = os.listdir(folder + "/logind.conf.d")
        except OSError:
            continue
        for each in names:
            if each.endswith(".conf"):
                dropins[each] = folder + "/logind.conf.d/" + each
    for each in sorted(dropins):
        _settings(_read(dropins[each]), found)
    return found


def _settings(text, found):
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line[:1] == "[":
            section = line
        elif "=" in line and line[:1] not in "#;" and section == "[Login]":
            key, _, value = line.partition("=")
            found[key.strip().lower()] = value.strip()


def _of_container(root, env):
    inside = os.path.exists(root + ".dockerenv") or os.path.exists(root + "run/.containerenv")
    inside = inside or "\0container=" in "\0" + _read(root + "proc/1/environ")
    return "it runs in a container, and ends with it" if inside or env.get("container") else ""


def _of_allocation(env):
    for key in ALLOCATIONS:
        if env.get(key):
            said = "".join([char for char in env[key][:40] if char.isalnum() or char in "._-[]"])
            return "it runs in the allocation %s=%s, and ends with it" % (key, said)
    return ""


def _read(path):
    """Return the beginning of a file as text; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(LIMIT).decode("latin-1")
    except EnvironmentError:
        return ""
