//! Where the daemons of networks listen: in the usual folder or one of its fallbacks, or where a note says.
//!
//! Only looks. The daemon chooses the folder (`folders` in `execnet-daemon`), and clients check what they
//! find.

use std::env;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use execnet_proto::place::{
    LOCK_SUFFIX, MOST_OF_A_PATH, NOTE_PREFIX, Note, SOCKET_SUFFIX, UserFolder, lock_name, network_of,
    runtime_folders, socket_name, system,
};
use execnet_proto::spec::NetworkName;
use rustix::fs::{Mode, OFlags};

/// The sockets that a network's daemon may have, the likely ones first.
#[must_use]
pub fn sockets(network: &NetworkName) -> Vec<PathBuf> {
    let name = socket_name(network);
    let mut sockets: Vec<PathBuf> = folders().iter().map(|folder| folder.join(&name)).collect();
    // a note is exact, but the usual folder needs none
    let noted = notes(network).into_iter().map(|note| note.socket).filter(|socket| socket.ends_with(&name));
    sockets.splice(1..1, noted);
    let mut seen = Vec::new();
    sockets.retain(|socket| {
        !seen.contains(socket) && {
            seen.push(socket.clone());
            true
        }
    });
    sockets
}

/// The locks that a network's daemon may hold. Each begins with its process id.
#[must_use]
pub fn locks(network: &NetworkName) -> Vec<PathBuf> {
    let name = lock_name(network);
    let beside = |socket: &PathBuf| Some(socket.parent()?.join(&name));
    sockets(network).iter().filter_map(beside).chain(note_paths(network)).collect()
}

/// Process id of a network's daemon, from its lock; the daemon need not be reachable. Only reads: takes no
/// lock itself. Knows of none on systems other than Linux.
#[must_use]
pub fn daemon(network: &NetworkName) -> Option<u32> {
    let held = fs::read_to_string("/proc/locks").ok()?;
    locks(network).iter().find_map(|path| {
        let about = fs::symlink_metadata(path).ok().filter(|about| about.is_file() && is_ours(path))?;
        let pid = fs::read_to_string(path).ok()?.lines().next()?.parse().ok()?;
        held.lines().any(|line| is_lock(line, pid, about.ino())).then_some(pid)
    })
}

/// Whether this user owns what is there and its folder. What other users made does not count.
#[must_use]
pub fn is_ours(path: &Path) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    let ours = |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.uid() == uid);
    path.parent().is_some_and(ours) && ours(path)
}

/// Whether a line of `/proc/locks` says that this process holds the lock on this file: `1: FLOCK  ADVISORY
/// WRITE 4242 08:01:131 0 EOF`.
fn is_lock(line: &str, pid: u32, inode: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, file, ..] = words[..] else { return false };
    let held = file.rsplit(':').next().and_then(|inode| inode.parse().ok());
    holder.parse() == Ok(pid) && held == Some(inode)
}

/// The networks that have a socket, sorted.
#[must_use]
pub fn running() -> Vec<String> {
    left(&[SOCKET_SUFFIX]).iter().map(NetworkName::to_string).collect()
}

/// Whether the command remembers a network of this name, running or not.
pub(crate) fn has_file(network: &NetworkName) -> bool {
    let folder = UserFolder::Config.find(env::var_os(UserFolder::Config.variable()), env::home_dir());
    folder.is_some_and(|folder| folder.join(format!("{network}.toml")).exists())
}

/// The networks whose daemon has left a file, whether it runs or not, sorted.
#[must_use]
pub fn with_daemon() -> Vec<NetworkName> {
    left(&[SOCKET_SUFFIX, LOCK_SUFFIX])
}

fn left(suffixes: &[&str]) -> Vec<NetworkName> {
    let mut names: Vec<NetworkName> = folders()
        .iter()
        .flat_map(|folder| entries(folder))
        .filter_map(|file| {
            let stem = suffixes.iter().find_map(|suffix| file.strip_suffix(suffix))?;
            stem.parse().ok()
        })
        .collect();
    let noted = state_folders().into_iter().flat_map(|folder| entries(&folder));
    names.extend(noted.filter_map(|name| name.parse().ok()).filter(|name| {
        notes(name).iter().any(|note| {
            let file = note.socket.file_name().and_then(|file| network_of(file.to_str()?));
            file.as_ref() == Some(name) && note.socket.exists()
        })
    }));
    names.sort();
    names.dedup();
    names
}

/// Connects to, or binds, a socket. If its path is too long for a socket's address, goes through the opened
/// folder, on systems that allow that.
///
/// # Errors
/// Those of `with`, and one for a path that is too long.
pub fn reach<T>(socket: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let length = socket.as_os_str().len();
    let (Some(folder), Some(name)) =
        (socket.parent().filter(|_| length > MOST_OF_A_PATH), socket.file_name())
    else {
        return with(socket);
    };
    if !cfg!(target_os = "linux") {
        let words =
            format!("its path is longer than the {MOST_OF_A_PATH} bytes that a socket's path may have");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, words));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty())?;
    with(&Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name))
}

/// The folders for sockets that need no note.
fn folders() -> Vec<PathBuf> {
    let named = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime_folders(rustix::process::geteuid().as_raw(), named.as_deref())
}

/// The folders that hold the state of networks: as seen from here, and as seen with only a home folder.
fn state_folders() -> Vec<PathBuf> {
    let named = UserFolder::State.find(env::var_os(UserFolder::State.variable()), None);
    named.into_iter().chain(UserFolder::State.find(None, env::home_dir())).collect()
}

/// The notes of the network's daemons on this machine.
fn notes(network: &NetworkName) -> Vec<Note> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    note_paths(network).into_iter().filter_map(read).filter_map(|text| Note::parse(&text)).collect()
}

fn note_paths(network: &NetworkName) -> Vec<PathBuf> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let Ok(root) = fs::metadata("/") else { return Vec::new() };
    let name = format!("{NOTE_PREFIX}{}", system(&boot, (root.dev(), root.ino())));
    state_folders().into_iter().map(|folder| folder.join(network.as_str()).join(&name)).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_holder_and_file() {
        let line = "2: FLOCK  ADVISORY  WRITE 4242 fe:01:131 0 EOF";
        assert!(is_lock(line, 4242, 131));
        assert!(!is_lock(line, 4243, 131) && !is_lock(line, 4242, 13));
        assert!(!is_lock("2: -> FLOCK  ADVISORY  WRITE 4242 fe:01:131 0 EOF", 4242, 131), "one that waits");
        assert!(!is_lock("", 1, 1));
    }
}
