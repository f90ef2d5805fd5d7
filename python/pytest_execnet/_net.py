"""`pytest --net NAME`: the tests run on the nodes of a network.

pytest-xdist distributes them. This says where: on one node of each host, by the processors that the hosts
have. It sends rootdir to each host once. A worker then finds itself in the copy of the folder that pytest was
called in, and gets the same arguments, so relative paths, test ids and coverage are as they are here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

import pytest

from ._copies import Sources
from ._nodes import chosen, left_out, none_of, processors, shares

if TYPE_CHECKING:
    from execnet import Group, Node, XSpec
    from execnet._native import Network
    from pluggy import Result
    from xdist.workermanage import NodeManager, WorkerController

NAME = "execnet-net"
"""The name of the plugin that `begin` registers."""

PASSED_ON = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
"""Variables that decide which options and plugins pytest has."""

ENOUGH = 5.0
"""Seconds that the gateways get to end that hold the copies."""

CACHE_OPTIONS = ("lf", "failedfirst", "newfirst", "stepwise")
"""Options that need what pytest remembers of earlier runs."""

# they show something and end
SHOW = ("help", "version", "collectonly", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow")


def begin(config: pytest.Config) -> None:
    """Choose nodes, and tell pytest-xdist of them: its options are set as if somebody had written them."""
    option = config.option
    if getattr(option, "numprocesses", None) == 0 or any(getattr(option, name, None) for name in SHOW):
        return
    if not config.pluginmanager.hasplugin("xdist"):
        raise pytest.UsageError(
            "--net needs pytest-xdist, which distributes the tests: pip install pytest-xdist"
        )
    if getattr(option, "looponfail", False):
        raise pytest.UsageError("-f (--looponfail) runs the tests here: leave --net out, or add -n0")
    if option.tx:
        raise pytest.UsageError("--net and --tx both say where the tests run: give one of them")
    if getattr(option, "usepdb", False):
        raise pytest.UsageError("--pdb needs the tests in this process: leave --net out")
    run = Run(config)
    option.tx = [str(spec) for spec in run.specs]
    option.numprocesses = None
    if option.maxworkerrestart is None:
        # as with -n; with --tx, pytest-xdist replaces workers without end
        option.maxworkerrestart = str(4 * len(run.specs))
    if option.dist == "no":
        option.dist = "load"
    config.pluginmanager.register(run, NAME)


class Run:
    """A run of tests on a network."""

    def __init__(self, config: pytest.Config) -> None:
        from execnet import HostNotFound, _from_spec, _native
        from execnet.xspec import XSpec

        self.config = config
        self.root = config.rootpath.resolve()
        if self.root in (Path(self.root.anchor), Path.home()):
            raise pytest.UsageError(
                f"--net would send all of {self.root}, which is rootdir: say with --rootdir, or by a "
                "pytest.ini, which folder the tests need"
            )
        self._refuse_what_is_outside()
        within = self._within(str(config.invocation_params.dir))
        # a folder outside of rootdir is not copied
        self._is_within = within is not None
        self.here = self.root / (within or "")
        try:
            self.spec = XSpec(f"net={option(config)}")
            _from_spec.refuse(self.spec)
            if self.spec.id is not None:
                raise ValueError("id= is for one gateway: pytest-xdist names its workers")
            network = _from_spec.connection(_from_spec.needed(self.spec, "net"))
            wanted = {
                key: _from_spec.needed(self.spec, key)
                for key in _from_spec.SELECTS
                if getattr(self.spec, key)
            }
            found = network.nodes(wanted) or self._awaited(network, wanted)
            hosts = network.hosts()
            named = "node" in wanted and _native.is_by_name(wanted["node"])
        except (OSError, ValueError, HostNotFound) as error:
            raise pytest.UsageError(f"--net: {error}") from None
        self.nodes = chosen(found, named)
        if not self.nodes:
            raise pytest.UsageError(f"--net: {none_of(str(self.spec.net), found)}")
        self._collected: set[str] = set()
        self._reported: set[str] = set()
        # why workers on these nodes failed
        self._failed: dict[str, str] = {}
        # a host without nodes may have those that are wanted, but not the one with this name
        asked = [host for host in hosts if "node" not in wanted or host[0] in {node.host for node in found}]
        self._left_out = left_out(asked, found, self.nodes, named)
        # they hold the copies
        self._group: Optional[Group] = None
        self._sources: Optional[Sources] = None
        self.places = shares(self.nodes, self._count())
        self.specs = [self._spec_for(node) for node in self.places]

    def _refuse_what_is_outside(self) -> None:
        """Raise UsageError for arguments that are not in the copies: other tests would run there."""
        here, option = self.config.invocation_params.dir, self.config.option
        places = []
        for arg in self.config.args:
            path = arg.partition("::")[0]
            if arg == str(here):
                places.append((f"the current folder, {here}", arg))
            elif not os.path.exists(here / path):
                # it may be the name of a module
                if not option.pyargs:
                    raise pytest.UsageError(f"file or directory not found: {arg}")
            elif not option.pyargs or os.sep in path:
                real = "" if os.path.isabs(path) else f", {(here / path).resolve()}"
                places.append((f"the argument {path}{real}", path))
        if self.config.inipath is not None:
            places.append((f"the configuration, {self.config.inipath}", str(self.config.inipath)))
        for named, path in places:
            real_path = (here / path).resolve()
            if self.root not in (real_path, *real_path.parents):
                raise pytest.UsageError(
                    f"--net copies rootdir, {self.root}, and {named}, is not in it: call pytest in rootdir, "
                    "with tests that are there, or name with --rootdir a folder that has it all"
                )

    def _awaited(self, network: Network, wanted: dict[str, str]) -> list[Node]:
        """Return the nodes that match, once there is one. The network knows whether there may be one soon,
        and if not, says why."""
        import execnet
        from execnet.xspec import XSpec

        with execnet.Group() as group:
            chosen = "//".join(f"{key}={value}" for key, value in {"net": self.spec.net, **wanted}.items())
            group.makegateway(XSpec(chosen))
            return network.nodes(wanted)

    def _count(self) -> int:
        """Return how many workers there are: as `-n` says, or one for each processor."""
        option, wanted = self.config.option, self.config.option.numprocesses
        count = wanted if isinstance(wanted, int) else sum(processors(node) for node in self.nodes)
        most = option.maxprocesses
        return min(count, most) if most and not isinstance(wanted, int) else count

    def _spec_for(self, node: Node) -> XSpec:
        from execnet.xspec import XSpec, items_of, parts_of

        replaced = ("platform", "implementation", "version", "node")
        parts = [part for part in parts_of(str(self.spec)) if part.partition("=")[0] not in replaced]
        parts.append(f"node={node.name}")
        if self.spec.packages is None:
            parts.append(f"packages={','.join(['*', *self._beside()])}")
        elif isinstance(self.spec.packages, str) and "*" not in items_of(self.spec.packages):
            # each worker needs these
            parts = [
                f"{part},pytest,pytest-xdist" if part.startswith("packages=") else part for part in parts
            ]
        return XSpec("//".join(parts))

    def _beside(self) -> list[str]:
        """Return the folders of PYTHONPATH that are not in rootdir: they travel, too."""
        folders = [os.path.abspath(folder) for folder in self._python_path() if os.path.isdir(folder)]
        return [folder for folder in folders if self._within(folder) is None and "," not in folder]

    def _python_path(self) -> list[str]:
        return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]

    @pytest.hookimpl
    def pytest_report_header(self) -> list[str]:
        """Say where the tests run."""
        from execnet._native import shown

        parts = [
            f"{self.places.count(node)} on {node.name} ({node.implementation} {node.version})"
            for node in self.nodes
            if node in self.places
        ]
        return [
            shown(f"network {self.spec.net}: {len(self.places)} workers, {', '.join(parts)}", one_line=True)
        ]

    def take_over(self, manager: NodeManager, roots: Sequence[Path]) -> list[Path]:
        """Leave pytest-xdist only the folders that the user named, and that are not in rootdir. Return all
        that reach the workers."""
        from xdist import workermanage

        manager.roots = [root for root in roots if self._within(str(root)) is None]
        # where pytest-xdist maps arguments to the folders that it sends
        self._reltoroot = getattr(workermanage, "make_reltoroot", None)
        if self._reltoroot is not None:
            workermanage.make_reltoroot = self._arguments
        return [self.root, *manager.roots]

    def prepare(self, specs: list[XSpec]) -> None:
        """Bring packages and rootdir to all hosts at a time, and leave out those where that fails."""
        option = self.config.option
        for line in self._left_out:
            self._tell(line)
        ignored = [str(pattern) for pattern in [*option.rsyncignore, *self.config.getini("rsyncignore")]]
        sources = self._sources = Sources(self.root, ignored, self._cached(), bool(self.spec.large))
        for note in sources.notes:
            self._tell(note)
        places = self._prepare_hosts(sources)
        for node, place in places.items():
            if isinstance(place, BaseException):
                self._tell(f"{node.name} is left out: {sentence(place)}")
        folders = {node.name: place for node, place in places.items() if isinstance(place, str)}
        for spec in specs:
            spec.chdir = folders.get(str(spec.node))
        specs[:] = [spec for spec in specs if spec.chdir is not None]
        if not specs:
            raise pytest.UsageError(f"--net: no node of {self.spec.net} can run the tests")
        # pytest-xdist's schedulers wait for so many
        option.tx = [str(spec) for spec in specs]

    def _cached(self) -> list[str]:
        """Return the files in which pytest remembers earlier runs, if `--lf` or the like asks for these."""
        cache = getattr(self.config, "cache", None)
        wanted = any(getattr(self.config.option, name, None) for name in CACHE_OPTIONS)
        folder = getattr(cache, "_cachedir", None)
        if not wanted or folder is None or self._within(str(folder)) is None:
            return []
        files = (self._within(str(file)) for file in folder.rglob("*") if file.is_file())
        return [file for file in files if file is not None]

    def _prepare_hosts(self, sources: Sources) -> dict[Node, Union[str, BaseException]]:
        """Bring packages and rootdir to each host. Return the folders there, or why that failed."""
        import execnet

        nodes = [node for node in self.nodes if node in self.places]
        done: queue.Queue[tuple[Node, Union[str, BaseException]]] = queue.Queue()
        group = self._group = execnet.Group()

        def prepare(node: Node) -> None:
            try:
                done.put((node, sources.send_to(group.makegateway(self._spec_for(node)), node.host)))
            except BaseException as error:
                done.put((node, error))

        for node in nodes:
            name = f"execnet {node.name}"
            threading.Thread(target=prepare, args=[node], name=name, daemon=True).start()
        return dict(done.get() for _ in nodes)

    def _tell(self, text: str, red: bool = False) -> None:
        from execnet._native import shown

        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"execnet: {shown(text, one_line=True)}", yellow=not red, red=red)

    @pytest.hookimpl
    def pytest_configure_node(self, node: WorkerController) -> None:
        """Bring a worker to the copy of this folder. It has the spec's folder as the current one."""
        node.sendcommand = unless_it_died(node.sendcommand)
        path = [
            rel
            for folder in self._python_path()
            if (rel := self._within(os.path.abspath(folder))) is not None
        ]
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if "PYTEST_ADDOPTS" in variables:
            words = shlex.split(variables["PYTEST_ADDOPTS"])
            variables["PYTEST_ADDOPTS"] = shlex.join(self._moved(word) for word in without_net(words))
        channel = node.gateway.remote_exec(ENTER)
        measures = f"coverage-{node.gateway.id}" if getattr(self.config.option, "cov_source", None) else None
        channel.send((self.root.name, os.path.relpath(self.here, self.root), path, variables, measures))
        channel.waitclose()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Remember which tests there are."""
        self._collected.update(ids)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember which tests have run."""
        self._reported.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: WorkerController, error: object) -> None:
        """Remember which workers failed."""
        if error:
            self._failed[str(node.gateway.spec.node)] = sentence(error)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Result[object], None]:
        """Go on without workers that cannot be replaced, because the network or their host is gone."""
        from execnet import HostNotFound, RemoteError

        session = self.config.pluginmanager.getplugin("dsession")
        clone = session._clone_node
        why: list[str] = []

        def clone_or_go_on(node: WorkerController) -> None:
            try:
                clone(node)
            except (OSError, EOFError, HostNotFound, RemoteError) as error:
                why.append(sentence(error))
                self._tell(f"worker {node.gateway.id} is not replaced: {why[-1]}")
                # without all collections, it would wait for another one
                if session._active_nodes == {node} or not session.sched.collection_is_completed:
                    raise pytest.UsageError(f"a worker cannot be replaced: {why[-1]}") from None

        session._clone_node = clone_or_go_on
        outcome = yield
        if why and outcome.excinfo and outcome.excinfo[0] is RuntimeError:
            # the others ended before they could take over
            outcome.force_exception(pytest.UsageError(f"a worker cannot be replaced: {why[-1]}"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let a run fail in which tests did not run: pytest-xdist gives up if too many workers fail."""
        if session.exitstatus == pytest.ExitCode.OK and self._failed and self._collected - self._reported:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, exitstatus: int) -> None:
        """Say which nodes failed, if tests did not run."""
        left = len(self._collected - self._reported)
        if not self._failed or self._collected and not left or exitstatus == pytest.ExitCode.INTERRUPTED:
            return
        which = f"{left} of {len(self._collected)} tests did not run" if self._reported else "no test has run"
        for node, why in self._failed.items():
            self._tell(f"{which}: a worker on {node} failed: {why}", red=True)

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        """Give the copies free, and leave pytest-xdist as it was."""
        if self._group is not None:
            self._group.terminate(ENOUGH)
        if getattr(self, "_reltoroot", None) is not None:
            from xdist import workermanage

            workermanage.make_reltoroot = self._reltoroot

    def _arguments(self, roots: Sequence[Path], args: list[str]) -> list[str]:
        """Return the arguments for a worker. The first ones make it as the main process is."""
        dist = f"--dist={self.config.option.dist}"
        root = f"--rootdir={os.path.relpath(self.root, self.here)}"
        return [dist, root, *(self._moved(arg) for arg in without_net(args))]

    def _moved(self, arg: str) -> str:
        """Return an argument in which an absolute path in rootdir is one relative to the worker's folder."""
        option, equals, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
        path, colons, rest = value.partition("::")
        if not os.path.isabs(path):
            # the copy has the folder's name, but perhaps not those of the ones above
            is_below = self._is_within and not path.startswith("..")
            if is_below or not path or not os.path.exists(path):
                return arg
        within = self._within(os.path.abspath(path))
        if within is None:
            return arg
        moved = os.path.relpath(self.root / within, self.here)
        return f"{option}{equals}{moved}{colons}{rest}"

    def _within(self, path: str) -> Optional[str]:
        """Return where in rootdir an absolute path is, also by links; None if it is not there."""
        for candidate in (Path(os.path.normpath(path)), Path(path).resolve()):
            if self.root in (candidate, *candidate.parents):
                return str(candidate.relative_to(self.root))
        return None


def roots_of_the_user(roots: Sequence[Path]) -> list[Path]:
    """Return the folders that pytest-xdist sends, without pytest itself."""
    import _pytest

    own = {Path(module.__file__ or "").parent.resolve() for module in (pytest, _pytest)}
    return [root for root in roots if root not in own]


def option(config: pytest.Config) -> Optional[str]:
    """Return the value of `--net`; None on workers, which have the option, too."""
    value: Optional[str] = getattr(config.option, "net", None)
    return None if hasattr(config, "workerinput") else value


def without_net(args: Sequence[str]) -> list[str]:
    """Return arguments without `--net`, which workers need not know."""
    kept: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            return [*kept, word, *words]
        if word == "--net":
            next(words, None)
        elif not word.startswith("--net="):
            kept.append(word)
    return kept


def unless_it_died(send: Callable[..., None]) -> Callable[..., None]:
    """Return the function without errors if the worker is gone: pytest-xdist will hear of that, and several
    may be gone at a time."""

    def sent(name: str, **kwargs: object) -> None:
        with contextlib.suppress(OSError):
            send(name, **kwargs)

    return sent


def sentence(error: object) -> str:
    """Return what an error says, without the traceback on a host, and without a list of what there is."""
    before, traceback, rest = str(error).partition("Traceback (most recent call last):")
    last = rest.strip().splitlines()[-1:]
    return before + last[0] if traceback and last else before.partition("; there are:")[0]


ENTER = """
import os, sys

root, folder, path, variables, measures = channel.receive()
root = os.path.abspath(root)
os.environ.update(variables)
path = [os.path.normpath(os.path.join(root, entry)) for entry in path]
if path:
    sys.path[0:0] = path
    path += [entry for entry in [os.environ.get("PYTHONPATH")] if entry]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
if measures:
    # a folder of its own, and empty: workers combine what they find
    if not os.path.isdir(measures):
        os.mkdir(measures)
    for name in os.listdir(measures):
        os.unlink(os.path.join(measures, name))
    os.environ["COVERAGE_FILE"] = os.path.abspath(os.path.join(measures, ".coverage"))
os.chdir(os.path.join(root, folder))
"""
"""Executed in a worker: makes it as the main process is, in its copy of the folder."""
