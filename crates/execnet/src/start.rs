//! Starting a process: what to run, where it may run, and why it did not start.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use execnet_proto::client::Launch;
use execnet_proto::feature::Feature;
use execnet_proto::id::{ClientId, Incarnation, ProcessId};
use execnet_proto::kept::{Join, Keep, KeptName, Replay};
use execnet_proto::prefix::Prefix;
use execnet_proto::spec::{NodeSelection, SelectionError, Wants};
use execnet_proto::terminal::TerminalSize;
use execnet_proto::text::lines;
use execnet_proto::wire::{Frame, FrameKind, Refusal, Role, Spawn};

use crate::handle::Handle;
use crate::hub::{Condition, Guard, HubState, Placing};
use crate::network::Network;
use crate::node::Node;
use crate::process::Process;
use crate::route::ConnectError;
use crate::waiting::{Halt, Room, deadline};

/// No system allows longer paths; see PATH_MAX.
const LONGEST_PATH: usize = 4096;

/// Space in SPAWN for everything but arguments and environment: ids, and the names of host and node.
const BESIDES: usize = 1024;

/// Describes a process: the node to run on, its arguments, its environment. Made by
/// [`Network::process`](crate::Network::process).
///
/// The process is the node's interpreter with these arguments: `.args(["-c", "print(1)"])`.
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct ProcessBuilder {
    handle: Arc<Handle>,
    selection: NodeSelection,
    host: Option<String>,
    terminal: Option<TerminalSize>,
    launch: Launch,
    local: String,
    timeout: Option<Duration>,
    give_up: Option<Duration>,
    opening: bool,
    label: String,
}

/// Why a process was not started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No node that is up matches. The message lists those that there are.
    #[error("{}", lines(message))]
    NoMatch {
        /// The daemon's message.
        message: String,
    },
    /// The program, or every matching host, runs too many processes.
    #[error("{}", lines(message))]
    TooMany {
        /// The daemon's message.
        message: String,
    },
    /// The network is being stopped.
    #[error("{}", lines(message))]
    Closing {
        /// The daemon's message.
        message: String,
    },
    /// There is no connection, and none could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended before the process was placed. Nothing was started.
    #[error("the daemon of `{network}` ended before it placed the process; nothing was started")]
    Disconnected {
        /// The network.
        network: String,
    },
    /// The arguments and environment are too long.
    #[error(
        "arguments and environment have {length} bytes; at most about {} are allowed",
        FrameKind::Spawn.limit() - BESIDES
    )]
    TooLong {
        /// Their length in bytes.
        length: usize,
    },
    /// An argument or variable that no process can have, or a text that is not a set of nodes.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// The system gave no random numbers for the process's id.
    #[error("no random numbers for an id: {reason}")]
    NoId {
        /// What the system said.
        reason: String,
    },
    /// The process was not placed within the time that [`ProcessBuilder::timeout`] allows. Nothing was
    /// started.
    #[error("the daemon of `{network}` did not place the process in time; nothing was started")]
    TimedOut {
        /// The network.
        network: String,
    },
    /// Another thread interrupted the wait. Nothing was started.
    #[error("starting was interrupted; nothing was started")]
    Interrupted,
    /// The connection belongs to the parent of this forked process.
    #[error("a connection to a network cannot be used in a forked child; connect again there")]
    Forked,
}

impl Network {
    /// Describes a process to start on a node of the network.
    pub fn process(&self) -> ProcessBuilder {
        ProcessBuilder::new(self.handle().clone())
    }
}

/// The methods that select nodes, for builders with a `selection`.
macro_rules! selection_methods {
    () => {
        /// One of these nodes: the one with this name, any of the host with this id, or one of a set of
        /// them (`build[1-3]`, `@web`, [`sets`](execnet_proto::spec::sets)), the least busy.
        pub fn node(mut self, name: impl Into<String>) -> Self {
            self.selection.node = Some(name.into());
            self
        }

        /// A node whose `sys.platform` or implementation begins with this, in any case: `linux`, `java`,
        /// `pypy`.
        pub fn platform(mut self, prefix: impl Into<String>) -> Self {
            self.selection.platform = Some(prefix.into());
            self
        }

        /// A node with this implementation, in any case: `cpython`, `pypy`, `jython`.
        pub fn implementation(mut self, name: impl Into<String>) -> Self {
            self.selection.implementation = Some(name.into());
            self
        }

        /// A node with such a Python version: `3.11`, `>=3.8`, `>=3.8,<3.12`.
        ///
        /// # Errors
        /// When it is not a version requirement.
        pub fn python_version(mut self, requirement: &str) -> Result<Self, SelectionError> {
            self.selection.python_version = Some(requirement.parse()?);
            Ok(self)
        }

        /// A node that matches this selection, which replaces all earlier ones.
        pub fn selection(mut self, selection: NodeSelection) -> Self {
            self.selection = selection;
            self
        }
    };
}
pub(crate) use selection_methods;

