# Stage 2, the first record of the bundle (docs/bootstrap.md, step 4). Stage 1 executes it with these names:
# `data`, the bundle; `end`, where the next record begins; `read`. It makes the modules importable and starts
# agent.stub.


class Bundle(object):
    """Imports modules from the bundle; each is compiled when it is first imported."""

    def __init__(self, data, at):
        self.sources = {}
        while at < len(data):
            end = data.index(b"\n", at)
            name, size = data[at:end].decode("ascii").split(" ")
            at = end + 1 + int(size)
            self.sources[str(name)] = data[end + 1:at]

    def fill(self, module):
        name = module.__name__
        exec(compile(self.sources[name], "<%s>" % name, "exec", 0, True), module.__dict__)

    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return type(sys.__spec__)(name, self, is_package=name == "agent")

    def create_module(self, spec):
        return None

    exec_module = fill

    def find_module(self, name, path=None):  # Python 2
        if name in self.sources:
            return self

    def load_module(self, name):  # Python 2
        module = sys.modules[name] = type(os)(name)
        module.__loader__ = self
        module.__package__ = "agent"
        if name == "agent":
            module.__path__ = []
        self.fill(module)
        return module


sys.meta_path.insert(0, Bundle(data, end))
try:
    from agent import stub
    status, words = stub.main(read), ""
except EOFError:
    status, words = 93, "execnet: %s\n" % sys.exc_info()[1]
except BaseException:
    import traceback
    status, words = 93, traceback.format_exc()
try:
    sys.stderr.write(words)
    sys.stderr.flush()
finally:
    os._exit(status)  # even if writing to stderr fails
