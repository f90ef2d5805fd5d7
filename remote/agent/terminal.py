"""A pseudo-terminal as the stdio of a process (docs/protocol.md, section 4, "Terminals").

Loaded when the first one is asked for. `family` moves the bytes, as for pipes; here is what is different
about a terminal: how it begins, the end of its input, its size, who gets a signal, and its end.
"""
import errno
import fcntl
import os
import struct
import sys
import termios

from agent import children
from agent.lifecycle import local_signals, signal
from agent.loop import AGAIN

TO_FOREGROUND = [getattr(signal, "SIG" + name) for name in ("INT", "QUIT", "HUP", "TSTP", "WINCH")]
WINCH = 28  # its number on Linux
END = b"\x04"  # what ends the input, unless stty says otherwise
IUTF8 = {"linux": 0x4000, "darwin": 0x4000}  # not in `termios` before 3.14
LATER = 0.1  # seconds after which a terminal that was hung up on the host is tried again
LAST = 0.02  # seconds after which nothing more comes from a terminal that nobody has open


class Terminal(object):
    """The agent's end. `input` and `output` are two fds of the same master, for the loop; `slave` stays open
    until the end, so that the master gives everything that was written."""

    def __init__(self, rows, columns, env):
        self.input, self.slave = os.openpty()  # does not make it the agent's own terminal
        try:
            self.output = os.dup(self.input)
        except OSError:
            os.close(self.input)
            os.close(self.slave)
            raise
        for fd in (self.input, self.output, self.slave):
            children.set_cloexec(fd)
        children.set_nonblocking(self.input)
        self.unfinished = False  # its input is in the middle of a line
        self.tail = b""  # of what ends its input, still to be written
        self.ended = False
        self.silent = False  # nothing came when it was drained
        self.resting = False  # it is tried again later
        self.resize(rows, columns)
        if _is_utf8(env):
            self._erase_characters()

    def _erase_characters(self):
        """Let Backspace remove a whole character of UTF-8."""
        flag = IUTF8.get(sys.platform.rstrip("2"))
        if flag is not None:
            try:
                modes = termios.tcgetattr(self.slave)
                modes[0] |= flag
                termios.tcsetattr(self.slave, termios.TCSANOW, modes)
            except termios.error:
                pass

    def close(self):
        """Close everything, before a process has it."""
        os.close(self.input)
        os.close(self.output)
        self.leave()

    def leave(self):
        """Let go of the side of the process."""
        if self.slave is not None:
            os.close(self.slave)
            self.slave = None

    def become(self):
        """Make it the terminal of this process, which leads a session."""
        if hasattr(termios, "TIOCSCTTY"):
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        else:
            os.close(os.open(os.ttyname(self.slave), os.O_RDWR))
        for fd in (0, 1, 2):
            os.dup2(self.slave, fd)

    def resize(self, rows, columns):
        """Set the size. Return whether it is another one."""
        fresh = struct.pack("HHHH", rows, columns, 0, 0)
        before = fcntl.ioctl(self.output, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(self.output, termios.TIOCSWINSZ, fresh)
        return fresh[:4] != before[:4]

    def foreground(self):
        """Return the process group that has the terminal, or None."""
        try:
            group = os.tcgetpgrp(self.output)
        except OSError:
            return None
        return group if group > 1 else None

    def wrote(self, chunk, size):
        """Note that this much of a chunk was written to it."""
        if size:
            self.unfinished = bytearray(chunk[size - 1:size]) not in (b"\n", b"\r", END)

    def finish(self):
        """Write what ends the input: twice if its line is not finished, as the first one ends the line.
        Return False if there is no room."""
        if not self.ended:
            self.ended = True
            try:
                end = termios.tcgetattr(self.slave)[6][termios.VEOF]
            except (termios.error, OSError):
                end = END
            if end in (b"\0", b"\xff"):  # it is switched off
                end = END
            self.tail = end * (2 if self.unfinished else 1)
        while self.tail:
            try:
                self.tail = self.tail[os.write(self.input, self.tail):]
            except OSError as error:
                if error.errno in AGAIN:
                    return False
                self.tail = b""
        return True


def opened(options, env):
    """Return the Terminal that a SPAWN's options ask for, or None. ValueError: no such size."""
    values = [value for key, value in options if key == "terminal"]
    if not values:
        return None
    rows, columns = _size(values[-1])
    return children.with_fds(lambda: Terminal(rows, columns, env))


def _size(value):
    try:
        rows, columns = [int(number) for number in value.decode("ascii").split(" ")]
        if 0 <= rows < 65536 and 0 <= columns < 65536:
            return rows, columns
    except ValueError:
        pass
    raise ValueError("cannot make a terminal of size %s" % value.decode("utf-8", "replace"))


def resize(child, rows, columns):
    """Set the size. Who is in the foreground hears of it even if it is the same."""
    if child.terminal.slave is not None:
        try:
            if not child.terminal.resize(rows, columns):
                send(child, [WINCH])
        except EnvironmentError:
            pass  # it was hung up on the host


def send(child, numbers):
    """Send signals, given by their Linux numbers: those of keys go to the foreground, as keys do."""
    for number, to_group in local_signals(numbers):
        group = child.terminal.foreground() if number in TO_FOREGROUND and child.terminal.slave else None
        if group is not None and group != child.pid:
            children.kill(-group, number)
        elif child.alive:
            children.kill(-child.pid if to_group or group is not None else child.pid, number)


def failed(family, child, error):
    """Reading or writing it failed. Return whether nothing more will come."""
    terminal = child.terminal
    if child.draining and (terminal.silent or error.errno not in AGAIN + (errno.EIO,)):
        return True
    # on some systems what was written last arrives after the first of these errors
    terminal.silent = child.draining
    if not terminal.resting and (child.draining or error.errno not in AGAIN):
        # while the process lives, somebody on the host hung it up, and may open it again
        terminal.resting = True
        for fd in (child.stdin, child.outs[1]):
            if fd is not None:
                family.loop.disarm(fd)
        family.loop.after(LAST if child.draining else LATER, _try_again, family, child)
    return False


def _try_again(now, family, child):
    child.terminal.resting = False
    if child.process is not None:
        if child.outs[1] is not None:
            family._want(child, 1, now)
        if child.stdin is not None:
            family._feed(child)


def _is_utf8(env):
    for name in (b"LC_ALL", b"LC_CTYPE", b"LANG"):
        if env.get(name):
            return b"utf8" in env[name].lower().replace(b"-", b"")
    return False
