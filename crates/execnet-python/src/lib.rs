//! The native half of the Python package `execnet`: what the crate `execnet` can do, for Python. What waits does so outside the interpreter, and lets
//! signals through; values go from Python objects to bytes and back without anything in between.
//!
//! The names, docstrings and shapes that programs see are in `python/execnet`.

mod channel;
mod checkpoint;
mod decode;
mod encode;
mod error;
mod gateway;
mod hashed;
mod network;
mod serial;
mod spell;
mod wait;

use pyo3::prelude::*;
use pyo3::types::PyList;

/// See `python/execnet/_native.pyi`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // PyO3 asks for it otherwise, and to ask a module for what it has not is an error without an exception on CPython 3.13
    // when the current folder is gone and "" in sys.path
    module.setattr("__all__", PyList::empty(module.py()))?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<channel::Delivery>()?;
    module.add_class::<channel::RawChannel>()?;
    module.add_class::<gateway::Gateway>()?;
    module.add_class::<gateway::Settings>()?;
    module.add_class::<gateway::Launcher>()?;
    module.add_class::<network::Network>()?;
    module.add_class::<network::Node>()?;
    module.add_class::<network::Outages>()?;
    module.add_function(wrap_pyfunction!(error::shown, module)?)?;
    module.add_function(wrap_pyfunction!(gateway::start_all, module)?)?;
    module.add_function(wrap_pyfunction!(network::connect, module)?)?;
    module.add_function(wrap_pyfunction!(serial::dumps, module)?)?;
    module.add_function(wrap_pyfunction!(serial::load, module)?)?;
    module.add_function(wrap_pyfunction!(serial::loads, module)?)?;
    module.add_function(wrap_pyfunction!(spell::misspelt, module)?)?;
    module.add_function(wrap_pyfunction!(spell::nearest, module)?)?;
    module.add_function(wrap_pyfunction!(spell::python_command, module)?)?;
    module.add_function(wrap_pyfunction!(wait::ending, module)?)?;
    Ok(())
}
