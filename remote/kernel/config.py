"""The settings of CONFIG."""
import os
import sys
import zlib

from .interpreter import JYTHON, native


def follow(config, *pipe):
    """Apply them, before HELLO. `pipe`: how the client is reached, and what was read behind CONFIG. Return
    what HELLO says of packages, the bytes that are still to be read, and what a thread does then."""
    for key, value in (config.get("env") or {}).items():
        os.environ[native(key)] = native(value)
    if config.get("silent"):
        _silence()
    if config.get("dont_write_bytecode"):
        sys.dont_write_bytecode = True
    folder = config.get("chdir")
    if folder:
        folder = os.path.expanduser(native(folder))
        if folder.startswith("~"):
            raise OSError("no account has the home that %s begins with" % folder)
        if not os.path.isdir(folder):
            _do("cannot make the folder %s" % folder, os.makedirs, folder)
        _do("cannot enter the folder %s" % folder, os.chdir, folder)
    if config.get("nice"):
        if hasattr(os, "nice"):
            _do("cannot change the niceness by %d" % config["nice"], os.nice, config["nice"])
        elif os.system("renice -n %d -p %d >/dev/null" % (config["nice"], os.getpid())):
            raise OSError("cannot change the niceness")
    asked = config.pop("packages", None)
    if asked:
        sys.meta_path[0].add(zlib.decompress(asked["bundle"]), 0)
        from . import packages
        return packages.prepare(asked, *pipe)
    return None, pipe[-1], None


def keep(settings, source, sink):
    """Return what takes a kernel's place if it is kept (docs/kernel.md, section 10)."""
    if JYTHON:
        raise OSError("Jython cannot be kept: it has no sockets that programs could enter by")
    sys.meta_path[0].add(zlib.decompress(settings.pop(u"kept")), 0)
    from . import entry
    return entry.take_over(source, sink)


def _do(words, action, argument):
    try:
        action(argument)
    except EnvironmentError:
        error = sys.exc_info()[1]
        raise OSError("%s: %s" % (words, error.strerror or error))


def _silence():
    """Drop what is written to stdout."""
    if JYTHON:
        from . import jvm
        jvm.silence()
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    if null > 2:
        os.close(null)
