//! Requests to the daemon of a network.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use execnet_proto::control::{Interruption, ReplyError, Request, Status, Verb};
use execnet_proto::wire::{Frame, FrameKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::handle::Handle;
use crate::hub::{Condition, Daemon, Inbox, Over};
use crate::lookout::{OnOutage, Outage, Outages};
use crate::route::ConnectError;
use crate::waiting::{Halt, Room, deadline};

/// A connection to a network. Clones share it, and any number of threads may use it.
///
/// It ends when the last clone and the last [`Process`](crate::Process) that was started through it are
/// dropped.
#[derive(Clone)]
pub struct Network {
    handle: Arc<Handle>,
}

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The daemon refused it.
    #[error(transparent)]
    Refused(#[from] ReplyError),
    /// There is no connection, and none could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended before the last reply. The daemon may or may not have done what was asked.
    #[error("the daemon of `{network}` ended before it answered")]
    Disconnected {
        /// The network.
        network: String,
    },
    /// The daemon's answer does not have the expected shape.
    #[error("the daemon of `{network}` gave an unexpected answer")]
    Unexpected {
        /// The network.
        network: String,
        /// What is wrong with it.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The request is too long.
    #[error("the request has {length} bytes; at most {} are allowed", FrameKind::Request.limit())]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// More than 64 MiB of replies were waiting to be taken.
    #[error("replies arrive faster than they are read")]
    NotTaken,
    /// No reply came in time. More may come.
    #[error("no reply came in time")]
    TimedOut,
    /// Another thread interrupted the wait. More replies may come.
    #[error("waiting for a reply was interrupted")]
    Interrupted,
    /// The connection belongs to the parent of this forked process.
    #[error("a connection to a network cannot be used in a forked child; connect again there")]
    Forked,
}

/// The replies to one request, as they come. Dropping it ignores the rest.
#[derive(Debug)]
pub struct Replies {
    handle: Arc<Handle>,
    /// The request's number, until the last reply.
    request: Option<u32>,
    failed: Option<RequestError>,
}

impl Network {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle: Arc::new(handle) }
    }

    pub(crate) fn of(handle: Arc<Handle>) -> Self {
        Self { handle }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.network
    }

    /// The daemon at the other end of the connection.
    #[must_use]
    pub fn daemon(&self) -> Daemon {
        let daemon = self.handle.hub.enter().ok().and_then(|state| state.daemon.clone());
        // a Network is handed out only after a greeting, so only a forked child gets here
        daemon.unwrap_or_else(|| Daemon { pid: 0, release: String::new(), network: self.name().into() })
    }

    /// Whether there is a connection now. Without one, processes wait, and the next request tries to connect.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let greeted = |state: &crate::hub::HubState| {
            state.connection.as_ref().is_some_and(|connection| connection.greeted)
        };
        self.handle.hub.enter().is_ok_and(|state| greeted(&state))
    }

    /// The network's hosts and nodes, as they are now.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn status(&self) -> Result<Status, RequestError> {
        self.ask(&Verb::Status.into())
    }

    /// Sends a request to the daemon. If sending fails, the iterator yields the error first.
    #[must_use = "a request is given up with its replies"]
    pub fn request(&self, request: &Request) -> Replies {
        let (request, failed) = match self.send(request) {
            Ok(request) => (Some(request), None),
            Err(error) => (None, Some(error)),
        };
        Replies { handle: self.handle.clone(), request, failed }
    }

    /// Sends a request that has one reply, and waits for the reply.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, RequestError> {
        let value = self.request(request).next().ok_or_else(|| self.handle.disconnected())??;
        serde_json::from_value(value).map_err(|error| self.handle.unexpected(error))
    }

    /// Outages of hosts on which the program has processes or gateways, from now on: those that last longer
    /// than 5 s, and at once those that keep a process from starting.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn outages(&self) -> Result<Outages, RequestError> {
        Ok(self.handle.hub.enter()?.lookout.subscribe())
    }

    /// The same, unless somebody has called it before.
    pub(crate) fn first_outages(&self) -> Option<Outages> {
        let mut state = self.handle.hub.enter().ok()?;
        (!state.lookout.has_subscribers()).then(|| state.lookout.subscribe())
    }

    /// Calls `on_outage` for each of the [`Network::outages`], instead of printing a line to stderr. A thread
    /// of the connection calls it, one outage after the other; it should not take long.
    pub fn on_outage(&self, on_outage: impl Fn(&Outage) + Send + Sync + 'static) {
        let mut on_outage: OnOutage = Arc::new(on_outage);
        if let Ok(mut state) = self.handle.hub.enter() {
            std::mem::swap(&mut state.lookout.on_outage, &mut on_outage);
        }
        // now the last one is dropped; it may hold a process, whose drop takes the lock
    }

    /// Ends every wait on this connection and its processes that any thread is in now, with an `Interrupted`
    /// error. [`Interrupt`](crate::Interrupt) ends the waits of one thread.
    pub fn interrupt(&self) {
        self.handle.hub.interrupt(|_| true);
    }

    fn send(&self, request: &Request) -> Result<u32, RequestError> {
        let json = serde_json::to_vec(request).map_err(|error| self.handle.unexpected(error))?;
        let json = Bytes::from(json);
        if !(Frame::Request { request: 0, json: json.clone() }).fits() {
            return Err(RequestError::TooLong { length: json.len() });
        }
        self.handle.connected(None).map_err(|error| match error {
            ConnectError::Interrupted => RequestError::Interrupted,
            ConnectError::Forked => RequestError::Forked,
            error => error.into(),
        })?;
        let mut state = self.handle.hub.enter()?;
        if state.connection.is_none() {
            return Err(self.handle.disconnected());
        }
        let request = state.client.request(json);
        state.inboxes.insert(request, Inbox::default());
        self.handle.hub.leave(state);
        Ok(request)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Replies {
    /// The next reply; waits at most this long. [`RequestError::TimedOut`] does not end the iterator.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Value, RequestError>> {
        self.next_by(deadline(timeout))
    }

    fn next_by(&mut self, deadline: Option<Instant>) -> Option<Result<Value, RequestError>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let request = self.request?;
        let reply = self.await_reply(request, deadline);
        let goes_on = matches!(reply, Some(Ok(_) | Err(RequestError::TimedOut | RequestError::Interrupted)));
        if !goes_on {
            self.request = None;
            self.handle.discard(request);
        }
        reply
    }

    fn await_reply(&self, request: u32, deadline: Option<Instant>) -> Option<Result<Value, RequestError>> {
        let handle = &self.handle;
        let waited = handle.hub.enter().and_then(|state| {
            handle.hub.wait(state, &Condition::Reply(request), deadline).map_err(|(halt, _)| halt)
        });
        let mut state = match waited {
            Ok(state) => state,
            Err(halt) => return Some(Err(halt.into())),
        };
        let inbox = state.inboxes.get_mut(&request)?;
        let Some(json) = inbox.take() else {
            return match inbox.over? {
                Over::Last => None,
                Over::Disconnected => Some(Err(handle.disconnected())),
                Over::NotTaken => Some(Err(RequestError::NotTaken)),
            };
        };
        drop(state);
        let value: Value = match serde_json::from_slice(&json) {
            Ok(value) => value,
            Err(error) => return Some(Err(handle.unexpected(error))),
        };
        // a question for the user is a reply like any other; an error is always the last
        if value.get("error").is_some()
            && let Ok(Interruption::Error(error)) = serde_json::from_value(value.clone())
        {
            return Some(Err(error.into()));
        }
        Some(Ok(value))
    }
}

