"""Copy a folder to many places at once; only differences travel."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from queue import Queue
from typing import Any, Callable, Optional, Union

from . import _native, rsync_remote
from .gateway import Gateway
from .gateway_base import Channel, DumpError, RemoteError

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
    with `"ack"` and the size of a file when the target has it. With `verbose` the name of each file is
    printed.
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
        self._destinations: dict[Channel, str] = {}
        self._requests: Queue[tuple[Channel, object]] = Queue()
        self._links: list[tuple[str, str, str]] = []
        self._sizes: dict[str, int] = {}
        self._offered: set[tuple[str, ...]] = set()
        self._wanted: dict[Channel, list[str]] = {}

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
        if not callable(getattr(gateway, "remote_exec", None)):
            raise TypeError(f"a target needs a Gateway, not a {type(gateway).__name__}")
        folder = _folder(destdir, "the folder at a target")
        if not folder:
            raise ValueError(
                "the folder at a target needs a name: '.' is the one that its interpreter works in"
            )
        channel = gateway.remote_exec(rsync_remote)
        channel.reconfigure()
        requests = self._requests
        channel.setcallback(lambda request: requests.put((channel, request)), endmarker=None)
        self._destinations[channel] = folder
        self._send(channel, (folder, options), folder)
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
        self._links, self._sizes, self._offered, self._wanted = [], {}, set(), {}
        try:
            self._send_entry(self._sourcedir, ())
            while self._channels:
                channel, request = self._requests.get()
                if channel in self._channels:
                    self._answer(channel, request)
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
        self._channels, self._destinations, self._requests = {}, {}, Queue()

    def _answer(self, channel: Channel, request: object) -> None:
        if request is None:
            del self._channels[channel]
            why = channel._getremoteerror() or OSError("the other side ended before everything was in place")
            raise self._of_target(channel, why) from None
        pair: tuple[Any, Any] = request if isinstance(request, tuple) and len(request) == 2 else (None, None)
        what, about = pair
        if what == "send" and self._is_offered(about):
            self._send_file(channel, *about)
        elif what == "list_done":
            self._report(
                what="list", size=sum(self._sizes[path] for path in self._wanted.get(channel, ())), to=channel
            )
        elif what == "ack" and isinstance(about, str):
            self._report(what="ack", size=self._sizes.get(about, 0), to=channel)
        elif what == "links":
            for link in self._links:
                self._send(channel, link, link[1])
            self._send(channel, 42, self._sourcedir)
        elif what == "done":
            finished = self._channels.pop(channel)
            if finished:
                finished()
            channel.waitclose()
        else:
            asked = _native.shown(repr(request)[:200], one_line=True)
            raise self._of_target(
                channel, OSError(f"the other side asks for what it was not offered: {asked}")
            )

    def _is_offered(self, about: object) -> bool:
        """Return whether this file was offered: the other side could ask for any file of this machine."""
        if not isinstance(about, tuple) or len(about) != 2 or not isinstance(about[0], list):
            return False
        return all(isinstance(name, str) for name in about[0]) and tuple(about[0]) in self._offered

    def _report(self, what: str, size: int, to: Channel) -> None:
        if self._callback:
            self._callback(what, size, to)

    def _send_file(self, channel: Channel, relative: list[str], checksum: Optional[str]) -> None:
        path = "/".join(relative)
        data: Optional[bytes]
        try:
            with open(os.path.join(self._sourcedir, *relative), "rb") as file:
                data = file.read()
        except OSError:
            # removed meanwhile: the other side keeps what it has
            data = None
        self._sizes[path] = len(data or b"")
        self._wanted.setdefault(channel, []).append(path)
        if data is not None:
            if checksum is not None and checksum == hashlib.md5(data).hexdigest():
                data = None
            else:
                self._report_send_file(channel.gateway, path)
        self._send(channel, data, path)

    def _report_send_file(self, gateway: Gateway, modified_rel_path: str) -> None:
        if self._verbose:
            print(_native.shown(f"{gateway} <= {modified_rel_path}", one_line=True))

    def _send_entry(self, path: str, relative: tuple[str, ...]) -> None:
        """Offer `path` and what is below it, parents first; `relative` are the names from the source to
        it."""
        try:
            # if the source itself is a link, send what it leads to
            about = os.stat(path) if path == self._sourcedir else os.lstat(path)
        except OSError:
            self._offered.add(relative)
            return self._broadcast((None, 0, 0), path)
        if stat.S_ISREG(about.st_mode):
            self._offered.add(relative)
            self._broadcast((about.st_mode, about.st_mtime, about.st_size), path)
        elif stat.S_ISDIR(about.st_mode):
            names = [name for name in os.listdir(path) if self.filter(os.path.join(path, name))]
            self._broadcast([about.st_mode, *names], path)
            for name in names:
                self._send_entry(os.path.join(path, name), (*relative, name))
        elif stat.S_ISLNK(about.st_mode):
            self._links.append(self._link(path))
            self._broadcast(None, path)
        else:
            raise ValueError(f"cannot send {path!r}: it is neither a file, a folder nor a link")

    def _link(self, path: str) -> tuple[str, str, str]:
        target = os.readlink(path)
        name = os.path.relpath(path, self._sourcedir)
        within = os.path.relpath(target, self._sourcedir) if os.path.isabs(target) else os.pardir
        if within.split(os.sep)[0] in (os.curdir, os.pardir):
            return "link", name, target
        return "linkbase", name, within

    def _broadcast(self, message: object, path: str) -> None:
        for channel in self._channels:
            self._send(channel, message, path)

    def _send(self, channel: Channel, message: object, path: str) -> None:
        """Send a message about this path."""
        try:
            channel.send(message)
        except DumpError as error:
            names = (
                [path, *(os.path.join(path, name) for name in message[1:])]
                if isinstance(message, list)
                else [path]
            )
            name = next(filter(_has_surrogates, names), path)
            raise self._of_target(channel, DumpError(f"{name!r}: {error}")) from None
        except OSError as error:
            why = channel._getremoteerror()
            raise self._of_target(channel, why if isinstance(why, RemoteError) else error) from None

    def _of_target(self, channel: Channel, error: Exception) -> Exception:
        """Return the error with its target named."""
        id = _native.shown(channel.gateway.id, one_line=True)
        where = f"the folder {self._destinations[channel]!r} of gateway {id}"
        text = error.raw if isinstance(error, RemoteError) else str(error)
        return type(error)(f"cannot bring {where} up to date: {text}")


def _folder(given: Union[str, os.PathLike[str]], what: str) -> str:
    folder = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(folder, str):
        raise TypeError(f"{what} must be a str or a path, not {type(given).__name__}")
    return folder


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
