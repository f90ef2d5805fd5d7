"""Where processes start, and with which variables: folders as people write them, and an account's own home.

Asks the file system, which may hang: so in the child between fork and exec, or in a thread of Jython's. Paths
and variables are bytes.
"""
import os

from agent import wire

SAFE, OURS = b"PYTHONSAFEPATH", b"execnet"
PATH, BEFORE = b"PYTHONPATH", b"EXECNET_PYTHONPATH"


def where(env, start, asked):
    """The folder to go to. `start`: that of the login, where nobody asks for another and where relative ones
    begin.

    A login that became another account (runuser, sudo, su) may have left it in a folder, and with a HOME,
    that it cannot enter.
    """
    home = env.get(b"HOME")
    if not home or not _opens(home):
        own = _home_of(b"")
        if own and _opens(own):
            env[b"HOME"] = own
    asked = expand(asked, env)
    if asked[:1] == b"/":
        return asked
    base = [folder for folder in (start, env.get(b"HOME"), b"/") if folder and _opens(folder)]
    base = base[0] if base else b"/"
    return base.rstrip(b"/") + b"/" + asked if asked else base


def expand(path, env):
    """`~` and `~user` as a shell has them. Who is not known stays."""
    if path[:1] != b"~":
        return path
    name, slash, rest = path[1:].partition(b"/")
    home = _home_of(name) if name else env.get(b"HOME") or _home_of(name)
    return (home.rstrip(b"/") + slash + rest or b"/") if home else path


def apart(env, host):
    """Have an interpreter not look by itself in the folder that it starts in, where its client says that it
    will put right what that changes (docs/protocol.md, SPAWN). `host`: the variables of all processes
    here."""
    if env.get(SAFE) != OURS:
        return
    if host.get(SAFE):
        env[SAFE] = host[SAFE]
    path = env.get(PATH, b"")
    named = b":".join([entry for entry in path.split(b":") if entry])
    if named != path:
        env[PATH], env[BEFORE] = named, path


def _opens(folder):
    return os.path.isdir(folder) and os.access(folder, os.X_OK)


def _home_of(name):
    """What the system's list of accounts says, of our own without a name; or None."""
    try:
        import pwd
        if name:
            entry = pwd.getpwnam(name if isinstance(name, str) else name.decode("utf-8"))
        else:
            entry = pwd.getpwuid(os.getuid())
        return wire.utf8(entry.pw_dir)
    except Exception:
        return None
