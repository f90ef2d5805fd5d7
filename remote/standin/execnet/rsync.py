"""The base of classes that copy a folder through gateways, which there are none of here."""
from ._errors import refuse

__all__ = ["RSync"]


class RSync(object):
    """Copies a folder to many places; here to none."""

    def __init__(self, sourcedir, callback=None, verbose=True):
        if callback is not None and not callable(callback):
            raise TypeError("not callable: %r" % (callback,))

    def filter(self, path):
        """Return whether to send this path."""
        return True

    def add_target(self, gateway, destdir, finishedcallback=None, **options):
        """Raise RuntimeError."""
        refuse("execnet.RSync.add_target()")

    def send(self, raises=True):
        """Raise OSError, as there is no target, or do nothing if `raises` is false."""
        if raises:
            raise OSError("there is no target: add_target() comes before each send()")
