//! What may be meant by a word that is not known, by the same measure as everywhere.

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
