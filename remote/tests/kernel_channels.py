"""End to end: channels, callbacks and credit. Run by kernel_tests.py."""
import struct
import textwrap

from kernel_case import Kernel, Shared

from kernel_client import CLOSE, CREDIT, DATA, LAST, STRCONFIG, Timeout, wire


class Channels(Shared):

    def test_receive_and_waitclose_know_timeouts(self):
        self.assertEqual([True] * 3, self.k.run(textwrap.dedent("""
            import time
            start = time.time()
            for wait in (channel.receive, channel.waitclose):
                try:
                    wait(timeout=0.1)
                except channel.TimeoutError as error:
                    channel.send(isinstance(error, IOError))
            channel.send(0.19 < time.time() - start < 10)
        """)))

    def test_an_error_of_the_client_is_raised_once_then_eof(self):
        number = self.k.execute(textwrap.dedent("""
            c = channel.receive()
            out = [c.receive()]
            for i in range(2):
                try:
                    c.receive()
                except c.RemoteError as error:
                    out.append(str(error))
                except EOFError:
                    out.append("eof")
            out.append(c.isclosed())
            try:
                c.send(1)
            except (OSError, IOError):
                out.append("cannot")
            channel.send(out)
        """))
        inner = self.k.new()
        self.k.frame(wire.ESCAPED, number, b"(\3\0\0\0.i\0\0\0\0i" + struct.pack("<i", inner))
        self.k.send(inner, 1)
        self.k.close(inner, "it went wrong")
        self.assertEqual([1, "it went wrong", "eof", True, "cannot"], self.k.receive(number))

    def test_an_error_may_be_given_to_close(self):
        self.assertIsNone(self.k.end(self.k.execute("c = channel.gateway.newchannel(); channel.send(c); "
                                                    "c.close('wrong')")))
        frames = [frame for frame in self.k.backlog if frame[0] == CLOSE and frame[2] == "wrong"]
        self.assertEqual(1, len(frames))

    def test_the_channel_of_an_execution_cannot_be_closed_from_within(self):
        self.assertEqual(["no"],
                         self.k.run("try: channel.close()\nexcept (OSError, IOError): channel.send('no')"))

    def test_last_ends_what_arrives_but_not_what_is_sent(self):
        number = self.k.execute("out = list(channel); channel.waitclose(); channel.send([out, "
                                "channel.isclosed()])")
        self.k.send(number, 1)
        self.k.frame(LAST, number)
        self.assertEqual([[1], False], self.k.receive(number))

    def test_a_channel_that_nobody_holds_is_closed(self):
        number = self.k.execute("import gc\nc = channel.gateway.newchannel(); channel.send(c); c = None\n"
                                "for i in range(5): gc.collect()\nchannel.receive()")
        inner = self.k.receive(number)
        self.assertIsNone(self.k.end(inner))
        self.k.send(number, 1)

    def test_a_callback_has_what_was_there_before_in_order_and_the_end_marker_at_the_end(self):
        number = self.k.execute(textwrap.dedent("""
            import time
            got = []
            while len(channel._state.items) < 3:
                time.sleep(0.01)
            channel.setcallback(got.append, endmarker="end")
            try:
                channel.receive()
            except (OSError, IOError):
                got.append("cannot receive")
            channel.send("set")
            channel.waitclose()
            result = channel.gateway.newchannel()
            channel2.send(got)
        """).replace("channel2", "c2").replace("import time\n", "import time\nc2 = channel.receive()\n",
                                               1).replace(
            "result = channel.gateway.newchannel()\n", ""))
        other = self.k.new()
        self.k.frame(wire.ESCAPED, number, b"(\3\0\0\0.i\0\0\0\0i" + struct.pack("<i", other))
        for item in range(3):
            self.k.send(number, item)
        self.assertEqual("set", self.k.receive(number))
        for item in range(3, 100):
            self.k.send(number, item)
        self.k.frame(LAST, number)
        got = self.k.receive(other)
        got.remove("cannot receive")
        self.assertEqual(list(range(100)) + ["end"], got)

    def test_a_slow_callback_delays_only_its_channel(self):
        number = self.k.execute(textwrap.dedent("""
            import threading
            gate = threading.Event()
            slow = channel.gateway.newchannel()
            slow.setcallback(lambda item: gate.wait())
            channel.send(slow)
            channel.send(channel.receive() + 1)
            gate.set()
        """))
        slow = self.k.receive(number)
        for _ in range(5):
            self.k.send(slow, 1)
        self.k.send(number, 41)
        self.assertEqual(42, self.k.receive(number))

    def test_a_callback_that_raises_closes_its_channel_with_the_error(self):
        number = self.k.execute("c = channel.gateway.newchannel()\nc.setcallback(lambda item: 1 // 0)\n"
                                "channel.send(c)\nchannel.receive()")
        inner = self.k.receive(number)
        self.k.send(inner, 1)
        self.assertIn("ZeroDivisionError", self.k.end(inner))
        self.k.close(number)

    def test_a_callback_goes_on_when_its_channel_is_not_held(self):
        number = self.k.execute(textwrap.dedent("""
            import gc
            c = channel.gateway.newchannel()
            c.setcallback(channel.send)
            channel.send(c)
            c = None
            for i in range(5):
                gc.collect()
            channel.receive()
        """))
        inner = self.k.receive(number)
        self.k.get(LAST, inner)
        self.k.send(inner, "still")
        self.assertEqual("still", self.k.receive(number))
        self.k.close(inner)
        self.k.send(number, None)

    def test_makefile(self):
        number = self.k.execute(textwrap.dedent("""
            out = channel.makefile("w")
            out.write("a")
            out.write(u"b\\n")
            out.flush()
            print_to = channel.makefile()
            print_to.writelines(["c", "d"])
            out.close()
            assert not out.isatty() and not channel.isclosed()
            source = channel.makefile("r")
            channel.send([source.read(3), source.readline(), source.readline(), source.readline(),
                          source.read(9), source.readline()])
        """))
        self.assertEqual(["a", "b\n", "c", "d"], [self.k.receive(number) for _ in range(4)])
        for text in ("ab", "cdef\n", "g\nend", "less"):
            self.k.send(number, text)
        self.k.close(number)
        # the channel is closed then, so the answer comes on another one
        number = self.k.execute("c = channel.receive(); f = c.makefile('r', proxyclose=True)\n"
                                "channel.send([f.read(3), f.readline(), f.readline(), f.readline(), "
                                "f.read(9), f.readline()])")
        inner = self.k.new()
        self.k.frame(wire.ESCAPED, number, b"(\3\0\0\0.i\0\0\0\0i" + struct.pack("<i", inner))
        for text in ("ab", "cdef\n", "g\nend", "less"):
            self.k.send(inner, text)
        self.k.close(inner)
        self.assertEqual(["abc", "def\n", "g\n", "endless", "", ""], self.k.receive(number))

    def test_the_gateway_has_what_workers_use(self):
        self.assertEqual([True], self.k.run(textwrap.dedent("""
            gateway = channel.gateway
            model = gateway.execmodel
            assert model.backend == "thread", model
            with model.RLock():
                with model.Lock():
                    pass
            event = model.Event()
            queue = model.queue.Queue()
            model.start(lambda word: (queue.put((word, model.get_ident())), event.set()), ("x",))
            event.wait()
            word, ident = queue.get()
            assert word == "x" and ident != model.get_ident()
            model.sleep(0.001)
            assert model.subprocess.Popen and model.socket.socket
            assert gateway.remote_status().numexecuting == 1
            assert gateway._rinfo().pid
            assert gateway.hasreceiver()
            assert "gw5" in repr(gateway), repr(gateway)
            assert "open" in repr(channel)
            channel.send(True)
        """)))

    def test_string_settings_are_told(self):
        number = self.k.execute("channel.reconfigure(py2str_as_py3str=False)\n"
                                "channel.gateway.reconfigure(True, True)\nchannel.receive()")
        self.assertEqual((0, 0), self.k.get(STRCONFIG, number))
        self.assertEqual((1, 1), self.k.get(STRCONFIG, 0))
        self.k.frame(STRCONFIG, number, b"\1\0")
        self.k.send(number, 1)
        self.assertIsNone(self.k.end(number))

    def test_many_channels_are_forgotten(self):
        numbers = [self.k.execute("pass") for _ in range(50)]
        for number in numbers:
            self.assertIsNone(self.k.end(number))
            self.k.close(number)
        self.assertEqual([True], self.k.run("import time\nfor i in range(500):\n"
                                            "  if len(channel._state.link.states) < 20: break\n"
                                           "  time.sleep(0.01)\n"
                                           "channel.send(len(channel._state.link.states) < 20)"))


