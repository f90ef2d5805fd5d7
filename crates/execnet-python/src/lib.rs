//! The native half of the Python package `execnet`: the crate `execnet`, for Python. Waits run outside the
//! interpreter and let signals through; values are converted directly between Python objects and bytes.
//!
//! `python/execnet` has the names and docstrings that programs see.

mod channel;
mod checkpoint;
mod copy;
mod decode;
mod encode;
mod error;
mod gateway;
mod hashed;
mod network;
mod packages;
mod serial;
mod spell;
mod wait;

use pyo3::prelude::*;
use pyo3::types::PyList;

/// See `python/execnet/_native.pyi`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // otherwise PyO3 asks the module for it, and on CPython 3.13 asking for a missing attribute fails without
    // an exception if the current folder is gone and "" is in sys.path
    module.setattr("__all__", PyList::empty(module.py()))?;
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<channel::Delivery>()?;
    module.add_class::<channel::RawChannel>()?;
    module.add_class::<copy::Copies>()?;
    module.add_class::<copy::Listing>()?;
    module.add_class::<gateway::Gateway>()?;
    module.add_class::<gateway::Settings>()?;
    module.add_class::<gateway::Launcher>()?;
    module.add_class::<network::Network>()?;
    module.add_class::<network::Node>()?;
    module.add_class::<network::Outages>()?;
    module.add_class::<packages::Packages>()?;
    module.add_class::<packages::Progress>()?;
    module.add_class::<packages::Transfer>()?;
    module.add_function(wrap_pyfunction!(error::shown, module)?)?;
    module.add_function(wrap_pyfunction!(gateway::start_all, module)?)?;
    module.add_function(wrap_pyfunction!(network::connect, module)?)?;
    module.add_function(wrap_pyfunction!(network::is_by_name, module)?)?;
    module.add_function(wrap_pyfunction!(packages::files_of, module)?)?;
    module.add_function(wrap_pyfunction!(serial::dumps, module)?)?;
    module.add_function(wrap_pyfunction!(serial::load, module)?)?;
    module.add_function(wrap_pyfunction!(serial::loads, module)?)?;
    module.add_function(wrap_pyfunction!(spell::misspelt, module)?)?;
    module.add_function(wrap_pyfunction!(spell::nearest, module)?)?;
    module.add_function(wrap_pyfunction!(spell::python_command, module)?)?;
    module.add_function(wrap_pyfunction!(wait::ending, module)?)?;
    Ok(())
}
