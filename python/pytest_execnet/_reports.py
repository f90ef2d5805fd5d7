"""What workers say of files: they have copies of folders that are here, each host its own.

pytest-xdist shows a skipped or broken module once if all workers say the same of it, and pytest counts equal
warnings as one. Coverage adds up what is said of one file. So the paths are brought home.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
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

    def __init__(self, config: pytest.Config, roots: Sequence[Path]) -> None:
        self._config = config
        self._roots = roots
        # replaced, not changed: reports are read in threads of their channels
        self._homes: dict[str, str] = {}
        self._packages: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_newgateway(self, gateway: Gateway) -> None:
        """Learn where the copies of a worker are: RSync brings folders into the one that it starts in."""
        if not gateway.spec.popen or gateway.spec.chdir:
            base = gateway._rinfo().cwd
            here = {os.path.join(base, root.name): str(root) for root in self._roots}
            self._homes = {**self._homes, **here}
        folders = gateway.packages.folders if gateway.packages else []
        self._packages += [folder for folder in folders if folder not in self._packages]
        self._map_coverage()

    def _map_coverage(self) -> None:
        """Let pytest-cov find here what workers measured. Alone it does so only if the user's configuration
        names the folders of the workers."""
        controller = getattr(self._config.pluginmanager.getplugin("_cov"), "cov_controller", None)
        combining = getattr(controller, "combining_cov", None)
        if combining is None:
            return
        paths = dict(combining.get_option("paths"))
        for number, root in enumerate(map(str, self._roots)):
            copies = [copy for copy, home in self._homes.items() if home == root]
            paths[f"execnet root {number}"] = [root, *copies]
        # coverage takes the first one that has the file
        for number, folder in enumerate(self._folders()):
            paths[f"execnet packages {number}"] = [folder, *self._packages]
        combining.set_option("paths", paths)
        # what workers execute bears the name of the file here, where nothing tells them what is installed
        sent = getattr(sys.modules.get("xdist.remote"), "__file__", None)
        omitted = combining.get_option("report:omit") or []
        if sent is not None and sent not in omitted:
            combining.set_option("report:omit", [*omitted, sent])

    def _folders(self) -> list[str]:
        """Return the folders here whose files packages have: without those that are sent as they are."""
        skipped = {*map(str, self._roots), *map(sysconfig.get_path, ("stdlib", "platstdlib"))}
        return [
            folder
            for folder in sys.path
            if os.path.isabs(folder) and os.path.isdir(folder) and folder not in skipped
        ]

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
