"""What gateways bring along: from what a program writes to what the native half takes."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional, Union

from . import _native
from .xspec import XSpec, absolute, items_of, looks_like_path, parts_of, written

Packages = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]
"""Distributions and folders: `"attrs,./src"`, or `["attrs", Path("src")]`."""


class Activated(NamedTuple):
    """What a gateway has brought along."""

    folders: list[str]
    """The folders on its host, in the order of `sys.path`."""
    environment: dict[str, str]
    """The variables under which other processes of the same interpreter on that host find the packages."""


sent: list[str] = []
"""Folders that another way brings into the working folder of gateways, as pytest-xdist's RSync does: what
lies in them does not travel as a package."""


def native(packages: object, large: bool) -> Optional[_native.Packages]:
    """Return what is to be brought along from this program's own interpreter and `sys.path`; None if nothing
    is."""
    items = read(packages)
    if not items:
        return None
    if not sys.executable:
        raise ValueError("packages= needs an interpreter to ask, and sys.executable names none")
    folders = [_absolute_or_none(folder) for folder in sys.path if isinstance(folder, str)]
    path = [folder for folder in folders if folder is not None and "\0" not in folder]
    return _native.Packages(
        items=items, large=large, sent=list(sent), python=os.path.abspath(sys.executable), path=path
    )


def read(packages: object) -> list[tuple[bool, str]]:
    """Return the items: whether each is the path of a folder or module, and its text.

    A str is as in a spec. In a list each str is one item, and a `Path` is a path whatever its name.
    """
    if packages is None:
        return []
    if packages is True:
        raise ValueError("packages= needs a value")
    if isinstance(packages, str):
        return [_item(item) for item in items_of(packages)]
    if isinstance(packages, os.PathLike):
        return [_item(packages)]
    if isinstance(packages, (bytes, bytearray)) or not isinstance(packages, Iterable):
        raise TypeError(f"packages must be a str or a list, not a {type(packages).__name__}")
    return [_item(item) for item in packages]


def listed(packages: object) -> list[str]:
    """Return the items in a form that is read as the same ones in every folder."""
    return [item for _, item in read(packages)]


def added(spec: XSpec, packages: Optional[Packages], large: bool) -> XSpec:
    """Return a copy of a spec with other packages. In its text, a path with `,` or `//` cannot be read
    again."""
    spec = copy.copy(spec)
    spec.env, spec._keys = dict(spec.env), list(spec._keys)
    parts = [part for part in parts_of(str(spec)) if part.partition("=")[0] not in ("packages", "large")]
    if packages is not None:
        spec.packages = listed(packages)
    if large:
        spec.large = True
    for key in ("packages", "large"):
        value = getattr(spec, key)
        if value is not None:
            parts.append(written(key, value))
    spec._spec = "//".join(parts)
    return spec


def _item(item: object) -> tuple[bool, str]:
    is_path = isinstance(item, os.PathLike)
    text = os.fspath(item) if isinstance(item, os.PathLike) else item
    if not isinstance(text, str):
        raise TypeError(f"an item of packages must be a str or a Path, not {type(text).__name__}: {text!r}")
    if "\0" in text:
        raise ValueError(f"an item of packages cannot hold a null character: {text!r}")
    if is_path or looks_like_path(text.strip()):
        return True, absolute("packages: ", text if is_path else text.strip())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"an item of packages holds a lone surrogate: {text!r}") from None
    return False, text.strip()


def _absolute_or_none(folder: str) -> Optional[str]:
    """Return a folder of `sys.path`; None if it is the current one, and that is gone."""
    try:
        return absolute("sys.path: ", folder or os.curdir)
    except ValueError:
        return None
