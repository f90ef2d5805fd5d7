//! The JSON of REQUEST and REPLY frames (docs/requests.md).
//!
//! These are only the shapes; the two ends read and write the JSON text. Readers ignore unknown keys, so a
//! later release may add some.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Gives an enumeration its words.
macro_rules! words {
    ($type:ident: $($variant:ident $word:literal),+) => {
        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// Its word, in JSON and in messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

mod kept;
mod status;
mod usage;

pub use kept::{KeptChoice, KeptReply, KeptState, KeptStatus, Unheard};
pub use status::{HostState, HostStatus, NodeState, NodeStatus, Status, Step};
pub use usage::{HostUsage, KillReply, KillState, Killed, ProcessUsage, Usages};

/// A REQUEST: a verb, and variables that the daemon takes over from the client's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The verb and its arguments.
    #[serde(flatten)]
    pub verb: Verb,
    /// Variables for the ssh processes that the daemon starts from now on; only `SSH_AUTH_SOCK` is used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A request to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub enum Verb {
    /// One reply: a [`Status`].
    Status,
    /// A [`HostReply`] for each host at once and at each change, until no host is joining.
    Watch,
    /// Joins a host. Its replies are those of [`Verb::Watch`] for this host.
    AddHost {
        /// A host spec.
        spec: String,
        /// An agent of another protocol version there ends with the work that it keeps.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        end_kept: bool,
    },
    /// Ends a host's agent; one [`HostReply`].
    RmHost {
        /// The host's id.
        host: String,
        /// What becomes of kept work there; without it the host is not removed while there is some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<KeptChoice>,
    },
    /// Keeps new work away from hosts. A [`HostReply`] for each of them, at once and at each change; the last
    /// one names no host.
    Drain {
        /// Their ids.
        hosts: Vec<String>,
        /// Removes each as soon as it is idle.
        #[serde(default)]
        remove: bool,
        /// The last reply comes when all are idle.
        #[serde(default)]
        wait: bool,
    },
    /// Replaces the groups of the network, if its daemon was started from this file; one reply:
    /// [`GroupsReply`].
    Groups {
        /// The path of the network's file.
        file: String,
        /// Their sets, by name.
        groups: BTreeMap<String, String>,
    },
    /// Lets hosts take new work again. A [`HostReply`] for each; the last one names no host.
    Undrain {
        /// Their ids.
        hosts: Vec<String>,
    },
    /// Ends every agent, then the daemon; one [`StopReply`].
    Stop {
        /// What becomes of kept work; without it nothing ends while there is some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<KeptChoice>,
    },
    /// Finds kept work; one [`KeptReply`], after 5 s at the latest.
    Kept {
        /// `NAME`, `NAME@HOST`, or sets of both; all work without one. A plain `NAME` that several hosts have
        /// is an error.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
    },
    /// What runs where, and what it uses; one [`Usages`].
    Ps {
        /// The hosts: a set of nodes; all without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// The same every second, until the client goes.
    Top {
        /// As in [`Verb::Ps`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// Sends a signal to processes, whichever client they belong to; one [`KillReply`].
    Kill {
        /// Of each the id, at least its first 4 hex digits, or the name of kept work as in [`Verb::Kept`].
        ids: Vec<String>,
        /// The signal's Linux number.
        signal: u32,
    },
    /// A question that ssh asks through its askpass program; one [`AskpassReply`].
    AskPass {
        /// From the environment of the askpass program: proves that it belongs to one of the daemon's ssh
        /// processes.
        token: String,
        /// The question.
        prompt: String,
        /// The sort of question.
        #[serde(default)]
        kind: PromptKind,
    },
    /// A person's answer to a [`Prompt`]; one empty reply.
    Answer {
        /// The prompt's id.
        prompt: u64,
        /// `None` refuses to answer.
        answer: Option<String>,
    },
}

impl From<Verb> for Request {
    fn from(verb: Verb) -> Request {
        Request { verb, env: BTreeMap::new() }
    }
}

/// A reply other than the result itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interruption {
    /// The request failed; this is the last reply.
    Error(ReplyError),
    /// A question for the person, during `watch` and `addhost`.
    Prompt(Prompt),
}

/// `{"error": …}`: the reason why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", crate::text::lines(message))]
pub struct ReplyError {
    /// The sort of failure.
    pub kind: ErrorKind,
    /// A sentence.
    pub message: String,
    /// Advice.
    #[serde(default)]
    pub hint: Option<String>,
}

/// The sorts of failed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request makes no sense.
    Usage,
    /// There is already a host with that id.
    DuplicateHost,
    /// There is no host with that id.
    NoSuchHost,
    /// Other hosts are reached through this one.
    InUse,
    /// Work is kept there.
    Keeps,
    /// The daemon is ending.
    Closing,
    /// The person, or another request, ended it.
    Cancelled,
    /// A sort that this release does not know.
    #[serde(other)]
    Other,
}

words!(ErrorKind: Usage "usage", DuplicateHost "duplicate-host", NoSuchHost "no-such-host", InUse "in-use",
    Keeps "keeps", Closing "closing", Cancelled "cancelled", Other "other");

/// What the askpass program knows about a question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// Nothing: it may ask for a secret, and may come from the server.
    #[default]
    Text,
    /// ssh's own question whether to trust a host key.
    HostKey,
    /// ssh's own question, answered by yes or no.
    Confirm,
    /// A notice, shown while the askpass program runs.
    Notice,
}

/// A question from ssh that a person should answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// Its id, for the answer.
    pub id: u64,
    /// The host that is being joined.
    pub host: String,
    /// The question.
    pub text: String,
    /// Whether the answer is visible while it is typed.
    pub echo: bool,
    /// There is nothing to answer.
    #[serde(default)]
    pub notice: bool,
}

/// A reply to `watch`, `addhost`, `rmhost`, `drain` and `undrain`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostReply {
    /// The host that changed; `None` in the last reply to `watch`, `drain` and `undrain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostStatus>,
    /// The work that a removed host still keeps, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptStatus>,
}

/// The reply to `groups`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsReply {
    /// The groups of the network, by name.
    pub groups: BTreeMap<String, String>,
}

/// The reply to `stop`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StopReply {
    /// Hosts whose agents could not be told to end.
    pub left: Vec<String>,
    /// Work that is still kept, as far as it is known.
    #[serde(default)]
    pub kept: Vec<KeptStatus>,
}

/// The reply to `askpass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskpassReply {
    /// What the person typed: the answer.
    pub answer: String,
}

#[cfg(test)]
mod tests;
