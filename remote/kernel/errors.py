"""The exceptions that user code sees."""
import os
import sys

from .interpreter import TWO


class Error(Exception):
    """Can be replaced as the base of another class, other than Exception: see `known`."""


class DataFormatError(Error):
    """A value that cannot travel."""


class DumpError(DataFormatError):
    """A value that cannot be sent."""


class LoadError(DataFormatError):
    """Bytes that are no value, or not one of this interpreter."""


class RemoteError(Error):
    """What ended the other side's code, as text."""

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
    """Nothing came in time."""


def known():
    """Makes our errors kinds of those of an `execnet` that user code has imported here, and may want to
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
                pass  # it is none


def warn(errors):
    """Nobody will receive them: they go to stderr."""
    while errors:
        error = errors.pop(0)
        if error.formatted != "keyboard-interrupted":
            sys.stderr.write("[%d] execnet: an error that nobody received: %r\n" % (os.getpid(), error))
