//! Stands beside kept work that has no terminal: passes its output, our stdin and our signals until it ends
//! or is left.

use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use execnet::{ExitStatus, Output, Process, ProcessError, Replay, Signal};
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::Work;
use crate::commands::forward::{self, Recipient};
use crate::commands::pump::pump;
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::{self, say};
use crate::render::reason;
use crate::stdio::OwnStream;
use crate::text::{one_line, size};

/// The most that is taken of an output at a time, in bytes.
const CHUNK: usize = 65_536;

/// What becomes of our stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Nothing of it is read.
    Nothing,
    /// It is a terminal that is listened to for `~d`.
    Keys,
    /// It goes there; its end is not the end of the work's stdin.
    Some,
    /// It goes there, and its end, too.
    All,
}

/// Stands beside it. Returns its exit status once it has one.
pub(crate) fn stand_beside(process: Process, work: &Arc<Work>, feed: Feed) -> CommandResult {
    let fail = |error: io::Error| CommandError::new(Exit::Failed, "cannot pass its streams").because(&error);
    let process = Arc::new(process);
    forward::forward(Beside { process: process.clone(), work: work.clone() }).map_err(fail)?;
    let outputs = [
        pass_on(process.stdout(), OwnStream::new(&io::stdout()).map_err(fail)?, "stdout", work, false)
            .map_err(fail)?,
        pass_on(process.stderr(), OwnStream::new(&io::stderr()).map_err(fail)?, "stderr", work, false)
            .map_err(fail)?,
    ];
    match feed {
        Feed::Nothing => {}
        Feed::Keys => listen(&process, work).map_err(fail)?,
        Feed::Some | Feed::All => {
            let from = OwnStream::new(&io::stdin()).map_err(fail)?;
            let mut stdin = process.stdin();
            if feed == Feed::All {
                stdin = stdin.close_on_drop();
            }
            // it may wait for input that never comes, so nothing joins it
            thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || drop(pump(from, &mut stdin)))
                .map_err(fail)?;
        }
    }
    let ended = process.wait();
    let all_written = outputs.into_iter().all(|output| output.join().unwrap_or(false));
    match ended {
        Ok(status @ ExitStatus::NotStarted { .. }) => {
            let ExitStatus::NotStarted { message, .. } = &status else { return Ok(status.code().into()) };
            print::error(&CommandError::new(Exit::Failed, format!("cannot start {work}: {message}")));
            Ok(status.code().into())
        }
        Ok(status) if status.code() == 0 && !all_written => Ok(Exit::Failed.into()),
        Ok(status) => Ok(ExitCode::from(status.code())),
        Err(ProcessError::Lost(lost)) => Err(work.lost(&lost)),
        Err(error) => Err(CommandError::new(Exit::HostsFailed, error)),
    }
}

/// Shows what a reader reads, until its end or until we are ended. Returns its exit status.
pub(crate) fn read_beside(reader: &Process, work: &Arc<Work>, replay: Replay) -> CommandResult {
    let fail = |error: io::Error| CommandError::new(Exit::Failed, "cannot pass its output").because(&error);
    let late = replay != Replay::All;
    let [out, err] = [OwnStream::new(&io::stdout()), OwnStream::new(&io::stderr())];
    let outputs = [
        pass_on(reader.stdout(), out.map_err(fail)?, "stdout", work, late).map_err(fail)?,
        pass_on(reader.stderr(), err.map_err(fail)?, "stderr", work, late).map_err(fail)?,
    ];
    let ended = reader.wait();
    let all_written = outputs.into_iter().all(|output| output.join().unwrap_or(false));
    match ended {
        Ok(ExitStatus::NotStarted { message, .. }) => {
            Err(CommandError::new(Exit::HostsFailed, format!("cannot read {work}: {message}")))
        }
        Ok(status) if status.code() == 0 && !all_written => Ok(Exit::Failed.into()),
        Ok(status) => Ok(ExitCode::from(status.code())),
        Err(ProcessError::Lost(lost)) => Err(work.unread(&lost)),
        Err(error) => Err(CommandError::new(Exit::HostsFailed, error)),
    }
}

/// Copies an output until its end, and says what is missing. `late`: nobody wants all of its beginning. False
/// if something was lost here.
fn pass_on(
    from: Output,
    mut to: OwnStream,
    name: &'static str,
    work: &Arc<Work>,
    mut late: bool,
) -> io::Result<JoinHandle<bool>> {
    let work = work.clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        loop {
            let Ok(piece) = from.receive_piece(CHUNK) else { return true };
            if piece.gone > 0 && !std::mem::take(&mut late) {
                say(&gone(piece.gone, name));
            }
            if piece.is_end {
                return true;
            }
            match to.write_all(&piece.bytes).and_then(|()| to.flush()) {
                Ok(()) => {}
                // nobody is there any more
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && name == "stdout" => {
                    work.leave(0);
                }
                Err(error) => {
                    say(&format!("execnet: cannot write to {name}: {error}"));
                    let _ = from.close();
                    return false;
                }
            }
        }
    })
}

/// `execnet: 3.2 GiB of stdout are gone`.
pub(crate) fn gone(bytes: u64, name: &str) -> String {
    format!("execnet: {} of {name} are gone: they are no longer held", size(bytes))
}

/// Listens to our terminal for `~d` and `~.`, each followed by Enter.
fn listen(process: &Arc<Process>, work: &Arc<Work>) -> io::Result<()> {
    let (process, work) = (process.clone(), work.clone());
    let mut lines = BufReader::new(OwnStream::new(&io::stdin())?);
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut line = Vec::new();
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            match line.trim_ascii() {
                b"~d" => work.leave(0),
                b"~." => process.end(),
                b"~?" => say("~d and Enter: leave it there; ~. and Enter: end it"),
                _ => {}
            }
        }
    })?;
    Ok(())
}

/// What gets our signals.
struct Beside {
    process: Arc<Process>,
    work: Arc<Work>,
}

impl Recipient for Beside {
    fn signal(&self, name: &str) {
        if let Some(signal) = Signal::ALL.iter().find(|signal| signal.name() == name) {
            // the wait for its end reports a lost process
            let _ = Process::signal(&self.process, *signal);
        }
    }

    fn unreachable(&self) -> Option<String> {
        let (why, host) = (Process::unreachable(&self.process)?, &self.process.node().host);
        Some(format!("{} is unreachable: {}", one_line(host), reason(host, &why)))
    }

    fn has_heard(&self) -> bool {
        Process::has_heard(&self.process)
    }

    fn host(&self) -> String {
        self.process.node().host.clone()
    }

    fn stops_with_us(&self) -> bool {
        false
    }

    fn is_left_by(&self, number: i32) -> bool {
        matches!(number, SIGHUP | SIGTERM)
    }

    fn left(&self, status: u8) -> ! {
        self.work.leave(status)
    }
}
