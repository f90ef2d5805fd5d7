"""Builds the wheel: maturin makes the package, this adds the native `execnet` command and its manual pages.

A PEP 517 backend. Maturin's data folder puts the native command among the wheel's scripts, without a console
script around it, and the pages into the environment's `share/man/man1`, where `man` looks because of PATH.
`EXECNET_BUILD_PROFILE=dev` builds both without optimization, which is quicker; `EXECNET_BUILT_COMMAND=FILE`
uses a command that is already built.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import maturin
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parents[2]
PROFILE = os.environ.get("EXECNET_BUILD_PROFILE", "release")

# pyproject.toml names the folder above it, and maturin wants to see that whatever it is asked
SCRIPTS = ROOT / "target/wheel/scripts"
SCRIPTS.mkdir(parents=True, exist_ok=True)
PAGES = ROOT / "target/wheel/data/share/man/man1"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    add_command()
    return maturin.build_wheel(wheel_directory, with_profile(config_settings), metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    add_command()
    return maturin.build_editable(wheel_directory, with_profile(config_settings), metadata_directory)


def with_profile(config_settings):
    # maturin builds for release unless it is told otherwise
    args = os.environ.get("MATURIN_PEP517_ARGS", "")
    if "--profile" not in args:
        os.environ["MATURIN_PEP517_ARGS"] = f"{args} --profile={PROFILE}".strip()
    return config_settings


def add_command():
    """Builds the command, and puts it and its pages where maturin takes them from."""
    build_command()
    shutil.rmtree(PAGES, ignore_errors=True)
    try:
        subprocess.run([SCRIPTS / "execnet", "man", "--install", "--to", PAGES], check=True)
    except OSError as error:
        # built for another machine
        print(f"the wheel has no manual pages: {error}")


def build_command():
    built = os.environ.get("EXECNET_BUILT_COMMAND")
    if built:
        shutil.copy2(built, SCRIPTS / "execnet")
        return
    cargo = [
        os.environ.get("CARGO", "cargo"),
        "build",
        "--locked",
        f"--profile={PROFILE}",
        "--package=execnet-cli",
    ]
    told = subprocess.run(
        [*cargo, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    messages = map(json.loads, told.stdout.splitlines())
    programs = [message["executable"] for message in messages if message.get("executable")]
    shutil.copy2(programs[-1], SCRIPTS / "execnet")
