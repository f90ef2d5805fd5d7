//! The handle that keeps a gateway open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::error::ChannelError;
use super::info::Info;
use super::wire::Kind;
use crate::waiting::Room;

/// How long an interpreter may take to end after the last handle of its gateway is dropped, before it is
/// killed.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long what was sent to a kept kernel may take to arrive there before it is left.
const FLUSH: Duration = Duration::from_secs(5);

/// Keeps a gateway open. Dropping the last one ends the gateway, or leaves it if it is kept.
pub(crate) struct Handle {
    pub(super) driver: Arc<Driver>,
    pub(super) id: String,
    pub(super) info: Info,
}

impl Handle {
    pub(super) fn exit(&self, kill_at: Option<Instant>) -> Result<(), ChannelError> {
        let mut state = self.driver.enter()?;
        if state.death.is_none() {
            if !std::mem::replace(&mut state.exiting, true) {
                state.protocol.say(Kind::Exit);
                state.exited = Some(Instant::now());
                self.driver.carrier.ask();
            }
            if kill_at.is_some() && state.kill_at.is_none() {
                state.kill_at = kill_at;
            }
        }
        state.touch();
        self.driver.leave(state);
        self.driver.attendant.notify_all();
        Ok(())
    }
}

impl Handle {
    /// Leaves a kernel that is kept. Does not wait.
    pub(super) fn leave(&self) -> Result<(), ChannelError> {
        let mut state = self.driver.enter()?;
        if state.death.is_none() && state.leave_by.is_none() {
            state.exiting = true;
            state.leave_by = Some(Instant::now() + FLUSH);
        }
        state.touch();
        self.driver.leave(state);
        self.driver.attendant.notify_all();
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // in a forked child it belongs to the parent
        if self.driver.carrier.is_entry() {
            let _ = self.leave();
            return;
        }
        let _ = self.exit(Some(Instant::now() + PATIENCE));
    }
}
