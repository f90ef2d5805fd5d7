//! Which Python exception an error is.

use execnet::value;
use pyo3::prelude::*;

mod python {
    #![allow(missing_docs)]
    pyo3::import_exception!(execnet._errors, RemoteError);
    pyo3::import_exception!(execnet._errors, TimeoutError);
    pyo3::import_exception!(execnet._errors, HostNotFound);
    pyo3::import_exception!(execnet._errors, DumpError);
    pyo3::import_exception!(execnet._errors, LoadError);
    pyo3::import_exception!(execnet._errors, EndOfData);
}

pub(crate) use python::{DumpError, EndOfData, HostNotFound, LoadError, RemoteError, TimeoutError};

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// An error on its way to Python.
#[derive(Debug)]
pub(crate) struct Failure(PyErr);

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

impl From<value::DumpError> for Failure {
    fn from(error: value::DumpError) -> Self {
        Self(DumpError::new_err(error.to_string()))
    }
}

impl From<value::LoadError> for Failure {
    fn from(error: value::LoadError) -> Self {
        Self(LoadError::new_err(error.to_string()))
    }
}
