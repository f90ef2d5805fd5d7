//! What `ps`, `top` and `kill` say: processes, and what they use.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::kept::KeptStatus;
use super::status::HostState;

/// The reply to `ps` and `top`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usages {
    /// In the order in which they were added.
    pub hosts: Vec<HostUsage>,
    /// Processes of clients, by host.
    pub processes: Vec<ProcessUsage>,
    /// Processes that are left out, because there are too many.
    #[serde(default)]
    pub left_out: u32,
}

/// What a host is busy with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostUsage {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: HostState,
    /// Why the numbers are missing or old.
    pub note: Option<String>,
    /// Number of processors.
    pub cpus: Option<u32>,
    /// Averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of it that programs may still get.
    pub available: Option<u64>,
    /// Seconds since it started.
    pub uptime: Option<f64>,
}

/// A process of a client, with everything in its session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Its id: 32 hex digits.
    pub id: String,
    /// The host it runs on.
    pub host: String,
    /// The node it was started on; empty for a command of the host, or if an earlier daemon placed it.
    pub node: String,
    /// Process id on the host.
    pub pid: Option<u32>,
    /// Process id of its client, on this machine.
    pub client_pid: Option<u32>,
    /// Name of its client's program; empty if it gave none.
    pub program: String,
    /// The client's own name for it, such as a gateway's id; empty if it gave none.
    pub gateway: String,
    /// Seconds since it was started.
    pub age: Option<f64>,
    /// Processor time over time, 1 for one busy processor: since the last look, at the first one since its
    /// start.
    pub cpu: Option<f64>,
    /// Seconds of processor time.
    pub cpu_time: Option<f64>,
    /// Bytes of memory that are resident.
    pub memory: Option<u64>,
    /// Number of processes in its session.
    pub processes: Option<u32>,
    /// Its command.
    pub command: String,
    /// A signal for it was not sent yet.
    #[serde(default)]
    pub waiting: bool,
    /// It is kept.
    #[serde(default)]
    pub kept: Option<Box<KeptStatus>>,
}

/// The reply to `kill`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillReply {
    /// The processes that were meant.
    pub processes: Vec<Killed>,
    /// Ids that no process has.
    pub unknown: Vec<String>,
}

/// A process that a signal was meant for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Its id: 32 hex digits.
    pub id: String,
    /// The host it runs on.
    pub host: String,
    /// Process id of its client, on this machine.
    pub client_pid: Option<u32>,
    /// Name of its client's program; empty if it gave none.
    pub program: String,
    /// The client's own name for it, such as a gateway's id; empty if it has none.
    #[serde(default)]
    pub gateway: String,
    /// Its command, as its client gave it.
    pub command: String,
    /// What became of the signal.
    pub state: KillState,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillState {
    /// It was sent.
    Sent,
    /// The process had ended, or ended before it was sent.
    Gone,
    /// Its host does not answer: it is sent when that is back.
    #[default]
    Waiting,
    /// It is sent once the process has started.
    Starting,
    /// The agent there cannot do it: it is of an older release, or its Python does not know its processes.
    Unable,
}

words!(KillState: Sent "sent", Gone "gone", Waiting "waiting", Starting "starting", Unable "unable");
