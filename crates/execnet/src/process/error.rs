//! Why a call on a process or one of its streams failed.

use std::io;

/// A process that is gone without an exit status that anybody will ever know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process on host `{host}` was lost: {}", execnet_proto::text::lines(message))]
#[non_exhaustive]
pub struct Lost {
    /// Id of its host.
    pub host: String,
    /// Why.
    pub message: String,
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
        /// Id of its host.
        host: String,
    },
    /// The [`Process`](crate::Process) was dropped, and so hung up.
    #[error("the process on host `{host}` was hung up")]
    HungUp {
        /// Id of its host.
        host: String,
    },
    /// Not in time; the call may be made again.
    #[error("waiting for the process on host `{host}` took too long")]
    TimedOut {
        /// Id of its host.
        host: String,
    },
    /// Another thread interrupted the wait; the call may be made again.
    #[error("waiting for the process on host `{host}` was interrupted")]
    Interrupted {
        /// Id of its host.
        host: String,
    },
    /// The connection belongs to the process that this one was forked from.
    #[error("a connection to a network cannot be used in a forked child; connect again there")]
    Forked,
}

/// An interruption is not [`io::ErrorKind::Interrupted`]: that would be tried again, unseen, by everything in `std::io`.
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
