//! A started process: its node, its signals, its state and its end. Its streams are in `process/streams.rs`.

mod error;
mod shared;
mod streams;

use std::sync::Arc;
use std::time::{Duration, Instant};

use execnet_proto::id::ProcessId;
use execnet_proto::terminal::TerminalSize;
use execnet_proto::wire::Stream;

use crate::handle::Handle;
use crate::hub::{Condition, Seen};
use crate::node::Node;
use crate::status::{ExitStatus, Signal};
use crate::waiting::{Room, deadline};
pub use error::{Lost, ProcessError};
use shared::Shared;
pub use streams::{Output, Piece, Stdin};

/// A process on a node of a network.
///
/// Dropping it hangs the process up, whatever it is doing: its stdin closes, it gets SIGHUP, and SIGKILL 5 s
/// later. Kept work ([`ProcessBuilder::keep`](crate::ProcessBuilder::keep)) stays where it is. All methods
/// may be called from several threads. Waits can be interrupted: see [`Process::interrupt`] and
/// [`Interrupt`](crate::Interrupt).
#[derive(Debug)]
pub struct Process {
    shared: Shared,
    node: Node,
}

impl Process {
    pub(crate) fn new(handle: Arc<Handle>, id: ProcessId, node: Node) -> Self {
        let host = node.host.as_str().into();
        Self { shared: Shared { handle, id, host }, node }
    }

    /// Its id. No other process ever has the same one.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.shared.id
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Its process id on its host, once known.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.shared.seen().and_then(|seen| seen.pid)
    }

    /// Its stdin. Dropping the handle leaves it open, unless [`Stdin::close_on_drop`] was called.
    #[must_use]
    pub fn stdin(&self) -> Stdin {
        Stdin::new(self.shared.clone())
    }

    /// Its stdout. Dropping the handle leaves it open.
    #[must_use]
    pub fn stdout(&self) -> Output {
        Output::new(self.shared.clone(), Stream::Stdout)
    }

    /// Its stderr. Dropping the handle leaves it open.
    #[must_use]
    pub fn stderr(&self) -> Output {
        Output::new(self.shared.clone(), Stream::Stderr)
    }

    /// Sends it a signal. While the process is unreachable, the signal waits; several of one kind count as
    /// one.
    ///
    /// # Errors
    /// When the process was lost. A signal to a process that has ended does nothing.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let mut state = self.shared.enter()?;
        if let Some(lost) = self.shared.lost(&state) {
            return Err(lost.into());
        }
        state.client.signal(self.shared.id, signal.number());
        self.shared.handle.hub.leave(state);
        Ok(())
    }

    /// Tells its terminal that it has another size now, or that what it shows is to be drawn again: the
    /// program in the foreground there gets SIGWINCH even if the size is the same. While the process is
    /// unreachable this waits, and only the last size counts. Does nothing without a terminal.
    ///
    /// # Errors
    /// When the process was lost.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), ProcessError> {
        let mut state = self.shared.enter()?;
        if let Some(lost) = self.shared.lost(&state) {
            return Err(lost.into());
        }
        state.client.resize(self.shared.id, TerminalSize { rows, columns });
        self.shared.handle.hub.leave(state);
        Ok(())
    }

    /// Waits for its end, which comes only after all output has arrived. Read or close stdout and stderr: a
    /// process that writes more than 2 MiB to one of them does not end before that.
    ///
    /// # Errors
    /// When it was lost, or the wait was interrupted.
    pub fn wait(&self) -> Result<ExitStatus, ProcessError> {
        self.wait_by(None)
    }

    /// As [`Process::wait`], waiting at most this long: `None` if it has not ended by then.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        match self.wait_by(deadline(timeout)) {
            Err(ProcessError::TimedOut { .. }) => Ok(None),
            result => result.map(Some),
        }
    }

    /// How it ended, if it has ended.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, ProcessError> {
        let state = self.shared.enter()?;
        self.shared.ended(&state)
    }

    /// Why it is unreachable now: its host's link is down, or the network's daemon is gone. Reads, writes and
    /// waits continue when it is reachable again, without a byte lost.
    #[must_use]
    pub fn unreachable(&self) -> Option<String> {
        self.shared.seen().and_then(|seen| seen.unreachable)
    }

    /// How long its host, or the daemon, has been out of reach.
    pub(crate) fn away_for(&self) -> Option<Duration> {
        let state = self.shared.enter().ok()?;
        state.seen(self.shared.id)?.unreachable?;
        state.lookout.away_since(&self.node.host).map(|since| since.elapsed())
    }

    /// The process is ready: see [`ProcessBuilder::opening`](crate::ProcessBuilder).
    pub(crate) fn opened(&self) {
        if let Ok(mut state) = self.shared.enter() {
            state.lookout.opened(self.shared.id);
        }
    }

    /// Whether its host has received all signals that were sent to it. It has not while it is silent or
    /// unreachable.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        let Ok(state) = self.shared.enter() else { return true };
        let process = state.client.process(self.shared.id);
        process.is_none_or(execnet_proto::process::Process::has_heard)
    }

    /// Its changes from now on, after its current state.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { shared: self.shared.clone(), seen: Seen::default(), done: false }
    }

    /// Whether it is kept work.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let Ok(state) = self.shared.enter() else { return false };
        state.client.process(self.shared.id).is_some_and(execnet_proto::process::Process::is_kept)
    }

    /// Leaves kept work where it is, at once. Anything else is hung up, as dropping it does.
    pub fn detach(&self) {
        self.hang_up();
    }

    /// Ends it, also if it is kept work: its stdin closes, it gets SIGHUP, and SIGKILL 5 s later. This handle
    /// is of no use any more.
    pub fn end(&self) {
        let hub = &self.shared.handle.hub;
        let Ok(mut state) = hub.enter() else { return };
        state.client.end(self.shared.id);
        state.starts.remove(&self.shared.id);
        state.lookout.forget(self.shared.id);
        hub.look_out(&mut state);
        hub.leave(state);
    }

    /// Ends every wait on this process and its streams that any thread is in now, with an `Interrupted`
    /// error.
    pub fn interrupt(&self) {
        let me = self.shared.id;
        self.shared.handle.hub.interrupt(|what| what.process() == Some(me));
    }

    /// Hangs the process up, as dropping it does. Ends every wait for it.
    pub(crate) fn hang_up(&self) {
        // in a forked child the process belongs to the parent
        let hub = &self.shared.handle.hub;
        let Ok(mut state) = hub.enter() else { return };
        state.client.release(self.shared.id);
        state.starts.remove(&self.shared.id);
        state.lookout.forget(self.shared.id);
        hub.look_out(&mut state);
        hub.leave(state);
    }

    pub(crate) fn wait_by(&self, deadline: Option<Instant>) -> Result<ExitStatus, ProcessError> {
        let state = self.shared.wait(&Condition::End(self.shared.id), deadline)?;
        self.shared.ended(&state)?.ok_or_else(|| self.shared.hung_up())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// A change of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessEvent {
    /// It runs, with this process id on its host.
    Started(u32),
    /// It is unreachable, for this reason.
    Unreachable(String),
    /// It is reachable again.
    Reachable,
    /// It has ended, and all its output has arrived. The last event.
    Ended(ExitStatus),
    /// It was lost. The last event.
    Lost(Lost),
}

