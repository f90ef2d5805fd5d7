"""`sys.stdin` of an execution: the bytes that arrive on a channel (docs/kernel.md, section 5)."""
import io

from .interpreter import TWO


class Received(io.RawIOBase):

    name, mode = "<stdin>", "rb"

    def __init__(self, channel):
        self._channel = channel
        self._rest = b""

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._rest:
            try:
                self._rest = self._channel.receive()
            except EOFError:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def opened(channel):
    """Return a file for `sys.stdin`: of text, on Python 2 of bytes."""
    file = io.BufferedReader(Received(channel), 65536)
    return file if TWO else io.TextIOWrapper(file, "utf-8", "surrogateescape")
