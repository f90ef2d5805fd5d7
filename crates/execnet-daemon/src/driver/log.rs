//! The daemon's log: one file of at most 10 MiB, and the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::text;

/// A log longer than this, in bytes, becomes `log.1`.
const LONG: u64 = 10 * 1024 * 1024;

/// How many characters of a line to keep: a part of it may come from a host.
const LINE: usize = 2_000;

/// Writes to a file, and starts a new one when it grows long. Drops what it cannot write.
pub(crate) struct Log {
    path: PathBuf,
    current: Mutex<Current>,
    /// stderr goes to the log as well, so that a panic shows up there.
    takes_stderr: bool,
}

struct Current {
    file: Option<File>,
    length: u64,
    /// Only a part of the last line could be written: the next one starts a new line.
    torn: bool,
}

/// Sends this process's events to the log. `EXECNET_LOG` sets the level, `info` by default.
pub(crate) fn start(path: &Path, takes_stderr: bool) -> io::Result<()> {
    let log = Log::open(path, takes_stderr)?;
    let filter = EnvFilter::try_from_env("EXECNET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
    // a second daemon in one process, as in tests, uses the first one's log
    let _ = tracing::subscriber::set_global_default(subscriber.with_writer(log).finish());
    Ok(())
}

impl Log {
    fn open(path: &Path, takes_stderr: bool) -> io::Result<Self> {
        let log = Self {
            path: path.to_owned(),
            current: Mutex::new(Current { file: None, length: 0, torn: false }),
            takes_stderr,
        };
        log.reopen(&mut log.current.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(log)
    }

    fn reopen(&self, current: &mut Current) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        current.length = file.metadata()?.len();
        if self.takes_stderr {
            rustix::stdio::dup2_stderr(&file)?;
        }
        current.file = Some(file);
        Ok(())
    }

    fn write(&self, bytes: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.length + bytes.len() as u64 > LONG {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            let _ = fs::rename(&self.path, old);
            let _ = self.reopen(&mut current);
        }
        let bytes = if current.torn { &[b"\n", bytes].concat() } else { bytes };
        let Some(file) = &mut current.file else { return };
        let written = write_some(file, bytes);
        current.length += written as u64;
        if written > 0 {
            current.torn = written < bytes.len();
        }
    }
}

/// Writes as much as there is room for. Gives the number of bytes.
fn write_some(file: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
}

/// Turns an event into one line that is safe to show on a terminal.
fn line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    text::clean(text.trim_end_matches('\n'), LINE) + "\n"
}

/// Takes one event's text, and writes it to the log as a line.
pub(crate) struct Line<'a>(&'a Log);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(line(bytes).as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_put_aside() {
        let folder =
            std::env::temp_dir().join(format!("execnet-log-{}-{}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("log");
        File::create(&path).unwrap().set_len(LONG - 3).unwrap();
        let log = Log::open(&path, false).unwrap();
        log.make_writer().write_all(b"ab").unwrap();
        log.make_writer().write_all(b"next").unwrap();
        assert_eq!(fs::metadata(folder.join("log.1")).unwrap().len(), LONG);
        assert_eq!(fs::read(&path).unwrap(), b"next\n");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap()) & 0o777, 0o600);
        log.make_writer().write_all(b"cannot enter /a\nb\x1b[2J\xc2\x9b31m\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"next\ncannot enter /a b\\x9b31m\n");
        log.make_writer().write_all("x".repeat(100_000).as_bytes()).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2 * LINE as u64);
        fs::remove_dir_all(folder).unwrap();
    }
}
