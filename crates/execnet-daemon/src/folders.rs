//! The daemon's files: the private folder where clients meet it, and the folder of its state.
//!
//! Nothing in /tmp is trusted that is not ours alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use execnet_proto::place;
use execnet_proto::spec::NetworkName;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use tokio::net::UnixListener;

use crate::DaemonError;

/// `/tmp/execnet-UID`.
pub(crate) fn runtime_folder() -> PathBuf {
    place::runtime_folder(rustix::process::geteuid().as_raw()).into()
}

/// `$XDG_STATE_HOME/execnet/NAME`, by default under `~/.local/state`.
pub(crate) fn state_folder(network: &NetworkName) -> Option<PathBuf> {
    // the XDG base directory specification has relative paths ignored
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(base.join("execnet").join(network.as_str()))
}

/// The socket where clients meet the daemon, and the lock that makes it the only daemon of its network.
#[derive(Debug)]
pub(crate) struct Meeting {
    folder: PathBuf,
    socket: PathBuf,
    lock_path: PathBuf,
    lock: File,
    network: NetworkName,
}

/// What became of the meeting place.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is as it was.
    AsItWas,
    /// The socket was gone and was bound again.
    Again(UnixListener),
    /// The lock was gone, and another daemon of the network has it now.
    Superseded,
}

impl Meeting {
    /// Takes the network's lock.
    pub(crate) fn take(folder: &Path, network: &NetworkName) -> Result<Self, DaemonError> {
        private_folder(folder)?;
        let lock_path = folder.join(place::lock_name(network));
        let lock = Self::lock(&lock_path, network)?;
        let socket = folder.join(place::socket_name(network));
        Ok(Self { folder: folder.to_owned(), socket, lock_path, lock, network: network.clone() })
    }

    fn lock(lock_path: &Path, network: &NetworkName) -> Result<File, DaemonError> {
        let failed = |error: io::Error| DaemonError::file("lock", lock_path, error);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let lock = rustix::fs::open(lock_path, flags, Mode::RUSR | Mode::WUSR);
            let mut lock = File::from(lock.map_err(|error| failed(error.into()))?);
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut pid = String::new();
                    let _ = lock.read_to_string(&mut pid);
                    return Err(DaemonError::Running {
                        network: network.clone(),
                        pid: pid.trim().parse().ok(),
                    });
                }
                Err(error) => return Err(failed(error.into())),
            }
            // the one who had it may have removed it just now
            let Some(true) = is_same(&lock, lock_path) else { continue };
            lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
            return Ok(lock);
        }
    }

    /// Binds the socket; one that is left over from another daemon is replaced.
    pub(crate) fn listen(&mut self) -> io::Result<UnixListener> {
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // the folder is private from the start; the mode of the socket says it again
        let listener = UnixListener::bind(&self.socket)?;
        fs::set_permissions(&self.socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(listener)
    }

    /// Makes again what somebody removed.
    pub(crate) fn keep(&mut self) -> Result<Kept, DaemonError> {
        if is_same(&self.lock, &self.lock_path) == Some(false) {
            private_folder(&self.folder)?;
            match Self::lock(&self.lock_path, &self.network) {
                Ok(lock) => self.lock = lock,
                Err(DaemonError::Running { .. }) => return Ok(Kept::Superseded),
                Err(error) => return Err(error),
            }
        }
        if fs::symlink_metadata(&self.socket).is_ok() {
            return Ok(Kept::AsItWas);
        }
        private_folder(&self.folder)?;
        let again = self.listen().map_err(|error| DaemonError::file("listen at", &self.socket, error))?;
        Ok(Kept::Again(again))
    }

    /// Lets nobody in any more. The network is still ours.
    pub(crate) fn close(&self) {
        let _ = fs::remove_file(&self.socket);
    }

    /// Removes what was made.
    pub(crate) fn leave(&self) {
        self.close();
        if is_same(&self.lock, &self.lock_path) == Some(true) {
            let _ = fs::remove_file(&self.lock_path);
        }
        // only if no other network and no agent uses it
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Whether a file is still the one with this name.
fn is_same(file: &File, path: &Path) -> Option<bool> {
    let (here, there) = (file.metadata().ok()?, fs::symlink_metadata(path).ok());
    Some(there.is_some_and(|there| (here.dev(), here.ino()) == (there.dev(), there.ino())))
}

/// Makes the folder, or checks that it is ours alone.
fn private_folder(folder: &Path) -> Result<(), DaemonError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(DaemonError::file("make the folder", folder, error)),
    }
    let about = fs::symlink_metadata(folder).map_err(|error| DaemonError::file("look at", folder, error))?;
    let what = if !about.is_dir() {
        "it is not a folder"
    } else if about.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if about.mode() & 0o077 != 0 {
        "other users may enter it"
    } else {
        return Ok(());
    };
    Err(DaemonError::NotPrivate { folder: folder.to_owned(), what })
}

/// What a network's daemon keeps from one life to the next.
#[derive(Debug)]
pub(crate) struct State {
    /// 64 hex digits that agents ask for.
    pub(crate) secret: String,
    /// Count of the daemon's starts.
    pub(crate) life: u32,
}

impl State {
    /// That of a daemon that keeps nothing.
    pub(crate) fn fresh() -> io::Result<Self> {
        Ok(Self { secret: random_secret()?, life: 1 })
    }

