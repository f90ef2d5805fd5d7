"""Execution specifications: `key=value//key=value`."""

from __future__ import annotations

import os
import re
from typing import Any, Optional, Union


class XSpec:
    """An execution specification: `key=value//key=value//flag`.

    A key without a value is `True`. Keys and values must not contain `//` (except `ssh=ssh://host:port`).
    Keys must not contain `=` or begin with an underscore, and each may occur once. `env:NAME=value` adds to
    `env`. Every key is an attribute that can be assigned; missing ones are `None`. Relative paths in
    `packages=` start at the current folder, and are absolute from then on, in the text, too.

    >>> spec = XSpec("net=mynet//platform=java//env:LANG=C//nice=5")
    >>> spec.platform, spec.env, spec.popen
    ('java', {'LANG': 'C'}, None)
    """

    chdir: Optional[str] = None
    dont_write_bytecode: Optional[bool] = None
    execmodel: Optional[str] = None
    give_up: Optional[str] = None
    id: Optional[str] = None
    implementation: Optional[str] = None
    installvia: Optional[str] = None
    keep: Optional[str] = None
    keep_for: Optional[str] = None
    large: Optional[bool] = None
    net: Optional[str] = None
    nice: Optional[str] = None
    node: Optional[str] = None
    packages: Any = None
    patience: Optional[str] = None
    platform: Optional[str] = None
    popen: Optional[bool] = None
    python: Optional[str] = None
    socket: Optional[str] = None
    ssh: Optional[str] = None
    ssh_config: Optional[str] = None
    vagrant_ssh: Optional[str] = None
    version: Optional[str] = None
    via: Optional[str] = None

    env: dict[str, str]

    def __init__(self, string: str) -> None:
        if not isinstance(string, str):
            raise TypeError(f"a spec must be a str or an XSpec, not {type(string).__name__}")
        self._spec = string
        # the name of the node that its gateway is on
        self._node: Optional[str] = None
        # keys of the text; a program may add attributes of its own
        self._keys: list[str] = []
        self.env = {}
        parts = parts_of(string)
        for at, part in enumerate(parts):
            key, equals, text = part.partition("=")
            value: Union[str, bool] = text if equals else True
            if not key:
                raise ValueError(f"no key before {part!r} in {string!r}")
            if key.startswith("_"):
                raise AttributeError(f"{key!r} cannot be a key: it begins with an underscore")
            if key.startswith("env:"):
                name = key[len("env:") :]
                if name in self.env:
                    raise ValueError(f"{key!r} is given twice in {string!r}")
                self.env[name] = text
            elif key == "env":
                raise ValueError(f"variables are written `env:NAME=VALUE`, not `env=`, in {string!r}")
            elif key in self.__dict__:
                raise ValueError(f"{key!r} is given twice in {string!r}")
            else:
                if key == "packages" and equals:
                    value = _with_absolute_paths(text, string)
                    parts[at] = f"{key}={value}"
                    self._spec = "//".join(parts)
                self._keys.append(key)
                setattr(self, key, value)

    def __getattr__(self, name: str) -> Union[None, bool, str]:
        if name.startswith("_"):
            raise AttributeError(name)
        return None

    def __repr__(self) -> str:
        return f"<XSpec {self._spec!r}>"

    def __str__(self) -> str:
        return self._spec

    def __hash__(self) -> int:
        return hash((self._spec, self._place()))

    def __eq__(self, other: object) -> bool:
        """Return whether both lead to the same place by the same words.

        `net=` leads each gateway elsewhere. pytest-xdist sends files once to a spec.
        """
        if not isinstance(other, XSpec):
            return False
        return self._spec == other._spec and self._place() == other._place()

    def _place(self) -> Optional[tuple[str, Optional[str]]]:
        """Return what tells two `net=` specs of the same words apart: the node, or the id until a gateway is
        there."""
        if self.net is None:
            return None
        return ("id", self.id) if self._node is None else ("node", self._node)

    def _samefilesystem(self) -> bool:
        """Return whether the other side surely sees the same files under the same relative names."""
        return self.popen is not None and self.chdir is None


def parts_of(string: str) -> list[str]:
    """Return the parts between `//`; the `//` of `ssh=ssh://host` belongs to the value."""
    parts = string.split("//")
    for at, part in enumerate(parts[:-1]):
        if part.startswith("ssh=") and part.endswith(("=ssh:", " ssh:")):
            parts[at : at + 2] = [f"{part}//{parts[at + 1]}"]
            break
    return parts


def written(key: str, value: object) -> str:
    """Return a part of a spec."""
    if value is True:
        return key
    return f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"


def items_of(packages: str) -> list[str]:
    """Return the items of `packages=`: what is between commas, except for those in `requests[socks,use]`."""
    items = [item.strip() for item in re.split(r",(?![^\[\]]*\])", packages)]
    if "" in items:
        raise ValueError(f"packages={packages}: an item is empty")
    return items


def looks_like_path(item: str) -> bool:
    """Return whether an item of `packages=` is a path, and not the name of a distribution."""
    return ("/" in item or item.startswith((".", "~"))) and not item.startswith("!")


def absolute(what: str, path: str) -> str:
    """Return the absolute path of a file on this machine."""
    path = os.path.expanduser(path)
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise ValueError(
            f"{what}{path} is relative, and the current folder is gone: give the whole path"
        ) from None


def _with_absolute_paths(packages: str, spec: str) -> str:
    """Return the items of `packages=` so that they mean the same in every folder."""
    items = []
    for item in items_of(packages):
        if looks_like_path(item):
            item = absolute("packages=", item)
            if "," in item or "//" in item:
                raise ValueError(
                    f"packages= cannot hold the path {item!r} in a spec, because of its `,` or `//`: "
                    f"give it with makegateway(packages=[...]), in {spec!r}"
                )
        items.append(item)
    return ",".join(items)
