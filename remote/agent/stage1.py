# Stage 1: the first line of the link, once the bundler has made one line of it (docs/bootstrap.md, step 3). Reads the
# bundle that follows, makes its modules importable (compiled when first imported), and hands over to agent.stub.
import os, sys
def read(size):
    parts = []
    while size:
        part = os.read(sys.stdin.fileno(), min(size, 65536))
        if not part:
            raise EOFError("the link ended while the agent was being sent")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
class Bundle(object):
    def __init__(self, data):
        self.sources = {}
        at = 0
        while at < len(data):
            end = data.index(b"\n", at)
            name, size = data[at:end].decode("ascii").split(" ")
            at = end + 1 + int(size)
            self.sources[str(name)] = data[end + 1:at]
    def fill(self, module):
        name = module.__name__
        code = compile(self.sources[name], "<%s>" % name, "exec", 0, True)
        exec(code, module.__dict__)
    def find_spec(self, name, path=None, target=None):
        if name in self.sources:
            return type(sys.__spec__)(name, self, is_package=name.find(".") < 0)
    def create_module(self, spec):
        return None
    exec_module = fill
    def find_module(self, name, path=None):
        if name in self.sources:
            return self
    def load_module(self, name):
        module = sys.modules[name] = type(os)(name)
        module.__loader__ = self
        module.__package__ = name.split(".")[0]
        if name.find(".") < 0:
            module.__path__ = []
        self.fill(module)
        return module
try:
    import zlib
    sys.meta_path.insert(0, Bundle(zlib.decompress(read(int(read(8))))))
    from agent import stub
    status = stub.main(read)
except EOFError:
    sys.stderr.write("execnet: %s\n" % sys.exc_info()[1])
    status = 93
except SystemExit:
    raise
except:
    import traceback
    traceback.print_exc()
    status = 93
sys.stderr.flush()
os._exit(status)
