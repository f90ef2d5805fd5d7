"""Groups, which stay empty."""
from ._errors import refuse
from .gateway_base import get_execmodel

__all__ = ["Group", "MultiChannel", "default_group", "makegateway", "set_execmodel"]


class Group(object):
    """A group without gateways: none can be made."""

    defaultspec = "popen"

    def __init__(self, xspecs=(), execmodel="thread", output=None):
        self.set_execmodel(execmodel)
        for spec in xspecs:
            self.makegateway(spec)

    def set_execmodel(self, execmodel, remote_execmodel=None):
        """Set how code is run."""
        self.execmodel = get_execmodel(execmodel)
        self.remote_execmodel = get_execmodel(execmodel if remote_execmodel is None else remote_execmodel)

    def __repr__(self):
        return "<Group []>"

    def __getitem__(self, key):
        raise (IndexError if isinstance(key, int) else KeyError)(key)

    def __contains__(self, key):
        return False

    def __len__(self):
        return 0

    def __iter__(self):
        return iter(())

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def makegateway(self, spec=None):
        """Raise RuntimeError."""
        refuse("execnet.makegateway()")

    def allocate_id(self, spec):
        """Raise RuntimeError."""
        refuse("execnet.Group.allocate_id()")

    def remote_exec(self, source, **kwargs):
        """Return no channels, as there are no gateways."""
        return MultiChannel([])

    def terminate(self, timeout=None):
        """Do nothing, as there are no gateways."""


class MultiChannel(object):
    """Many channels, used together: here none."""

    def __init__(self, channels):
        if channels:
            refuse("execnet.MultiChannel()")

    def __len__(self):
        return 0

    def __iter__(self):
        return iter(())

    def __getitem__(self, key):
        raise IndexError(key)

    def __contains__(self, channel):
        return False

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def send_each(self, item):
        """Do nothing, as there are no channels."""

    def receive_each(self, withchannel=False):
        """Return no items, as there are no channels."""
        return []

    def make_receive_queue(self, endmarker=None):
        """Raise RuntimeError."""
        refuse("execnet.MultiChannel.make_receive_queue()")

    def waitclose(self):
        """Do nothing, as there are no channels."""


default_group = Group()
makegateway = default_group.makegateway
set_execmodel = default_group.set_execmodel