/// The changes of a process, as they come. Changes that are soon undone may be skipped.
#[derive(Debug)]
pub struct Events {
    shared: Shared,
    seen: Seen,
    done: bool,
}

impl Events {
    /// The next event; waits at most this long. `None` after the last one.
    ///
    /// # Errors
    /// When none came in time, the wait was interrupted, or the process was hung up.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<ProcessEvent>, ProcessError> {
        self.next_by(deadline(timeout))
    }

    fn next_by(&mut self, deadline: Option<Instant>) -> Result<Option<ProcessEvent>, ProcessError> {
        if self.done {
            return Ok(None);
        }
        let id = self.shared.id;
        let state = self.shared.wait(&Condition::Change(id, self.seen.clone()), deadline)?;
        let now = state.seen(id).ok_or_else(|| self.shared.hung_up())?;
        if now.pid != self.seen.pid {
            self.seen.pid = now.pid;
            return Ok(now.pid.map(ProcessEvent::Started));
        }
        if now.unreachable != self.seen.unreachable {
            self.seen.unreachable.clone_from(&now.unreachable);
            return Ok(Some(now.unreachable.map_or(ProcessEvent::Reachable, ProcessEvent::Unreachable)));
        }
        self.done = true;
        Ok(Some(match self.shared.ended(&state) {
            Err(ProcessError::Lost(lost)) => ProcessEvent::Lost(lost),
            Err(error) => return Err(error),
            Ok(Some(status)) => ProcessEvent::Ended(status),
            Ok(None) => return Err(self.shared.hung_up()),
        }))
    }
}

/// Ends after the last event, and also where [`Events::next_timeout`] would fail.
impl Iterator for Events {
    type Item = ProcessEvent;

    fn next(&mut self) -> Option<ProcessEvent> {
        self.next_by(None).ok().flatten()
    }
}
