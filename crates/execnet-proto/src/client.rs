//! A client of a daemon: it greets, asks for places and runs processes, and repeats all of it after the
//! daemon was replaced.

mod launch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::batch::Sink;
use crate::conn::Conn;
use crate::feature::{Feature, Features};
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::kept::{Join, Keep, Replay};
use crate::opening::{OPENING, Opening, OpeningError, VERSION};
use crate::process::Process;
use crate::stream::{CreditPool, Violation};
use crate::terminal::TerminalSize;
use crate::wire::{Frame, Refusal, Role, Spawn, Stream, Table};

pub use launch::Launch;

/// The reason why a process cannot be reached while there is no connection to the daemon.
pub const DAEMON_GONE: &str = "the network's daemon is gone";

/// The reason why kept work cannot be reached through a daemon without the feature `keep`.
pub const DAEMON_KEEPS_NOTHING: &str =
    "the network's daemon is of an earlier release that knows no kept work, or belongs to one program alone";

/// The key of a client's greeting for the name of its program.
pub(crate) const PROGRAM: &str = "program";

/// Where a process was placed, and the facts of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The agent that will run it.
    pub incarnation: Incarnation,
    /// Id of the host.
    pub host: String,
    /// Name of the node.
    pub node: String,
    /// `executable`, `platform`, `implementation`, `version`, `machine`.
    pub facts: Table,
    /// The abilities of the agent and of the daemon on the way to it.
    pub features: Features,
}

/// News for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The daemon greeted.
    Greeted {
        /// The daemon's process id.
        pid: u32,
        /// Version of the daemon's program.
        release: String,
        /// Name of the network.
        network: String,
        /// What the daemon can do beyond the protocol's version.
        features: Features,
    },
    /// The process was placed: [`Client::launch`] it.
    Placed(ProcessId),
    /// The process was not placed.
    Refused(ProcessId, Refusal, String),
    /// The process waits for a host that cannot be reached just now, for this reason. It may still be placed
    /// or refused.
    Waits(ProcessId, String),
    /// A process that was launched or taken became unreachable or reachable, or was lost.
    Changed(ProcessId),
    /// This client holds the process now that it asked to take.
    Taken(ProcessId),
    /// A reply to a request.
    Reply {
        /// The number that [`Client::request`] returned.
        request: u32,
        /// Whether this is the last one.
        last: bool,
        /// The reply.
        json: Bytes,
    },
}

/// The daemon speaks another version of the protocol, broke it, or is not a daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ClientError {
    #[error("the daemon speaks version {0} of the protocol, this program version {VERSION}")]
    OtherVersion(u16),
    #[error("the program on the network's socket is not an execnet daemon")]
    NotADaemon,
    #[error("the daemon broke the protocol: {0}")]
    Violation(#[from] Violation),
}

impl From<OpeningError> for ClientError {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::OtherVersion(version) => Self::OtherVersion(version),
            OpeningError::NoMarker | OpeningError::Noise => Self::NotADaemon,
        }
    }
}

/// The state machine of a client. Pass it the bytes that arrive, and write the bytes of [`Client::transmit`].
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    release: String,
    program: String,
    socket: Option<Socket>,
    processes: BTreeMap<ProcessId, Progress>,
    /// Processes whose stdin waits for room in the connection.
    waiting: BTreeSet<ProcessId>,
    pool: CreditPool,
    /// What the last daemon that greeted can do.
    daemon: Features,
    requests: u32,
    takes: u16,
    events: VecDeque<ClientEvent>,
}

/// A socket to a daemon.
#[derive(Debug)]
struct Socket {
    conn: Conn,
    /// The daemon's opening, until it is complete.
    opening: Option<Opening>,
    /// It has said what it can do.
    greeted: bool,
}

#[derive(Debug)]
enum Progress {
    Selecting(Table),
    /// With the reason if it is lost already.
    Placed(Placement, Option<String>),
    Running(Placement, Box<Process>),
    /// Kept work that is to end as soon as a daemon can be told.
    Ending(Box<Process>),
}

impl Client {
    /// A client that is not connected yet. `release` is the version of its library.
    pub fn new(id: ClientId, release: impl Into<String>) -> Self {
        Self {
            id,
            release: release.into(),
            program: String::new(),
            socket: None,
            processes: BTreeMap::new(),
            waiting: BTreeSet::new(),
            pool: CreditPool::default(),
            daemon: Features::default(),
            requests: 0,
            takes: 0,
            events: VecDeque::new(),
        }
    }

