# The first record of the bundle. stage.py executes it with its own names: `data`, the bundle; `end`, where
# the next record begins; `here`, the entries taken off sys.path; `ahead`, whether it waits before it is used.
# It makes the modules importable, loads those that every kernel needs, and starts.

JAVA = ("com", "java", "javax", "jnr", "org", "sun")  # top-level Java packages


class Bundle(object):
    """Imports modules from the bundle; each is compiled when it is first imported. Everything else that the
    kernel imports, early or late, directly or indirectly, comes from the standard library.

    The folder that user code works in may contain anything and be writable for others, but it is first on
    sys.path. So this finder stands in front of sys.meta_path and looks at the importer: the first caller on
    the stack that is not in the standard library. For the kernel only the standard library exists. Without an
    importer (the interpreter reports an error) the standard library goes first. For user code nothing
    changes.

    On CPython 3 our modules have builtins of their own, with our `__import__`, so that changes of user code
    to builtins and sys.modules do not affect the kernel. Other interpreters do not allow it: Python 2
    restricts such code, PyPy ignores such builtins.
    """

    def __init__(self, data, at):
        self.sources = {}
        self.eager = []
        self.modules = {}  # everything that our modules have imported
        self.builtins = None
        self.finders = list(sys.meta_path)
        self.found = {}  # Python 2
        if sys.version_info[0] == 2:
            import imp
            self.imp = imp
        if sys.platform.startswith("java"):
            from org.python.core import PySystemState
            self.java = PySystemState
        self.home, self.library = self.standard()
        if hasattr(sys, "implementation") and sys.implementation.name == "cpython":
            import builtins
            self.builtins = dict(vars(builtins), __import__=self.find)
            self.find_others = builtins.__import__
        self.add(data, at)

    def add(self, data, at):
        """Make the modules of records importable. At first some of them are `eager`."""
        while at < len(data):
            end = data.index(b"\n", at)
            name, size = data[at:end].decode("ascii").split(" ")
            at = end + 1 + int(size)
            self.sources[str(name)] = data[end + 1:at]
            if "execnet_kernel.start" not in self.eager:
                self.eager.append(str(name))

    def standard(self):
        """Return the folder of the standard library, and its entries of sys.path; for a frozen program None
        and all entries."""
        home = os.path.dirname(getattr(os, "__file__", None) or "") + "/"
        entries = [path for path in sys.path if (path + "/").startswith(home)
                   and "-packages" not in path[len(home):]]
        if entries and len(home) > 1 and not hasattr(sys, "frozen"):
            return home, entries
        return None, list(sys.path)

    def is_library(self, filename):
        if filename[:8] in ("<frozen ", "<builtin"):
            return True
        if self.home is None:
            return filename[:1] not in "/<"
        return filename.startswith(self.home) and "-packages/" not in filename[len(self.home):]

    def importer(self):
        """Return the file of the importer; empty if there is none."""
        frame = sys._getframe().f_back.f_back
        while frame is not None:
            filename = frame.f_code.co_filename
            if not self.is_library(filename):
                return filename
            frame = frame.f_back
        return ""

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return type(sys.__spec__)(name, self)
        if path is not None:
            return None
        importer = self.importer()
        if importer and importer[:8] != "<execnet":
            return None
        for finder in self.finders:
            is_path_finder = getattr(finder, "__name__", "") == "PathFinder"
            spec = finder.find_spec(name, self.library if is_path_finder else None)
            if spec is not None:
                return spec
        if importer:
            raise ModuleNotFoundError("No module named %r" % name, name=name)  # noqa: F821

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        exec(compile(self.sources[name], "<%s>" % name, "exec", 0, True), module.__dict__)

    def find_module(self, name, path=None):  # Python 2
        if name in self.sources:
            return self
        if path is not None or name in sys.builtin_module_names:
            return None
        importer = self.importer()
        if importer and importer[:8] != "<execnet":
            return None
        for path in self.library:
            archive = sys.path_importer_cache.get(path)
            if archive is not None:
                loader = archive.find_module(name)
                if loader is not None:
                    return loader
                continue
            try:
                self.found[name] = self.imp.find_module(name, [path])
                return self
            except ImportError:
                pass
        if importer and name in JAVA and sys.platform.startswith("java"):
            self.found[name] = None
            return self
        if importer:
            raise ImportError("No module named %s" % name)

    def load_module(self, name, package=False):  # Python 2, what is loaded at once, and CPython 3
        if name in self.found:
            found = self.found.pop(name)
            if found is None:
                return self.java.add_package(name)
            try:
                return self.imp.load_module(name, *found)
            finally:
                if found[0]:
                    found[0].close()
        module = type(os)(name)
        module.__package__ = "execnet_kernel"
        if hasattr(sys, "__spec__"):
            module.__spec__ = type(sys.__spec__)(name, self, is_package=package)
        if package:
            module.__path__ = []
        elif self.builtins:
            module.__builtins__ = self.builtins
            self.exec_module(module)
        else:
            sys.modules[name] = module
            self.exec_module(module)
        # if two threads load it at a time, both use the first one's
        module = sys.modules[name] = self.modules.setdefault(name, module)
        if not package:
            setattr(self.modules["execnet_kernel"], name.split(".")[1], module)
        return module

    def find(self, name, space=None, local=None, wanted=(), level=0):
        """`__import__` for our modules."""
        if not level:
            if name not in self.modules:
                if self not in sys.meta_path:
                    sys.meta_path.insert(0, self)  # user code has replaced the list
                self.modules[name] = self.find_others(name, space, local, wanted)
            return self.modules[name]
        for each in [name] if name else wanted:
            module = self.modules.get("execnet_kernel." + each) or self.load_module("execnet_kernel." + each)
        return module if name else self.modules["execnet_kernel"]


finder = Bundle(data, end)
sys.meta_path.insert(0, finder)
finder.load_module("execnet_kernel", True)
for name in finder.eager:
    last = finder.load_module(name)
if ahead:
    last.prepare(sources[0])
said = first()
put_right()
for at, path in here:
    sys.path.insert(at, path)
last.main(said)
