//! How a host ended: for people, for programs, and as an exit status.

use std::time::Duration;

use execnet::{ExitStatus, Signal};

use crate::error::Exit;

/// The exit status for what ran too long, as `timeout` has it.
const TIMED_OUT: u8 = 124;

/// How it ended on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ended(ExitStatus),
    TimedOut(Duration),
    /// It could not be started there, or its end will never be known; with the reason.
    Unreached(String),
    /// It was ended because something failed on this machine, with the reason.
    BrokenOff(String),
    /// It ended because the command was interrupted.
    Interrupted(ExitStatus),
    /// It was ended because another host failed.
    EndedEarly,
    /// The command ended before.
    NotHeard,
    NotRun,
}

impl Outcome {
    pub(super) fn is_fine(&self) -> bool {
        *self == Outcome::Ended(ExitStatus::Exited(0))
    }

    /// Whether it says something about the host.
    pub(super) fn is_failure(&self) -> bool {
        match self {
            Outcome::Interrupted(_) | Outcome::EndedEarly | Outcome::NotHeard | Outcome::NotRun => false,
            outcome => !outcome.is_fine(),
        }
    }

    /// Its share in the exit status of the command, which is the highest of all.
    pub(super) fn code(&self) -> u8 {
        match self {
            Outcome::Ended(status) | Outcome::Interrupted(status) => status.code(),
            Outcome::TimedOut(_) => TIMED_OUT,
            Outcome::Unreached(_) => Exit::HostsFailed as u8,
            Outcome::BrokenOff(_) => Exit::Failed as u8,
            Outcome::EndedEarly | Outcome::NotHeard | Outcome::NotRun => 0,
        }
    }

    /// How such hosts are counted.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Outcome::Ended(_) => "failed",
            Outcome::TimedOut(_) => "timed out",
            Outcome::Unreached(_) => "out of reach",
            Outcome::BrokenOff(_) => "broken off",
            Outcome::Interrupted(_) => "interrupted",
            Outcome::EndedEarly => "ended early",
            Outcome::NotHeard => "not heard",
            Outcome::NotRun => "not run",
        }
    }

    /// The rest of a sentence about the host.
    pub(super) fn words(&self) -> String {
        match self {
            Outcome::Ended(status) | Outcome::Interrupted(status) => status.to_string(),
            Outcome::TimedOut(after) => format!("timed out after {} s", after.as_secs_f64()),
            Outcome::Unreached(why) => why.clone(),
            Outcome::BrokenOff(why) => format!("was ended: {why}"),
            Outcome::EndedEarly => "was ended because another host failed".to_owned(),
            Outcome::NotHeard => "had not ended when this command was".to_owned(),
            Outcome::NotRun => "was not run".to_owned(),
        }
    }

    /// The field of its JSON object.
    pub(super) fn json(&self) -> String {
        let (Outcome::Ended(status) | Outcome::Interrupted(status)) = self else {
            return self.json_error();
        };
        match status {
            ExitStatus::Exited(status) => format!("\"status\": {status}"),
            ExitStatus::Signaled(number) => {
                let signal = Signal::ALL.iter().find(|signal| signal.number() == *number);
                let name = signal.map_or_else(|| number.to_string(), |signal| signal.name().to_owned());
                format!("\"signal\": \"{name}\"")
            }
            _ => self.json_error(),
        }
    }

    fn json_error(&self) -> String {
        format!("\"error\": {}", super::super::outlet::json_text(&self.words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_host_is_that_of_a_shell() {
        let ended = |status| Outcome::Ended(status);
        let missing = ExitStatus::NotStarted { errno: 2, message: "no such file".into() };
        let all = [
            (ended(ExitStatus::Exited(0)), 0, "\"status\": 0"),
            (ended(ExitStatus::Exited(3)), 3, "\"status\": 3"),
            (ended(ExitStatus::Signaled(15)), 143, "\"signal\": \"SIGTERM\""),
            (ended(ExitStatus::Signaled(40)), 168, "\"signal\": \"40\""),
            (Outcome::Interrupted(ExitStatus::Signaled(2)), 130, "\"signal\": \"SIGINT\""),
            (Outcome::TimedOut(Duration::from_millis(1500)), 124, "\"error\": \"timed out after 1.5 s\""),
            (Outcome::Unreached("is\u{1b} gone".into()), 6, "\"error\": \"is\\u001b gone\""),
            (Outcome::BrokenOff("no room".into()), 1, "\"error\": \"was ended: no room\""),
            (Outcome::NotRun, 0, "\"error\": \"was not run\""),
        ];
        for (outcome, code, json) in all {
            assert_eq!((outcome.code(), outcome.json().as_str()), (code, json));
        }
        assert_eq!(ended(missing.clone()).code(), 127);
        assert!(ended(missing).json().starts_with("\"error\": "));
        assert!(!Outcome::NotRun.is_failure() && !Outcome::NotRun.is_fine());
    }
}
