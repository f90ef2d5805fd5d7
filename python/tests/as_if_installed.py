"""What code in a gateway with packages may expect, a function for each. Executed there, in every interpreter
that there is: Python 2.7 and later.

It is sent as source; each name received on the channel is a check to make. The answer is None or a traceback.
"""

import os
import subprocess
import traceback

HERE = os.getcwd()
PYTHON = os.environ["EXECNET_PYTHON"]


def output(*command):
    return subprocess.check_output(command, stderr=subprocess.STDOUT).decode("utf-8", "replace").strip()


def child(code):
    return output(PYTHON, "-c", code)


# folders and modules, on every interpreter


def check_folder():
    import tools.count

    assert tools.count.double(4) == 8
    assert os.path.isabs(tools.__file__) and os.path.isfile(tools.count.__file__)
    assert not os.path.abspath(tools.__file__).startswith(HERE + os.sep)


def check_module():
    import single

    assert single.VALUE == 5 and os.path.isfile(single.__file__)


def check_source():
    import inspect
    import linecache

    import tools.count

    assert inspect.getsource(tools.count.double) == "def double(number):\n    return 2 * number\n"
    assert linecache.getline(inspect.getsourcefile(tools.count), 1).startswith('"""Counts')
    try:
        tools.count.double(None)
    except TypeError:
        assert "return 2 * number" in traceback.format_exc()


def check_iteration():
    import pkgutil

    import tools

    assert sorted(name for _, name, _ in pkgutil.iter_modules(tools.__path__)) == [
        "__main__",
        "count",
        "inner",
    ]
    names = [name for _, name, _ in pkgutil.walk_packages(tools.__path__, "tools.")]
    assert sorted(names) == ["tools.__main__", "tools.count", "tools.inner", "tools.inner.deep"]
    assert "tools" in [name for _, name, _ in pkgutil.iter_modules()]


def check_data():
    import pkgutil

    import tools

    assert pkgutil.get_data("tools", "data/words.txt") == b"one\ntwo\n"
    with open(os.path.join(os.path.dirname(tools.__file__), "data", "words.txt")) as file:
        assert file.read() == "one\ntwo\n"


def check_extended_path():
    import extended.first
    import extended.second

    assert len(extended.__path__) == 2
    assert (extended.first.NAME, extended.second.NAME) == ("first", "second")


def check_namespace_of_folders():
    import spaced.one
    import spaced.two

    assert len(list(spaced.__path__)) >= 2 and spaced.one.NAME + spaced.two.NAME == "onetwo"


def check_children():
    assert child("import tools.count, single; print(tools.count.double(single.VALUE))") == "10"
    # a child of a child
    inner = "import single; print(single.VALUE)"
    code = "import subprocess, sys; subprocess.check_call([%r, '-c', %r])"
    assert child(code % (PYTHON, inner)) == "5"


def check_run_module():
    assert output(PYTHON, "-m", "tools", "a", "b") == "tools runs with a b"
    assert output(PYTHON, "-m", "tools.count") == "counted"


def _multiprocessing(method):
    import multiprocessing

    import tools.count

    if hasattr(multiprocessing, "get_context"):
        multiprocessing = multiprocessing.get_context(method)
    pool = multiprocessing.Pool(2)
    try:
        assert pool.map(tools.count.double, range(3)) == [0, 2, 4]
    finally:
        pool.terminate()
        pool.join()
    process = multiprocessing.Process(target=tools.count.end_with, args=(7,))
    process.start()
    process.join()
    assert process.exitcode == 7


# __main__ is the kernel's: what children import is what this gateway has


def check_fork():
    _multiprocessing("fork")


def check_spawn():
    _multiprocessing("spawn")


def check_forkserver():
    _multiprocessing("forkserver")


def check_executor():
    from concurrent.futures import ProcessPoolExecutor

    import tools.count

    with ProcessPoolExecutor(1) as executor:
        assert executor.submit(tools.count.double, 3).result() == 6


def check_beside_what_is_there():
    from importlib import metadata

    import only_there
    import single
    import spaced.one
    import spaced.three

    assert single.VALUE == 5 and metadata.version("there") == "7"
    assert (spaced.one.NAME, spaced.three.NAME) == ("one", "three")
    assert "site-packages" in only_there.__file__
    assert child("import spaced.one, spaced.three, only_there, single; print(single.VALUE)") == "5"


# what is installed, where that can be


def check_metadata():
    from importlib import metadata

    assert metadata.version("greeting") == "1.5"
    assert metadata.metadata("greeting")["Summary"] == "Greets"
    assert metadata.requires("greeting") == ["words-of-us", "certifi; extra == 'tls'"]
    names = {str(name): name for name in metadata.files("greeting")}
    assert "greeting/data/hello.txt" in names
    assert names["greeting/data/hello.txt"].read_text() == "hello\n"
    assert names["greeting/__init__.py"].locate().exists()
    assert metadata.distribution("words_of_us").version == "2.0"
    titles = [each.metadata["Name"] for each in metadata.distributions()]
    assert {"greeting", "words-of-us", "pytest", "certifi"} <= set(titles)
    assert len(titles) == len(set(titles)), sorted(titles)


