"""How a kernel ends (docs/kernel.md, section 6)."""
import os
import sys
from time import sleep

from .interpreter import JYTHON, clock, deque, flush
from .interrupt import interrupt
from .wait import wait, wake_all

INTERRUPT_AFTER, KILL_AFTER = 5.0, 10.0
HANGUP_GRACE = 0.5  # seconds from SIGHUP to SIGKILL


def end(runner, lost):
    """End the kernel, at EXIT or when the client is gone. Runs in a thread, and does not return."""
    runner.link.end_reading()
    if lost:
        runner.link.end(lost)
    runner.ending = True
    wake_all(runner.sleepers)
    if not lost:
        wait(runner.sleepers, lambda: not (runner.task or runner.threads or runner.waiting), INTERRUPT_AFTER)
    until = clock() + KILL_AFTER
    interrupt(runner)
    while clock() < until:
        wait(deque(), lambda: False, until - clock())
    take_along(runner.link)
    halt(0)


def finish(status, link=None):
    """End this process as an interpreter ends: threads, atexit, files. `link`: None in a forked child."""
    for ending in (_join_threads, _run_atexit, flush):
        try:
            ending()
        except BaseException:
            pass
    if link is not None:
        take_along(link)
    halt(status)


def take_along(link):
    """End what user code left in our process group, if we lead the session and the client is gone.

    A child does it: this process ends as usual, and the group's number stays taken meanwhile.
    """
    pid = os.getpid()
    if not link.lost or JYTHON or link.pid != pid or os.getsid(0) != pid:
        return
    try:
        import signal
        if os.fork():
            return
        os.closerange(0, 4096)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        until = clock() + HANGUP_GRACE
        while os.getppid() == pid and clock() < until:
            sleep(0.005)
        os.killpg(pid, signal.SIGHUP)
        os.killpg(pid, signal.SIGCONT)
        sleep(HANGUP_GRACE)
    except BaseException:
        pass
    os.killpg(pid, 9)


def halt(status):
    if JYTHON:
        from . import jvm
        jvm.halt(status)
    os._exit(status)


def _join_threads():
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()


def _run_atexit():
    if hasattr(sys, "exitfunc"):  # Python 2
        sys.exitfunc()
    elif sys.version_info[0] > 2 and "atexit" in sys.modules:
        sys.modules["atexit"]._run_exitfuncs()
