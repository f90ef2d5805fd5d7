# The first record of the bundle, executed by stage.py with its names: `data`, the whole bundle; `end`, where the next record
# begins; `here`, what it took off sys.path. Makes the modules importable, and hands over to start.


class Bundle(object):
    """Imports modules from the bundle; each is compiled when it is first imported."""

    def __init__(self, data, at):
        self.sources = {}
        while at < len(data):
            end = data.index(b"\n", at)
            name, size = data[at:end].decode("ascii").split(" ")
            at = end + 1 + int(size)
            self.sources[str(name)] = data[end + 1:at]

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return type(sys.__spec__)(name, self, is_package=name == "execnet_kernel")

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__
        exec(compile(self.sources[name], "<%s>" % name, "exec", 0, True), module.__dict__)

    def find_module(self, name, path=None):  # Python 2
        if name in self.sources:
            return self

    def load_module(self, name):  # Python 2
        module = sys.modules[name] = type(os)(name)
        module.__loader__ = self
        module.__package__ = "execnet_kernel"
        if name == "execnet_kernel":
            module.__path__ = []
        self.exec_module(module)
        return module


sys.meta_path.insert(0, Bundle(data, end))
from execnet_kernel import start

sys.path[:0] = here
start.main()
