//! The local process of a network: keeps links to its hosts, decides where processes run, and forwards for
//! clients.
//!
//! [`run`] is the daemon. It has three wings, and each knows only those before it:
//!
//! - `host`: one host. Its spec, its attempts to join, the command and the bytes that start its agent, and
//!   why a link ended. Pure.
//! - `daemon`: the network. Which host connects when, where a process runs, what clients ask for; around the
//!   switch of `execnet-proto`. Pure: one event in, one synchronous decision, actions out.
//! - `driver`: all IO, on one thread. The tasks of clients and links, the socket and its locks (`meeting`),
//!   the state that outlives a daemon (`folders`), the `log`, and closing our `memory` to others.
//!
//! Below them: `event` (what comes in and which actions go out), `error` (why a daemon cannot run), `text`
//! (makes a host's words safe to show) and `quota` (how many lines of the log a host may cause).
//!
//! SIGTERM and SIGINT end the network as `execnet stop` does: agents are told to end. SIGHUP is ignored.
//! After SIGKILL the agents wait for the next daemon of the network, for as long as `linger` says.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{HostSpec, NetworkName, hosts};

mod daemon;
mod driver;
mod error;
mod event;
mod host;
mod quota;
mod text;

use daemon::{Daemon, Settings};
use driver::folders::Life;
use driver::log;
use driver::meeting::Meeting;
pub use driver::memory::close_memory;
use driver::{ClientSource, folders};
pub use error::DaemonError;
use host::bootstrap::Common;

/// How many open files a network of a few hundred hosts needs.
const FILES: u64 = 8_192;

/// How long the agents of a private daemon outlive their links. No other daemon can take them over.
const PRIVATE_LINGER: Duration = Duration::from_secs(60);

/// See [`Config::forget`]. An error is a sentence for the log.
pub type Forget = fn(file: &Path, host: &str) -> Result<(), String>;

/// What a daemon is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the network.
    pub network: NetworkName,
    /// Its hosts, in the order in which they are shown.
    pub hosts: Vec<HostSpec>,
    /// How long agents outlive their links.
    pub linger: Duration,
    /// Ids of the hosts that take no new work from the start.
    pub drained: Vec<String>,
    /// The groups of nodes of the network's file.
    pub groups: Groups,
    /// Folders for the socket, best first: `/tmp/execnet-UID`, then those to use if somebody else has made
    /// that. Made if missing. The last resort is a folder inside the state folder.
    pub runtime_folders: Vec<PathBuf>,
    /// The folder of `secret`, `life` and `log`: `$XDG_STATE_HOME/execnet/NAME`. Made if missing.
    pub state_folder: Option<PathBuf>,
    /// The same for clients that have a home and no variables. They look here for the socket if it is not in
    /// the first folder.
    pub home_state_folder: Option<PathBuf>,
    /// The network's file, only shown by the status.
    pub file: Option<PathBuf>,
    /// Takes a host with this id out of the network's file. Called on a thread of its own when a drained host
    /// has left.
    pub forget: Option<Forget>,
    /// The program that ssh calls to ask a person something. It turns `EXECNET_ASKPASS` (`NETWORK/TOKEN`) and
    /// its first argument into an `askpass` request. Without it nobody is asked.
    pub askpass: Option<PathBuf>,
    /// Become a process of its own: leave the session, the folder and, once ready, the standard streams.
    pub detach: bool,
}

impl Config {
    /// A daemon in the usual places, which becomes a process of its own.
    #[must_use]
    pub fn new(network: NetworkName, hosts: Vec<HostSpec>, linger: Duration) -> Self {
        Self {
            runtime_folders: folders::runtime_folders(),
            state_folder: folders::state_folder(&network),
            home_state_folder: folders::home_state_folder(&network),
            file: None,
            forget: None,
            drained: Vec::new(),
            groups: Groups::default(),
            askpass: std::env::current_exe().ok(),
            network,
            hosts,
            linger,
            detach: true,
        }
    }
}

