//! Values as they arrived.

use std::sync::Arc;

use bytes::Bytes;

use super::driver::{Driver, Guard};
use super::error::ChannelError;
use super::protocol::Next;
use super::spare::SPARE;
use crate::value::{Dialect, LoadError, Reader, Reading, Value};
use crate::waiting::Room;

/// A value as it arrived.
#[derive(Clone, Debug)]
pub struct Raw {
    pub(super) bytes: Bytes,
    pub(super) reading: Reading,
}

/// A value as it arrived, which counts as received only when this is dropped; until then the other end has no credit for it.
#[derive(Debug)]
pub struct Held {
    pub(super) raw: Raw,
    pub(super) driver: Arc<Driver>,
    pub(super) number: u32,
}

/// That the gateway has not ended against its will.
pub(super) fn check(state: &Guard<'_>) -> Result<(), ChannelError> {
    match &state.death {
        Some(_) if state.exiting => Err(ChannelError::Closed),
        Some(death) => Err(ChannelError::GatewayDied(death.clone())),
        None => Ok(()),
    }
}

/// Takes what comes next on a channel.
pub(super) fn take(
    mut state: Guard<'_>,
    number: u32,
    take_error: bool,
) -> Result<(Raw, Guard<'_>), ChannelError> {
    match state.protocol.receive(number, take_error) {
        Next::Value { bytes, escaped } => {
            let strconfig = state.protocol.strconfig(number);
            let reading = Reading { dialect: state.protocol.target().dialect, strconfig, escaped };
            Ok((Raw { bytes, reading }, state))
        }
        Next::Error(error) => Err(ChannelError::Remote(error)),
        Next::Closed => Err(ChannelError::Closed),
        Next::Nothing => Err(check(&state).err().unwrap_or(ChannelError::TimedOut)),
    }
}

impl Raw {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which family of Python wrote it.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.reading.dialect
    }

    /// Whether there are channels in it, or text that needs an escape.
    #[must_use]
    pub fn is_escaped(&self) -> bool {
        self.reading.escaped
    }

    /// Reads it.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.bytes, self.reading)
    }

    /// The length of its bytes.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        SPARE.give(std::mem::take(&mut self.bytes));
    }
}

impl std::ops::Deref for Held {
    type Target = Raw;

    fn deref(&self) -> &Raw {
        &self.raw
    }
}

impl Held {
    /// Gives it back: it is received again as the next one.
    pub fn give_back(self) {
        let (driver, number) = (self.driver.clone(), self.number);
        let (bytes, escaped) = (self.raw.bytes.clone(), self.raw.reading.escaped);
        drop(self);
        if let Ok(mut state) = driver.enter() {
            state.protocol.give_back(number, bytes, escaped);
            driver.leave(state);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(mut state) = self.driver.enter() {
            state.protocol.took(self.number, self.raw.length());
            self.driver.leave(state);
        }
    }
}

/// What a raw value holds, for those who want to know before they take it apart.
impl TryFrom<&Raw> for Value {
    type Error = LoadError;

    /// Fails where there are channels: those need [`Channel::load`](crate::Channel::load).
    fn try_from(raw: &Raw) -> Result<Self, LoadError> {
        Value::decode(raw.bytes(), Reading { escaped: false, ..raw.reading })
    }
}
