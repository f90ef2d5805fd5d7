"""Folders and variables of processes: paths as people write them, an account's own home, and where programs
are.

Asks the file system, which may hang, so it runs in the child between fork and exec, or in a thread on Jython.
Paths and variables are bytes.
"""
import os

from agent import wire

SAFE, OURS = b"PYTHONSAFEPATH", b"execnet"
PATH, BEFORE = b"PYTHONPATH", b"EXECNET_PYTHONPATH"


def where(env, start, asked):
    """Return the folder to start in. `start` is the folder of the login, the default and the base of relative
    paths.

    A login that changed the account (runuser, sudo, su) may have a folder and a HOME that the new account
    cannot enter.
    """
    home = env.get(b"HOME")
    if not home or not opens(home):
        own = _home_of(b"")
        if own and opens(own):
            env[b"HOME"] = own
    asked = expand(asked, env)
    if asked[:1] == b"/":
        return asked
    base = [folder for folder in (start, env.get(b"HOME"), b"/") if folder and opens(folder)]
    base = base[0] if base else b"/"
    return base.rstrip(b"/") + b"/" + asked if asked else base


def expand(path, env):
    """Expand `~` and `~user` as a shell does. An unknown user stays."""
    if path[:1] != b"~":
        return path
    name, slash, rest = path[1:].partition(b"/")
    home = _home_of(name) if name else env.get(b"HOME") or _home_of(name)
    return (home.rstrip(b"/") + slash + rest or b"/") if home else path


def apart(env, host):
    """Keep an interpreter from looking in its start folder by itself, if its client says that it restores the
    variables (docs/protocol.md, SPAWN). `host`: the variables of all processes here."""
    if env.get(SAFE) != OURS:
        return
    if host.get(SAFE):
        env[SAFE] = host[SAFE]
    path = env.get(PATH, b"")
    named = b":".join([entry for entry in path.split(b":") if entry])
    if named != path:
        env[PATH], env[BEFORE] = named, path


def folders(env):
    """Return the folders where a program is looked up. The default of Python before 3.8 begins with the
    working folder."""
    return [folder or b"." for folder in env.get(b"PATH", b"/bin:/usr/bin").split(b":")]


def found(name, env, start=b""):
    """Return the path of a program, or None. `start`: what relative paths begin at."""
    for folder in [b""] if b"/" in name else folders(env):
        path = os.path.join(start, folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def opens(folder):
    return os.path.isdir(folder) and os.access(folder, os.X_OK)


def _home_of(name):
    """Return the home of an account, or of our own without a name, from the system's list; or None."""
    try:
        import pwd
        if name:
            entry = pwd.getpwnam(name if isinstance(name, str) else name.decode("utf-8"))
        else:
            entry = pwd.getpwuid(os.getuid())
        return wire.utf8(entry.pw_dir)
    except Exception:
        return None
