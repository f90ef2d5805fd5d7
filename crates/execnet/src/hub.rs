//! What all threads of a connection share: the protocol's state machine behind one lock, reading and writing.
//!
//! Whoever leaves new output writes the socket itself, outside the lock, unless somebody is writing already, who then takes it along; so
//! a small message costs no other thread on its way out. Writing never blocks: what the socket does not take is left to whoever reads it.
//!
//! A hub is a [`Room`]: a thread that waits reads the socket itself, so a message which it waits for costs no other thread on its way in. Whoever is
//! woken by the thread that reads is the next to read. The reader thread (`reader.rs`) reads while nobody waits; it also owns connecting.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use bytes::Bytes;
use execnet_proto::batch::Sink;
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::id::{ClientId, ProcessId};
use execnet_proto::text::line;
use execnet_proto::wire::{Refusal, Stream};
use rustix::event::{PollFd, PollFlags};

use crate::connect::ConnectError;
use crate::line::{End, Line, send};
use crate::lookout::Lookout;
use crate::network::Daemon;
use crate::waiting::{self, Base, Halt, Interrupt, Room, Seat, Sleeps, Turn, Waiters, Waker, left};

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

/// Bytes that are handed to the socket at a time.
const WRITE: usize = 128 * 1024;

/// Replies to one request that may wait to be taken, in bytes.
const MAX_INBOX: usize = 64 * 1024 * 1024;

/// How the daemon begins when a process waits for hosts that are joining: see SELECT in docs/protocol.md.
const FOR_JOINING: &str = "waiting for ";

/// Why a process cannot be reached while the daemon does not answer.
const SILENT: &str = "the network's daemon does not answer";

/// See the module's documentation.
pub(crate) struct Hub {
    base: Base<Hub>,
    /// Makes the reader thread look around.
    waker: Arc<Waker>,
    /// Makes the thread that reads look around.
    poker: Arc<Waker>,
    started: Instant,
    /// The thread that looks after hosts that are away sleeps here.
    pub(crate) lookout: Condvar,
}

/// The lock, held.
pub(crate) type Guard<'a> = waiting::Guard<'a, Hub>;

/// What the lock protects.
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) line: Option<Line>,
    pub(crate) starts: HashMap<ProcessId, Start>,
    pub(crate) inboxes: HashMap<u32, Inbox>,
    pub(crate) daemon: Option<Daemon>,
    /// Somebody wants a connection now.
    pub(crate) wanted: bool,
    /// How many times connecting has come to an end, and how the last one failed.
    pub(crate) attempts: u64,
    pub(crate) failure: Option<ConnectError>,
    pub(crate) closing: bool,
    pub(crate) lookout: Lookout,
    /// What was said last of hosts that are joining.
    said: String,
    waiters: Waiters<Hub>,
    /// What was just read; the leader has it while it reads.
    buffer: Vec<u8>,
}

/// A process on its way to a place.
pub(crate) enum Start {
    /// What to launch, and in which folder instead where the node is on this machine, if that makes a difference.
    Selecting(Launch, String),
    Launched,
    Refused(Refusal, String),
    /// It waited for a host for long enough, as this says; the daemon has not answered.
    GivenUp(String),
    /// The connection ended before it was placed.
    Gone,
    /// Nobody waits for it any more: released as soon as it is placed.
    Abandoned,
}

/// Replies that nobody has taken yet.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) replies: VecDeque<Bytes>,
    waiting: usize,
    /// No more will come.
    pub(crate) over: Option<Over>,
}

/// Why no more replies will come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Last,
    Disconnected,
    NotTaken,
}

/// Something to wait for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Room in stdin, or its end.
    Write(ProcessId),
    /// Output, or its end.
    Read(ProcessId, Stream),
    /// The process's end.
    End(ProcessId),
    /// A state that is not this one any more.
    Change(ProcessId, Seen),
    Placed(ProcessId),
    Reply(u32),
    /// A connection, or the end of the attempt after this number of them.
    Attempt(u64),
}

/// What is to be seen of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: Option<u32>,
    pub(crate) unreachable: Option<String>,
    pub(crate) over: bool,
}

impl Room for Hub {
    type State = Inner;
    type Condition = What;

    fn base(&self) -> &Base<Self> {
        &self.base
    }

