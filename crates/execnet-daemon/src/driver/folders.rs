//! The daemon's folders: those for its socket, and the one for its state.
//!
//! Trusts nothing in a shared folder unless it belongs to this user alone.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use execnet_proto::place::{self, UserFolder};
use execnet_proto::spec::NetworkName;
use execnet_proto::text::hex;

use crate::error::DaemonError;

/// Folders for the socket that need no state, best first.
pub(crate) fn runtime_folders() -> Vec<PathBuf> {
    let named = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    place::runtime_folders(rustix::process::geteuid().as_raw(), named.as_deref())
}

/// `$XDG_STATE_HOME/execnet/NAME`, by default under `~/.local/state`.
pub(crate) fn state_folder(network: &NetworkName) -> Option<PathBuf> {
    let folder = UserFolder::State.find(env::var_os(UserFolder::State.variable()), env::home_dir())?;
    Some(folder.join(network.as_str()))
}

/// The same for clients that have a home and no variables.
pub(crate) fn home_state_folder(network: &NetworkName) -> Option<PathBuf> {
    Some(UserFolder::State.find(None, env::home_dir())?.join(network.as_str()))
}

/// Why a folder is not this user's alone, if it is not.
pub(crate) fn fault(folder: &Path) -> io::Result<Option<&'static str>> {
    let about = fs::symlink_metadata(folder)?;
    Ok(if about.is_symlink() {
        Some("is a link")
    } else if !about.is_dir() {
        Some("is not a folder")
    } else if about.uid() != rustix::process::geteuid().as_raw() {
        Some("belongs to another user")
    } else if about.mode() & 0o077 != 0 {
        Some("is open to other users")
    } else {
        None
    })
}

/// Makes the folder, or checks that it is this user's alone. Fails with the reason, if there is one to tell.
pub(crate) fn private_folder(folder: &Path) -> Result<(), Option<String>> {
    let said = |error: io::Error| Some(format!("{} cannot be used: {error}", folder.display()));
    if let Some(above) = folder.parent() {
        // this user has no such folder
        let about = fs::symlink_metadata(above).map_err(|_| None)?;
        // in a folder with the sticky bit, as /tmp, nobody else can remove what is ours
        let is_sticky = about.mode() & 0o1000 != 0;
        let is_ours = about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0;
        if !about.is_dir() || !is_sticky && !is_ours {
            return Err(Some(format!("{} can be changed by other users", above.display())));
        }
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(said(error)),
        _ => {}
    }
    match fault(folder) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(Some(format!("{} {what}", folder.display()))),
        Err(error) => Err(said(error)),
    }
}

/// Neither a count of starts nor a time in seconds before 2097 gets this high: no daemon wrote a higher one.
/// Agents refuse it too.
const LAST_LIFE: u32 = 4_000_000_000;

/// What a network's daemon keeps from one life to the next.
#[derive(Debug)]
pub(crate) struct Life {
    /// The network's secret, 64 hex digits.
    pub(crate) secret: String,
    /// How often the daemon was started.
    pub(crate) number: u32,
}

impl Life {
    /// The first life of a daemon that keeps nothing.
    pub(crate) fn fresh() -> io::Result<Self> {
        Ok(Self { secret: random_secret()?, number: 1 })
    }

    /// Reads the network's state and raises its count of lives. Makes the state if there is none.
    pub(crate) fn begin(folder: &Path) -> Result<Self, DaemonError> {
        make_state_folder(folder)?;
        let (secret, is_new) = secret(&folder.join("secret"))?;
        let path = folder.join("life");
        let life = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u32>().ok().filter(|life| *life < LAST_LIFE).map(|life| life + 1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => is_new.then_some(1),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(DaemonError::file("read", &path, error)),
        };
        // agents of earlier lives must see a higher number than before: a daemon starts less than once a
        // second
        let life = life.unwrap_or_else(seconds);
        write_atomically(&path, format!("{life}\n").as_bytes())?;
        Ok(Self { secret, number: life })
    }
}

/// Makes the folder of the state, or checks that nobody else can write to it.
pub(crate) fn make_state_folder(folder: &Path) -> Result<(), DaemonError> {
    let failed = |what| move |error| DaemonError::file(what, folder, error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make the folder"))?;
    let about = fs::metadata(folder).map_err(failed("look at"))?;
    let what = if about.uid() != rustix::process::geteuid().as_raw() {
        "it belongs to another user"
    } else if about.mode() & 0o022 != 0 {
        "other users can write to it; `chmod 700` it"
    } else {
        return Ok(());
    };
    Err(DaemonError::file("keep the network's secret in", folder, io::Error::other(what)))
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
                let words = "other users have access to it; `chmod 600` it, or remove it to get a new one";
                return Err(DaemonError::file("use", path, io::Error::other(words)));
            }
            let text = String::from_utf8_lossy(&bytes);
            let secret = text.trim();
            if secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok((secret.to_owned(), false));
            }
            let error = io::Error::other("it does not hold 64 hex digits; remove it to get a new one");
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

/// A new secret, 64 hex digits.
fn random_secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(&bytes))
}

/// At any moment either the old or the new contents are there, on the disk too.
fn write_atomically(path: &Path, contents: &[u8]) -> Result<(), DaemonError> {
    let write = || {
        let draft = path.with_extension("new");
        // of a daemon that was killed here: files with random names would pile up
        let _ = fs::remove_file(&draft);
        let name = draft.file_name().unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut draft = tempfile::Builder::new().prefix(name).rand_bytes(0).tempfile_in(folder)?;
        draft.write_all(contents)?;
        draft.as_file().sync_all()?;
        draft.persist(path)?;
        Ok(())
    };
    write().map_err(|error| DaemonError::file("write", path, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        let first = Life::begin(&folder.join("n")).unwrap();
        let second = Life::begin(&folder.join("n")).unwrap();
        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!(first.secret, second.secret);
        let mode = |name: &str| fs::metadata(folder.join("n").join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(""), mode("secret"), mode("life")), (0o700, 0o600, 0o600));
        // a killed daemon may have left one behind
        fs::write(folder.join("n/life.new"), "4\n").unwrap();
        assert_eq!(Life::begin(&folder.join("n")).unwrap().number, 3);
        assert_eq!(fs::read_dir(folder.join("n")).unwrap().count(), 2);
        // a lost or broken count does not go back, and an impossibly high one is not believed
        for broken in ["x", "4294967295", "4294967294", "18446744073709551615"] {
            fs::write(folder.join("n/life"), broken).unwrap();
            let life = Life::begin(&folder.join("n")).unwrap().number;
            assert!(life > 1_000_000 && life < LAST_LIFE, "{broken}: {life}");
        }
        fs::set_permissions(folder.join("n"), PermissionsExt::from_mode(0o770)).unwrap();
        assert!(Life::begin(&folder.join("n")).unwrap_err().to_string().contains("chmod 700"));
        fs::set_permissions(folder.join("n"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::set_permissions(folder.join("n/secret"), PermissionsExt::from_mode(0o640)).unwrap();
        assert!(Life::begin(&folder.join("n")).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(folder.join("n/secret"), PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(folder.join("n/secret"), "x").unwrap();
        assert!(Life::begin(&folder.join("n")).unwrap_err().to_string().contains("64 hex digits"));
        fs::remove_dir_all(folder).unwrap();
    }
}
