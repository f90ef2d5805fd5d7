//! Received values, not decoded yet.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::driver::{Condition, Driver, Guard};
use super::error::ChannelError;
use super::protocol::Next;
use super::spare::SPARE;
use crate::value::{Dialect, LoadError, Reader, Reading, Value};
use crate::waiting::{Halt, Room};

/// A received value, not decoded yet.
#[derive(Clone, Debug)]
pub struct Raw {
    pub(super) bytes: Bytes,
    pub(super) reading: Reading,
}

/// A value that counts as received only once this is dropped. Until then the other end gets no credit for it.
#[derive(Debug)]
pub struct Held {
    pub(super) raw: Raw,
    pub(super) driver: Arc<Driver>,
    pub(super) number: u32,
}

/// Fails if the gateway has ended.
pub(super) fn check(state: &Guard<'_>) -> Result<(), ChannelError> {
    match &state.death {
        Some(_) if state.exiting => Err(ChannelError::Closed),
        Some(death) => Err(ChannelError::GatewayDied(death.clone())),
        None => Ok(()),
    }
}

/// Waits for a value on a channel, or for its end. On one with a name (`named`) the kernel then hears that it
/// was taken.
pub(super) fn wait<'a>(
    driver: &'a Driver,
    mut state: Guard<'a>,
    number: u32,
    named: bool,
    deadline: Option<Instant>,
) -> Result<Guard<'a>, (Halt, Guard<'a>)> {
    let what = Condition::Receive(number);
    if !named {
        return driver.wait(state, &what, deadline);
    }
    state.protocol.want(number);
    driver.leave(state);
    let mut waited = driver.wait(driver.lock(), &what, deadline);
    let (Ok(state) | Err((_, state))) = &mut waited;
    state.protocol.unwant(number);
    waited
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
    /// Its encoding.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The major version of the Python that wrote it.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.reading.dialect
    }

    /// Whether it contains channels, or text that needs an escape.
    #[must_use]
    pub fn is_escaped(&self) -> bool {
        self.reading.escaped
    }

    /// Decodes it, token by token.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.bytes, self.reading)
    }

    /// Its length in bytes.
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

/// Decodes a value of unknown type.
impl TryFrom<&Raw> for Value {
    type Error = LoadError;

    /// Fails if it contains channels, which need [`Channel::load`](crate::Channel::load).
    fn try_from(raw: &Raw) -> Result<Self, LoadError> {
        Value::decode(raw.bytes(), Reading { escaped: false, ..raw.reading })
    }
}
