//! Where an interpreter runs: as a process of a network, or as a child of this program (`local.rs`). Nothing else of a gateway knows which.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::node::Node;
use crate::process::{Output, Process, ProcessError, Stdin};
use crate::status::{ExitStatus, Signal};

/// Bytes that are taken from stdout or stderr at a time.
pub(super) const READ: usize = 256 * 1024;

/// A running interpreter, as bytes.
pub(super) trait Carrier: Send + Sync {
    /// Waits for stdout, and hands over what came. Interrupted as every wait of the crate; one thread at a time.
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop>;

    /// Writes some of `bytes` to stdin, and says how many. Waits for room only if told to. One thread at a time.
    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop>;

    /// As `send`; may keep what the bytes are a part of, instead of a copy, until they have arrived.
    fn share(&self, bytes: &Bytes, wait: bool) -> Result<usize, Stop> {
        self.send(bytes, wait)
    }

    /// Hands over what comes on stderr, up to its end.
    fn errors(&self, take: &mut dyn FnMut(&[u8]));

    /// Waits for the interpreter's end.
    fn ending(&self, timeout: Duration) -> Option<Ending>;

    /// Ends it at once, as soon as it can be reached.
    fn kill(&self);

    /// Why it cannot be reached just now.
    fn unreachable(&self) -> Option<String> {
        None
    }

    /// It is ready for what it was started for.
    fn opened(&self) {}

    /// For how long it has not been reachable.
    fn away_for(&self) -> Option<Duration> {
        None
    }

    /// Sends it what it does not notice, so that [`Carrier::has_heard`] says whether its host answers.
    fn ask(&self) {}

    /// Whether where it runs has heard all that it was sent: to be killed, or nothing.
    fn has_heard(&self) -> bool {
        true
    }

    /// Nobody reads stdout any more.
    fn close_output(&self);

    /// It has ended, or is to end: nothing waits for it any more, and nothing of it stays.
    fn release(&self);

    /// Where it runs; none on a child of this program.
    fn node(&self) -> Option<&Node>;
}

/// Why nothing was received or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There is nobody at the other end.
    End,
    /// Not in time, or not without waiting.
    TimedOut,
    Interrupted,
}

/// How an interpreter ended.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Status(ExitStatus),
    Lost(String),
}

/// A process of a network.
pub(super) struct Remote {
    process: Mutex<Option<Arc<Process>>>,
    node: Node,
    stdin: Stdin,
    stdout: Output,
    stderr: Output,
}

impl Remote {
    pub(super) fn new(process: Process) -> Self {
        let (stdin, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
        let node = process.node().clone();
        Self { process: Mutex::new(Some(Arc::new(process))), node, stdin, stdout, stderr }
    }

    fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Carrier for Remote {
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        let bytes = self.stdout.receive_by(READ, deadline)?;
        if bytes.is_empty() {
            return Err(Stop::End);
        }
        take(&bytes);
        Ok(())
    }

    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop> {
        Ok(self.stdin.write_timeout(bytes, patience(wait))?)
    }

    fn share(&self, bytes: &Bytes, wait: bool) -> Result<usize, Stop> {
        Ok(self.stdin.share(bytes, patience(wait))?)
    }

    fn errors(&self, take: &mut dyn FnMut(&[u8])) {
        loop {
            match self.stderr.receive(READ) {
                Ok(bytes) if bytes.is_empty() => return,
                Ok(bytes) => take(&bytes),
                Err(ProcessError::Interrupted { .. }) => {}
                Err(_) => return,
            }
        }
    }

    fn ending(&self, timeout: Duration) -> Option<Ending> {
        let process = self.process()?;
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left =
                deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            return match process.wait_timeout(left) {
                Ok(status) => status.map(Ending::Status),
                Err(ProcessError::Interrupted { .. }) => continue,
                Err(ProcessError::Lost(lost)) => Some(Ending::Lost(lost.message)),
                Err(error) => Some(Ending::Lost(error.to_string())),
            };
        }
    }

    fn kill(&self) {
        if let Some(process) = self.process() {
            let _ = process.signal(Signal::Kill);
        }
    }

    fn unreachable(&self) -> Option<String> {
        self.process()?.unreachable()
    }

    fn opened(&self) {
        if let Some(process) = self.process() {
            process.opened();
        }
    }

    fn away_for(&self) -> Option<Duration> {
        self.process()?.away_for()
    }

    fn ask(&self) {
        if let Some(process) = self.process() {
            // ignored wherever nobody has asked for it
            let _ = process.signal(Signal::Urg);
        }
    }

    fn has_heard(&self) -> bool {
        self.process().is_none_or(|process| process.has_heard())
    }

    fn close_output(&self) {
        let _ = self.stdout.close();
    }

    fn release(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        // somebody may wait for its end with a handle of his own
        if let Some(process) = process {
            process.hang_up();
        }
    }

    fn node(&self) -> Option<&Node> {
        Some(&self.node)
    }
}

fn patience(wait: bool) -> Duration {
    if wait { Duration::MAX } else { Duration::ZERO }
}

impl From<ProcessError> for Stop {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::TimedOut { .. } => Self::TimedOut,
            ProcessError::Interrupted { .. } => Self::Interrupted,
            _ => Self::End,
        }
    }
}
