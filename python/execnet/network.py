"""Networks, by name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional, TypedDict, Union

from . import _native, _progress
from ._away import OnUnreachable, checked
from ._from_spec import sound
from ._native import Node
from ._packages import Packages, listed
from ._progress import OnProgress
from .gateway import Gateway
from .multi import Group, Spec
from .xspec import XSpec, written

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Network", "Node", "connect"]

PathText = Union[str, "os.PathLike[str]"]


class GatewayKeywords(TypedDict, total=False):
    """Keywords for gateways on a network: keys of specs."""

    platform: Optional[str]
    implementation: Optional[str]
    version: Optional[str]
    node: Optional[str]
    python: Optional[PathText]
    chdir: Optional[PathText]
    env: Optional[Mapping[str, str]]
    nice: Optional[int]
    execmodel: Optional[str]
    patience: Union[int, str, None]
    give_up: Union[float, str, None]
    packages: Optional[Packages]
    large: bool
    keep: Optional[str]
    keep_for: Union[float, str, None]


class Network:
    """A connection to a running network; `connect` returns one.

        with execnet.connect("mynet") as mynet:
            gateway = mynet.makegateway(platform="java")

    Its gateways are in `group`. They end with `close()`, at the end of the `with` block, or with the program;
    those that are kept are left then.
    """

    def __init__(
        self,
        name: str,
        on_unreachable: OnUnreachable = True,
        give_up: Union[float, str, None] = None,
        on_progress: OnProgress = True,
    ) -> None:
        on_unreachable = checked(on_unreachable)
        _progress.check(on_progress)
        self._native = _native.connect(name, None if give_up is None else _text("give_up", give_up))
        self._pid = os.getpid()
        self.group = Group()
        self.group.defaultspec = f"net={name}"
        self.group._network = self._native
        self.group._on_unreachable = on_unreachable
        self.group.on_progress = on_progress

    def __repr__(self) -> str:
        return f"<Network {self.name!r}>"

    def __enter__(self) -> Network:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *exception: object) -> None:
        if os.getpid() != self._pid:
            return
        try:
            self.group._end(10.0, kind)
        finally:
            self._native.close()

    @property
    def name(self) -> str:
        """The name of the network."""
        return self._native.name

    @property
    def nodes(self) -> list[Node]:
        """The interpreters of the network, in their current state."""
        return self._native.nodes()

    def makegateway(
        self, spec: Optional[Spec] = None, *, id: Optional[str] = None, **keywords: Unpack[GatewayKeywords]
    ) -> Gateway:
        """Start an interpreter on a node of the network, and return a gateway to it.

        The node is one whose `sys.platform` or implementation begins with `platform`, whose `implementation`
        is that (`cpython`, `pypy`, `jython`), whose Python `version` is as required (`"3.11"`,
        `">=3.8,<3.12"`), and whose name or host is `node`. `python`, `chdir`, `env`, `nice`, `execmodel`,
        `patience`, `give_up`, `packages`, `large`, `keep` and `keep_for` are as in specs: see
        `Group.makegateway`. Keywords count more than `spec`.
        """
        _check_keywords("makegateway", keywords)
        return self.group.makegateway(self._spec(spec, keywords, id))

    def makegateways(
        self, n: int, spec: Optional[Spec] = None, **keywords: Unpack[GatewayKeywords]
    ) -> list[Gateway]:
        """Make `n` gateways at a time, each as `makegateway` makes one. When one cannot be made, none is."""
        _check_keywords("makegateways", keywords)
        if not isinstance(n, int):
            raise TypeError(f"the number of gateways must be an int, not {type(n).__name__}")
        if n < 0:
            raise ValueError(f"the number of gateways must not be negative, as {n} is")
        return self.group._makegateways([self._spec(spec, keywords) for _ in range(n)])

    def attach(
        self, name: str, *, id: Optional[str] = None, give_up: Union[float, str, None] = None
    ) -> Gateway:
        """Return a gateway to the interpreter that is kept as `name` (or `name@host`): that
        `makegateway(keep=name)` has made, here or in another program.

        It goes on with its modules, its running code and its named channels: see `Gateway.channel`. Another
        program that is attached to it loses it. What it has printed is on its host: `execnet logs` shows it.
        Raise FileNotFoundError if no host keeps it, or it has ended.
        """
        spec = XSpec(f"net={self.name}")
        for key, value in [("keep", name), ("id", id), ("give_up", give_up)]:
            if value is not None:
                setattr(spec, key, _text(key, value))
        spec._spec = f"net={self.name}//keep={spec.keep}"
        return self.group._attach(spec)

    def close(self, timeout: Optional[float] = 10.0) -> None:
        """End the gateways, as `Group.terminate` does, and close the connection."""
        self.group.terminate(timeout)
        self._native.close()

    def _spec(self, given: Optional[Spec], keywords: GatewayKeywords, id: Optional[str] = None) -> XSpec:
        spec = XSpec(f"net={self.name}")
        if given is not None:
            given = given if isinstance(given, XSpec) else XSpec(given)
            spec._keys += given._keys
            if given.net not in (None, self.name) or given.popen or given.ssh or given.via:
                raise ValueError(f"{str(given)!r} is not for the network {self.name!r}")
            vars(spec).update({key: value for key, value in vars(given).items() if not key.startswith("_")})
            spec.env = dict(given.env)
        for key, value in [("id", id), *keywords.items()]:
            if key == "packages" and value is not None:
                spec.packages = listed(value)
            elif key == "large":
                spec.large = spec.large or bool(value) or None
            elif value is not None and key != "env":
                setattr(spec, key, _text(key, value))
        env = keywords.get("env")
        if not isinstance(env, (Mapping, type(None))):
            raise TypeError(f"env must be a mapping of names to values, not a {type(env).__name__}")
        spec.env.update(env or {})
        known = {*XSpec.__annotations__, *spec._keys} - {"net", "env"}
        parts = [(key, value) for key, value in vars(spec).items() if key in known and value is not None]
        spec._spec = "//".join([f"net={self.name}", *(written(key, value) for key, value in parts)])
        return spec


def _check_keywords(method: str, keywords: GatewayKeywords) -> None:
    for key in keywords:
        if key not in GatewayKeywords.__annotations__:
            raise TypeError(f"Network.{method}() got an unexpected keyword argument {key!r}")


def _text(key: str, value: object) -> str:
    """Return the text of a keyword in a spec."""
    number: tuple[type, ...] = {
        "nice": (int,),
        "patience": (int,),
        "give_up": (int, float),
        "keep_for": (int, float),
    }.get(key, ())
    if isinstance(value, number) and not isinstance(value, bool):
        return str(value)
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        kinds = {"nice": "an int", "give_up": "seconds or a str", "keep_for": "seconds or a str"}
        kind = kinds.get(key, "a str")
        raise TypeError(f"{key}= takes {kind}, not {type(value).__name__}")
    # python= is split into words
    return shlex.quote(path) if key == "python" and path is not value else path


def connect(
    name: str,
    *,
    on_unreachable: OnUnreachable = True,
    give_up: Union[float, str, None] = None,
    on_progress: OnProgress = True,
) -> Network:
    """Connect to the network of this name, which runs on this machine (`execnet start NAME` starts it).

    When a host with gateways has been unreachable for 5 s, and when it is back, a line on stderr says so. If
    `on_unreachable` is a function, it is called instead, in a thread of the connection, as
    `on_unreachable(node, text)`: the `Node` of a gateway there, whose `state` is `unreachable`, then `ready`
    or `lost`, and the sentence. With `False` or `None` nothing is reported. When a gateway cannot be made
    because its host is unreachable, the report comes at once; `makegateway` waits at most 10 s, or `give_up`.

    Calls that wait for such a host continue when it is back. `give_up` limits that: after so many seconds (or
    `"2m"`) the gateways there have died, and waiting calls raise `GatewayDied`. `makegateway` can set another
    limit.

    When it takes longer than a second to bring `packages` to a host, lines on stderr say how far they are. If
    `on_progress` is a function, it is called instead, in a thread of its own, with a `Transfer` each time
    something has changed. With `False` or `None` nothing is reported, and no notes on what was left out.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a network must be a str, not {type(name).__name__}")
    return Network(sound("the name of a network", name), on_unreachable, give_up, on_progress)
