"""What the wheel brings besides the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

PAGES = Path(sys.prefix, "share/man/man1")


def test_the_wheel_has_a_manual_page_of_each_command() -> None:
    program = Path(sys.prefix, "bin/execnet")
    told = subprocess.run([program, "help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^  ([a-z]+)  +[A-Z]", told.partition("Commands:\n")[2].partition("\n\n")[0], re.M)
    assert {"start", "exec", "man"} < set(commands)
    names = {"execnet.1", *(f"execnet-{command}.1" for command in commands if command != "help")}
    assert {page.name for page in PAGES.glob("execnet*")} == names


def test_man_finds_the_pages_of_an_active_environment() -> None:
    if shutil.which("man") is None:
        import pytest

        pytest.skip("skipped, because there is no man")
    env = {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
    found = subprocess.run(["man", "-w", "execnet-exec"], env=env, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).samefile(PAGES / "execnet-exec.1")
