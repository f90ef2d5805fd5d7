"""Channels, as programs that were written for execnet 2 know them."""

import gc
import os
import queue
import signal
import threading
import time

import execnet
import pytest
from conftest import WAIT
from execnet import Channel, RemoteError, TimeoutError


def echo(channel):
    for item in channel:
        channel.send(item)


def test_values_go_there_and_back(every):
    channel = every.remote_exec("channel.send(channel.receive() + 1)")
    channel.send(41)
    assert channel.receive(WAIT) == 42
    channel.waitclose(WAIT)
    assert channel.isclosed()


def test_a_timeout_loses_nothing(gateway):
    channel = gateway.remote_exec(echo)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive(timeout=0.1)
    assert time.monotonic() - began > 0.09
    with pytest.raises(channel.TimeoutError):
        channel.receive(0)
    assert issubclass(TimeoutError, OSError)
    channel.send(1)
    assert channel.receive(WAIT) == 1


@pytest.mark.parametrize("size", [1, 5000, 3_000_000])
def test_a_signal_that_comes_before_a_value_loses_nothing(gateway, size):
    class Alarm(Exception):
        pass

    def alarm(number, frame):
        raise Alarm

    channel = gateway.remote_exec("""
        import os, signal, time
        pid, size = channel.receive()
        for number in channel:
            os.kill(pid, signal.SIGALRM)
            time.sleep(0.01)  # less than the client waits in one piece
            channel.send((number, b"x" * size))
            channel.send(number)
    """)
    channel.send((os.getpid(), size))
    before = signal.signal(signal.SIGALRM, alarm)
    try:
        for number in range(10):
            with pytest.raises(Alarm):
                channel.send(number)
                channel.receive(WAIT)
            assert channel.receive(WAIT) == (number, b"x" * size)
            assert channel.receive(WAIT) == number
    finally:
        signal.signal(signal.SIGALRM, before)


def test_the_end_is_eof_and_stays_so(gateway):
    channel = gateway.remote_exec("channel.send(1)")
    channel.waitclose(WAIT)
    assert channel.isclosed()
    assert channel.receive() == 1
    for _ in range(2):
        with pytest.raises(EOFError):
            channel.receive(WAIT)
    with pytest.raises(OSError):
        channel.send(1)


def test_iteration_ends_with_the_channel(gateway):
    channel = gateway.remote_exec("for i in range(5): channel.send(i)")
    assert list(channel) == list(range(5))
    assert list(channel) == []


