"""How a program learns how far the packages of its gateways have come."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Callable, Optional, Union

from . import _native

OnProgress = Union[Callable[[_native.Transfer], object], bool, None]

LONG = 1.0
"""Seconds; what takes less is not told."""

STILL = 10.0
"""Seconds between two lines about one step, where a line cannot be written over."""


def check(on_progress: object) -> None:
    """Raise TypeError if the argument is neither callable nor a bool nor None."""
    if not (on_progress is None or isinstance(on_progress, bool) or callable(on_progress)):
        kind = type(on_progress).__name__
        raise TypeError(f"on_progress must be callable with a Transfer, or True or False, not a {kind}")


@contextlib.contextmanager
def shown(launchers: list[_native.Launcher], on_progress: OnProgress) -> Iterator[None]:
    """Tell the progress of these gateways' packages while they are opened."""
    check(on_progress)
    found = (launcher.progress() for launcher in launchers)
    under_way = [progress for progress in found if progress is not None]
    threads = []
    try:
        if on_progress:
            for progress in under_way:
                threads.append(_start(progress, on_progress))
        yield
    finally:
        for progress in under_way:
            progress.end()
        for thread in threads:
            # a function of the program may wait for this thread
            if thread is not None and on_progress is True:
                thread.join()


def _start(progress: _native.Progress, on_progress: OnProgress) -> Optional[threading.Thread]:
    args = (progress, on_progress if callable(on_progress) else None)
    thread = threading.Thread(target=_pass_on, args=args, name="execnet packages", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # no more threads can be started, or the program is ending: the packages arrive without words
        return None
    return thread


def _pass_on(progress: _native.Progress, on_progress: Optional[Callable[[_native.Transfer], object]]) -> None:
    entry = Entry()
    try:
        for transfer in iter(progress.next, None):
            try:
                if on_progress is None:
                    display.show(entry, transfer)
                else:
                    on_progress(transfer)
            except BaseException:
                traceback.print_exc()
    finally:
        display.end(entry)


class Entry:
    """A gateway whose packages are under way."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        # the name of its node, and its step
        self.at: Optional[tuple[str, str]] = None


class Step:
    """A step at which gateways of a node are."""

    def __init__(self, due: float) -> None:
        # when the next line is due
        self.due = due
        self.entries: set[Entry] = set()


class Display:
    """Writes to stderr: on a terminal one line for all, which is written over; elsewhere a line now and then
    for each step at which gateways of a node are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: set[str] = set()
        self._entries: dict[Entry, str] = {}
        self._steps: dict[tuple[str, str], Step] = {}
        self._drawn = 0

    def show(self, entry: Entry, transfer: _native.Transfer) -> None:
        """Show the state of a gateway, and each note once."""
        now = time.monotonic()
        with self._lock:
            for note in transfer.notes:
                if note not in self._notes:
                    self._notes.add(note)
                    self._write(f"execnet: {_native.shown(note, one_line=True)}\n")
            at = (where(transfer), transfer.step)
            if entry.at != at:
                self._leave(entry)
                entry.at = at
            step = self._steps.setdefault(at, Step(now + LONG))
            step.entries.add(entry)
            if now - entry.began < LONG:
                return
            if is_terminal():
                self._entries[entry] = words(transfer)
                self._draw()
            elif now >= step.due:
                step.due = now + STILL
                self._write(f"execnet: {words(transfer)}\n")

    def end(self, entry: Entry) -> None:
        """Forget a gateway: it is open, or cannot be opened."""
        with self._lock:
            self._leave(entry)
            if self._entries.pop(entry, None) is not None:
                self._draw()

    def _leave(self, entry: Entry) -> None:
        if entry.at is not None:
            step = self._steps[entry.at]
            step.entries.discard(entry)
            if not step.entries:
                del self._steps[entry.at]
            entry.at = None

    def _draw(self) -> None:
        first, more = next(iter(self._entries.values()), ""), len(self._entries) - 1
        line = f"execnet: {first}" if first else ""
        line += f" (and {more} more)" if more > 0 else ""
        width = columns() - 1
        if len(line) > width:
            line = line[: max(width - 1, 0)] + "…"
        self._put(f"\r{line}{' ' * (self._drawn - len(line))}" + ("" if line else "\r"))
        self._drawn = len(line)

    def _write(self, line: str) -> None:
        """Write a line that stays, above the one that is written over."""
        if self._drawn:
            self._put(f"\r{' ' * self._drawn}\r")
            self._drawn = 0
        self._put(line)

    def _put(self, text: str) -> None:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()


display = Display()


def words(transfer: _native.Transfer) -> str:
    """Return the state in words."""
    return f"{_native.shown(where(transfer), one_line=True)}: {_step(transfer)}"


def where(transfer: _native.Transfer) -> str:
    """Return the name of a gateway's node."""
    return "this machine" if transfer.node is None else transfer.node.name


def _step(transfer: _native.Transfer) -> str:
    if transfer.step == "sending" and transfer.of_files:
        sizes = f"{size(transfer.bytes)} of {size(transfer.of_bytes)}"
        return f"sending packages, {sizes}, {transfer.files} of {transfer.of_files} files"
    if transfer.step == "waiting":
        return f"waiting for another gateway: {_native.shown(transfer.waits_for or '', one_line=True)}"
    if transfer.step == "resolving":
        return "resolving packages with uv"
    return f"{'sending' if transfer.step == 'sending' else 'reading'} packages"


def size(count: int) -> str:
    """Return a number of bytes as people write it, with no more than three digits."""
    if count < 1024:
        return f"{count} B"
    number, unit = count / 1024, "KiB"
    for following in ("MiB", "GiB"):
        if number >= 999.5:
            number, unit = number / 1024, following
    return f"{number:.{1 if number < 9.95 else 0}f} {unit}"


def is_terminal() -> bool:
    """Return whether a line on stderr can be written over."""
    return sys.stderr is not None and sys.stderr.isatty()


def columns() -> int:
    """Return how many characters a line of the terminal has."""
    import shutil

    return shutil.get_terminal_size().columns
