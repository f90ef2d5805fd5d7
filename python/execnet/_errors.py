"""The exceptions of the package."""

from __future__ import annotations

import os
import sys

from . import _native

INTERRUPT_TEXT = "keyboard-interrupted"


class RemoteError(Exception):
    """What went wrong in the code on the other side: its text is the remote traceback, also at `formatted`.

    What a host says may be meant for the terminal that shows it. So in the text, as in `repr`, controls and characters
    that are not seen are escaped: `\\x1b`, `\\u202e`. The text as it came from there is at `raw`.
    """

    formatted: str
    """The remote traceback, fit for a terminal."""
    raw: str
    """The remote traceback as it came. Do not print it."""

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
        """Says on stderr that nobody asked for this error."""
        if self.raw != INTERRUPT_TEXT:
            sys.stderr.write(f"[{os.getpid()}] Warning: unhandled {self!r}\n")


class TimeoutError(OSError):
    """Nothing came in the time that was given."""


class HostNotFound(Exception):
    """A host could not be reached, or nobody there could be started."""


class GatewayDied(EOFError):
    """The interpreter of a gateway has ended without being told to, or its host is lost: what it would have sent is
    missing. The text says what is known of it."""


class DataFormatError(Exception):
    """A value cannot be sent, or bytes are no value."""


class DumpError(DataFormatError):
    """A value of a type that cannot be sent. The text names the type and where in the value it sits."""


class LoadError(DataFormatError):
    """Bytes that are no value."""


class EndOfData(LoadError, EOFError):
    """Bytes that end before the value does."""


for _error in (RemoteError, TimeoutError, GatewayDied, HostNotFound, DataFormatError, DumpError, LoadError):
    # as programs know them
    _error.__module__ = "execnet"
