"""From specs to gateways."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from . import _native
from .gateway_base import get_execmodel

if TYPE_CHECKING:
    from .multi import Group
    from .xspec import XSpec

SELECTS = ("platform", "implementation", "version", "node")


def start(spec: XSpec, group: Group) -> _native.Gateway:
    """Starts what a spec says, and waits until it is there."""
    return prepare(spec, group).open()


def prepare(spec: XSpec, group: Group) -> _native.Start:
    """What is to be started for a spec."""
    refuse(spec)
    if spec.execmodel is None:
        spec.execmodel = group.remote_execmodel.backend
    python = text(spec, "python")
    settings = _native.Settings(
        id=str(spec.id),
        execmodel=get_execmodel(spec.execmodel).backend,
        python=shlex.split(python) if python else None,
        chdir=text(spec, "chdir"),
        nice=int(text(spec, "nice") or 0),
        env=dict(spec.env),
        dont_write_bytecode=bool(spec.dont_write_bytecode),
        keeps_output=group._output is not None,
    )
    via = group[text(spec, "via")]._native if spec.via else None
    if spec.ssh:
        config = text(spec, "ssh_config")
        config = config and os.path.abspath(os.path.expanduser(config))
        return _native.Start.ssh(own_command(), text(spec, "ssh"), config, via, settings)
    if via:
        return _native.Start.beside(via, settings)
    if spec.popen:
        return _native.Start.popen(sys.executable, settings)
    if spec.net:
        selection = {name: text(spec, name) for name in SELECTS if getattr(spec, name) is not None}
        return _native.Start.on(group._network or connection(text(spec, "net")), selection, settings)
    raise ValueError(f"no gateway type found for {spec._spec!r}: there are popen, net= and ssh=")


def refuse(spec: XSpec) -> None:
    """Says of what is not supported that it is not."""
    if spec.socket or spec.installvia:
        raise ValueError("socket= is not supported: anybody could connect to such a server. Use ssh= or net=")
    if spec.vagrant_ssh:
        raise ValueError(
            "vagrant_ssh= is not supported: use ssh= and ssh_config= with what `vagrant ssh-config` prints"
        )
    get_execmodel(spec.execmodel or "thread")


def text(spec: XSpec, name: str) -> Any:
    """The text of a key; an error if it has none."""
    value = getattr(spec, name)
    if value is not None and not isinstance(value, (str, int, os.PathLike)) or value is True:
        raise ValueError(f"{name}= needs a value")
    return None if value is None else str(value)


def own_command() -> str:
    """The native command that was installed together with this package."""
    import sysconfig

    beside = os.path.join(sysconfig.get_path("scripts"), "execnet")
    return beside if os.path.exists(beside) else "execnet"


connections: dict[tuple[int, str], _native.Network] = {}


def connection(name: str) -> _native.Network:
    """The connection to a network that all specs of this program share."""
    key = os.getpid(), name
    if key not in connections:
        connections[key] = _native.connect(name)
    return connections[key]
