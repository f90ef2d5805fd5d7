"""Copy a folder to many places at once; only differences travel. The engine is that of `execnet copy`."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, Callable, Optional, Union

from . import _native
from .gateway import Gateway
from .gateway_base import Channel, RemoteError

Callback = Callable[[str, int, Channel], object]


class RSync:
    """Copies a folder with its content, or a file, to one or many places.

    A file that exists there with the same size and time is skipped; with the same size and another time only
    its checksum travels. Links into the folder lead into the copy; other links are copied as they are.
    Override `filter` in a subclass to leave files out.

        rsync = execnet.RSync("src")
        for gateway in group:
            rsync.add_target(gateway, "/tmp/src", delete=True)
        rsync.send()

    `callback(what, size, channel)` is called with `"list"` and the number of bytes that a target needs, and
    with `"ack"` and the size of each such file when the target has them. With `verbose` the name of each file
    that is sent is printed.
    """

    def __init__(
        self,
        sourcedir: Union[str, os.PathLike[str]],
        callback: Optional[Callback] = None,
        verbose: bool = True,
    ) -> None:
        if callback is not None and not callable(callback):
            raise TypeError(f"not callable: {callback!r}")
        self._sourcedir = _folder(sourcedir, "the folder to send")
        self._verbose = verbose
        self._callback = callback
        self._channels: dict[Channel, Optional[Callable[[], object]]] = {}
        self._targets: dict[Channel, tuple[str, bool]] = {}
        self._needed: dict[Channel, int] = {}

    def filter(self, path: str) -> bool:
        """Return whether to send this path; True unless a subclass overrides it."""
        return True

    def add_target(
        self,
        gateway: Gateway,
        destdir: Union[str, os.PathLike[str]],
        finishedcallback: Optional[Callable[[], object]] = None,
        **options: bool,
    ) -> None:
        """Add a folder on the other side of a gateway. With `delete=True`, delete there what is not in the
        source.

        `finishedcallback()` is called when the copy is complete.
        """
        unknown = set(options) - {"delete"}
        if unknown:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        if not callable(getattr(gateway, "_copy_receiver", None)):
            raise TypeError(f"a target needs a Gateway, not a {type(gateway).__name__}")
        folder = _folder(destdir, "the folder at a target")
        if not folder:
            raise ValueError(
                "the folder at a target needs a name: '.' is the one that its interpreter works in"
            )
        channel = gateway._copy_receiver()
        self._targets[channel] = folder, bool(options.get("delete"))
        self._channels[channel] = finishedcallback

    def send(self, raises: bool = True) -> None:
        """Send the folder to all targets, and wait until the copies are complete.

        Without a target, raise `OSError`, or do nothing if `raises` is false. A call uses the targets up,
        unless there is nothing to send. A file does not replace a folder: that is a `RemoteError`.
        """
        if not self._channels:
            if raises:
                raise OSError("there is no target: add_target() comes before each send()")
            return
        self._sourcedir = self._sourcedir.rstrip(os.sep) or os.sep
        self._check_source()
        channels = list(self._channels)
        try:
            listing = _native.Listing(self._sourcedir, self.filter)
            targets = [(to, os.fsencode(folder), delete) for to, (folder, delete) in self._targets.items()]
            copies = _native.Copies(listing, targets)
            try:
                while self._channels:
                    number, what, about = copies.next()
                    self._hear(channels[number], what, about)
            finally:
                copies.end()
        finally:
            self._give_up()

    def _check_source(self) -> None:
        if not os.path.exists(self._sourcedir):
            raise FileNotFoundError(errno.ENOENT, "there is no folder to send", self._sourcedir)
        if not os.path.isdir(self._sourcedir) and not os.path.isfile(self._sourcedir):
            raise NotADirectoryError(errno.ENOTDIR, "only a folder can be sent", self._sourcedir)

    def _give_up(self) -> None:
        """Close the channels that are left after an error: their targets have a part, and get nothing
        more."""
        for channel in self._channels:
            with contextlib.suppress(OSError):
                channel.close()
        self._channels, self._targets, self._needed = {}, {}, {}

    def _hear(self, channel: Channel, what: str, about: Any) -> None:
        if what == "sends":
            self._report_send_file(channel.gateway, about)
        elif what == "list":
            self._needed[channel] = about
            self._list_done(channel)
        elif what == "ack":
            if self._callback:
                self._callback("ack", about, channel)
        elif what == "done":
            self._done(channel)
        else:
            raise self._of_target(channel, about) from None

    def _report_send_file(self, gateway: Gateway, modified_rel_path: str) -> None:
        if self._verbose:
            print(_native.shown(f"{gateway} <= {modified_rel_path}", one_line=True))

    def _list_done(self, channel: Channel) -> None:
        if self._callback:
            self._callback("list", self._needed[channel], channel)

    def _done(self, channel: Channel) -> None:
        finished = self._channels.pop(channel)
        if finished:
            finished()
        channel.waitclose()

    def _of_target(self, channel: Channel, error: Exception) -> Exception:
        """Return the error with its target named."""
        id = _native.shown(channel.gateway.id, one_line=True)
        where = f"the folder {self._targets[channel][0]!r} of gateway {id}"
        text = error.raw if isinstance(error, RemoteError) else str(error)
        return type(error)(f"cannot bring {where} up to date: {text}")


def _folder(given: Union[str, os.PathLike[str]], what: str) -> str:
    folder = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(folder, str):
        raise TypeError(f"{what} must be a str or a path, not {type(given).__name__}")
    return folder
