"""Execution specifications: `key=value//key=value`."""

from __future__ import annotations

from typing import Optional, Union


class XSpec:
    """An execution specification: `key=value//key=value//flag`.

    A key without a value is `True`. Keys and values must not contain `//` (except `ssh=ssh://host:port`).
    Keys must not contain `=` or begin with an underscore, and each may occur once. `env:NAME=value` adds to
    `env`. Every key is an attribute that can be assigned; missing ones are `None`.

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
    net: Optional[str] = None
    nice: Optional[str] = None
    node: Optional[str] = None
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
        # keys of the text; a program may add attributes of its own
        self._keys: list[str] = []
        self.env = {}
        for part in _parts(string):
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
        return hash(self._spec)

    def __eq__(self, other: object) -> bool:
        return bool(self._spec == getattr(other, "_spec", None))

    def _samefilesystem(self) -> bool:
        """Return whether the other side surely sees the same files under the same relative names."""
        return self.popen is not None and self.chdir is None


def _parts(string: str) -> list[str]:
    """Return the parts between `//`; the `//` of `ssh=ssh://host` belongs to the value."""
    parts = string.split("//")
    for at, part in enumerate(parts[:-1]):
        if part.startswith("ssh=") and part.endswith(("=ssh:", " ssh:")):
            parts[at : at + 2] = [f"{part}//{parts[at + 1]}"]
            break
    return parts