impl Iterator for Replies {
    type Item = Result<Value, RequestError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_by(None)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            self.handle.discard(request);
        }
    }
}

/// For requests.
impl Handle {
    fn discard(&self, request: u32) {
        if let Ok(mut state) = self.hub.enter() {
            state.inboxes.remove(&request);
        }
    }

    fn disconnected(&self) -> RequestError {
        RequestError::Disconnected { network: self.network.clone() }
    }

    fn unexpected(&self, source: serde_json::Error) -> RequestError {
        RequestError::Unexpected { network: self.network.clone(), source: Arc::new(source) }
    }
}

impl From<Halt> for RequestError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::TimedOut => Self::TimedOut,
            Halt::Interrupted => Self::Interrupted,
            Halt::Forked => Self::Forked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use execnet_proto::feature::Features;
    use execnet_proto::id::{Incarnation, ProcessId};
    use execnet_proto::opening::OPENING;

    use crate::{Connect, ProcessError, StartError};

    use super::*;

    /// A connection with a process, and the daemon's end of it.
    fn connection() -> (Network, crate::Process, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut said = OPENING.to_vec();
        let greeting =
            Frame::Daemon { life: 1, pid: 1, release: "1".into(), network: "n".into(), facts: Vec::new() };
        said.extend_from_slice(&greeting.to_bytes());
        theirs.write_all(&said).unwrap();
        let daemon = std::thread::spawn(move || {
            // read up to and including the SELECT: marker, CLIENT with release, SELECT
            let greeting = Frame::Client {
                id: execnet_proto::id::ClientId([0; 16]),
                release: "x".into(),
                facts: vec![Features::all().entry(), ("program".into(), "p".into())],
            };
            theirs.read_exact(&mut vec![0; 16 + greeting.to_bytes().len()]).unwrap();
            let mut select = [0; 22];
            theirs.read_exact(&mut select).unwrap();
            let id = ProcessId(select[4..20].try_into().unwrap());
            let (host, node) = ("h".into(), "n".into());
            let placed =
                Frame::Placed { id, incarnation: Incarnation([1; 16]), host, node, facts: Vec::new() };
            theirs.write_all(&placed.to_bytes()).unwrap();
            theirs
        });
        let network = Connect::over(ours).release("x").program("p").open().unwrap();
        let process = network.process().arg("x").start().unwrap();
        (network, process, daemon.join().unwrap())
    }

    #[test]
    fn waits_end_when_the_reader_thread_fails() {
        let (network, process, _theirs) = connection();
        let waits = std::thread::spawn(move || process.wait());
        let hub = &network.handle.hub;
        let mut state = hub.lock();
        state.ruin();
        hub.leave(state);
        assert!(matches!(waits.join().unwrap(), Err(ProcessError::HungUp { .. })));
        assert!(matches!(network.status(), Err(RequestError::Connect(ConnectError::Closed { .. }))));
    }

    #[test]
    fn in_a_forked_child_calls_are_errors_and_drops_do_nothing() {
        let (network, process, mut theirs) = connection();
        network.handle.hub.base().owner.pretend_to_be_forked(true);
        let hub = network.handle.hub.clone();
        let locked = hub.lock();
        assert!(matches!(network.status(), Err(RequestError::Forked)));
        assert!(matches!(network.process().start(), Err(StartError::Forked)));
        assert_eq!(process.wait(), Err(ProcessError::Forked));
        assert_eq!(process.signal(crate::Signal::Int), Err(ProcessError::Forked));
        assert!(process.stdin().write(b"x").is_err());
        assert!(process.stdout().read(&mut [0]).is_err());
        assert!(process.stdin().is_closed() && !network.is_connected());
        drop(process);
        drop(network);
        drop(locked);

        // the parent's connection is untouched: it can still send, and has not released the process
        theirs.set_nonblocking(true).unwrap();
        let mut rest = Vec::new();
        let end = theirs.read_to_end(&mut rest).unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock);
        let release = Frame::Release(ProcessId([0; 16])).to_bytes();
        assert!(!rest.windows(4).any(|part| part == &release[..4]));
        assert!(hub.lock().connection.is_some());
    }
}
