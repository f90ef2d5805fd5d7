"""Executions, and what the main thread does (docs/kernel.md, section 5)."""
import os
import sys

try:
    import builtins
except ImportError:
    import __builtin__ as builtins

from .interpreter import ANY, MAIN, TWO, allocate_lock, deque, flush, get_ident, native, start_new_thread
from .values import dumps
from .wait import wait, wake_all

NO_THREAD = dumps(u"no thread can be started to execute it: close what runs in this gateway, or use another "
                  u"one")[1]
UNTOLD = dumps(u"an error that could not be told")[1]
REFUSED = u"concurrent remote_exec would cause deadlock for main_thread_only execmodel"
REFUSE_AFTER = 1.0
BUILTINS = vars(builtins)  # user code's builtins; the kernel's modules may have their own
SOON = 0.005
# an arena of CPython's, of untouched pages; Python 2 touches them, but needs less memory to compile
SPARE = 1 << 20


class Runner(object):
    """Distributes executions to the main thread and others."""

    def __init__(self, link, model):
        self.link = link
        self.model = model
        self.waiting = deque()  # tasks for the main thread
        self.threads = []  # tasks in other threads
        self.task = None  # the task in the main thread
        self.torn = None  # type of the exception that tore the main thread out of its task
        self.spare = None  # memory to report with when there is none left
        self.busy = False  # the main thread has a task, or will have one
        self._claim = allocate_lock()  # guards the decision who executes; the main thread does not take it
        self.ending = self.done = False
        self.sleepers = deque()

    def add(self, channel, order):
        """Execute an EXEC. Called by the reader."""
        task = Task(self, channel, order)
        if not self._take_main(task):
            try:
                if self.model != "main_thread_only":
                    self.threads.append(task)
                    start_new_thread(self._in_thread, (task,))
                    return
                start_new_thread(self._refuse, (task,))
            except ANY:  # too many threads, or too little memory
                if task in self.threads:
                    self.threads.remove(task)
                channel._executing = False
                channel._state.drop(NO_THREAD)
                return
            self.busy = True
            self.waiting.append(task)
        wake_all(self.sleepers)

    def _take_main(self, task):
        """Give the task to the main thread if that is idle."""
        with self._claim:
            if self.busy:
                return False
            self.busy = True
            self.waiting.append(task)
            return True

    def _refuse(self, task):
        """Refuse a task that still waits after a while: the running code may be waiting for it. Runs in a
        thread."""
        wait(deque(), lambda: False, REFUSE_AFTER)
        if self._drop(task):
            task.close(REFUSED)

    def _in_thread(self, task):
        torn = None
        # a client that received the code's last value may send the next EXEC before the code has ended
        wait(self.sleepers, lambda: not self.busy, SOON)
        if self._take_main(task):
            self.threads.remove(task)
            wake_all(self.sleepers)
            return
        try:
            task.run()
        except ANY:
            torn = sys.exc_info()[0]
        try:
            if torn is not None:
                task.close(ended_by(torn))
        except ANY:
            task.channel._state.drop(UNTOLD)
        finally:
            self.threads.remove(task)
            wake_all(self.sleepers)

    def main(self):
        """Run the main thread, however often user code's signal handlers raise in it."""
        while not self.done:
            try:
                while not self.done:
                    try:
                        self._main()
                    except ANY:
                        self.torn = sys.exc_info()[0]
            except ANY:
                self.torn = sys.exc_info()[0]
        from . import shutdown
        shutdown.finish(0, self.link)

    def _main(self):
        self.link.outbox.main_is_outside()
        # an exception meant for the task, or one that came too late, tore the thread out of it
        if self.task is not None:
            self._drop(self.task)
            self.task.close(ended_by(self.torn))
            self.task = None
        wait(self.sleepers, lambda: self.waiting or self.ending and not self.threads)
        if self.waiting:
            self.busy = True
            self.task = self.waiting[0]
            if self._drop(self.task):
                self.task.run()
            self.task = None
            wake_all(self.sleepers)
        elif self.ending and not self.threads:
            self.done = True

    def _drop(self, task):
        """Take a task out of the queue. Return False if it was refused just now."""
        try:
            self.waiting.remove(task)
            return True
        except ValueError:
            return False


class Task(object):
    """One execution."""

    def __init__(self, runner, channel, order):
        self.runner = runner
        self.channel = channel
        self.kind, self.source, self.filename, self.name, self.kwargs, self.argv, stdin = order
        # here in the reader, because the next frames may be for it
        self.stdin = None if stdin is None else runner.link.channel(stdin)

    def run(self):
        self.channel._executing = True
        status, error, argv, stdin = 0, None, sys.argv, sys.stdin
        try:
            try:
                if self.runner.spare is None:
                    self.runner.spare = bytearray(SPARE >> 4) if TWO else bytes(SPARE)
                if self.argv is not None:
                    sys.argv = [native(word) for word in self.argv]
                if self.stdin is not None:
                    from .stdin import opened
                    sys.stdin = opened(self.stdin)
                self._execute()
            finally:
                flush()
                if self.argv is not None:
                    sys.argv = argv
                if self.stdin is not None:
                    sys.stdin = stdin
        except ANY:
            status, error = self._judge(sys.exc_info())
        if self.runner.link.pid != os.getpid():
            from . import shutdown
            shutdown.finish(status)  # a child that user code forked
        self.close(error)

    def _judge(self, info):
        self.runner.spare = None
        try:
            from . import report
            return report.judge(self, info)
        except MemoryError:
            return 1, ended_by(info[0])

    def close(self, error):
        channel = self.channel
        if channel is None:
            return
        channel._executing = False
        if get_ident() == MAIN:
            # before the client learns of it, so that its next EXEC finds the main thread idle
            self.runner.busy = bool(self.runner.waiting)
        for each, why in ((self.stdin, None), (channel, error)):
            try:
                if each is not None:
                    each._state.close(why)
            except EnvironmentError:
                pass
        self.channel = self.stdin = None

    def _execute(self):
        source, filename = self.source, native(self.filename) or "<remote exec>"
        space = {"channel": self.channel, "__name__": "__channelexec__", "__builtins__": BUILTINS}
        if self.kind == "module":
            space["__file__"] = filename
        if TWO or "linecache" in sys.modules:
            from . import report
            source = report.prepare(self)
        exec(compile(source + "\n", filename, "exec", 0, True), space)
        if self.kind == "function":
            kwargs = dict([(native(key), value) for key, value in (self.kwargs or {}).items()])
            space[native(self.name)](self.channel, **kwargs)


def ended_by(kind):
    """Return the short form of an error, for when memory is short."""
    return (u"keyboard-interrupted" if kind is None or issubclass(kind, KeyboardInterrupt)
            else u"" + kind.__name__)
