//! The handle that keeps a connection open.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::hub::{Condition, Hub};
use crate::route::ConnectError;
use crate::waiting::{Halt, Room};

/// Keeps a connection open. Dropping the last one ends the connection.
pub(crate) struct Handle {
    pub(crate) hub: Arc<Hub>,
    pub(crate) network: String,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(crate) fn new(hub: Arc<Hub>, thread: JoinHandle<()>, network: String) -> Self {
        Self { hub, network, thread: Some(thread) }
    }

    /// Ensures that there is a connection; if there is none, tries once to open it.
    pub(crate) fn connected(&self, deadline: Option<Instant>) -> Result<(), ConnectError> {
        let network = || self.network.clone();
        let hub = &self.hub;
        let mut state = hub.enter().map_err(|_| ConnectError::Forked)?;
        if state.connection.as_ref().is_some_and(|connection| connection.greeted) {
            return Ok(());
        }
        if state.closing {
            return Err(ConnectError::Closed { network: network() });
        }
        if state.connection.is_none() {
            state.wanted = true;
            hub.wake_reader();
        }
        let attempt = Condition::Attempt(state.attempts);
        match hub.wait(state, &attempt, deadline) {
            Ok(state) if state.connection.as_ref().is_some_and(|connection| connection.greeted) => Ok(()),
            Ok(state) => Err(state.failure.clone().unwrap_or(ConnectError::Closed { network: network() })),
            Err((Halt::TimedOut, _)) => Err(ConnectError::Silent { network: network() }),
            Err((Halt::Interrupted, _)) => Err(ConnectError::Interrupted),
            Err((Halt::Forked, _)) => Err(ConnectError::Forked),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // a forked child has no such thread, and the holder of the lock may not exist there
        let Ok(mut state) = self.hub.enter() else { return };
        state.closing = true;
        state.lookout.close();
        drop(state);
        self.hub.lookout.notify_all();
        self.hub.wake_reader();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.network).finish()
    }
}
