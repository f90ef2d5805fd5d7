"""The config table, the boot id of the host, and how an agent keeps its secret."""
import sys

from agent import wire


class Config(object):
    """The config table (docs/protocol.md, 1.2), parsed."""

    def __init__(self, data):
        self.raw = data
        self.nodes = []
        self.env = []
        values = {}
        for key, value in wire.decode_table(data):
            if key.startswith("node."):
                self.nodes.append((key[5:], value.decode("utf-8")))
            elif key.startswith("env."):
                self.env.append((wire.utf8(key[4:]), value))
            else:
                values[key] = value
        self.key = values["key"].decode("ascii")
        self.secret = values["secret"]
        self.epoch = int(values["epoch"])
        self.linger = float(values.get("linger", 600))
        self.chdir = values.get("chdir") or None
        self.nice = int(values.get("nice") or 0)
        self.keeps = b"keep" in values.get("features", b"").split()  # the daemon understands kept work
        self.end_kept = values.get("end_kept") == b"1"
        self.host = wire.text(values.get("host", b""))
        if not self.key or self.key.strip("0123456789abcdef"):
            raise ValueError("the key is not hexadecimal")


def boot_id():
    """The kernel's id of this boot; 0 if there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except (IOError, OSError):
        return "0"


def hide():
    """Allow no core dump of this process, whose memory contains a secret, and let no process of this account
    read it (Linux). Its children are not affected."""
    prctl(4, 0)


def prctl(option, value):
    """Call prctl of the C library. Return whether that worked; it does not where there is none."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        # `ctypes` is built on this module, and takes five times as long to import
        from _ctypes import call_function, dlopen, dlsym
        return call_function(dlsym(dlopen(None, 0), "prctl"), (option, value, 0, 0, 0)) == 0
    except Exception:
        pass
    try:
        import ctypes
        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0
    except Exception:
        return False
