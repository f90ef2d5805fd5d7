//! Names of the folders and files where the parts of a network meet on one machine. Nothing here touches a
//! file.
//!
//! The usual folder is in /tmp, where anybody may be the first to make it. If it is taken, the next one of
//! [`runtime_folders`] is used, and after these a folder beside the network's state. The daemon's *note* in
//! the folder of the state names the one it uses. The note is also a lock.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::spec::NetworkName;

/// Follows the network's name in the name of its daemon's socket.
pub const SOCKET_SUFFIX: &str = ".daemon.sock";

/// Follows it in the name of the lock that its daemon holds while it lives.
pub const LOCK_SUFFIX: &str = ".daemon.lock";

/// Begins the name of a daemon's note.
pub const NOTE_PREFIX: &str = "daemon-";

/// Begins the name of the folder for the socket that is beside the state.
pub const RUN_PREFIX: &str = "run-";

/// The longest path of a socket that every system accepts, in bytes without the terminating zero.
pub const MOST_OF_A_PATH: usize = 103;

/// The folder of a user's sockets, by effective user id. It is usable only if lstat says that it is a folder
/// of that user with mode 0700. It is never under HOME, which several machines may share.
#[must_use]
pub fn runtime_folder(uid: u32) -> String {
    format!("/tmp/execnet-{uid}")
}

/// Folders for sockets that need no state, best first: the usual one, then those that the system makes for a
/// user who is logged in. Each has to meet the conditions of [`runtime_folder`]; so do the parents of the
/// others.
#[must_use]
pub fn runtime_folders(uid: u32, xdg_runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(runtime_folder(uid))];
    // a note has room for one line of text
    let fits =
        |folder: &&Path| folder.is_absolute() && folder.to_str().is_some_and(|text| !text.contains('\n'));
    let named = xdg_runtime_dir.filter(fits).map(Path::to_owned);
    // a login by ssh or cron may lack the variable
    for folder in named.into_iter().chain([format!("/run/user/{uid}").into()]) {
        let folder = folder.join("execnet");
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// A folder in which a user's programs keep files of one kind, by the XDG base directory specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFolder {
    /// Files that a person edits: `$XDG_CONFIG_HOME/execnet`, by default `~/.config/execnet`.
    Config,
    /// Files that programs keep: `$XDG_STATE_HOME/execnet`, by default `~/.local/state/execnet`.
    State,
    /// Files that can be made again: `$XDG_CACHE_HOME/execnet`, by default `~/.cache/execnet`.
    Cache,
}

impl UserFolder {
    /// The environment variable that names it.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Config => "XDG_CONFIG_HOME",
            Self::State => "XDG_STATE_HOME",
            Self::Cache => "XDG_CACHE_HOME",
        }
    }

    /// Our folder in it, for this value of the variable and this home folder. Relative paths are ignored.
    #[must_use]
    pub fn find(self, variable: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
        let usual = match self {
            Self::Config => ".config",
            Self::State => ".local/state",
            Self::Cache => ".cache",
        };
        let is_absolute = |path: &PathBuf| path.is_absolute();
        let named = variable.map(PathBuf::from).filter(is_absolute);
        let base = named.or_else(|| Some(home.filter(is_absolute)?.join(usual)))?;
        Some(base.join("execnet"))
    }
}

/// Name of the socket of a network's daemon in the folder for sockets.
#[must_use]
pub fn socket_name(network: &NetworkName) -> String {
    format!("{network}{SOCKET_SUFFIX}")
}

/// Name of the lock file of a network's daemon beside its socket.
#[must_use]
pub fn lock_name(network: &NetworkName) -> String {
    format!("{network}{LOCK_SUFFIX}")
}

/// The network whose daemon's socket has this name, if there is one.
#[must_use]
pub fn network_of(socket_name: &str) -> Option<NetworkName> {
    socket_name.strip_suffix(SOCKET_SUFFIX)?.parse().ok()
}

/// Identifies a machine since its last boot, for names in folders that several machines share: by the
/// kernel's boot id, and by device and inode of the root folder, which differ between containers on one
/// kernel.
#[must_use]
pub fn system(boot_id: &str, root: (u64, u64)) -> String {
    let boot: String = boot_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{boot}-{:x}-{:x}", root.0, root.1)
}

/// The contents of a daemon's note, in two lines: where it can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its process id.
    pub pid: u32,
    /// Its socket.
    pub socket: PathBuf,
}

impl Note {
    /// Reads a note. `None` if it is not a note or not completely written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once('\n')?;
        let (socket, _) = rest.split_once('\n')?;
        let socket = PathBuf::from(socket);
        Some(Self { pid: pid.parse().ok()?, socket }).filter(|note| note.socket.is_absolute())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.pid, self.socket.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sockets_lead_back_to_their_networks_and_fit_a_socket_address() {
        let network: NetworkName = "x".repeat(64).parse().unwrap();
        let name = socket_name(&network);
        assert_eq!(network_of(&name), Some(network));
        assert!(runtime_folder(u32::MAX).len() + 1 + name.len() <= MOST_OF_A_PATH);
        assert_eq!(network_of("a.lock"), None);
        assert_eq!(network_of(".daemon.sock"), None);
    }

    #[test]
    fn folders_are_the_same_with_and_without_the_usual_variable() {
        let usual = ["/tmp/execnet-7", "/run/user/7/execnet"].map(PathBuf::from);
        assert_eq!(runtime_folders(7, None), usual);
        assert_eq!(runtime_folders(7, Some(Path::new("/run/user/7"))), usual);
        assert_eq!(runtime_folders(7, Some(Path::new("relative"))), usual);
        assert_eq!(runtime_folders(7, Some(Path::new("/x"))).get(1), Some(&PathBuf::from("/x/execnet")));
    }

    #[test]
    fn a_users_folder_is_the_one_that_is_named_or_the_usual_one_below_home() {
        let found = |named: Option<&str>, home: Option<&str>| {
            let found = UserFolder::State.find(named.map(OsString::from), home.map(PathBuf::from));
            found.map(|folder| folder.to_str().unwrap().to_owned())
        };
        assert_eq!(found(Some("/s"), Some("/home/ann")).as_deref(), Some("/s/execnet"));
        for named in [None, Some(""), Some("relative")] {
            assert_eq!(found(named, Some("/home/ann")).as_deref(), Some("/home/ann/.local/state/execnet"));
            assert_eq!(found(named, Some("ann")), None);
            assert_eq!(found(named, None), None);
        }
        assert_eq!(found(Some("/s"), None).as_deref(), Some("/s/execnet"));
        let config = UserFolder::Config.find(None, Some("/home/ann".into()));
        assert_eq!(config, Some("/home/ann/.config/execnet".into()));
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_not_before() {
        let note = Note { pid: 42, socket: "/a b/n.daemon.sock".into() };
        let text = note.to_string();
        assert_eq!(Note::parse(&format!("{text}what a longer one left")), Some(note));
        for torn in ["", "42", "42\n", "42\n/a b/n.dae", "x\n/a\n", "42\nrelative\n"] {
            assert_eq!(Note::parse(torn), None, "{torn:?}");
        }
    }

    #[test]
    fn machines_and_containers_are_told_apart() {
        let names = [system("a\n", (1, 2)), system("b", (1, 2)), system("a", (1, 3))];
        assert_eq!(names[0], system("a", (1, 2)));
        assert!(names[0] != names[1] && names[0] != names[2]);
    }
}
