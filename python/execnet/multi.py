"""Groups of gateways, and many channels at once."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from queue import Queue
from typing import Any, Callable, Literal, Optional, Union, overload

from . import _from_spec, _native, _packages
from ._away import OnUnreachable
from ._packages import Packages
from ._progress import OnProgress
from .gateway import HURRY, Gateway, Source, after, end
from .gateway_base import NO_ENDMARKER_WANTED, Channel, ExecModel, get_execmodel
from .xspec import XSpec

__all__ = ["Group", "MultiChannel", "default_group", "makegateway", "set_execmodel"]

Spec = Union[XSpec, str]


class Group:
    """Gateways that end together, each with a unique id.

        with execnet.Group(["popen"] * 3) as group:
            print(group.remote_exec("import os; channel.send(os.getpid())").receive_each())

    Each line that the other side prints is passed to `output(gateway, line)`. Without `output` it goes to
    stderr, marked with the gateway's id.
    """

    defaultspec = "popen"
    """The spec of `makegateway()` without one."""

    on_progress: OnProgress = True
    """What is told while `packages=` takes longer than a second: a function is called with each `Transfer`,
    True writes to stderr, False does nothing."""

    _network: Optional[_native.Network] = None
    """The connection of the `Network` that the group belongs to, if any."""

    _on_unreachable: OnUnreachable = True
    """What is called when a host cannot be reached; True writes to stderr."""

    def __init__(
        self,
        xspecs: Iterable[Optional[Spec]] = (),
        execmodel: str = "thread",
        output: Optional[Callable[[Gateway, str], object]] = None,
    ) -> None:
        if not (output is None or callable(output)):
            raise TypeError(
                f"output must be callable with a gateway and a line, not a {type(output).__name__}"
            )
        self._gateways: list[Gateway] = []
        self._leaving: list[Gateway] = []
        self._lock = threading.RLock()
        self._count = 0
        self._output = output
        self.set_execmodel(execmodel)
        _groups.add(self)
        for spec in xspecs:
            self.makegateway(spec)

    @property
    def execmodel(self) -> ExecModel:
        """How code is run here."""
        return self._execmodel

    @property
    def remote_execmodel(self) -> ExecModel:
        """How code is run on the other side, unless a spec says otherwise."""
        return self._remote_execmodel

    def set_execmodel(
        self, execmodel: Union[str, ExecModel], remote_execmodel: Union[str, ExecModel, None] = None
    ) -> None:
        """Set how code is run here and on the other side of later gateways; the same for both if only one is
        given.

        Raise ValueError if the group has gateways.
        """
        if self._gateways:
            raise ValueError("the execution model can only be set while there are no gateways")
        self._execmodel = get_execmodel(execmodel)
        self._remote_execmodel = get_execmodel(execmodel if remote_execmodel is None else remote_execmodel)

    def __repr__(self) -> str:
        return f"<Group {[gateway.id for gateway in self]!r}>"

    def __getitem__(self, key: Union[int, str, Gateway]) -> Gateway:
        if isinstance(key, int):
            return self._gateways[key]
        for gateway in self:
            if gateway is key or gateway.id == key:
                return gateway
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, int):
            return -len(self) <= key < len(self)
        return any(gateway is key or gateway.id == key for gateway in self)

    def __len__(self) -> int:
        return len(self._gateways)

    def __iter__(self) -> Iterator[Gateway]:
        return iter(list(self._gateways))

    def __enter__(self) -> Group:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *exception: object) -> None:
        self._end(10.0, kind)

    def makegateway(
        self, spec: Optional[Spec] = None, *, packages: Optional[Packages] = None, large: bool = False
    ) -> Gateway:
        """Start an interpreter, and return a gateway to it. Without a spec, `defaultspec` is used.

        A spec is `key=value//key=value`. It says where with one of

        - `popen`: on this machine,
        - `net=NAME`: on a node of a running network, chosen with `platform=`, `implementation=`, `version=`,
          `node=`,
        - `ssh=HOST`: on a host that the user's ssh reaches; with `ssh_config=FILE` as that file says,

        and how with `id=`, `python=`, `chdir=` (made if it is not there), `nice=`, `env:NAME=VALUE`,
        `execmodel=thread` or `main_thread_only`, `dont_write_bytecode`, `patience=2m` (limit for the login,
        30 s without it, and again for the start of the interpreter, 60 s without it), `give_up=30` (how many
        seconds its host may be unreachable before the gateway has died; also `2m`). With `via=ID` the
        interpreter starts where that gateway of the group has its own. Programs may add keys of their own,
        but not beside `net=`.

        `packages=` says what of this program's environment the interpreter gets, as if installed there:
        `attrs`, `requests[socks]` (installed distributions, each with what it requires), `./src` (a folder
        or module: with a `/`, or beginning with `.`), `*` (all that is installed), `*,!torch` (all but one).
        The argument `packages` takes the same text, or a list, in which a `Path` is a path whatever its
        name. More than 256 MiB needs `large`.

        `keep=NAME`, beside `net=`, keeps the interpreter under that name on its host: it stays when this
        program leaves, in whatever way, and `Network.attach(NAME)` comes back to it. It ends when nobody was
        attached for 7 days, or for `keep_for=` (`12h`). Only `exit()` ends it earlier.
        """
        if spec is None or spec == "":
            spec = self.defaultspec
        if not isinstance(spec, XSpec):
            spec = XSpec(spec)
        if packages is not None or large:
            spec = _packages.added(spec, packages, large)
        self.allocate_id(spec)
        self._check_id(spec)
        return self._register(_from_spec.start(spec, self), spec)

    def _makegateways(self, specs: list[XSpec]) -> list[Gateway]:
        """Make several gateways at a time: all, or none."""
        for spec in specs:
            self.allocate_id(spec)
            self._check_id(spec)
        kept = [spec.keep for spec in specs if spec.keep is not None]
        if len(set(kept)) < len(kept):
            raise ValueError(f"{len(kept)} gateways cannot all be kept as {kept[0]!r}: make them one by one")
        if len({spec.id for spec in specs}) < len(specs):
            raise ValueError(f"{len(specs)} gateways cannot all have the id {specs[0].id!r}: leave id= out")
        return [
            self._register(native, spec) for native, spec in zip(_from_spec.start_all(specs, self), specs)
        ]

    def _attach(self, spec: XSpec) -> Gateway:
        """Return a gateway to an interpreter that is kept. Its id is its name, if that is free."""
        if spec.id is None and isinstance(spec.keep, str) and spec.keep not in self:
            spec.id = spec.keep
        self.allocate_id(spec)
        self._check_id(spec)
        return self._register(_from_spec.attach(spec, self), spec)

    def _check_id(self, spec: XSpec) -> None:
        if not isinstance(spec.id, str) or not spec.id or "//" in spec.id:
            raise ValueError(f"id= needs a name without `//`, not {spec.id!r}")
        if spec.id in self:
            raise ValueError(f"there is a gateway with the id {spec.id!r} already")

    def allocate_id(self, spec: XSpec) -> None:
        """Give a spec an id (`gw0`, `gw1`, …) if it has none."""
        if spec.id is None:
            with self._lock:
                name = f"gw{self._count}"
                self._count += 1
                if name in self:
                    raise ValueError(f"there is a gateway with the id {name!r} already")
                spec.id = name

    def _register(self, native: _native.Gateway, spec: XSpec) -> Gateway:
        gateway = Gateway(native, spec, self)
        with self._lock:
            self._check_id(spec)
            self._gateways.append(gateway)
        node = native.node
        spec._node = None if node is None else node.name
        if self._output is not None:
            gateway._hand_out(self._output)
        return gateway

    def _unregister(self, gateway: Gateway) -> bool:
        """Take a gateway out of the group; return False if it is not in it."""
        with self._lock:
            if not any(gateway is other for other in self._gateways):
                return False
            self._gateways.remove(gateway)
            self._leaving = [other for other in self._leaving if other.hasreceiver()]
            self._leaving.append(gateway)
            return True

    def terminate(self, timeout: Optional[float] = None) -> None:
        """End all gateways, and wait until their interpreters have ended; also those of gateways that were
        told to `exit()` before. Leave those that are kept.

        After `timeout` seconds for all of them together, kill those that still run; without a timeout, wait
        for them. Killed interpreters get 10 s together to be gone. While a KeyboardInterrupt is being
        handled, the code in the gateways gets one at once: see `Gateway.exit`. A forked child ends only the
        gateways that it made itself.
        """
        after(timeout)
        vias = {gateway.spec.via for gateway in self}
        for gateway in sorted(self, key=lambda gateway: gateway.id in vias):
            gateway._end()
        with self._lock:
            leaving = [gateway for gateway in self._leaving if not gateway._is_forked()]
            self._leaving = []
        try:
            end(leaving, timeout)
        finally:
            # after an interrupt: the next call waits for them
            with self._lock:
                self._leaving += leaving

    def _end(self, timeout: Optional[float], kind: Optional[type[BaseException]]) -> None:
        """Terminate, and hurry if a KeyboardInterrupt is the reason."""
        if kind is KeyboardInterrupt:
            for gateway in self:
                if not gateway.is_kept:
                    gateway._interrupt()
            timeout = HURRY
        self.terminate(timeout)

    def _cleanup_atexit(self) -> None:
        self._end(1.0, getattr(sys, "last_type", None))

    def remote_exec(self, source: Source, *, channel: Optional[str] = None, **kwargs: object) -> MultiChannel:
        """Execute code in all gateways of the group; see `Gateway.remote_exec`."""
        return MultiChannel([gateway.remote_exec(source, channel=channel, **kwargs) for gateway in self])


class MultiChannel:
    """Many channels, used together."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = channels
        self._queue: Optional[Queue[tuple[Channel, Any]]] = None

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels)

    def __getitem__(self, key: int) -> Channel:
        return self._channels[key]

    def __contains__(self, channel: object) -> bool:
        return channel in self._channels

    def __enter__(self) -> MultiChannel:
        return self

    def __exit__(self, *exception: object) -> None:
        for channel in self._channels:
            channel.__exit__()

    def send_each(self, item: object) -> None:
        """Send the item over every channel."""
        for channel in self._channels:
            channel.send(item)

    @overload
    def receive_each(self, withchannel: Literal[False] = False) -> list[Any]: ...
    @overload
    def receive_each(self, withchannel: Literal[True]) -> list[tuple[Channel, Any]]: ...

    def receive_each(self, withchannel: bool = False) -> Union[list[Any], list[tuple[Channel, Any]]]:
        """Return one item from each channel, in their order; with `withchannel`, pairs of channel and
        item."""
        if self._queue is not None:
            raise OSError("cannot receive_each(): the items go to the receive queue")
        return [
            (channel, channel.receive()) if withchannel else channel.receive() for channel in self._channels
        ]

    def make_receive_queue(self, endmarker: object = NO_ENDMARKER_WANTED) -> Queue[tuple[Channel, Any]]:
        """Return a queue of pairs (channel, item) of what arrives on any channel from now on; the item is
        `endmarker`, if given, when a channel has ended."""
        if self._queue is None:
            queue = self._queue = Queue()
            for channel in self._channels:
                channel.setcallback(partial(_put, queue, channel), endmarker=endmarker)
        return self._queue

    def waitclose(self) -> None:
        """Wait until all channels are closed, then raise the first `RemoteError`, if any."""
        first = None
        for channel in self._channels:
            try:
                channel.waitclose()
            except channel.RemoteError as error:
                first = first or error
        if first is not None:
            raise first


def _put(queue: Queue[tuple[Channel, Any]], channel: Channel, item: object) -> None:
    queue.put((channel, item))


_groups: weakref.WeakSet[Group] = weakref.WeakSet()


_pid = os.getpid()


@atexit.register
def _end_all() -> None:
    """End all gateways with the program, but not with a child that it forked."""
    if os.getpid() != _pid:
        return
    for group in list(_groups):
        group._cleanup_atexit()
    _native.ending()


default_group = Group()
makegateway = default_group.makegateway
set_execmodel = default_group.set_execmodel
