"""Packages are as if they were installed: what Python and its tools promise for a site folder holds on hosts
that have nothing but an interpreter, through real ssh."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from conftest import INTERPRETERS, TWO, WAIT

HERE = Path(__file__).parent
ANYWHERE = [
    "folder",
    "module",
    "source",
    "iteration",
    "data",
    "extended_path",
    "children",
    "run_module",
]
PYTHON_3 = ["namespace_of_folders", "executor", "fork", "spawn", "forkserver"]
INSTALLED = [
    "metadata",
    "entry_points",
    "resources",
    "certificates",
    "namespace_of_distributions",
    "scripts",
    "editable_with_src",
    "editable_with_finder",
    "editable_of_hatchling",
    "rewriting_in_process",
    "stand_in",
]
OLD = ["python3.6", "python3.7"]
HERE_TOO = "python%d.%d" % sys.version_info[:2]

TOOLS = {
    "tools/__init__.py": "",
    "tools/__main__.py": "import sys; print('tools runs with ' + ' '.join(sys.argv[1:]))",
    "tools/count.py": '"""Counts."""\n\nimport sys\n\n\ndef double(number):\n    return 2 * number\n\n\n'
    "def end_with(status):\n    sys.exit(status)\n\n\nif __name__ == '__main__':\n    print('counted')\n",
    "tools/inner/__init__.py": "",
    "tools/inner/deep.py": "",
    "tools/data/words.txt": "one\ntwo\n",
    "extended/__init__.py": "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n",
    "extended/first.py": "NAME = 'first'\n",
    "spaced/one.py": "NAME = 'one'\n",
}
MORE = {
    "extended/__init__.py": "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n",
    "extended/second.py": "NAME = 'second'\n",
    "spaced/two.py": "NAME = 'two'\n",
}
GREETING = {
    "greeting/__init__.py": "def greet(name):\n    return 'hello ' + name\n",
    "greeting/__main__.py": "import sys\nfrom . import greet\nprint(greet(sys.argv[1]))\n",
    "greeting/command.py": "import sys\nfrom . import greet\n\n\n"
    "def main():\n    print(greet(sys.argv[1]))\n",
    "greeting/data/__init__.py": "",
    "greeting/data/hello.txt": "hello\n",
    "greeting/plugin.py": "import pytest\n\n\n@pytest.fixture\ndef four():\n    return 4\n\n\n"
    "def same(a, b):\n    assert a == b, 'from the plugin'\n",
    "installed_space/one.py": "NAME = 'one'\n",
}
WORDS = {
    "words_of_us.py": "def hello():\n    return 'hello'\n",
    "installed_space/two.py": "NAME = 'two'\n",
}
HEADERS = """Summary: Greets
Requires-Dist: words-of-us
Provides-Extra: tls
Requires-Dist: certifi; extra == 'tls'
"""
POINTS = {
    "console_scripts": "greet = greeting.command:main",
    "pytest11": "greeting = greeting.plugin",
    "greeting.languages": "english = words_of_us:hello",
}


def toml(name, backend, more=""):
    """Return a project file."""
    build = f"[build-system]\nrequires = ['{backend.partition('.')[0]}']\nbuild-backend = '{backend}'\n"
    return f"{build}[project]\nname = '{name}'\nversion = '0.1'\n{more}"


EDITABLE = {
    "src-layout": {
        "pyproject.toml": toml("src-layout", "setuptools.build_meta"),
        "src/src_layout/__init__.py": "",
        "src/src_layout/deep.py": "NAME = __name__\n",
    },
    "finder": {
        "pyproject.toml": toml(
            "mapped",
            "setuptools.build_meta",
            "[tool.setuptools]\npackages = ['mapped', 'mapped.inner']\npy-modules = ['mapped_module']\n"
            "[tool.setuptools.package-dir]\nmapped = 'code'\n'mapped.inner' = 'elsewhere'\n",
        ),
        "mapped_module.py": "NAME = 'module'\n",
        "code/__init__.py": "NAME = 'mapped'\n",
        "elsewhere/__init__.py": "NAME = 'inner'\n",
    },
    "hatched-project": {
        "pyproject.toml": toml(
            "hatched",
            "hatchling.build",
            "[project.scripts]\nhatched = 'hatched:main'\n"
            "[project.entry-points.of-hatched]\nhatched = 'hatched:main'\n",
        ),
        "src/hatched/__init__.py": "NAME = __name__\n\n\ndef main():\n    print('hatched runs')\n",
    },
    # its tests are in its package
    "project": {
        "pyproject.toml": toml(
            "project", "setuptools.build_meta", "[tool.setuptools]\npackages = ['project']\n"
        ),
        "project/__init__.py": "def two():\n    return [1, 2]\n",
        "project/tests/__init__.py": "",
        "project/tests/conftest.py": "import pytest\n\n\n@pytest.fixture\ndef five():\n    return 5\n",
        "project/tests/test_it.py": """
