//! Signals by their Linux numbers. SIGNAL and EXIT carry these numbers whatever the host is.

use std::fmt;

macro_rules! signals {
    ($($variant:ident $number:literal $name:literal),+ $(,)?) => {
        /// A signal, by its Linux number whatever the host is.
        ///
        /// SIGINT, SIGQUIT, SIGHUP and SIGTSTP go to the process and its process group, as from a terminal;
        /// others go to the process alone.
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
    Hup 1 "SIGHUP", Int 2 "SIGINT", Quit 3 "SIGQUIT", Ill 4 "SIGILL", Trap 5 "SIGTRAP", Abrt 6 "SIGABRT",
    Bus 7 "SIGBUS", Fpe 8 "SIGFPE", Kill 9 "SIGKILL", Usr1 10 "SIGUSR1", Segv 11 "SIGSEGV",
    Usr2 12 "SIGUSR2", Pipe 13 "SIGPIPE", Alrm 14 "SIGALRM", Term 15 "SIGTERM", StkFlt 16 "SIGSTKFLT",
    Chld 17 "SIGCHLD", Cont 18 "SIGCONT", Stop 19 "SIGSTOP", Tstp 20 "SIGTSTP", Ttin 21 "SIGTTIN",
    Ttou 22 "SIGTTOU", Urg 23 "SIGURG", Xcpu 24 "SIGXCPU", Xfsz 25 "SIGXFSZ", VtAlrm 26 "SIGVTALRM",
    Prof 27 "SIGPROF", Winch 28 "SIGWINCH", Io 29 "SIGIO", Pwr 30 "SIGPWR", Sys 31 "SIGSYS",
}

impl Signal {
    /// Its Linux number.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The signal with this Linux number.
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
    fn signals_are_found_by_number_and_name() {
        assert_eq!(Signal::from_number(15), Some(Signal::Term));
        assert_eq!(Signal::from_number(32), None);
        assert_eq!((Signal::from_name("SIGTSTP"), Signal::from_name("INT")), (Some(Signal::Tstp), None));
        assert!(Signal::ALL.iter().enumerate().all(|(at, signal)| signal.number() as usize == at + 1));
    }
}
