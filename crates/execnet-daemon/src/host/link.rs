//! A host's link as the host knows it: what carries it, how far it has come, and why this side ended it.

use std::time::Duration;

use execnet_proto::switch::Said;

use super::diagnosis::Cause;
use super::forwards::Forward;

/// One link, from the start of what carries it until that is over.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) bearer: Bearer,
    pub(super) stage: Stage,
    /// When it was started or, once up, when its agent greeted.
    pub(super) since: Duration,
    /// Why it has to end, and what was said on it until then.
    pub(crate) cause: Option<(Cause, Said)>,
    /// What its ssh shows to prove that a question is its own.
    pub(crate) token: Option<String>,
    /// The last question of its ssh got no answer.
    pub(crate) unanswered: bool,
    /// What its ssh forwards to the host.
    pub(crate) forwards: Vec<Forward>,
    /// Its round trip was measured in a quiet moment.
    pub(crate) measured: bool,
}

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// A process beside the daemon.
    Process,
    /// A process on the host in front of it.
    Tunnel,
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its agent has not greeted.
    Connecting {
        /// When its agent should have greeted; none while a person is being asked.
        deadline: Option<Duration>,
    },
    /// Its agent has greeted.
    Up,
    /// This side ended it, and the process that carried it is not over yet.
    Ending { was_up: bool },
}

impl Link {
    /// A link that starts now; its agent has to greet within `patience`.
    pub(crate) fn start(bearer: Bearer, forwards: Vec<Forward>, now: Duration, patience: Duration) -> Self {
        Self {
            bearer,
            stage: Stage::Connecting { deadline: Some(now + patience) },
            since: now,
            cause: None,
            token: None,
            unanswered: false,
            forwards,
            measured: false,
        }
    }

    /// Whether its agent has greeted.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up | Stage::Ending { was_up: true })
    }

    /// Whether this side has ended it.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// Ends it from this side. False if it was ended before.
    pub(crate) fn end(&mut self) -> bool {
        let was_ending = self.is_ending();
        self.stage = Stage::Ending { was_up: self.is_up() };
        !was_ending
    }
}
