//! Hosts outside of any running network. The program reaches them through a daemon of its own, which nobody
//! else uses and which ends with the program.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use execnet_proto::control::{HostReply, HostState, HostStatus, NodeState, Request, Verb};
use execnet_proto::spec::{HostSpec, MAX_NAME, is_name};
use execnet_proto::text::line;

use crate::connect::Connect;
use crate::network::{Network, RequestError};
use crate::route::ConnectError;
use crate::waiting::Owner;

/// A network that belongs to this program alone. Its hosts are those that the program [joins](Private::join);
/// its daemon is the `execnet` command.
///
/// ```no_run
/// let private = execnet::Private::shared("execnet")?;
/// let host = private.join(&"ssh=build1".parse()?)?;
/// let gateway = private.network().makegateway().node(host).start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It ends, with all its processes, when it, its [`Network`] and everything that was started through them are
/// dropped. ssh cannot prompt: it needs keys or an agent.
#[derive(Debug)]
pub struct Private {
    network: Network,
    owner: Owner,
    /// The id of each joined host, by its spec without the id.
    hosts: Mutex<HashMap<HostSpec, Arc<Mutex<Option<String>>>>>,
    /// The ids of hosts that are being joined, which the daemon may not know yet.
    joining: Mutex<HashSet<String>>,
}

/// Why a host cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The daemon could not be started.
    #[error("cannot start `{} daemon --private`, which reaches the host", command.display())]
    Start {
        /// The command.
        command: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The daemon does not answer.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The daemon refused it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The host did not come up.
    #[error("{}", Down(.0))]
    Down(Box<HostStatus>),
    /// The host is up, but its `python=` is not a usable Python.
    #[error("`{}` has no usable Python: {}; correct python=", line(spec), line(message))]
    NoPython {
        /// The host's spec.
        spec: String,
        /// What is wrong.
        message: String,
    },
}

struct Down<'a>(&'a HostStatus);

impl fmt::Display for Down<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostStatus { spec, error, said, hint, .. } = self.0;
        let error = error.as_deref().unwrap_or("it is gone");
        write!(f, "`{}` did not come up: {}", line(spec), line(error))?;
        said.iter().try_for_each(|said| write!(f, "\n  {}", line(said)))?;
        hint.iter().try_for_each(|hint| write!(f, "\n{}", line(hint)))
    }
}

impl Private {
    /// The one of this program, started if necessary. `command` is the `execnet` command: a path, or a name
    /// to look for in `PATH`.
    ///
    /// # Errors
    /// When the daemon cannot be started.
    pub fn shared(command: impl AsRef<Path>) -> Result<Arc<Self>, JoinError> {
        static SHARED: Mutex<Weak<Private>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        // a forked child needs its own
        let is_ours = |private: &Arc<Self>| !private.owner.is_forked() && !private.has_ended();
        if let Some(private) = shared.upgrade().filter(is_ours) {
            return Ok(private);
        }
        let private = Arc::new(Self::start(command.as_ref())?);
        *shared = Arc::downgrade(&private);
        Ok(private)
    }

    /// Whether its daemon is gone, for example killed. Then everything that was started through it is lost,
    /// and the program needs another one.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // its connection is a socket that is opened only once
        !self.network.is_connected()
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Joins a host to the network, unless it has joined already, and waits until it is up. Returns its id,
    /// which differs from that of the spec if that one is taken.
    ///
    /// # Errors
    /// When the host does not come up, or the wait was interrupted.
    pub fn join(&self, spec: &HostSpec) -> Result<String, JoinError> {
        let wanted = HostSpec { id: String::new(), patience: None, ..spec.clone() };
        let host =
            self.hosts.lock().unwrap_or_else(PoisonError::into_inner).entry(wanted).or_default().clone();
        // others that want the same host wait here
        let mut joined = host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = &*joined {
            return Ok(id.clone());
        }
        let id = self.free_id(&spec.id)?;
        let result = self.bring_up(spec, &id);
        self.joining.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        result?;
        *joined = Some(id.clone());
        Ok(id)
    }

    fn bring_up(&self, spec: &HostSpec, id: &str) -> Result<(), JoinError> {
        let status = self.add(&HostSpec { id: id.to_owned(), ..spec.clone() })?;
        let leave = || {
            // or the daemon would keep trying it
            let _ = self.network.request(&Verb::RmHost { host: id.to_owned(), kept: None }.into()).next();
        };
        if status.state != HostState::Up {
            leave();
            return Err(JoinError::Down(Box::new(status)));
        }
        if let Some(message) = no_python(&status) {
            leave();
            return Err(JoinError::NoPython { spec: spec.to_string(), message });
        }
        Ok(())
    }

    fn add(&self, spec: &HostSpec) -> Result<HostStatus, JoinError> {
        let mut request = Request::from(Verb::AddHost { spec: spec.to_string(), end_kept: false });
        if let Ok(agent) = std::env::var("SSH_AUTH_SOCK") {
            request.env.insert("SSH_AUTH_SOCK".into(), agent);
        }
        let mut last = HostStatus { spec: spec.to_string(), ..HostStatus::default() };
        for reply in self.network.request(&request) {
            if let Ok(HostReply { host: Some(host), .. }) = serde_json::from_value(reply?) {
                last = host;
            }
        }
        Ok(last)
    }

    /// An id for a host that is joined now. Several may be, by several threads.
    fn free_id(&self, wanted: &str) -> Result<String, JoinError> {
        let mut joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.network.status()?.hosts;
        let is_free =
            |id: &String| is_name(id) && !joining.contains(id) && taken.iter().all(|host| host.id != *id);
        let short: String = wanted.chars().take(MAX_NAME - 8).collect();
        let numbered = (2_u32..).map(|number| format!("{short}-{number}"));
        let mut ids = std::iter::once(wanted.to_owned()).chain(numbered).take(10_000);
        let id = ids.find(is_free).unwrap_or_else(|| wanted.to_owned());
        joining.insert(id.clone());
        Ok(id)
    }

    fn start(command: &Path) -> Result<Self, JoinError> {
        let failed = |error| JoinError::Start { command: command.to_owned(), source: Arc::new(error) };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut daemon = Command::new(command);
        daemon.args(["daemon", "--private"]).stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut child = daemon.stdout(Stdio::null()).spawn().map_err(failed)?;
        // the command holds the daemon's end of the socket open
        drop(daemon);
        let reaper = std::thread::Builder::new().name("execnet-daemon".into());
        reaper.spawn(move || child.wait()).map_err(failed)?;
        let network = Connect::over(ours).open()?;
        Ok(Self { network, owner: Owner::default(), hosts: Mutex::default(), joining: Mutex::default() })
    }
}

/// Why none of its interpreters can be used, if so.
fn no_python(host: &HostStatus) -> Option<String> {
    let all_failed = host.nodes.iter().all(|node| node.state == NodeState::Failed);
    let node = host.nodes.first().filter(|_| all_failed)?;
    Some(node.message.clone().unwrap_or_else(|| node.executable.clone()))
}
