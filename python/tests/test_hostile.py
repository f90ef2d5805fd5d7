"""Values that a malicious host sends: they take time or are refused, but block nothing."""

import signal
import sys
import threading
import time

import execnet
import pytest
from conftest import WAIT

# all have the same hash
PRIME = 2**61 - 1
SLOW = {
    "dict": f"dict.fromkeys([k * {PRIME} for k in range(1, N)])",
    "set": f"set([k * {PRIME} for k in range(1, N)])",
    "frozenset": f"frozenset([k * {PRIME} for k in range(1, N)])",
    "nested": f"[[{{(k * {PRIME}, 'x'): 1 for k in range(1, N)}}]]",
    "complex": f"dict.fromkeys([complex(0, k * {PRIME}) for k in range(1, N)])",
}


class Ticks:
    """Whether other threads run."""

    def __enter__(self):
        self.longest, self.over = 0.0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        last = time.monotonic()
        while not self.over.wait(0.001):
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join()


def colliding(count):
    """Return what `dumps` makes of a dict with that many keys of the same hash, without making the dict."""
    parts = [b"\x02J"]
    for k in range(1, count):
        digits = str(k * PRIME).encode()
        parts += [b"H", len(digits).to_bytes(4, "big"), digits, b"LP"]
    return b"".join(parts) + b"Q"


class Heard(Exception):
    pass


def hear(number, frame):
    raise Heard


@pytest.fixture
def heard():
    """Make SIGALRM raise `Heard`."""
    before = signal.signal(signal.SIGALRM, hear)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(work, after=0.5):
    """Let a signal raise in the middle of work that would take longer."""
    begin = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, after)
    with pytest.raises(Heard):
        work()
    assert time.monotonic() - begin < WAIT


@pytest.mark.parametrize("of", ["dict", "set", "frozenset"])
def test_a_value_whose_keys_collide_does_not_stop_signals_and_threads(gateway, heard, of):
    # the bytes that marshal would write, built without hashing
    code = (
        "from struct import pack\n"
        "def int_(n):\n"
        "    digits = [(n >> 15 * i) & 32767 for i in range((n.bit_length() + 14) // 15)]\n"
        "    return b'l' + pack('<i', len(digits)) + pack('<%dH' % len(digits), *digits)\n"
        f"ints = [int_(k * {PRIME}) for k in range(1, 120000)]\n"
        "link = channel._state.link\n"
        "whole = {'dict': b'{' + b'N'.join(ints) + b'N0',\n"
        "         'set': b'<' + pack('<i', len(ints)) + b''.join(ints),\n"
        "         'frozenset': b'>' + pack('<i', len(ints)) + b''.join(ints)}\n"
        f"link.send(3, channel.id, whole[{of!r}])\n"
        "channel.receive()\n"
    )
    channel = gateway.remote_exec(code)
    with Ticks() as ticks:
        interrupted(lambda: channel.receive(WAIT))
    assert ticks.longest < WAIT / 2
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


def test_a_value_that_was_interrupted_comes_again(gateway, heard):
    channel = gateway.remote_exec(f"channel.send({SLOW['dict']}); channel.send('next')".replace("N", "9000"))
    # until the value has arrived
    while not gateway._native.is_alive() or gateway.remote_status().numexecuting:
        pass
    interrupted(lambda: channel.receive(WAIT), 0.1)
    assert len(channel.receive(WAIT)) == 8_999
    assert channel.receive(WAIT) == "next"


def test_a_callback_gets_its_value_while_others_run(gateway):
    got = threading.Event()
    channel = gateway.remote_exec(f"channel.send({SLOW['dict']})".replace("N", "6000"))
    values = []
    channel.setcallback(lambda value: (values.append(value), got.set()))
    assert got.wait(WAIT) and len(values[0]) == 5999 and PRIME in values[0]


@pytest.mark.parametrize("kind", list(SLOW))
def test_what_collides_arrives_as_it_was(gateway, kind):
    expression = SLOW[kind].replace("N", "300")
    value = gateway.remote_exec(f"channel.send({expression})").receive(WAIT)
    assert value == eval(expression)
    assert execnet.loads(execnet.dumps(value)) == value


def test_loads_hears_signals_and_lets_threads_run(heard):
    data = colliding(120_000)
    with Ticks() as ticks:
        interrupted(lambda: execnet.loads(data))
    assert ticks.longest < WAIT / 2
    assert len(execnet.loads(colliding(2_000))) == 1_999


