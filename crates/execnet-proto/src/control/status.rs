//! What `status` says: a network, its hosts and their nodes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::NodeInfo;
use crate::spec::sets::{Groups, Member, Universe};

/// The reply to `status`: a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub network: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Version of the daemon's program.
    pub release: String,
    /// Protocol version.
    pub protocol: u16,
    /// Seconds since the daemon started.
    pub uptime: f64,
    /// Connected clients, including the one that asks.
    pub clients: u32,
    /// How long agents outlive their link, in seconds.
    #[serde(default)]
    pub linger: Option<f64>,
    /// Path of the socket where clients meet the daemon; `None` for a private network.
    #[serde(default)]
    pub socket: Option<String>,
    /// Why the socket is not in the usual folder.
    #[serde(default)]
    pub socket_note: Option<String>,
    /// The network's file at the time it was started.
    #[serde(default)]
    pub file: Option<String>,
    /// The groups of the network's file, and the sets they stand for.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
    /// In the order in which they were added.
    pub hosts: Vec<HostStatus>,
}

impl Status {
    /// Its groups, if all of them can be understood.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups::new(self.groups.iter().map(|(name, set)| (name.as_str(), set.as_str()))).unwrap_or_default()
    }

    /// What names in a set mean.
    #[must_use]
    pub fn universe<'a>(&'a self, groups: &'a Groups) -> Universe<'a> {
        Universe::new(self.hosts.iter().map(HostStatus::member), groups)
    }
}

/// A host of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its id.
    pub id: String,
    /// Its host spec.
    pub spec: String,
    /// Id of the host through which it is reached.
    pub via: Option<String>,
    /// Its state.
    pub state: HostState,
    /// The step that a joining host is at, or where a failed one stopped.
    pub step: Option<Step>,
    /// One sentence about the last failure.
    pub error: Option<String>,
    /// The last lines that the host or ssh wrote, without control characters.
    pub said: Vec<String>,
    /// Advice.
    pub hint: Option<String>,
    /// Seconds until the next attempt.
    pub retry_in: Option<f64>,
    /// The hostname it reported, once it was up.
    pub hostname: Option<String>,
    /// `x86_64`, once it was up.
    pub machine: Option<String>,
    /// Number of processors, once it was up.
    pub cpus: Option<u32>,
    /// Process id of the agent there.
    pub agent_pid: Option<u32>,
    /// False if the agent does not survive its link.
    pub resume: bool,
    /// One sentence that a person should know about a host that is up.
    pub note: Option<String>,
    /// It takes no new work, except from those who name it.
    #[serde(default)]
    pub drained: bool,
    /// It is drained, and removed as soon as it is idle.
    #[serde(default)]
    pub removing: bool,
    /// What keeps a drained host from being idle.
    #[serde(default)]
    pub busy: Option<String>,
    /// Last round trip of the link, in seconds.
    pub rtt: Option<f64>,
    /// Processes running there for clients.
    pub processes: u32,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

/// A node of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Id of its host.
    pub host: String,
    /// Its state.
    pub state: NodeState,
    /// `sys.platform`.
    pub platform: String,
    /// `cpython`, `pypy`, `jython`.
    pub implementation: String,
    /// `3.11.2`.
    pub version: String,
    /// Path of the interpreter.
    pub executable: String,
    /// `x86_64`.
    pub machine: String,
    /// Processes running on it for clients.
    pub processes: u32,
    /// The reason why it failed.
    pub message: Option<String>,
}

impl HostStatus {
    /// The host, as sets see it.
    #[must_use]
    pub fn member(&self) -> Member<'_> {
        Member {
            id: &self.id,
            nodes: self.nodes.iter().map(|node| node.name.as_str()).collect(),
            settled: !self.may_have_more(),
        }
    }

    /// Whether it may soon have nodes that it does not have now: it is joining, or looks at its interpreters.
    #[must_use]
    pub fn may_have_more(&self) -> bool {
        let probing = || self.nodes.iter().any(|node| node.state == NodeState::Probing);
        self.state == HostState::Joining || self.state == HostState::Up && probing()
    }
}

impl NodeStatus {
    /// The facts that selections look at.
    #[must_use]
    pub fn info(&self) -> NodeInfo<'_> {
        NodeInfo { platform: &self.platform, implementation: &self.implementation, version: &self.version }
    }
}

/// The state of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// It is joining for the first time.
    #[default]
    Joining,
    /// Its agent is attached.
    Up,
    /// It was up; its link is down.
    Unreachable,
    /// It was never up; it is tried again.
    Failed,
    /// It is being removed.
    Leaving,
}

/// Whether a node can be used. Agents send these numbers in NODE; status shows the words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum NodeState {
    /// Its interpreter answered: processes can be started.
    Ready = 0,
    /// Its interpreter does not exist, or is not a working Python.
    Failed = 1,
    /// Its interpreter was started and has not answered yet.
    #[default]
    Probing = 2,
}

/// The steps of joining a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Finding the host's address.
    Resolve,
    /// Opening a connection.
    Connect,
    /// Checking who the host is.
    HostKey,
    /// Logging in.
    Authenticate,
    /// Running a command once the login is done.
    Login,
    /// Finding a Python.
    Python,
    /// Its Python cannot run the agent.
    PythonTooOld,
    /// Something other than the agent's greeting arrived.
    Noise,
    /// Starting the agent.
    Agent,
    /// Waiting for the host through which it is reached.
    Via,
    /// Starting the transport's command on this machine.
    Start,
}

words!(HostState: Joining "joining", Up "up", Unreachable "unreachable", Failed "failed", Leaving "leaving");
words!(NodeState: Ready "ready", Failed "failed", Probing "probing");
words!(Step: Resolve "resolve", Connect "connect", HostKey "host-key", Authenticate "authenticate",
    Login "login", Python "python", PythonTooOld "python-too-old", Noise "noise", Agent "agent", Via "via",
    Start "start");