    /// Tells daemons this name of the program, for people.
    #[must_use]
    pub fn program(self, name: impl Into<String>) -> Self {
        Self { program: name.into(), ..self }
    }

    /// What the last daemon that greeted can do.
    pub fn features(&self) -> Features {
        self.daemon
    }

    /// From now on the windows of output grow by no more than this, all together, in bytes. So that many
    /// processes need little memory here.
    pub fn limit_growth(&mut self, most: u64) {
        self.pool.limit(most);
    }

    /// A socket to a daemon is open: greets, and claims the processes that were running.
    pub fn connected(&mut self, now: Duration) {
        let mut conn = Conn::socket(now);
        conn.send_first(Bytes::from_static(&OPENING));
        let facts = vec![Features::all().entry(), (PROGRAM.to_owned(), self.program.clone().into())];
        conn.send(Frame::Client { id: self.id, release: self.release.clone(), facts });
        for (&id, progress) in &self.processes {
            match progress {
                Progress::Selecting(wants) => conn.send(Frame::Select { id, wants: wants.clone() }),
                Progress::Running(_, process) if process.is_over() => {}
                Progress::Placed(_, Some(_)) | Progress::Ending(_) => {}
                // what it can do must be known before
                Progress::Running(_, process) if process.takes() => {}
                Progress::Placed(place, None) | Progress::Running(place, _) => {
                    let (incarnation, host) = (place.incarnation, place.host.clone());
                    conn.send(Frame::Claim { id, incarnation, host });
                }
            }
        }
        self.socket = Some(Socket { conn, opening: Some(Opening::of_socket()), greeted: false });
    }

    /// The socket is closed. Processes wait for the next daemon.
    pub fn disconnected(&mut self) {
        self.socket = None;
        for progress in self.processes.values_mut() {
            if let Progress::Running(_, process) = progress
                && !process.is_over()
            {
                process.broken(DAEMON_GONE.into());
                self.events.push_back(ClientEvent::Changed(process.id()));
            }
        }
    }

    /// When to call [`Client::tick`]; `None` before the daemon has greeted.
    pub fn deadline(&self) -> Option<Duration> {
        self.socket.as_ref().filter(|socket| socket.opening.is_none()).map(|socket| socket.conn.deadline())
    }

    /// Notices silence: sends a PING, or returns false if the daemon does not answer.
    pub fn tick(&mut self, now: Duration) -> bool {
        self.socket
            .as_mut()
            .filter(|socket| socket.opening.is_none())
            .is_none_or(|socket| socket.conn.tick(now))
    }