import greeting.plugin
from project import two


def test_four(four):
    assert four == 4


def test_five(five):
    assert five == 5


def test_relative():
    from .. import two as other

    assert other is two


def test_wrong():
    assert two() == [1, 3]


def test_wrong_in_plugin(four, five):
    greeting.plugin.same(four, five)
""",
    },
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def wheel(folder, name, version, files, headers="", points=()):
    """Make a pure wheel."""
    about = f"{name}-{version}.dist-info"
    title = name.replace("_", "-")
    all_files = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {title}\nVersion: {version}\n{headers}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "".join(f"[{group}]\n{points[group]}\n" for group in points),
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in all_files.items():
            archive.writestr(file, text)
        archive.writestr(
            f"{about}/RECORD", "".join(f"{file},,\n" for file in [*all_files, f"{about}/RECORD"])
        )
    return path


def maturin(site, folder):
    """Install as `maturin develop` does: a `.pth` file, and the extension module among the sources."""
    write(folder, {"python/native/__init__.py": "NAME = __name__\n"})
    (built,) = site.glob("markupsafe/_speedups*.so")
    shutil.copy(built, folder / "python" / "native")
    about = "native-0.1.dist-info"
    files = {
        "native.pth": f"{folder}/python\n",
        f"{about}/METADATA": "Metadata-Version: 2.4\nName: native\nVersion: 0.1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp313-cp313-linux_x86_64\n",
        f"{about}/direct_url.json": json.dumps({"dir_info": {"editable": True}, "url": folder.as_uri()}),
    }
    write(site, files)
    write(site, {f"{about}/RECORD": "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])})


def run(*command, **options):
    command = list(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Environment:
    """A virtual environment with this package and what it is told to install, and programs in it."""

    def __init__(self, root):
        self.root = root
        self.uv = shutil.which("uv")
        if self.uv is None:
            pytest.skip("skipped, because uv is not installed")
        run(self.uv, "venv", "-q", "-p", sys.executable, root / "venv")
        self.python = root / "venv" / "bin" / "python"
        (self.site,) = (root / "venv" / "lib").glob("python*/site-packages")
        # this package, as it is installed for these tests
        about = metadata.distribution("execnet")
        for place in {Path(str(about.locate_file(file))).parent for file in about.files}:
            if place.name in ("execnet", "pytest_execnet") or place.name.endswith(".dist-info"):
                (self.site / place.name).symlink_to(place)
        (root / "venv" / "bin" / "execnet").symlink_to(shutil.which("execnet"))

    def install(self, *items):
        # not stock execnet, which pytest-xdist requires: it would be written through the links
        (self.root / "excludes.txt").write_text("execnet\n")
        excludes = ["--excludes", self.root / "excludes.txt"]
        run(self.uv, "pip", "install", "-q", "--python", self.python, *excludes, *items)

    def ask(self, asked, **env):
        """Return what gateways of a program in it answer: a str if they could not be opened."""
        source = (HERE / "as_if_installed.py").read_text()
        env = {**os.environ, **env}
        env.pop("PYTHONPATH", None)
        given = json.dumps([source, asked])
        return json.loads(run(self.python, "-c", CLIENT, input=given, cwd=self.root, env=env))


CLIENT = """
import json, sys, threading
import execnet

source, asked = json.load(sys.stdin)
said = {}

