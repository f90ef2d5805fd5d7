//! What the lock of a hub protects: the state of the connection, and the conditions that threads wait for.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::id::{ClientId, ProcessId};
use execnet_proto::text::line;
use execnet_proto::wire::{Refusal, Stream};

use crate::connection::Connection;
use crate::lookout::Lookout;
use crate::route::ConnectError;
use crate::waiting::Waiters;

/// How many bytes of replies to one request may wait to be taken.
const MAX_INBOX: usize = 64 * 1024 * 1024;

/// How the daemon's message begins when a process waits for joining hosts: see SELECT in docs/protocol.md.
const FOR_JOINING: &str = "waiting for ";

/// Why a process is unreachable while the daemon does not answer.
const SILENT: &str = "the network's daemon does not answer";

/// What the lock protects.
pub(crate) struct HubState {
    pub(crate) client: Client,
    pub(crate) connection: Option<Connection>,
    pub(crate) starts: HashMap<ProcessId, Placing>,
    pub(crate) inboxes: HashMap<u32, Inbox>,
    pub(crate) daemon: Option<Daemon>,
    /// A thread wants a connection now.
    pub(crate) wanted: bool,
    /// How many attempts to connect have ended, and how the last one failed.
    pub(crate) attempts: u64,
    pub(crate) failure: Option<ConnectError>,
    pub(crate) closing: bool,
    pub(crate) lookout: Lookout,
    /// The last message about joining hosts.
    said: String,
    pub(super) waiters: Waiters<Condition>,
    /// The read buffer. The thread that reads takes it meanwhile.
    pub(super) buffer: Vec<u8>,
}

/// A process that is being placed.
pub(crate) enum Placing {
    /// What to launch, and the folder to use instead if the node is on this machine.
    Selecting(Box<Launch>, String),
    Launched,
    Refused(Refusal, String),
    /// Its limit for waiting for a host has passed, with this message; the daemon has not answered yet.
    GivenUp(String),
    /// The connection ended before it was placed.
    Gone,
    /// Nobody waits for it any more; it is released as soon as it is placed.
    Abandoned,
}

/// Replies to a request that have not been taken.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) replies: VecDeque<Bytes>,
    waiting: usize,
    /// Why no more will come.
    pub(crate) over: Option<Over>,
}

/// Why no more replies will come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Last,
    Disconnected,
    NotTaken,
}

/// What a thread waits for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Room in stdin, or its end.
    Write(ProcessId),
    /// Output, or its end.
    Read(ProcessId, Stream),
    /// The end of the process.
    End(ProcessId),
    /// This program certainly holds the process, which may be kept work.
    Held(ProcessId),
    /// A state of the process other than this one.
    Change(ProcessId, Seen),
    Placed(ProcessId),
    /// News of any of these.
    Any(Arc<[Watched]>),
    Reply(u32),
    /// A connection, or the end of the attempt that follows this many.
    Attempt(u64),
}

/// What a thread wants to know of one of many processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Whether it has a place.
    Place(ProcessId),
    /// Its output and its end.
    Output(ProcessId),
    /// Also whether it has started.
    Start(ProcessId),
    /// Also whether its stdin takes more.
    Room(ProcessId),
}

/// The observable state of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: Option<u32>,
    pub(crate) unreachable: Option<String>,
    pub(crate) over: bool,
}

/// The daemon at the other end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Daemon {
    /// Its process id.
    pub pid: u32,
    /// The version of its program. It may differ from this crate's while both speak the same version of the
    /// protocol.
    pub release: String,
    /// The name of its network.
    pub network: String,
}

