//! The JSON of REQUEST and REPLY frames (docs/requests.md).
//!
//! These are only the shapes; the two ends read and write the JSON text. Readers ignore unknown keys, so a
//! later release may add some.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::NodeInfo;
use crate::spec::sets::{Groups, Member, Universe};

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
    },
    /// Ends a host's agent; one [`HostReply`].
    RmHost {
        /// The host's id.
        host: String,
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
    Stop,
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
        /// Of each the id, or at least its first 4 hex digits.
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
    /// The daemon is ending.
    Closing,
    /// The person, or another request, ended it.
    Cancelled,
    /// A sort that this release does not know.
    #[serde(other)]
    Other,
}

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReply {
    /// The host that changed; `None` in the last reply to `watch`, `drain` and `undrain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostStatus>,
}

/// The reply to `groups`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsReply {
    /// The groups of the network, by name.
    pub groups: BTreeMap<String, String>,
}

/// The reply to `stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReply {
    /// Hosts whose agents could not be told to end.
    pub left: Vec<String>,
}

/// The reply to `askpass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskpassReply {
    /// What the person typed: the answer.
    pub answer: String,
}

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
    /// The agent there is of an older release.
    Unable,
}

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

words!(HostState: Joining "joining", Up "up", Unreachable "unreachable", Failed "failed", Leaving "leaving");
words!(KillState: Sent "sent", Gone "gone", Waiting "waiting", Unable "unable");
words!(NodeState: Ready "ready", Failed "failed", Probing "probing");
words!(Step: Resolve "resolve", Connect "connect", HostKey "host-key", Authenticate "authenticate",
    Login "login", Python "python", PythonTooOld "python-too-old", Noise "noise", Agent "agent", Via "via",
    Start "start");
