//! Many processes, started and watched by one thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use execnet_proto::id::ProcessId;
use execnet_proto::process::Loss;
use execnet_proto::wire::Stream;

use crate::handle::Handle;
use crate::hub::{Condition, Guard, Hub, Watched};
use crate::network::Network;
use crate::node::Node;
use crate::process::{Lost, Process};
use crate::start::{ProcessBuilder, StartError, abandon};
use crate::status::{ExitStatus, Signal};
use crate::waiting::{Halt, Room, deadline};

/// The most that one piece of output has, in bytes.
const PIECE: usize = 64 * 1024;

/// How much the windows of all of them may grow, in bytes: that is how much output may wait here.
const GROWTH: u64 = 16 * 1024 * 1024;

/// Processes of one network that one thread starts and watches, each with a number of the caller's choice.
/// Made by [`Network::processes`].
///
/// Nothing here waits except [`Processes::wait`], so a process whose host is out of reach does not hold up
/// the others. Dropping it hangs up all that it has.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use execnet::{News, connect};
///
/// let network = connect("mynet")?;
/// let mut all = network.processes();
/// for (number, host) in ["build1", "build2"].into_iter().enumerate() {
///     all.start(number, network.process().host(host).arg("uptime"))?;
/// }
/// while !all.is_empty() {
///     for (number, news) in all.wait(None)? {
///         if let News::Stdout(bytes) = news {
///             print!("{number}: {}", String::from_utf8_lossy(&bytes));
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Processes {
    handle: Arc<Handle>,
    members: BTreeMap<usize, Member>,
    /// What to wait for; made anew after a change.
    watched: Option<Arc<[Watched]>>,
    /// The process that comes first at the next turn.
    turn: usize,
}

/// What happened to one of many processes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum News {
    /// It has a place, and is on its way there.
    Placed,
    /// It was not started. Nothing more will come.
    NotStarted(StartError),
    /// It runs, with this process id on its host. Told only of kept work.
    Started(u32),
    /// It wrote this to its stdout.
    Stdout(Bytes),
    /// It wrote this to its stderr.
    Stderr(Bytes),
    /// So many bytes of its stdout are gone right before the next ones: only of kept work.
    StdoutGone(u64),
    /// The same of its stderr.
    StderrGone(u64),
    /// Its stdin takes more: see [`Processes::feed`].
    Room,
    /// Nobody reads its stdin any more.
    StdinClosed,
    /// It has ended, and all its output was told. Nothing more will come.
    Ended(ExitStatus),
    /// It was lost. Nothing more will come.
    Lost(Lost),
}

#[derive(Debug)]
enum Member {
    /// It waits for a place; asked once more if the daemon went meanwhile.
    Placing { id: ProcessId, builder: Box<ProcessBuilder>, again: bool },
    Running {
        process: Process,
        fed: bool,
        /// It is to be told when it runs.
        starts: bool,
    },
}

/// The connection belongs to the parent of this forked process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection to a network cannot be used in a forked child; connect again there")]
pub struct Forked;

impl Network {
    /// Starts and watches many processes with one thread. From now on the streams of this connection buffer
    /// at most 16 MiB, besides 16 KiB for each, so that hundreds of processes need little memory.
    #[must_use]
    pub fn processes(&self) -> Processes {
        if let Ok(mut state) = self.handle().hub.enter() {
            state.client.limit_growth(GROWTH);
        }
        Processes { handle: self.handle().clone(), members: BTreeMap::new(), watched: None, turn: 0 }
    }
}

impl Processes {
    /// Starts a process under this number, without waiting for its place. One that has this number already is
    /// hung up.
    ///
    /// # Errors
    /// If it cannot be asked for at all: see [`StartError`]. What becomes of it is told by
    /// [`Processes::wait`].
    pub fn start(&mut self, number: usize, builder: ProcessBuilder) -> Result<(), StartError> {
        self.release(number);
        builder.check()?;
        let id = builder.select(None)?;
        self.put(number, Member::Placing { id, builder: Box::new(builder), again: true });
        Ok(())
    }

