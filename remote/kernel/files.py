"""`channel.makefile()`: a channel as a file."""


class ChannelFile(object):

    def __init__(self, channel, proxyclose=False):
        self.channel = channel
        self._proxyclose = proxyclose

    def __repr__(self):
        return ("<%s %d %s>" % (type(self).__name__, self.channel.id,
                                "closed" if self.channel.isclosed() else "open"))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def isatty(self):
        return False

    def close(self):
        """Close the channel, if made with `proxyclose`."""
        if self._proxyclose:
            self.channel.close()


class ChannelFileWrite(ChannelFile):
    """A file whose writes send one value each."""

    def write(self, out):
        self.channel.send(out)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        pass


class ChannelFileRead(ChannelFile):
    """A file that reads text, or bytes, as the first value is."""

    _buffer = None
    _ended = False

    def read(self, n=-1):
        """Return `n` characters or bytes, or everything until the channel is closed."""
        while n < 0 or self._buffer is None or len(self._buffer) < n:
            if not self._more():
                break
        return self._take(n)

    def readline(self):
        at = 0
        while True:
            if self._buffer:
                end = self._buffer.find(b"\n" if isinstance(self._buffer, bytes) else u"\n", at)
                if end >= 0:
                    return self._take(end + 1)
                at = len(self._buffer)
            if not self._more():
                return self._take(-1)

    def __iter__(self):
        return iter(self.readline, type(self._buffer)() if self._buffer is not None else "")

    def _more(self):
        if self._ended:
            return False
        try:
            part = self.channel.receive()
        except EOFError:
            self._ended = True
            self.close()
            return False
        self._buffer = part if self._buffer is None else self._buffer + part
        return True

    def _take(self, n):
        buffer = self._buffer
        if buffer is None:
            return ""
        if n < 0:
            n = len(buffer)
        self._buffer = buffer[n:]
        return buffer[:n]


KINDS = {"r": ChannelFileRead, "w": ChannelFileWrite}
