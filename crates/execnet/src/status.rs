//! How processes end, and the signals that they get.

use std::fmt;

use execnet_proto::text::line;
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

    /// The status as a shell has it: what the process exited with, 128+n for signal n, 127 for a program that is not there, 126 for one
    /// that cannot be started.
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

/// The rest of a sentence: `exited with status 3`.
impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signaled(number) => match Signal::from_number(*number) {
                Some(signal) => write!(f, "was ended by {signal}"),
                None => write!(f, "was ended by signal {number}"),
            },
            Self::NotStarted { message, .. } => write!(f, "could not be started: {}", line(message)),
        }
    }
}

macro_rules! signals {
    ($($variant:ident $number:literal $name:literal),+ $(,)?) => {
        /// A signal, by its number on Linux whatever the host is.
        ///
        /// SIGINT, SIGQUIT, SIGHUP and SIGTSTP go to the process and what it started (its process group), as from a terminal; others to the
        /// process alone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        #[allow(missing_docs)]
        #[non_exhaustive]
        pub enum Signal { $($variant = $number),+ }

        impl Signal {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name: `SIGINT`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

signals! {
    Hup 1 "SIGHUP", Int 2 "SIGINT", Quit 3 "SIGQUIT", Ill 4 "SIGILL", Trap 5 "SIGTRAP", Abrt 6 "SIGABRT", Bus 7 "SIGBUS",
    Fpe 8 "SIGFPE", Kill 9 "SIGKILL", Usr1 10 "SIGUSR1", Segv 11 "SIGSEGV", Usr2 12 "SIGUSR2", Pipe 13 "SIGPIPE",
    Alrm 14 "SIGALRM", Term 15 "SIGTERM", StkFlt 16 "SIGSTKFLT", Chld 17 "SIGCHLD", Cont 18 "SIGCONT", Stop 19 "SIGSTOP",
    Tstp 20 "SIGTSTP", Ttin 21 "SIGTTIN", Ttou 22 "SIGTTOU", Urg 23 "SIGURG", Xcpu 24 "SIGXCPU", Xfsz 25 "SIGXFSZ",
    VtAlrm 26 "SIGVTALRM", Prof 27 "SIGPROF", Winch 28 "SIGWINCH", Io 29 "SIGIO", Pwr 30 "SIGPWR", Sys 31 "SIGSYS",
}

impl Signal {
    /// Its number on Linux.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The signal with this number on Linux.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|signal| signal.number() == number)
    }

    /// The signal with this name: `SIGINT`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|signal| signal.name() == name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
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
    fn signals_are_found_by_number_and_name() {
        assert_eq!(Signal::from_number(15), Some(Signal::Term));
        assert_eq!(Signal::from_number(32), None);
        assert_eq!((Signal::from_name("SIGTSTP"), Signal::from_name("INT")), (Some(Signal::Tstp), None));
        assert!(Signal::ALL.iter().enumerate().all(|(at, signal)| signal.number() as usize == at + 1));
        assert_eq!(ExitStatus::Signaled(2).to_string(), "was ended by SIGINT");
        assert_eq!(ExitStatus::Signaled(40).to_string(), "was ended by signal 40");
    }
}
