"""Text from a host cannot steer the terminal that it is printed on."""

import contextlib
import os
import pickle
import subprocess
import sys
import traceback
import unicodedata

import execnet
import pytest
from conftest import WAIT
from execnet._native import shown

HOSTILE = "A\x1b]0;title\x07\x9b31m\rB\u061c\u200b\u2028\u202e\ufeff\U000e0041\x7f"
ESCAPED = r"A\x1b]0;title\x07\x9b31m\rB\u061c\u200b\u2028\u202e\ufeff\U000e0041\x7f"


def test_what_a_remote_error_says_is_escaped_and_what_came_is_there(gateway):
    channel = gateway.remote_exec(f"def f():\n\traise ValueError({HOSTILE!r})\nf()")
    with pytest.raises(execnet.RemoteError) as caught:
        channel.receive(WAIT)
    error = caught.value
    assert HOSTILE in error.raw
    printed = "".join(traceback.format_exception(type(error), error, None))
    for text in (str(error), repr(error), error.formatted, printed):
        assert ESCAPED in text
        assert all(c.isprintable() or c in "\n\t" for c in text)
    # line ends are kept
    assert "ValueError: " in str(error).splitlines()[-1] and len(str(error).splitlines()) > 3
    again = pickle.loads(pickle.dumps(error))
    assert (again.raw, str(again)) == (error.raw, str(error))


def test_an_error_that_nobody_receives_is_told_escaped(run_program):
    done = run_program(
        "import execnet, time\n"
        f"channel = execnet.makegateway().remote_exec({f'raise ValueError({HOSTILE!r})'!r})\n"
        "while not channel.isclosed(): time.sleep(0.01)\n"
        "del channel\n"
    )
    assert f"ValueError: {ESCAPED}\n" in done.stderr


def test_the_last_words_of_an_interpreter_are_escaped(group):
    gateway = group.makegateway("popen//id=gw")
    code = f"import os; os.write(2, {HOSTILE!r}.encode()); os._exit(3)"
    with pytest.raises(execnet.GatewayDied) as caught:
        gateway.remote_exec(code).receive(WAIT)
    assert ESCAPED in str(caught.value)


def test_what_a_gateway_prints_is_escaped_on_a_terminal_and_whole_elsewhere(tmp_path):
    code = f"import os; os.write(2, {HOSTILE!r}.encode() + b'\\n')"
    program = f"import execnet; execnet.makegateway('popen//id=gw').remote_exec({code!r}).waitclose({WAIT})"
    command = [sys.executable, "-c", program]
    assert f"[gw] {HOSTILE}\n".encode() in subprocess.run(command, capture_output=True, timeout=WAIT).stderr
    ours, theirs = os.openpty()
    child = subprocess.Popen(command, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # it is closed everywhere
        while more := os.read(ours, 4096):
            said += more
    os.close(ours)
    assert child.wait(WAIT) == 0
    assert said.decode() == f"[gw] {ESCAPED}\r\n"


def test_what_an_interpreter_says_that_is_none_is_escaped(tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nprintf '\\033]0;title\\007'; printf '\\033[2J' >&2\n")
    program.chmod(0o755)
    with pytest.raises(OSError, match="ended|exited") as caught:
        execnet.makegateway(f"popen//python={program}")
    text = str(caught.value)
    assert r"\x1b]0;title\x07" in text and r"\x1b[2J" in text and "\x1b" not in text


def test_errors_and_names_of_our_own_are_escaped(gateway):
    with pytest.raises(execnet.DumpError) as caught:
        gateway.newchannel().send({HOSTILE[:9]: object()})
    assert str(caught.value) == f"cannot send an object, at ['{ESCAPED[:12]}']"
    with pytest.raises(OSError, match="not found") as started:
        execnet.makegateway(f"popen//python='/no/{HOSTILE}'")
    assert ESCAPED in str(started.value)


def test_every_character_is_shown_or_escaped():
    for code in [*range(0x20000), *range(0xE0000, 0xE0200), *range(0x20000, sys.maxunicode + 1, 0x101)]:
        text = shown(chr(code))
        assert text in (chr(code), ascii(chr(code))[1:-1]), hex(code)
        # the character may be assigned there, but not here
        if unicodedata.category(chr(code)) != "Cn":
            assert text.isprintable() or text in "\n\t" or unicodedata.category(text) == "Zs", hex(code)
    assert shown("\ud800 a\u200db") == r"\ud800 a\u200db"
    assert shown("a\r\nb\rc\t") == "a\nb\\rc\t"
    assert shown("a\nb\t", one_line=True) == r"a\nb\t"
    family = "👩\u200d👩\u200d👧 ❤\ufe0f é 漢字 می\u200cخواهم"
    assert shown(family) == family
