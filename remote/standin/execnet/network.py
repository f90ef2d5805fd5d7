"""Names of networks."""
from ._errors import refuse

__all__ = ["Network", "Node", "connect"]


class Network(object):
    """A connection to a running network."""

    def __init__(self, *args, **kwargs):
        refuse("execnet.Network()")


class Node(object):
    """An interpreter of a network."""

    def __init__(self, *args, **kwargs):
        refuse("execnet.Node()")


def connect(*args, **kwargs):
    """Raise RuntimeError."""
    refuse("execnet.connect()")
