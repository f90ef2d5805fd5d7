//! What interpreters have answered, kept for other programs: `$XDG_CACHE_HOME/execnet/environments`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use execnet_proto::place::UserFolder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::watch::Watch;
use super::{Installed, Key, SOURCE};

/// Answers that nobody has wanted for so long go.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The place of one answer.
pub(super) struct Disk {
    path: PathBuf,
    key: String,
}

#[derive(Serialize, Deserialize)]
struct Answer<I> {
    /// The whole of it: the file's name is only a hash.
    key: String,
    watch: Watch,
    installed: I,
}

impl Disk {
    /// None without a home folder.
    pub(super) fn of(key: &Key) -> Option<Self> {
        if cfg!(test) {
            // tests leave nothing in anybody's home folder
            return None;
        }
        let variable = std::env::var_os(UserFolder::Cache.variable());
        let folder = UserFolder::Cache.find(variable, std::env::home_dir())?;
        Some(Self::within(&folder.join("environments"), key))
    }

    fn within(folder: &Path, key: &Key) -> Self {
        // the system's version is among the facts
        let system = rustix::system::uname();
        let (release, version) = (system.release().to_bytes(), system.version().to_bytes());
        let key = format!("{key:?} {release:?} {version:?} {}", hash(SOURCE));
        Self { path: folder.join(hash(&key)), key }
    }

    /// The answer, if it still holds.
    pub(super) fn read(&self) -> Option<Installed> {
        let bytes = fs::read(&self.path).ok()?;
        let answer: Answer<Installed> = serde_json::from_slice(&bytes).ok()?;
        if answer.key != self.key || !answer.watch.holds() {
            return None;
        }
        let mut installed = answer.installed;
        installed.watch = answer.watch;
        installed.index();
        // used again
        let now = fs::FileTimes::new().set_modified(SystemTime::now());
        let _ = fs::File::options().append(true).open(&self.path).and_then(|file| file.set_times(now));
        Some(installed)
    }

    /// Keeps an answer. Where that is impossible, everything just takes longer.
    pub(super) fn write(&self, installed: &Installed) {
        let Some(folder) = self.path.parent() else { return };
        let answer = Answer { key: self.key.clone(), watch: installed.watch.clone(), installed };
        let Ok(bytes) = serde_json::to_vec(&answer) else { return };
        let keep = || {
            fs::create_dir_all(folder)?;
            for entry in fs::read_dir(folder)?.flatten() {
                let used = entry.metadata().and_then(|metadata| metadata.modified());
                if used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age > UNUSED)) {
                    let _ = fs::remove_file(entry.path());
                }
            }
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&bytes)?;
            file.persist(&self.path).map(drop).map_err(|error| error.error)
        };
        let _: std::io::Result<()> = keep();
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, ask};
    use super::*;

    #[test]
    fn an_answer_holds_until_something_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let (site, kept) = (folder.path().join("site"), folder.path().join("kept"));
        fs::create_dir_all(site.join("a-1.dist-info")).unwrap();
        fs::write(site.join("a-1.dist-info/METADATA"), "Name: a\nVersion: 1\n").unwrap();
        let environment = Environment::new("python3").path(vec![site.clone()]);
        let key = || Key::of(&environment);
        // what has just changed is never trusted
        let asked = ask(&environment).unwrap();
        let disk = Disk::within(&kept, &key());
        assert!(disk.read().is_none());
        disk.write(&asked);
        let start = std::time::Instant::now();
        while disk.read().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "it never holds");
            disk.write(&ask(&environment).unwrap());
        }
        let read = disk.read().unwrap();
        assert_eq!(read.facts, asked.facts);
        assert_eq!(read.distributions[read.find("A").unwrap()].version, "1");
        // another program's
        let other = Key { folder: Some("/".into()), ..key() };
        assert!(Disk::within(&kept, &other).read().is_none());
        fs::write(Disk::within(&kept, &other).path, fs::read(&disk.path).unwrap()).unwrap();
        assert!(Disk::within(&kept, &other).read().is_none());
        fs::create_dir(site.join("b-1.dist-info")).unwrap();
        assert!(disk.read().is_none());
        fs::write(&disk.path, "{").unwrap();
        assert!(disk.read().is_none());
    }
}
