//! What a process and its streams share: how they reach the process through its connection.

use std::sync::Arc;
use std::time::Instant;

use execnet_proto::id::ProcessId;
use execnet_proto::process::Loss;

use super::error::{Lost, ProcessError};
use crate::handle::Handle;
use crate::hub::{Condition, Guard, Seen};
use crate::status::ExitStatus;
use crate::waiting::{Halt, Room};

/// How a process and its streams reach the process.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) handle: Arc<Handle>,
    pub(crate) id: ProcessId,
    pub(crate) host: Arc<str>,
}

impl Shared {
    pub(crate) fn enter(&self) -> Result<Guard<'_>, ProcessError> {
        self.handle.hub.enter().map_err(|halt| self.halted(halt))
    }

    pub(crate) fn wait(
        &self,
        condition: &Condition,
        deadline: Option<Instant>,
    ) -> Result<Guard<'_>, ProcessError> {
        let waited = self.handle.hub.wait(self.enter()?, condition, deadline);
        waited.map_err(|(halt, state)| {
            drop(state);
            self.halted(halt)
        })
    }

    /// Why it was lost, if it was.
    pub(crate) fn lost(&self, state: &Guard<'_>) -> Option<Lost> {
        let process = state.client.process(self.id)?;
        let message = process.lost()?.to_owned();
        let taken_over = process.loss() == Some(Loss::TakenOver);
        let stays = process.loss() == Some(Loss::Stays);
        Some(Lost { host: self.host.to_string(), message, taken_over, stays })
    }

    pub(crate) fn hung_up(&self) -> ProcessError {
        ProcessError::HungUp { host: self.host.to_string() }
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.handle.hub.enter().ok()?.seen(self.id)
    }

    pub(super) fn ended(&self, state: &Guard<'_>) -> Result<Option<ExitStatus>, ProcessError> {
        if let Some(lost) = self.lost(state) {
            return Err(lost.into());
        }
        let process = state.client.process(self.id).ok_or_else(|| self.hung_up())?;
        Ok(process.ending().map(ExitStatus::from))
    }

    fn halted(&self, halt: Halt) -> ProcessError {
        let host = self.host.to_string();
        match halt {
            Halt::TimedOut => ProcessError::TimedOut { host },
            Halt::Interrupted => ProcessError::Interrupted { host },
            Halt::Forked => ProcessError::Forked,
        }
    }
}
