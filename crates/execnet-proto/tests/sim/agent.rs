//! An agent that follows docs/protocol.md and does nothing else: frames in, frames and [`Action`]s out.
//! Whoever plays the processes executes the actions. It has no clock, no fds and no processes of its own.

#[path = "kept.rs"]
mod kept;
#[path = "output.rs"]
mod output;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::conn::Conn;
use execnet_proto::control::NodeState;
use execnet_proto::feature::{Feature, Features};
use execnet_proto::id::{Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::stream::{CreditPool, RecvStream, STDIN_WINDOW, SendStream, Violation};
use execnet_proto::terminal::TerminalSize;
use execnet_proto::wire::{Ending, Frame, FrameKind, Role, Span, Spawn, Stream};

use kept::Kept;
use output::Out;

/// Link time after which unclaimed processes of an older life are hung up.
const UNCLAIMED: Duration = Duration::from_secs(30);

/// DATA of one process that may wait in the connection.
const AHEAD: usize = 65_536;

/// An action for the side of the processes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start(Box<Spawn>),
    /// Nobody wants this output any more.
    Close(ProcessId, Stream),
    Signal(ProcessId, Vec<u32>),
    Size(ProcessId, TerminalSize),
    /// Close stdin, SIGHUP, SIGKILL 5 s later; the agent has forgotten the process.
    HangUp(ProcessId),
    /// Everything that is not kept was hung up: drop the link.
    Detach,
    /// Everything was hung up: end.
    End,
}

pub(crate) struct Agent {
    /// The state of its one node.
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
    /// What it says that it can do.
    pub(crate) features: Features,
    /// The bytes of stdin that a process has which waited for this SPAWN, if one did.
    pub(crate) waiting: Option<fn(&Spawn) -> Option<Bytes>>,
    pub(crate) epoch: Epoch,
    pub(crate) actions: VecDeque<Action>,
    /// Ids that were hung up because nobody claimed them.
    pub(crate) unclaimed: BTreeSet<ProcessId>,
    /// Kept work that was ended or forgotten, and readers of it, each with the reason.
    pub(crate) ended: BTreeMap<ProcessId, &'static str>,
    now: Duration,
    resume: bool,
    linger: Duration,
    conn: Option<Conn>,
    processes: BTreeMap<ProcessId, Process>,
    known: BTreeSet<ProcessId>,
    pool: CreditPool,
    heard: Duration,
    claims_left: Option<Duration>,
    claims_until: Option<Duration>,
    ending: bool,
    /// It had no link for too long.
    lingered: bool,
}

#[derive(Debug)]
struct Process {
    spawn: Spawn,
    attempt: u32,
    muted: bool,
    unclaimed: bool,
    pid: Option<u32>,
    stdin: RecvStream,
    /// The first bytes of stdin, which it was given ahead and has not read.
    prefix: Bytes,
    outs: [Out; 2],
    kept: Option<Kept>,
    /// What it reads along with.
    source: Option<ProcessId>,
    lengths: [Option<u64>; 2],
    signals: u32,
    sizes: u32,
    ending: Option<Ending>,
}

impl Agent {
    pub(crate) fn new(incarnation: Incarnation, resume: bool, linger: Duration, now: Duration) -> Self {
        Self {
            name: "model".into(),
            incarnation,
            features: [Feature::Terminal, Feature::Prefix]
                .into_iter()
                .chain(resume.then_some(Feature::Keep))
                .collect(),
            waiting: None,
            epoch: Epoch(0),
            actions: VecDeque::new(),
            unclaimed: BTreeSet::new(),
            ended: BTreeMap::new(),
            now,
            resume,
            linger,
            conn: None,
            processes: BTreeMap::new(),
            known: BTreeSet::new(),
            pool: CreditPool::default(),
            heard: now,
            claims_left: None,
            claims_until: None,
            ending: false,
            lingered: false,
        }
    }

    pub(crate) fn processes(&self) -> usize {
        self.processes.len()
    }

    /// The most bytes that wait here in one stream.
    pub(crate) fn held(&self) -> u64 {
        let streams = self.processes.values().flat_map(|process| {
            let outs = [0, 1].map(|index| process.outs[index].held());
            [process.stdin.available() as u64, outs[0], outs[1]]
        });
        streams.max().unwrap_or(0)
    }

