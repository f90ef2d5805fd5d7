# The first record of the bundle, executed by stage.py with its names: `data`, the whole bundle; `end`, where the next record
# begins; `here`, what it took off sys.path. Makes the modules importable, loads those that every kernel needs, and starts.


class Bundle(object):
    """Imports modules from the bundle; each is compiled when it is first imported."""

    def __init__(self, data, at):
        self.sources = {}
        self.eager = []
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

    def load_module(self, name, package=False):  # Python 2, and what is loaded at once
        module = sys.modules[name] = type(os)(name)
        module.__package__ = "execnet_kernel"
        if hasattr(sys, "__spec__"):
            module.__spec__ = type(sys.__spec__)(name, self, is_package=package)
        if package:
            module.__path__ = []
        else:
            self.exec_module(module)
            setattr(sys.modules["execnet_kernel"], name.split(".")[1], module)
        return module


bundle = Bundle(data, end)
sys.meta_path.insert(0, bundle)
bundle.load_module("execnet_kernel", True)
for name in bundle.eager:
    last = bundle.load_module(name)
sys.path[:0] = here
last.main()
