//! The native half of the Python package `execnet`: what the crate `execnet` can do, for Python. What waits does so outside the interpreter, and lets
//! signals through; values go from Python objects to bytes and back without anything in between.
//!
//! The names, docstrings and shapes that programs see are in `python/execnet`.

mod channel;
mod decode;
mod encode;
mod error;
mod gateway;
mod hashed;
mod network;
mod pace;
mod serial;
mod spell;
mod wait;

/// See `python/execnet/_native.pyi`.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use crate::channel::{Channel, Delivery, RawChannel};
    #[pymodule_export]
    use crate::error::shown;
    #[pymodule_export]
    use crate::gateway::{Gateway, Settings, Start, start_all};
    #[pymodule_export]
    use crate::network::{Network, Node, connect};
    #[pymodule_export]
    use crate::serial::{dumps, load, loads};
    #[pymodule_export]
    use crate::spell::{misspelt, nearest};
    #[pymodule_export]
    use crate::wait::ending;
}
