//! Kept work, for the commands that start it and come back to it.

mod options;
mod stand;

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use execnet::{AttachError, ExitStatus, Lost, Network, Node, Process, Replay, StartError};
use execnet_proto::control::{KeptReply, KeptState, KeptStatus, Verb};
use execnet_proto::spec::NetworkName;

use crate::connection;
use crate::error::{CommandError, Exit};
use crate::print::say;
use crate::text::one_line;
use crate::usage;
pub(crate) use options::{KeepOptions, KeptOptions, size};
pub(crate) use stand::{Feed, gone, read_beside, stand_beside};

/// The time between two looks at a host that is out of reach.
const AGAIN: Duration = Duration::from_secs(1);

/// How it ended: `exited with status 7`.
pub(crate) fn ending(status: &ExitStatus) -> String {
    match status {
        ExitStatus::Exited(status) => format!("exited with status {status}"),
        ExitStatus::Signaled(number) => format!("was ended by signal {number}"),
        ExitStatus::NotStarted { message, .. } => {
            format!("could not be started: {}", one_line(message))
        }
    }
}

/// Names what still is kept after its host was left.
pub(crate) fn say_still_kept(kept: &[KeptStatus]) {
    for work in kept {
        let known = if work.unreachable.is_some() { ", as was last known" } else { "" };
        say(&format!("{} is still kept{known}", usage::name_of(work)));
    }
}

/// Kept work, as people call it: `train on gpu`.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    network: String,
    name: String,
    host: String,
}

impl Work {
    pub(crate) fn new(network: &NetworkName, name: &str, node: &Node) -> Self {
        Self { network: network.to_string(), name: one_line(name), host: one_line(&node.host) }
    }

    pub(crate) fn of(network: &NetworkName, status: &KeptStatus) -> Self {
        let (name, host) = (one_line(&status.name), one_line(&status.host));
        Self { network: network.to_string(), name, host }
    }

    /// Says that it runs, and how to come back to it.
    pub(crate) fn tell_started(&self, pid: Option<u32>) {
        let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        let Self { network, name, host } = self;
        say(&format!(
            "execnet: {name} runs on {host}{pid} and stays there; `execnet attach {network} {name}` comes \
             back"
        ));
    }

    /// Says what may end it early, if its host told.
    pub(crate) fn tell_note(&self, network: &Network) {
        let named = format!("{}@{}", self.name, self.host);
        let reply = network.kept([named]).unwrap_or_default();
        for note in reply.kept.iter().filter_map(|status| status.note.as_deref()) {
            say(&format!("execnet: {self}: {}", one_line(note)));
        }
    }

    /// Says that it was left.
    pub(crate) fn tell_left(&self) {
        say(&format!("execnet: left; {self} goes on"));
    }

    /// The error of a command that lost it.
    pub(crate) fn lost(&self, lost: &Lost) -> CommandError {
        let message = one_line(&lost.message);
        let message = match () {
            () if lost.taken_over => format!("{self} was {message}"),
            () if lost.stays => format!("{self} {message}"),
            () => format!("{self} is lost: {message}"),
        };
        CommandError::new(Exit::HostsFailed, message)
    }

    /// The error of a reader that can read no more.
    pub(crate) fn unread(&self, lost: &Lost) -> CommandError {
        let message = format!("{self} cannot be followed any more: {}", one_line(&lost.message));
        CommandError::new(Exit::HostsFailed, message)
    }

    /// Ends this command; what is kept stays.
    pub(crate) fn leave(&self, status: u8) -> ! {
        self.tell_left();
        // the daemon tells the host
        std::process::exit(status.into())
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.name, self.host)
    }
}

/// How much of earlier output is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail(Option<u64>);

impl std::str::FromStr for Tail {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self(None));
        }
        size(text)
            .map(|bytes| Self(Some(bytes)))
            .ok_or("expected `all`, or a size such as `0`, `64K` or `4M`")
    }
}

impl From<Tail> for Replay {
    fn from(Tail(bytes): Tail) -> Self {
        bytes.map_or(Self::All, Self::Last)
    }
}

/// A process that reads along with kept work; `once`: only what is held now.
pub(crate) fn reader(
    network: &Network,
    status: &KeptStatus,
    replay: Replay,
    once: bool,
) -> Result<Process, CommandError> {
    let name = status.name.parse().map_err(|error| CommandError::new(Exit::Failed, error))?;
    let process = network.process().host(&status.host);
    let process = if once { process.reading_once(name, replay) } else { process.reading(name, replay) };
    process.start().map_err(|error| match error {
        StartError::NoMatch { message } => connection::no_match(Exit::HostsFailed, &message),
        error => CommandError::new(Exit::Failed, error),
    })
}

/// Waits until the host of kept work can be reached, and says so once. Returns what is known then.
pub(crate) fn await_host(network: &Network, status: &KeptStatus) -> Result<KeptStatus, CommandError> {
    let (mut status, mut told) = (status.clone(), false);
    let word = format!("{}@{}", status.name, status.host);
    while let Some(why) = status.unreachable.as_ref().filter(|_| status.state != KeptState::Gone) {
        if !std::mem::replace(&mut told, true) {
            let (name, host) = (usage::name_of(&status), one_line(&status.host));
            say(&format!("execnet: {name}: waiting until {host} can be reached: {}", one_line(why)));
        }
        sleep(AGAIN);
        let ask = Verb::Kept { names: vec![word.clone()] };
        let reply: KeptReply = connection::ask_once(network, ask)?;
        match reply.kept.into_iter().next() {
            Some(now) => status = now,
            None => return Err(no_such_work(network, &word, &KeptReply { kept: Vec::new(), ..reply })),
        }
    }
    Ok(status)
}

/// Where its stdout stands now.
pub(crate) fn end_of_output(network: &Network, status: &KeptStatus) -> Result<u64, CommandError> {
    let reader = reader(network, status, Replay::NONE, true)?;
    let output = reader.stdout();
    // an end before its time is the next reader's to tell
    while output.receive_piece(1).is_ok_and(|piece| !piece.is_end) {}
    Ok(output.position())
}

/// The error if a name means nothing.
pub(crate) fn no_such_work(network: &Network, name: &str, reply: &KeptReply) -> CommandError {
    let message = network.not_kept(name, reply).unwrap_or_else(|error| error.to_string());
    CommandError::new(Exit::NoHost, message)
}

/// The error of a command that found no such work.
pub(crate) fn not_attached(network: &NetworkName, error: AttachError) -> CommandError {
    match error {
        // a line for each host that may keep it follows the sentence
        AttachError::NotFound { message } => CommandError::new(Exit::NoHost, message)
            .hint(format!("`execnet ps {network}` shows what is kept")),
        AttachError::Gone { .. } => CommandError::new(Exit::HostsFailed, error),
        AttachError::Request(error) => connection::failed(&error),
        error => CommandError::new(Exit::Failed, error),
    }
}
