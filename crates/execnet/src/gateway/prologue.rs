//! What comes from a kernel before HELLO: noise of the shell that started it, the marker, and questions about
//! packages.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::wire::{Frame, Kind, MARKER};
use crate::packages::ask::Ask;

/// How many of the bytes before the marker are kept.
pub(super) const NOISE: usize = 4_096;

/// How often the kernel may say that it waits: once a second for a day.
pub(super) const MAX_WAITS: u32 = 86_400;

/// How many questions about packages may wait for their answers: one, behind a remark that needs none.
const MAX_ASKS: usize = 2;

/// See the module's documentation.
pub(super) struct Prologue {
    /// What came before the marker; none once it has arrived.
    noise: Option<Vec<u8>>,
    /// What it asks about packages; none if it was given none.
    asks: Option<VecDeque<Ask>>,
    /// How often it has said that it waits.
    waits: u32,
}

impl Default for Prologue {
    fn default() -> Self {
        Self { noise: Some(Vec::new()), asks: None, waits: 0 }
    }
}

impl Prologue {
    /// What came before the marker.
    pub(super) fn noise(&self) -> &[u8] {
        self.noise.as_deref().unwrap_or_default()
    }

    /// Returns those of the bytes that come after the marker; none until it has arrived.
    pub(super) fn behind_marker<'a>(&mut self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let Some(noise) = &mut self.noise else { return Some(bytes.into()) };
        noise.extend_from_slice(bytes);
        let Some(at) = noise.windows(MARKER.len()).position(|part| part == MARKER) else {
            let surplus = noise.len().saturating_sub(NOISE + MARKER.len());
            noise.drain(..surplus);
            return None;
        };
        let behind = noise.split_off(at + MARKER.len());
        self.noise = None;
        Some(behind.into())
    }

    /// Allows the kernel to ask about packages.
    pub(super) fn expect_asks(&mut self) {
        self.asks = Some(VecDeque::new());
    }

    /// What the kernel asks next about packages.
    pub(super) fn take_ask(&mut self) -> Option<Ask> {
        self.asks.as_mut()?.pop_front()
    }

    pub(super) fn has_asked(&self) -> bool {
        self.asks.as_ref().is_some_and(|asks| !asks.is_empty())
    }

    /// Takes a frame that is no HELLO.
    ///
    /// # Errors
    /// When it cannot come before HELLO, and when the kernel asks more than it may.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let kind = frame.kind;
        let asks = self.asks.as_mut().filter(|_| kind == Kind::Packages);
        let asks = asks.ok_or_else(|| format!("a frame {kind:?} before HELLO"))?;
        let ask = Ask::read(&frame.payload)?;
        self.waits += u32::from(matches!(ask, Ask::Waits(_)));
        if self.waits > MAX_WAITS {
            return Err("it waits for packages without end".into());
        }
        if let (Some(Ask::Waits(last)), Ask::Waits(now)) = (asks.back_mut(), &ask) {
            last.clone_from(now);
        } else if asks.len() == MAX_ASKS {
            return Err("more PACKAGES than it had answers".into());
        } else {
            asks.push_back(ask);
        }
        Ok(())
    }
}
