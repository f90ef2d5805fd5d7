//! Where what uv has found is kept: `$XDG_CACHE_HOME/execnet/packages`, with a folder for each set of pins
//! and facts.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::super::PackagesError;
use super::Resolved;
use super::command::Failed;

/// Another program's uv may have much to download.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// Unused for so long, it goes.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The start of the names of drafts, which are removed like what is unused.
const DRAFT: &str = ".new-";

/// The place of one result.
pub(super) struct Cache {
    /// That of all results.
    all: PathBuf,
    folder: PathBuf,
}

/// A result that is being made.
pub(super) struct Draft(TempDir);

impl Cache {
    /// For what these texts say, in a folder for all.
    pub(super) fn open(all: &Path, key: &[String]) -> Result<Self, PackagesError> {
        fs::create_dir_all(all).map_err(|error| error_at(all, &error))?;
        let mut hash = Sha256::new();
        hash.update(b"execnet packages 1");
        for text in key {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { folder: all.join(&name[..32]), all: all.to_owned() })
    }

    /// The result, if it was made before.
    pub(super) fn read(&self) -> Option<Resolved> {
        let about = fs::read(self.folder.join("about.json")).ok()?;
        let mut resolved: Resolved = serde_json::from_slice(&about).ok()?;
        resolved.folder = self.folder.join("packages");
        // used again
        let now = fs::FileTimes::new().set_modified(SystemTime::now());
        let _ = File::open(self.folder.join("about.json")).and_then(|file| file.set_times(now));
        resolved.folder.is_dir().then_some(resolved)
    }

    /// Held by whoever runs uv.
    pub(super) fn lock(&self) -> Result<File, PackagesError> {
        let path = self.all.join("lock");
        let error = |error: &io::Error| error_at(&path, error);
        let options = File::options().create(true).append(true).open(&path);
        let file = options.map_err(|cause| error(&cause))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(cause) => return Err(error(&cause.into())),
            }
        }
    }

    /// Starts a result. Removes what nobody has used for long; the lock is held.
    pub(super) fn draft(&self) -> Result<Draft, PackagesError> {
        for entry in fs::read_dir(&self.all).into_iter().flatten().flatten() {
            let about = entry.path().join("about.json");
            let is_draft = entry.file_name().to_string_lossy().starts_with(DRAFT);
            let used = fs::metadata(about).and_then(|metadata| metadata.modified());
            let age = used.map(|used| used.elapsed().unwrap_or_default());
            // a draft is nobody's while we hold the lock
            if is_draft || age.is_ok_and(|age| age > UNUSED) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = tempfile::Builder::new().prefix(DRAFT).tempdir_in(&self.all);
        let draft = Draft(folder.map_err(|error| error_at(&self.all, &error))?);
        fs::create_dir(draft.wheels()).map_err(|error| error_at(&self.all, &error))?;
        Ok(draft)
    }

    /// Makes a draft the result, at once and whole.
    pub(super) fn keep(&self, draft: Draft, mut resolved: Resolved) -> Result<Resolved, PackagesError> {
        let about = serde_json::to_vec(&resolved).unwrap_or_default();
        let error = |error: io::Error| error_at(&self.folder, &error);
        // nothing may have been wanted but what is left out
        fs::create_dir_all(draft.packages()).map_err(error)?;
        fs::write(draft.0.path().join("about.json"), about).map_err(error)?;
        let _ = fs::remove_dir_all(draft.wheels());
        let _ = fs::remove_dir_all(&self.folder);
        fs::rename(draft.0.keep(), &self.folder).map_err(error)?;
        resolved.folder = self.folder.join("packages");
        Ok(resolved)
    }
}

impl Draft {
    /// Where uv unpacks.
    pub(super) fn packages(&self) -> PathBuf {
        self.0.path().join("packages")
    }

    /// Where wheels of installed files are.
    pub(super) fn wheels(&self) -> PathBuf {
        self.0.path().join("wheels")
    }

    /// Writes a file of lines for uv.
    pub(super) fn write(&self, name: &str, lines: &[String]) -> Result<PathBuf, Failed> {
        let path = self.0.path().join(name);
        let failed = |error: io::Error| Failed::Other(format!("{}: {error}", path.display()));
        fs::write(&path, lines.join("\n") + "\n").map_err(failed)?;
        Ok(path)
    }

    pub(super) fn error(&self, path: &Path, error: &io::Error) -> PackagesError {
        error_at(path, error)
    }
}

fn error_at(path: &Path, error: &io::Error) -> PackagesError {
    PackagesError::Cache { path: path.to_owned(), reason: error.to_string() }
}
