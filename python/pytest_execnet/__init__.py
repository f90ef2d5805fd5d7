"""A plugin for pytest: what pytest-xdist says when its gateways cannot be made is a sentence, no internal error.

pytest loads it wherever execnet is installed. So it is no part of that package, which only pytest-xdist needs.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from types import TracebackType
from typing import Any, Optional

import pytest


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_sessionstart() -> Generator[None, Any, None]:
    """Sees how the workers of pytest-xdist start, which it does in this hook."""
    outcome = yield
    error = outcome.excinfo and outcome.excinfo[1]
    if isinstance(error, Exception) and _comes_from_makegateway(error.__traceback__):
        # a KeyError is told as a repr
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        outcome.force_exception(pytest.UsageError(f"a worker cannot start: {said}"))


def _comes_from_makegateway(traceback: Optional[TracebackType]) -> bool:
    multi = sys.modules.get("execnet.multi")
    makegateway = multi and multi.Group.makegateway.__code__
    while traceback is not None:
        if traceback.tb_frame.f_code is makegateway:
            return True
        traceback = traceback.tb_next
    return False
