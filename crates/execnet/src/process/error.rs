//! Why a call on a process or one of its streams failed.

use std::io;

/// A process whose exit status will never be known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the process on host `{host}` {}: {}",
    match () {
        () if *.taken_over => "is held by another program",
        () if *.stays => "is out of reach",
        () => "was lost",
    },
    execnet_proto::text::lines(message)
)]
#[non_exhaustive]
pub struct Lost {
    /// The id of its host.
    pub host: String,
    /// Why.
    pub message: String,
    /// Another program has taken it over: it is kept work, and goes on.
    pub taken_over: bool,
    /// Its host has left the network: it is kept work, and goes on there.
    pub stays: bool,
}

/// Why a call on a process or one of its streams failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process was lost.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// Nobody reads stdin any more: it was closed here or by the process, or the process has ended.
    #[error("stdin of the process on host `{host}` is closed")]
    Closed {
        /// The id of its host.
        host: String,
    },
    /// The [`Process`](crate::Process) was dropped, which hung the process up.
    #[error("the process on host `{host}` was hung up")]
    HungUp {
        /// The id of its host.
        host: String,
    },
    /// It took too long. The call may be repeated.
    #[error("waiting for the process on host `{host}` took too long")]
    TimedOut {
        /// The id of its host.
        host: String,
    },
    /// Another thread interrupted the wait. The call may be repeated.
    #[error("waiting for the process on host `{host}` was interrupted")]
    Interrupted {
        /// The id of its host.
        host: String,
    },
    /// The connection belongs to the parent of this forked process.
    #[error("a connection to a network cannot be used in a forked child; connect again there")]
    Forked,
}

/// Interruptions are not [`io::ErrorKind::Interrupted`]: everything in `std::io` silently retries on that.
impl From<ProcessError> for io::Error {
    fn from(error: ProcessError) -> Self {
        let kind = match &error {
            ProcessError::Lost(_) => io::ErrorKind::ConnectionReset,
            ProcessError::Closed { .. } => io::ErrorKind::BrokenPipe,
            ProcessError::HungUp { .. } => io::ErrorKind::NotConnected,
            ProcessError::TimedOut { .. } => io::ErrorKind::TimedOut,
            ProcessError::Interrupted { .. } | ProcessError::Forked => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
