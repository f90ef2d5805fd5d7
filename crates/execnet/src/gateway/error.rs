//! Why a gateway was not opened, why it ended, and why a call on a channel failed.

use std::fmt;
use std::sync::Arc;

use execnet_proto::text::{line, lines};

use super::output::LINES;
use super::stage::echo;
use crate::attach::AttachError;
use crate::packages::PackagesError;
use crate::start::StartError;
use crate::status::ExitStatus;
use crate::value::{DumpError, LoadError};
use crate::waiting::Halt;

/// What is known about a gateway that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Death {
    /// The gateway's id.
    pub gateway: String,
    /// The name of its node; none if it was a child of this program.
    pub node: Option<String>,
    /// The id of its node's host.
    pub host: Option<String>,
    /// How its interpreter ended, if known.
    pub status: Option<ExitStatus>,
    /// Any other reason: it was lost, or broke the protocol.
    pub reason: Option<String>,
    /// The last 4 KiB that it printed, escaped for a terminal.
    pub stderr: String,
}

impl Death {
    /// Which gateway it was.
    fn name(&self) -> String {
        match (&self.node, &self.host) {
            (Some(node), Some(host)) => {
                format!("gateway {} on node `{}` of host `{}`", self.gateway, line(node), line(host))
            }
            _ => format!("gateway {}", self.gateway),
        }
    }

    /// Why it could not do as configured, in its own words, and what it printed before that.
    fn refusal(&self) -> Option<(&str, &str)> {
        let is_told = self.reason.is_none() && self.status == Some(CANNOT);
        let begins = |at: &usize| *at == 0 || self.stderr[..*at].ends_with('\n');
        let mut starts = self.stderr.rmatch_indices(OWN).map(|(at, _)| at);
        let at = starts.find(begins).filter(|_| is_told)?;
        Some((self.stderr[..at].trim_end(), self.stderr[at + OWN.len()..].trim_end()))
    }

    /// Why it is lost, if that is because its host was given up.
    pub(super) fn unreachable(&self) -> Option<String> {
        let (reason, host) = (self.reason.as_ref()?, self.host.as_ref()?);
        let begins = reason.strip_prefix(host.as_str())?.starts_with(" is unreachable: ");
        begins.then(|| reason.clone())
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match (&self.reason, &self.status) {
            (Some(reason), _) => write!(f, " has ended: {}", lines(reason))?,
            (None, Some(status)) => write!(f, " {status}")?,
            (None, None) => f.write_str(" has ended")?,
        }
        let lines: Vec<&str> = self.stderr.trim_end().lines().collect();
        if !lines.is_empty() {
            write!(f, "; it printed last:\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"))?;
        }
        Ok(())
    }
}

/// Why a call on a channel or a gateway failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The channel is closed, and everything that had arrived was received.
    #[error("the channel is closed")]
    Closed,
    /// The code at the other end failed. The traceback is as it arrived; `Display` escapes what could control
    /// a terminal. Returned once; after that the channel is just closed.
    #[error("{}", lines(.0))]
    Remote(String),
    /// It took too long. The call may be repeated.
    #[error("it took too long")]
    TimedOut,
    /// Another thread interrupted the wait. The call may be repeated.
    #[error("waiting was interrupted")]
    Interrupted,
    /// The interpreter has ended, or is lost.
    #[error("{0}")]
    GatewayDied(Arc<Death>),
    /// The value cannot be sent.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The received value is not of the requested type. It is gone; the channel continues.
    #[error(transparent)]
    Load(LoadError),
    /// The channel's values go to its callback.
    #[error("the channel's values go to its callback")]
    HasCallback,
    /// The system could not start a thread for the channel's callback, for this reason.
    #[error("no thread for a callback: {0}")]
    Thread(String),
    /// The channel's callback panicked, or the code that decodes its values did. Returned once; after that
    /// the channel is just closed.
    #[error("the channel's callback panicked")]
    CallbackPanicked,
    /// A channel cannot have this name, or no name in this gateway, for this reason.
    #[error("{}", lines(.0))]
    Name(String),
    /// The gateway belongs to the parent of this forked process.
    #[error("a gateway cannot be used in a forked child; open another one there")]
    Forked,
}

