"""The exceptions that user code sees."""
import os
import sys

from .interpreter import TWO


class Error(Exception):
    """Can be replaced as the base of another class, other than Exception: see `known`."""


class DataFormatError(Error):
    """A value cannot be sent, or bytes cannot be read as a value."""


class DumpError(DataFormatError):
    """A value cannot be sent."""


class LoadError(DataFormatError):
    """Bytes cannot be read as a value, or not by this interpreter."""


class RemoteError(Error):
    """The code on the other side failed; its text."""

    def __init__(self, formatted):
        if TWO and not isinstance(formatted, str):
            formatted = formatted.encode("utf-8")
        Exception.__init__(self, formatted)
        self.formatted = formatted

    def __repr__(self):
        return "%s: %s" % (type(self).__name__, self.formatted)


class TimedOut(IOError):
    """Can be replaced as the base of another class, other than IOError."""


class TimeoutError(TimedOut):
    """Nothing arrived within the timeout."""


def known():
    """Make our errors subclasses of those of an `execnet` that user code has imported here and may want to
    catch.

    To be called before one is raised.
    """
    module = sys.modules.get("execnet")
    if module is None:
        return
    for ours in (RemoteError, TimeoutError, DataFormatError, DumpError, LoadError):
        theirs = getattr(module, ours.__name__, None)
        if isinstance(theirs, type) and not issubclass(ours, theirs):
            try:
                ours.__bases__ = (theirs,) + ours.__bases__
            except TypeError:
                pass  # it cannot be a base


def warn(errors):
    """Write errors that nobody will receive to stderr."""
    while errors:
        error = errors.pop(0)
        if error.formatted != "keyboard-interrupted":
            sys.stderr.write("[%d] execnet: an error that nobody received: %r\n" % (os.getpid(), error))
