"""Values travel to every interpreter and back."""

import io
import math
import struct

import execnet
import pytest
from conftest import INTERPRETERS, TWO, WAIT
from execnet import DataFormatError, DumpError, LoadError, dumps, loads

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**63,
    -(2**64),
    10**300,
    -(10**5000),
    0.0,
    -1.5,
    1e300,
    math.inf,
    -math.inf,
    2 + 3j,
    "",
    "text",
    "söme \u20ac \U0001f600 \0",
    b"",
    bytes(range(256)),
    [],
    [1, [2, [3, []]]],
    (),
    (1, ("a", b"b")),
    {},
    {"a": 1, 2: [None], (3, "x"): {"y": b"z"}, None: True},
    set(),
    {1, 2, "x"},
    frozenset(),
    frozenset([1, (2, frozenset([3]))]),
]


@pytest.fixture(scope="session")
def echo(every):
    channel = every.remote_exec("for item in channel: channel.send(item)")
    channel.reconfigure(py2str_as_py3str=False)
    return channel


def same(left, right):
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("value", VALUES, ids=map(str, range(len(VALUES))))
def test_comes_back_as_it_was(echo, value):
    echo.send(value)
    assert same(echo.receive(WAIT), value)


def test_nan_comes_back(echo):
    echo.send([math.nan, complex(0, math.nan)])
    real, both = echo.receive(WAIT)
    assert math.isnan(real) and math.isnan(both.imag)


def test_lone_surrogates_come_back(echo, every):
    if every.id == "jython":
        # Java has no such text
        with pytest.raises(DumpError, match="Jython"):
            echo.send("\ud800")
        return
    echo.send(["\ud800", "a\udfffb"])
    assert echo.receive(WAIT) == ["\ud800", "a\udfffb"]


@pytest.mark.parametrize("depth", [1000])
def test_deeply_nested_comes_back(echo, every, depth):
    value = []
    for _ in range(depth):
        value = [value]
    echo.send(value)
    back = echo.receive(WAIT)
    for _ in range(depth):
        (back,) = back
    assert back == []


@pytest.mark.parametrize("every", TWO, indirect=True)
def test_strings_of_python_2(every):
    channel = every.remote_exec("channel.send('abc\\xff')\nchannel.send(type(channel.receive()).__name__)")
    assert channel.receive(WAIT) == "abc\xff"
    channel.send("text")
    assert channel.receive(WAIT) == "unicode"
    channel = every.remote_exec(
        "channel.receive(); channel.send('abc\\xff'); channel.send(type(channel.receive()).__name__)"
    )
    channel.reconfigure(py2str_as_py3str=False, py3str_as_py2str=True)
    channel.send(None)
    assert channel.receive(WAIT) == b"abc\xff"
    channel.send("text")
    assert channel.receive(WAIT) == b"str"


TEXTS = {"key": ("\xe9", b"b", frozenset(["s"])), b"kept": [None, 1]}
NARROW = {b"key": (b"\xc3\xa9", b"b", frozenset([b"s"])), b"kept": [None, 1]}


@pytest.mark.parametrize("every", [name for name in INTERPRETERS if name not in TWO], indirect=True)
def test_text_of_python_3_is_bytes_where_a_program_wants_it(every):
    channel = every.remote_exec("for item in channel: channel.send(item); channel.send('own')")
    channel.reconfigure(py3str_as_py2str=True)
    channel.send(TEXTS)
    assert (channel.receive(WAIT), channel.receive(WAIT)) == (NARROW, b"own")
    other = every.remote_exec(
        "channel.reconfigure(py3str_as_py2str=True); channel.send('told'); "
        "channel.send(repr(channel.receive()))"
    )
    assert other.receive(WAIT) == b"told"
    other.send("x")
    assert other.receive(WAIT) == b"b'x'"


def test_the_setting_of_a_gateway_is_of_the_channels_made_since(group, tmp_path):
    gateway = group.makegateway()
    echo = "for item in channel: channel.send(item)"
    before = gateway.remote_exec(echo)
    gateway.reconfigure(py3str_as_py2str=True)
    after = gateway.remote_exec(echo)
    for channel, back in (before, TEXTS), (after, NARROW):
        channel.send(TEXTS)
        assert channel.receive(WAIT) == back

    def tell(channel, of):
        channel.send(repr(of))
        told = channel.receive()
        try:
            channel.receive()
        except channel.RemoteError as error:
            told.send(repr(error.formatted))

    channel, told = gateway.remote_exec(tell, of="text"), gateway.newchannel()
    assert channel.receive(WAIT) == b"'text'"
    channel.send(told)
    channel.close("errors are text")
    assert told.receive(WAIT) == b"'errors are text'"
    with pytest.raises(execnet.RemoteError, match="division"):
        gateway.remote_exec("1/0").receive(WAIT)
    # the package itself does not use these settings
    assert gateway._rinfo(update=True).cwd == gateway._rinfo().cwd
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("text")
    rsync = execnet.RSync(tmp_path / "source", verbose=False)
    rsync.add_target(gateway, tmp_path / "target")
    rsync.send()
    assert (tmp_path / "target/file").read_text() == "text"