/// Why no gateway was opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The network did not place it.
    #[error(transparent)]
    Place(#[from] StartError),
    /// The builder was given contradictory or invalid settings.
    #[error("{0}")]
    Invalid(String),
    /// The interpreter could not be started on this machine.
    #[error("cannot start `{program}`{}", with(arguments, file.as_deref()))]
    Spawn {
        /// The program.
        program: String,
        /// Its arguments, separated by spaces.
        arguments: String,
        /// The file that was probably meant: its path contains spaces, and was split into words.
        file: Option<String>,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The system could not start a thread for the gateway.
    #[error("cannot start a thread")]
    Thread {
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The program is not a usable interpreter, or ended before it was ready.
    #[error("{}", failed(death, noise, program))]
    Failed {
        /// How it ended.
        death: Arc<Death>,
        /// What it wrote to stdout, at most 4 KiB, escaped for a terminal.
        noise: String,
        /// The program, if another one than the node's own was requested.
        program: String,
    },
    /// It was not ready in time.
    #[error("gateway {gateway} was not ready in time{}", wrote(noise))]
    TimedOut {
        /// The gateway's id.
        gateway: String,
        /// What it wrote to stdout so far, at most 4 KiB, escaped for a terminal.
        noise: String,
    },
    /// Another thread interrupted the wait. Nothing is left running.
    #[error("opening a gateway was interrupted")]
    Interrupted,
    /// There is nothing to attach to.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Its packages could not be planned or sent.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// The group has a gateway with this id.
    #[error("the group already has a gateway {0}")]
    IdTaken(String),
    /// The connection or group belongs to the parent of this forked process.
    #[error("a gateway cannot be used in a forked child; open another one there")]
    Forked,
}

fn with(arguments: &str, file: Option<&str>) -> String {
    let given = if arguments.is_empty() { String::new() } else { format!(" with `{arguments}`") };
    match file {
        Some(file) => format!("{given} (if the file `{file}` is meant, put it in quotes)"),
        None => given,
    }
}

/// The exit status of a kernel that could not do as configured, or of a node's interpreter that could not
/// start another one.
const CANNOT: ExitStatus = ExitStatus::Exited(94);

/// The prefix of its reason on stderr.
const OWN: &str = "execnet: ";

/// How many characters of a program's output an error quotes.
const TOLD: usize = 200;

fn failed(death: &Death, noise: &str, program: &str) -> String {
    if let Some((before, why)) = death.refusal() {
        let before =
            if before.is_empty() { String::new() } else { format!("; it printed before:\n{before}") };
        return format!("{} did not start: {why}{before}", death.name());
    }
    let said_nothing = death.reason.is_none() && death.stderr.trim().is_empty() && noise.trim().is_empty();
    if said_nothing && !program.is_empty() {
        return format!("{death} without any output: is `{program}` a Python?");
    }
    if let Some(at) = echo(noise).filter(|_| !program.is_empty()) {
        let told = cut(noise[..at].trim_start());
        return format!("{death}; `{program}` is no Python: it printed its input: {told}…");
    }
    format!("{death}{}", wrote(noise))
}

fn wrote(noise: &str) -> String {
    let noise = cut(noise.trim());
    if noise.is_empty() { String::new() } else { format!("; it wrote to stdout:\n{noise}") }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl From<LoadError> for ChannelError {
    fn from(error: LoadError) -> Self {
        if error.is_forked() { Self::Forked } else { Self::Load(error) }
    }
}

impl From<Halt> for ChannelError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::TimedOut => Self::TimedOut,
            Halt::Interrupted => Self::Interrupted,
            Halt::Forked => Self::Forked,
        }
    }
}
