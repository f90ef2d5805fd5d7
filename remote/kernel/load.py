# The first record of the bundle, executed by stage.py with its names: `data`, the whole bundle; `end`, where the next record
# begins; `here`, what it took off sys.path. Makes the modules importable, loads those that every kernel needs, and starts.


class Bundle(object):
    """Imports modules from the bundle; each is compiled when it is first imported.

    On CPython 3 they have builtins of their own, with our `__import__`: what user code does to everybody's, and to
    sys.modules, is nothing to the kernel. Others cannot have them: Python 2 restricts such code, PyPy does not look.
    """

    def __init__(self, data, at):
        self.sources = {}
        self.eager = []
        self.modules = {}  # all that our modules have imported
        self.builtins = None
        if hasattr(sys, "implementation") and sys.implementation.name == "cpython":
            import builtins
            self.builtins = dict(vars(builtins), __import__=self.find)
            self.find_others = builtins.__import__
        while at < len(data):
            end = data.index(b"\n", at)
            name, size = data[at:end].decode("ascii").split(" ")
            at = end + 1 + int(size)
            self.sources[str(name)] = data[end + 1:at]
            if "execnet_kernel.start" not in self.eager:
                self.eager.append(str(name))

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return type(sys.__spec__)(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        exec(compile(self.sources[name], "<%s>" % name, "exec", 0, True), module.__dict__)

    def find_module(self, name, path=None):  # Python 2
        if name in self.sources:
            return self

    def load_module(self, name, package=False):  # Python 2, what is loaded at once, and CPython 3
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
        # of two threads that come at a time the first one's
        module = sys.modules[name] = self.modules.setdefault(name, module)
        if not package:
            setattr(self.modules["execnet_kernel"], name.split(".")[1], module)
        return module

    def find(self, name, space=None, local=None, wanted=(), level=0):
        """`__import__` for our modules."""
        if not level:
            if name not in self.modules:
                self.modules[name] = self.find_others(name, space, local, wanted)
            return self.modules[name]
        for each in [name] if name else wanted:
            module = self.modules.get("execnet_kernel." + each) or self.load_module("execnet_kernel." + each)
        return module if name else self.modules["execnet_kernel"]


bundle = Bundle(data, end)
if not bundle.builtins:
    sys.meta_path.insert(0, bundle)
bundle.load_module("execnet_kernel", True)
for name in bundle.eager:
    last = bundle.load_module(name)
sys.path[:0] = here
last.main()
