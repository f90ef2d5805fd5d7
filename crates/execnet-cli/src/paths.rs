//! Paths of the command's files: configuration, state and the sockets of running networks.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use execnet::place::{daemon, is_ours};
use execnet_proto::place::UserFolder;
use execnet_proto::spec::NetworkName;

use crate::error::{CommandError, Exit};

/// `$XDG_CONFIG_HOME/execnet`, by default `~/.config/execnet`.
pub(crate) fn config_dir() -> Result<PathBuf, CommandError> {
    find(UserFolder::Config)
}

/// The file that lists a network's hosts.
pub(crate) fn network_file(name: &NetworkName) -> Result<PathBuf, CommandError> {
    Ok(config_dir()?.join(format!("{name}.toml")))
}

/// `$XDG_STATE_HOME/execnet/NAME`, by default under `~/.local/state`: the daemon's log, secret and count of
/// starts.
pub(crate) fn state_dir(name: &NetworkName) -> Result<PathBuf, CommandError> {
    Ok(find(UserFolder::State)?.join(name.as_str()))
}

/// The log of a network's daemon.
pub(crate) fn log_file(name: &NetworkName) -> Result<PathBuf, CommandError> {
    Ok(state_dir(name)?.join("log"))
}

/// Whether a network's daemon ended without removing its lock. Only meaningful if [`daemon`] finds none.
pub(crate) fn was_killed(name: &NetworkName) -> bool {
    execnet::place::locks(name).iter().any(|lock| is_ours(lock))
}

/// Where a network's daemon listens, or would listen.
pub(crate) fn socket(name: &NetworkName) -> PathBuf {
    let sockets = execnet::place::sockets(name);
    let there = sockets.iter().find(|socket| is_ours(socket));
    there.or(sockets.first()).cloned().unwrap_or_default()
}

/// Networks that have a file, by name.
pub(crate) fn configured() -> Vec<NetworkName> {
    config_dir().map_or_else(|_| Vec::new(), |dir| names(&dir, ".toml"))
}

/// Networks that have a file or a daemon, by name.
pub(crate) fn known() -> Vec<NetworkName> {
    let mut names = [configured(), execnet::place::with_daemon()].concat();
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

/// `$XDG_DATA_HOME`, by default `~/.local/share`.
pub(crate) fn data_home() -> Result<PathBuf, CommandError> {
    xdg("XDG_DATA_HOME", ".local/share")
}

/// `$XDG_CONFIG_HOME`, by default `~/.config`.
pub(crate) fn config_home() -> Result<PathBuf, CommandError> {
    xdg("XDG_CONFIG_HOME", ".config")
}

fn xdg(variable: &str, default: &str) -> Result<PathBuf, CommandError> {
    let absolute =
        |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(absolute("HOME")?.join(default));
    absolute(variable).or_else(home).ok_or_else(|| {
        CommandError::new(Exit::Failed, format!("neither {variable} nor HOME is an absolute path"))
    })
}

fn find(folder: UserFolder) -> Result<PathBuf, CommandError> {
    let variable = folder.variable();
    // without HOME this is an error: the home folder of the account may not be the one that is meant
    folder.find(env::var_os(variable), env::var_os("HOME").map(PathBuf::from)).ok_or_else(|| {
        let message = format!("neither {variable} nor HOME is an absolute path");
        CommandError::new(Exit::Failed, message).hint(format!("set HOME, or {variable} to an absolute path"))
    })
}