class Credit(Kernel):

    def test_a_sender_waits_for_a_receiver_that_does_not_receive_and_others_go_on(self):
        k = self.start({"window": 10000}, auto_credit=False)
        k.hello()
        number = k.execute("for i in range(200): channel.send(b'x' * 995)")
        for _ in range(10):
            k.get(DATA, number)
        other = k.execute("channel.send(channel.receive() + 1)")
        k.send(other, 1)
        self.assertEqual(2, k.receive(other))
        self.assertRaises(Timeout, k.get, DATA, number, 0.3)
        k.credit(number, 10001)
        k.get(DATA, number)
        self.assertRaises(Timeout, k.get, DATA, number, 0.2)
        k.credit(number, 1 << 40)
        for _ in range(189):
            k.get(DATA, number)
        self.assertIsNone(k.end(number))

    def test_a_value_larger_than_the_window_can_be_sent(self):
        k = self.start({"window": 1000}, auto_credit=False)
        k.hello()
        number = k.execute("channel.send(b'x' * 3000000)\nchannel.send(1)")
        self.assertEqual(3000000, len(k.get(DATA, number)))
        self.assertRaises(Timeout, k.get, DATA, number, 0.2)
        k.credit(number, 3001005)
        self.assertEqual(1, k.get(DATA, number))

    def test_a_sender_without_credit_hears_that_the_channel_is_closed(self):
        k = self.start({"window": 1000}, auto_credit=False)
        k.hello()
        number = k.execute("try:\n  while 1: channel.send(b'x' * 500)\n"
                           "except (OSError, IOError): c = channel.gateway.newchannel(); c.send('told')")
        for _ in range(2):
            k.get(DATA, number)
        k.close(number)
        self.assertEqual("told", k.get(DATA, 2))

    def test_credit_is_given_for_what_was_received_only(self):
        k = self.start({"window": 10000})
        k.hello()
        number = k.execute("go = channel.gateway.newchannel(); channel.send(go)\nfor i in range(2):\n"
                           "  for j in range(go.receive()): channel.receive()")
        go = k.receive(number)
        for _ in range(20):
            k.send(number, b"x" * 495)  # 500 bytes each
        k.send(go, 4)
        self.assertRaises(Timeout, k.get, CREDIT, number, 0.3)
        k.send(go, 16)
        said = [k.get(CREDIT, number) for _ in range(4)]
        self.assertEqual([12500, 15000, 17500, 20000], said)

    def test_a_callback_takes_a_value_when_it_has_returned(self):
        k = self.start({"window": 1000})
        k.hello()
        number = k.execute("import threading\ngate = threading.Event(); c = channel.gateway.newchannel()\n"
                           "c.setcallback(lambda item: gate.wait()); channel.send(c)\n"
                           "channel.receive(); gate.set(); channel.receive()")
        inner = k.receive(number)
        k.send(inner, b"x" * 995)
        self.assertRaises(Timeout, k.get, CREDIT, inner, 0.3)
        k.send(number, 1)
        self.assertEqual(2000, k.get(CREDIT, inner))

    def test_the_window_is_eight_mebibytes_when_nobody_says_otherwise(self):
        k = self.start(auto_credit=False)
        k.hello()
        number = k.execute("i = 0\nwhile 1: channel.send(b'x' * 999995)")
        for _ in range(9):
            k.get(DATA, number)
        self.assertRaises(Timeout, k.get, DATA, number, 0.3)