words!(ErrorKind: Usage "usage", DuplicateHost "duplicate-host", NoSuchHost "no-such-host", InUse "in-use",
    Closing "closing", Cancelled "cancelled", Other "other");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/requests.md");

    /// The text of the document from a phrase to the next empty line after its table or paragraph.
    fn section(from: &str, to: &str) -> &'static str {
        let start = DOCUMENT.find(from).unwrap_or_else(|| panic!("no `{from}` in the document"));
        let rest = &DOCUMENT[start + from.len()..];
        &rest[..rest.find(to).unwrap_or(rest.len())]
    }

    fn code_words(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    /// The words in the first column of a table.
    fn keys_of_table(text: &str) -> BTreeSet<&str> {
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        rows.flat_map(|line| code_words(line.split('|').nth(1).unwrap_or(""))).collect()
    }

    fn keys_of(value: &Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn words<T: fmt::Display>(all: &[T]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_documented_keys_are_those_of_the_types() {
        let host = serde_json::to_value(HostStatus::default()).unwrap();
        assert_eq!(keys_of(&host), keys_of_table(section("*hoststatus*:", "*nodestatus*:")));

        for (value, from) in [
            (serde_json::to_value(HostUsage::default()).unwrap(), "*hostusage*:"),
            (serde_json::to_value(ProcessUsage::default()).unwrap(), "*processusage*:"),
        ] {
            assert_eq!(keys_of(&value), keys_of_table(section(from, "\n\n*")), "{from}");
        }

        let status = Status {
            network: String::new(),
            pid: 1,
            release: String::new(),
            protocol: 1,
            uptime: 0.0,
            clients: 1,
            ..Status::default()
        };
        let status = serde_json::to_value(status).unwrap();
        assert_eq!(keys_of(&status), keys_of_table(section("## status", "*hoststatus*:")));

        let node = serde_json::to_value(NodeStatus::default()).unwrap();
        let values = ["ready", "failed", "probing", "sys.platform", "cpython", "pypy", "jython", "3.11.2"];
        let documented: BTreeSet<&str> = code_words(section("*nodestatus*:", "\n\n"))
            .into_iter()
            .filter(|word| !values.contains(word))
            .collect();
        assert_eq!(keys_of(&node), documented);
    }

    #[test]
    fn the_documented_words_are_those_of_the_types() {
        let line = |key: &str| section(&format!("| `{key}` |"), "\n");
        assert_eq!(code_words(line("state")), words(HostState::ALL));
        let steps: Vec<&str> = code_words(line("step"))
            .into_iter()
            .filter(|word| !["failed", "joining"].contains(word))
            .collect();
        assert_eq!(steps, words(Step::ALL));
        let mut kinds = code_words(section("may be null. Kinds:", "\n\n"));
        kinds.retain(|word| *word != "via");
        assert_eq!(kinds, words(&ErrorKind::ALL[..ErrorKind::ALL.len() - 1]));
        for state in NodeState::ALL {
            assert!(section("*nodestatus*:", "\n\n").contains(&format!("`{state}`")));
        }
    }

    #[test]
    fn the_words_in_json_are_the_words_in_messages() {
        let json: Vec<Value> = [
            serde_json::to_value(HostState::ALL).unwrap(),
            serde_json::to_value(NodeState::ALL).unwrap(),
            serde_json::to_value(Step::ALL).unwrap(),
            serde_json::to_value(ErrorKind::ALL).unwrap(),
        ]
        .into();
        let messages =
            [words(HostState::ALL), words(NodeState::ALL), words(Step::ALL), words(ErrorKind::ALL)];
        for (json, messages) in json.into_iter().zip(messages) {
            assert_eq!(serde_json::from_value::<Vec<String>>(json).unwrap(), messages);
        }
    }

    #[test]
    fn every_documented_verb_is_read_and_written() {
        let requests = [
            (json!({"verb": "status"}), Verb::Status),
            (json!({"verb": "watch"}), Verb::Watch),
            (json!({"verb": "addhost", "spec": "ssh=h"}), Verb::AddHost { spec: "ssh=h".into() }),
            (json!({"verb": "rmhost", "host": "h"}), Verb::RmHost { host: "h".into() }),
            (
                json!({"verb": "drain", "hosts": ["h"], "remove": true, "wait": false}),
                Verb::Drain { hosts: vec!["h".into()], remove: true, wait: false },
            ),
            (json!({"verb": "undrain", "hosts": ["h"]}), Verb::Undrain { hosts: vec!["h".into()] }),
            (
                json!({"verb": "groups", "file": "/f", "groups": {"web": "web[1-3]"}}),
                Verb::Groups { file: "/f".into(), groups: [("web".into(), "web[1-3]".into())].into() },
            ),
            (json!({"verb": "stop"}), Verb::Stop),
            (json!({"verb": "ps", "node": "a"}), Verb::Ps { node: Some("a".into()) }),
            (json!({"verb": "top"}), Verb::Top { node: None }),
            (
                json!({"verb": "kill", "ids": ["3fa2b1c8"], "signal": 15}),
                Verb::Kill { ids: vec!["3fa2b1c8".into()], signal: 15 },
            ),
            (
                json!({"verb": "askpass", "token": "t", "prompt": "p", "kind": "host-key"}),
                Verb::AskPass { token: "t".into(), prompt: "p".into(), kind: PromptKind::HostKey },
            ),
            (
                json!({"verb": "answer", "prompt": 1, "answer": null}),
                Verb::Answer { prompt: 1, answer: None },
            ),
        ];
        let table = section("| verb | request | replies |", "\n\n");
        let documented = keys_of_table(table);
        assert_eq!(
            requests.iter().map(|(json, _)| json["verb"].as_str().unwrap()).collect::<BTreeSet<_>>(),
            documented
        );
        for (json, verb) in requests {
            assert_eq!(serde_json::to_value(Request::from(verb.clone())).unwrap(), json);
            let request: Request = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(request, Request::from(verb));
            let row = table
                .lines()
                .find(|row| row.starts_with(&format!("| `{}` ", json["verb"].as_str().unwrap())))
                .unwrap();
            for key in keys_of(&json).into_iter().filter(|key| *key != "verb") {
                assert!(row.contains(&format!("`{key}`")), "{key} of {row}");
            }
        }
    }

    #[test]
    fn the_environment_goes_beside_the_verb() {
        let text = json!({"verb": "watch", "env": {"SSH_AUTH_SOCK": "/a"}, "later": 1});
        let request: Request = serde_json::from_value(text).unwrap();
        assert_eq!(request.verb, Verb::Watch);
        assert_eq!(request.env["SSH_AUTH_SOCK"], "/a");
    }

    #[test]
    fn errors_and_prompts_are_told_from_results() {
        let error = json!({"error": {"kind": "in-use", "message": "m", "hint": null}});
        let Interruption::Error(read) = serde_json::from_value(error.clone()).unwrap() else { panic!() };
        assert_eq!((read.kind, read.message.as_str(), read.hint.as_ref()), (ErrorKind::InUse, "m", None));
        assert_eq!(serde_json::to_value(Interruption::Error(read)).unwrap(), error);

        let prompt =
            json!({"prompt": {"id": 1, "host": "build1", "text": "…", "echo": false, "notice": false}});
        let read: Interruption = serde_json::from_value(prompt.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), prompt);

        assert!(serde_json::from_value::<Interruption>(json!({"host": {}})).is_err());
        assert!(serde_json::from_value::<Interruption>(json!({})).is_err());
        let later = json!({"kind": "new", "message": "m"});
        assert_eq!(serde_json::from_value::<ReplyError>(later).unwrap().kind, ErrorKind::Other);
        assert_eq!(serde_json::to_value(HostReply { host: None }).unwrap(), json!({}));
    }
}
