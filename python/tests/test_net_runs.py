"""`pytest --net` from start to end: results are those of a run here, whatever becomes of workers or hosts."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

import pytest
from conftest import OWN, WAIT, Network

CONFTEST = """
import pytest

pytest.register_assert_rewrite("helper")

pytest_plugins = ["plugin"]

def pytest_addoption(parser):
    parser.addoption("--word", default="none")
"""

TESTS = """
import importlib.metadata, importlib.resources, inspect, multiprocessing, os, pkgutil, subprocess, sys
from pathlib import Path

import attr
import pytest
import thing
from helper import checked

@pytest.mark.parametrize("n", range(30))
def test_numbers(n):
    assert thing.plus(n) == n + 1, n
    assert n % 7 != 5, f"seven {n}"

def test_assertions_are_rewritten_in_helpers_too():
    with pytest.raises(AssertionError, match="where 2 = .*plus"):
        checked()

def test_the_plugin_gives_a_fixture(from_plugin, request):
    assert from_plugin == 5 and request.config.option.word == "given"

def test_paths_and_folders(request):
    here = Path(__file__).resolve().parent
    assert request.config.rootpath == here.parent and Path.cwd() == here.parent
    assert (here / "data" / ".hidden.txt").read_text() == "hidden"

def test_the_editable_project_is_the_copy_beside_its_tests():
    project = Path(__file__).resolve().parent.parent
    assert Path(thing.__file__).resolve() == project / "src" / "thing" / "__init__.py"

def test_what_is_installed_looks_installed():
    assert importlib.metadata.version("attrs") == attr.__version__
    assert any(point.name == "xdist" for point in importlib.metadata.entry_points(group="pytest11"))
    assert "def " in inspect.getsource(attr.make_class) and os.path.exists(attr.__file__)
    assert "converters" in {module.name for module in pkgutil.iter_modules(attr.__path__)}
    assert (importlib.resources.files("attr") / "py.typed").is_file()
    assert importlib.metadata.version("thing") == "1.2"

def test_children_see_it_too():
    code = "import attr, thing, pytest; print(thing.plus(1))"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"2\\n"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(thing.plus, [1]) == [2]

@pytest.mark.skip(reason="söme reason")
def test_skipped():
    pass

@pytest.mark.xfail
def test_expected():
    assert 0

@pytest.fixture
def broken():
    raise RuntimeError("fixture")

def test_error(broken):
    pass
"""


@pytest.fixture(scope="module")
def thing(tmp_path_factory, client):
    """A project with a src layout, installed for development; tests, a plugin and a helper of its own."""
    root = tmp_path_factory.mktemp("work") / "thing"
    files = {
        "pytest.ini": "[pytest]\ntestpaths = tests\naddopts = -rN\n",
        "src/thing/__init__.py": "def plus(n):\n    return n + 1\n\ndef unused():\n    return 0\n",
        "tests/conftest.py": CONFTEST,
        "tests/helper.py": "import thing\n\ndef checked():\n    assert thing.plus(1) == 3\n",
        "tests/plugin.py": "import pytest\n\n@pytest.fixture\ndef from_plugin():\n    return 5\n",
        "tests/test_thing.py": TESTS,
        "tests/data/.hidden.txt": "hidden",
        ".env": "SECRET=1",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    info = client.site / "thing-1.2.dist-info"
    info.mkdir()
    (client.site / "_thing.pth").write_text(f"{root}/src\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.2\n")
    (info / "direct_url.json").write_text(json.dumps({"url": root.as_uri(), "dir_info": {"editable": True}}))
    (info / "RECORD").write_text("_thing.pth,,\nthing-1.2.dist-info/METADATA,,\n")
    return root


def run_of(client, network, folder, *args, **variables):
    """Run pytest of the client's environment in a folder. Return what it printed, and the tests' results."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    env = {name: value for name, value in network.env.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    command = [str(client.python), "-m", "pytest", f"--junitxml={report}", *map(str, args)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=WAIT, env={**env, **variables}
    )
    assert "INTERNALERROR" not in done.stdout + done.stderr, done.stdout + done.stderr
    results = {}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname') or ''}::{case.get('name') or ''}"
        results[name] = sorted((child.tag, (child.get("message") or "").splitlines()[:1]) for child in case)
    return done, results