    pub(crate) fn dump(&self) -> String {
        format!("{:?} {:?} {:?}", self.conn, self.processes, self.pool)
    }

    pub(crate) fn has(&self, id: ProcessId) -> bool {
        self.processes.contains_key(&id)
    }

    /// A link of this epoch is up.
    pub(crate) fn attach(&mut self, epoch: Epoch, now: Duration) {
        let newer = epoch.life() > self.epoch.life();
        self.epoch = epoch;
        (self.heard, self.now) = (now, now);
        self.lingered = false;
        let mut conn = Conn::link(now);
        let marker = BytesMut::from(&OPENING[..]);
        conn.send_first(marker.freeze());
        let hostname = ("hostname".to_owned(), Bytes::from_static(b"model"));
        let features = (!self.features.is_empty()).then(|| self.features.entry());
        let facts = [hostname].into_iter().chain(features).collect();
        let (incarnation, resume) = (self.incarnation, self.resume);
        conn.send(Frame::Hello { incarnation, epoch, resume, pid: 1, facts });
        conn.send(Frame::Node { name: self.name.clone(), state: NodeState::Ready, facts: Vec::new() });
        conn.send(Frame::Nodes(1));
        self.conn = Some(conn);
        if self.features.has(Feature::Keep) {
            self.tell_kept();
        }
        for process in self.processes.values_mut() {
            process.muted = true;
            process.outs.iter_mut().filter_map(Out::ring).for_each(|ring| ring.is_present(false));
            if let Some(kept) = &mut process.kept {
                kept.is_taken = false;
                kept.is_heard &= !newer;
            }
        }
        if newer {
            let (tunnels, others): (Vec<_>, Vec<_>) =
                self.processes.keys().copied().partition(|id| self.processes[id].spawn.role == Role::Tunnel);
            for id in tunnels {
                self.hang_up(id);
            }
            for id in &others {
                let process = self.processes.get_mut(id).expect("just listed");
                process.unclaimed = process.kept.is_none();
            }
            if !others.is_empty() {
                self.claims_left = Some(UNCLAIMED);
            }
        }
        self.claims_until = self.claims_left.map(|left| now + left);
    }

    /// The link is gone.
    pub(crate) fn detach(&mut self, now: Duration) {
        self.conn = None;
        self.now = now;
        let outs = self.processes.values_mut().flat_map(|process| &mut process.outs);
        outs.filter_map(Out::ring).for_each(|ring| ring.is_present(false));
        if let Some(until) = self.claims_until.take() {
            self.claims_left = Some(until.saturating_sub(now));
        }
    }

    pub(crate) fn handle(&mut self, bytes: &[u8], now: Duration) -> Result<(), Violation> {
        (self.heard, self.now) = (now, now);
        let Some(conn) = &mut self.conn else { return Ok(()) };
        conn.push(bytes, now);
        while let Some(conn) = &mut self.conn
            && let Some(frame) = conn.next(now)?
        {
            self.frame(frame)?;
        }
        Ok(())
    }

    pub(crate) fn transmit(&mut self, out: &mut BytesMut, most: usize, now: Duration) {
        self.now = now;
        self.pump_readers();
        let Some(conn) = &mut self.conn else { return };
        for (&id, process) in &mut self.processes {
            process.pump(id, conn);
        }
        conn.transmit(out, most, now);
    }

    pub(crate) fn deadline(&self) -> Duration {
        let linger = if self.lingered { Duration::MAX } else { self.heard + self.linger };
        let times = [self.claims_until, self.kept_deadline()];
        times.into_iter().flatten().fold(linger, Duration::min)
    }

    pub(crate) fn tick(&mut self, now: Duration) {
        self.now = now;
        self.tick_kept();
        if now >= self.heard + self.linger && !self.lingered {
            self.lingered = true;
            for process in self.processes.values_mut() {
                if let Some(kept) = &mut process.kept {
                    kept.is_heard = false;
                }
            }
            self.leave_unheard();
            self.end(false);
        }
        if self.lingered && !self.keeps() {
            self.end(true);
        }
        if self.claims_until.is_some_and(|until| now >= until) {
            self.claims_until = None;
            self.claims_left = None;
            let unclaimed: Vec<_> =
                self.processes.iter().filter(|(_, process)| process.unclaimed).map(|(id, _)| *id).collect();
            for id in unclaimed {
                self.unclaimed.insert(id);
                self.hang_up(id);
                self.say(Frame::Forget(id));
            }
            self.leave_unheard();
        }
    }

