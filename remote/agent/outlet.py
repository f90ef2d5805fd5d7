"""What an agent says on its link, and in which order: greeting, control frames, and DATA by turns.

The half of the core that looks outwards. Of each kind of control frame only the last one counts, so nothing
here is a queue but the turns. No fds and no clock; it never decides what becomes of a process.
"""
from agent import wire
from agent.pace import BEYOND, Pace
from agent.stream import deque

BATCH = 2 * wire.MAX_DATA
ACK_AFTER = 32768  # bytes; less than pace.ACK_EVERY, which is the limit


class Outlet(object):
    """The state of the link that is up, if one is, and what waits to be said on it."""

    def greeted(self, size, told, complete, parsed=0):
        """Note that HELLO and the nodes of these names were sent already, in frames of `size` bytes;
        `complete`: these are all nodes; `parsed`: frames of as many bytes were handled meanwhile."""
        self._greet = False
        self._nodes_untold = [name for name, state, _ in self.nodes if name not in told]
        self._nodes_done_untold = not complete
        self._pace.sent = size
        self._parser.parsed = parsed

    def _open(self, attached):
        self.attached = attached
        self._parser = wire.Parser()
        self._pace = Pace()
        self._greet = attached
        self._nodes_untold = [node[0] for node in self.nodes] if attached else []
        self._nodes_done_untold = attached
        self._pongs = []
        self._acked = 0
        self._forgets = {}
        self._kills = {}  # id: the sequence to answer
        self._looked = None  # the frame
        self._listed = []  # processes with flags
        self._turns = deque()  # processes with bytes to send
        self._terminals = set()  # ids of those with a terminal that somebody sits before
        self._shown = deque()  # those of them with bytes to send
        self._was_shown = False  # the last DATA was that of a terminal

    def wants_output(self, now):
        """Whether poll_output() would return something."""
        return self.attached and bool(
            self._greet or self._listed or self._pongs or self._forgets or self._kills
            or self._looked or self._nodes_untold
            or self.keeper is not None and self.keeper.has_news()
            or self._nodes_done_untold and not self.probing or self._parser.parsed - self._acked >= ACK_AFTER
            or self._turns and self._pace.room(now) > 0
            or self._shown and self._pace.room(now) + self._beyond() > 0)

    def poll_output(self, now):
        """Return buffers to write to the link, completely and in this order; empty if there is nothing to
        send."""
        out = []
        if not self.attached:
            return out
        if self._greet or self._nodes_untold or self._nodes_done_untold:
            self._say_hello(out)
            if self._greet and self.daemon_keeps:
                count = 0 if self.keeper is None else self.keeper.say_all(out, now)
                out.append(wire.frame(wire.KEEPS, count=count))
        if self._parser.parsed - self._acked >= ACK_AFTER:
            self._acked = self._parser.parsed
            out.append(wire.frame(wire.ACK, bytes=self._acked))
        if self._pongs:
            out.extend([wire.frame(wire.PONG, token=token) for token in self._pongs])
            self._pongs = []
        if self._forgets:
            out.extend([wire.frame(wire.FORGET, id=id) for id in self._forgets])
            self._forgets = {}
        if self._kills:
            out.extend([wire.frame(wire.KILLED, id=id, sequence=self._kills[id]) for id in self._kills])
            self._kills = {}
        if self.keeper is not None:
            self.keeper.say(out, now)
        if self._looked:
            out.append(self._looked)
            self._looked = None
        if self._listed:
            listed, self._listed = self._listed, []
            for process in listed:
                process.listed = False
                flags, process.flags = process.flags, 0
                process.say(out, flags)
        size = sum([len(part) for part in out]) if out else 0
        pace = self._pace
        while (self._turns or self._shown) and size < BATCH:
            room = pace.room(now)
            # what a terminal shows is never more than a page at a time, and goes first
            queues = [queue for queue, most in ((self._shown, room + self._beyond()), (self._turns, room))
                      if queue and size < most]
            if not queues:
                break
            for queue in queues:
                process = queue.popleft()
                pace.turn(process.id, now)
                size += process.say_data(out)
                if process.in_turn:
                    queue.append(process)
                self._was_shown = process.terminal
        if size:
            pace.sent_more(size, now)
        if self._greet:
            self._greet = False
            out.insert(0, wire.MARKER)
        return out

    def stdout_frame(self, process, data, now):
        """Return the DATA frame of what a process wrote to stdout, which then counts as said, if it may be
        written to the link at once and nothing else is to be said. Return None otherwise: for child_output().
        """
        out = process.outs[wire.STDOUT]
        pace = self._pace
        size = wire.HEAD + len(data)
        if (out.sent != out.end or process.muted or process.flags or not process.plain or process.terminal
                or self._turns or self._shown or self._listed or self._pongs or self._forgets or self._kills
                or self._looked or self._greet or self._nodes_untold or not self.attached
                or not pace.is_light(size)):
            return None
        pace.turn(process.id, now)
        pace.sent += size
        out.write(data)
        position, data = out.next_data()
        return wire.data_header(process.id, wire.STDOUT, position, len(data)) + data

    def _beyond(self):
        """Return by how much what a terminal shows may exceed the window: others have their turns between."""
        return 0 if self._was_shown and self._turns else BEYOND

    def _say_hello(self, out):
        if self._greet:
            out.append(wire.frame(wire.HELLO, incarnation=self.incarnation, epoch=self.epoch,
                                  resume=self.resume,
                                  pid=self.pid, table=self.hello))
        untold, self._nodes_untold = self._nodes_untold, []
        for name, state, table in self.nodes:
            if name in untold:
                out.append(wire.frame(wire.NODE, name=name, state=state, table=table))
        if self._nodes_done_untold and not self.probing:
            self._nodes_done_untold = False
            out.append(wire.frame(wire.NODES, count=len(self.nodes)))

    def node(self, name, state, table):
        """Report a node, or its new state."""
        fresh = (name, state, table)
        for at, node in enumerate(self.nodes):
            if node[0] == name:
                self.nodes[at] = fresh
                break
        else:
            self.nodes.append(fresh)
        if self.attached and name not in self._nodes_untold:
            self._nodes_untold.append(name)

    def nodes_known(self, known):
        """Set whether all nodes have been reported and none is being probed."""
        self.probing = not known

    def looked(self, epoch, frame):
        """Answer the LOOK that came on the link of this epoch."""
        if self.attached and self.epoch == epoch:
            self._looked = frame
            if self.keeper is not None:
                self.keeper.looked(self.last_byte)

    def _queue(self, process):
        process.in_turn = True
        (self._shown if process.terminal else self._turns).append(process)

    def queue_more(self, process):
        """It has bytes to send that it did not have before."""
        if not process.in_turn and not process.muted and process.has_unsent():
            self._queue(process)

    def _mark(self, process, flags):
        if not process.muted and self.attached and process.id in self.processes:
            self.list(process, flags)

    def list(self, process, flags):
        """Say this of it."""
        process.flags |= flags
        if not process.listed:
            process.listed = True
            self._listed.append(process)

    def mute(self, process):
        process.muted = True
        process.flags = 0
        self._terminals.discard(process.id)
        self._pace.has_terminal = bool(self._terminals)
