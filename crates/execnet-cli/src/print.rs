//! Writing to the terminal: results to stdout, messages to stderr.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use execnet_proto::text::lines;
use indicatif::MultiProgress;

use crate::error::{CommandError, Exit};
use crate::style;

/// What is drawn on the terminal while lines are written, by number: they go above it.
static DRAWN: Mutex<BTreeMap<u64, MultiProgress>> = Mutex::new(BTreeMap::new());

/// Lines go above a drawing until this is dropped.
pub(crate) struct Below(u64);

/// From now on lines go above this drawing.
pub(crate) fn draw_below(drawing: MultiProgress) -> Below {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    drawn().insert(number, drawing);
    Below(number)
}

impl Drop for Below {
    fn drop(&mut self) {
        drawn().remove(&self.0);
    }
}

fn drawn() -> MutexGuard<'static, BTreeMap<u64, MultiProgress>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `write` with nothing drawn, as it writes to the terminal. Must not be nested.
pub(crate) fn above<T>(write: impl FnOnce() -> T) -> T {
    fn suspend<T>(drawings: &[MultiProgress], write: impl FnOnce() -> T) -> T {
        let mut write = Some(write);
        let mut result = None;
        within(drawings, &mut || result = write.take().map(|write| write()));
        result.unwrap_or_else(|| unreachable!())
    }
    fn within(drawings: &[MultiProgress], act: &mut dyn FnMut()) {
        match drawings.split_first() {
            Some((first, others)) => first.suspend(|| within(others, act)),
            None => act(),
        }
    }
    let drawings: Vec<MultiProgress> = drawn().values().cloned().collect();
    suspend(&drawings, write)
}

/// As [`above`], for stdout, which may be something else than the terminal.
pub(crate) fn above_on_stdout<T>(write: impl FnOnce() -> T) -> T {
    if io::stdout().is_terminal() { above(write) } else { write() }
}

/// Writes to stdout as it is. A reader that closed the pipe (`execnet status | head -1`) is no error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    write(io::stdout().lock(), text)
}

/// Writes coloured text to stdout, or plain text where colours are not wanted.
pub(crate) fn print_styled(text: &str) -> Result<(), CommandError> {
    write(anstream::stdout().lock(), text)
}

fn write(mut out: impl Write, text: &str) -> Result<(), CommandError> {
    match above_on_stdout(|| out.write_all(text.as_bytes()).and_then(|()| out.flush())) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::new(Exit::Failed, "cannot write to stdout").because(&error))
        }
        _ => Ok(()),
    }
}

/// Writes lines to stderr, escaped. Ignores failures to write.
pub(crate) fn say(text: &str) {
    let _ = above(|| writeln!(io::stderr(), "{}", lines(text)));
}

/// Writes coloured lines to stderr, or plain ones where colours are not wanted. The text must be escaped
/// already.
pub(crate) fn say_styled(text: &str) {
    let _ = above(|| writeln!(anstream::stderr().lock(), "{text}"));
}

/// Writes an error to stderr.
pub(crate) fn error(error: &CommandError) {
    say_styled(&style::message(error.to_string().trim_end()));
}
