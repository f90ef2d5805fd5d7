//! How to find a network's daemon, and how to check that it is this user's.

pub mod place;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use execnet_proto::client::ClientError;
use execnet_proto::opening::VERSION;
use execnet_proto::spec::{NetworkName, NetworkNameError, nearest};
use rustix::fs::{FileType, Mode};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No network can have this name.
    #[error(transparent)]
    BadName(#[from] NetworkNameError),
    /// Nobody listens under that name.
    #[error("the network `{network}` is not running; {}", hint(network, running, *has_file))]
    NotRunning {
        /// The name that was asked for.
        network: String,
        /// The networks of this user that have a socket.
        running: Vec<String>,
        /// The network has a file, so it is stopped and its name not mistyped.
        has_file: bool,
    },
    /// The daemon runs, but has lost its socket and did not make it again in time.
    #[error(
        "the network `{network}` is running (daemon {daemon}), but nothing listens at {}; it tries every 5 s \
         to make its socket again, and `execnet logs {network}` says why that fails",
        socket.display()
    )]
    NoSocket {
        /// The network.
        network: String,
        /// Process id of its daemon.
        daemon: u32,
        /// The socket that it should have.
        socket: PathBuf,
    },
    /// Somebody else has access to a folder or socket on the way to the daemon.
    #[error("{} {what}; it is not trusted", path.display())]
    NotOurs {
        /// The folder or the socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The daemon speaks another version of the protocol.
    #[error(
        "the daemon of `{network}` speaks version {daemon} of the protocol, this program version {program}; \
         start the network again with the `execnet` that belongs to this program"
    )]
    OtherVersion {
        /// The network.
        network: String,
        /// The daemon's version.
        daemon: u16,
        /// This program's version.
        program: u16,
    },
    /// The peer does not speak the protocol.
    #[error("the program that answers for `{network}` is not an execnet daemon: {why}")]
    NotADaemon {
        /// The network.
        network: String,
        /// What it did.
        why: String,
    },
    /// The daemon closed the connection before its greeting.
    #[error("the daemon of `{network}` closed the connection before it greeted; it may be ending")]
    Closed {
        /// The network.
        network: String,
    },
    /// The daemon sent no greeting in time.
    #[error("the daemon of `{network}` does not answer; `execnet status {network}` says what to do")]
    Silent {
        /// The network.
        network: String,
    },
    /// Another thread interrupted the wait.
    #[error("connecting was interrupted")]
    Interrupted,
    /// The connection belongs to the parent of this forked process.
    #[error("a connection to a network cannot be used in a forked child; connect again there")]
    Forked,
    /// The operating system refused something.
    #[error("cannot connect to `{network}`")]
    Io {
        /// The network.
        network: String,
        /// What it said.
        #[source]
        source: Arc<io::Error>,
    },
}

fn hint(network: &str, running: &[String], has_file: bool) -> String {
    match nearest(network, running.iter().map(String::as_str)) {
        Some(near) if near != network && !has_file => format!("did you mean `{near}`?"),
        _ if network.parse::<NetworkName>().is_ok() => format!("`execnet start {network}` starts it"),
        _ => "nobody listens there".into(),
    }
}

/// How to reach a daemon.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Named(NetworkName),
    At(PathBuf),
    /// Only once.
    Over(Arc<Mutex<Option<UnixStream>>>),
}

impl Route {
    /// What to call the network in messages.
    pub(crate) fn network(&self) -> String {
        match self {
            Self::Named(name) => name.to_string(),
            Self::At(path) => path.display().to_string(),
            Self::Over(_) => "the private network".into(),
        }
    }

    /// Opens a nonblocking socket.
    pub(crate) fn open(&self) -> Result<UnixStream, ConnectError> {
        let socket = match self {
            Self::Named(name) => self.open_named(name)?,
            Self::At(path) => self.open_at(path)?,
            Self::Over(socket) => socket
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
                .ok_or_else(|| ConnectError::Closed { network: self.network() })?,
        };
        socket.set_nonblocking(true).map_err(|error| self.io(error))?;
        Ok(socket)
    }

