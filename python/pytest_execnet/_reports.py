"""What workers say of files: they have a copy of a folder that is here, each host its own.

pytest-xdist shows a skipped or broken module once if all workers say the same of it, and pytest counts equal
warnings as one. So the paths in these are brought home.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from execnet import Gateway

NAME = "execnet-reports"
"""The name of the plugin."""


class Reports:
    """A plugin for the main process."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        # replaced, not changed: reports are read in threads of their channels
        self._homes: dict[str, str] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_newgateway(self, gateway: Gateway) -> None:
        """Learn where the copies of a worker are: RSync brings folders into the one that it starts in."""
        if not gateway.spec.popen or gateway.spec.chdir:
            base = gateway._rinfo().cwd
            here = {os.path.join(base, root.name): str(root) for root in self._roots}
            self._homes = {**self._homes, **here}

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> None:
        """Change where a test or module was skipped, and what is said of a module that cannot be imported.

        Tracebacks of tests stay as they are: what was compared there must not look different.
        """
        said = data.get("longrepr")
        if isinstance(said, (tuple, list)) and said and isinstance(said[0], str):
            data["longrepr"] = (self._home(said[0]), *said[1:])
        elif isinstance(said, str):
            data["longrepr"] = self._home(said)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Change which file warned: its line is read here."""
        warning_message.filename = self._home(warning_message.filename)

    def _home(self, text: str) -> str:
        for copy, home in self._homes.items():
            if copy in text:
                text = home.join(re.split(rf"{re.escape(copy)}(?![\w.-])", text))
        return text
