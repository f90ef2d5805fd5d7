//! Work that holds the interpreter for long: between its steps, signals are handled and other threads run.
//!
//! A host chooses the keys of a dict, so also keys that all have the same hash: then each one that is inserted is compared with all before it. How long that takes
//! cannot be bounded here, but between two insertions signals are heard and other threads run.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::error::{Failure, Result};
use crate::wait::released;

/// How long others wait: as long as Python's own threads keep the interpreter.
const SLICE: Duration = Duration::from_millis(5);

/// How many steps are made before the clock is looked at.
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

    /// To be called behind each step.
    ///
    /// # Errors
    /// What a signal's handler has raised.
    pub(crate) fn step(&mut self, py: Python<'_>) -> Result<()> {
        self.steps += 1;
        if self.steps < STEPS { Ok(()) } else { self.look(py) }
    }

    /// To be called behind a step that may have taken long by itself.
    ///
    /// # Errors
    /// What a signal's handler has raised.
    pub(crate) fn look(&mut self, py: Python<'_>) -> Result<()> {
        self.steps = 0;
        if self.since.elapsed() < SLICE {
            return Ok(());
        }
        py.check_signals().map_err(Failure::raised)?;
        // whoever has waited for the interpreter gets it
        released(py, || ());
        self.since = Instant::now();
        Ok(())
    }
}
