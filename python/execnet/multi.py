"""Groups of gateways, and many channels at once."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Union, overload

from . import _from_spec, _native
from ._away import OnUnreachable
from .gateway import HURRY, Gateway, Source, after, end
from .gateway_base import NO_ENDMARKER_WANTED, Channel, ExecModel, get_execmodel
from .xspec import XSpec

if TYPE_CHECKING:
    from queue import Queue

__all__ = ["Group", "MultiChannel", "default_group", "makegateway", "set_execmodel"]

Spec = Union[XSpec, str]


class Group:
    """Gateways that end together, each with an id of its own.

        with execnet.Group(["popen"] * 3) as group:
            print(group.remote_exec("import os; channel.send(os.getpid())").receive_each())

    What the other side prints is given, line by line, to `output(gateway, line)`; without one it goes to stderr,
    marked with the gateway's id.
    """

    defaultspec = "popen"
    """What `makegateway()` makes."""

    _network: Optional[_native.Network] = None
    """The connection that the group belongs to, if it belongs to one."""

    _on_unreachable: OnUnreachable = True
    """What is told of hosts that cannot be reached; True: stderr."""

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
        """Sets how code is run here and on the other side of gateways that will be made; the same if only one is given.

        An error as soon as there are gateways.
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

    def makegateway(self, spec: Optional[Spec] = None) -> Gateway:
        """Starts an interpreter and makes a gateway to it; as `defaultspec` says if no spec is given.

        A spec is `key=value//key=value`. It says where with one of

        - `popen`: on this machine,
        - `net=NAME`: on a node of a running network, chosen with `platform=`, `implementation=`, `version=`, `node=`,
        - `ssh=HOST`: on a host that the user's ssh reaches; with `ssh_config=FILE` as that file says,

        and how with `id=`, `python=`, `chdir=` (made if it is not there), `nice=`, `env:NAME=VALUE`,
        `execmodel=thread` or `main_thread_only`, `dont_write_bytecode`, `patience=2m` (how long its login may take,
        30 s otherwise, and then its interpreter, 60 s otherwise), `give_up=30` (how many seconds its host may be out of
        reach before the gateway has died; or `2m`). With `via=ID` the interpreter is started
        where that gateway of the group has its own. Other keys are left to the program, but not beside `net=`.
        """
        if spec is None or spec == "":
            spec = self.defaultspec
        if not isinstance(spec, XSpec):
            spec = XSpec(spec)
        self.allocate_id(spec)
        self._check_id(spec)
        return self._register(_from_spec.start(spec, self), spec)

    def _makegateways(self, specs: list[XSpec]) -> list[Gateway]:
        """Makes several at a time: all, or none."""
        for spec in specs:
            self.allocate_id(spec)
            self._check_id(spec)
        if len({spec.id for spec in specs}) < len(specs):
            raise ValueError(f"{len(specs)} gateways cannot all have the id {specs[0].id!r}: leave id= out")
        starts = [_from_spec.prepare(spec, self) for spec in specs]
        return [self._register(native, spec) for native, spec in zip(_native.start_all(starts), specs)]

    def _check_id(self, spec: XSpec) -> None:
        if not isinstance(spec.id, str) or not spec.id or "//" in spec.id:
            raise ValueError(f"id= needs a name without `//`, not {spec.id!r}")
        if spec.id in self:
            raise ValueError(f"there is a gateway with the id {spec.id!r} already")

    def allocate_id(self, spec: XSpec) -> None:
        """Gives a spec an id (`gw0`, `gw1`, …) if it has none."""
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
        if self._output is not None:
            gateway._hand_out(self._output)
        return gateway

    def _unregister(self, gateway: Gateway) -> bool:
        """Takes a gateway out; false if it is out already."""
        with self._lock:
            if not any(gateway is other for other in self._gateways):
                return False
            self._gateways.remove(gateway)
            self._leaving = [other for other in self._leaving if other.hasreceiver()]
            self._leaving.append(gateway)
            return True

    def terminate(self, timeout: Optional[float] = None) -> None:
        """Ends all gateways and waits until their interpreters have ended, those of gateways that had to `exit()`
        before as well.

        After `timeout` seconds, for all of them together, what still runs is killed; without one it is waited for.
        What was killed has 10 s to be gone, also all together. While a KeyboardInterrupt is being handled, what the
        gateways execute gets one at once: see `Gateway.exit`. A forked child ends its own: what was made before is its
        parent's.
        """
        after(timeout)
        vias = {gateway.spec.via for gateway in self}
        for gateway in sorted(self, key=lambda gateway: gateway.id in vias):
            gateway.exit()
        with self._lock:
            leaving = [gateway for gateway in self._leaving if not gateway._is_forked()]
            self._leaving = []
        try:
            end(leaving, timeout)
        finally:
            # interrupted: they are waited for next time
            with self._lock:
                self._leaving += leaving

    def _end(self, timeout: Optional[float], kind: Optional[type[BaseException]]) -> None:
        """As `terminate`, and at once where it is a KeyboardInterrupt that ends them."""
        if kind is KeyboardInterrupt:
            for gateway in self:
                gateway._interrupt()
            timeout = HURRY
        self.terminate(timeout)

    def _cleanup_atexit(self) -> None:
        self._end(1.0, getattr(sys, "last_type", None))

    def remote_exec(self, source: Source, **kwargs: object) -> MultiChannel:
        """Executes code in all gateways of the group; see `Gateway.remote_exec`."""
        return MultiChannel([gateway.remote_exec(source, **kwargs) for gateway in self])


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
        """Sends the item over every channel."""
        for channel in self._channels:
            channel.send(item)

    @overload
    def receive_each(self, withchannel: Literal[False] = False) -> list[Any]: ...
    @overload
    def receive_each(self, withchannel: Literal[True]) -> list[tuple[Channel, Any]]: ...

    def receive_each(self, withchannel: bool = False) -> Union[list[Any], list[tuple[Channel, Any]]]:
        """Receives one item from each channel, in their order; with `withchannel` as pairs of channel and item."""
        if self._queue is not None:
            raise OSError("cannot receive_each(): the items go to the receive queue")
        return [
            (channel, channel.receive()) if withchannel else channel.receive() for channel in self._channels
        ]

    def make_receive_queue(self, endmarker: object = NO_ENDMARKER_WANTED) -> Queue[tuple[Channel, Any]]:
        """A queue of pairs (channel, item) with what arrives on any channel from now on, and `endmarker`, if given,
        when one has ended."""
        if self._queue is None:
            from queue import Queue

            queue = self._queue = Queue()
            for channel in self._channels:
                channel.setcallback(partial(_put, queue, channel), endmarker=endmarker)
        return self._queue

    def waitclose(self) -> None:
        """Waits until all channels are closed; then raises the first `RemoteError` of one, if there is any."""
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
    """The gateways of a program end with it, but not with a child that it forked."""
    if os.getpid() != _pid:
        return
    for group in list(_groups):
        group._cleanup_atexit()
    _native.ending()


default_group = Group()
makegateway = default_group.makegateway
set_execmodel = default_group.set_execmodel
