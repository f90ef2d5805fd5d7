//! Where the sockets of running networks are, as paths.

use std::path::PathBuf;

use execnet_proto::place::{network_of, runtime_folder, socket_name};
use execnet_proto::spec::NetworkName;

/// The folder of this user's sockets.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(runtime_folder(rustix::process::geteuid().as_raw()))
}

/// The socket of a network's daemon.
pub(crate) fn socket(network: &NetworkName) -> PathBuf {
    folder().join(socket_name(network))
}

/// The networks that have a socket, sorted.
pub(crate) fn running() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder()) else { return Vec::new() };
    let name = |file: &std::ffi::OsStr| Some(network_of(file.to_str()?)?.to_string());
    let mut names: Vec<_> = entries.flatten().filter_map(|entry| name(&entry.file_name())).collect();
    names.sort();
    names
}