impl HubState {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            connection: None,
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
        }
    }

    /// Whether any process runs, or is starting, that would continue on another connection.
    pub(crate) fn has_live(&self) -> bool {
        self.starts.keys().any(|&id| self.client.process(id).is_some_and(|process| !process.is_over()))
    }

    /// The connection has ended: pending requests and placements fail.
    pub(crate) fn fail_waiting(&mut self) {
        for inbox in self.inboxes.values_mut() {
            inbox.over.get_or_insert(Over::Disconnected);
        }
        let Self { starts, client, lookout, .. } = self;
        starts.retain(|&id, start| {
            if matches!(start, Placing::Selecting(..) | Placing::GivenUp(_) | Placing::Abandoned) {
                client.release(id);
                lookout.waits_no_more(id, false);
            }
            !matches!(start, Placing::Abandoned)
        });
        for start in starts.values_mut() {
            match start {
                Placing::Selecting(..) => *start = Placing::Gone,
                Placing::GivenUp(message) => *start = no_match(message),
                _ => {}
            }
        }
    }

    /// A process that is not placed yet stops waiting for its host.
    pub(crate) fn give_up_start(&mut self, id: ProcessId, message: String) {
        if let Some(start @ Placing::Selecting(..)) = self.starts.get_mut(&id) {
            *start = Placing::GivenUp(message);
        }
    }

    /// The reader thread has panicked: ends all waits, because nothing will continue.
    pub(crate) fn ruin(&mut self) {
        self.closing = true;
        self.lookout.close();
        self.connection = None;
        self.attempts += 1;
        self.fail_waiting();
        self.client = Client::new(ClientId([0; 16]), "");
    }

    /// The state of a process now; none if it was released.
    pub(crate) fn seen(&self, id: ProcessId) -> Option<Seen> {
        let process = self.client.process(id)?;
        let silent = self.lookout.is_silent() && !process.is_over();
        let unreachable = process.unreachable().or(silent.then_some(SILENT)).map(str::to_owned);
        Some(Seen { pid: process.pid(), unreachable, over: process.is_over() })
    }

    /// Stores a reply.
    pub(crate) fn file(&mut self, request: u32, last: bool, json: Bytes) {
        // nobody reads the replies to this request any more
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

    pub(super) fn is_ready(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Write(id) => self.client.process(*id).is_none_or(|process| {
                process.stdin_capacity() > 0 || process.stdin_closed() || process.lost().is_some()
            }),
            Condition::Read(id, stream) => self.client.process(*id).is_none_or(|process| {
                process.available(*stream) > 0
                    || process.missing(*stream) > 0
                    || process.finished(*stream)
                    || process.lost().is_some()
            }),
            Condition::Held(id) => self
                .client
                .process(*id)
                .is_none_or(|process| !process.is_kept() || process.is_held() || process.is_over()),
            Condition::End(id) => {
                self.client.process(*id).is_none_or(execnet_proto::process::Process::is_over)
            }
            Condition::Change(id, seen) => self.seen(*id).is_none_or(|now| now != *seen),
            Condition::Placed(id) => !matches!(self.starts.get(id), Some(Placing::Selecting(..))),
            Condition::Any(all) => all.iter().any(|watched| self.has_news(*watched)),
            Condition::Reply(request) => self
                .inboxes
                .get(request)
                .is_none_or(|inbox| !inbox.replies.is_empty() || inbox.over.is_some()),
            Condition::Attempt(before) => {
                self.attempts > *before
                    || self.connection.as_ref().is_some_and(|connection| connection.greeted)
            }
        }
    }

    fn has_news(&self, watched: Watched) -> bool {
        let (id, fed, starts) = match watched {
            Watched::Place(id) => return self.is_ready(&Condition::Placed(id)),
            Watched::Output(id) => (id, false, false),
            Watched::Start(id) => (id, false, true),
            Watched::Room(id) => (id, true, false),
        };
        self.client.process(id).is_none_or(|process| {
            let has_some = |stream| process.available(stream) > 0 || process.missing(stream) > 0;
            has_some(Stream::Stdout)
                || has_some(Stream::Stderr)
                || process.is_over()
                || starts && process.pid().is_some()
                || fed && (process.stdin_closed() || process.stdin_capacity() > 0)
        })
    }

    /// Processes the events of the state machine.
    pub(crate) fn take_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Greeted { pid, release, network, .. } => {
                    self.daemon = Some(Daemon { pid, release, network });
                    self.attempts += 1;
                    self.failure = None;
                    if let Some(connection) = &mut self.connection {
                        connection.greeted = true;
                    }
                }
                // launched here, without waking the thread that waits for the placement
                ClientEvent::Placed(id) => match self.starts.remove(&id) {
                    Some(Placing::Selecting(mut launch, local)) => {
                        self.lookout.waits_no_more(id, true);
                        let facts = self.client.placement(id).map_or(&[][..], |place| &place.facts[..]);
                        let here = facts.iter().find(|(key, _)| key == "local");
                        // the folder of the host's spec takes precedence over the client's current one, but
                        // not over the one it asked for
                        let counts = here.is_some_and(|(_, free)| free == "1" || !launch.chdir.is_empty());
                        if counts && !local.is_empty() {
                            launch.chdir = local;
                        }
                        self.client.launch(id, *launch);
                        self.starts.insert(id, Placing::Launched);
                    }
                    start => {
                        self.lookout.waits_no_more(id, false);
                        self.client.release(id);
                        if let Some(Placing::GivenUp(message)) = start {
                            self.starts.insert(id, no_match(&message));
                        }
                    }
                },
                ClientEvent::Waits(_, message) if message.starts_with(FOR_JOINING) => self.say_once(message),
                ClientEvent::Waits(id, message) => self.lookout.waits(id, &message),
                ClientEvent::Changed(id) | ClientEvent::Taken(id) => {
                    self.lookout.heard_of(id, &self.client);
                }
                ClientEvent::Refused(id, refusal, message) => {
                    self.lookout.waits_no_more(id, false);
                    if let Some(Placing::Selecting(..) | Placing::GivenUp(_)) = self.starts.remove(&id) {
                        self.starts.insert(id, Placing::Refused(refusal, message));
                    }
                }
                ClientEvent::Reply { request, last, json } => self.file(request, last, json),
            }
        }
    }

    /// Prints what starts are waiting for; once, even if many wait.
    fn say_once(&mut self, message: String) {
        if self.said != message {
            self.said.clone_from(&message);
            // printing may block, and the hub's lock is held here
            let say = move || drop(writeln!(std::io::stderr(), "execnet: {}", line(&message)));
            drop(std::thread::Builder::new().name("execnet-says".into()).spawn(say));
        }
    }
}

fn no_match(message: &str) -> Placing {
    Placing::Refused(Refusal::NoMatch, message.to_owned())
}

impl Inbox {
    /// The next reply that has arrived.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let json = self.replies.pop_front()?;
        self.waiting -= json.len();
        Some(json)
    }
}

impl Condition {
    /// The process that it concerns.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        match self {
            Self::Write(id) | Self::Read(id, _) | Self::End(id) | Self::Held(id) => Some(*id),
            Self::Change(id, _) | Self::Placed(id) => Some(*id),
            Self::Any(_) | Self::Reply(_) | Self::Attempt(_) => None,
        }
    }
}
