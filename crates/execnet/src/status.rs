//! How processes end.

use std::fmt;

pub use execnet_proto::signal::Signal;
use execnet_proto::wire::Ending;

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this status.
    Exited(u32),
    /// This signal ended it, by its number on Linux.
    Signaled(u32),
    /// It could not be started.
    NotStarted {
        /// The error's number on Linux; 0 if there is none.
        errno: u32,
        /// A sentence, from the host.
        message: String,
    },
}

impl ExitStatus {
    /// Whether it exited with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Exited(0)
    }

    /// The status as a shell has it: the exit status, 128+n for signal n, 127 for a program that does not
    /// exist, 126 for one that cannot be started.
    #[must_use]
    pub fn code(&self) -> u8 {
        const ENOENT: u32 = 2;
        match self {
            Self::Exited(status) => (status & 0xff) as u8,
            Self::Signaled(signal) => (128 + signal).min(255) as u8,
            Self::NotStarted { errno: ENOENT, .. } => 127,
            Self::NotStarted { .. } => 126,
        }
    }
}

impl From<&Ending> for ExitStatus {
    fn from(ending: &Ending) -> Self {
        match ending {
            Ending::Exited(status) => Self::Exited(*status),
            Ending::Signaled(signal) => Self::Signaled(*signal),
            Ending::NotStarted(errno, message) => {
                Self::NotStarted { errno: *errno, message: message.clone() }
            }
        }
    }
}

impl From<&ExitStatus> for Ending {
    fn from(status: &ExitStatus) -> Self {
        match status {
            ExitStatus::Exited(status) => Self::Exited(*status),
            ExitStatus::Signaled(signal) => Self::Signaled(*signal),
            ExitStatus::NotStarted { errno, message } => Self::NotStarted(*errno, message.clone()),
        }
    }
}

/// The rest of a sentence: `exited with status 3`.
impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ending::from(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        let not_started = |errno| ExitStatus::NotStarted { errno, message: "no".into() };
        assert_eq!(ExitStatus::Exited(3).code(), 3);
        assert_eq!(ExitStatus::Signaled(9).code(), 137);
        assert_eq!(not_started(2).code(), 127);
        assert_eq!(not_started(13).code(), 126);
        assert!(ExitStatus::Exited(0).success());
        assert!(!ExitStatus::Exited(256).success());
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(ExitStatus::Signaled(2).to_string(), "was ended by SIGINT");
        assert_eq!(ExitStatus::Signaled(40).to_string(), "was ended by signal 40");
    }
}
