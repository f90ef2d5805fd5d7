"""A pytest plugin that adapts pytest-xdist to this execnet.

If a gateway cannot be made, pytest shows a sentence instead of an internal error. Ctrl-C reaches the workers,
which have no terminal, at once.

pytest loads the plugin wherever execnet is installed, so it does not import that package: only pytest-xdist
needs it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Optional

import pytest

if TYPE_CHECKING:
    from execnet import Gateway
    from pluggy import Result

_workers: weakref.WeakSet[Gateway] = weakref.WeakSet()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionstart() -> Generator[None, Result[None], None]:
    """Report errors of pytest-xdist's start of its workers, which happens in this hook, as usage errors."""
    outcome = yield
    error = outcome.excinfo and outcome.excinfo[1]
    if isinstance(error, Exception) and _comes_from_a_spec(error.__traceback__):
        # str() of a KeyError is a repr
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        outcome.force_exception(pytest.UsageError(f"a worker cannot start: {said}"))


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
