//! Decodes bytes to Python objects. The bytes come from a host: malformed ones are an error, and take no more
//! memory than their length.

use execnet::value::{BigInt, Container, LoadError, Reader, Text, Token};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::frozenset::PyFrozenSetBuilder;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple};

use crate::checkpoint::Checkpoint;
use crate::error::{Failure, Result};
use crate::hashed::is_long;

/// A container that is being read. Its parts are on the stack, from this position on.
struct Level {
    /// None for a dict.
    container: Option<Container>,
    from: usize,
}

impl Level {
    /// Whether the next part is a dict key.
    fn is_at_key(&self, stack: &[Bound<'_, PyAny>]) -> bool {
        self.container.is_none() && (stack.len() - self.from).is_multiple_of(2)
    }
}

/// Recent keys: the dicts of a list mostly have the same ones, and an existing str knows its hash.
#[derive(Default)]
struct Keys<'py>(Vec<Option<Key<'py>>>);

/// Its bytes, and the Python object.
type Key<'py> = (Box<[u8]>, Bound<'py, PyAny>);

impl<'py> Keys<'py> {
    /// How many are kept, and how long they may be, in bytes.
    const COUNT: usize = 64;
    const LONGEST: usize = 32;

    fn get(&mut self, py: Python<'py>, key: &Text<'_>) -> Result<Bound<'py, PyAny>> {
        let bytes = key.as_bytes();
        if bytes.len() > Self::LONGEST {
            return text(py, key);
        }
        if self.0.is_empty() {
            self.0.resize(Self::COUNT, None);
        }
        let place = bytes.iter().fold(bytes.len(), |place, byte| place.wrapping_mul(31) ^ usize::from(*byte));
        let kept = &mut self.0[place % Self::COUNT];
        match kept {
            Some((known, object)) if **known == *bytes => Ok(object.clone()),
            _ => {
                let object = text(py, key)?;
                *kept = Some((bytes.into(), object.clone()));
                Ok(object)
            }
        }
    }
}

/// Reads one value. `channel` makes the channels in it, and `wrong` converts errors.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    mut reader: Reader<'_>,
    channel: impl Fn(u32) -> PyResult<Bound<'py, PyAny>>,
    wrong: impl Fn(LoadError) -> Failure,
) -> Result<Bound<'py, PyAny>> {
    let mut levels: Vec<Level> = Vec::new();
    let mut stack: Vec<Bound<'py, PyAny>> = Vec::new();
    let mut keys = Keys::default();
    let mut checkpoint = Checkpoint::new();
    while let Some(token) = reader.next_token().map_err(&wrong)? {
        let object = match token {
            Token::Begin(container, _) => {
                levels.push(Level { container: Some(container), from: stack.len() });
                continue;
            }
            Token::Dict => {
                levels.push(Level { container: None, from: stack.len() });
                continue;
            }
            Token::End => {
                let Some(level) = levels.pop() else { break };
                build(py, &level, &mut stack, &reader, &mut checkpoint)?
            }
            Token::None => py.None().into_bound(py),
            Token::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
            Token::Int(value) => PyInt::new(py, value).into_any(),
            Token::BigInt(value) => big_int(py, &value)?,
            Token::Float(value) => PyFloat::new(py, value).into_any(),
            Token::Complex(real, imag) => PyComplex::from_doubles(py, real, imag).into_any(),
            Token::Str(value) if levels.last().is_some_and(|level| level.is_at_key(&stack)) => {
                keys.get(py, &value)?
            }
            Token::Str(value) => text(py, &value)?,
            Token::Bytes(value) => PyBytes::new(py, value).into_any(),
            Token::Channel(number) => channel(number)?,
        };
        stack.push(object);
        checkpoint.step(py)?;
    }
    stack.pop().ok_or_else(|| Failure::from(LoadError::unwanted("there is no value")))
}

/// Makes a container of the parts on the stack.
fn build<'py>(
    py: Python<'py>,
    level: &Level,
    stack: &mut Vec<Bound<'py, PyAny>>,
    reader: &Reader<'_>,
    checkpoint: &mut Checkpoint,
) -> Result<Bound<'py, PyAny>> {
    let mut parts = stack.drain(level.from..);
    let unhashable = |error: PyErr| {
        // unhashable keys
        if error.is_instance_of::<PyTypeError>(py) {
            Failure::from(LoadError::unwanted(error.value(py).to_string()).at(|| reader.place()))
        } else {
            error.into()
        }
    };
    Ok(match level.container {
        Some(Container::List) => PyList::new(py, parts)?.into_any(),
        Some(Container::Tuple) => PyTuple::new(py, parts)?.into_any(),
        Some(Container::Set) => set(py, parts, checkpoint, unhashable)?,
        Some(Container::FrozenSet) => frozenset(py, parts, checkpoint, unhashable)?,
        None => {
            let dict = PyDict::new(py);
            while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                let long = is_long(&key).map_err(unhashable)?;
                dict.set_item(key, value).map_err(unhashable)?;
                if long { checkpoint.look(py) } else { checkpoint.step(py) }?;
            }
            dict.into_any()
        }
    })
}

/// A set of these items, with checkpoints.
pub(crate) fn set<'py>(
    py: Python<'py>,
    parts: impl Iterator<Item = Bound<'py, PyAny>>,
    checkpoint: &mut Checkpoint,
    unhashable: impl Fn(PyErr) -> Failure,
) -> Result<Bound<'py, PyAny>> {
    let set = PySet::empty(py)?;
    for part in parts {
        let long = is_long(&part).map_err(&unhashable)?;
        set.add(part).map_err(&unhashable)?;
        if long { checkpoint.look(py) } else { checkpoint.step(py) }?;
    }
    Ok(set.into_any())
}

/// A frozenset of these items, with checkpoints.
pub(crate) fn frozenset<'py>(
    py: Python<'py>,
    parts: impl Iterator<Item = Bound<'py, PyAny>>,
    checkpoint: &mut Checkpoint,
    unhashable: impl Fn(PyErr) -> Failure,
) -> Result<Bound<'py, PyAny>> {
    let mut set = PyFrozenSetBuilder::new(py)?;
    for part in parts {
        let long = is_long(&part).map_err(&unhashable)?;
        set.add(part).map_err(&unhashable)?;
        if long { checkpoint.look(py) } else { checkpoint.step(py) }?;
    }
    Ok(set.finalize().into_any())
}

pub(crate) fn text<'py>(py: Python<'py>, text: &Text<'_>) -> Result<Bound<'py, PyAny>> {
    Ok(match text.to_str() {
        Some(text) => PyString::new(py, text).into_any(),
        None => PyBytes::new(py, text.as_bytes()).call_method1("decode", ("utf-8", "surrogatepass"))?,
    })
}

pub(crate) fn big_int<'py>(py: Python<'py>, value: &BigInt) -> Result<Bound<'py, PyAny>> {
    let magnitude = PyBytes::new(py, value.magnitude());
    let int = py.get_type::<PyInt>().call_method1("from_bytes", (magnitude, "little"))?;
    Ok(if value.is_negative() { int.neg()? } else { int })
}
