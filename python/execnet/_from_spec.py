"""Check a spec, and turn it into a gateway that can be started."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Optional

from . import _away, _native, _packages, _progress
from .gateway_base import get_execmodel
from .xspec import XSpec, absolute

if TYPE_CHECKING:
    from .gateway import Gateway
    from .multi import Group

SELECTS = ("platform", "implementation", "version", "node")
KEEPS = ("keep", "keep_for")
KINDS = ("popen", "net", "ssh")
FLAGS = ("popen", "dont_write_bytecode", "large")
HOW = (
    "via",
    "id",
    "python",
    "chdir",
    "nice",
    "patience",
    "execmodel",
    "dont_write_bytecode",
    "give_up",
    "packages",
    "large",
)


def start(spec: XSpec, group: Group) -> _native.Gateway:
    """Start the gateway that a spec describes, and wait until it is ready."""
    launcher = prepare(spec, group)
    with _progress.shown([launcher], group.on_progress):
        return launcher.open()


def start_all(specs: list[XSpec], group: Group) -> list[_native.Gateway]:
    """Start the gateways that the specs describe, at the same time: all, or none."""
    launchers = [prepare(spec, group) for spec in specs]
    with _progress.shown(launchers, group.on_progress):
        return _native.start_all(launchers)


def prepare(spec: XSpec, group: Group) -> _native.Launcher:
    """Return a launcher for a spec. Outages of its host are reported from now on."""
    prepared = _prepare(spec, group)
    _away.listen(prepared, group._on_unreachable)
    return prepared


def attach(spec: XSpec, group: Group) -> _native.Gateway:
    """Enter the gateway that is kept under the name of a spec in the network of the group."""
    assert group._network is not None
    settings = settings_of(spec, group, keeps=False)
    launcher = _native.Launcher.attach(group._network, needed(spec, "keep"), settings)
    _away.listen(launcher, group._on_unreachable)
    return launcher.open()


def settings_of(spec: XSpec, group: Group, keeps: bool = True) -> _native.Settings:
    if spec.execmodel is None:
        spec.execmodel = group.remote_execmodel.backend
    python = text(spec, "python")
    execmodel = get_execmodel(spec.execmodel).backend
    return _native.Settings(
        id=sound("id=", str(spec.id)),
        execmodel=execmodel,
        python=words(spec, python) if python else None,
        chdir=text(spec, "chdir"),
        nice=niceness(spec),
        patience=text(spec, "patience"),
        env=environment(spec),
        dont_write_bytecode=bool(spec.dont_write_bytecode),
        # pytest-xdist uses this model; its workers print a report that the main process prints as well
        silent=execmodel == "main_thread_only" and group._output is None,
        keeps_output=group._output is not None,
        give_up=text(spec, "give_up"),
        packages=_packages.native(spec.packages, bool(spec.large)),
        keep=text(spec, "keep") if keeps else None,
        keep_for=text(spec, "keep_for"),
    )


def _prepare(spec: XSpec, group: Group) -> _native.Launcher:
    refuse(spec)
    settings = settings_of(spec, group)
    via = find(needed(spec, "via"), group)._native if spec.via else None
    if spec.ssh is not None:
        config = text(spec, "ssh_config")
        config = config and absolute("ssh_config=", config)
        return _native.Launcher.ssh(own_command(), needed(spec, "ssh"), config, via, settings)
    if via:
        return _native.Launcher.beside(via, settings)
    if spec.net is not None:
        name = needed(spec, "net")
        selection = {key: needed(spec, key) for key in SELECTS if getattr(spec, key) is not None}
        return _native.Launcher.on(group._network or connection(name), selection, settings)
    if spec.popen:
        if not text(spec, "python") and not sys.executable:
            raise ValueError(
                f"sys.executable names no interpreter: give popen//python=COMMAND, in {spec._spec!r}"
            )
        return _native.Launcher.popen(sys.executable or "", settings)
    if spec.popen is not None:
        raise ValueError(f"popen takes no value: no `=` behind it, in {spec._spec!r}")
    found = (
        (_native.nearest(key, [*KINDS, "via"]), key) for key in spec._keys if key not in XSpec.__annotations__
    )
    hint = next((meant(name, key) for name, key in found if name), "")
    raise ValueError(f"no gateway type found for {spec._spec!r}: there are popen, net=, ssh= and via={hint}")


def refuse(spec: XSpec) -> None:
    """Raise ValueError for keys that are not supported, unknown, or do not go together."""
    if spec.socket or spec.installvia:
        raise ValueError("socket= is not supported: anybody could connect to such a server. Use ssh= or net=")
    if spec.vagrant_ssh:
        raise ValueError(
            "vagrant_ssh= is not supported: use ssh= and ssh_config= with what `vagrant ssh-config` prints"
        )
    kinds = [shown(key) for key in KINDS if getattr(spec, key) not in (None, False)]
    if spec.net is not None and spec.via:
        kinds.append("via=")
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} do not go together, in {spec._spec!r}: give one of them")
    known = XSpec.__annotations__
    if spec.net is None:
        for key in SELECTS:
            if getattr(spec, key) is not None:
                raise ValueError(f"{key}= chooses a node of a network, and needs net=, in {spec._spec!r}")
        for key in KEEPS:
            if getattr(spec, key) is not None:
                raise ValueError(
                    f"{key}= keeps an interpreter on a host of a network, and needs net=, in {spec._spec!r}"
                )
        # programs may use keys of their own, but not ones that look like a misspelt key of ours
        for key in spec._keys:
            name = (
                None
                if key in known
                else _native.misspelt(key.partition(":")[0], [*KINDS, *HOW, "ssh_config", "env"])
            )
            if name:
                raise ValueError(f"unknown key {key!r} in {spec._spec!r}{meant(name, key)}")
    else:
        for key in spec._keys:
            if key not in known:
                name = _native.nearest(key, [*SELECTS, *HOW, *KEEPS])
                raise ValueError(f"unknown key {key!r} in {spec._spec!r}{meant(name, key)}")
    if spec.keep_for is not None and spec.keep is None:
        raise ValueError(f"keep_for= says how long keep= keeps it, which is missing in {spec._spec!r}")
    get_execmodel(spec.execmodel or "thread")


def meant(name: Optional[str], key: str) -> str:
    """Return a hint at the key that was probably meant."""
    return f"; is {shown(name)} meant instead of {key!r}?" if name else ""


def shown(key: str) -> str:
    """Return a key as it is written in a spec."""
    return "env:" if key == "env" else key if key in FLAGS else f"{key}="


def find(id: str, group: Group) -> Gateway:
    """Return the gateway that `via=` names."""
    if id not in group:
        others = ", ".join(other.id for other in group)
        there_are = f"; there are {others}" if others else ", and no other"
        raise KeyError(f"via={id}: there is no such gateway in the group{there_are}")
    return group[id]


def text(spec: XSpec, name: str) -> Optional[str]:
    """Return the text of a key; None if the spec does not have it."""
    value = getattr(spec, name)
    if value is True:
        raise ValueError(f"{name}= needs a value")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is not None and not isinstance(value, (str, int)):
        raise TypeError(f"{name}= must be a str, not {type(value).__name__}")
    return None if value is None else sound(f"{name}=", str(value))


def sound(what: str, value: str) -> str:
    """Return the text, or raise ValueError if the operating system cannot take it."""
    if "\0" in value:
        raise ValueError(f"{what} cannot hold a null character: {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds a lone surrogate, which UTF-8 cannot encode: {value!r}") from None
    return value


def words(spec: XSpec, python: str) -> list[str]:
    """Return the words of python=; a shell on the host gets the line if only a shell understands it."""
    found = _native.python_command(python)
    if found is None:
        why = "it ends with a backslash" if python.endswith("\\") else "a quote is not closed"
        raise ValueError(f"python={python} cannot be split into words, in {spec._spec!r}: {why}")
    return found


def needed(spec: XSpec, name: str) -> str:
    """Return the text of a key that must not be empty."""
    value = text(spec, name)
    if not value:
        raise ValueError(f"{name}= needs a value, in {spec._spec!r}")
    return value


def niceness(spec: XSpec) -> int:
    nice = text(spec, "nice") or "0"
    try:
        return int(nice)
    except ValueError:
        raise ValueError(f"nice= must be a whole number, not {nice!r}") from None


def environment(spec: XSpec) -> dict[str, str]:
    """Return the environment variables to set there."""
    for name, value in spec.env.items():
        if not isinstance(name, str):
            raise TypeError(
                f"the name of an environment variable must be a str, not {type(name).__name__}: {name!r}"
            )
        if not name or "=" in name:
            raise ValueError(f"an environment variable cannot have the name {name!r}")
        if not isinstance(value, str):
            raise TypeError(f"the environment variable {name} must be a str, not {type(value).__name__}")
        sound("the name of an environment variable", name)
        sound(f"the environment variable {name}", value)
    return dict(spec.env)


# PREFIX/lib/pythonX.Y/site-packages/execnet/_from_spec.py. Made absolute now: the program may change its
# folder later.
PREFIX = os.path.abspath(__file__).rsplit(os.sep, 5)[0]


def own_command() -> str:
    """Return the path of the native command that was installed with this package."""
    # not `sysconfig`: it imports more modules, perhaps from a current folder that others can write to
    for prefix in (PREFIX, sys.prefix):
        beside = os.path.join(prefix, "bin", "execnet")
        if os.path.exists(beside):
            return beside
    return "execnet"


connections: dict[tuple[int, str], _native.Network] = {}


def connection(name: str) -> _native.Network:
    """Return the connection to a network that all specs of this program share."""
    key = os.getpid(), name
    if key not in connections:
        connections[key] = _native.connect(name)
    return connections[key]
