//! Why a daemon cannot start, or has to end.

use std::io;
use std::path::{Path, PathBuf};

use execnet_proto::spec::NetworkName;

/// Why a daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There is one already.
    #[error("the network `{network}` is already running{}", pid.map_or(String::new(), |pid| format!(" (daemon {pid})")))]
    Running {
        /// The network.
        network: NetworkName,
        /// Process id of its daemon, if known.
        pid: Option<u32>,
    },
    /// No folder for sockets can be trusted.
    #[error("no folder is fit for the network's socket: {}", tried.join("; "))]
    NoPlace {
        /// What is wrong with each.
        tried: Vec<String>,
    },
    /// Neither HOME nor XDG_STATE_HOME is set.
    #[error("neither XDG_STATE_HOME nor HOME says where the network's state is")]
    NoStateFolder,
    /// A file or folder that the daemon needs.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Two hosts with one id.
    #[error("two hosts are named `{0}`")]
    DuplicateHost(String),
    /// A `via` that leads nowhere.
    #[error("host `{host}` is reached via `{via}`, which {why}")]
    Via {
        /// The host.
        host: String,
        /// Its `via`.
        via: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The system refused something basic.
    #[error("the daemon cannot run: {0}")]
    System(#[from] io::Error),
}

impl DaemonError {
    pub(crate) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { what, path: path.to_owned(), source }
    }
}