    /// Whether all have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Waits for news of any process, at most this long. Each process tells at most a little at a time, so
    /// nobody waits for one that writes a lot. Empty if nothing came in time, or if an
    /// [`Interrupt`](crate::Interrupt) ended the wait.
    ///
    /// # Errors
    /// In a forked child.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<(usize, News)>, Forked> {
        let until = timeout.and_then(deadline);
        let handle = self.handle.clone();
        let condition = Condition::Any(self.watched());
        let state = handle.hub.enter().map_err(|_| Forked)?;
        let mut state = match handle.hub.wait(state, &condition, until) {
            Ok(state) => state,
            Err((Halt::Forked, _)) => return Err(Forked),
            Err((_, state)) => state,
        };
        let (mut news, mut over, mut placed) = (Vec::new(), Vec::new(), Vec::new());
        let mut started = Vec::new();
        let turn = self.turn;
        let (first, later): (Vec<_>, Vec<_>) = self.members.iter().partition(|(number, _)| **number >= turn);
        for (&number, member) in first.into_iter().chain(later) {
            let before = news.len();
            match member {
                Member::Placing { id, builder, .. } => {
                    if Hub::is_met(&state, &Condition::Placed(*id)) {
                        placed.push((number, *id, builder.placed(*id, &mut state)));
                    }
                }
                Member::Running { process, fed, starts } => {
                    let pid = state.client.process(process.id()).filter(|_| *starts);
                    if let Some(pid) = pid.and_then(execnet_proto::process::Process::pid) {
                        news.push((number, News::Started(pid)));
                        started.push(number);
                    }
                    if tell(number, process, *fed, &mut state, &mut news) {
                        over.push(number);
                    }
                }
            }
            if news.len() > before {
                self.turn = number + 1;
            }
        }
        handle.hub.flush(state);
        for number in started {
            if let Some(Member::Running { starts, .. }) = self.members.get_mut(&number) {
                *starts = false;
                self.watched = None;
            }
        }
        for (number, id, result) in placed {
            news.extend(self.placed(number, id, result).map(|told| (number, told)));
        }
        over.into_iter().for_each(|number| drop(self.take(number)));
        Ok(news)
    }

    /// Whether to tell when the stdin of a process has room, as long as it has.
    pub fn feed(&mut self, number: usize, wanted: bool) {
        if let Some(Member::Running { fed, .. }) = self.members.get_mut(&number)
            && *fed != wanted
        {
            *fed = wanted;
            self.watched = None;
        }
    }

    /// Writes to a stdin that has room, without copying. A process that is not placed yet takes nothing.
    /// Returns how many bytes were taken.
    pub fn write(&mut self, number: usize, bytes: &Bytes) -> usize {
        let Some(Member::Running { process, .. }) = self.members.get(&number) else { return 0 };
        // without a wait: what does not fit is not taken
        process.stdin().share(bytes, Duration::ZERO).unwrap_or(0)
    }

    /// Closes a stdin after what was written.
    pub fn close_stdin(&mut self, number: usize) {
        if let Some(Member::Running { process, .. }) = self.members.get(&number) {
            let _ = process.stdin().close();
        }
    }

    /// Sends a process a signal. Returns false for one that has no place yet: it cannot get one.
    pub fn signal(&mut self, number: usize, signal: Signal) -> bool {
        let Some(Member::Running { process, .. }) = self.members.get(&number) else { return false };
        let _ = process.signal(signal);
        true
    }

    /// The process of this number, once it has a place.
    #[must_use]
    pub fn process(&self, number: usize) -> Option<&Process> {
        match self.members.get(&number) {
            Some(Member::Running { process, .. }) => Some(process),
            _ => None,
        }
    }

    /// Hangs a process up; kept work is left. Nothing more is told of it.
    pub fn release(&mut self, number: usize) {
        if let Some(Member::Placing { id, .. }) = self.take(number)
            && let Ok(mut state) = self.handle.hub.enter()
        {
            abandon(id, &mut state);
            self.handle.hub.leave(state);
        }
    }

    fn put(&mut self, number: usize, member: Member) {
        self.members.insert(number, member);
        self.watched = None;
    }

    fn take(&mut self, number: usize) -> Option<Member> {
        let taken = self.members.remove(&number);
        if taken.is_some() {
            self.watched = None;
        }
        taken
    }

    fn watched(&mut self) -> Arc<[Watched]> {
        let members = &self.members;
        let watched = self.watched.get_or_insert_with(|| {
            let watched = members.values().map(|member| match member {
                Member::Placing { id, .. } => Watched::Place(*id),
                Member::Running { process, fed: true, .. } => Watched::Room(process.id()),
                Member::Running { process, starts: true, .. } => Watched::Start(process.id()),
                Member::Running { process, fed: false, .. } => Watched::Output(process.id()),
            });
            watched.collect()
        });
        watched.clone()
    }

    /// The daemon has answered.
    fn placed(&mut self, number: usize, id: ProcessId, result: Result<Node, StartError>) -> Option<News> {
        let Some(Member::Placing { builder, again, .. }) = self.take(number) else { return None };
        match result {
            Ok(node) => {
                let process = Process::new(self.handle.clone(), id, node);
                self.put(number, Member::Running { process, fed: false, starts: builder.is_kept() });
                Some(News::Placed)
            }
            // a replaced daemon is noticed only when the old one is spoken to; nothing has run there
            Err(StartError::Disconnected { .. }) if again => loop {
                match builder.select(None) {
                    Ok(id) => {
                        self.put(number, Member::Placing { id, builder, again: false });
                        return None;
                    }
                    Err(StartError::Interrupted) => {}
                    Err(error) => return Some(News::NotStarted(error)),
                }
            },
            Err(error) => Some(News::NotStarted(error)),
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let numbers: Vec<usize> = self.members.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.release(number));
    }
}

