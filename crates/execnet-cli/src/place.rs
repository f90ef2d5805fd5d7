//! Where the command's files are: configuration, state and the sockets of running networks.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use execnet_proto::place::{SOCKET_SUFFIX, runtime_folder, socket_name};
use execnet_proto::spec::NetworkName;

use crate::failure::{Exit, Failure};

/// `$XDG_CONFIG_HOME/execnet`, by default `~/.config/execnet`.
pub(crate) fn config_dir() -> Result<PathBuf, Failure> {
    xdg("XDG_CONFIG_HOME", ".config")
}

/// The file that remembers a network's hosts.
pub(crate) fn network_file(name: &NetworkName) -> Result<PathBuf, Failure> {
    Ok(config_dir()?.join(format!("{name}.toml")))
}

/// `$XDG_STATE_HOME/execnet/NAME`, by default under `~/.local/state`: log, secret and life of the daemon.
pub(crate) fn state_dir(name: &NetworkName) -> Result<PathBuf, Failure> {
    Ok(xdg("XDG_STATE_HOME", ".local/state")?.join(name.as_str()))
}

/// What a network's daemon writes about its work.
pub(crate) fn log_file(name: &NetworkName) -> Result<PathBuf, Failure> {
    Ok(state_dir(name)?.join("log"))
}

/// Where sockets are.
fn runtime_dir() -> PathBuf {
    runtime_folder(rustix::process::geteuid().as_raw()).into()
}

/// The daemon's socket of a network.
pub(crate) fn socket(name: &NetworkName) -> PathBuf {
    runtime_dir().join(socket_name(name))
}

/// Networks that have a file, by name.
pub(crate) fn configured() -> Vec<NetworkName> {
    config_dir().map_or_else(|_| Vec::new(), |dir| names(&dir, ".toml"))
}

/// Networks that have a socket, answered or stale, by name.
pub(crate) fn with_socket() -> Vec<NetworkName> {
    names(&runtime_dir(), SOCKET_SUFFIX)
}

/// Every network of which there is a trace, by name.
pub(crate) fn known() -> Vec<NetworkName> {
    let mut names = [configured(), with_socket()].concat();
    names.sort();
    names.dedup();
    names
}

fn names(dir: &Path, suffix: &str) -> Vec<NetworkName> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let name = |file: &OsStr| file.to_str()?.strip_suffix(suffix)?.parse().ok();
    let mut names: Vec<NetworkName> =
        entries.flatten().filter_map(|entry| name(&entry.file_name())).collect();
    names.sort();
    names
}

fn xdg(variable: &str, default: &str) -> Result<PathBuf, Failure> {
    // The XDG base directory specification has relative paths ignored.
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(default)));
    let base = base.ok_or_else(|| {
        Failure::new(Exit::Failed, format!("neither {variable} nor HOME says where execnet's files are"))
            .hint(format!("set HOME, or {variable} to an absolute path"))
    })?;
    Ok(base.join("execnet"))
}
