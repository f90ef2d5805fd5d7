"""A plugin for pytest, for what pytest-xdist does not know of this execnet.

When its gateways cannot be made, it says so in a sentence, no internal error. And its workers, which the terminal does
not reach, hear of Ctrl-C at once.

pytest loads it wherever execnet is installed. So it is no part of that package, which only pytest-xdist needs.
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
    """Sees how the workers of pytest-xdist start, which it does in this hook."""
    outcome = yield
    error = outcome.excinfo and outcome.excinfo[1]
    if isinstance(error, Exception) and _comes_from_a_spec(error.__traceback__):
        # a KeyError is told as a repr
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        outcome.force_exception(pytest.UsageError(f"a worker cannot start: {said}"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_newgateway(gateway: Gateway) -> None:
    """Sees each worker of pytest-xdist."""
    _workers.add(gateway)


@pytest.hookimpl
def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Ctrl-C. pytest-xdist ends its workers when that has been handled, as at any end: what runs would have 5 s.

    `pytest.exit()` and pytest's own reasons to stop early are other types.
    """
    if excinfo.type is KeyboardInterrupt:
        for gateway in list(_workers):
            gateway._interrupt()


def _comes_from_a_spec(traceback: Optional[TracebackType]) -> bool:
    """Whether a spec was read there, or a gateway made of one."""
    multi, xspec = (sys.modules.get(f"execnet.{name}") for name in ("multi", "xspec"))
    if multi is None or xspec is None:
        return False
    codes = (multi.Group.makegateway.__code__, xspec.XSpec.__init__.__code__)
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False