    /// Takes bytes that arrived.
    ///
    /// # Errors
    /// If the peer is not a daemon of this version, or broke the protocol. Close the socket then.
    pub fn handle(&mut self, bytes: &[u8], now: Duration) -> Result<(), ClientError> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if let Some(opening) = &mut socket.opening {
            let Some(rest) = opening.take(bytes)? else { return Ok(()) };
            socket.opening = None;
            socket.conn.push(&rest, now);
        } else {
            socket.conn.push(bytes, now);
        }
        while let Some(socket) = &mut self.socket
            && let Some(frame) = socket.conn.next(now)?
        {
            self.frame(frame)?;
        }
        Ok(())
    }

    /// Appends the bytes to write now to `out`, about `most` of them.
    pub fn transmit(&mut self, out: &mut impl Sink, most: usize, now: Duration) {
        let Some(socket) = &mut self.socket else { return };
        socket.conn.transmit(out, most, now);
        if out.len() >= most || self.waiting.is_empty() {
            return;
        }
        let Self { processes, waiting, .. } = self;
        waiting.retain(|id| match processes.get_mut(id) {
            Some(Progress::Running(_, process)) => {
                process.pump(&mut socket.conn);
                process.stdin_waits()
            }
            _ => false,
        });
        socket.conn.transmit(out, most, now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Sends the daemon a request. Its replies carry the number returned.
    pub fn request(&mut self, json: Bytes) -> u32 {
        self.requests += 1;
        let request = self.requests;
        if let Some(socket) = &mut self.socket {
            socket.conn.send(Frame::Request { request, json });
        }
        request
    }

    /// Asks for a place for a new process on a node that matches `wants`.
    pub fn select(&mut self, id: ProcessId, wants: Table) {
        if let Some(socket) = &mut self.socket {
            socket.conn.send(Frame::Select { id, wants: wants.clone() });
        }
        self.processes.insert(id, Progress::Selecting(wants));
    }

    /// Where a process was placed.
    pub fn placement(&self, id: ProcessId) -> Option<&Placement> {
        match self.processes.get(&id)? {
            Progress::Selecting(_) | Progress::Ending(_) => None,
            Progress::Placed(place, _) | Progress::Running(place, _) => Some(place),
        }
    }

    /// Starts a process that was placed.
    pub fn launch(&mut self, id: ProcessId, launch: Launch) {
        let Some(Progress::Placed(place, lost)) = self.processes.get(&id) else { return };
        let (place, lost) = (place.clone(), lost.clone());
        let role = launch.role();
        let mut options = launch.options;
        if let Some(prefix) = &launch.prefix
            && role == Role::Ahead
            && place.features.has(Feature::Prefix)
        {
            options.push(prefix.option(1 + self.like(&place, &launch.args)));
        }
        options.extend(launch.keep.iter().flat_map(Keep::options));
        options.extend(launch.join.iter().map(Join::option));
        let mut process = Box::new(Process::new(Spawn {
            id,
            attempt: 0,
            incarnation: place.incarnation,
            owner: self.id,
            role,
            stdout_limit: 0,
            stderr_limit: 0,
            host: place.host.clone(),
            node: place.node.clone(),
            chdir: launch.chdir,
            args: launch.args,
            env: launch.env,
            options,
        }));
        process.daemon_knows_terminals(self.daemon.has(Feature::Terminal));
        if let Some(prefix) = launch.prefix {
            process.write(prefix.bytes().clone(), None);
        }
        if let Some(message) = lost {
            process.lose(message, &mut self.pool);
        } else if let Some(socket) = &mut self.socket {
            process.reachable(&mut socket.conn);
        }
        self.processes.insert(id, Progress::Running(place, process));
    }

    /// How many processes with these arguments run on a node.
    fn like(&self, place: &Placement, args: &[Bytes]) -> usize {
        let is_like = |progress: &&Progress| match progress {
            Progress::Running(other, process) => {
                other.node == place.node
                    && other.incarnation == place.incarnation
                    && !process.is_over()
                    && process.spawn().args == args
            }
            _ => false,
        };
        self.processes.values().filter(is_like).count()
    }

    /// Takes kept work of a host from whoever holds it, also while the host is out of reach. `replay` says
    /// how much of its earlier output is wanted. [`ClientEvent::Taken`] or a loss follows. What is asked of
    /// the process meanwhile is said then.
    pub fn take(&mut self, id: ProcessId, incarnation: Incarnation, host: impl Into<String>, replay: Replay) {
        let host = host.into();
        self.takes = self.takes.wrapping_add(1);
        let mut process =
            Box::new(Process::taking(id, self.id, incarnation, host.clone(), replay, self.takes));
        process.daemon_knows_terminals(self.daemon.has(Feature::Terminal));
        let (node, facts, features) = (String::new(), Table::new(), Feature::Keep.into());
        let place = Placement { incarnation, host, node, facts, features };
        match &mut self.socket {
            Some(Socket { conn, greeted: true, .. }) if self.daemon.has(Feature::Keep) => process.ask(conn),
            Some(Socket { greeted: true, .. }) => process.broken(DAEMON_KEEPS_NOTHING.into()),
            Some(_) => {}
            None => process.broken(DAEMON_GONE.into()),
        }
        self.processes.insert(id, Progress::Running(place, process));
    }

    /// A process that was launched or taken.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        match self.processes.get(&id)? {
            Progress::Running(_, process) => Some(process),
            _ => None,
        }
    }

    /// Writes to a process's stdin: at most [`Process::stdin_capacity`] bytes at a time.
    pub fn write(&mut self, id: ProcessId, bytes: Bytes) {
        self.with(id, |process, conn, _| process.write(bytes, conn));
    }

    /// Closes a process's stdin after the bytes written so far.
    pub fn close_stdin(&mut self, id: ProcessId) {
        self.with(id, |process, conn, _| process.close_stdin(conn));
    }

    /// Takes at most `max` bytes of a process's output.
    pub fn read(&mut self, id: ProcessId, stream: Stream, max: usize) -> Bytes {
        self.with(id, |process, conn, pool| process.read(stream, max, conn, pool)).unwrap_or_default()
    }

    /// How many bytes are missing right before the next byte of a process's output, once: see
    /// [`Process::gap`].
    pub fn gap(&mut self, id: ProcessId, stream: Stream) -> u64 {
        self.with(id, |process, _, _| process.gap(stream)).unwrap_or_default()
    }

    /// Closes a process's stdout or stderr: no more of it is wanted.
    pub fn stop(&mut self, id: ProcessId, stream: Stream) {
        self.with(id, |process, conn, pool| process.stop(stream, conn, pool));
    }

    /// Sends a process a signal, by its number on Linux.
    pub fn signal(&mut self, id: ProcessId, number: u32) {
        self.with(id, |process, conn, _| process.signal(number, conn));
    }

    /// Tells a process that its terminal has this size.
    pub fn resize(&mut self, id: ProcessId, size: TerminalSize) {
        self.with(id, |process, conn, _| process.resize(size, conn));
    }

    /// Forgets a process. One that still runs is hung up; kept work is left, and stays.
    pub fn release(&mut self, id: ProcessId) {
        self.let_go(id, false);
    }

    /// Forgets a process, and ends it also if it is kept work that this client holds.
    pub fn end(&mut self, id: ProcessId) {
        self.let_go(id, true);
    }

    fn let_go(&mut self, id: ProcessId, end: bool) {
        let Some(progress) = self.processes.remove(&id) else { return };
        match progress {
            Progress::Running(_, mut process) => {
                process.close(&mut self.pool);
                // an earlier loss may have been told when it was taken again
                let tell = process.is_kept() || process.lost().is_none();
                if end && process.is_held() && process.takes() && !self.has_greeted() {
                    self.processes.insert(id, Progress::Ending(process));
                } else if tell {
                    self.say_released(id, process.is_kept().then_some(end));
                }
            }
            Progress::Selecting(_) | Progress::Placed(_, None) => self.say_released(id, None),
            Progress::Placed(_, Some(_)) => {}
            Progress::Ending(process) => drop(self.processes.insert(id, Progress::Ending(process))),
        }
    }

    fn has_greeted(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.greeted)
    }

    /// A process is no longer wanted here. `kept`: whether it then ends, if it is kept work.
    fn say_released(&mut self, id: ProcessId, kept: Option<bool>) {
        let kept = kept.filter(|_| self.has_greeted() && self.daemon.has(Feature::Keep));
        let Some(socket) = &mut self.socket else { return };
        socket.conn.send(match kept {
            Some(end) => Frame::Leave { id, owner: self.id, end },
            None => Frame::Release(id),
        });
    }

    /// Gives up on everything that runs: no daemon came back.
    pub fn lose_all(&mut self, message: &str) {
        for progress in self.processes.values_mut() {
            if let Progress::Running(_, process) = progress
                && !process.is_over()
            {
                process.lose(message.into(), &mut self.pool);
                self.events.push_back(ClientEvent::Changed(process.id()));
            }
        }
    }

    /// Gives up on a process that runs. For this client it is lost; it is ended as soon as its host can be
    /// reached, unless it is kept and not to `end`.
    pub fn give_up(&mut self, id: ProcessId, message: String, end: bool) {
        let Some(Progress::Running(_, process)) = self.processes.get_mut(&id) else { return };
        if process.is_over() {
            return;
        }
        process.lose(message, &mut self.pool);
        let kept = process.is_kept().then_some(end);
        self.events.push_back(ClientEvent::Changed(id));
        self.say_released(id, kept);
    }

    fn with<T>(
        &mut self,
        id: ProcessId,
        act: impl FnOnce(&mut Process, Option<&mut Conn>, &mut CreditPool) -> T,
    ) -> Option<T> {
        let Some(Progress::Running(_, process)) = self.processes.get_mut(&id) else { return None };
        let conn = self.socket.as_mut().map(|socket| &mut socket.conn);
        let done = act(process, conn, &mut self.pool);
        if process.stdin_waits() {
            self.waiting.insert(id);
        }
        Some(done)
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Violation> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        match frame {
            Frame::Daemon { pid, release, network, facts, .. } => {
                let features = Features::named(&facts);
                self.daemon = features;
                socket.greeted = true;
                let Socket { conn, .. } = socket;
                for (&id, progress) in &mut self.processes {
                    let (Progress::Running(_, process) | Progress::Ending(process)) = progress else {
                        continue;
                    };
                    process.daemon_knows_terminals(features.has(Feature::Terminal));
                    if !process.takes() || process.is_over() {
                        continue;
                    }
                    if features.has(Feature::Keep) {
                        process.ask(conn);
                    } else {
                        process.broken(DAEMON_KEEPS_NOTHING.into());
                        self.events.push_back(ClientEvent::Changed(id));
                    }
                }
                self.events.push_back(ClientEvent::Greeted { pid, release, network, features });
            }
            Frame::Reply { request, last, json } => {
                self.events.push_back(ClientEvent::Reply { request, last, json });
            }
            Frame::Placed { id, incarnation, host, node, facts } => match self.processes.get(&id) {
                Some(Progress::Selecting(_)) => {
                    let features = Features::named(&facts);
                    let place = Placement { incarnation, host, node, facts, features };
                    self.processes.insert(id, Progress::Placed(place, None));
                    self.events.push_back(ClientEvent::Placed(id));
                }
                Some(_) => {}
                // it was released before it was placed
                None => socket.conn.send(Frame::Release(id)),
            },
            Frame::Refused { id, refusal, message } => {
                if let Some(Progress::Selecting(_)) = self.processes.get(&id) {
                    self.processes.remove(&id);
                    self.events.push_back(ClientEvent::Refused(id, refusal, message));
                }
            }
            frame => {
                let Some(id) = frame.process() else {
                    return Err(Violation::Unexpected("client's"));
                };
                match (self.processes.get_mut(&id), frame) {
                    (Some(Progress::Running(_, process)), frame) => {
                        match frame {
                            Frame::Reachable(_) | Frame::Unreachable { .. } | Frame::Lost { .. } => {
                                self.events.push_back(ClientEvent::Changed(id));
                            }
                            _ => {}
                        }
                        let before = (process.is_held(), process.unreachable().is_some());
                        let taken = matches!(frame, Frame::Taken { .. });
                        if let Err(violation) = process.handle(frame, &mut socket.conn, &mut self.pool) {
                            // the daemon forwards the words of a host: only the process on that host is lost
                            process.lose(format!("its host broke the protocol: {violation}"), &mut self.pool);
                            let release = match process.is_kept() {
                                true => Frame::Leave { id, owner: self.id, end: false },
                                false => Frame::Release(id),
                            };
                            socket.conn.send(release);
                            self.events.push_back(ClientEvent::Changed(id));
                        } else if taken {
                            match (before, process.is_held()) {
                                ((false, _), true) => self.events.push_back(ClientEvent::Taken(id)),
                                ((true, true), _) if process.unreachable().is_none() => {
                                    self.events.push_back(ClientEvent::Changed(id));
                                }
                                _ => {}
                            }
                        }
                        if process.stdin_waits() {
                            self.waiting.insert(id);
                        }
                    }
                    (Some(Progress::Ending(_)), Frame::Taken { .. }) => {
                        socket.conn.send(Frame::Leave { id, owner: self.id, end: true });
                        self.processes.remove(&id);
                    }
                    (Some(Progress::Ending(process)), Frame::Reachable(_)) => process.ask(&mut socket.conn),
                    (Some(Progress::Ending(_)), Frame::Lost { .. }) => drop(self.processes.remove(&id)),
                    // noticed when it is launched
                    (Some(Progress::Placed(_, lost)), Frame::Lost { message, .. }) => *lost = Some(message),
                    (Some(Progress::Selecting(_)), Frame::Unreachable { message, .. }) => {
                        self.events.push_back(ClientEvent::Waits(id, message));
                    }
                    // its place was gone before it was told: there may be another
                    (Some(Progress::Selecting(wants)), Frame::Lost { .. }) => {
                        socket.conn.send(Frame::Select { id, wants: wants.clone() });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