    // --- processes

    pub(crate) fn started(&mut self, id: ProcessId, pid: u32) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.pid = Some(pid);
            self.say_of(id, Frame::Started { id, pid });
        }
    }

    /// How many bytes of its output may be read now.
    pub(crate) fn room(&self, id: ProcessId, stream: Stream) -> usize {
        let Some(process) = self.processes.get(&id) else { return 0 };
        process.outs[stream.index() - 1].room() as usize
    }

    pub(crate) fn output(&mut self, id: ProcessId, stream: Stream, bytes: Bytes) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.outs[stream.index() - 1].write(bytes);
        if let Some(conn) = &mut self.conn {
            process.pump(id, conn);
        }
    }

    pub(crate) fn output_closed(&mut self, id: ProcessId, stream: Stream) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let out = &mut process.outs[stream.index() - 1];
        out.finish();
        let length = *process.lengths[stream.index() - 1].get_or_insert(out.end());
        if !out.is_stopped() {
            self.say_of(id, Frame::Fin { id, stream, length });
        }
        self.maybe_exit(id);
        self.tell_readers(id);
        self.kept_has_ended(id);
    }

    fn kept_has_ended(&mut self, id: ProcessId) {
        if self.processes.get(&id).is_some_and(Process::has_ended) {
            self.kept_ended(id);
        }
    }

    pub(crate) fn exited(&mut self, id: ProcessId, ending: Ending) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.ending = Some(ending);
        self.stdin_closed(id);
        self.maybe_exit(id);
        self.tell_readers(id);
        self.kept_has_ended(id);
    }

    /// Takes bytes of its stdin.
    pub(crate) fn take_stdin(&mut self, id: ProcessId, most: usize) -> Bytes {
        let Some(process) = self.processes.get_mut(&id) else { return Bytes::new() };
        if !process.prefix.is_empty() {
            return process.prefix.split_to(most.min(process.prefix.len()));
        }
        let bytes = process.stdin.read(most);
        self.grant(id);
        bytes
    }

    pub(crate) fn stdin_ended(&self, id: ProcessId) -> bool {
        self.processes.get(&id).is_none_or(|process| process.prefix.is_empty() && process.stdin.is_finished())
    }

    pub(crate) fn stdin_closed(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if !process.stdin.is_stopped() {
            process.stdin.stop();
            self.say_of(id, Frame::Stop { id, stream: Stream::Stdin });
        }
    }

    /// The credit of all processes together.
    pub(crate) fn granted(&self) -> u64 {
        let stdins = self.processes.values().map(|process| &process.stdin);
        stdins.map(|stdin| stdin.limit() - stdin.received()).sum()
    }

    // --- frames

    fn frame(&mut self, frame: Frame) -> Result<(), Violation> {
        match frame {
            Frame::End => self.end(false),
            Frame::EndAll => self.end(true),
            frame @ Frame::Take { .. } => self.take(frame)?,
            Frame::Leave { id, owner, end } => self.leave(id, owner, end),
            Frame::Release(id) if self.release_kept(id) => {}
            Frame::Spawn(spawn) => self.spawn(*spawn)?,
            Frame::Resume { id, attempt, stdout, stderr } => {
                if let Some(kept) = self.kept_mut(id)
                    && !(kept.is_taken && kept.is_held)
                {
                    return Err(Violation::Unexpected("RESUME without TAKE"));
                }
                if self.has(id) {
                    self.resume(id, attempt, [stdout, stderr])?;
                } else {
                    self.say(Frame::Forget(id));
                }
            }
            Frame::Release(id) => {
                self.known.insert(id);
                self.hang_up(id);
                self.say(Frame::Forget(id));
            }
            frame => {
                let id = frame.process().ok_or(Violation::Unexpected("agent's"))?;
                if !matches!(
                    frame.kind(),
                    FrameKind::Data
                        | FrameKind::Credit
                        | FrameKind::Fin
                        | FrameKind::Stop
                        | FrameKind::Signal
                        | FrameKind::Size
                ) {
                    return Err(Violation::Unexpected("agent's"));
                }
                match self.processes.get(&id) {
                    None => self.say(Frame::Forget(id)),
                    Some(process) if process.muted => {}
                    Some(_) => self.frame_of(id, frame)?,
                }
            }
        }
        Ok(())
    }

    fn frame_of(&mut self, id: ProcessId, frame: Frame) -> Result<(), Violation> {
        let (Some(process), Some(conn)) = (self.processes.get_mut(&id), &mut self.conn) else {
            return Ok(());
        };
        match frame {
            Frame::Data { stream: Stream::Stdin, position, bytes, .. } => {
                process.stdin.data(position, bytes)?;
                self.grant(id);
            }
            Frame::Fin { stream: Stream::Stdin, length, .. } => process.stdin.fin(length)?,
            Frame::Credit { stream: stream @ (Stream::Stdout | Stream::Stderr), span, .. } => {
                process.outs[stream.index() - 1].credit(span)?;
                process.pump(id, conn);
            }
            Frame::Stop { stream: stream @ (Stream::Stdout | Stream::Stderr), .. } => {
                let out = &mut process.outs[stream.index() - 1];
                if !out.is_stopped() {
                    out.stop();
                    process.lengths[stream.index() - 1].get_or_insert(out.end());
                    self.actions.push_back(Action::Close(id, stream));
                    self.maybe_exit(id);
                }
            }
            Frame::Size { sequence, rows, columns, .. } => {
                if sequence > process.sizes {
                    process.sizes = sequence;
                    self.actions.push_back(Action::Size(id, TerminalSize { rows, columns }));
                }
            }
            Frame::Signal { sequence, mask, .. } => {
                if sequence > process.signals {
                    process.signals = sequence;
                    let mut numbers: Vec<_> = (1..64).filter(|number| mask >> number & 1 == 1).collect();
                    // SIGCONT first: a stopped process must be able to take the others
                    numbers.sort_by_key(|&number| (number != 18, number));
                    if process.ending.is_none() {
                        self.actions.push_back(Action::Signal(id, numbers));
                    }
                }
                let sequence = process.signals;
                self.say_of(id, Frame::Signaled { id, sequence });
            }
            _ => return Err(Violation::Unexpected("agent's")),
        }
        Ok(())
    }

    fn spawn(&mut self, spawn: Spawn) -> Result<(), Violation> {
        let (id, attempt) = (spawn.id, spawn.attempt);
        let limits = [spawn.stdout_limit, spawn.stderr_limit];
        let spawn = Spawn { attempt: 0, ..spawn };
        if let Some(process) = self.processes.get(&id) {
            if process.spawn != spawn {
                return Err(Violation::OtherSpawn(id));
            }
            if self.spawned_again(&spawn) {
                return Ok(());
            }
            return self.resume(id, attempt, limits.map(|limit| Span { received: 0, limit }));
        }
        if spawn.incarnation != self.incarnation || self.known.contains(&id) || self.ending {
            self.say(Frame::Forget(id));
            return Ok(());
        }
        let mut process = Process::plain(spawn.clone(), attempt, limits);
        match self.keep(&spawn, limits) {
            Some(Ok((outs, kept))) => (process.outs, process.kept) = (outs, Some(kept)),
            Some(Err(why)) => {
                self.refuse(spawn, attempt, limits, why);
                return Ok(());
            }
            None => {}
        }
        match self.read_along(&spawn, limits) {
            Some(Ok((outs, source))) => (process.outs, process.source) = (outs, Some(source)),
            Some(Err(why)) => {
                self.refuse(spawn, attempt, limits, why);
                return Ok(());
            }
            None => {}
        }
        if let Some(prefix) = self.waiting.and_then(|waiting| waiting(&spawn)) {
            process.stdin = RecvStream::at(prefix.len() as u64, STDIN_WINDOW);
            process.prefix = prefix;
        }
        let stdin = process.stdin.span();
        self.processes.insert(id, process);
        self.say(Frame::Resumed { id, attempt, stdin });
        if let Some(source) = self.processes[&id].source {
            self.tell_readers(source);
            return Ok(());
        }
        self.actions.push_back(Action::Start(Box::new(spawn)));
        self.say_kept(id);
        Ok(())
    }

    fn resume(&mut self, id: ProcessId, attempt: u32, spans: [Span; 2]) -> Result<(), Violation> {
        let (Some(process), Some(conn)) = (self.processes.get_mut(&id), &mut self.conn) else {
            return Ok(());
        };
        if attempt <= process.attempt {
            return Err(Violation::Unexpected("earlier attempt's"));
        }
        for (out, span) in process.outs.iter_mut().zip(spans) {
            out.resume(span)?;
        }
        process.attempt = attempt;
        process.muted = false;
        process.unclaimed = false;
        conn.send(Frame::Resumed { id, attempt, stdin: process.stdin.span() });
        if let Some(pid) = process.pid {
            conn.send(Frame::Started { id, pid });
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let of_source = process.lengths[stream.index() - 1].filter(|_| process.source.is_some());
            if let Some(length) = process.outs[stream.index() - 1].length().or(of_source) {
                conn.send(Frame::Fin { id, stream, length });
            }
        }
        if process.stdin.is_stopped() {
            conn.send(Frame::Stop { id, stream: Stream::Stdin });
        }
        if process.signals > 0 {
            conn.send(Frame::Signaled { id, sequence: process.signals });
        }
        process.pump(id, conn);
        self.maybe_exit(id);
        Ok(())
    }

    fn maybe_exit(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get(&id) else { return };
        if let Some(exit) = process.exit() {
            self.say_of(id, Frame::Exit { id, exit });
        }
    }

    fn grant(&mut self, id: ProcessId) {
        let (Some(process), Some(conn)) = (self.processes.get_mut(&id), &mut self.conn) else { return };
        if !process.muted
            && let Some(span) = process.stdin.credit(&mut self.pool)
        {
            conn.send(Frame::Credit { id, stream: Stream::Stdin, span });
        }
    }

    fn say(&mut self, frame: Frame) {
        if let Some(conn) = &mut self.conn {
            conn.send(frame);
        }
    }

    fn say_of(&mut self, id: ProcessId, frame: Frame) {
        if self.processes.get(&id).is_some_and(|process| !process.muted) {
            self.say(frame);
        }
    }

    fn hang_up(&mut self, id: ProcessId) {
        let has_child = self.processes.get(&id).is_some_and(|process| process.source.is_none());
        if self.forget(id) && has_child {
            self.actions.push_back(Action::HangUp(id));
        }
    }

    /// Drops all that is known of a process.
    fn forget(&mut self, id: ProcessId) -> bool {
        let Some(mut process) = self.processes.remove(&id) else { return false };
        process.stdin.close(&mut self.pool);
        self.known.insert(id);
        if let Some(conn) = &mut self.conn {
            conn.void(id);
        }
        self.leave_readers(id);
        true
    }

    /// Ends everything, or all but what is kept.
    fn end(&mut self, all: bool) {
        if self.ending {
            return;
        }
        let ids: Vec<_> =
            self.processes.iter().filter(|(_, p)| all || p.kept.is_none()).map(|(id, _)| *id).collect();
        for id in ids {
            self.ended.insert(id, "the agent was to end it");
            self.hang_up(id);
        }
        self.ending = self.processes.is_empty();
        self.actions.push_back(if self.ending { Action::End } else { Action::Detach });
    }
}

impl Process {
    fn plain(spawn: Spawn, attempt: u32, limits: [u64; 2]) -> Self {
        Self {
            spawn,
            attempt,
            muted: false,
            unclaimed: false,
            pid: None,
            stdin: RecvStream::new(STDIN_WINDOW),
            prefix: Bytes::new(),
            outs: limits.map(|limit| Out::Plain(SendStream::new(limit))),
            kept: None,
            source: None,
            lengths: [None; 2],
            signals: 0,
            sizes: 0,
            ending: None,
        }
    }

    fn pump(&mut self, id: ProcessId, conn: &mut Conn) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.muted {
                self.outs[stream.index() - 1].pump(id, stream, conn);
            }
        }
    }
}
