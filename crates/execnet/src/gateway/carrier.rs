//! Where an interpreter runs: as a process of a network, or as a child of this program (`local.rs`). The rest
//! of a gateway cannot tell which.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::node::Node;
use crate::process::{Output, Process, ProcessError, Stdin};
use crate::status::{ExitStatus, Signal};
use crate::waiting::deadline;

/// The size of a read from stdout or stderr, in bytes.
pub(super) const READ: usize = 256 * 1024;

/// A running interpreter, as streams of bytes.
pub(super) trait Carrier: Send + Sync {
    /// Waits for stdout, and passes on what arrived. Can be interrupted like every wait of the crate. One
    /// thread at a time.
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop>;

    /// Writes some of `bytes` to stdin, and returns how many. Waits for room only if `wait`. One thread at a
    /// time.
    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop>;

    /// Like `send`, but may keep a reference to the bytes' buffer, instead of a copy, until they have
    /// arrived.
    fn share(&self, bytes: &Bytes, wait: bool) -> Result<usize, Stop> {
        self.send(bytes, wait)
    }

    /// Passes on what arrives on stderr, up to its end.
    fn errors(&self, take: &mut dyn FnMut(&[u8]));

    /// Waits for the end of the interpreter.
    fn ending(&self, timeout: Duration) -> Option<Ending>;

    /// Kills it, as soon as it is reachable.
    fn kill(&self);

    /// Why it is unreachable now.
    fn unreachable(&self) -> Option<String> {
        None
    }

    /// It is ready.
    fn opened(&self) {}

    /// How long it has been unreachable.
    fn away_for(&self) -> Option<Duration> {
        None
    }

    /// Sends it something without effect, so that [`Carrier::has_heard`] shows whether its host answers.
    fn ask(&self) {}

    /// Whether its host has received everything that it was sent: SIGKILL, or the question above.
    fn has_heard(&self) -> bool {
        true
    }

    /// Discards stdout from now on.
    fn close_output(&self);

    /// It has ended, or was told to: nothing waits for it any more, and it leaves nothing behind.
    fn release(&self);

    /// Whether this is a connection to a kernel that is kept: the kernel lives on when it ends.
    fn is_entry(&self) -> bool {
        false
    }

    /// Leaves such a kernel, once everything that was sent has arrived there; by `until` at the latest.
    /// Returns whether it has.
    fn leave(&self, until: Instant) -> bool {
        let _ = until;
        self.release();
        true
    }

    /// Where it runs; none for a child of this program.
    fn node(&self) -> Option<&Node>;
}

/// Why nothing was received or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The other end is gone.
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

/// The streams of a process of a network, as a gateway uses them.
pub(super) struct Streams {
    pub(super) stdin: Stdin,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
}

impl Streams {
    pub(super) fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        let bytes = self.stdout.receive_by(READ, deadline)?;
        if bytes.is_empty() {
            return Err(Stop::End);
        }
        take(&bytes);
        Ok(())
    }

    pub(super) fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop> {
        Ok(self.stdin.write_timeout(bytes, patience(wait))?)
    }

    pub(super) fn share(&self, bytes: &Bytes, wait: bool) -> Result<usize, Stop> {
        Ok(self.stdin.share(bytes, patience(wait))?)
    }

    pub(super) fn errors(&self, take: &mut dyn FnMut(&[u8])) {
        loop {
            match self.stderr.receive(READ) {
                Ok(bytes) if bytes.is_empty() => return,
                Ok(bytes) => take(&bytes),
                Err(ProcessError::Interrupted { .. }) => {}
                Err(_) => return,
            }
        }
    }
}

/// A process of a network.
pub(super) struct Remote {
    process: Mutex<Option<Arc<Process>>>,
    node: Node,
    streams: Streams,
}

impl Remote {
    pub(super) fn new(process: Process) -> Self {
        let streams = Streams { stdin: process.stdin(), stdout: process.stdout(), stderr: process.stderr() };
        let node = process.node().clone();
        Self { process: Mutex::new(Some(Arc::new(process))), node, streams }
    }

    fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Carrier for Remote {
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        self.streams.receive(deadline, take)
    }

    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop> {
        self.streams.send(bytes, wait)
    }

    fn share(&self, bytes: &Bytes, wait: bool) -> Result<usize, Stop> {
        self.streams.share(bytes, wait)
    }

    fn errors(&self, take: &mut dyn FnMut(&[u8])) {
        self.streams.errors(take);
    }

    fn ending(&self, timeout: Duration) -> Option<Ending> {
        ended(&*self.process()?, deadline(timeout))
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
            // ignored by default everywhere
            let _ = process.signal(Signal::Urg);
        }
    }

    fn has_heard(&self) -> bool {
        self.process().is_none_or(|process| process.has_heard())
    }

    fn close_output(&self) {
        let _ = self.streams.stdout.close();
    }

    fn release(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
        // somebody may hold another handle and wait for its end
        if let Some(process) = process {
            process.hang_up();
        }
    }

    fn node(&self) -> Option<&Node> {
        Some(&self.node)
    }
}

/// Waits for the end of a process.
pub(super) fn ended(process: &Process, deadline: Option<Instant>) -> Option<Ending> {
    loop {
        return match process.wait_by(deadline) {
            Ok(status) => Some(Ending::Status(status)),
            Err(ProcessError::TimedOut { .. }) => None,
            Err(ProcessError::Interrupted { .. }) => continue,
            Err(ProcessError::Lost(lost)) if lost.stays => {
                Some(Ending::Lost(format!("only for this program; it {}", lost.message)))
            }
            Err(ProcessError::Lost(lost)) => Some(Ending::Lost(lost.message)),
            Err(error) => Some(Ending::Lost(error.to_string())),
        };
    }
}

pub(super) fn patience(wait: bool) -> Duration {
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