impl ProcessBuilder {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self {
            handle,
            selection: NodeSelection::default(),
            host: None,
            terminal: None,
            launch: Launch::default(),
            local: String::new(),
            timeout: None,
            give_up: None,
            opening: false,
            label: String::new(),
        }
    }

    selection_methods!();

    /// The host with this id itself, whatever nodes it has: the arguments are the whole command, which is
    /// looked up in the PATH there. Cannot be given together with conditions on a node.
    pub fn host(mut self, id: impl Into<String>) -> Self {
        self.host = Some(id.into());
        self
    }

    /// Adds an argument for the node's interpreter.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.launch.args.push(bytes(arg));
        self
    }

    /// Adds arguments for the node's interpreter.
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.launch.args.extend(args.into_iter().map(bytes));
        self
    }

    /// Sets a variable of its environment, in addition to the node's own.
    pub fn env(mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> Self {
        self.launch.env.push((name.into(), bytes(value)));
        self
    }

    /// The folder on the host to run in, instead of the node's own. A relative path starts at the user's home
    /// folder there; on a node of this machine it starts at this program's current folder, as for a program
    /// started by hand.
    pub fn chdir(mut self, folder: impl Into<String>) -> Self {
        self.launch.chdir = folder.into();
        self
    }

    /// On a node of this machine, runs in this program's current folder unless something else says where, as
    /// a program started by hand would. Has no effect if that folder is gone or this user cannot enter it,
    /// and none on other hosts.
    pub fn here(mut self) -> Self {
        let here = std::env::current_dir().ok().filter(|folder| folder.join(".").metadata().is_ok());
        self.local = here.and_then(|folder| folder.into_os_string().into_string().ok()).unwrap_or_default();
        self
    }

    /// Declares that the process does nothing before input arrives on its stdin, and that it depends only on
    /// arguments, environment and folder. Then its host may start another one ahead of need, and the next
    /// request for the same process gets that one at once. Without such a request it ends after half a
    /// minute.
    pub fn ahead(mut self) -> Self {
        self.launch.ahead = true;
        self
    }

    /// With what the stdin of each process like it begins: it is given this before anything that is written.
    /// A process that its host starts ahead is given it there.
    pub(crate) fn prefix(mut self, prefix: Prefix) -> Self {
        self.launch.prefix = Some(prefix);
        self
    }

    /// Gives it a terminal of this size in place of its three pipes: it runs as in a terminal window, its
    /// stdin is what a person types there, and all its output comes on stdout. Only a host whose agent can do
    /// that is chosen, so none with nothing but Jython. 0 stands for a number that is not known.
    pub fn terminal(mut self, rows: u16, columns: u16) -> Self {
        self.terminal = Some(TerminalSize { rows, columns });
        self
    }

    /// Keeps it under a name: it stays when this program leaves, in whatever way, and
    /// [`Network::attach`](crate::Network::attach) comes back to it. Only a host whose agent can do that is
    /// chosen: none with nothing but Jython, and none of a program's own daemon. A name that the host has
    /// already is told as [`ExitStatus::NotStarted`](crate::ExitStatus::NotStarted).
    pub fn keep(mut self, keep: Keep) -> Self {
        self.launch.keep = Some(keep);
        self
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.launch.keep.is_some()
    }

    /// Reads along with kept work of a host, which [`ProcessBuilder::host`] names: the outputs and the end of
    /// this process are those of that work, which is never held up. Arguments and the like do not count.
    pub fn reading(mut self, name: KeptName, replay: Replay) -> Self {
        self.launch.join = Some(Join::Read(name, replay));
        self
    }

    /// Reads what a host holds now of kept work, and no more: then this process ends with status 0.
    pub fn reading_once(mut self, name: KeptName, replay: Replay) -> Self {
        self.launch.join = Some(Join::ReadOnce(name, replay));
        self
    }

    /// Enters kept work of a host, which [`ProcessBuilder::host`] names and this program holds.
    pub(crate) fn entering(mut self, name: KeptName) -> Self {
        self.launch.join = Some(Join::Enter(name));
        self
    }

    /// A name for people who look at what runs in the network, such as that of a gateway.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// How long [`ProcessBuilder::start`] may wait for a placement; by default there is no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long its host may be out of reach, or the network's daemon be gone, before the process counts as
    /// lost. The default is [`Connect::give_up`](crate::Connect::give_up).
    pub fn give_up(mut self, limit: Duration) -> Self {
        self.give_up = Some(limit);
        self
    }

    /// A thread waits until the process is ready. Until [`Process::opened`], its host is waited for only as
    /// long as for a placement.
    pub(crate) fn opening(mut self) -> Self {
        self.opening = true;
        self
    }

    /// Starts the process. Returns once a node was found, while the process is still on its way there; stdin
    /// may be written at once. If the host cannot start it, its end says so:
    /// [`ExitStatus::NotStarted`](crate::ExitStatus::NotStarted).
    ///
    /// # Errors
    /// See [`StartError`]. Then nothing runs.
    pub fn start(self) -> Result<Process, StartError> {
        self.check()?;
        let deadline = deadline(self.timeout);
        match self.place(deadline) {
            // a replaced daemon is noticed only when the old one is spoken to; nothing has run there
            Err(StartError::Disconnected { .. }) => self.place(deadline),
            result => result,
        }
    }

    fn place(&self, deadline: Option<Instant>) -> Result<Process, StartError> {
        let hub = &self.handle.hub;
        let id = self.select(deadline)?;
        let node = match hub.wait(hub.lock(), &Condition::Placed(id), deadline) {
            Ok(mut state) => self.placed(id, &mut state)?,
            Err((halt, mut state)) => {
                abandon(id, &mut state);
                return Err(match halt {
                    Halt::TimedOut => StartError::TimedOut { network: self.handle.network.clone() },
                    Halt::Interrupted => StartError::Interrupted,
                    Halt::Forked => StartError::Forked,
                });
            }
        };
        Ok(Process::new(self.handle.clone(), id, node))
    }

    /// Checks what to start, as [`ProcessBuilder::start`] does.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        check(&self.launch)?;
        let set = self.selection.set_of_nodes();
        set.map(drop).map_err(|error| StartError::Invalid { what: error.to_string() })
    }

    /// Asks for a place. The thread that reads launches the process there at once.
    pub(crate) fn select(&self, deadline: Option<Instant>) -> Result<ProcessId, StartError> {
        let Self { handle, selection, host, terminal, local, .. } = self;
        let mut launch = self.launch.clone();
        launch.options.extend(terminal.map(TerminalSize::option));
        let keeps = launch.keep.is_some() || matches!(launch.join, Some(Join::Read(..) | Join::ReadOnce(..)));
        let enters = launch.keep.as_ref().is_some_and(|keep| keep.admits)
            || matches!(launch.join, Some(Join::Enter(_)));
        let needs = [
            terminal.map(|_| Feature::Terminal),
            keeps.then_some(Feature::Keep),
            enters.then_some(Feature::Enter),
        ];
        let needs = needs.into_iter().flatten().collect();
        handle.connected(deadline).map_err(|error| match error {
            ConnectError::Interrupted => StartError::Interrupted,
            ConnectError::Forked => StartError::Forked,
            error => error.into(),
        })?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| StartError::NoId { reason: error.to_string() })?;
        let id = ProcessId(id);
        let local = folder_here(&launch.chdir, local, std::env::current_dir().ok().as_deref());
        let mut state = handle.hub.enter().map_err(|_| StartError::Forked)?;
        if state.connection.is_none() {
            return Err(StartError::Disconnected { network: handle.network.clone() });
        }
        let mut wants = Wants { host: host.clone(), needs, ..selection.clone().into() };
        if state.client.features().has(Feature::Look) {
            wants.label.clone_from(&self.label);
        }
        let wants = wants.to_pairs().into_iter();
        state.client.select(id, wants.map(|(key, value)| (key.to_owned(), value.into())).collect());
        state.starts.insert(id, Placing::Selecting(Box::new(launch), local));
        state.lookout.starts(id, self.give_up);
        handle.hub.leave(state);
        Ok(id)
    }

    /// The answer to [`ProcessBuilder::select`], once [`Condition::Placed`] is met.
    pub(crate) fn placed(&self, id: ProcessId, state: &mut Guard<'_>) -> Result<Node, StartError> {
        let Self { handle, give_up, opening, .. } = self;
        match state.starts.remove(&id) {
            Some(Placing::Launched) => {
                state.starts.insert(id, Placing::Launched);
                let node = state.client.placement(id).map(Node::new).unwrap_or_default();
                let HubState { lookout, client, .. } = &mut **state;
                lookout.watch(id, node.clone(), *give_up, *opening, client);
                handle.hub.look_out(state);
                Ok(node)
            }
            Some(Placing::Refused(refusal, message)) => Err(refused(refusal, message)),
            Some(Placing::GivenUp(message)) => {
                state.starts.insert(id, Placing::Abandoned);
                Err(refused(Refusal::NoMatch, message))
            }
            _ => Err(StartError::Disconnected { network: handle.network.clone() }),
        }
    }
}

