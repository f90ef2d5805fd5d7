"""How processes start and end, as both drivers have it: what SPAWN asks for, and the signals and delays of an
end.

`family` does it on a POSIX Python, `jvm` on Jython. Starts nothing, sends nothing, waits for nothing.
"""
import os
import sys
from binascii import hexlify

from agent import homes, wire

try:
    import _signal as signal  # the `signal` module imports enum, 5 ms
except ImportError:
    import signal

MARK = b"EXECNET_PROCESS"  # a variable that tells descendants which left the session
# a variable of processes that may hold a job elsewhere: they get SIGTERM and more time
CANCEL = b"EXECNET_CANCEL"
HANGUP_GRACE = 5.0  # seconds from SIGHUP to SIGKILL
CANCEL_GRACE = 10.0  # seconds from SIGTERM to SIGKILL, with CANCEL
SWEEP_GRACE = 0.2  # seconds from SIGHUP to SIGKILL for what a leader leaves behind
LINUX = sys.platform.startswith(("linux", "java"))
LINUX_SIGNALS = ("HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT "
                 "STOP TSTP TTIN"
                 " TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS").split()
TO_GROUP = ("INT", "QUIT", "HUP", "TSTP")


def environment(config):
    """The variables of every process here, in bytes."""
    env = dict(getattr(os, "environb", os.environ))
    env.pop(CANCEL, None)  # of the command that started us
    env.update(config.env)
    return env


def request(spawn, command, config, host):
    """What SPAWN asks for, as (argv, env, chdir). `command`: that of its node, none for a tunnel; `host`:
    environment()."""
    env = dict(host)
    env.update([(wire.utf8(key), value) for key, value in spawn["env"]])
    homes.apart(env, host)
    argv = [wire.utf8(word) for word in command] + spawn["argv"]
    if not command:
        # the command of a tunnel, and what ssh does not expand by itself
        for at in [0] + [at + 1 for at, word in enumerate(argv[:-1]) if word == b"-F"]:
            argv[at] = homes.expand(argv[at], env)
    return argv, env, wire.utf8(spawn["chdir"]) or config.chdir or b""


def mark(env):
    """Give these variables a new mark. Returns it."""
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
    """Signals by their Linux numbers, as pairs: the number here, and whether it goes to the whole group."""
    found = []
    for number in numbers:
        name = LINUX_SIGNALS[number - 1] if number <= len(LINUX_SIGNALS) else ""
        local = getattr(signal, "SIG" + name, number if LINUX or not name else None)
        if local is not None:
            found.append((local, name in TO_GROUP))
    return found


def linux_number(local):
    """The Linux number of a signal of this system."""
    for number, name in enumerate(LINUX_SIGNALS):
        if getattr(signal, "SIG" + name, None) == local:
            return number + 1
    return local
