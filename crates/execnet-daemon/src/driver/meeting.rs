//! Where clients meet the daemon: its socket, and the locks that make it the only daemon of its network.
//!
//! The usual folder is in /tmp, where somebody else may have made it first; then the next one is taken. A
//! *note* in the folder of the state says which. The daemon locks the note for life, so there is only one
//! daemon, whichever folder is usable, and clients find it whatever their environment. Outside the usual
//! folder another note stands in the home folder, for clients without the variables.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use execnet_proto::place::{self, MOST_OF_A_PATH, NOTE_PREFIX, Note, RUN_PREFIX};
use execnet_proto::spec::NetworkName;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tokio::net::UnixListener;

use super::folders::{self, fault, private_folder};
use crate::error::DaemonError;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Meeting {
    network: NetworkName,
    /// Folders to use, best first; the last one is beside the state.
    folders: Vec<PathBuf>,
    /// The first is in the folder of the state.
    notes: Vec<Lock>,
    /// Where another note goes if the socket is not in the usual folder.
    home: Option<PathBuf>,
    note_name: String,
    spot: Spot,
    /// Why the folders before the current one were not taken.
    passed: Vec<String>,
}

/// What became of the meeting place.
#[derive(Debug)]
pub(crate) enum Kept {
    /// Nothing changed.
    AsItWas,
    /// The socket was gone and was bound again, maybe elsewhere.
    Again(UnixListener),
    /// The lock was gone, and another daemon of the network has it now.
    Superseded,
}

/// The folder that was chosen.
#[derive(Debug)]
struct Spot {
    folder: PathBuf,
    socket: PathBuf,
    lock: Lock,
}

/// A file that is locked for as long as this lives, if its file system has locks.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    file: File,
}

impl Meeting {
    /// Takes the network's locks.
    pub(crate) fn take(
        folders: &[PathBuf],
        state: &Path,
        home: Option<&Path>,
        network: &NetworkName,
    ) -> Result<Self, DaemonError> {
        folders::make_state_folder(state)?;
        let system = system();
        let note_name = format!("{NOTE_PREFIX}{system}");
        let note = Lock::take(&state.join(&note_name), network)?;
        note.write(&own_line());
        sweep(state, &note_name);
        let mut folders = folders.to_vec();
        let beside = state.join(format!("{RUN_PREFIX}{system}"));
        if beside.to_str().is_some_and(|path| !path.contains('\n')) {
            folders.push(beside);
        }
        let mut passed = Vec::new();
        let spot = Spot::choose(&folders, network, &mut passed).inspect_err(|_| note.remove())?;
        let home = home.filter(|home| *home != state).map(Path::to_owned);
        Ok(Self { network: network.clone(), folders, notes: vec![note], home, note_name, spot, passed })
    }

    /// Binds the socket, and replaces one left over from another daemon. Moves on to the next folder if this
    /// one takes no sockets.
    pub(crate) fn listen(&mut self) -> Result<UnixListener, DaemonError> {
        loop {
            let error = match self.spot.listen() {
                Ok(listener) => {
                    self.note();
                    return Ok(listener);
                }
                Err(error) => error,
            };
            let failed = DaemonError::file("listen at", &self.spot.socket, error);
            let at = self.folders.iter().position(|folder| *folder == self.spot.folder);
            let rest = &self.folders[at.map_or(self.folders.len(), |at| at + 1)..];
            if rest.is_empty() {
                return Err(failed);
            }
            self.passed.push(failed.to_string());
            let next = Spot::choose(rest, &self.network, &mut self.passed)?;
            std::mem::replace(&mut self.spot, next).leave();
        }
    }

    /// The socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.spot.socket
    }

    /// Why the socket is not in the usual folder, if it is not.
    pub(crate) fn why_elsewhere(&self) -> Option<String> {
        (self.folders.first() != Some(&self.spot.folder)).then(|| self.passed.join("; "))
    }

    /// Makes again what somebody removed, elsewhere if necessary.
    pub(crate) fn keep(&mut self) -> Result<Kept, DaemonError> {
        for note in &mut self.notes {
            if note.is_there() {
                continue;
            }
            match Lock::take(&note.path, &self.network) {
                Ok(again) => *note = again,
                Err(DaemonError::Running { .. }) => return Ok(Kept::Superseded),
                // without its folder there is no note; the lock beside the socket is still held
                Err(_) => continue,
            }
            write_note(note, &self.spot.socket);
        }
        let is_private = matches!(fault(&self.spot.folder), Ok(None));
        if is_private && self.spot.lock.is_there() && fs::symlink_metadata(&self.spot.socket).is_ok() {
            return Ok(Kept::AsItWas);
        }
        if is_private && self.spot.lock.is_there() {
            return self.listen().map(Kept::Again);
        }
        // the same folder first, if it is usable
        let mut folders = self.folders.clone();
        folders.sort_by_key(|folder| *folder != self.spot.folder);
        self.passed.clear();
        match Spot::choose(&folders, &self.network, &mut self.passed) {
            Ok(spot) => std::mem::replace(&mut self.spot, spot).leave(),
            // it has become usable again just now
            Err(DaemonError::Running { pid, .. }) if pid == Some(std::process::id()) => {
                return Ok(Kept::AsItWas);
            }
            Err(DaemonError::Running { .. }) => return Ok(Kept::Superseded),
            Err(error) => return Err(error),
        }
        self.listen().map(Kept::Again)
    }

    /// Accepts no more clients. The network is still ours.
    pub(crate) fn close(&self) {
        let _ = fs::remove_file(&self.spot.socket);
    }

    /// Removes everything this made.
    pub(crate) fn leave(&self) {
        self.spot.leave();
        for note in &self.notes {
            note.remove();
        }
        // made only for a note
        for folder in self.notes.iter().skip(1).filter_map(|note| note.path.parent()) {
            let _ = fs::remove_dir(folder);
        }
    }

    /// Writes down where the socket is.
    fn note(&mut self) {
        if self.why_elsewhere().is_some()
            && self.notes.len() == 1
            && let Some(folder) = &self.home
            && folders::make_state_folder(folder).is_ok()
        {
            self.notes.extend(Lock::take(&folder.join(&self.note_name), &self.network));
        }
        for note in &self.notes {
            write_note(note, &self.spot.socket);
        }
    }
}

