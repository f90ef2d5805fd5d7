"""How processes start and end: what SPAWN asks for, and the signals and delays of an end.

`family` does it on a POSIX Python, `jvm` on Jython. Nothing here starts, signals or waits.
"""
import os
import sys
from binascii import hexlify

from agent import homes, wire

try:
    import _signal as signal  # the `signal` module imports enum, 5 ms
except ImportError:
    import signal

MARK = b"EXECNET_PROCESS"  # variable that marks descendants, also those that left the session
# variable of processes that may hold a job elsewhere: they get SIGTERM and more time
CANCEL = b"EXECNET_CANCEL"
HANGUP_GRACE = 5.0  # seconds from SIGHUP to SIGKILL
CANCEL_GRACE = 10.0  # seconds from SIGTERM to SIGKILL, with CANCEL
SWEEP_GRACE = 0.2  # seconds from SIGHUP to SIGKILL for the rest of a session whose leader has ended
LINUX = sys.platform.startswith(("linux", "java"))
LINUX_SIGNALS = ("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT "
                 "STOP TSTP TTIN"
                 " TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS").split()
TO_GROUP = ("INT", "QUIT", "HUP", "TSTP")
TUNNEL, AHEAD = 1, 2  # roles in SPAWN


def environment(config):
    """Return the variables of all processes here, in bytes."""
    env = dict(getattr(os, "environb", os.environ))
    env.pop(CANCEL, None)  # set for the agent, not for its processes
    env.update(config.env)
    return env


def request(spawn, command, config, host):
    """Return (argv, env, chdir, paths) of a SPAWN. `command`: that of its node, empty without one; `host`:
    environment(); `paths`: which of argv are to be expanded, by a child or thread: names of accounts may be
    looked up far away."""
    env = dict(host)
    env.update([(wire.utf8(key), value) for key, value in spawn["env"]])
    homes.apart(env, host)
    argv = [wire.utf8(word) for word in command] + spawn["argv"]
    # no shell expands the command, and ssh not the file of -F
    paths = [] if command else [0]
    if paths and spawn["role"] == TUNNEL:
        paths += [at + 1 for at, word in enumerate(argv[:-1]) if word == b"-F"]
    return argv, env, wire.utf8(spawn["chdir"]) or config.chdir or b"", paths


def mark(env):
    """Add a new mark to these variables, and return it."""
    env[MARK] = hexlify(os.urandom(16))
    return env[MARK]


def is_gentle(spawn):
    """Whether its end begins with SIGTERM."""
    return CANCEL in [wire.utf8(key) for key, _ in spawn["env"]]


def first_signal(gentle):
    return signal.SIGTERM if gentle else signal.SIGHUP


def hangup_grace(gentle):
    return CANCEL_GRACE if gentle else HANGUP_GRACE


def sweep_grace(gentle):
    return CANCEL_GRACE if gentle else SWEEP_GRACE


def local_signals(numbers):
    """Translate Linux signal numbers into pairs: the number here, and whether it goes to the whole group."""
    found = []
    for number in numbers:
        name = LINUX_SIGNALS[number - 1] if number <= len(LINUX_SIGNALS) else ""
        local = getattr(signal, "SIG" + name, number if LINUX or not name else None)
        if local is not None:
            found.append((local, name in TO_GROUP))
    return found


def linux_number(local):
    """Return the Linux number of a signal of this system."""
    for number, name in enumerate(LINUX_SIGNALS):
        if getattr(signal, "SIG" + name, None) == local:
            return number + 1
    return local