    /// Reads the network's state, with its count of lives raised. Makes it where there is none.
    pub(crate) fn begin_life(folder: &Path) -> Result<Self, DaemonError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| DaemonError::file("make the folder", folder, error))?;
        let (secret, is_new) = secret(&folder.join("secret"))?;
        let path = folder.join("life");
        let life = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u32>().ok().and_then(|life| life.checked_add(1)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => is_new.then_some(1),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(DaemonError::file("read", &path, error)),
        };
        // agents of earlier lives must see a higher number than any before: starts are rarer than seconds
        let life = life.unwrap_or_else(seconds);
        write_atomically(&path, format!("{life}\n").as_bytes())?;
        Ok(Self { secret, life })
    }
}

fn seconds() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// The secret, and whether it was made just now.
fn secret(path: &Path) -> Result<(String, bool), DaemonError> {
    match fs::read(path) {
        Ok(bytes) => {
            let about = fs::metadata(path).map_err(|error| DaemonError::file("look at", path, error))?;
            if about.mode() & 0o077 != 0 {
                let words = "other users may use it; `chmod 600` it, or remove it to have a new one made";
                return Err(DaemonError::file("use", path, io::Error::other(words)));
            }
            let text = String::from_utf8_lossy(&bytes);
            let secret = text.trim();
            if secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok((secret.to_owned(), false));
            }
            let error = io::Error::other("it does not hold 64 hex digits; remove it to have a new one made");
            Err(DaemonError::file("use", path, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random_secret().map_err(|error| DaemonError::file("make", path, error))?;
            write_atomically(path, format!("{secret}\n").as_bytes())?;
            Ok((secret, true))
        }
        Err(error) => Err(DaemonError::file("read", path, error)),
    }
}

/// 64 hex digits.
fn random_secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Either the old contents or the new ones are there at any moment, on the disk too.
fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), DaemonError> {
    let draft = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&draft);
        DaemonError::file("write", path, error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder() -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("execnet-test-{}-{}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn a_life_is_counted_and_the_secret_stays() {
        let folder = folder();
        let first = State::begin_life(&folder.join("n")).unwrap();
        let second = State::begin_life(&folder.join("n")).unwrap();
        assert_eq!((first.life, second.life), (1, 2));
        assert_eq!(first.secret, second.secret);
        let mode = |name: &str| fs::metadata(folder.join("n").join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(""), mode("secret"), mode("life")), (0o700, 0o600, 0o600));
        // a lost or broken count does not go back
        fs::write(folder.join("n/life"), "x").unwrap();
        assert!(State::begin_life(&folder.join("n")).unwrap().life > 1_000_000);
        fs::set_permissions(folder.join("n/secret"), PermissionsExt::from_mode(0o640)).unwrap();
        assert!(State::begin_life(&folder.join("n")).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(folder.join("n/secret"), PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(folder.join("n/secret"), "x").unwrap();
        assert!(State::begin_life(&folder.join("n")).unwrap_err().to_string().contains("64 hex digits"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_place_that_is_not_ours_alone_is_refused() {
        let folder = folder();
        let network: NetworkName = "n".parse().unwrap();
        fs::create_dir(folder.join("open")).unwrap();
        fs::set_permissions(folder.join("open"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(folder.join("private")).unwrap();
        fs::set_permissions(folder.join("private"), PermissionsExt::from_mode(0o700)).unwrap();
        symlink(folder.join("private"), folder.join("link")).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        for (name, why) in [("open", "other users"), ("link", "not a folder"), ("file", "not a folder")] {
            let error = Meeting::take(&folder.join(name), &network).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        symlink("/nowhere", folder.join("private/n.daemon.lock")).unwrap();
        assert!(Meeting::take(&folder.join("private"), &network).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_somebody_removed_is_made_again_unless_another_daemon_came() {
        let parent = folder();
        let folder = parent.join("run");
        let network: NetworkName = "n".parse().unwrap();
        let mut first = Meeting::take(&folder, &network).unwrap();
        let _listener = first.listen().unwrap();
        assert!(matches!(first.keep(), Ok(Kept::AsItWas)));
        fs::remove_file(&first.lock_path).unwrap();
        assert!(matches!(first.keep(), Ok(Kept::AsItWas)));
        assert!(matches!(Meeting::take(&folder, &network), Err(DaemonError::Running { .. })));
        fs::remove_dir_all(&folder).unwrap();
        let Ok(Kept::Again(_listener)) = first.keep() else { panic!("no socket") };
        assert!(matches!(Meeting::take(&folder, &network), Err(DaemonError::Running { .. })));
        fs::remove_dir_all(&folder).unwrap();
        let second = Meeting::take(&folder, &network).unwrap();
        assert!(matches!(first.keep(), Ok(Kept::Superseded)));
        second.leave();
        fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn there_is_one_daemon_of_a_network_and_it_leaves_nothing() {
        let parent = folder();
        let folder = parent.join("run");
        let network: NetworkName = "n".parse().unwrap();
        let first = Meeting::take(&folder, &network).unwrap();
        let error = Meeting::take(&folder, &network).unwrap_err();
        assert!(
            matches!(error, DaemonError::Running { pid: Some(pid), .. } if pid == std::process::id()),
            "{error}"
        );
        let other = Meeting::take(&folder, &"m".parse().unwrap()).unwrap();
        first.leave();
        drop(first);
        let again = Meeting::take(&folder, &network).unwrap();
        again.leave();
        other.leave();
        assert!(!folder.exists());
        fs::remove_dir_all(parent).unwrap();
    }
}
