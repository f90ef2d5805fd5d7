//! Where the parts of a network meet on one machine: names of folders and files, as text. Nothing here touches a file.
//!
//! The usual folder is in /tmp, where anybody can be first to make it. Then the next one of [`runtime_folders`] is taken, and after them a
//! folder beside the network's state. The daemon's *note* in the folder of the state says which one it was; it is also a lock.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::spec::NetworkName;

/// What follows the network's name in the name of its daemon's socket.
pub const SOCKET_SUFFIX: &str = ".daemon.sock";

/// What follows it in the name of the lock that its daemon holds for life.
pub const LOCK_SUFFIX: &str = ".daemon.lock";

/// What the name of a daemon's note begins with.
pub const NOTE_PREFIX: &str = "daemon-";

/// What the name of the folder for the socket begins with that is beside the state.
pub const RUN_PREFIX: &str = "run-";

/// Bytes of a socket's path that every system takes, without the zero behind them.
pub const MOST_OF_A_PATH: usize = 103;

/// The folder of a user's sockets, by effective user id. It counts only when lstat says that it is a folder of that user with
/// mode 0700. Never under HOME, which machines may share.
#[must_use]
pub fn runtime_folder(uid: u32) -> String {
    format!("/tmp/execnet-{uid}")
}

/// Folders for sockets that need no state, best first: the usual one, then those that the system makes for a user who is logged in. Each counts
/// only as [`runtime_folder`] says; so does what is above the others.
#[must_use]
pub fn runtime_folders(uid: u32, xdg_runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(runtime_folder(uid))];
    // a note has room for one line of text
    let fits =
        |folder: &&Path| folder.is_absolute() && folder.to_str().is_some_and(|text| !text.contains('\n'));
    let named = xdg_runtime_dir.filter(fits).map(Path::to_owned);
    // who comes by ssh or from cron may lack the variable
    for folder in named.into_iter().chain([format!("/run/user/{uid}").into()]) {
        let folder = folder.join("execnet");
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// A folder in which a user's programs keep files of one kind, after the XDG base directory specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFolder {
    /// What a person edits: `$XDG_CONFIG_HOME/execnet`, by default `~/.config/execnet`.
    Config,
    /// What programs keep: `$XDG_STATE_HOME/execnet`, by default `~/.local/state/execnet`.
    State,
}

impl UserFolder {
    /// The environment variable that names it.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Config => "XDG_CONFIG_HOME",
            Self::State => "XDG_STATE_HOME",
        }
    }

    /// Our folder in it, for this value of the variable and this home folder. Relative paths count as not given.
    #[must_use]
    pub fn find(self, variable: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
        let usual = match self {
            Self::Config => ".config",
            Self::State => ".local/state",
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

/// The network whose daemon's socket has this name, if it is one.
#[must_use]
pub fn network_of(socket_name: &str) -> Option<NetworkName> {
    socket_name.strip_suffix(SOCKET_SUFFIX)?.parse().ok()
}

/// A machine as it runs now, for names in folders that several share: from the kernel's boot id, and from device and inode of the root
/// folder, which differ in containers on one kernel.
#[must_use]
pub fn system(boot_id: &str, root: (u64, u64)) -> String {
    let boot: String = boot_id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{boot}-{:x}-{:x}", root.0, root.1)
}

/// What a daemon writes into its note: where it can be found, two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its process id.
    pub pid: u32,
    /// Its socket.
    pub socket: PathBuf,
}

impl Note {
    /// Reads a note; none in what is no note, or not wholly written.
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