impl Spot {
    /// Takes the first folder that is this user's alone. Nobody else may hold the network's lock in any of
    /// them.
    fn choose(
        folders: &[PathBuf],
        network: &NetworkName,
        passed: &mut Vec<String>,
    ) -> Result<Self, DaemonError> {
        let lock_name = place::lock_name(network);
        let mut spot = None;
        for folder in folders {
            let lock_path = folder.join(&lock_name);
            if spot.is_some() {
                // folders may have been usable or not when another daemon chose: look in all of them
                if matches!(fault(folder), Ok(None)) && lock_path.exists() {
                    match Lock::take(&lock_path, network) {
                        Ok(lock) => lock.remove(),
                        Err(running @ DaemonError::Running { .. }) => return Err(running),
                        Err(_) => {}
                    }
                }
                continue;
            }
            if let Err(why) = private_folder(folder) {
                passed.extend(why);
                continue;
            }
            match Lock::take(&lock_path, network) {
                Ok(lock) => {
                    let socket = folder.join(place::socket_name(network));
                    lock.write(&own_line());
                    spot = Some(Self { folder: folder.clone(), socket, lock });
                }
                Err(DaemonError::File { source, .. }) => {
                    passed.push(format!("{}: {source}", folder.display()));
                }
                Err(error) => return Err(error),
            }
        }
        spot.ok_or_else(|| DaemonError::NoPlace { tried: passed.clone() })
    }

    fn listen(&self) -> io::Result<UnixListener> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // the folder is private from the start; the mode of the socket is a second safeguard
        let listener = bind(&self.socket)?;
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    fn leave(&self) {
        if self.lock.is_there() {
            let _ = fs::remove_file(&self.socket);
        }
        self.lock.remove();
        // fails if another network or an agent uses it
        let _ = fs::remove_dir(&self.folder);
    }
}

impl Lock {
    fn take(path: &Path, network: &NetworkName) -> Result<Self, DaemonError> {
        let failed = |error: io::Error| DaemonError::file("lock", path, error);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
            let mut file = File::from(file.map_err(|error| failed(error.into()))?);
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let pid = holder.lines().next().and_then(|pid| pid.parse().ok());
                    return Err(DaemonError::Running { network: network.clone(), pid });
                }
                // some network file systems have no locks: better a file without a lock than no network
                Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let lock = Self { path: path.to_owned(), file };
            // its last holder may have removed it just now
            if lock.is_there() {
                return Ok(lock);
            }
        }
    }

    /// Whether the path still leads to this file.
    fn is_there(&self) -> bool {
        let identity = |about: fs::Metadata| (about.dev(), about.ino());
        let (here, there) = (self.file.metadata(), fs::symlink_metadata(&self.path));
        here.ok().zip(there.ok()).is_some_and(|(here, there)| identity(here) == identity(there))
    }

    /// Replaces the contents. Readers see the old or the new ones, maybe with old bytes behind them.
    fn write(&self, text: &str) {
        let _ = self.file.write_all_at(text.as_bytes(), 0);
        let _ = self.file.set_len(text.len() as u64);
    }

    fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The first line of a lock.
fn own_line() -> String {
    format!("{}\n", std::process::id())
}

fn write_note(note: &Lock, socket: &Path) {
    note.write(&Note { pid: std::process::id(), socket: socket.to_owned() }.to_string());
}

/// Binds a socket. If its path is too long for a socket's address, goes through its opened folder, on systems
/// that allow it.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixListener::bind(socket);
    };
    if socket.as_os_str().len() <= MOST_OF_A_PATH {
        return UnixListener::bind(socket);
    }
    if !cfg!(target_os = "linux") {
        let words =
            format!("its path is longer than the {MOST_OF_A_PATH} bytes that a socket's path may have");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, words));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty())?;
    UnixListener::bind(Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name))
}

/// The name of this machine in names of notes.
fn system() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let root = fs::metadata("/").map_or((0, 0), |root| (root.dev(), root.ino()));
    place::system(&boot, root)
}

/// Removes what killed daemons left here before this machine, or another one with the same home, was
/// rebooted.
fn sweep(state: &Path, own: &str) {
    let Ok(entries) = fs::read_dir(state) else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| name != own) {
        let Some(system) = name.strip_prefix(NOTE_PREFIX) else { continue };
        let Ok(note) = File::open(state.join(&name)) else { continue };
        if flock(&note, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(state.join(&name));
            let _ = fs::remove_dir_all(state.join(format!("{RUN_PREFIX}{system}")));
        }
    }
}

#[cfg(test)]
mod tests;
