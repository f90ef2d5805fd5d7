//! Connecting to a network.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use execnet_proto::client::Client;
use execnet_proto::id::ClientId;

use crate::handle::Handle;
use crate::hub::Hub;
use crate::network::Network;
use crate::reader::Reader;
use crate::route::{ConnectError, Route};
use crate::waiting::{Room, deadline};

/// The default limit of [`Connect::open`].
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a daemon may be gone: the agents' default `linger` and 30 s. By then an agent has given up.
const PATIENCE: Duration = Duration::from_secs(630);

/// Connects to a running network by its name.
///
/// # Errors
/// When the network does not run, when its daemon does not answer within 30 s, or when whatever answers is
/// not this user's daemon or speaks another version of the protocol. [`Connect`] can set another limit.
pub fn connect(network: &str) -> Result<Network, ConnectError> {
    Connect::to(network)?.open()
}

/// How to connect. [`connect`] is the short form.
#[derive(Debug)]
pub struct Connect {
    route: Route,
    release: String,
    program: String,
    timeout: Duration,
    patience: Duration,
    give_up: Option<Duration>,
    tell_after: Option<Duration>,
}

impl Connect {
    /// Connects to the network with this name.
    ///
    /// # Errors
    /// When no network can have this name.
    pub fn to(network: &str) -> Result<Self, ConnectError> {
        Ok(Self::by(Route::Named(network.parse()?)))
    }

    /// Connects to the daemon that listens on this socket. The socket is checked like that of a named
    /// network; its folder is not.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self::by(Route::At(socket.into()))
    }

    /// Connects to the daemon at the other end of a socket. Once that socket is closed, nothing opens it
    /// again, and running processes are lost.
    #[must_use]
    pub fn over(socket: UnixStream) -> Self {
        Self::by(Route::Over(Arc::new(Mutex::new(Some(socket))))).patience(Duration::ZERO)
    }

    fn by(route: Route) -> Self {
        let (release, program) = (env!("CARGO_PKG_VERSION").to_owned(), own_name());
        let (timeout, patience) = (TIMEOUT, PATIENCE);
        Self { route, release, program, timeout, patience, give_up: None, tell_after: None }
    }

    /// Tells the daemon this version of the program, instead of the version of this crate.
    #[must_use]
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// Tells the daemon this name of the program, for people who look at what runs. The default is the name
    /// of its executable.
    #[must_use]
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = name.into();
        self
    }

    /// How long [`Connect::open`] may take; by default 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long the daemon may be gone before running processes count as lost. The default, 630 s, fits the
    /// default `linger`.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long a host may be out of reach, or the daemon be gone, before the program's processes there count
    /// as lost. A process can have a limit of its own. By default this is the patience of the network: 630 s,
    /// unless it has another `linger`.
    #[must_use]
    pub fn give_up(mut self, limit: Duration) -> Self {
        self.give_up = Some(limit);
        self
    }

    /// How long a host has to be out of reach before that is reported (see [`Network::outages`]); by default
    /// 5 s.
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
        let deadline = deadline(self.timeout);
        let name = self.route.network();
        let io = |error: io::Error| ConnectError::Io { network: name.clone(), source: Arc::new(error) };
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| io(io::Error::other(error)))?;
        let hub = Hub::new(Client::new(ClientId(id), self.release).program(self.program)).map_err(io)?;
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

/// The name of this program's executable, as it was called.
fn own_name() -> String {
    let called = std::env::args_os().next();
    let name = called.as_deref().and_then(|path| Path::new(path).file_name());
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
