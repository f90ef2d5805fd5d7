//! Converts errors to Python exceptions.

use execnet::text::{line, lines};
use execnet::{
    AttachError, ChannelError, ConnectError, JoinError, OpenError, PackagesError, RequestError, StartError,
    value,
};
use pyo3::exceptions::{PyEOFError, PyFileNotFoundError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

mod python {
    #![allow(missing_docs)]
    pyo3::import_exception!(execnet._errors, RemoteError);
    pyo3::import_exception!(execnet._errors, GatewayDied);
    pyo3::import_exception!(execnet._errors, TimeoutError);
    pyo3::import_exception!(execnet._errors, HostNotFound);
    pyo3::import_exception!(execnet._errors, DumpError);
    pyo3::import_exception!(execnet._errors, LoadError);
    pyo3::import_exception!(execnet._errors, EndOfData);
}

pub(crate) use python::{
    DumpError, EndOfData, GatewayDied, HostNotFound, LoadError, RemoteError, TimeoutError,
};

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// An error on its way to Python.
#[derive(Debug)]
pub(crate) struct Failure {
    error: PyErr,
    raised: bool,
}

impl Failure {
    /// Raised by a signal handler.
    pub(crate) fn raised(error: PyErr) -> Self {
        Self { error, raised: true }
    }

    /// Whether a signal handler raised it. Then the interrupted operation itself did not fail.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self { error, raised: false }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<value::DumpError> for Failure {
    fn from(error: value::DumpError) -> Self {
        Self::from(DumpError::new_err(said(&error)))
    }
}

impl From<value::LoadError> for Failure {
    fn from(error: value::LoadError) -> Self {
        Self::from(LoadError::new_err(said(&error)))
    }
}

/// Errors of waits for the other side of a channel.
pub(crate) fn receiving(channel: &execnet::Channel) -> impl Fn(ChannelError) -> Failure + '_ {
    move |error| {
        Failure::from(match error {
            ChannelError::Closed => PyEOFError::new_err(format!("{} is closed", name(channel))),
            ChannelError::GatewayDied(death) => GatewayDied::new_err(said(&death)),
            other => return any(other),
        })
    }
}

/// Errors of other operations on a channel.
pub(crate) fn sending(channel: &execnet::Channel) -> impl Fn(ChannelError) -> Failure + '_ {
    move |error| match error {
        ChannelError::Closed => {
            let why = "is closed, or its gateway was told to end";
            Failure::from(PyOSError::new_err(format!("cannot send: {} {why}", name(channel))))
        }
        other => any(other),
    }
}

/// Errors of operations on a gateway.
pub(crate) fn using(gateway: &execnet::Gateway) -> impl Fn(ChannelError) -> Failure + '_ {
    move |error| match error {
        ChannelError::Closed => {
            let id = line(gateway.id());
            Failure::from(PyOSError::new_err(format!("gateway {id} was told to end, was left, or has ended")))
        }
        other => any(other),
    }
}

fn any(error: ChannelError) -> Failure {
    Failure::from(match error {
        ChannelError::Remote(text) => RemoteError::new_err(text),
        ChannelError::TimedOut => TimeoutError::new_err(said(&error)),
        ChannelError::Dump(error) => return error.into(),
        ChannelError::Load(error) => return error.into(),
        other => PyOSError::new_err(said(&other)),
    })
}

fn name(channel: &execnet::Channel) -> String {
    format!("channel {} of gateway {}", channel.number(), line(channel.gateway().id()))
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Place(error) => error.into(),
            OpenError::Packages(error) => error.into(),
            OpenError::Attach(error) => error.into(),
            OpenError::Invalid(_) | OpenError::IdTaken(_) => Self::from(PyValueError::new_err(said(&error))),
            OpenError::TimedOut { .. } => Self::from(TimeoutError::new_err(format!(
                "{}; if it takes long to start, give it more with `patience=` in the spec",
                said(&error)
            ))),
            // Python makes a FileNotFoundError or the like of it
            OpenError::Spawn { ref source, .. } if let Some(errno) = source.raw_os_error() => {
                Self::from(PyOSError::new_err((errno, with_source(&error))))
            }
            other => Self::from(PyOSError::new_err(with_source(&other))),
        }
    }
}

impl From<PackagesError> for Failure {
    fn from(error: PackagesError) -> Self {
        let mut kind = &error;
        while let PackagesError::For { source, .. } = kind {
            kind = source;
        }
        Self::from(match kind {
            PackagesError::TooLarge { .. } => {
                let hint =
                    "large=True (in a spec `large`) sends them all the same, `!NAME` leaves one out of `*`";
                PyValueError::new_err(format!("{}; {hint}", said(&error)))
            }
            PackagesError::Interpreter { .. } => {
                PyValueError::new_err(format!("{}; it is `sys.executable`", said(&error)))
            }
            PackagesError::Item { .. } | PackagesError::Unfit { .. } => PyValueError::new_err(said(&error)),
            // its text has that of its source
            _ => PyOSError::new_err(said(&error)),
        })
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NoMatch { .. } => Self::from(HostNotFound::new_err(said(&error))),
            StartError::Connect(error) => error.into(),
            StartError::TooLong { .. } | StartError::Invalid { .. } => {
                Self::from(PyValueError::new_err(said(&error)))
            }
            StartError::TimedOut { .. } => Self::from(TimeoutError::new_err(said(&error))),
            other => Self::from(PyOSError::new_err(with_source(&other))),
        }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Request(error) => error.into(),
            AttachError::NotFound { .. } | AttachError::Gone { .. } | AttachError::Ended { .. } => {
                Self::from(PyFileNotFoundError::new_err(said(&error)))
            }
            other => Self::from(PyOSError::new_err(said(&other))),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::from(match error {
            ConnectError::BadName(_) => PyValueError::new_err(said(&error)),
            other => PyOSError::new_err(with_source(&other)),
        })
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Down(_) | JoinError::NoPython { .. } => {
                Self::from(HostNotFound::new_err(said(&error)))
            }
            JoinError::Connect(error) => error.into(),
            JoinError::Request(error) => error.into(),
            other => Self::from(PyOSError::new_err(with_source(&other))),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Connect(error) => error.into(),
            other => Self::from(PyOSError::new_err(with_source(&other))),
        }
    }
}

/// An error with its sources.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {}", without_number(&error.to_string()));
        source = error.source();
    }
    lines(&text).into_owned()
}

/// Removes Rust's ` (os error 2)`: Python shows that number in its own way.
fn without_number(text: &str) -> &str {
    let number = |rest: &str| rest.strip_suffix(')').is_some_and(|number| number.parse::<i32>().is_ok());
    text.rsplit_once(" (os error ").filter(|(_, rest)| number(rest)).map_or(text, |(words, _)| words)
}

/// The text of an error for Python.
fn said(error: &impl std::fmt::Display) -> String {
    lines(&error.to_string()).into_owned()
}

/// Escapes a text for a terminal (see `execnet_proto::text`): as one line, or with its lines.
#[pyfunction]
#[pyo3(signature = (text, one_line = false))]
pub(crate) fn shown(text: &Bound<'_, PyString>, one_line: bool) -> PyResult<String> {
    // Python escapes what UTF-8 cannot encode
    let bytes = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
    let text = String::from_utf8_lossy(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes());
    Ok(if one_line { line(&text) } else { lines(&text) }.into_owned())
}
