"""Channels, execution models, and values as bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, Callable, Literal, Protocol, Union, overload

from . import _native
from ._errors import (
    INTERRUPT_TEXT,
    DataFormatError,
    DumpError,
    GatewayDied,
    LoadError,
    RemoteError,
    TimeoutError,
)
from ._native import dumps

if TYPE_CHECKING:
    from typing_extensions import Self

    from .gateway import Gateway

    class SupportsWrite(Protocol):
        def write(self, data: bytes, /) -> object: ...

    class SupportsRead(Protocol):
        def read(self, length: int, /) -> bytes: ...


__all__ = [
    "INTERRUPT_TEXT",
    "MAIN_THREAD_ONLY_DEADLOCK_TEXT",
    "Channel",
    "ChannelFactory",
    "ChannelFile",
    "ChannelFileRead",
    "ChannelFileWrite",
    "DataFormatError",
    "DumpError",
    "ExecModel",
    "GatewayDied",
    "LoadError",
    "MainThreadOnlyExecModel",
    "RemoteError",
    "ThreadExecModel",
    "TimeoutError",
    "dump",
    "dumps",
    "get_execmodel",
    "load",
    "loads",
]

MAIN_THREAD_ONLY_DEADLOCK_TEXT = "concurrent remote_exec would cause deadlock for main_thread_only execmodel"


class _NoEndmarker:
    def __repr__(self) -> str:
        return "no endmarker"


NO_ENDMARKER_WANTED = _NoEndmarker()


class ExecModel:
    """How code is run, with the matching locks and queues: here always by threads."""

    backend = "thread"

    def __repr__(self) -> str:
        return f"<ExecModel {self.backend!r}>"

    @property
    def queue(self) -> ModuleType:
        """The module `queue`."""
        import queue

        return queue

    @property
    def subprocess(self) -> ModuleType:
        """The module `subprocess`."""
        import subprocess

        return subprocess

    @property
    def socket(self) -> ModuleType:
        """The module `socket`."""
        import socket

        return socket

    def start(self, func: Callable[..., object], args: tuple[object, ...] = ()) -> None:
        """Call a function in a new daemon thread."""
        threading.Thread(target=func, args=args, daemon=True).start()

    def get_ident(self) -> int:
        """Return the identifier of the calling thread."""
        return threading.get_ident()

    def sleep(self, delay: float) -> None:
        """Sleep for `delay` seconds."""
        import time

        time.sleep(delay)

    def fdopen(self, fd: int, mode: str, bufsize: int = 1, closefd: bool = True) -> IO[Any]:
        """Return a file object for a file descriptor; text is UTF-8."""
        import os

        encoding = None if "b" in mode else "utf-8"
        return os.fdopen(fd, mode, bufsize, encoding=encoding, closefd=closefd)

    def Lock(self) -> threading.RLock:
        """Return a reentrant lock."""
        return threading.RLock()

    def RLock(self) -> threading.RLock:
        """Return a reentrant lock."""
        return threading.RLock()

    def Event(self) -> threading.Event:
        """Return an event to wait for."""
        return threading.Event()


class ThreadExecModel(ExecModel):
    """Each execution runs in a thread of its own, the first one in the main thread."""


class MainThreadOnlyExecModel(ThreadExecModel):
    """All executions run in the main thread, one after the other."""

    backend = "main_thread_only"


def get_execmodel(backend: Union[str, ExecModel]) -> ExecModel:
    """Return the execution model of this name: `thread` or `main_thread_only`."""
    if isinstance(backend, ExecModel):
        return backend
    if backend == "thread":
        return ThreadExecModel()
    if backend == "main_thread_only":
        return MainThreadOnlyExecModel()
    if backend in ("gevent", "eventlet"):
        raise ValueError(f"execmodel {backend!r} is not supported: there are 'thread' and 'main_thread_only'")
    raise ValueError(f"unknown execmodel {backend!r}: there are 'thread' and 'main_thread_only'")


def deliver(delivery: _native.Delivery, at_once: bool = False) -> None:
    """Call a channel's callback with each item: those that have arrived if `at_once`, otherwise until the
    channel ends."""
    while True:
        try:
            call = delivery.next(at_once)
        except BaseException:
            if at_once:
                delivery.give_back()
            raise
        if call is None:
            return
        callback, item = call
        error = None
        try:
            callback(item)
        except BaseException as raised:
            if at_once and not isinstance(raised, Exception):
                # Ctrl-C or SystemExit concerns the caller, not the channel
                delivery.done(None)
                delivery.give_back()
                raise
            error = raised
        # keep nothing of it alive while waiting for the next one
        call = item = None
        if not delivery.done(error) and error is not None:
            raise error
        error = None


class Channel(_native.Channel):
    """A two-way queue of values between here and code on the other side of a gateway.

    A channel can be sent over a channel. It closes when nothing refers to it any more.

        channel = gateway.remote_exec("channel.send(channel.receive() + 1)")
        channel.send(41)
        assert channel.receive() == 42
    """

    RemoteError = RemoteError
    TimeoutError = TimeoutError

    gateway: Gateway

    def __new__(cls, raw: _native.RawChannel, gateway: Gateway) -> Self:
        return super().__new__(cls, raw)

    def __init__(self, raw: _native.RawChannel, gateway: Gateway) -> None:
        self.gateway = gateway

    def __repr__(self) -> str:
        return f"<Channel id={self.id} {'closed' if self.isclosed() else 'open'}>"

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self.receive()
        except GatewayDied:
            # not the end of the loop: half of the items would look like all of them
            raise
        except EOFError:
            raise StopIteration from None

    next = __next__

    def __del__(self) -> None:
        error = self._unread_error()
        if error is not None:
            RemoteError(error).warn()

    def setcallback(self, callback: Callable[[Any], object], endmarker: object = NO_ENDMARKER_WANTED) -> None:
        """Call `callback(item)` for every item; `receive()` is an error from then on.

        Items that have arrived are passed at once, later ones by a thread of this channel. If an endmarker is
        given, the callback is called with it last, when the channel has ended. If the callback fails, the
        channel closes with that error.
        """
        if not callable(callback):
            raise TypeError(f"a callback must be callable, not a {type(callback).__name__}")
        wants_end = endmarker is not NO_ENDMARKER_WANTED
        delivery = self._deliver_to(self.gateway, callback, endmarker if wants_end else None, wants_end)
        deliver(delivery, at_once=True)
        if not delivery.is_over():
            try:
                self.gateway._start_thread(
                    partial(deliver, delivery), f"execnet {self.gateway.id} channel {self.id}"
                )
            except BaseException:
                delivery.give_back()
                raise

    def reconfigure(self, py2str_as_py3str: bool = True, py3str_as_py2str: bool = False) -> None:
        """Set how `str` maps to text and bytes on this channel: see `Gateway.reconfigure`."""
        super().reconfigure(bool(py2str_as_py3str), bool(py3str_as_py2str))

    @overload
    def makefile(self, mode: Literal["r"], proxyclose: bool = False) -> ChannelFileRead: ...
    @overload
    def makefile(self, mode: Literal["w"] = "w", proxyclose: bool = False) -> ChannelFileWrite: ...

    def makefile(self, mode: str = "w", proxyclose: bool = False) -> Union[ChannelFileRead, ChannelFileWrite]:
        """Return a file-like object for writing (`"w"`) or reading (`"r"`). With `proxyclose` its `close()`
        closes the channel."""
        if mode == "w":
            return ChannelFileWrite(self, proxyclose)
        if mode == "r":
            return ChannelFileRead(self, proxyclose)
        raise ValueError(f"mode {mode!r} is not available: there are 'r' and 'w'")

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.gateway._is_forked():
            self.close()


class ChannelFile:
    """What channel files have in common."""

    def __init__(self, channel: Channel, proxyclose: bool = True) -> None:
        self.channel = channel
        self._proxyclose = proxyclose

    def isatty(self) -> bool:
        """Return False."""
        return False

    def close(self) -> None:
        """Close the channel if the file was made with `proxyclose`."""
        if self._proxyclose:
            self.channel.close()

    def __repr__(self) -> str:
        return f"<ChannelFile {self.channel.id} {'closed' if self.channel.isclosed() else 'open'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class ChannelFileWrite(ChannelFile):
    """A file whose writes send one item each."""

    def write(self, out: Union[str, bytes]) -> None:
        """Send text or bytes."""
        self.channel.send(out)

    def flush(self) -> None:
        """Do nothing: every write is sent at once."""


class ChannelFileRead(ChannelFile):
    """A file that reads the items of a channel one behind the other: all text or all bytes."""

    def __init__(self, channel: Channel, proxyclose: bool = True) -> None:
        super().__init__(channel, proxyclose)
        self._buffer: Any = None

    def _fill(self) -> bool:
        """Receive one more item; return False at the end."""
        try:
            item = self.channel.receive()
        except GatewayDied:
            raise
        except EOFError:
            self.close()
            return False
        self._buffer = item if self._buffer is None else self._buffer + item
        return True

    def _take(self, length: int) -> Any:
        if self._buffer is None:
            return ""
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    def read(self, n: int) -> Any:
        """Return `n` characters or bytes, fewer only at the end."""
        while len(self._buffer or "") < n and self._fill():
            pass
        return self._take(n)

    def readline(self) -> Any:
        """Return the text up to and including the next newline, or the rest at the end."""
        searched = 0
        while True:
            buffer = self._buffer
            if buffer is not None:
                end = buffer.find("\n" if isinstance(buffer, str) else b"\n", searched)
                if end >= 0:
                    return self._take(end + 1)
                searched = len(buffer)
            if not self._fill():
                return self._take(searched)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.readline, "")


class ChannelFactory:
    """The channels of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        import weakref

        self._gateway = weakref.ref(gateway)
        # reentrant: a finalizer or signal handler may interrupt, and open channels
        self._lock = threading.RLock()
        self._channels: weakref.WeakValueDictionary[int, Channel] = weakref.WeakValueDictionary()

    def new(self) -> Channel:
        """Return a new channel."""
        return self.adopt(self._owner()._native.newchannel())

    def adopt(self, raw: _native.RawChannel) -> Channel:
        """Return the one object for a channel."""
        with self._lock:
            channel = self._channels.get(raw.id)
            if channel is None:
                channel = self._channels[raw.id] = Channel(raw, self._owner())
            return channel

    def _owner(self) -> Gateway:
        gateway = self._gateway()
        assert gateway is not None, "a gateway outlives its channels"
        return gateway

    def channels(self) -> list[Channel]:
        """Return the channels that are open and referred to."""
        return [channel for channel in list(self._channels.values()) if not channel.isclosed()]


def loads(
    bytestring: Union[bytes, bytearray, memoryview],
    py2str_as_py3str: bool = False,
    py3str_as_py2str: bool = False,
) -> Any:
    """Return the object that `dumps` wrote.

    With `py2str_as_py3str` a `str` of Python 2 becomes text, otherwise bytes. With `py3str_as_py2str` a `str`
    of Python 3 becomes bytes, otherwise text.
    """
    if isinstance(bytestring, (bytearray, memoryview)):
        bytestring = bytes(bytestring)
    return _native.loads(bytestring, bool(py2str_as_py3str), bool(py3str_as_py2str))


def dump(byteio: SupportsWrite, obj: object) -> None:
    """Write an object to a binary file, as `dumps` encodes it."""
    byteio.write(dumps(obj))


def load(io: SupportsRead, py2str_as_py3str: bool = False, py3str_as_py2str: bool = False) -> Any:
    """Read one object from a binary file, as `loads` does. More may follow it in the file."""
    return _native.load(io.read, bool(py2str_as_py3str), bool(py3str_as_py2str))
