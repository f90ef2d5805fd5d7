"""A pytest plugin that adapts pytest-xdist to this execnet.

`pytest --net NAME` runs the tests on the nodes of a network. If a gateway cannot be made, pytest shows a
sentence instead of an internal error. Ctrl-C reaches the workers, which have no terminal, at once.

pytest loads the plugin wherever execnet is installed, so it does not import that package: only pytest-xdist
needs it.
"""

from __future__ import annotations

import os
import shutil
import sys
import weakref
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional

import pytest

if TYPE_CHECKING:
    from execnet import Gateway, XSpec
    from pluggy import Result

_workers: weakref.WeakSet[Gateway] = weakref.WeakSet()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--net`. Its twin in remote/standin is for workers that have no execnet."""
    group = parser.getgroup("execnet", "tests on other machines")
    group.addoption(
        "--net",
        metavar="NAME",
        help="Run the tests on the nodes of this execnet network, which need nothing but Python: rootdir and "
        "all that is installed here travel. One worker for each processor, or as many as -n says. "
        "NAME//platform=linux//version=3.12 chooses nodes, as in a spec.",
    )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Let plugins that ask early see that the tests are distributed: pytest-cov does."""
    known = early_config.known_args_namespace
    if (
        known.net is not None
        and getattr(known, "numprocesses", 0) != 0
        and getattr(known, "dist", "") == "no"
    ):
        known.dist = "load"
    yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None]:
    """Set the options of pytest-xdist before it reads them, which it does in this hook, too."""
    from . import _net

    if _net.option(config) is not None:
        _net.begin(config)
    elif not hasattr(config, "workerinput"):
        _warn_of_a_local_run(config)
    yield


def _warn_of_a_local_run(config: pytest.Config) -> None:
    option = config.option
    elsewhere = [spec for spec in getattr(option, "tx", ()) if "net=" in spec]
    if elsewhere and option.dist == "no" and not option.distload and option.numprocesses is None:
        config.issue_config_time_warning(
            pytest.PytestConfigWarning(
                f"--tx {elsewhere[0]} has no effect without --dist: the tests run here. Add --dist load"
            ),
            stacklevel=2,
        )


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionstart() -> Generator[None, Result[None], None]:
    """Report errors of pytest-xdist's start of its workers, which happens in this hook, as usage errors."""
    _say_why_no_worker_starts((yield))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtestloop() -> Generator[None, Result[object], None]:
    """The same for workers that replace others."""
    _say_why_no_worker_starts((yield))


def _say_why_no_worker_starts(outcome: Result[Any]) -> None:
    error = outcome.excinfo and outcome.excinfo[1]
    if isinstance(error, Exception) and _comes_from_a_spec(error.__traceback__):
        # str() of a KeyError is a repr
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        outcome.force_exception(pytest.UsageError(f"a worker cannot start: {said}"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[XSpec]) -> None:
    """Tell execnet which folders reach the workers by RSync: they are no packages, too."""
    from execnet import _packages

    from . import _net, _reports

    for spec in specs:
        _refuse_lost_packages(spec)
    session = config.pluginmanager.getplugin("dsession")
    if session is None:
        return  # another plugin distributes the tests
    manager = session.nodemanager
    roots = _net.roots_of_the_user(manager.roots)
    run = config.pluginmanager.getplugin(_net.NAME)
    if run is not None:
        roots = run.take_over(manager, roots)
    _packages.sent[:] = [str(root) for root in roots]
    if roots or any(spec.packages for spec in specs):
        config.pluginmanager.register(_reports.Reports(config, roots), _reports.NAME)
    if run is not None:
        run.prepare(specs)


@pytest.hookimpl
def pytest_unconfigure() -> None:
    """Forget the folders of this session."""
    packages = sys.modules.get("execnet._packages")
    if packages is not None:
        packages.sent.clear()


def _refuse_lost_packages(spec: XSpec) -> None:
    """Raise UsageError for a worker whose packages would be in vain."""
    if spec.packages is None or not spec.popen:
        return
    if spec.via:
        how = "leave popen out"
    elif spec.python and os.path.realpath(shutil.which(spec.python) or "") != os.path.realpath(
        sys.executable
    ):
        how = "use ssh= or net= for other interpreters, or install pytest there"
    else:
        return
    raise pytest.UsageError(
        f"pytest-xdist gives `popen` workers the sys.path of this process, so packages= of {str(spec)!r} "
        f"would have no effect: {how}"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_newgateway(gateway: Gateway) -> None:
    """Remember each worker of pytest-xdist."""
    _workers.add(gateway)


@pytest.hookimpl
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Interrupt the workers: pytest-xdist would let their tests run for 5 s more.

    `pytest.exit()` and pytest's own reasons to stop early have other types.
    """
    if excinfo.type is KeyboardInterrupt:
        for gateway in list(_workers):
            gateway._interrupt()


def _comes_from_a_spec(traceback: Optional[TracebackType]) -> bool:
    """Return whether the error comes from reading a spec or making a gateway."""
    multi, xspec = (sys.modules.get(f"execnet.{name}") for name in ("multi", "xspec"))
    if multi is None or xspec is None:
        return False
    codes = (multi.Group.makegateway.__code__, xspec.XSpec.__init__.__code__)
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False