    fn waiters(inner: &mut Inner) -> &mut Waiters<Self> {
        &mut inner.waiters
    }

    fn is_met(inner: &Inner, what: &What) -> bool {
        inner.is_ready(what)
    }

    fn wants_reader(inner: &Inner) -> bool {
        inner.line.as_ref().is_some_and(Line::wants_leader)
    }

    fn read<'a>(
        &'a self,
        inner: Guard<'a>,
        seat: &Seat<Self>,
        deadline: Option<Instant>,
    ) -> (Guard<'a>, Turn) {
        let place: Arc<dyn Sleeps> = self.poker.clone();
        let _asleep = seat.thread().enter(Arc::downgrade(&place));
        if seat.thread().clear() {
            return (inner, Turn::Stop(Halt::Interrupted));
        }
        let left = left(deadline);
        if left.is_some_and(|left| left.is_zero()) {
            return (inner, Turn::Stop(Halt::TimedOut));
        }
        let (inner, woken) = self.lead(inner, left, Some(seat.number));
        // a thread that has just been woken by this one leads better
        (inner, if woken { Turn::Sleep } else { Turn::Read })
    }

    fn disturb(&self, _: &Interrupt) {
        self.poker.wake();
    }
}

impl Hub {
    pub(crate) fn new(client: Client) -> io::Result<Arc<Self>> {
        let (waker, poker) = (Arc::new(Waker::new()?), Arc::new(Waker::new()?));
        let inner = Inner {
            client,
            line: None,
            starts: HashMap::new(),
            inboxes: HashMap::new(),
            daemon: None,
            wanted: false,
            attempts: 0,
            failure: None,
            closing: false,
            lookout: Lookout::new(),
            said: String::new(),
            waiters: Waiters::default(),
            buffer: Vec::new(),
        };
        Ok(Arc::new_cyclic(|me| Self {
            base: Base::new(me.clone(), inner),
            waker,
            poker,
            started: Instant::now(),
            lookout: Condvar::new(),
        }))
    }

    /// Itself, for a thread of its own.
    pub(crate) fn me(&self) -> Option<Arc<Self>> {
        self.base.me.upgrade()
    }

    /// What the reader thread polls.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Time as the protocol's state machine counts it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Makes the reader thread look around.
    pub(crate) fn wake_reader(&self) {
        self.waker.wake();
        // it may lead
        self.poker.wake();
    }

