//! Why a daemon cannot start, or has to end.

use std::io;
use std::path::{Path, PathBuf};

use execnet_proto::spec::NetworkName;
use execnet_proto::spec::hosts::HostsError;

/// Why a daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The network has a daemon already.
    #[error("the network `{network}` is already running{}", pid.map_or(String::new(), daemon))]
    Running {
        /// The network.
        network: NetworkName,
        /// Process id of its daemon, if known.
        pid: Option<u32>,
    },
    /// No folder for sockets is safe to use.
    #[error("no folder is fit for the network's socket: {}", tried.join("; "))]
    NoPlace {
        /// What is wrong with each folder.
        tried: Vec<String>,
    },
    /// Neither HOME nor XDG_STATE_HOME is set.
    #[error("neither XDG_STATE_HOME nor HOME says where the network's state is")]
    NoStateFolder,
    /// An error with a file or folder that the daemon needs.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The hosts make no network.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// The system refused something basic.
    #[error("the daemon cannot run: {0}")]
    System(#[from] io::Error),
}

fn daemon(pid: u32) -> String {
    format!(" (daemon {pid})")
}

impl DaemonError {
    pub(crate) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { what, path: path.to_owned(), source }
    }
}
