"""How execnet 2 reached an interpreter, under the names that programs import from here.

The package does not use them: it starts interpreters in another way. Replacing one of them has no effect.
"""

from __future__ import annotations

import shlex
import sys

from .xspec import XSpec

__all__ = ["popen_args", "popen_bootstrapline", "shell_split_path", "ssh_args", "vagrant_ssh_args"]

popen_bootstrapline = "import sys;exec(eval(sys.stdin.readline()))"


def shell_split_path(path: str) -> list[str]:
    """Return the words of `python=`."""
    return shlex.split(path)


def popen_args(spec: XSpec) -> list[str]:
    """Return the command with which execnet 2 started a `popen` gateway."""
    words = shell_split_path(spec.python) if spec.python else [sys.executable]
    return [*words, "-u", *(["-B"] if spec.dont_write_bytecode else []), "-c", popen_bootstrapline]


def ssh_args(spec: XSpec) -> list[str]:
    """Return the command with which execnet 2 started an `ssh=` gateway."""
    assert spec.ssh is not None
    return ["ssh", "-C", *_config(spec), *spec.ssh.split(), _remote(spec)]


def vagrant_ssh_args(spec: XSpec) -> list[str]:
    """Return the command with which execnet 2 started a `vagrant_ssh=` gateway."""
    assert spec.vagrant_ssh is not None
    return ["vagrant", "ssh", spec.vagrant_ssh, "--", "-C", *_config(spec), _remote(spec)]


def _config(spec: XSpec) -> list[str]:
    return [] if spec.ssh_config is None else ["-F", str(spec.ssh_config)]


def _remote(spec: XSpec) -> str:
    return f'{spec.python or "python"} -c "{popen_bootstrapline}"'