@pytest.fixture(scope="module")
def expected(client, bare, thing):
    """The results of a run without pytest-xdist."""
    done, results = run_of(client, bare, thing, "-p", "no:xdist", "--word", "given")
    assert len(results) == 39, done.stdout + done.stderr
    return results


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["-n3", "--dist=loadscope"],
        ["--dist=worksteal", "tests"],
        ["-n2", "--dist=loadfile", "THING/tests/test_thing.py"],
    ],
    ids=" ".join,
)
def test_the_results_are_those_of_a_run_here(client, bare, thing, expected, args):
    args = [arg.replace("THING", str(thing)) for arg in args]
    done, results = run_of(client, bare, thing, "--net", bare.name, "--word", "given", *args)
    assert results == expected, done.stdout + done.stderr
    assert done.returncode == 1 and f"] linux -- Python {OWN}" in done.stdout + done.stderr


def short(results):
    """Results by names without the folder that pytest-xdist puts in front."""
    return {name.rpartition("tests.")[2]: result for name, result in results.items()}


@pytest.mark.parametrize("dist", ["load", "loadscope", "worksteal"])
def test_pytest_xdist_alone_has_the_same_results(client, bare, thing, expected, dist):
    """As released: workers stand in a folder above the one that `--rsyncdir` sends."""
    spec = f"4*net={bare.name}//platform=linux//version={OWN}//packages=*"
    args = ["--dist", dist, "--tx", spec, f"--rsyncdir={thing}", thing / "tests", "--word=given"]
    done, results = run_of(client, bare, thing, *args, "-k", "not paths")
    expected = {name: result for name, result in short(expected).items() if "paths" not in name}
    assert short(results) == expected, done.stdout + done.stderr
    assert all(f"[gw{n}]" not in done.stderr for n in range(4)), done.stderr


@pytest.mark.parametrize("where", ["tests", "tests/data"])
def test_it_can_be_called_in_a_folder_below(client, bare, thing, expected, where):
    args = ["--net", bare.name, "--word=given", f"--rootdir={thing}", "-k", "numbers or installed"]
    args += [".."] * (where == "tests/data") + [f"--ignore={thing}/tests/nothing"]
    done, results = run_of(client, bare, thing / where, *args)
    kept = {name: result for name, result in expected.items() if "numbers" in name or "installed" in name}
    assert results == kept, done.stdout + done.stderr


def test_links_lead_to_the_same_tests(client, bare, thing, expected):
    """The shell says another name of the folder than the system."""
    link = thing.parent / "link"
    link.symlink_to(thing)
    kept = {name: result for name, result in expected.items() if "numbers" in name}
    for tests in (link / "tests", "../link/tests/test_thing.py"):
        args = ["--net", bare.name, "--word=given", f"--rootdir={link}", "-k", "numbers", tests]
        done, results = run_of(client, bare, link, *args)
        assert results == kept, done.stdout + done.stderr


def test_options_may_stand_in_the_configuration(client, bare, thing, expected):
    """Workers read it, too, and have no network."""
    ini = thing / "pytest.ini"
    before = ini.read_text()
    ini.write_text(f"{before.rstrip()} --net={bare.name} --word=given\n")
    try:
        done, results = run_of(client, bare, thing)
    finally:
        ini.write_text(before)
    assert results == expected and "network bare-" in done.stdout, done.stdout + done.stderr
    variables = {"PYTEST_ADDOPTS": f"--net {bare.name} --word given {thing}/tests/test_thing.py"}
    done, results = run_of(client, bare, thing, **variables)
    assert results == expected and "network bare-" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "cov, alone",
    # `thing` is a folder, and so another source, where a worker of --tx stands
    [
        ("--cov=thing", False),
        ("--cov=src/thing", False),
        ("--cov=attr", False),
        ("--cov", False),
        ("--cov=attr", True),
        ("--cov", True),
    ],
)
def test_coverage_is_that_of_a_run_here(client, bare, thing, cov, alone):
    """Of the project, of what is installed, and of all that is not installed."""
    where = ["--net", bare.name]
    if alone:
        spec = f"net={bare.name}//version={OWN}//packages=*"
        where = ["--dist=load", f"--tx={spec}//node=build1", f"--tx={spec}//node=build2"]
        where += [f"--rsyncdir={thing}", f"{thing}/tests"]
    reports = []
    for args in (["-p", "no:xdist"], where):
        report = thing / "coverage.json"
        more = [cov, "--cov-branch", f"--cov-report=json:{report}", "--word=given", "-k", "not paths"]
        done, _ = run_of(client, bare, thing, *args, *more)
        files = json.loads(report.read_text())["files"]
        reports.append({name: (file["summary"], file["missing_lines"]) for name, file in files.items()})
    assert reports[0] == reports[1], done.stdout + done.stderr
    assert len(reports[0]) > (cov == "--cov=attr") and (cov == "--cov=attr") == (len(reports[0]) > 6)


