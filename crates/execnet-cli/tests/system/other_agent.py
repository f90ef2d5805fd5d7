"""Leaves an agent of the next protocol version on the host `build1`, in the place of the network's own agent.

Arguments: the folder remote/, an ssh configuration, the network's name, the file of its secret, and perhaps
words of a command, which this agent keeps under the name `train`. Prints the agent's process id.
"""
import hashlib
import hmac
import os
import struct
import subprocess
import sys

remote, ssh_config, network, secret = sys.argv[1:5]
argv = sys.argv[5:]
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(remote, "tools"), remote]
import bundle  # noqa: E402
from agent import wire  # noqa: E402

with open(secret) as file:
    secret = file.read().strip()


def derived(purpose):
    """What the daemon makes of the network's secret for this host."""
    message = b"\0".join([purpose, network.encode(), b"build1"])
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


key, secret = derived(b"execnet agent place")[:16], derived(b"execnet agent secret")
table = wire.encode_table([(name, value.encode()) for name, value in [
    ("network", network), ("host", "build1"), ("key", key), ("secret", secret), ("epoch", str(1 << 32 | 1)),
    ("linger", "600"), ("agent", ""), ("node.build1", ""), ("features", "keep")]])
other = wire.VERSION + 1
command = "sh -c '%s'" % bundle.script(["python3"])
ssh = subprocess.Popen(["ssh", "-F", ssh_config, "-T", "build1", command], bufsize=0,
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
agent = bundle.stage1() + bundle.bundle([("VERSION = %d" % wire.VERSION, "VERSION = %d" % other)])
ssh.stdin.write(agent + b"%08d" % len(table) + table)
marker = wire.MARKER[:-2] + struct.pack(">H", other)
said = b""
while marker not in said or len(said) < said.index(marker) + len(marker) + 33:
    more = ssh.stdout.read(1)
    assert more, said
    said += more
# HELLO: kind and length 4, incarnation 16, epoch 8, resume 1, pid
pid, = struct.unpack(">I", said[-4:])
if argv:
    incarnation = said[-29:-13]
    ssh.stdin.write(wire.frame(
        wire.SPAWN, id=b"i" * 16, attempt=1, incarnation=incarnation, owner=b"o" * 16, role=0,
        stdout_limit=16384, stderr_limit=16384, host="build1", node="", chdir="",
        argv=[word.encode() for word in argv], env=[], options=[("keep", b"train 600 last=4096 last=4096")]))
    started = struct.pack(">I", wire.STARTED << 24 | 20) + b"i" * 16
    while started not in said:
        more = ssh.stdout.read(1)
        assert more, said
        said += more
print(pid)
ssh.kill()