class Own(dict):
    pass


@pytest.mark.parametrize(
    "value, message",
    [
        (object(), "cannot send an object"),
        ([1, 2, {"key": bytearray(b"x")}], r"cannot send a bytearray, at \[2\]\['key'\]"),
        (Own(), "cannot send an Own"),
        ((1, [memoryview(b"x")]), r"cannot send a memoryview, at \[1\]\[0\]"),
        (..., "cannot send an ellipsis"),
        ({object(): 1}, "cannot send an object, at "),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(gateway, value, message):
    channel = gateway.remote_exec("channel.send(channel.receive())")
    with pytest.raises(DumpError, match=message):
        channel.send(value)
    channel.send(1)
    assert channel.receive(WAIT) == 1
    with pytest.raises(DumpError, match=message.replace("ellipsis", "ellipsis")):
        dumps(value)


def test_too_deeply_nested_cannot_be_sent():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(DumpError, match="nested") as caught:
        dumps(value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value, place", [("\ud800", ""), ([{"key": "\udcff"}], r", at \[0\]\['key'\]")])
def test_lone_surrogates_cannot_be_dumped(value, place):
    with pytest.raises(DumpError, match=f"^cannot dump text with lone surrogates{place}$"):
        dumps(value)


# ints are dumped as digits; by default Python converts at most 4,300
DUMPED = [value for value in VALUES if not isinstance(value, int) or abs(value) < 10**4000]


@pytest.mark.parametrize("value", DUMPED, ids=map(str, range(len(DUMPED))))
def test_dumps_and_loads(value):
    assert same(loads(dumps(value)), value)


def test_dumps_are_those_of_execnet_2():
    # made with execnet 2.1.2
    value = [1, {"a": (None, b"x"), 2: -1.5}, 2**40]
    dumped = (
        b"\x02K\x00\x00\x00\x03F\x00\x00\x00\x00F\x00\x00\x00\x01PF\x00\x00\x00\x01JN\x00\x00\x00\x01a"
        b"LA\x00\x00\x00\x01x@\x00\x00\x00\x02PF\x00\x00\x00\x02D\xbf\xf8\x00\x00\x00\x00\x00\x00PPF"
        b"\x00\x00\x00\x02H\x00\x00\x00\r1099511627776PQ"
    )
    assert dumps(value) == dumped
    assert loads(dumped) == value


def test_dumps_of_python_2_load():
    dumped = b"\x02M\x00\x00\x00\x03a\xffbQ"
    assert loads(dumped) == b"a\xffb"
    assert loads(dumped, py2str_as_py3str=True) == "a\xffb"
    assert loads(dumps("x"), py3str_as_py2str=True) == b"x"


def test_dump_and_load_take_files(tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        execnet.dump(file, [1, "two"])
        execnet.dump(file, {3})
        file.seek(0)
        assert execnet.load(file) == [1, "two"]
        assert execnet.load(file) == {3}
        with pytest.raises(LoadError):
            execnet.load(file)
    with pytest.raises(TypeError, match="bytes"):
        execnet.load(io.StringIO("text"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01Q",
        b"\x02",
        b"\x02Q",
        b"\x02LLQ",
        b"\x02F\0\0",
        b"\x02?",
        b"\x02P",
        b"\x02@\x7f\xff\xff\xffQ",
        b"\x02B\0\0\0\x01Q",
    ],
)
def test_what_is_no_value_does_not_load(data):
    with pytest.raises(DataFormatError):
        loads(data)


def test_no_truncated_dump_loads():
    dumped = dumps([1, {"a": (None, b"x" * 10)}, {2, 3.5}])
    for length in range(len(dumped)):
        with pytest.raises((LoadError, EOFError)):
            loads(dumped[:length])


def test_no_changed_dump_does_harm():
    dumped = dumps([1, {"a": (None, b"x")}, {2, 3.5}, 2**70])
    for at in range(len(dumped)):
        for byte in range(0, 256, 7):
            try:
                loads(dumped[:at] + struct.pack("B", byte) + dumped[at + 1 :])
            except DataFormatError:
                pass


def test_whatever_holds_bytes_is_loaded():
    data = execnet.dumps([1, "a"])
    assert execnet.loads(bytearray(data)) == execnet.loads(memoryview(data)) == [1, "a"]
