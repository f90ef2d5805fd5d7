//! The native half of the Python package `execnet`.
use pyo3::prelude::*;

/// The native half of execnet.
#[pymodule]
mod _native {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
