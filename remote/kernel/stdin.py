"""`sys.stdin` of an execution: the bytes that come on a channel (docs/kernel.md, section 5)."""
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
    """What this interpreter has for `sys.stdin`: text, or on Python 2 bytes."""
    file = io.BufferedReader(Received(channel), 65536)
    return file if TWO else io.TextIOWrapper(file, "utf-8", "surrogateescape")