def ask(spec, packages, checks):
    said[execnet.XSpec(spec).id] = answers = {}
    try:
        channel = group.makegateway(spec, packages=packages).remote_exec(source)
        channel.send(execnet.__version__)
        for check in checks:
            channel.send(check)
            answers[check] = channel.receive()
    except Exception as error:
        said[execnet.XSpec(spec).id] = f"{type(error).__name__}: {error}"

with execnet.Group() as group:
    threads = [threading.Thread(target=ask, args=each) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    root = tmp_path_factory.mktemp("as-if-installed")
    environment = Environment(root)
    wheels = [
        wheel(root, "greeting", "1.5", GREETING, HEADERS, POINTS),
        wheel(root, "words_of_us", "2.0", WORDS),
    ]
    editable = [item for name, files in EDITABLE.items() for item in ("-e", write(root / name, files))]
    environment.install("pytest", "pytest-xdist", "certifi", "markupsafe", *wheels, *editable)
    maturin(environment.site, root / "native")
    write(root / "first", TOOLS)
    write(root / "second", MORE)
    write(root, {"single.py": "VALUE = 5\n"})
    return environment


EVERYTHING = [name for name in INTERPRETERS if name not in TWO and name not in OLD]


def checks_of(name):
    if name == "there":
        return ["beside_what_is_there"]
    checks = list(ANYWHERE)
    if name not in TWO:
        checks += PYTHON_3
    elif name != "jython":
        checks.append("fork")
    if name in EVERYTHING:
        checks += INSTALLED
    if name in EVERYTHING and name != "pypy3":
        checks.append("extension")
    if name in (EVERYTHING[0], HERE_TOO, "pypy3"):
        checks.append("rewriting")
    if name == HERE_TOO:
        checks.append("editable_with_extension")
    return checks


@pytest.fixture(scope="session")
def answers(environment, ssh_config):
    """What all interpreters answer, and one that has packages of its own."""
    root = environment.root
    run(environment.uv, "venv", "-q", "-p", sys.executable, root / "there")
    (site,) = (root / "there" / "lib").glob("python*/site-packages")
    write(site, {"single.py": "VALUE = 6\n", "spaced/three.py": "NAME = 'three'\n", "only_there.py": ""})
    write(site, {"there-7.dist-info/METADATA": "Name: there\nVersion: 7\n"})
    folders = ["./first", "./second", "./single.py"]
    asked = []
    for name, python in {**INTERPRETERS, "there": root / "there" / "bin" / "python"}.items():
        # a login of the lab does not find java
        host = "popen" if name == "jython" else f"ssh=build1//ssh_config={ssh_config}"
        spec = f"{host}//python={python}//id={name}//chdir={root / 'work'}//patience={WAIT}"
        spec += f"//env:EXECNET_PACKAGES_FOLDER={root / 'store'}"
        asked.append((spec, ["*", *folders] if name in EVERYTHING else folders, checks_of(name)))
    return environment.ask(asked, XDG_CACHE_HOME=str(root / "cache"))


@pytest.mark.parametrize(
    "name, check", [(name, check) for name in [*INTERPRETERS, "there"] for check in checks_of(name)]
)
def test_as_if_installed(answers, name, check):
    assert isinstance(answers[name], dict), answers[name]
    assert answers[name].get(check, "no answer") is None, "\n" + answers[name].get(check, "no answer")


def test_an_extension_module_is_refused_where_nothing_else_is_known(environment):
    others = [name for name in EVERYTHING if name not in (HERE_TOO, "pypy3")]
    if not others:
        pytest.skip("skipped, because there is no other CPython 3.8 or later")
    spec = f"popen//id=a//python={INTERPRETERS[others[-1]]}"
    places = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join(place for place in places if not os.path.exists(os.path.join(place, "uv")))
    cache = str(environment.root / "another-cache")
    (said,) = environment.ask([(spec, ["markupsafe"], [])], PATH=path, XDG_CACHE_HOME=cache).values()
    title = f"CPython {others[-1][len('python') :]}"
    assert said.startswith("ValueError: gateway a: `MarkupSafe` has extension modules for CPython "), said
    assert f", so {title} cannot have what is installed here; install uv, " in said, said
    assert said.endswith(f": {environment.python} -m pip install uv"), said
