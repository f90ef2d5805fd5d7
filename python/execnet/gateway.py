"""Gateways: handles on interpreters that were started for them."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import inspect
import linecache
import numbers
import os
import symtable
import sys
import textwrap
import threading
import time
import traceback
import types
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional, Union, cast

from . import _native
from ._packages import Activated
from .gateway_base import Channel, ChannelFactory, ExecModel

if TYPE_CHECKING:
    from .multi import Group
    from .xspec import XSpec

PATIENCE = 15.0
"""Seconds an interpreter gets to end after a `with` block; more than its kernel allows itself."""

HURRY = 1.0
"""Seconds if a KeyboardInterrupt ends the block, and for the callbacks of killed interpreters."""

KILLED = 10.0
"""Seconds that killed interpreters get to be gone."""

OURS = "<execnet.{}>"
"""File name of our own code on the other side: it imports only from the standard library."""

Source = Union[str, types.ModuleType, Callable[..., object]]


class Gateway:
    """A handle on an interpreter that was started for it, here or on another host: see `Group.makegateway`.

    with execnet.makegateway("popen") as gateway:
        channel = gateway.remote_exec("channel.send(1 + 1)")
        assert channel.receive() == 2
    """

    id: str
    """Its name in its group."""
    spec: XSpec
    """What it was made from."""

    def __init__(self, native: _native.Gateway, spec: XSpec, group: Group) -> None:
        assert spec.id is not None
        self._native = native
        self.spec = spec
        self.id = spec.id
        self.execmodel: ExecModel = group.execmodel
        self._group = group
        self._channelfactory = ChannelFactory(self)
        self._exited = False
        self._left = False
        self._node: Optional[object] = None
        self._was_interrupted = False
        self._threads: set[threading.Thread] = set()
        self._pid = os.getpid()
        self._cache_rinfo: Optional[RInfo] = None

    def __repr__(self) -> str:
        state = "receive-live" if self.hasreceiver() else "not-receiving"
        count = len(self._channelfactory.channels())
        model = self.execmodel.backend
        return f"<{type(self).__name__} id={self.id!r} {state}, {model} model, {count} active channels>"

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *exception: object) -> None:
        if self._is_forked():
            return
        patience = PATIENCE
        if kind is KeyboardInterrupt:
            if not self.is_kept:
                self._interrupt()
            patience = HURRY
        self._end()
        end([self], patience)

    @property
    def node(self) -> Optional[_native.Node]:
        """The `Node` that the interpreter runs on; None if it is not on a network.

        Its `state` is the current one: `ready`, `unreachable` while its host is, or `lost` once the gateway
        has ended for that reason. Programs may assign something else, as pytest-xdist does.
        """
        return self._native.node if self._node is None else cast(_native.Node, self._node)

    @node.setter
    def node(self, node: object) -> None:
        self._node = node

    @property
    def is_kept(self) -> bool:
        """Whether its interpreter stays when this program leaves: see `keep=` in `Group.makegateway`."""
        return self._native.is_kept()

    @property
    def packages(self) -> Optional[Activated]:
        """What it has brought along: the `folders` there, and the `environment` under which other processes
        of the same interpreter on that host find them; None without `packages=`."""
        told = self._native.packages()
        return None if told is None else Activated(*told)

    @property
    def remoteaddress(self) -> str:
        """The host as the spec names it."""
        address = self.spec.ssh or self.spec.vagrant_ssh
        if address is None:
            raise AttributeError("remoteaddress")
        return address

    def remote_exec(self, source: Source, *, channel: Optional[str] = None, **kwargs: object) -> Channel:
        """Execute code on the other side, and return the channel that is `channel` there.

        `source` can be

        - text: executed with `channel` as a global,
        - a function whose first parameter is `channel`, without closure and without globals other than
          builtins: called with the channel and `kwargs`,
        - a module: its source is executed with `channel` as a global.

        `__name__` is `"__channelexec__"` there. The channel closes when the code ends; an exception in it
        arrives as `RemoteError`. In a gateway that is kept, it can be given a name, `channel`: see
        `Gateway.channel`.
        """
        kind, name, filename = "source", None, None
        if isinstance(source, staticmethod):
            source = source.__func__
        if isinstance(source, types.ModuleType):
            kind = "module"
            filename, text = _source_of_module(source)
        elif isinstance(source, types.FunctionType):
            kind, name, filename = "function", source.__name__, inspect.getsourcefile(source)
            text = _source_of_function(source)
            if source.__module__ == __name__:
                filename = OURS.format(name)
        elif isinstance(source, types.MethodType):
            text = _that_it_is_bound(source)
        else:
            text = textwrap.dedent(_text_of(source))
        if name is None and kwargs:
            raise TypeError("only functions can be given keyword arguments")
        return self._channelfactory.adopt(
            self._native.remote_exec(kind, text, filename, name, channel, kwargs)
        )

    def _copy_receiver(self) -> Channel:
        """Start what receives a copy there."""
        return self._channelfactory.adopt(self._native.copy_receiver())

    def channel(self, name: str) -> Channel:
        """Return the channel of this name, in a gateway that is kept: the one that an earlier program or code
        there has named, or a new one.

        It stays when this program leaves, and so do the values on it that no program has received. Each is
        received at most once. Dropping it does not close it. What an earlier program has sent may have been
        lost with it: `received_before` of the channel is how many values had arrived.
        """
        return self._channelfactory.adopt(self._native.channel(name))

    def newchannel(self) -> Channel:
        """Return a new channel, which the other side knows once it was sent over another one."""
        return self._channelfactory.new()

    def remote_status(self) -> RemoteStatus:
        """Return the number of channels and executions there: `numchannels`, `numexecuting`, `execmodel`."""
        return RemoteStatus(self._native.status())

    def _rinfo(self, update: bool = False) -> RInfo:
        """Return `executable`, `version_info`, `platform`, `cwd` and `pid` of the other side, as they were at
        its start or, with `update`, as they are now."""
        if update:
            channel = self.remote_exec(_tell_rinfo)
            channel.reconfigure()
            self._cache_rinfo = RInfo(channel.receive())
            channel.waitclose()
        elif self._cache_rinfo is None:
            self._cache_rinfo = RInfo(self._native.rinfo())
        return self._cache_rinfo

    def reconfigure(self, py2str_as_py3str: bool = True, py3str_as_py2str: bool = False) -> None:
        """Set how `str` maps to text and bytes on all channels that are made from now on.

        With `py2str_as_py3str` a `str` from Python 2 arrives here as text, otherwise as bytes. With
        `py3str_as_py2str` text from here arrives on Python 2 as `str`, otherwise as `unicode`; between two
        Python 3 all text arrives as bytes, in UTF-8, at both ends.
        """
        self._native.reconfigure(bool(py2str_as_py3str), bool(py3str_as_py2str))

    def hasreceiver(self) -> bool:
        """Return whether the other side is there."""
        return self._native.is_alive()

    def exit(self) -> None:
        """Tell the interpreter to end, and take the gateway out of its group. Do not wait: `Group.terminate`
        and `join` do. Do nothing in a forked child: the gateway belongs to its parent.

        Code in the main thread there gets a KeyboardInterrupt after 5 s, or at once if one is being handled
        here: in an `except` or `finally` block that Ctrl-C led to.
        """
        if not self._is_forked() and self._group._unregister(self):
            if _is_interrupted():
                self._interrupt()
            self._exited = True
            self._native.exit()

    def detach(self) -> None:
        """Leave an interpreter that is kept: it goes on without this program. That happens in any case when
        the program ends.

        Wait until what was sent has arrived there, at most 5 s; then raise TimeoutError, having left.
        """
        if not self.is_kept:
            raise ValueError(f"gateway {self.id} is not kept: `makegateway(keep=NAME)` makes one that is")
        if not self._is_forked() and self._group._unregister(self):
            self._left = True
            self._native.detach()

    def _end(self) -> None:
        """Tell the interpreter to end, or leave it if it is kept."""
        if not self.is_kept:
            self.exit()
        elif not self._is_forked() and self._group._unregister(self):
            self._left = True
            with contextlib.suppress(OSError):
                self._native.leave()

    def join(self, timeout: Optional[float] = None) -> None:
        """Wait until the other side has ended and callbacks have had what it sent, for at most `timeout`
        seconds."""
        deadline = after(timeout)
        if self._native.join(timeout):
            self._join_threads(deadline)

    def _interrupt(self) -> None:
        """Raise KeyboardInterrupt in the main thread of the other side, if it executes code. Do it only once:
        a second one would interrupt the cleanup."""
        if not self._was_interrupted:
            self._was_interrupted = True
            with contextlib.suppress(OSError):
                self._native.interrupt()

    def remote_init_threads(self, num: Optional[int] = None) -> None:
        """Do nothing; kept for programs that call it."""

    def _is_forked(self) -> bool:
        """Return whether this process was forked after the gateway was made."""
        return os.getpid() != self._pid

    def _start_thread(self, target: Callable[[], object], name: str) -> None:
        """Start a Python thread for callbacks, so that debuggers and thread-locals know it."""
        threads = self._threads

        def run() -> None:
            try:
                target()
            finally:
                threads.discard(thread)

        thread = threading.Thread(target=run, name=name, daemon=True)
        threads.add(thread)
        try:
            thread.start()
        except BaseException:
            threads.discard(thread)
            raise

    def _hand_out(self, output: Callable[[Gateway, str], object]) -> None:
        """Start a Python thread that passes on what the other side prints. It goes on when `output` fails:
        otherwise printing would block in the end."""
        native, gateway = self._native, weakref.ref(self)

        def hand_out() -> None:
            for line in iter(native.next_line, None):
                owner = gateway()
                if owner is not None:
                    try:
                        output(owner, line)
                    except BaseException:
                        traceback.print_exc()

        self._start_thread(hand_out, f"execnet {self.id} output")

    def _join_threads(self, deadline: Optional[float]) -> None:
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(until(deadline))


def end(gateways: list[Gateway], timeout: Optional[float]) -> None:
    """Wait until gateways that were told to end have ended, and take these out of the list.

    After `timeout` seconds kill those that are left, all at once.
    """
    deadline = after(timeout)
    late = [gateway for gateway in gateways if not gateway._native.join(until(deadline))]
    for gateway in late:
        if not gateway._left:
            gateway._native.kill()
    if late:
        killed = after(KILLED)
        for gateway in late:
            gateway._native.join(until(killed))
        deadline = after(HURRY)
    while gateways:
        gateways[-1]._join_threads(deadline)
        gateways.pop()


def _is_interrupted() -> bool:
    """Return whether this thread handles a KeyboardInterrupt, or an error (SystemExit) that it led to."""
    error, seen = sys.exc_info()[1], set()
    while error is not None and id(error) not in seen:
        if type(error) is KeyboardInterrupt:
            return True
        seen.add(id(error))
        error = error.__context__
    return False


def after(timeout: Optional[float]) -> Optional[float]:
    """Return the time that is `timeout` seconds from now; None for no limit."""
    if timeout is None:
        return None
    if not hasattr(timeout, "__float__"):
        raise TypeError(f"a timeout must be a number of seconds or None, not {type(timeout).__name__}")
    return time.monotonic() + float(timeout)


def until(deadline: Optional[float]) -> Optional[float]:
    """Return the seconds that are left."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