def test_long_keys_that_collide_do_not_stop_signals(gateway):
    code = (
        "from struct import pack\n"
        f"last = [k * {PRIME} for k in range(5, 165)]\n"
        "digits = [[(n >> 15 * i) & 32767 for i in range((n.bit_length() + 14) // 15)] for n in last]\n"
        "ints = [b'l' + pack('<i', len(d)) + pack('<%dH' % len(d), *d) for d in digits]\n"
        "tuples = [b'(' + pack('<i', 60001) + b'N' * 60000 + n for n in ints]\n"
        "channel._state.link.send(3, channel.id, b'<' + pack('<i', len(tuples)) + b''.join(tuples))\n"
    )
    channel = gateway.remote_exec(code)
    channel.waitclose(WAIT)
    # in processor time, so that other processes do not count
    heard = []
    before = signal.signal(signal.SIGPROF, lambda number, frame: heard.append(time.process_time()))
    try:
        heard.append(time.process_time())
        signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)
        assert len(channel.receive(WAIT)) == 160
        heard.append(time.process_time())
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    longest = max(later - earlier for earlier, later in zip(heard, heard[1:]))
    # the last 16 insertions take a fifth of the time
    assert longest < max((heard[-1] - heard[0]) / 8, 0.1)


FROZEN = f"frozenset([k * {PRIME} for k in range(1, 100)])"


@pytest.mark.parametrize("nested", ["{F: 1}", "{(2, (F,)): 1}", "{F}", "frozenset([(F,)])"])
def test_a_key_whose_own_items_collide_is_refused(gateway, nested):
    # comparing two takes quadratic time, in one call that cannot be interrupted
    code = nested.replace("F", FROZEN)
    with pytest.raises(execnet.LoadError, match="items of the same hash"):
        gateway.remote_exec(f"channel.send({code})").receive(WAIT)
    with pytest.raises(execnet.LoadError, match="items of the same hash"):
        execnet.loads(execnet.dumps(eval(code)))
    few = nested.replace("F", FROZEN.replace("100", "60"))
    assert gateway.remote_exec(f"channel.send({few})").receive(WAIT) == eval(few)


DEEP = [
    b"\x02L" + b"@\0\0\0\1" * 10**6 + b"E\0\0\0\1Q",
    b"\x02" + b"K\0\0\0\1F\0\0\0\0" * 10**5 + b"L" + b"P" * 10**5 + b"Q",
    b"\x02" + b"JL" * 10**5 + b"L" + b"P" * 10**5 + b"Q",
    b"\x02L" + b"E\0\0\0\1" * 10**6 + b"Q",
]


@pytest.mark.parametrize("data", DEEP, ids=["tuples", "lists", "dicts", "frozensets"])
def test_loads_of_what_is_nested_too_deep_is_an_error(data):
    with pytest.raises(execnet.LoadError, match="nested more than 2000 deep"):
        execnet.loads(data)


def test_loads_takes_what_dumps_nests():
    value = ()
    for _ in range(1999):
        value = (value,)
    again = execnet.loads(execnet.dumps(frozenset([value[0]])))
    depth, inner = 0, next(iter(again))
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth == 1998
    with pytest.raises(execnet.DumpError):
        execnet.dumps(((value,),))


@pytest.mark.skipif(
    not hasattr(sys, "get_int_max_str_digits"), reason="this Python takes any number of digits"
)
def test_the_digits_of_an_int_are_as_many_as_python_takes():
    def data(digits):
        return b"\x02I" + len(digits).to_bytes(4, "big") + digits + b"Q"

    limit = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(1000)
        assert execnet.loads(data(b"-" + b"9" * 1000)) == -(10**1000 - 1)
        with pytest.raises(execnet.LoadError, match="1000 digits"):
            execnet.loads(data(b"9" * 1001))
        with pytest.raises(execnet.DumpError, match="1000 digits"):
            execnet.dumps([10**1000])
        sys.set_int_max_str_digits(0)
        assert execnet.loads(execnet.dumps(10**5000)) == 10**5000
    finally:
        sys.set_int_max_str_digits(limit)
    for digits in b"", b"-", b"+1_0", b" 1", "\u0661".encode():
        with pytest.raises(execnet.LoadError):
            execnet.loads(data(digits))


def test_an_endless_error_is_cut_and_says_so(gateway):
    channel = gateway.remote_exec("raise ValueError('A' * (8 << 20))")
    with pytest.raises(execnet.RemoteError) as caught:
        channel.receive(WAIT)
    text = caught.value.raw
    assert len(text.encode()) <= 1 << 20 and text.startswith("Traceback") and "cut off: it is 8" in text
    # and of a kernel that does not cut it
    channel = gateway.remote_exec(
        "import struct\n"
        "text = b'x' * (8 << 20)\n"
        "channel._state.link.send(4, channel.id, b'u' + struct.pack('<I', len(text)) + text)\n"
    )
    with pytest.raises(execnet.RemoteError) as caught:
        channel.receive(WAIT)
    assert len(caught.value.raw) <= 1 << 20 and "cut off: it is 8388608 bytes long" in caught.value.raw
