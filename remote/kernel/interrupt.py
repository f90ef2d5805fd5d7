"""Raise KeyboardInterrupt in the code that the main thread executes."""
import os
import sys
from time import sleep

from .interpreter import JYTHON, MAIN, TWO, start_new_thread


def interrupt(runner):
    """Raise KeyboardInterrupt in the code that the main thread executes."""
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
    """Interrupt again if the signal came just before the main thread began to sleep, which it would not
    notice.

    As long as the thread has not moved it has not noticed the signal, so this is a single KeyboardInterrupt.
    """
    import signal
    for pause in (0.02, 0.2):
        sleep(pause)
        if runner.task is not task or _place() != place:
            return
        if signal.getsignal(2) is not signal.default_int_handler:
            return
        os.kill(os.getpid(), 2)


def _place():
    """Return where the main thread is."""
    frame = sys._current_frames().get(MAIN)
    return frame and (id(frame), frame.f_lasti)
