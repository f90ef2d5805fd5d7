"""Interrupts, and how a kernel ends (docs/kernel.md, section 6)."""
import os
import sys
from time import sleep

from .run import show
from .wait import JYTHON, MAIN, TWO, clock, start_new_thread, wait, wake_all
from .wire import deque

REFUSED = u"concurrent remote_exec would cause deadlock for main_thread_only execmodel"
REFUSE_AFTER = 1.0
INTERRUPT_AFTER, KILL_AFTER = 5.0, 10.0
HANGUP_GRACE = 0.5  # from SIGHUP to SIGKILL


def refuse(runner, task):
    """A thread's work: a task may not wait for long, as the code that runs may be waiting for it."""
    wait(deque(), lambda: False, REFUSE_AFTER)
    try:
        runner.waiting.remove(task)
    except ValueError:
        return
    task.close(REFUSED)


def interrupt(runner):
    """KeyboardInterrupt in what the main thread executes."""
    task = runner.task
    if task is None:
        return
    if JYTHON:
        from . import jvm
        jvm.interrupt()
        return
    place = None if TWO else _place()
    os.kill(os.getpid(), 2)
    if place:
        try:
            start_new_thread(_insist, (runner, task, place))
        except Exception:
            pass  # no thread can be started


def _insist(runner, task, place):
    """Interrupt again where the signal came just before the main thread began to sleep, which it then does to the end.

    As long as it stands where it stood it has not noticed, so this is one KeyboardInterrupt.
    """
    import signal
    for pause in (0.02, 0.2):
        sleep(pause)
        if runner.task is not task or _place() != place or signal.getsignal(2) is not signal.default_int_handler:
            return
        os.kill(os.getpid(), 2)


def _place():
    """Where the main thread stands."""
    frame = sys._current_frames().get(MAIN)
    return frame and (id(frame), frame.f_lasti)


def end(runner, lost):
    """A thread's last work, at EXIT or when the client is gone. Does not return."""
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
    """End this process as an interpreter ends: threads, atexit, files. With a link: the kernel's own."""
    for ending in (_join_threads, _run_atexit, show):
        try:
            ending()
        except BaseException:
            pass
    if link is not None:
        take_along(link)
    halt(status)


def take_along(link):
    """End what user code left in the group of this process, when it leads its session and the client that could is gone.

    A child does it: this process ends as ever, and the group's number stays taken meanwhile.
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
