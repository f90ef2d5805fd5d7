//! The client's end of one process: its three streams, its signals, its end, and the attempts that carry them
//! over breaks.
//!
//! `hold` has what is different for kept work.
//!
//! Every client uses it; so does the daemon for the processes that carry its tunnels.

mod hold;

use bytes::Bytes;

use crate::conn::Conn;
use crate::id::ProcessId;
use crate::prefix;
use crate::stream::{CreditPool, OUTPUT_WINDOW, RecvStream, STDIN_WINDOW, SendStream, Violation};
use crate::terminal::TerminalSize;
use crate::wire::{Ending, Exit, Frame, Role, Span, Spawn, Stream};

use hold::Hold;
pub use hold::Loss;
pub(crate) use hold::{MAX_COUNT, STAYS, TAKEN_OVER};

/// The most DATA of one process that waits in the connection, in bytes; the rest stays in its stream, so
/// turns stay short.
const AHEAD: usize = 256 * 1024;

/// The client's end of a process that has been placed.
#[derive(Debug)]
pub struct Process {
    spawn: Spawn,
    stdin: SendStream,
    output: [RecvStream; 2],
    signals: Signals,
    terminal: Option<Terminal>,
    /// Whether agent and daemon know SIZE, for a terminal that is not known yet.
    knows_sizes: bool,
    /// Of its stdin the agent may have so many bytes before they were sent, until it has answered once.
    prefix: u64,
    /// A size that was given before it was known that there is a terminal.
    asked_size: Option<TerminalSize>,
    phase: Phase,
    confirmed: bool,
    hold: Option<Hold>,
    pid: Option<u32>,
    ending: Option<Ending>,
    lost: Option<String>,
    unreachable: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The agent cannot be reached.
    Waiting,
    /// The first SPAWN is on its way; frames may follow it at once.
    Fresh,
    /// SPAWN or RESUME is on its way; nothing else counts until the answer.
    Asked,
    /// TAKE is on its way.
    Taking,
    /// Frames pass both ways.
    Open,
}

/// Signals are numbered in batches: one is on its way, the next one collects.
#[derive(Debug, Default)]
struct Signals {
    sequence: u32,
    sent: u64,
    next: u64,
}

/// The terminal of a process, and its last size.
#[derive(Clone, Copy, Debug)]
struct Terminal {
    sequence: u32,
    size: TerminalSize,
    /// Agent and daemon know SIZE.
    known: bool,
}

