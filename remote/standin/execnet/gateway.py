"""The name of a gateway's class."""
from ._errors import refuse

__all__ = ["Gateway"]


class Gateway(object):
    """A gateway. The `channel.gateway` of a gateway's code is not one of these."""

    def __init__(self, *args, **kwargs):
        refuse("execnet.Gateway()")
