"""The exceptions of the package."""

from __future__ import annotations

import os
import sys

from . import _native

INTERRUPT_TEXT = "keyboard-interrupted"


class RemoteError(Exception):
    """The code on the other side failed. The text is the remote traceback, also at `formatted`.

    Text from a host may try to steer the terminal that shows it. So control and invisible characters are
    escaped in the text and in `repr`: `\\x1b`, `\\u202e`. The unescaped text is at `raw`.
    """

    formatted: str
    """The remote traceback, safe to print."""
    raw: str
    """The remote traceback, unescaped. Do not print it."""

    def __init__(self, formatted: str) -> None:
        super().__init__()
        self.raw = formatted
        self.formatted = _native.shown(formatted)

    def __str__(self) -> str:
        return self.formatted

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.formatted}"

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str]]:
        return type(self), (self.raw,)

    def warn(self) -> None:
        """Write to stderr that nobody received this error."""
        if self.raw != INTERRUPT_TEXT:
            sys.stderr.write(f"[{os.getpid()}] Warning: unhandled {self!r}\n")


class TimeoutError(OSError):
    """Nothing arrived within the timeout."""


class HostNotFound(Exception):
    """A host could not be reached, or no interpreter could be started there."""


class GatewayDied(EOFError):
    """The interpreter of a gateway ended unexpectedly, or its host is lost: what it would still have sent is
    missing. The text says what is known about the cause."""


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