def check_entry_points():
    from importlib import metadata

    found = metadata.entry_points()
    if hasattr(found, "select"):
        found = list(found.select(group="greeting.languages"))
    else:
        found = list(found["greeting.languages"])
    assert [(point.name, point.load()()) for point in found] == [("english", "hello")]
    import pluggy

    manager = pluggy.PluginManager("greeting")
    assert manager.load_setuptools_entrypoints("greeting.languages") == 1
    assert manager.list_plugin_distinfo()[0][1].metadata["Name"] == "greeting"


def check_resources():
    import importlib.resources

    if hasattr(importlib.resources, "files"):
        folder = importlib.resources.files("greeting")
        assert folder.joinpath("data", "hello.txt").read_text() == "hello\n"
        with importlib.resources.as_file(folder / "data" / "hello.txt") as path:
            assert path.read_text() == "hello\n"
    else:
        assert importlib.resources.read_text("greeting.data", "hello.txt") == "hello\n"
        with importlib.resources.path("greeting", "__init__.py") as path:
            assert path.exists()


def check_certificates():
    import ssl

    import certifi

    assert os.path.isfile(certifi.where()) and "BEGIN CERTIFICATE" in certifi.contents()
    ssl.create_default_context(cafile=certifi.where())


def check_namespace_of_distributions():
    import installed_space.one
    import installed_space.two

    assert len(list(installed_space.__path__)) == 1
    assert installed_space.one.NAME + installed_space.two.NAME == "onetwo"


def check_scripts():
    assert output("greet", "you") == "hello you"
    assert output("pytest", "--version").startswith("pytest ")
    import shutil

    assert os.path.dirname(shutil.which("greet")) == os.path.dirname(shutil.which("pytest"))
    assert output(PYTHON, "-m", "greeting", "me") == "hello me"


def check_extension():
    import markupsafe
    from markupsafe import _speedups

    assert _speedups.__file__.endswith(".so") and markupsafe.escape("<") == "&lt;"
    assert child("import markupsafe._speedups as s; print(s.__name__)") == "markupsafe._speedups"


def check_editable_with_src():
    from importlib import metadata

    import src_layout.deep

    assert src_layout.deep.NAME == "src_layout.deep" and metadata.version("src-layout") == "0.1"
    assert child("import src_layout.deep; print(src_layout.deep.NAME)") == "src_layout.deep"


def check_editable_with_finder():
    import mapped
    import mapped.inner
    import mapped_module

    assert (mapped.NAME, mapped.inner.NAME, mapped_module.NAME) == ("mapped", "inner", "module")
    assert child("import mapped.inner; print(mapped.inner.NAME)") == "inner"


def check_editable_of_hatchling():
    from importlib import metadata

    import hatched

    assert hatched.NAME == "hatched"
    points = metadata.distribution("hatched").entry_points
    assert {(point.group, point.load()) for point in points} == {
        ("console_scripts", hatched.main),
        ("of-hatched", hatched.main),
    }
    assert output("hatched") == "hatched runs"


def check_editable_with_extension():
    import native
    from native import _speedups

    assert native.NAME == "native" and _speedups.__file__.endswith(".so")


def _pytest(*args):
    import pytest  # noqa: F401

    process = subprocess.Popen(
        [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-rA"] + list(args),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return process.communicate()[0].decode("utf-8", "replace")


def check_rewriting():
    said = _pytest("--pyargs", "project.tests")
    assert "3 passed, 2 failed" in said.replace("2 failed, 3 passed", "3 passed, 2 failed"), said
    # in a test, in the plugin's helper, with what its conftest and the plugin give
    assert "assert [1, 2] == [1, 3]" in said and "At index 1 diff: 2 != 3" in said, said
    assert "AssertionError: from the plugin" in said and "assert 4 == 5" in said, said
    assert "plugins: " in said and "greeting-1.5" in said, said


def check_rewriting_in_process():
    import pytest

    class Plugin(object):
        said = []

        def pytest_runtest_logreport(self, report):
            if report.failed:
                self.said.append(report.longreprtext)

    assert pytest.main(["-q", "-p", "no:cacheprovider", "--pyargs", "project.tests"], [Plugin()]) == 1
    assert "At index 1 diff: 2 != 3" in "".join(Plugin.said), Plugin.said


def check_stand_in():
    from importlib import metadata

    import execnet

    assert metadata.version("execnet") == execnet.__version__ == VERSION
    assert child("import execnet; print(execnet.__version__)") == VERSION


if __name__ == "__channelexec__":
    VERSION = channel.receive()  # noqa: F821
    for name in channel:  # noqa: F821
        try:
            globals()["check_" + name]()
        except BaseException as error:
            text = traceback.format_exc()
            if isinstance(error, subprocess.CalledProcessError):
                text += "\n" + error.output.decode("utf-8", "replace")
            channel.send(text)  # noqa: F821
        else:
            channel.send(None)  # noqa: F821
