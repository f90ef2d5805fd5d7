//! What the daemon decides about: what happened outside, and what to do there.

use execnet_proto::switch::{ClientKey, HostKey};
use execnet_proto::wire::Ending;

/// What happened outside.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A client connected: a process of this machine, if the system says which.
    ClientOpened(ClientKey, Option<u32>),
    /// Bytes came from a client.
    ClientBytes(ClientKey, &'a [u8]),
    /// A client's socket ended.
    ClientClosed(ClientKey),
    /// Bytes came on a host's own link.
    LinkBytes(HostKey, &'a [u8]),
    /// What `ssh -G` says about a host's own link, before the link is started.
    SshConfig(HostKey, &'a str),
    /// The process of a host's own link has ended, or never started.
    LinkEnded(HostKey, LinkOver),
    /// The time given by `Daemon::deadline` has come.
    Tick,
    /// The daemon was asked to end.
    Terminate,
}

/// A client's request, which may have many replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestKey {
    pub(crate) client: ClientKey,
    /// The client's own number for it.
    pub(crate) number: u32,
}

/// How the process that carried a link ended.
#[derive(Debug)]
pub(crate) struct LinkOver {
    /// None if it had to be killed.
    pub(crate) ending: Option<Ending>,
    /// The last of what it wrote to stderr.
    pub(crate) stderr: String,
}

/// What to do outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Close a client's socket.
    CloseClient(ClientKey),
    /// Start the process of a host's link; at some point [`Event::LinkEnded`] follows.
    StartLink(HostKey, Command),
    /// End the process of a host's link.
    EndLink(HostKey),
    /// A host with this id left because it was drained: the network's file names it no more.
    Forget(String),
    /// End the daemon, once the clients have everything queued for them.
    Exit,
}

/// A process to start beside the daemon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) argv: Vec<String>,
    /// Variables to set on top of the daemon's own environment.
    pub(crate) env: Vec<(String, String)>,
    /// It is ssh, and its last argument is the command for the host.
    pub(crate) is_ssh: bool,
    /// It must be asked to end and given time: it may hold more than a process, such as a job or a container.
    pub(crate) is_cmd: bool,
}
