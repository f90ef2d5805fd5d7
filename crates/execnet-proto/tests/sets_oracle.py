"""Answers what ClusterShell makes of sets and names: JSON in, JSON out."""

import json
import sys

from ClusterShell.NodeSet import NodeSet, NodeSetException


def names(text):
    """The names of a set, or None if it is refused."""
    try:
        return sorted(NodeSet(text, resolver=None))
    except NodeSetException:
        return None


def fold(names):
    """The names as a set."""
    folded = NodeSet()
    for name in names:
        folded.add(name)
    return str(folded)


asked = json.load(sys.stdin)
json.dump(
    {"sets": [names(text) for text in asked["sets"]], "folds": [fold(each) for each in asked["folds"]]},
    sys.stdout,
)