class _Facts:
    """Facts, as attributes."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.__dict__.update(facts)

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in sorted(vars(self).items()))
        return f"<{type(self).__name__} {facts!r}>"


class RInfo(_Facts):
    """What an interpreter is."""

    executable: str
    version_info: tuple[int, int, int, str, int]
    platform: str
    cwd: str
    pid: int


if TYPE_CHECKING:

    class RemoteStatus(_Facts):
        """What a gateway has to do."""

        numchannels: int
        numexecuting: int
        execqsize: int
        execmodel: str

else:
    RemoteStatus = RInfo  # one class, as in execnet 2


def _tell_rinfo(channel):  # type: ignore[no-untyped-def]
    import os
    import sys

    try:
        cwd = os.getcwd()
    except OSError:  # it has been removed
        cwd = ""
    channel.send(
        dict(
            executable=sys.executable,
            version_info=tuple(sys.version_info[:5]),
            platform=str(sys.platform),
            cwd=cwd,
            pid=os.getpid(),
        )
    )


def _that_it_is_bound(method: types.MethodType) -> str:
    """Return code that fails, as the error arrives on the channel: a bound method cannot be executed."""
    can = "a static method, or a function whose first parameter is `channel`, can be sent"
    why = f"cannot execute {method!r}: it is bound to an object, which stays here; {can}"
    return f"raise TypeError({why!a})"


def _text_of(source: object) -> str:
    """Return source as text: a str, or an object that programs wrap around source and that has a
    `__str__`."""
    is_data = isinstance(source, (bytes, bytearray, memoryview, numbers.Number))
    if is_data or type(source).__str__ is object.__str__:
        hint = (
            ": send the function, and its arguments as keywords"
            if isinstance(source, functools.partial)
            else ""
        )
        raise TypeError(
            f"remote_exec() takes text, a function or a module, not {type(source).__name__}{hint}"
        )
    return str(source)


def _source_of_module(module: types.ModuleType) -> tuple[Optional[str], str]:
    """Return the file of a module, and its current text."""
    try:
        filename = inspect.getsourcefile(module)
        if filename:
            linecache.updatecache(filename)
        return filename, inspect.getsource(module)
    except (OSError, TypeError):
        raise ValueError(
            f"there is no source of the module {module.__name__}: send code that imports it"
        ) from None


def _source_of_function(function: types.FunctionType) -> str:
    """Return the text of a function, on the same lines as in its file; ValueError if it cannot run
    elsewhere."""
    if function.__name__ == "<lambda>":
        raise ValueError("a lambda has no source of its own, so it cannot be sent")
    parameters = inspect.getfullargspec(function).args
    if not parameters or parameters[0] != "channel":
        raise ValueError(f"the first parameter of {function.__name__}() must be `channel`")
    if function.__closure__ is not None:
        raise ValueError(f"{function.__name__}() has a closure, which cannot be sent")
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except OSError:
        # before 3.13 an interactive interpreter keeps no text; code of exec() has none anywhere
        raise ValueError(
            f"there is no source of {function.__name__}(), which was not read from a file:"
            " write the function into one, or send the text of code that uses `channel`"
        ) from None
    decorator, _, rest = source.partition("\n")
    if decorator.strip() == "@staticmethod":
        # before Python 3.10 what it makes could not be called; the lines stay where they are
        source = "\n" + rest
    unknown = _globals_used(source)
    if unknown:
        raise ValueError(
            f"{function.__name__}() uses globals, which it would not find on the other side", unknown
        )
    return "\n" * (function.__code__.co_firstlineno - 1) + source


def _globals_used(source: str) -> list[str]:
    """Return the globals that a function's source uses and that are not builtins."""
    used: set[str] = set()
    given: set[str] = set(vars(builtins))
    tables = [symtable.symtable(source, "<source>", "exec")]
    # the function's own name, so that it may call itself
    given.update(symbol.get_name() for symbol in tables[0].get_symbols() if symbol.is_assigned())
    given.update(
        definition.name for definition in ast.parse(source).body if isinstance(definition, ast.FunctionDef)
    )
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_declared_global() and symbol.is_assigned():
                given.add(symbol.get_name())
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                used.add(symbol.get_name())
    return sorted(used - given)