/// Runs the daemon until it is stopped. Calls `ready` with its process id as soon as clients can connect.
///
/// # Errors
/// When it cannot start. Then nothing has changed except the folders and the count of lives.
pub fn run(config: Config, ready: impl FnOnce(u32)) -> Result<(), DaemonError> {
    hosts::check(&config.hosts, &config.groups)?;
    if cfg!(target_os = "linux") {
        close_memory();
    }
    let state_folder = config.state_folder.as_deref().ok_or(DaemonError::NoStateFolder)?;
    let meeting = Meeting::take(
        &config.runtime_folders,
        state_folder,
        config.home_state_folder.as_deref(),
        &config.network,
    )?;
    let life = Life::begin(state_folder).inspect_err(|_| meeting.leave())?;
    let log = state_folder.join("log");
    log::start(&log, config.detach)
        .map_err(|error| DaemonError::file("write", &log, error))
        .inspect_err(|_| meeting.leave())?;
    if config.detach {
        // fails only for a process that leads a session already
        let _ = rustix::process::setsid();
        let _ = std::env::set_current_dir("/");
        raise_file_limit(FILES);
    }
    let Config { network, hosts, linger, drained, groups, file, forget, askpass, detach, .. } = config;
    let settings = Settings {
        file: file.as_ref().map(|file| file.to_string_lossy().into_owned()),
        drained,
        groups,
        ..settings(&network, life, linger, askpass)
    };
    let ready = |pid| {
        ready(pid);
        if detach {
            leave_streams();
        }
    };
    let forget = file.zip(forget);
    serve(ClientSource::Meeting(Box::new(meeting)), settings, hosts, forget, ready)
}

/// Runs a daemon for one client, which is at the other end of `socket`. It has no name, no files and no log.
/// It ends when its client goes away, with everything started through it. It has no hosts until the client
/// adds some, and asks nobody anything.
///
/// # Errors
/// When the system refuses something basic.
pub fn run_private(socket: std::os::unix::net::UnixStream) -> Result<(), DaemonError> {
    // Ctrl-C in the client's terminal is for the client; fails only for a process that leads a session
    // already
    let _ = rustix::process::setsid();
    if cfg!(target_os = "linux") {
        close_memory();
    }
    raise_file_limit(FILES);
    let life = Life::fresh()?;
    // agents tell networks apart by name
    let name = format!("private-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let network = name.parse().map_err(|_| io::Error::other("no name for the network"))?;
    let mut settings = Settings { private: true, ..settings(&network, life, PRIVATE_LINGER, None) };
    settings.common.keeps = false;
    serve(ClientSource::Private(socket), settings, Vec::new(), None, |_| {})
}

fn settings(network: &NetworkName, life: Life, linger: Duration, askpass: Option<PathBuf>) -> Settings {
    tracing::info!("network {network}, life {}", life.number);
    Settings {
        common: Common { network: network.to_string(), secret: life.secret, linger, keeps: true },
        life: life.number,
        pid: std::process::id(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        private: false,
        file: None,
        drained: Vec::new(),
        groups: Groups::default(),
        askpass,
        has_display: std::env::var_os("DISPLAY").is_some(),
        local_connects: 2 * std::thread::available_parallelism().map_or(1, usize::from),
        seed: fastrand::u64(..),
    }
}

fn serve(
    source: ClientSource,
    settings: Settings,
    hosts: Vec<HostSpec>,
    forget: Option<(PathBuf, Forget)>,
    ready: impl FnOnce(u32),
) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let pid = settings.pid;
    let make = |now| Daemon::new(settings, hosts, now);
    tokio::task::LocalSet::new().block_on(&runtime, driver::run(source, make, forget, || ready(pid)))?;
    tracing::info!("stopped");
    Ok(())
}

/// Gives stdin and stdout back; stderr goes to the log already.
fn leave_streams() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Lets this program have so many files, if it may. Some per host soon exceed the usual 256 or 1,024. The
/// limit is no higher than needed, because Python 2.7 closes every file there could be.
pub fn raise_file_limit(files: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(files).min(files);
    if limit.current.is_some_and(|current| current < most) {
        limit.current = Some(most);
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