    /// Waits for the socket, reads it once, and acts on what came; says whether that woke somebody but `me`. Returns also for no reason.
    pub(crate) fn lead<'a>(
        &'a self,
        mut inner: Guard<'a>,
        patience: Option<Duration>,
        me: Option<u64>,
    ) -> (Guard<'a>, bool) {
        let Inner { line: Some(line), buffer, .. } = &mut *inner else { return (inner, false) };
        line.led = true;
        line.leads += 1;
        let (blocked, more) = (line.blocked, line.more);
        let socket = line.socket.clone();
        let mut buffer = std::mem::take(buffer);
        drop(inner);

        if buffer.is_empty() {
            // zeroed by the system, page by page as they are used
            buffer = vec![0; READ];
        }
        let writable = !more && self.poll(&socket, blocked, patience);
        let read = loop {
            match (&*socket).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        inner = self.lock();

        let Inner { line: Some(line), client, lookout, .. } = &mut *inner else { return (inner, false) };
        if !Arc::ptr_eq(&line.socket, &socket) {
            return (inner, false);
        }
        line.led = false;
        line.more = false;
        if writable {
            line.blocked = false;
        }
        match read {
            Ok(0) => line.end = Some(End::Closed),
            Ok(count) => {
                line.more = count > READ / 2;
                lookout.hears(client);
                let handle = || client.handle(&buffer[..count], self.now());
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(handle)) {
                    Ok(handled) => line.end = handled.err().map(End::Wrong),
                    // a bug; those who wait must not wait for ever
                    Err(_) => inner.ruin(),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => line.end = Some(End::Closed),
        }
        inner.buffer = buffer;
        inner.take_events();
        self.look_out(&mut inner);
        if inner.line.as_mut().is_none_or(|line| std::mem::take(&mut line.watched) || line.end.is_some()) {
            self.waker.wake();
        }
        let alarms = self.met(&mut inner, me);
        alarms.iter().for_each(|alarm| alarm.ring());
        self.flush(inner);
        (self.lock(), !alarms.is_empty())
    }

    /// Waits until the socket can be read, or written if that is wanted (true), or somebody pokes the leader.
    fn poll(&self, socket: &UnixStream, write: bool, patience: Option<Duration>) -> bool {
        let wanted = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [PollFd::new(socket, wanted), self.poker.poll_fd()];
        // interrupted by a signal: the caller comes again
        let _ = waiting::poll(&mut fds, patience);
        if !fds[1].revents().is_empty() {
            self.poker.drain();
        }
        write && fds[0].revents().intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// Lets go of the lock: wakes those who wait for what is there now, and writes what is to be written.
    pub(crate) fn leave(&self, mut inner: Guard<'_>) {
        let alarms = self.met(&mut inner, None);
        if alarms.is_empty() {
            self.flush(inner);
        } else {
            drop(inner);
            alarms.iter().for_each(|alarm| alarm.ring());
            self.flush(self.lock());
        }
    }

    /// Writes what is to be written, unless somebody is at it.
    pub(crate) fn flush<'a>(&'a self, mut inner: Guard<'a>) {
        loop {
            let Inner { client, line: Some(line), .. } = &mut *inner else { return };
            if line.flushing || line.blocked {
                return;
            }
            if line.out.is_empty() {
                client.transmit(&mut line.out, WRITE, self.now());
                if line.out.is_empty() {
                    return;
                }
            }
            line.flushing = true;
            let mut out = std::mem::take(&mut line.out);
            let socket = line.socket.clone();
            drop(inner);
            let sent = send(&socket, &mut out);
            inner = self.lock();
            let Some(line) = inner.line.as_mut().filter(|line| Arc::ptr_eq(&line.socket, &socket)) else {
                return;
            };
            line.flushing = false;
            line.out = out;
            match sent {
                Ok(true) => {}
                Ok(false) => {
                    line.blocked = true;
                    self.wake_reader();
                    return;
                }
                Err(_) => {
                    // the leader finds it closed
                    line.blocked = true;
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
        }
    }
}

impl Inner {
    /// Whether something runs, or is to run, that another connection would go on with.
    pub(crate) fn has_live(&self) -> bool {
        self.starts.keys().any(|&id| self.client.process(id).is_some_and(|process| !process.is_over()))
    }

    /// The connection is over: what waits for a reply or a place gets none.
    pub(crate) fn fail_waiting(&mut self) {
        for inbox in self.inboxes.values_mut() {
            inbox.over.get_or_insert(Over::Disconnected);
        }
        let Self { starts, client, lookout, .. } = self;
        starts.retain(|&id, start| {
            if matches!(start, Start::Selecting(..) | Start::GivenUp(_) | Start::Abandoned) {
                client.release(id);
                lookout.waits_no_more(id, false);
            }
            !matches!(start, Start::Abandoned)
        });
        for start in starts.values_mut() {
            match start {
                Start::Selecting(..) => *start = Start::Gone,
                Start::GivenUp(message) => *start = no_match(message),
                _ => {}
            }
        }
    }

    /// A process without a place does not wait for its host any longer.
    pub(crate) fn give_up_start(&mut self, id: ProcessId, message: String) {
        if let Some(start @ Start::Selecting(..)) = self.starts.get_mut(&id) {
            *start = Start::GivenUp(message);
        }
    }

    /// The reader thread has failed: nothing goes on, and nobody is to wait for it.
    pub(crate) fn ruin(&mut self) {
        self.closing = true;
        self.lookout.close();
        self.line = None;
        self.attempts += 1;
        self.fail_waiting();
        self.client = Client::new(ClientId([0; 16]), "");
    }

    /// What is to be seen of a process now; none if it was released.
    pub(crate) fn seen(&self, id: ProcessId) -> Option<Seen> {
        let process = self.client.process(id)?;
        let silent = self.lookout.is_silent() && !process.is_over();
        let unreachable = process.unreachable().or(silent.then_some(SILENT)).map(str::to_owned);
        Some(Seen { pid: process.pid(), unreachable, over: process.is_over() })
    }

    /// Takes a reply in.
    pub(crate) fn file(&mut self, request: u32, last: bool, json: Bytes) {
        // replies to a request that nobody reads any more are dropped
        let Some(inbox) = self.inboxes.get_mut(&request) else { return };
        if inbox.over.is_some() {
            return;
        }
        inbox.waiting += json.len();
        if inbox.waiting > MAX_INBOX {
            *inbox = Inbox { over: Some(Over::NotTaken), ..Inbox::default() };
            return;
        }
        inbox.replies.push_back(json);
        inbox.over = last.then_some(Over::Last);
    }

    fn is_ready(&self, what: &What) -> bool {
        match what {
            What::Write(id) => self.client.process(*id).is_none_or(|process| {
                process.stdin_capacity() > 0 || process.stdin_closed() || process.lost().is_some()
            }),
            What::Read(id, stream) => self.client.process(*id).is_none_or(|process| {
                process.available(*stream) > 0 || process.finished(*stream) || process.lost().is_some()
            }),
            What::End(id) => self.client.process(*id).is_none_or(execnet_proto::process::Process::is_over),
            What::Change(id, seen) => self.seen(*id).is_none_or(|now| now != *seen),
            What::Placed(id) => !matches!(self.starts.get(id), Some(Start::Selecting(..))),
            What::Reply(request) => self
                .inboxes
                .get(request)
                .is_none_or(|inbox| !inbox.replies.is_empty() || inbox.over.is_some()),
            What::Attempt(before) => {
                self.attempts > *before || self.line.as_ref().is_some_and(|line| line.greeted)
            }
        }
    }

    /// Acts on what the state machine says.
    pub(crate) fn take_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Greeted { pid, release, network } => {
                    self.daemon = Some(Daemon { pid, release, network });
                    self.attempts += 1;
                    self.failure = None;
                    if let Some(line) = &mut self.line {
                        line.greeted = true;
                    }
                }
                // launched at once, so that the thread that waits is not on the way
                ClientEvent::Placed(id) => match self.starts.remove(&id) {
                    Some(Start::Selecting(mut launch, local)) => {
                        self.lookout.waits_no_more(id, true);
                        let facts = self.client.placement(id).map_or(&[][..], |place| &place.facts[..]);
                        let here = facts.iter().find(|(key, _)| key == "local");
                        // a folder of the host's spec goes before where the client happens to be, not before what it asks for
                        let counts = here.is_some_and(|(_, free)| free == "1" || !launch.chdir.is_empty());
                        if counts && !local.is_empty() {
                            launch.chdir = local;
                        }
                        self.client.launch(id, launch);
                        self.starts.insert(id, Start::Launched);
                    }
                    start => {
                        self.lookout.waits_no_more(id, false);
                        self.client.release(id);
                        if let Some(Start::GivenUp(message)) = start {
                            self.starts.insert(id, no_match(&message));
                        }
                    }
                },
                ClientEvent::Waits(_, message) if message.starts_with(FOR_JOINING) => self.say_once(message),
                ClientEvent::Waits(id, message) => self.lookout.waits(id, &message),
                ClientEvent::Changed(id) => self.lookout.heard_of(id, &self.client),
                ClientEvent::Refused(id, refusal, message) => {
                    self.lookout.waits_no_more(id, false);
                    if let Some(Start::Selecting(..) | Start::GivenUp(_)) = self.starts.remove(&id) {
                        self.starts.insert(id, Start::Refused(refusal, message));
                    }
                }
                ClientEvent::Reply { request, last, json } => self.file(request, last, json),
            }
        }
    }

    /// Says on stderr what starts wait for; once where many do.
    fn say_once(&mut self, message: String) {
        if self.said != message {
            self.said.clone_from(&message);
            // writing may take time, and the hub's lock is held here
            let say = move || drop(writeln!(std::io::stderr(), "execnet: {}", line(&message)));
            drop(std::thread::Builder::new().name("execnet-says".into()).spawn(say));
        }
    }
}

fn no_match(message: &str) -> Start {
    Start::Refused(Refusal::NoMatch, message.to_owned())
}

impl Inbox {
    /// The next reply that has arrived.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let json = self.replies.pop_front()?;
        self.waiting -= json.len();
        Some(json)
    }
}

impl What {
    /// The process that it is about.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        match self {
            Self::Write(id) | Self::Read(id, _) | Self::End(id) => Some(*id),
            Self::Change(id, _) | Self::Placed(id) => Some(*id),
            Self::Reply(_) | Self::Attempt(_) => None,
        }
    }
}