/// Tells what happened to a process. Returns whether it is over.
fn tell(
    number: usize,
    process: &Process,
    fed: bool,
    state: &mut Guard<'_>,
    news: &mut Vec<(usize, News)>,
) -> bool {
    let id = process.id();
    let available =
        |state: &Guard<'_>, stream| state.client.process(id).map_or(0, |process| process.available(stream));
    type Wrap = (fn(Bytes) -> News, fn(u64) -> News);
    let wraps: [(Stream, Wrap); 2] = [
        (Stream::Stdout, (News::Stdout, News::StdoutGone)),
        (Stream::Stderr, (News::Stderr, News::StderrGone)),
    ];
    for (stream, (wrap, wrap_gone)) in wraps {
        let gone = state.client.gap(id, stream);
        if gone > 0 {
            news.push((number, wrap_gone(gone)));
        }
        if available(state, stream) > 0 {
            news.push((number, wrap(state.client.read(id, stream, PIECE))));
        }
    }
    let unread = [Stream::Stdout, Stream::Stderr].into_iter().any(|stream| available(state, stream) > 0);
    let host = || process.node().host.clone();
    let Some(now) = state.client.process(id) else {
        let message = "the connection to the daemon failed".to_owned();
        news.push((number, News::Lost(Lost { host: host(), message, taken_over: false, stays: false })));
        return true;
    };
    if now.is_over() && !unread {
        news.push((
            number,
            match (now.lost(), now.ending()) {
                (None, Some(ending)) => News::Ended(ending.into()),
                (lost, _) => News::Lost(Lost {
                    host: host(),
                    message: lost.unwrap_or_default().to_owned(),
                    taken_over: now.loss() == Some(Loss::TakenOver),
                    stays: now.loss() == Some(Loss::Stays),
                }),
            },
        ));
        return true;
    }
    if fed && now.stdin_closed() {
        news.push((number, News::StdinClosed));
    } else if fed && now.stdin_capacity() > 0 {
        news.push((number, News::Room));
    }
    false
}