@pytest.mark.parametrize("alone", [False, True], ids=["net", "tx"])
def test_what_workers_of_several_hosts_say_of_a_module_counts_once(client, bare, thing, alone):
    """The copies are in different folders. pytest-xdist compares texts in which these stand."""
    texts = {
        "test_absent.py": "import pytest\npytest.importorskip('absent')\n",
        "test_broken.py": "import absent\n",
        "test_warns.py": "import warnings\n\ndef test_it():\n    warnings.warn('odd')\n",
    }
    folder = thing / "tests" / "said"
    folder.mkdir()
    try:
        for name, text in texts.items():
            (folder / name).write_text(text)
        where = ["--net", bare.name, "-n4"]
        if alone:
            spec = f"net={bare.name}//version={OWN}//packages=*"
            where = ["--dist=load", f"--tx={spec}//node=build1", f"--tx={spec}//node=build2"]
            where += [f"--rsyncdir={thing}", "-W", "ignore:The --rsyncdir:DeprecationWarning"]
        done, _ = run_of(client, bare, thing, "-rsE", *where, folder)
    finally:
        shutil.rmtree(folder)
    assert "1 passed, 1 skipped, 1 warning, 1 error in" in done.stdout, done.stdout + done.stderr
    assert "SKIPPED [1] tests/said/test_absent.py:2: " in done.stdout
    assert f"ImportError while importing test module '{folder}/test_broken.py'" in done.stdout
    assert f"{folder}/test_warns.py:4: UserWarning: odd\n    warnings.warn('odd')" in done.stdout


def test_chosen_packages_come_with_pytest(client, bare, thing):
    test = thing / "tests" / "test_some.py"
    test.write_text("import attr, pytest\n\ndef test_it():\n    pytest.importorskip('pytest_cov')\n")
    try:
        where = f"{bare.name}//node=build1//packages=attrs"
        done, _ = run_of(client, bare, thing, "--net", where, "-n1", "-p", "no:cov", "tests/test_some.py")
    finally:
        test.unlink()
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_worker_that_crashes_is_replaced(client, bare, thing):
    crash = thing / "tests" / "test_crash.py"
    crash.write_text("import os\n\ndef test_a(): pass\n\ndef test_b(): os._exit(3)\n\ndef test_c(): pass\n")
    try:
        done, _ = run_of(client, bare, thing, "--net", bare.name, "-n1", "tests/test_crash.py")
    finally:
        crash.unlink()
    assert "crashed while running 'tests/test_crash.py::test_b'" in done.stdout, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout


def test_workers_that_cannot_start_are_not_replaced_without_end(client, bare, thing):
    """pytest-xdist has a limit for -n only."""
    conftest = thing / "conftest.py"
    conftest.write_text("import os\n\nif 'PYTEST_XDIST_WORKER' in os.environ:\n    os._exit(3)\n")
    try:
        done, _ = run_of(client, bare, thing, "--net", f"{bare.name}//node=build1", "-n1")
    finally:
        conftest.unlink()
    assert "maximum crashed workers reached: 4" in done.stdout, done.stdout


HANGS = """
import os, time
import pytest

@pytest.mark.parametrize("n", range(20))
def test_it(n):
    open(f"FOLDER/began-{os.environ['PYTEST_XDIST_WORKER']}", "w").close()
    while os.environ["PYTEST_XDIST_WORKER"] == "gw1" or not os.path.exists("FOLDER/go"):
        time.sleep(0.01)
"""


