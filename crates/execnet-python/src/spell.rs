//! The words of specs: split as everywhere, and what may be meant by one that is not known.

use execnet::spec;
use pyo3::prelude::*;

/// The candidate most similar to `word`, if any is similar enough to be meant.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "an argument from Python")]
pub(crate) fn nearest(word: &str, candidates: Vec<String>) -> Option<String> {
    spec::nearest(word, candidates.iter().map(String::as_str)).map(str::to_owned)
}

/// The candidate from which `word` differs by a single slip.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "an argument from Python")]
pub(crate) fn misspelt(word: &str, candidates: Vec<String>) -> Option<String> {
    spec::misspelt(word, candidates.iter().map(String::as_str)).map(str::to_owned)
}

/// The words of `python=`, a shell's if the line needs one. None when a quote is left open.
#[pyfunction]
pub(crate) fn python_command(line: &str) -> Option<Vec<String>> {
    spec::python_command(line)
}