    /// Looks in all folders that the daemon may use. What other users have put there is skipped.
    fn open_named(&self, name: &NetworkName) -> Result<UnixStream, ConnectError> {
        let mut wrong = None;
        for path in place::sockets(name) {
            let Some(folder) = path.parent().filter(|folder| is_own(folder)) else { continue };
            match self.check(folder, FileType::Directory).and_then(|()| self.open_at(&path)) {
                Ok(socket) => return Ok(socket),
                Err(ConnectError::NotRunning { .. }) => {}
                Err(silent @ ConnectError::Silent { .. }) => return Err(silent),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        Err(wrong.unwrap_or_else(|| self.not_running()))
    }

    fn open_at(&self, path: &Path) -> Result<UnixStream, ConnectError> {
        self.check(path, FileType::Socket)?;
        let socket = place::reach(path, connect_to).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => self.not_running(),
            // it accepts no clients: it is very busy, or stopped
            io::ErrorKind::WouldBlock => ConnectError::Silent { network: self.network() },
            _ => self.io(error),
        })?;
        check_peer(&socket, path).map_err(|error| match error {
            Ok(not_ours) => not_ours,
            Err(error) => self.io(error),
        })?;
        Ok(socket)
    }

    /// Checks that a folder or socket belongs to this user alone.
    fn check(&self, path: &Path, kind: FileType) -> Result<(), ConnectError> {
        let stat = match rustix::fs::lstat(path) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Err(self.not_running()),
            Err(error) => return Err(self.io(error.into())),
        };
        let not_ours = |what| Err(ConnectError::NotOurs { path: path.to_owned(), what });
        if FileType::from_raw_mode(stat.st_mode) != kind {
            let name = if kind == FileType::Directory { "folder" } else { "socket" };
            return not_ours(format!("is not a {name}"));
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return not_ours(format!("belongs to user {}", stat.st_uid));
        }
        let others = Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO);
        if kind == FileType::Directory && !others.is_empty() {
            return not_ours("is open to other users".into());
        }
        Ok(())
    }

    fn not_running(&self) -> ConnectError {
        let network = self.network();
        let has_file = network.parse().is_ok_and(|name| place::has_file(&name));
        ConnectError::NotRunning { network, running: place::running(), has_file }
    }

    /// The daemon of a named network, if one runs that has no socket.
    pub(crate) fn hidden_daemon(&self) -> Option<u32> {
        match self {
            Self::Named(name) => place::daemon(name),
            Self::At(_) | Self::Over(_) => None,
        }
    }

    /// The error if that daemon does not make its socket again.
    pub(crate) fn no_socket(&self, daemon: u32) -> ConnectError {
        let socket = match self {
            Self::Named(name) => place::sockets(name).into_iter().next().unwrap_or_default(),
            Self::At(path) => path.clone(),
            Self::Over(_) => PathBuf::new(),
        };
        ConnectError::NoSocket { network: self.network(), daemon, socket }
    }

    /// The error for a peer that we cannot talk to.
    pub(crate) fn wrong(&self, error: &ClientError) -> ConnectError {
        let network = self.network();
        match error {
            ClientError::OtherVersion(daemon) => {
                ConnectError::OtherVersion { network, daemon: *daemon, program: VERSION }
            }
            error => ConnectError::NotADaemon { network, why: error.to_string() },
        }
    }

    fn io(&self, error: io::Error) -> ConnectError {
        ConnectError::Io { network: self.network(), source: Arc::new(error) }
    }
}

/// Whether this user owns the folder.
fn is_own(folder: &Path) -> bool {
    rustix::fs::lstat(folder).is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
}

/// Connects, without waiting for a listener that does not accept.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn connect_to(path: &Path) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Other systems refuse connections to a full listener.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn connect_to(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// Checks that the listener runs as this user.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn check_peer(socket: impl AsFd, path: &Path) -> Result<(), Result<ConnectError, io::Error>> {
    let peer = rustix::net::sockopt::socket_peercred(socket).map_err(|error| Err(error.into()))?;
    if peer.uid != rustix::process::geteuid() {
        let what = format!("is served by user {}", peer.uid.as_raw());
        return Err(Ok(ConnectError::NotOurs { path: path.to_owned(), what }));
    }
    Ok(())
}

/// On other systems the owner and mode of the folder have to suffice.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn check_peer(_: impl AsFd, _: &Path) -> Result<(), Result<ConnectError, io::Error>> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_stopped_is_not_taken_for_a_slip() {
        let told = |has_file| {
            let running = vec!["nc1".to_owned()];
            ConnectError::NotRunning { network: "nc3".into(), running, has_file }.to_string()
        };
        assert_eq!(told(true), "the network `nc3` is not running; `execnet start nc3` starts it");
        assert_eq!(told(false), "the network `nc3` is not running; did you mean `nc1`?");
    }
}
