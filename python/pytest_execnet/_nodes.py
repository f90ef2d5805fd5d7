"""Which nodes of a network run tests, and how many workers each. No IO."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from execnet import Node

OLDEST = (3, 8)
"""The oldest Python for which there is a pytest that today's pytest-xdist can control."""


def chosen(nodes: Sequence[Node], named: bool = False) -> list[Node]:
    """Return one node of each host that can run pytest: the one that is like the Python here, or else the
    first. A drained host runs tests only if it was named."""
    hosts: dict[str, list[Node]] = {}
    for node in nodes:
        if node.drained and not named:
            continue
        if node.state == "ready" and node.implementation in ("cpython", "pypy") and version(node) >= OLDEST:
            hosts.setdefault(node.host, []).append(node)
    own = sys.implementation.name, sys.version_info[:2]
    return [
        min(same, key=lambda node: (node.implementation, version(node)) != own) for same in hosts.values()
    ]


def left_out(
    hosts: Sequence[tuple[str, str, Optional[str]]],
    nodes: Sequence[Node],
    used: Sequence[Node],
    named: bool = False,
) -> list[str]:
    """Say why these hosts, of which these nodes match, have no node that is used."""
    lines = []
    for host, state, error in hosts:
        here = [node for node in nodes if node.host == host]
        if any(node.host == host for node in used):
            continue
        if state != "up":
            why = "it failed" if state == "failed" else f"it is {state}"
            why += f": {error}" if error else ""
        elif not named and any(node.drained for node in here):
            why = "it is drained"
        elif here:
            why = f"pytest needs Python 3.8 or later; there are {told(here)}"
        else:
            continue
        lines.append(f"{host} is left out: {why}")
    return lines


def version(node: Node) -> tuple[int, ...]:
    """Return the first two numbers of its Python's version."""
    return tuple(int(part) if part.isdigit() else 0 for part in node.version.split(".")[:2])


def none_of(network: str, nodes: Sequence[Node]) -> str:
    """Say why none of these nodes can run pytest."""
    from execnet._native import shown

    there = f"there are {told(nodes)}" if nodes else "no node matches"
    return shown(
        f"pytest needs a node of {network} with Python 3.8 or later that is ready; {there}", one_line=True
    )


def told(nodes: Sequence[Node]) -> str:
    # a failed one has neither
    facts = [
        (node.name, f"{node.implementation} {node.version}".strip(), node.state + ", drained" * node.drained)
        for node in nodes
    ]
    return ", ".join(
        f"{name}: {what} ({state})" if what else f"{name} ({state})" for name, what, state in facts
    )


def processors(node: Node) -> int:
    return node.cpus or 1


def shares(nodes: Sequence[Node], count: int) -> list[Node]:
    """Return the node of each of so many workers, in turn, each host with as many as its processors make."""
    places: list[Node] = []
    while len(places) < count:
        places.append(min(nodes, key=lambda node: (places.count(node) + 1) / processors(node)))
    return places
