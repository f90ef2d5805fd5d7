"""The errors, and the one that says what does not work here."""
import os
import sys

INTERRUPT_TEXT = "keyboard-interrupted"


class RemoteError(Exception):
    """The code on the other side failed. The text is the remote traceback, also at `formatted`."""

    def __init__(self, formatted):
        Exception.__init__(self, formatted)
        self.formatted = formatted

    @property
    def raw(self):
        return self.formatted

    def __str__(self):
        return self.formatted

    def __repr__(self):
        return "%s: %s" % (type(self).__name__, self.formatted)

    def warn(self):
        """Write to stderr that nobody received this error."""
        if self.formatted != INTERRUPT_TEXT:
            sys.stderr.write("[%d] Warning: unhandled %r\n" % (os.getpid(), self))


class TimeoutError(IOError):
    """Nothing arrived within the timeout."""


class HostNotFound(Exception):
    """A host could not be reached, or no interpreter could be started there."""


class GatewayDied(EOFError):
    """The interpreter of a gateway ended unexpectedly, or its host is lost."""


class DataFormatError(Exception):
    """A value cannot be sent, or bytes cannot be read as a value."""


class DumpError(DataFormatError):
    """A value cannot be sent. The text names the type and its place in the value."""


class LoadError(DataFormatError):
    """Bytes cannot be read as a value."""


class EndOfData(LoadError, EOFError):
    """The bytes end before the value does."""


for _error in (RemoteError, TimeoutError, GatewayDied, HostNotFound, DataFormatError, DumpError, LoadError):
    # the name under which programs know them
    _error.__module__ = "execnet"


def refuse(what):
    """Raise that this works only with execnet itself."""
    raise RuntimeError("%s works only where execnet is installed: in a gateway with packages there is only "
                       "a stand-in for it, with errors, dumps and loads" % what)
