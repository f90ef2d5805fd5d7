//! Work that holds the interpreter for long: between its steps, signals are handled and other threads run.
//!
//! A host chooses the keys of a dict, and may choose many with the same hash: then inserting a key compares
//! it with all earlier ones. The time for that has no bound here, but between two insertions signals are
//! handled and other threads run.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::error::{Failure, Result};
use crate::wait::released;

/// How long others wait: Python's own switch interval.
const SLICE: Duration = Duration::from_millis(5);

/// The number of steps between two looks at the clock.
const STEPS: u32 = 16;

/// See the module's documentation.
pub(crate) struct Checkpoint {
    steps: u32,
    since: Instant,
}

impl Checkpoint {
    pub(crate) fn new() -> Self {
        Self { steps: 0, since: Instant::now() }
    }

    /// Call this after each step.
    ///
    /// # Errors
    /// What a signal handler raised.
    pub(crate) fn step(&mut self, py: Python<'_>) -> Result<()> {
        self.steps += 1;
        if self.steps < STEPS { Ok(()) } else { self.look(py) }
    }

    /// Call this after a step that may have taken long by itself.
    ///
    /// # Errors
    /// What a signal handler raised.
    pub(crate) fn look(&mut self, py: Python<'_>) -> Result<()> {
        self.steps = 0;
        if self.since.elapsed() < SLICE {
            return Ok(());
        }
        py.check_signals().map_err(Failure::raised)?;
        // threads that wait for the interpreter get it
        released(py, || ());
        self.since = Instant::now();
        Ok(())
    }
}
