//! Connecting to a network.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use execnet_proto::client::Client;
use execnet_proto::id::ClientId;

use crate::handle::Handle;
use crate::hub::Hub;
use crate::network::Network;
use crate::reader::Reader;
use crate::route::{ConnectError, Route};
use crate::waiting::Room;

/// How long connecting may take unless something else is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a daemon may be gone: the default `linger` of agents and 30 s. An agent has given up by then.
const PATIENCE: Duration = Duration::from_secs(630);

/// Connects to a running network by its name.
///
/// # Errors
/// When the network does not run, or what answers in its place is not this user's daemon of this protocol version. After
/// 30 s at most; see [`Connect`] for another limit.
pub fn connect(network: &str) -> Result<Network, ConnectError> {
    Connect::to(network)?.open()
}

/// How to connect; [`connect`] is the short form.
#[derive(Debug)]
pub struct Connect {
    route: Route,
    release: String,
    timeout: Duration,
    patience: Duration,
    give_up: Option<Duration>,
    tell_after: Option<Duration>,
}

impl Connect {
    /// To the network of this name.
    ///
    /// # Errors
    /// When no network can have this name.
    pub fn to(network: &str) -> Result<Self, ConnectError> {
        Ok(Self::by(Route::Named(network.parse()?)))
    }

    /// To the daemon that listens on this socket, which is checked like that of a named network, but for its folder.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self::by(Route::At(socket.into()))
    }

    /// To the daemon at the other end of a socket. When that is closed it is not opened again, and what runs is lost.
    #[must_use]
    pub fn over(socket: UnixStream) -> Self {
        Self::by(Route::Over(Arc::new(Mutex::new(Some(socket))))).patience(Duration::ZERO)
    }

    fn by(route: Route) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self { route, release, timeout: TIMEOUT, patience: PATIENCE, give_up: None, tell_after: None }
    }

    /// Says the version of the program to the daemon; the version of this crate if not given.
    #[must_use]
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// How long [`Connect::open`] may take; 30 s if not given.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the daemon may be gone before what runs counts as lost; 630 s if not given, which fits the default `linger`.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long a host may be out of reach, or the daemon be gone, before what the program runs there counts as lost, unless it was started with a limit
    /// of its own; as long as the network has patience if not given: 630 s, unless it has another `linger`.
    #[must_use]
    pub fn give_up(mut self, limit: Duration) -> Self {
        self.give_up = Some(limit);
        self
    }

    /// How long a host has to be out of reach before it is told: see [`Network::outages`]; 5 s if not given.
    #[must_use]
    pub fn tell_after(mut self, time: Duration) -> Self {
        self.tell_after = Some(time);
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn open(self) -> Result<Network, ConnectError> {
        let deadline = Instant::now().checked_add(self.timeout);
        let name = self.route.network();
        let io = |error: io::Error| ConnectError::Io { network: name.clone(), source: Arc::new(error) };
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| io(io::Error::other(error)))?;
        let hub = Hub::new(Client::new(ClientId(id), self.release)).map_err(io)?;
        let (route, patience) = (self.route, self.patience);
        let mut state = hub.lock();
        let lookout = &mut state.lookout;
        (lookout.network, lookout.patience, lookout.give_up) = (name.clone(), patience, self.give_up);
        lookout.after = self.tell_after.unwrap_or(lookout.after);
        drop(state);
        let reader = Reader { hub: hub.clone(), route, waker: hub.waker(), patience, since: Instant::now() };
        let thread = std::thread::Builder::new().name("execnet".into());
        let thread = thread.spawn(move || reader.run()).map_err(io)?;
        let network = Network::new(Handle::new(hub, thread, name));
        network.handle().connected(deadline)?;
        Ok(network)
    }
}
