"""README and guide do what they show: runs every block in order, on a lab with the hosts that they name.

A block that begins with `$` or `execnet` runs in the shell. All Python blocks of a page run in one
interpreter. A block after one of these is its output: numbers and ids in it may differ, and `…` stands for
any text. Lines after `>>>` in the output of a command are typed at a terminal, and so is `~d`.
"""

import ast
import codecs
import functools
import os
import re
import select
import shutil
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Whoever runs the tests does this anyway.
NOT_RUN = (
    "pip install .",  # installs the tested package
    "./scripts/demo",  # builds the command and starts a network of this machine
    "./scripts/test",  # runs this test
)

ID = r"\b[0-9a-f]{8}\b"
"""The id of a process."""

LIMIT = 600
"""Seconds until a block counts as hanging."""

RUNNER = """
import linecache, sys, traceback
space = {"__name__": "__main__"}
for path in iter(sys.stdin.readline, ""):
    path = path.strip()
    try:
        exec(compile(open(path).read(), path, "exec"), space)
    except Exception as error:
        print("".join(traceback.format_exception_only(type(error), error)), end="")
    print("\\x1e", flush=True)
"""


def blocks(page):
    """The kinds and texts of the indented blocks of a page. Code and its output are separate blocks."""
    text = (ROOT / page).read_text()
    for run in re.findall(r"(?:^|\n\n)((?:    .*\n|\n(?=    ))+)", text):
        parts = textwrap.dedent(run).strip("\n").split("\n\n")
        while parts:
            ends = [end for end in range(1, len(parts) + 1) if is_code(parts[:end])]
            end = ends[-1] if ends else 1
            yield kind("\n\n".join(parts[:end])), "\n\n".join(parts[:end])
            parts = parts[end:]


def is_code(parts):
    """Whether parts are Python, and the last one is more than values that were printed."""
    if parsed("\n\n".join(parts)) is None:
        return False
    last = parsed(parts[-1])
    values = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Subscript, ast.Name)
    if last is None:
        return True
    return not all(isinstance(line, ast.Expr) and isinstance(line.value, values) for line in last)


def parsed(text):
    try:
        return ast.parse(text).body
    except SyntaxError:
        return None


def kind(block):
    if block.startswith(("$ ", "execnet ")):
        return "shell"
    if re.match(r"let |fn main", block):
        return "rust"
    return "python" if is_code([block]) else "output"


def normal(line):
    """A line without the parts that differ from run to run."""
    line = re.sub(rf"{ID}|\d+(\.\d+)*( ms| s| min)?", "#", line)
    # a round trip is shown only after it was measured
    line = re.sub(r" -\s*$", " #", line)
    return re.sub(r"\s+", " ", line).strip()


def ids(expected, said):
    """The ids in the expected lines, and those in the lines that were printed in their place."""
    pairs = [(line, printed(line, said)) for line in expected.splitlines()]
    return [pair for both in pairs for pair in zip(*(re.findall(ID, line or "") for line in both))]


def printed(expected, said):
    """The line that was printed for an expected one, if one was."""
    wanted = ".*".join(map(re.escape, normal(expected).split("…")))
    return next((line for line in said.splitlines() if re.search(wanted, normal(line))), None)


def missing(expected, said):
    """The expected lines that are missing. Lines about joining hosts do not count, as they vary."""
    certain = [line for line in expected.splitlines() if not re.match(r"\S+: (joining|up)\b", line)]
    return [line for line in certain if line.strip(" …") and printed(line, said) is None]