/// Nobody waits for its place any more.
pub(crate) fn abandon(id: ProcessId, state: &mut HubState) {
    state.starts.insert(id, Placing::Abandoned);
    state.lookout.waits_no_more(id, false);
}

/// The folder to run in if the node is on this machine and that makes a difference; otherwise empty.
fn folder_here(asked: &str, local: &str, here: Option<&Path>) -> String {
    match here.and_then(Path::to_str) {
        _ if asked.is_empty() => local.to_owned(),
        Some(here) if !asked.starts_with(['/', '~']) && here.len() + asked.len() < LONGEST_PATH => {
            format!("{}/{asked}", here.trim_end_matches('/'))
        }
        _ => String::new(),
    }
}

fn refused(refusal: Refusal, message: String) -> StartError {
    match refusal {
        Refusal::NoMatch => StartError::NoMatch { message },
        Refusal::TooMany => StartError::TooMany { message },
        Refusal::Closing => StartError::Closing { message },
    }
}

fn bytes(text: impl AsRef<OsStr>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref().as_bytes())
}

/// Checks what can be checked here: whether a process can have these arguments, variables and folder.
fn check(launch: &Launch) -> Result<(), StartError> {
    let invalid = |what: String| Err(StartError::Invalid { what });
    if let Some(at) = launch.args.iter().position(|arg| arg.contains(&0)) {
        return invalid(format!("argument {} contains a zero byte, which no process can receive", at + 1));
    }
    for (name, value) in &launch.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return invalid(format!("{name:?} is not the name of an environment variable"));
        }
        if value.contains(&0) {
            return invalid(format!(
                "the variable {name} contains a zero byte, which no process can receive"
            ));
        }
    }
    if launch.chdir.contains('\0') {
        return invalid("the name of the folder to run in contains a zero byte".into());
    }
    let counts = [launch.args.len(), launch.env.len(), launch.chdir.len()];
    let names = launch.env.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lengths = [
        launch.args.iter().map(|arg| arg.len() + 4).sum::<usize>(),
        launch.env.iter().map(|(name, value)| name.len() + value.len() + 6).sum(),
        launch.chdir.len(),
    ];
    let length: usize = lengths.iter().sum();
    let most = usize::from(u16::MAX);
    if counts.iter().any(|&count| count > most) || names > most || length + BESIDES > FrameKind::Spawn.limit()
    {
        return Err(StartError::TooLong { length });
    }
    debug_assert!(spawn(launch).fits());
    Ok(())
}

fn spawn(launch: &Launch) -> Frame {
    let Launch { chdir, args, env, options, .. } = launch.clone();
    Frame::Spawn(Box::new(Spawn {
        id: ProcessId([0; 16]),
        attempt: 0,
        incarnation: Incarnation([0; 16]),
        owner: ClientId([0; 16]),
        role: Role::Plain,
        stdout_limit: 0,
        stderr_limit: 0,
        host: "h".repeat(64),
        node: "n".repeat(128),
        chdir,
        args,
        env,
        options,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_folder_is_below_the_current_one_here() {
        let here = Some(Path::new("/w"));
        for (asked, local, folder) in [
            ("", "", ""),
            ("", "/l", "/l"),
            ("sub", "", "/w/sub"),
            ("sub", "/l", "/w/sub"),
            ("/abs", "/l", ""),
            ("~/sub", "/l", ""),
        ] {
            assert_eq!(folder_here(asked, local, here), folder, "{asked} {local}");
        }
        assert_eq!(folder_here("sub", "", Some(Path::new("/"))), "/sub");
        assert_eq!(folder_here("sub", "/l", None), "");
        assert_eq!(folder_here(&"x".repeat(LONGEST_PATH), "", here), "");
    }
}
