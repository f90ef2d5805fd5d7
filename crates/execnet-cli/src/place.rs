//! Where the command's files are: configuration, state and the sockets of running networks.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use execnet_proto::place::{LOCK_SUFFIX, SOCKET_SUFFIX, lock_name, runtime_folder, socket_name};
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

/// Process id of a network's daemon, told by its lock, whether it can be reached or not. Looks only: nobody else is kept from the lock.
pub(crate) fn daemon(name: &NetworkName) -> Option<u32> {
    let path = runtime_dir().join(lock_name(name));
    let pid = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    let inode = fs::symlink_metadata(&path).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().any(|line| is_lock(line, pid, inode)).then_some(pid)
}

/// Whether a network's daemon ended without removing its lock. To be asked when [`daemon`] finds none.
pub(crate) fn was_killed(name: &NetworkName) -> bool {
    fs::symlink_metadata(runtime_dir().join(lock_name(name))).is_ok()
}

/// Whether a line of `/proc/locks` is the lock of this process on this file: `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`.
fn is_lock(line: &str, pid: u32, inode: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, file, ..] = words[..] else { return false };
    let held = file.rsplit(':').next().and_then(|inode| inode.parse().ok());
    holder.parse() == Ok(pid) && held == Some(inode)
}

/// Networks that have a file, by name.
pub(crate) fn configured() -> Vec<NetworkName> {
    config_dir().map_or_else(|_| Vec::new(), |dir| names(&dir, ".toml"))
}

/// Networks of which a daemon has left something, living or dead, by name.
fn with_daemon() -> Vec<NetworkName> {
    [SOCKET_SUFFIX, LOCK_SUFFIX].map(|suffix| names(&runtime_dir(), suffix)).concat()
}

/// Every network of which there is a trace, by name.
pub(crate) fn known() -> Vec<NetworkName> {
    let mut names = [configured(), with_daemon()].concat();
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

/// The file that a network's daemon was started from, as its environment tells. Only Linux does.
pub(crate) fn file_at_start(name: &NetworkName, daemon: u32) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{daemon}/environ")).ok()?;
    file_by(&environment, name)
}

/// Where a network's file is for who has this environment: `NAME=value`, each with a zero byte behind it.
fn file_by(environment: &[u8], name: &NetworkName) -> Option<PathBuf> {
    let value = |wanted: &str| {
        let mut pairs = environment.split(|byte| *byte == 0);
        let value = pairs.find_map(|pair| pair.strip_prefix(wanted.as_bytes())?.strip_prefix(b"="));
        value.map(|value| OsStr::from_bytes(value).to_owned())
    };
    let base = base("XDG_CONFIG_HOME", ".config", value)?;
    Some(base.join(format!("{name}.toml")))
}

fn xdg(variable: &str, default: &str) -> Result<PathBuf, Failure> {
    base(variable, default, |name| env::var_os(name)).ok_or_else(|| {
        Failure::new(Exit::Failed, format!("neither {variable} nor HOME says where execnet's files are"))
            .hint(format!("set HOME, or {variable} to an absolute path"))
    })
}

/// Our folder below the one that a variable names, or below `default` in the home folder.
fn base(variable: &str, default: &str, value: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    let absolute = |name: &str| value(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(default)))?;
    Some(base.join("execnet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_says_where_a_networks_file_is() {
        let name = "n".parse().unwrap();
        for (environment, file) in [
            ("HOME=/h\0", Some("/h/.config/execnet/n.toml")),
            ("HOME=/h\0XDG_CONFIG_HOME=/c\0", Some("/c/execnet/n.toml")),
            ("XDG_CONFIG_HOMES=/x\0HOME=/h\0XDG_CONFIG_HOME=c\0", Some("/h/.config/execnet/n.toml")),
            ("PATH=/bin\0", None),
        ] {
            assert_eq!(file_by(environment.as_bytes(), &name), file.map(PathBuf::from), "{environment:?}");
        }
    }

    #[test]
    fn a_lock_is_known_by_holder_and_file() {
        let line = "2: FLOCK  ADVISORY  WRITE 4242 fe:01:131 0 EOF";
        assert!(is_lock(line, 4242, 131));
        assert!(!is_lock(line, 4243, 131) && !is_lock(line, 4242, 13));
        assert!(!is_lock("2: -> FLOCK  ADVISORY  WRITE 4242 fe:01:131 0 EOF", 4242, 131), "one that waits");
        assert!(!is_lock("", 1, 1));
    }
}