class Reader:
    """A person who types what a page shows, in a folder of their own, and compares the output."""

    def __init__(self, folder, ssh_config, python):
        self.folder = folder
        self.name = f"docs{os.getpid()}"
        tools = folder / "tools"
        tools.mkdir()
        # finds the lab's hosts instead of your own
        ssh = tools / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {ssh_config} "$@"\n')
        ssh.chmod(0o755)
        path = os.pathsep.join([str(tools), str(python.parent), os.environ["PATH"]])
        folders = {"XDG_CONFIG_HOME": str(folder), "XDG_STATE_HOME": str(folder)}
        self.env = dict(os.environ, PATH=path, COLUMNS="100", **folders)
        self.python = subprocess.Popen(
            [str(python), "-u", "-c", RUNNER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=folder, env=self.env,
        )  # fmt: skip
        self.said = ""
        self.ids = {}
        threading.Thread(target=self._listen, daemon=True).start()
        self.count = 0

    def _listen(self):
        while True:
            more = os.read(self.python.stdout.fileno(), 65536).decode()
            if not more:
                break
            self.said += more

    def ours(self, text):
        """Replaces the page's network name by the one used here."""
        return text.replace("mynet", self.name)

    def run(self, command):
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=LIMIT
        )  # fmt: skip

    def shell(self, block):
        for command, expected in commands(self.ours(block)):
            if command.startswith("cat "):
                (self.folder / command.split()[1]).write_text(expected + "\n")
            if keys := typed(expected):
                said = self.type(command, keys)
                assert not missing(expected.replace("~d\n", ""), said), f"{command}\n{said}"
                continue
            command = re.sub(ID, lambda id: self.ids.get(id[0], id[0]), command)
            end = time.monotonic() + LIMIT
            while True:
                done = self.run(["bash", "-c", command])
                said = done.stdout + done.stderr
                # what runs in the background may only begin to
                if not missing(expected, said) or "execnet ps" not in command or time.monotonic() > end:
                    break
            assert done.returncode == ("FAILED" in expected), f"{command}\n{said}"
            assert not missing(expected, said), f"{command}\n{said}"
            self.ids.update(ids(expected, said))

    def type(self, command, keys):
        """Types at a program in a terminal, each time when that has shown enough. Returns what that shows."""
        ours, theirs = os.openpty()
        program = subprocess.Popen(
            ["setsid", "--ctty", "bash", "-c", command],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=self.folder, env=dict(self.env, TERM="dumb"),
        )  # fmt: skip
        os.close(theirs)
        said, end = "", time.monotonic() + LIMIT
        decoder = codecs.getincrementaldecoder("utf-8")()
        while True:
            assert select.select([ours], [], [], max(0, end - time.monotonic()))[0], f"{command}\n{said}"
            try:
                more = os.read(ours, 65536)
            except OSError:  # its last process has closed the terminal
                break
            if not more:
                break
            said += decoder.decode(more).replace("\r", "")
            while keys and keys[0][0](said):
                os.write(ours, keys.pop(0)[1].encode())
        os.close(ours)
        assert program.wait(LIMIT) == 0 and not keys, f"{command}\n{said}"
        return said

    def execute(self, block, expected):
        self.count += 1
        program = self.folder / f"block{self.count}.py"
        program.write_text(self.ours(block) + "\n")
        expected = self.ours(expected) + "\n" + "\n".join(re.findall(r"^ *print\(.*\) +# (.*)$", block, re.M))
        self.said = ""
        self.python.stdin.write(f"{program}\n")
        self.python.stdin.flush()
        end = time.monotonic() + LIMIT
        while "\x1e" not in self.said or missing(expected, self.said):
            assert time.monotonic() < end and self.python.poll() is None, f"{block}\nprinted:\n{self.said}"
            if "\x1e" in self.said and "Error" in self.said and "Error" not in expected:
                pytest.fail(f"{block}\nprinted:\n{self.said}")
            time.sleep(0.02)

    def rust(self, block, expected):
        """Runs the example of the crate that contains these lines."""
        example = ROOT / "crates/execnet/examples/connect.rs"
        lines = [line.strip() for line in example.read_text().splitlines()]
        for line in block.splitlines():
            line = re.sub(r" +//.*", "", line.strip()).replace('"mynet"', "&name")
            assert line in lines, f"{line!r} is not in {example}"
        program = ROOT / "target/debug/examples/connect"
        done = self.run([program, self.name])
        assert done.returncode == 0 and not missing(expected, done.stdout), done.stdout + done.stderr

    def read(self, page):
        """Runs each block."""
        every = list(blocks(page))
        assert {what for what, _ in every} == {"shell", "python", "rust", "output"}, every
        for at, (what, block) in enumerate(every):
            if block.strip().startswith(NOT_RUN):
                continue
            after, text = every[at + 1] if at + 1 < len(every) else ("", "")
            expected = text if after == "output" and not text.strip().startswith(NOT_RUN) else ""
            if what == "output":
                assert every[at - 1][0] in ("python", "rust"), f"nobody printed this:\n{block}"
            elif what == "shell":
                self.shell(block)
            elif what == "python":
                self.execute(block, expected)
            else:
                self.rust(block, expected)

    def close(self):
        self.python.stdin.close()
        self.python.wait(LIMIT)
        subprocess.run(["execnet", "stop", self.name], env=self.env, capture_output=True, timeout=LIMIT)


def typed(expected):
    """What is typed at a terminal, each with the condition for what has been shown before."""
    before, leaves, _ = expected.partition("\n~d\n")
    if leaves:
        return [(lambda said: not missing(before, said), "\r~d")]
    lines = re.findall(r"^>>> (.*)$", expected, re.M)
    keys = [*(line + "\n" for line in lines), "\x04"] if lines else []

    def prompts(number, said):
        return said.count("\n>>> ") > number

    return [(functools.partial(prompts, number), key) for number, key in enumerate(keys)]


def commands(block):
    """Commands, and the output of each."""
    if not block.startswith("$ "):
        return [(re.sub(r" +# .*", "", line), "") for line in block.splitlines()]
    parts = [part.partition("\n") for part in ("\n" + block).split("\n$ ")[1:]]
    return [(command, said) for command, _, said in parts]


@pytest.fixture
def reader(tmp_path, client):
    program = os.environ.get("EXECNET_TESTKIT")
    if program is None:
        pytest.skip("skipped, because EXECNET_TESTKIT does not say where the lab's program is")
    command = [program, "lab", "--inner", "--python", "3.11", "pypy3", "jython"]
    lab = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    config = next(line.split()[1] for line in lab.stdout if line.startswith("ssh_config: "))
    # the name that the guide uses
    (tmp_path / "proj").mkdir()
    reader = Reader(tmp_path / "proj", config, client.python)
    yield reader
    reader.close()
    lab.stdin.close()
    lab.wait(LIMIT)


def write_sources(folder, more):
    """Makes the folders that the guide uses."""
    (folder / "src/data").mkdir(parents=True)
    (folder / "src/tool.py").write_text("")
    (folder / "src/tool.pyc").write_text("")
    tests = folder / "tests"
    tests.mkdir()
    right = "@pytest.mark.parametrize('n', range(200))\ndef test_right(n): assert n + n == 2 * n\n"
    (tests / "test_sums.py").write_text("import pytest\n" + right + more)


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_every_block_of_a_page_does_what_it_shows(reader, page):
    failing = "def test_wrong(): total = 3; assert total == 4\n"
    write_sources(reader.folder, failing if "guide" in page else "")
    reader.read(page)
