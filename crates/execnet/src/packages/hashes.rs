//! The hashes of files, each read once: they are remembered by what tells that a file has changed, in this
//! process and in `$XDG_CACHE_HOME/execnet/hashes`.

use std::collections::HashMap;
use std::collections::HashSet;
use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use execnet_proto::place::UserFolder;
use sha2::{Digest, Sha256};

use super::beneath::{self, Stamp};
use super::manifest::Hash;

/// Its first bytes, and how long each record is.
const HEAD: &[u8] = b"execnet hashes 1\n";
const RECORD: usize = 88;

/// How many hashes the file has at most.
const MOST: usize = 200_000;

/// Hashes are worth keeping once this many bytes were read for them.
const WORTH: u64 = 1 << 20;

/// A file that changed less than this long ago may change once more without another time.
const SETTLED: Duration = Duration::from_secs(2);

/// All threads share them. While one reads a file, the others wait: they mostly want the same files.
static HASHES: LazyLock<Mutex<Hashes>> = LazyLock::new(|| Mutex::new(Hashes::load()));

#[derive(Default)]
struct Hashes {
    known: HashMap<Stamp, Hash>,
    /// Those that this process has asked for.
    used: HashSet<Stamp>,
    /// Bytes that were read for hashes that the file lacks.
    fresh: u64,
}

/// The hash of a file, and its stamp.
pub(crate) fn of(root: &Path, file: &Path) -> io::Result<(Stamp, Hash)> {
    let stamp = beneath::stamp(root, file)?;
    let mut hashes = lock();
    if let Some(hash) = hashes.known.get(&stamp).copied() {
        hashes.used.insert(stamp);
        return Ok((stamp, hash));
    }
    let (stamp, hash) = read(root, file)?;
    if is_settled(&stamp) {
        hashes.known.insert(stamp, hash);
        hashes.used.insert(stamp);
        hashes.fresh += stamp.size;
    }
    Ok((stamp, hash))
}

/// Forgets what is known about a file: it has other content.
pub(crate) fn forget(stamp: &Stamp) {
    lock().known.remove(stamp);
}

/// Writes the file, if that is worth it. Without it, everything just takes longer.
pub(crate) fn keep() {
    let mut hashes = lock();
    if hashes.fresh >= WORTH {
        hashes.fresh = 0;
        let _ = hashes.save();
    }
}

fn lock() -> MutexGuard<'static, Hashes> {
    HASHES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a file for its hash. If it changes meanwhile, it is read again.
fn read(root: &Path, file: &Path) -> io::Result<(Stamp, Hash)> {
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let (mut source, before) = beneath::open(root, file)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0;
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            digest.update(&buffer[..count]);
            size += count as u64;
            if size > before.size {
                break;
            }
        }
        let after = beneath::stamp(root, file)?;
        if before == after && size == before.size {
            return Ok((before, digest.finalize().into()));
        }
    }
    Err(io::Error::other("it changes while it is read"))
}

fn is_settled(stamp: &Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let latest = stamp.mtime.0.max(stamp.ctime.0);
    now.saturating_sub(latest) > SETTLED.as_secs() as i64
}

impl Hashes {
    fn load() -> Self {
        let known = path().and_then(|path| fs::read(path).ok()).and_then(|bytes| decode(&bytes));
        Self { known: known.unwrap_or_default(), ..Self::default() }
    }

    fn save(&self) -> io::Result<()> {
        let Some(path) = path() else { return Ok(()) };
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        // another program may have added some
        let mut all = fs::read(&path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        all.extend(self.known.iter().map(|(stamp, hash)| (*stamp, *hash)));
        if all.len() > MOST {
            all.retain(|stamp, _| self.used.contains(stamp));
        }
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&encode(&all))?;
        file.persist(path)?;
        Ok(())
    }
}

fn path() -> Option<PathBuf> {
    let folder = UserFolder::Cache.find(env::var_os(UserFolder::Cache.variable()), env::home_dir())?;
    Some(folder.join("hashes"))
}

/// Behind the records stands their hash.
fn encode(hashes: &HashMap<Stamp, Hash>) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    for (stamp, hash) in hashes.iter().take(MOST) {
        let Stamp { device, inode, size, mtime, ctime } = stamp;
        for number in [*device, *inode, *size, mtime.0 as u64, ctime.0 as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&mtime.1.to_le_bytes());
        bytes.extend_from_slice(&ctime.1.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(hash);
    }
    let seal: Hash = Sha256::digest(&bytes).into();
    bytes.extend_from_slice(&seal);
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Stamp, Hash>> {
    let (rest, seal) = bytes.split_last_chunk::<32>()?;
    let records = rest.strip_prefix(HEAD)?;
    let digest: Hash = Sha256::digest(rest).into();
    if digest != *seal || !records.len().is_multiple_of(RECORD) {
        return None;
    }
    let record = |record: &[u8]| {
        let long = |at: usize| Some(u64::from_le_bytes(*record.get(at..)?.first_chunk()?));
        let short = |at: usize| Some(u32::from_le_bytes(*record.get(at..)?.first_chunk()?));
        let stamp = Stamp {
            device: long(0)?,
            inode: long(8)?,
            size: long(16)?,
            mtime: (long(24)? as i64, short(40)?),
            ctime: (long(32)? as i64, short(44)?),
        };
        Some((stamp, *record.get(56..)?.first_chunk()?))
    };
    records.chunks_exact(RECORD).map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64) -> Stamp {
        Stamp { device: 1, inode, size: 3, mtime: (-4, 5), ctime: (6, 7) }
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let hashes: HashMap<Stamp, Hash> = (0..5).map(|at| (stamp(at), [at as u8; 32])).collect();
        let bytes = encode(&hashes);
        assert_eq!(bytes.len(), HEAD.len() + 5 * RECORD + 32);
        assert_eq!(decode(&bytes), Some(hashes));
        assert_eq!(decode(&encode(&HashMap::new())), Some(HashMap::new()));
    }

    #[test]
    fn a_damaged_file_counts_as_empty() {
        let bytes = encode(&HashMap::from([(stamp(1), [1; 32])]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None);
            assert_eq!(decode(&bytes[..at]), None);
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let name = Path::new("a.py");
        let write = |text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("one");
        let (_, one) = of(folder.path(), name).unwrap();
        // of the same size, and within the same tick of the file system's clock
        write("two");
        let (stamp, two) = of(folder.path(), name).unwrap();
        assert_ne!(one, two);
        assert_eq!(two, Hash::from(Sha256::digest("two")));
        // once its times are older, its stamp is trusted
        assert!(!lock().known.contains_key(&stamp));
        let old = Stamp { mtime: (1, 0), ctime: (1, 0), ..stamp };
        assert!(!is_settled(&stamp) && is_settled(&old));
    }
}
