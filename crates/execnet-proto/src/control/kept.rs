//! What is said of kept work: the reply to `kept`, and a part of that to `ps`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reply to `kept`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptReply {
    /// The work that was meant, by host and name.
    pub kept: Vec<KeptStatus>,
    /// Names, as they were given, that mean none.
    pub unknown: Vec<String>,
    /// Hosts of which nothing is known, and why: they may have such work.
    pub unheard: Vec<Unheard>,
}

/// A host that has not told what it keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard {
    /// Its id.
    pub host: String,
    /// A sentence.
    pub why: String,
}

/// Kept work, as its host told it last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptStatus {
    /// Its name.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its id: 32 hex digits.
    pub id: String,
    /// The incarnation of its host's agent: 32 hex digits.
    pub incarnation: String,
    /// Its state.
    pub state: KeptState,
    /// The node it was started on; empty for a command of the host.
    pub node: String,
    /// Its command.
    pub command: String,
    /// Process id on the host.
    pub pid: Option<u32>,
    /// Name of the program that holds it; empty if none does.
    pub program: String,
    /// Process id of that program.
    pub client_pid: Option<u32>,
    /// Seconds since its start.
    pub age: Option<f64>,
    /// Seconds that it stays while nobody holds it.
    pub seconds: u64,
    /// Seconds until it ends, if nobody takes it; `None` while somebody holds it.
    pub left: Option<f64>,
    /// What becomes of its stdout while nobody takes it: `wait`, `last=BYTES`, `spill=BYTES`.
    pub stdout: String,
    /// The same of its stderr.
    pub stderr: String,
    /// Its exit status, if it has exited.
    pub status: Option<u32>,
    /// The Linux number of the signal that ended it.
    pub signal: Option<u32>,
    /// Why it could not start; of `gone` work, what became of it.
    pub error: Option<String>,
    /// Seconds since its end.
    pub ended: Option<f64>,
    /// It has a terminal.
    pub terminal: bool,
    /// It admits programs: it is a gateway's interpreter.
    pub enter: bool,
    /// Its code waits for somebody who reads.
    pub waits: bool,
    /// What may end it early, or what is wrong.
    pub note: Option<String>,
    /// Why its host is out of reach; then the rest is what was last known.
    pub unreachable: Option<String>,
}

/// The state of kept work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptState {
    /// It runs, and a program holds it.
    Held,
    /// It runs, and nobody is attached.
    #[default]
    Left,
    /// It has ended; how is known.
    Ended,
    /// It is lost: its host, its agent or its time has ended.
    Gone,
}

words!(KeptState: Held "held", Left "left", Ended "ended", Gone "gone");

/// What is to become of kept work when a host is removed, or the network stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptChoice {
    /// It stays. A host with the same id of a network with the same secret finds it again.
    Leave,
    /// It ends.
    End,
}

words!(KeptChoice: Leave "leave", End "end");
