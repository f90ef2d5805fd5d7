"""Makes packages importable here and in children."""
import os
import sys

from . import door

JYTHON = sys.platform.startswith("java")


def activate(folders, isolate, beside, place):
    """Put the folders of packages on `sys.path`, and their scripts on PATH. Return the environment variables
    under which children see them; they are set here, too.

    `beside`: entries within the current folder that go before them, and may not exist yet. `isolate`: what
    is installed here leaves `sys.path`. `place`: writes files (a dict of relative path to bytes) into a
    folder of its own, and returns that; None if it cannot.
    """
    folders = [_native(folder) for at, folder in enumerate(folders) if folder not in folders[:at]]
    how = {
        "folders": folders,
        "plain": [folder for folder in folders if not _has_pth(folder)],
        "claimed": [name for name in door.CLAIMED if _has(folders, name)],
        "beside": [os.path.normpath(os.path.join(os.getcwd(), _native(entry))) for entry in beside],
        "isolate": bool(isolate),
    }
    variables = {}
    call = "\nenter(%s, **%s)\n" % (_literal(door.this_interpreter()), _literal(how))
    folder = place({"sitecustomize.py": _source() + call.encode("ascii")})
    if folder is not None:
        name = "JYTHONPATH" if JYTHON else "PYTHONPATH"
        variables[name] = _before(os.environ.get(name), [_native(folder)])
    scripts = [path for path in [os.path.join(folder, "bin") for folder in folders] if os.path.isdir(path)]
    if scripts:
        variables["PATH"] = _before(os.environ.get("PATH", os.defpath), scripts)
    if sys.executable:
        known = not JYTHON or os.path.exists(sys.executable)  # a guess of its own
        variables["EXECNET_PYTHON"] = sys.executable if known else "jython"
    os.environ.update(variables)
    kernels = sys.meta_path and hasattr(sys.meta_path[0], "sources")
    door.apply(at=1 if kernels else 0, **how)
    return variables


def _native(text):
    return text.encode("utf-8") if bytes is str and not isinstance(text, str) else text


def _has_pth(folder):
    return os.path.isdir(folder) and any([name.endswith(".pth") for name in os.listdir(folder)])


def _has(folders, name):
    try:
        from _frozen_importlib_external import PathFinder
    except ImportError:
        return any([os.path.exists(os.path.join(folder, name + end))
                    for folder in folders for end in (".py", "/__init__.py")])
    spec = PathFinder.find_spec(name, folders)
    return spec is not None and spec.loader is not None


def _literal(value):
    """Return a value as Python source in ASCII."""
    return repr(value) if bytes is str else ascii(value)  # noqa: F821


def _source():
    """Return the source of the door."""
    for finder in sys.meta_path:
        source = getattr(finder, "sources", {}).get(door.__name__)
        if source is not None:
            return source
    with open(os.path.splitext(door.__file__)[0] + ".py", "rb") as file:
        return file.read()


def _before(value, entries):
    # an empty entry would be the current folder
    return os.pathsep.join(entries + ([value] if value else []))