@pytest.mark.parametrize("verb", [["stop"], ["rmhost", "b"]])
def test_workers_that_cannot_be_replaced(project, tmp_path, verb):
    """The network ends, or goes on without the host."""
    name = f"gone-{os.getpid()}"
    specs = [f"popen//id={host}//python={sys.executable}" for host in "ab"]
    network = Network(name, tmp_path / "network", *specs, "popen//id=c//python=/nothing")
    (project / "tests" / "test_it.py").write_text(HANGS.replace("FOLDER", str(tmp_path)))
    env = {name: value for name, value in network.env.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--net", name, "-n2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        run = subprocess.Popen(command, cwd=project, env=env, text=True, **pipes)
        while not all((tmp_path / f"began-gw{n}").exists() for n in (0, 1)):
            assert run.poll() is None, run.stdout.read()
            time.sleep(0.05)
        network(*verb)
        (tmp_path / "go").touch()
        said = run.communicate(timeout=WAIT)[0]
    finally:
        if verb != ["stop"]:
            network("stop")
    assert "INTERNALERROR" not in said, said
    left_out = "execnet: c is left out: pytest needs Python 3.8 or later; there are c (failed)"
    assert f"\n{left_out}\n" in said, said
    if verb == ["stop"]:
        assert run.returncode == 4 and "ERROR: a worker cannot be replaced: the network " in said, said
    else:
        assert run.returncode == 1 and "1 failed, 19 passed" in said, said
        words = f"\nexecnet: worker gw1 is not replaced: no node of {name} matches node b\n"
        assert words in said, said


def test_a_run_without_all_tests_fails(client, bare, thing):
    """pytest-xdist waits for all workers, and gives up without a failed test."""
    conftest = thing / "conftest.py"
    conftest.write_text("import os\n\nif os.environ.get('PYTEST_XDIST_WORKER', 'gw1') != 'gw1':\n    1 / 0\n")
    try:
        done, results = run_of(client, bare, thing, "--net", bare.name, "-n2", "--word=given")
    finally:
        conftest.unlink()
    assert done.returncode == 1 and not results, done.stdout + done.stderr
    said = f"execnet: no test has run: a worker on build[12]:cpython{OWN} failed: .*ZeroDivisionError: "
    assert len(re.findall(said, done.stdout)) == 1, done.stdout


def test_maxfail_ends_the_run(client, bare, thing):
    done, results = run_of(client, bare, thing, "--net", bare.name, "--word=given", "--maxfail=1", "-n2")
    assert done.returncode == 2 and "stopping after 1 failures" in done.stdout, done.stdout + done.stderr
    assert len(results) < 39


def test_last_failed_tests_are_known_to_workers(client, bare, thing):
    args = ["--net", bare.name, "--word=given"]
    done, results = run_of(client, bare, thing, *args)
    failed = {
        name for name, outcome in results.items() if {"failure", "error"} & {kind for kind, _ in outcome}
    }
    done, results = run_of(client, bare, thing, *args, "--lf")
    assert set(results) == failed and len(failed) == 5, done.stdout + done.stderr


def test_pythonpath_leads_to_the_same_modules(client, bare, thing):
    outside = thing.parent / "outside"
    outside.mkdir()
    (outside / "elsewhere.py").write_text("VALUE = 7")
    (thing / "extra").mkdir()
    (thing / "extra" / "nearby.py").write_text("VALUE = 8")
    test = thing / "tests" / "test_path.py"
    test.write_text(
        "import subprocess, sys\nimport elsewhere, nearby\n\n"
        "def test_it():\n"
        "    assert (elsewhere.VALUE, nearby.VALUE) == (7, 8)\n"
        "    assert '/extra/' in nearby.__file__\n"
        "    subprocess.check_call([sys.executable, '-c', 'import elsewhere, nearby'])\n"
    )
    try:
        path = f"extra{os.pathsep}{outside}"
        done, _ = run_of(client, bare, thing, "--net", bare.name, "tests/test_path.py", PYTHONPATH=path)
    finally:
        test.unlink()
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_secrets_do_not_travel(client, bare, thing):
    test = thing / "tests" / "test_secret.py"
    test.write_text("import os\n\ndef test_it():\n    assert not os.path.exists('.env')\n")
    try:
        done, _ = run_of(client, bare, thing, "--net", bare.name, "tests/test_secret.py")
    finally:
        test.unlink()
    assert "1 passed" in done.stdout and ".env is left out: its name is" in done.stdout, done.stdout


def test_a_host_that_cannot_take_part_is_left_out(client, bare, thing, expected):
    """Here because its name is that of a file there."""
    conftest = thing.parent / "sitecustomize.py"
    conftest.write_text(
        "import pytest_execnet._net as net\n"
        "spec_for = net.Run._spec_for\n"
        "def broken(self, node):\n"
        "    spec = spec_for(self, node)\n"
        "    if node.host == 'build1':\n"
        "        spec.chdir = '/dev/null/x'\n"
        "    return spec\n"
        "net.Run._spec_for = broken\n"
    )
    try:
        args = ["--net", bare.name, "--word=given"]
        done, results = run_of(client, bare, thing, *args, PYTHONPATH=str(thing.parent))
    finally:
        conftest.unlink()
    assert results == expected, done.stdout + done.stderr
    assert f"execnet: build1:cpython{OWN} is left out: " in done.stdout


def test_two_runs_at_a_time_have_copies_of_their_own(client, bare, thing, tmp_path):
    test = thing / "tests" / "test_places.py"
    test.write_text(
        "import os, time\n\n"
        "def test_it():\n"
        f"    for name in ('began', 'go'):\n"
        f"        while name == 'go' and not os.path.exists('{tmp_path}/go'):\n"
        f"            time.sleep(0.01)\n"
        f"        with open('{tmp_path}/' + name, 'a') as file:\n"
        f"            file.write(os.getcwd() + '\\n')\n"
    )
    command = [str(client.python), "-m", "pytest", "--net", f"{bare.name}//node=build1", "-n1", str(test)]
    env = {name: value for name, value in bare.env.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    runs = []
    try:
        for count in (1, 2):
            runs.append(subprocess.Popen(command, cwd=thing, env=env, stdout=subprocess.PIPE, text=True))
            while not (tmp_path / "began").exists() or len((tmp_path / "began").read_text().split()) < count:
                assert runs[-1].poll() is None, runs[-1].stdout.read()
                time.sleep(0.05)
    finally:
        (tmp_path / "go").touch()
        said = [run.communicate(timeout=WAIT)[0] for run in runs]
        test.unlink()
    assert [run.returncode for run in runs] == [0, 0], said
    first, second = (tmp_path / "began").read_text().split()
    assert Path(second).parent.name == Path(first).parent.name + ".2"
    held = json.loads(bare("packages", "build1", "--json"))
    titles = [
        each for host in held["hosts"] for each in host["packages"] if each["title"] == "tests of thing"
    ]
    assert titles and not any(each["in_use"] for each in titles)


INSIDE = {
    "inside/__init__.py": "VALUE = 5\n",
    "inside/deep/__init__.py": "",
    "inside/deep/words.txt": "words\n",
    "inside/tests/__init__.py": "",
    "inside/tests/conftest.py": "import pytest\n\n@pytest.fixture\ndef value():\n    return 5\n",
    "inside/tests/test_inside.py": (
        "from importlib import resources\n\nimport inside\nfrom inside.tests import conftest\n\n"
        "def test_value(value):\n    assert inside.VALUE == value and conftest.value\n\n"
        "def test_data():\n    file = resources.files('inside.deep') / 'words.txt'\n"
        "    assert file.read_text() == 'words\\n'\n\n"
        "def test_it_is_one_module():\n    assert __name__ == 'inside.tests.test_inside'\n"
    ),
    "test_beside.py": "import inside\n\ndef test_beside():\n    assert inside.VALUE == 6\n",
}


def test_tests_inside_of_the_package_find_it(client, bare, tmp_path):
    """Not installed: pytest's own rules lead to it."""
    root = tmp_path / "flat"
    for name, text in INSIDE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    done, here = run_of(client, bare, root, "-p", "no:xdist", "--import-mode=prepend")
    assert sorted(map(len, here.values())) == [0, 0, 0, 1], done.stdout + done.stderr
    spec = f"2*net={bare.name}//version={OWN}//packages=*"
    for args in (["--net", bare.name], ["--dist=load", "--tx", spec, f"--rsyncdir={root}", root]):
        done, there = run_of(client, bare, root, *args)
        # pytest-xdist's workers stand in the folder above
        assert {name.removeprefix("flat."): said for name, said in there.items()} == here, done.stdout


@pytest.mark.parametrize("version", ["3.12", "3.10"])
def test_other_versions_have_the_same_results(client, bare, thing, expected, version):
    done, results = run_of(client, bare, thing, "--net", f"{bare.name}//version={version}", "--word=given")
    assert results == expected, done.stdout + done.stderr
    assert f"linux -- Python {version}" in done.stdout


def test_other_implementations_have_the_same_results(client, bare, thing, network):
    test = thing / "tests" / "test_simple.py"
    test.write_text(
        "import pytest, thing\n\n"
        "@pytest.mark.parametrize('n', range(20))\n"
        "def test_it(n):\n    assert thing.plus(n) == n + 1, n\n    assert n % 7 != 5\n"
    )
    try:
        _, here = run_of(client, network, thing, "-p", "no:xdist", "tests/test_simple.py")
        where = f"{network.name}//implementation=pypy"
        done, there = run_of(client, network, thing, "--net", where, "tests/test_simple.py")
    finally:
        test.unlink()
    assert there == here and len(here) == 20, done.stdout + done.stderr