def test_a_death_is_no_end_of_items(gateway):
    waits = gateway.remote_exec("channel.send(1); channel.receive()")
    file = gateway.newchannel()
    dies = gateway.remote_exec(
        """
        import os, signal
        file = channel.receive()
        file.send("a line\\nhalf a")
        for i in range(3):
            channel.send(i)
        channel.receive()
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert waits.receive(WAIT) == 1
    dies.send(file)
    reader, got = file.makefile("r"), []
    with pytest.raises(execnet.GatewayDied, match="gateway gw0 .*SIGKILL"):
        for item in dies:
            got.append(item)
            if item == 2:
                dies.send("now")
    assert got == [0, 1, 2]
    assert reader.readline() == "a line\n"
    for read in (reader.readline, lambda: reader.read(100)):
        with pytest.raises(execnet.GatewayDied, match="SIGKILL"):
            read()
    with pytest.raises(EOFError, match="SIGKILL") as caught:
        waits.receive(WAIT)
    assert type(caught.value) is execnet.GatewayDied
    with pytest.raises(execnet.GatewayDied):
        waits.waitclose(WAIT)


def test_an_end_that_was_asked_for_is_the_end_of_items(gateway):
    channel = gateway.remote_exec("channel.send(1); channel.receive()")
    assert channel.receive(WAIT) == 1
    gateway.exit()
    gateway.join(WAIT)
    assert list(channel) == [] and channel.makefile("r").read(1) == ""


def test_a_closed_channel_is_named(gateway):
    channel = gateway.remote_exec("")
    channel.waitclose(WAIT)
    with pytest.raises(EOFError, match=f"^channel {channel.id} of gateway gw0 is closed$"):
        channel.receive(WAIT)
    with pytest.raises(OSError, match=f"^cannot send: channel {channel.id} of gateway gw0 is closed"):
        channel.send(1)
    gateway.exit()
    with pytest.raises(OSError, match="^gateway gw0 was told to end"):
        gateway.remote_exec("")


def test_native_types_say_where_they_can_be_imported_from(gateway):
    for kind in (Channel.__base__, type(gateway._native), type(gateway._native.newchannel())):
        assert kind.__module__ == "execnet._native" and getattr(execnet._native, kind.__name__) is kind


def test_a_remote_error_comes_once_then_eof(every):
    channel = every.remote_exec("x = 1\nchannel.send(1)\nraise ValueError('söme' if x else 2)")
    assert channel.receive(WAIT) == 1
    with pytest.raises(RemoteError) as caught:
        channel.receive(WAIT)
    text = str(caught.value)
    assert "ValueError" in text and "line 3" in text and text == caught.value.formatted
    with pytest.raises(EOFError):
        channel.receive(WAIT)
    channel.waitclose(WAIT)


def test_waitclose_raises_the_remote_error_once(gateway):
    channel = gateway.remote_exec("raise ValueError('no')")
    with pytest.raises(channel.RemoteError, match="no"):
        channel.waitclose(WAIT)
    channel.waitclose(WAIT)


def test_waitclose_can_time_out(gateway):
    channel = gateway.remote_exec(echo)
    with pytest.raises(channel.TimeoutError):
        channel.waitclose(0.05)
    channel.close()
    channel.waitclose(WAIT)
    channel.close()


def test_syntax_errors_have_the_right_line(every):
    channel = every.remote_exec("x = 1\ny = 2\nz = = 3\n")
    with pytest.raises(RemoteError) as caught:
        channel.waitclose(WAIT)
    assert "SyntaxError" in str(caught.value) and "line 3" in str(caught.value)


def test_closing_here_is_the_end_there(gateway):
    back = gateway.newchannel()
    channel = gateway.remote_exec(
        """
        back = channel.receive()
        try:
            channel.receive()
        except EOFError:
            back.send("end")
        """
    )
    channel.send(back)
    channel.close()
    assert back.receive(WAIT) == "end"


def test_closing_with_an_error_raises_it_there(gateway):
    back = gateway.newchannel()
    channel = gateway.remote_exec(
        """
        back = channel.receive()
        try:
            channel.receive()
        except channel.RemoteError as error:
            back.send(str(error))
        """
    )
    channel.send(back)
    channel.close("it went wrong")
    assert "it went wrong" in back.receive(WAIT)


def test_channels_are_sent_over_channels(every):
    inner = every.newchannel()
    channel = every.remote_exec("inner = channel.receive()[0]; inner.send(2); channel.send({'key': inner})")
    channel.send([inner])
    assert inner.receive(WAIT) == 2
    assert channel.receive(WAIT)["key"] is inner


def test_channels_made_there_arrive_here(every):
    channel = every.remote_exec(
        "made = channel.gateway.newchannel(); channel.send(made); "
        "made.send(made.receive() + 1); channel.receive()"
    )
    made = channel.receive(WAIT)
    assert isinstance(made, Channel) and made.gateway is every
    made.send(1)
    assert made.receive(WAIT) == 2
    channel.send(None)


def test_a_callback_can_be_called(gateway):
    channel = gateway.remote_exec("channel.send(1)")
    with pytest.raises(TypeError, match="callable, not a NoneType"):
        channel.setcallback(None)
    assert channel.receive(WAIT) == 1


def test_a_callback_gets_every_item_and_the_endmarker(every):
    got = []
    channel = every.remote_exec("for i in range(100): channel.send(i)")
    channel.setcallback(got.append, endmarker="end")
    channel.waitclose(WAIT)
    assert got == [*range(100), "end"]


def test_a_callback_gets_what_had_arrived_before(gateway):
    channel = gateway.remote_exec("for i in range(3): channel.send(i)")
    channel.waitclose(WAIT)
    got = []
    channel.setcallback(got.append, endmarker=None)
    assert got == [0, 1, 2, None]


def test_without_endmarker_there_is_none(gateway):
    got = []
    channel = gateway.remote_exec("channel.send(1)")
    channel.setcallback(got.append)
    channel.waitclose(WAIT)
    assert got == [1]


def test_a_channel_with_callback_does_not_receive(gateway):
    channel = gateway.remote_exec(echo)
    channel.setcallback(lambda item: None)
    with pytest.raises(OSError):
        channel.receive()
    with pytest.raises(OSError):
        channel.setcallback(lambda item: None)


def test_closing_gives_the_endmarker(gateway):
    got = []
    channel = gateway.remote_exec(echo)
    channel.setcallback(got.append, endmarker="end")
    channel.close()
    assert got == ["end"]


def test_callbacks_work_without_the_channel_object(gateway):
    got = queue.Queue()
    gateway.remote_exec("import time; time.sleep(0.2)\nfor i in range(3): channel.send(i)").setcallback(
        got.put, endmarker="end"
    )
    gc.collect()
    assert [got.get(timeout=WAIT) for _ in range(4)] == [0, 1, 2, "end"]


def test_a_failing_callback_closes_the_channel_with_its_error(gateway):
    back = gateway.newchannel()
    channel = gateway.remote_exec(
        """
        back = channel.receive()
        channel.send(1)
        try:
            channel.receive()
        except channel.RemoteError as error:
            back.send(str(error))
        """
    )

    def fail(item):
        raise ValueError("cannot take it")

    channel.setcallback(fail)
    channel.send(back)
    assert "cannot take it" in back.receive(WAIT)


def test_callbacks_run_in_threads_that_python_knows(gateway):
    names = queue.Queue()
    channel = gateway.remote_exec("channel.send(channel.receive())")
    channel.setcallback(lambda item: names.put(threading.current_thread()))
    channel.send(1)
    thread = names.get(timeout=WAIT)
    assert thread is not threading.current_thread() and type(thread) is threading.Thread


def test_a_slow_callback_delays_only_its_own_channel(gateway):
    go = threading.Event()
    slow = gateway.remote_exec("channel.send(channel.receive())")
    slow.setcallback(lambda item: go.wait(WAIT))
    slow.send(1)
    channel = gateway.remote_exec(echo)
    for i in range(100):
        channel.send(i)
        assert channel.receive(WAIT) == i
    go.set()


def test_a_channel_nobody_refers_to_is_closed(gateway):
    channel = gateway.remote_exec(
        """
        inner = channel.receive()
        try:
            inner.receive()
        except EOFError:
            channel.send("closed")
        """
    )
    channel.send(gateway.newchannel())
    gc.collect()
    assert channel.receive(WAIT) == "closed"


def test_an_error_nobody_asked_for_is_said(run_program):
    done = run_program(
        "import execnet, time\n"
        "channel = execnet.makegateway().remote_exec('raise ValueError(5)')\n"
        "while not channel.isclosed(): time.sleep(0.01)\n"
        "del channel\n"
    )
    assert "Warning: unhandled RemoteError" in done.stderr and "ValueError: 5" in done.stderr


def test_a_channel_is_closed_once_its_callback_has_had_everything(gateway):
    channel = gateway.remote_exec("channel.receive(); channel.send(1); channel.send(2)")
    goes_on, got, seen = threading.Event(), [], []

    def callback(item):
        assert goes_on.wait(WAIT)
        # the callback does not wait for itself
        seen.append(channel.isclosed())
        got.append(item)

    channel.setcallback(callback, endmarker=None)
    # what has arrived before goes to the callback in this thread
    channel.send(None)
    other = gateway.remote_exec("")
    other.waitclose(WAIT)
    assert not channel.isclosed()
    goes_on.set()
    deadline = time.monotonic() + WAIT
    while not channel.isclosed() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert got == [1, 2, None] and seen[-1]


def test_a_callback_that_is_called_at_once_does_not_wait_for_itself(gateway):
    channel = gateway.remote_exec("channel.send(1)")
    while not channel.isclosed():
        time.sleep(0.001)
    seen = []

    def callback(item):
        channel.waitclose(WAIT)
        seen.append(channel.isclosed())

    channel.setcallback(callback, endmarker=None)
    channel.waitclose(WAIT)
    assert seen == [True, True] and channel.isclosed()


def test_files_write_and_read(gateway):
    channel = gateway.remote_exec(
        """
        file = channel.makefile("w")
        file.write("one\\ntwo\\nthr")
        file.write("ee\\n")
        file.flush()
        """
    )
    file = channel.makefile("r")
    assert file.readline() == "one\n"
    assert file.read(2) == "tw"
    assert file.readline() == "o\n" and file.readline() == "three\n" and file.readline() == ""
    assert not file.isatty()
    with pytest.raises(ValueError):
        channel.makefile("rw")


def test_a_file_can_close_its_channel(gateway):
    channel = gateway.remote_exec(echo)
    channel.makefile("w").close()
    assert not channel.isclosed()
    channel.makefile("w", proxyclose=True).close()
    assert channel.isclosed()


def test_large_values_go_there_and_back(gateway):
    channel = gateway.remote_exec(echo)
    data = bytes(range(256)) * 100_000
    channel.send(data)
    assert channel.receive(WAIT) == data


def test_a_receiver_that_does_not_receive_stops_its_sender(gateway):
    channel = gateway.remote_exec(
        """
        for i in range(100):
            channel.send(b"x" * 1000000)
            channel.gateway.count = i
        """
    )
    other = gateway.remote_exec(
        "channel.send(1); import time; time.sleep(1); channel.send(channel.gateway.count)"
    )
    assert other.receive(WAIT) == 1
    assert other.receive(WAIT) < 30
    assert sum(map(len, channel)) == 100_000_000


def test_many_threads_use_one_gateway(gateway):
    failures = []

    def work(n):
        try:
            channel = gateway.remote_exec(echo)
            for i in range(200):
                channel.send((n, i))
                assert channel.receive(WAIT) == (n, i)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_repr_says_the_state(gateway):
    channel = gateway.remote_exec(echo)
    assert repr(channel) == f"<Channel id={channel.id} open>"
    channel.close()
    assert repr(channel) == f"<Channel id={channel.id} closed>"


def test_with_closes(gateway):
    with gateway.remote_exec(echo) as channel:
        channel.send(1)
        assert channel.receive(WAIT) == 1
    assert channel.isclosed()


def test_a_negative_timeout_is_a_value_error_as_it_is_there(gateway):
    channel = gateway.remote_exec("try: channel.receive(-1)\nexcept ValueError: channel.send('refused')")
    assert channel.receive(WAIT) == "refused"
    with pytest.raises(ValueError, match="negative"):
        channel.receive(timeout=-1)
    with pytest.raises(TimeoutError):
        gateway.remote_exec("channel.receive()").waitclose(timeout=-1)


def test_settings_are_truth_values(gateway):
    gateway.reconfigure(1, 0)
    channel = gateway.remote_exec("channel.send('x')")
    channel.reconfigure(0, None)
    assert channel.receive(WAIT) == "x"
    assert execnet.loads(execnet.dumps("x"), 1, 0) == "x"


def test_a_callback_without_a_thread_is_none(gateway, monkeypatch):
    channel = gateway.remote_exec("channel.send(1); channel.receive(); channel.send(2)")
    got = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda thread: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            channel.setcallback(got.append)
    channel.send(None)
    assert [*got, *channel] == [1, 2]
    gateway.exit()
    gateway.join(WAIT)


def test_a_finalizer_may_open_channels(run_program):
    done = run_program(
        """
import execnet, gc
gateway = execnet.makegateway()
class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        gateway.newchannel().close()
gc.set_threshold(5)
for _ in range(2000):
    Cycle()
    gateway.newchannel().close()
print("done")
"""
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_setcallback(gateway, end):
    channel = gateway.remote_exec("channel.send(1); channel.send(2)")
    channel.waitclose(WAIT)

    def callback(item):
        raise end

    with pytest.raises(end):
        channel.setcallback(callback)
    assert list(channel) == [2]
    channel.waitclose(WAIT)


def test_remote_code_catches_the_errors_of_its_execnet(gateway):
    channel = gateway.remote_exec(
        """
        import execnet
        try:
            channel.receive(0.01)
        except execnet.TimeoutError:
            channel.send("late")
        try:
            channel.send(object())
        except execnet.DumpError:
            channel.send("not sent")
        """
    )
    assert list(channel) == ["late", "not sent"]
