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

/// Keeps a gateway open. Dropping the last one ends the gateway.
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

impl Drop for Handle {
    fn drop(&mut self) {
        // in a forked child it belongs to the parent
        let _ = self.exit(Some(Instant::now() + PATIENCE));
    }
}
