"""Executions, what the main thread does, and how the kernel ends (docs/kernel.md, sections 5 and 6)."""
import os
import sys
from collections import deque

from .wait import JYTHON, MAIN, clock, get_ident, start_new_thread, wait, wake_all

REFUSED = u"concurrent remote_exec would cause deadlock for main_thread_only execmodel"
INTERRUPTED = u"keyboard-interrupted"
REFUSE_AFTER = 1.0
INTERRUPT_AFTER, KILL_AFTER = 5.0, 10.0


class Runner(object):
    """Who executes what."""

    def __init__(self, link, model):
        self.link = link
        self.model = model
        self.waiting = deque()  # tasks for the main thread
        self.running = 0  # in threads
        self.task = None  # the main thread's
        self.busy = False  # the main thread has one, or will
        self.ending = False
        self.sleepers = deque()
        self._counting = []

    # --- the reader's

    def add(self, channel, order):
        task = Task(self, channel, order)
        if not self.busy:
            self.busy = True
            self._to_main(task)
        elif self.model == "main_thread_only":
            self._to_main(task)
            start_new_thread(self._refuse, (task,))
        else:
            self._counting.append(task)
            start_new_thread(self._in_thread, (task,))

    def _to_main(self, task):
        self.waiting.append(task)
        wake_all(self.sleepers)

    def _refuse(self, task):
        """It may not wait for long: the code that runs may be waiting for it."""
        import time
        time.sleep(REFUSE_AFTER)
        try:
            self.waiting.remove(task)
        except ValueError:
            return
        task.close(REFUSED)

    def counts(self):
        waiting = len(self.waiting)
        return len(self._counting) + (self.task is not None) + (waiting if self.task is None else 0), waiting

    def interrupt(self):
        """KeyboardInterrupt in what the main thread executes."""
        if self.task is None:
            return
        if JYTHON:
            from . import jvm
            jvm.interrupt()
        else:
            os.kill(os.getpid(), 2)

    def end(self, lost):
        """EXIT, or the client is gone: in a thread of its own, or as the reader's last words. Does not return."""
        try:
            self.link.end(lost)
        finally:
            self.ending = True
            wake_all(self.sleepers)
        if not lost:
            wait(self.sleepers, self._idle, INTERRUPT_AFTER)
        until = clock() + KILL_AFTER
        if self.task is not None:
            self.interrupt()
        wait(deque(), lambda: False, until - clock())
        os._exit(0)

    def _idle(self):
        return self.task is None and not self._counting and not self.waiting

    def wait_for_end(self, timeout):
        wait(self.sleepers, lambda: self.ending, timeout)

    # --- threads

    def _in_thread(self, task):
        try:
            task.run()
        finally:
            self._counting.remove(task)
            wake_all(self.sleepers)

    def main(self):
        """The main thread's life."""
        while True:
            try:
                self._main()
                break
            except KeyboardInterrupt:
                # it came too late for what it was meant for, or too early
                task, self.task = self.task, None
                if task is not None:
                    task.close(INTERRUPTED)
                self.busy = bool(self.waiting)
        finish(0)

    def _main(self):
        while True:
            wait(self.sleepers, lambda: self.waiting or self.ending and not self._counting)
            try:
                self.task = self.waiting.popleft()
            except IndexError:
                if self.ending and not self._counting:
                    return
                continue
            self.busy = True
            self.task.run()
            self.task = None
            wake_all(self.sleepers)

    def main_is_free(self):
        """Said before the client hears that the execution ended: its next one finds the main thread free."""
        self.busy = bool(self.waiting)


class Task(object):
    """One execution."""

    def __init__(self, runner, channel, order):
        self.runner = runner
        self.channel = channel
        self.kind, self.source, self.filename, self.name, self.kwargs, self.argv = order

    def run(self):
        channel = self.channel
        channel._executing = True
        pid = self.runner.link.pid
        status, error = 0, None
        try:
            argv = sys.argv
            try:
                if self.argv is not None:
                    sys.argv = [_native(word) for word in self.argv]
                self._execute(channel)
            finally:
                if self.argv is not None:
                    sys.argv = argv
        except BaseException:
            status, error = self._judge(sys.exc_info(), pid == os.getpid())
        if pid != os.getpid():
            finish(status)  # a child that user code forked
        channel = None
        self.close(error)

    def close(self, error):
        channel, self.channel = self.channel, None
        if channel is None:
            return
        channel._executing = False
        if get_ident() == MAIN:
            self.runner.main_is_free()
        try:
            channel._state.close(error)
        except EnvironmentError:
            pass

    def _execute(self, channel):
        space = {"channel": channel, "__name__": "__channelexec__"}
        source, filename = self.source, self.filename and _native(self.filename)
        if sys.version_info[0] == 2:
            source = _without_cookie(source)
        if self.kind == "module":
            space["__file__"] = filename
        code = compile(source + "\n", filename or "<remote exec>", "exec", 0, True)
        linecache = sys.modules.get("linecache")
        if linecache is not None:
            self.show_lines(linecache)
        exec(code, space)
        if self.kind == "function":
            kwargs = dict([(str(key), value) for key, value in (self.kwargs or {}).items()])
            space[_native(self.name)](channel, **kwargs)

    def show_lines(self, linecache):
        """Tracebacks show the source's lines."""
        filename = _native(self.filename or "<remote exec>")
        lines = [line + "\n" for line in self.source.split("\n")]
        linecache.cache[filename] = len(self.source), None, lines, filename

    def _judge(self, info, ours):
        """What an exception means: exit status and error text."""
        kind, value = info[:2]
        if issubclass(kind, SystemExit):
            if value.code is None or value.code == 0:
                return 0, None
            if not ours:
                return _status(value.code), None
        elif ours and issubclass(kind, KeyboardInterrupt):
            return 1, INTERRUPTED
        elif ours and issubclass(kind, EOFError) and getattr(value, "of_channel", False):
            return 1, None
        from . import report
        import linecache
        self.show_lines(linecache)
        text = report.text(info)
        if not ours:
            sys.stderr.write(text)
        return 1, text


def _native(text):
    """Text as this interpreter's `str`."""
    return text.encode("utf-8") if str is bytes and not isinstance(text, str) else text


def _without_cookie(source):
    """Python 2 refuses text that declares an encoding."""
    import re
    lines = source.split("\n", 2)
    for at, line in enumerate(lines[:2]):
        if re.match(r"[ \t\f]*#.*?coding[:=]", line):
            lines[at] = "#"
    return "\n".join(lines)


def _status(code):
    if isinstance(code, int):
        return code & 0xff
    sys.stderr.write("%s\n" % (code,))
    return 1


def finish(status):
    """End this process as an interpreter ends: threads, atexit, files."""
    for ending in (_join_threads, _run_atexit, sys.stdout.flush, sys.stderr.flush):
        try:
            ending()
        except BaseException:
            pass
    if JYTHON:
        from . import jvm
        jvm.halt(status)
    os._exit(status)


def _join_threads():
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()


def _run_atexit():
    if sys.version_info[0] == 2:
        if hasattr(sys, "exitfunc"):
            sys.exitfunc()
    elif "atexit" in sys.modules:
        sys.modules["atexit"]._run_exitfuncs()