impl Process {
    /// A process to start as `spawn` says; its attempt and limits are set here.
    pub fn new(spawn: Spawn) -> Self {
        let limits = Spawn { attempt: 0, stdout_limit: OUTPUT_WINDOW, stderr_limit: OUTPUT_WINDOW, ..spawn };
        let terminal =
            TerminalSize::asked(&limits.options).map(|size| Terminal { sequence: 0, size, known: true });
        let hold = Hold::of(&limits);
        let prefix = prefix::length(&limits).unwrap_or(0);
        Self {
            spawn: limits,
            stdin: SendStream::new(STDIN_WINDOW),
            output: [RecvStream::new(OUTPUT_WINDOW), RecvStream::new(OUTPUT_WINDOW)],
            signals: Signals::default(),
            terminal,
            knows_sizes: true,
            prefix,
            asked_size: None,
            phase: Phase::Waiting,
            confirmed: false,
            hold,
            pid: None,
            ending: None,
            lost: None,
            unreachable: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> ProcessId {
        self.spawn.id
    }

    /// The SPAWN that starts it.
    pub fn spawn(&self) -> &Spawn {
        &self.spawn
    }

    /// Process id on its host, once it runs.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How it ended, once its output has arrived up to the end.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref().filter(|_| self.output.iter().all(RecvStream::is_complete))
    }

    /// The reason why it was lost, if it was.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// The reason why it cannot be reached now, if so.
    pub fn unreachable(&self) -> Option<&str> {
        self.unreachable.as_deref()
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.lost.is_some() || self.ending().is_some()
    }

    /// How many bytes of stdin may be written now.
    pub fn stdin_capacity(&self) -> usize {
        if self.is_over() || self.ending.is_some() { 0 } else { self.stdin.capacity() }
    }

    /// Position of the next byte that is written to stdin: somebody else may have written before.
    pub fn stdin_end(&self) -> u64 {
        self.stdin.end()
    }

    /// Bytes of stdin that were written but not sent yet.
    pub fn stdin_unsent(&self) -> u64 {
        self.stdin.unsent()
    }

    /// Whether bytes of stdin wait only for room in the connection: see [`Process::pump`].
    pub fn stdin_waits(&self) -> bool {
        self.passes() && self.stdin.sendable() > 0
    }

    /// Whether no more can be written to stdin: it was closed on this side or by the process, or the process
    /// has ended.
    pub fn stdin_closed(&self) -> bool {
        self.stdin.is_closed() || self.is_over() || self.ending.is_some()
    }

    /// Whether the agent has received everything that was written to stdin.
    pub fn stdin_delivered(&self) -> bool {
        self.stdin.is_stopped() || self.stdin.acknowledged() == self.stdin.end()
    }

    /// Whether the agent has confirmed every signal, or the process is over.
    pub fn has_heard(&self) -> bool {
        self.is_over() || self.signals.sent == 0 && self.signals.next == 0
    }

    /// Writes to stdin; at most [`Process::stdin_capacity`] bytes at a time.
    pub fn write(&mut self, bytes: Bytes, conn: Option<&mut Conn>) {
        self.stdin.write(bytes);
        if let Some(conn) = conn {
            self.pump(conn);
        }
    }

    /// Closes stdin after the bytes written so far.
    pub fn close_stdin(&mut self, conn: Option<&mut Conn>) {
        self.stdin.finish();
        if let (Some(conn), Some(frame)) = (conn.filter(|_| self.passes()), self.fin()) {
            conn.send(frame);
        }
    }

    /// Bytes of stdout or stderr that have arrived, up to the next gap.
    pub fn available(&self, stream: Stream) -> usize {
        self.output[output(stream)].available()
    }

    /// Bytes of stdout and stderr that have arrived so far.
    pub(crate) fn received(&self) -> u64 {
        // what was skipped counts, too: its host may say any position
        self.output.iter().map(RecvStream::received).fold(0, u64::saturating_add)
    }

    /// Bytes of stdout and stderr that have credit but have not arrived.
    pub(crate) fn open(&self) -> u64 {
        self.output.iter().map(|recv| recv.limit() - recv.received()).sum()
    }

    /// Whether everything of stdout or stderr was read, or no more will come.
    pub fn finished(&self, stream: Stream) -> bool {
        let recv = &self.output[output(stream)];
        recv.is_finished() || (self.lost.is_some() && recv.waiting() == 0 && recv.missing() == 0)
    }

    /// Position of the next byte of stdout or stderr to read, or of the gap before it.
    pub fn position(&self, stream: Stream) -> u64 {
        self.output[output(stream)].position()
    }

    /// How many bytes are missing right before the next byte of stdout or stderr. Only kept work and its
    /// readers have gaps; what a reader did not ask for is one, from position 0.
    pub fn missing(&self, stream: Stream) -> u64 {
        self.output[output(stream)].missing()
    }

    /// The same, once. Until it was called nothing behind the gap can be read.
    pub fn gap(&mut self, stream: Stream) -> u64 {
        self.output[output(stream)].take_gap()
    }

    /// Takes at most `max` bytes of stdout or stderr, and none across a gap.
    pub fn read(
        &mut self,
        stream: Stream,
        max: usize,
        conn: Option<&mut Conn>,
        pool: &mut CreditPool,
    ) -> Bytes {
        let bytes = self.output[output(stream)].read(max);
        if let Some(conn) = conn.filter(|_| self.passes()) {
            self.grant(stream, conn, pool);
        }
        bytes
    }

    /// Closes stdout or stderr: no more of it is wanted. That of kept work is only dropped here: others may
    /// want it.
    pub fn stop(&mut self, stream: Stream, conn: Option<&mut Conn>, pool: &mut CreditPool) {
        if self.hold.is_some() {
            self.output[output(stream)].discard();
            // what was not read has held it up
            if let Some(conn) = conn {
                self.grant(stream, conn, pool);
            }
            return;
        }
        self.output[output(stream)].stop();
        if let Some(conn) = conn.filter(|_| self.passes()) {
            conn.send(Frame::Stop { id: self.id(), stream });
        }
    }

    /// Sends it a signal, by its number on Linux (1 to 31).
    pub fn signal(&mut self, number: u32, conn: Option<&mut Conn>) {
        self.signals.next |= 1 << (number & 63);
        if let Some(conn) = conn.filter(|_| self.passes()) {
            self.send_signals(conn);
        }
    }

    /// Its terminal has another size, or the same one: the processes in its foreground get SIGWINCH either
    /// way. Does nothing without a terminal.
    pub fn resize(&mut self, size: TerminalSize, conn: Option<&mut Conn>) {
        let Some(terminal) = &mut self.terminal else {
            self.asked_size = self.hold.is_some().then_some(size);
            return;
        };
        *terminal = Terminal { sequence: terminal.sequence + 1, size, ..*terminal };
        if let Some(conn) = conn.filter(|_| self.passes()) {
            self.send_size(conn);
        }
    }

    /// Whether the daemon that it is reached through knows terminals, as its first one did.
    pub(crate) fn daemon_knows_terminals(&mut self, known: bool) {
        self.knows_sizes = known;
        if let Some(terminal) = &mut self.terminal {
            terminal.known = known;
        }
    }

    /// The agent can be reached: asks it to start or to resume.
    pub fn reachable(&mut self, conn: &mut Conn) {
        self.unreachable = None;
        self.ask(conn);
    }

    /// Asks the agent to start it, to resume, or to let this client take it.
    pub(crate) fn ask(&mut self, conn: &mut Conn) {
        if self.is_over() {
            return;
        }
        if self.takes() {
            return self.send_take(conn);
        }
        self.spawn.attempt += 1;
        if self.confirmed && self.hold.is_none() {
            self.send_resume(conn);
        } else {
            self.phase = if self.spawn.attempt == 1 { Phase::Fresh } else { Phase::Asked };
            conn.send(Frame::Spawn(Box::new(self.spawn.clone())));
            if self.phase == Phase::Fresh {
                self.state_again(conn);
            }
        }
    }

    /// The agent can no longer be reached, for the reason in `message`.
    pub fn broken(&mut self, message: String) {
        self.phase = Phase::Waiting;
        self.unreachable = Some(message);
    }

    /// It is lost, for the reason in `message`.
    pub fn lose(&mut self, message: String, pool: &mut CreditPool) {
        self.phase = Phase::Waiting;
        self.unreachable = None;
        if !self.is_over() {
            self.lost = Some(message);
        }
        self.close(pool);
    }

    /// Gives its credit back. Call it when nothing more is read.
    pub fn close(&mut self, pool: &mut CreditPool) {
        for recv in &mut self.output {
            recv.close(pool);
        }
    }

    /// Takes a frame for this process.
    ///
    /// # Errors
    /// If the peer broke a rule. End the connection then.
    pub fn handle(&mut self, frame: Frame, conn: &mut Conn, pool: &mut CreditPool) -> Result<(), Violation> {
        match frame {
            Frame::Reachable(_) => self.reachable(conn),
            Frame::Unreachable { message, .. } => self.broken(message),
            Frame::Lost { message, .. } => self.lose(message, pool),
            Frame::Resumed { attempt, stdin, .. } => {
                let asked = matches!(self.phase, Phase::Fresh | Phase::Asked);
                if asked && attempt == self.spawn.attempt {
                    self.resumed(stdin, conn, pool)?;
                }
            }
            Frame::Taken { attempt, tenure, standing, .. } => {
                if self.awaits(attempt) {
                    self.taken(tenure, &standing, conn)?;
                }
            }
            _ if self.phase != Phase::Open => {}
            Frame::Skip { stream, position, .. } if stream != Stream::Stdin && self.may_skip() => {
                self.output[output(stream)].skip(position)?;
                self.grant(stream, conn, pool);
            }
            Frame::Started { pid, .. } => self.pid = Some(pid),
            Frame::Data { stream, position, bytes, .. } if stream != Stream::Stdin => {
                self.output[output(stream)].data(position, bytes)?;
                self.grant(stream, conn, pool);
            }
            Frame::Credit { stream: Stream::Stdin, span, .. } => {
                self.stdin.credit(span)?;
                self.pump(conn);
            }
            Frame::Fin { stream, length, .. } if stream != Stream::Stdin => {
                self.output[output(stream)].fin(length)?;
            }
            Frame::Stop { stream: Stream::Stdin, .. } => self.stdin.stop(),
            Frame::Signaled { sequence, .. } => {
                if sequence == self.signals.sequence {
                    self.signals.sent = 0;
                    self.send_signals(conn);
                }
            }
            Frame::Exit { exit: Exit { ending, stdout, stderr }, .. } => {
                for (recv, length) in self.output.iter_mut().zip([stdout, stderr]) {
                    if !recv.is_stopped() {
                        recv.fin(length)?;
                    }
                }
                self.ending.get_or_insert(ending);
            }
            _ => return Err(Violation::Unexpected("client's")),
        }
        Ok(())
    }

    /// Sends more of stdin, as far as credit and the connection's queue allow.
    pub fn pump(&mut self, conn: &mut Conn) {
        if !self.passes() {
            return;
        }
        let id = self.id();
        while conn.queued(id) < AHEAD
            && let Some((position, bytes)) = self.stdin.next_data()
        {
            conn.send(Frame::Data { id, stream: Stream::Stdin, position, bytes });
        }
    }

    fn resumed(&mut self, stdin: Span, conn: &mut Conn, pool: &mut CreditPool) -> Result<(), Violation> {
        let fresh = self.phase == Phase::Fresh;
        self.phase = Phase::Open;
        if !self.confirmed {
            self.stdin.has(stdin.received.min(self.prefix));
        }
        self.confirmed = true;
        self.confirm_hold();
        if fresh {
            self.stdin.credit(stdin)?;
        } else {
            self.stdin.resume(stdin)?;
            self.state_again(conn);
            for stream in [Stream::Stdout, Stream::Stderr] {
                self.grant(stream, conn, pool);
            }
        }
        self.pump(conn);
        Ok(())
    }

    /// Repeats the frames that still hold.
    fn state_again(&mut self, conn: &mut Conn) {
        let id = self.id();
        if let Some(frame) = self.fin() {
            conn.send(frame);
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.output[output(stream)].is_stopped() && self.hold.is_none() {
                conn.send(Frame::Stop { id, stream });
            }
        }
        if self.signals.sent != 0 {
            let (sequence, mask) = (self.signals.sequence, self.signals.sent);
            conn.send(Frame::Signal { id, sequence, mask });
        }
        self.send_signals(conn);
        if self.confirmed || self.terminal.is_some_and(|terminal| terminal.sequence > 0) {
            self.send_size(conn);
        }
        self.pump(conn);
    }

    fn may_skip(&self) -> bool {
        self.hold.is_some() || self.spawn.role == Role::Read
    }

    fn passes(&self) -> bool {
        matches!(self.phase, Phase::Fresh | Phase::Open)
    }

    fn fin(&self) -> Option<Frame> {
        let length = self.stdin.length()?;
        Some(Frame::Fin { id: self.id(), stream: Stream::Stdin, length })
    }

    fn grant(&mut self, stream: Stream, conn: &mut Conn, pool: &mut CreditPool) {
        // until the agent has answered it might not have the process yet
        if self.phase == Phase::Open
            && let Some(span) = self.output[output(stream)].credit(pool)
        {
            conn.send(Frame::Credit { id: self.id(), stream, span });
        }
    }

    fn send_size(&self, conn: &mut Conn) {
        if let Some(Terminal { sequence, size: TerminalSize { rows, columns }, known: true }) = self.terminal
        {
            conn.send(Frame::Size { id: self.id(), sequence, rows, columns });
        }
    }

    fn send_signals(&mut self, conn: &mut Conn) {
        if self.signals.sent == 0 && self.signals.next != 0 {
            self.signals.sequence += 1;
            self.signals.sent = std::mem::take(&mut self.signals.next);
            let (sequence, mask) = (self.signals.sequence, self.signals.sent);
            conn.send(Frame::Signal { id: self.id(), sequence, mask });
        }
    }
}

fn output(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;

    use super::*;
    use crate::id::{ClientId, Incarnation};
    use crate::wire::{Decoder, Role};

    const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

    fn process(options: Vec<(String, Bytes)>) -> Process {
        Process::new(Spawn {
            id: ProcessId([1; 16]),
            attempt: 0,
            incarnation: Incarnation([2; 16]),
            owner: ClientId([3; 16]),
            role: Role::Plain,
            stdout_limit: 0,
            stderr_limit: 0,
            host: "h".into(),
            node: "n".into(),
            chdir: String::new(),
            args: Vec::new(),
            env: Vec::new(),
            options,
        })
    }

    /// Sequences and rows of the sizes that are sent.
    fn sizes(conn: &mut Conn) -> Vec<(u32, u16)> {
        let mut out = BytesMut::new();
        conn.transmit(&mut out, usize::MAX, Duration::ZERO);
        let mut decoder = Decoder::default();
        decoder.push(&out);
        let frames = std::iter::from_fn(|| decoder.next().unwrap());
        frames
            .filter_map(|(frame, _)| match frame {
                Frame::Size { sequence, rows, .. } => Some((sequence, rows)),
                _ => None,
            })
            .collect()
    }

    /// A new attempt, up to its RESUMED.
    fn resume(process: &mut Process, conn: &mut Conn) {
        process.reachable(conn);
        let (id, attempt) = (process.id(), process.spawn.attempt);
        let resumed = Frame::Resumed { id, attempt, stdin: Span { received: 0, limit: STDIN_WINDOW } };
        process.handle(resumed, conn, &mut CreditPool::default()).unwrap();
    }

    #[test]
    fn the_last_size_is_stated_after_every_break_to_whom_understands_it() {
        let conn = &mut Conn::socket(Duration::ZERO);
        let mut process = process(vec![SIZE.option()]);
        resume(&mut process, conn);
        assert_eq!(sizes(conn), [], "SPAWN has stated it");
        process.broken("cut".into());
        resume(&mut process, conn);
        assert_eq!(sizes(conn), [(0, 24)]);
        for rows in [30, 30, 40] {
            process.resize(TerminalSize { rows, ..SIZE }, Some(conn));
        }
        assert_eq!(sizes(conn), [(3, 40)], "only the last one counts");
        process.resize(SIZE, Some(conn));
        assert_eq!(sizes(conn), [(4, 24)]);
        // a daemon of an earlier release
        process.broken("the daemon is gone".into());
        process.daemon_knows_terminals(false);
        resume(&mut process, conn);
        process.resize(TerminalSize { rows: 50, ..SIZE }, Some(conn));
        assert_eq!(sizes(conn), []);
        process.broken("the daemon is gone".into());
        process.daemon_knows_terminals(true);
        resume(&mut process, conn);
        assert_eq!(sizes(conn), [(5, 50)]);
    }

    #[test]
    fn without_a_terminal_there_is_no_size() {
        let conn = &mut Conn::socket(Duration::ZERO);
        let mut process = process(Vec::new());
        resume(&mut process, conn);
        process.resize(SIZE, Some(conn));
        process.broken("cut".into());
        resume(&mut process, conn);
        assert_eq!(sizes(conn), []);
    }
}
