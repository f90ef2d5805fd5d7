"""What packages change in an interpreter: `sys.path` and how modules are found.

It runs in the kernel, and in children as `sitecustomize` of a folder of its own on PYTHONPATH, the door:
with a call of `enter` at its end. A child may be any Python, so this is for all of them, and imports
nothing else of ours.
"""
import os
import sys

# what pytest-xdist copies into the folder that a worker imports from first
CLAIMED = ("pytest", "_pytest", "py")


class Finder(object):
    """Finds names that come from the packages wherever else they are, too."""

    def __init__(self, folders, claimed, beside):
        self.folders = folders
        self.claimed = claimed
        self.awaited = [entry for entry in beside if not os.path.isdir(entry)]
        self.kept = []  # modules that are forgotten, but whose code may still be in use

    def find_spec(self, name, path=None, target=None):
        if path is None and self.looks_for(name):
            from _frozen_importlib_external import PathFinder
            return PathFinder.find_spec(name, self.folders)

    def find_module(self, name, path=None):  # Python 2
        if path is None and self.looks_for(name):
            from pkgutil import ImpImporter
            for folder in self.folders:
                loader = ImpImporter(folder).find_module(name)
                if loader is not None:
                    return loader

    def looks_for(self, name):
        if self.awaited:
            # the interpreter remembers that a folder is missing
            appeared = [entry for entry in self.awaited if os.path.isdir(entry)]
            for entry in appeared:
                sys.path_importer_cache.pop(entry, None)
            self.awaited = [entry for entry in self.awaited if entry not in appeared]
        if name == "coverage":
            _call_installed([folder for folder in self.folders if os.path.isdir(os.path.join(folder, name))])
        return name in self.claimed


def this_interpreter():
    """Return what an interpreter has in common with its children that are the same."""
    implementation = getattr(sys, "implementation", None)
    tag = getattr(implementation, "cache_tag", None) or sys.version
    return [sys.prefix, tag, getattr(sys, "abiflags", "")]


def enter(interpreter, isolate, **how):
    """Apply packages in a child, if it is the kernel's interpreter. Run the `sitecustomize` that there would
    be without ours, and if there is none, say so."""
    here = os.path.dirname(__file__)
    ours = sys.modules.pop(__name__)  # Python 2 clears a module that nothing refers to
    sys.path[:] = [entry for entry in sys.path if entry != here]
    error = None
    try:
        import sitecustomize  # noqa: F401
    except BaseException:
        error = sys.exc_info()[1]
    # outside the handler: errors of `.pth` files have nothing to do with that one
    if this_interpreter() == interpreter:
        site = sys.modules.get("site")
        if isolate and getattr(site, "ENABLE_USER_SITE", False):
            site.execusercustomize()  # while it can be found
        apply(isolate=isolate, at=0, **how).kept.append(ours)
    if error is not None:
        raise error


def apply(folders, plain, claimed, beside, isolate, at):
    """Put folders on `sys.path`, behind the standard library and before what is installed here.

    `plain`: those without `.pth` files. `beside`: entries that go before them, and may not exist yet.
    `isolate`: take away what is installed here. `at`: the finder's place in `sys.meta_path`.
    """
    finder = Finder(folders, claimed, beside)
    end = _end_of_library(sys.path)
    library, installed = sys.path[:end], sys.path[end:]
    if isolate:
        gone = installed + [entry for entry in library if _is_site(entry)]
        library, installed = [entry for entry in library if not _is_site(entry)], []
        _drop_finders(gone)
    else:
        gone = installed
    _forget(gone, None if isolate else folders, finder.kept)
    for entry in beside + folders:
        sys.path_importer_cache.pop(entry, None)
    sys.path[:] = library + [entry for entry in beside + folders if entry not in library] + installed
    if "importlib.metadata" in sys.modules:
        sys.modules["importlib"].invalidate_caches()
    sys.meta_path.insert(at, finder)
    for folder in folders:
        if folder not in plain:
            _run_pth(folder)
    return finder


def _end_of_library(path):
    """Return how many entries there are up to the last one of the standard library."""
    homes = [os.path.dirname(getattr(os, "__file__", None) or "/")]
    for name in ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix", "real_prefix"):
        for library in ("lib", "lib64"):
            homes.append("%s/%s/python%d.%d" % ((getattr(sys, name, ""), library) + sys.version_info[:2]))
    end = 0
    for at, entry in enumerate(path):
        entry = "%s/" % (entry,)
        for home in homes:
            if len(home) > 1 and entry.startswith(home + "/") and not _is_site(entry[len(home):]):
                end = at + 1
        if entry.endswith(("/lib-dynload/", "classpath__/", "classpath__//")):
            end = at + 1
    # a frozen program
    return end or len(path)


def _is_site(entry):
    entry = "%s/" % (entry,)
    return "/site-packages/" in entry or "/dist-packages/" in entry


def _inside(path, folders):
    return any([path.startswith("%s/" % (folder,)) for folder in folders])


def _is_of(module, folders):
    """Return whether a module, or a part of a namespace package, is in one of the folders."""
    space = getattr(module, "__dict__", None) or {}  # attributes of its own may import more
    try:
        return any([_inside("%s/" % (place,), folders)
                    for place in [space.get("__file__")] + list(space.get("__path__") or ())])
    except Exception:  # it is no ordinary module
        return False


def _drop_finders(gone):
    """Remove the finders of what is taken away: those that editable installs bring, and earlier ones of
    ours."""
    for finders in (sys.meta_path, sys.path_hooks):
        for finder in list(finders):
            module = sys.modules.get(getattr(finder, "__module__", None))
            if type(finder).__name__ == "Finder" and hasattr(finder, "awaited") or _is_of(module, gone):
                finders.remove(finder)
    for entry in gone:
        sys.path_importer_cache.pop(entry, None)


def _forget(gone, folders, kept):
    """Forget modules that were imported from these entries, and that the folders (None: anything) have
    instead."""
    names = None
    for name, module in list(sys.modules.items()):
        if name in ("sitecustomize", "usercustomize") or not _is_of(module, gone):
            continue
        if names is None and folders is not None:
            names = set([each.split(".")[0] for folder in folders if os.path.isdir(folder)
                         for each in os.listdir(folder)])
        if names is None or name.split(".")[0] in names:
            kept.append(sys.modules.pop(name))


def _call_installed(folders):
    """Let sysconfig name these folders. Coverage measures what is in none that sysconfig names."""
    import sysconfig
    schemes = getattr(sysconfig, "_INSTALL_SCHEMES", None)
    for number, folder in enumerate(folders if isinstance(schemes, dict) else []):
        folder = folder.replace("{", "{{").replace("}", "}}")
        paths = dict.fromkeys(("purelib", "platlib"), folder)
        paths["scripts"] = folder + "/bin"
        schemes["posix_execnet%d" % number] = dict(schemes.get("posix_prefix", {}), **paths)


def _run_pth(folder):
    """Do what the folder's `.pth` files say, as for a site folder; what they add stands behind it."""
    try:
        site = sys.modules["site"]
    except KeyError:
        path = list(sys.path)
        import site  # Python 2 changes the path, also with `-S`
        sys.path[:] = path
    count = len(sys.path)
    site.addsitedir(folder)
    added = sys.path[count:]
    if added:
        del sys.path[count:]
        at = sys.path.index(folder) + 1
        sys.path[at:at] = added
