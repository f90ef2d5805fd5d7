//! Checks dict keys and set items before they are inserted.
//!
//! Keys with the same hash are compared with each other. A host chooses them, and may choose some whose
//! comparison takes long, in one call that nothing can interrupt: long tuples, which are bounded by the
//! received bytes, and frozensets whose items all have the same hash, which are not.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PyTuple};

/// How many items of a frozenset may have the same hash, in a key.
const SAME: usize = 64;

/// Whether comparing a key may take long.
///
/// # Errors
/// When comparing it would take time that grows with the square of its size.
pub(crate) fn is_long(key: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(items) = key.cast_exact::<PyFrozenSet>() {
        check(items)?;
        return Ok(true);
    }
    let Ok(items) = key.cast_exact::<PyTuple>() else { return Ok(false) };
    let mut tuples = vec![items.clone()];
    while let Some(items) = tuples.pop() {
        for item in items {
            if let Ok(items) = item.cast_exact::<PyFrozenSet>() {
                check(items)?;
            } else if let Ok(items) = item.cast_into_exact::<PyTuple>() {
                tuples.push(items);
            }
        }
    }
    Ok(true)
}

fn check(items: &Bound<'_, PyFrozenSet>) -> PyResult<()> {
    if items.len() <= SAME {
        return Ok(());
    }
    let mut hashes = items.iter().map(|item| item.hash()).collect::<PyResult<Vec<_>>>()?;
    hashes.sort_unstable();
    if hashes.windows(SAME + 1).any(|some| some[0] == some[SAME]) {
        let words = format!(
            "a frozenset with more than {SAME} items of the same hash cannot be a key or an item of a set"
        );
        return Err(PyTypeError::new_err(words));
    }
    Ok(())
}
