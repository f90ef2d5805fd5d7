//! Encodes Python objects to bytes, level by level, without recursion. Accepts only exact types, so that no
//! Python code runs meanwhile.

use execnet::value::{Container, Encoded, Text, Writer, Writing};
use pyo3::prelude::*;
use pyo3::types::dict::BoundDictIterator;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyComplexMethods, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet,
    PyString, PyTuple,
};

use crate::channel::Channel;
use crate::error::{Failure, Result};

/// A container that is being written.
enum Level<'py> {
    List(Bound<'py, PyList>, usize),
    Tuple(Bound<'py, PyTuple>, usize),
    /// With the value of the key that was written last.
    Dict(BoundDictIterator<'py>, Option<Bound<'py, PyAny>>),
    Set(std::vec::IntoIter<Bound<'py, PyAny>>),
}

/// Writes an object.
pub(crate) fn encode(object: &Bound<'_, PyAny>, writing: Writing) -> Result<Encoded> {
    let mut writer = Writer::new(writing);
    let mut levels = Vec::new();
    let mut keys = Keys::default();
    put(object, &mut writer, &mut levels)?;
    while let Some(level) = levels.last_mut() {
        match level.next()? {
            Some(part) if level.is_at_key() => match part.cast_into_exact::<PyString>() {
                Ok(key) => keys.put(key, &mut writer)?,
                Err(other) => put(&other.into_inner(), &mut writer, &mut levels)?,
            },
            Some(part) => put(&part, &mut writer, &mut levels)?,
            None => {
                writer.end();
                levels.pop();
            }
        }
    }
    Ok(writer.finish()?)
}

impl<'py> Level<'py> {
    fn next(&mut self) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Self::List(list, index) if *index < list.len() => {
                *index += 1;
                list.get_item(*index - 1).map(Some)
            }
            Self::Tuple(tuple, index) if *index < tuple.len() => {
                *index += 1;
                tuple.get_item(*index - 1).map(Some)
            }
            Self::List(..) | Self::Tuple(..) => Ok(None),
            Self::Dict(pairs, pending) => Ok(match pending.take() {
                Some(value) => Some(value),
                None => pairs.next().map(|(key, value)| {
                    *pending = Some(value);
                    key
                }),
            }),
            Self::Set(items) => Ok(items.next()),
        }
    }

    /// Whether a dict key was written last.
    fn is_at_key(&self) -> bool {
        matches!(self, Self::Dict(_, Some(_)))
    }
}

/// Recent keys: the dicts of a list mostly have the same ones, and getting their text from Python takes long.
#[derive(Default)]
struct Keys<'py>(Vec<Option<(Bound<'py, PyString>, String)>>);

impl<'py> Keys<'py> {
    /// How many are kept, and how long they may be, in bytes.
    const COUNT: usize = 64;
    const LONGEST: usize = 32;

    fn put(&mut self, key: Bound<'py, PyString>, writer: &mut Writer) -> Result<()> {
        if self.0.is_empty() {
            self.0.resize(Self::COUNT, None);
        }
        // objects are 16 bytes apart
        let kept = &mut self.0[(key.as_ptr() as usize >> 4) % Self::COUNT];
        if let Some((known, text)) = kept
            && known.is(&key)
        {
            return Ok(writer.str(text)?);
        }
        match utf8(&key) {
            Some(text) if text.len() <= Self::LONGEST => {
                writer.str(&text)?;
                *kept = Some((key, text));
            }
            _ => put_text(&key, writer)?,
        }
        Ok(())
    }
}

/// Writes an object, or begins it if it is a container.
fn put<'py>(object: &Bound<'py, PyAny>, writer: &mut Writer, levels: &mut Vec<Level<'py>>) -> Result<()> {
    if object.is_exact_instance_of::<PyInt>() {
        match object.extract::<i64>() {
            Ok(value) => writer.int(value)?,
            Err(_) => big_int(object, writer)?,
        }
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        put_text(text, writer)?;
    } else if object.is_exact_instance_of::<PyFloat>() {
        writer.float(object.extract()?)?;
    } else if object.is_none() {
        writer.none()?;
    } else if object.is_exact_instance_of::<PyBool>() {
        writer.bool(object.is_truthy()?)?;
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        writer.bytes(bytes.as_bytes())?;
    } else if let Ok(list) = object.cast_exact::<PyList>() {
        writer.begin(Container::List)?;
        levels.push(Level::List(list.clone(), 0));
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        writer.begin(Container::Tuple)?;
        levels.push(Level::Tuple(tuple.clone(), 0));
    } else if let Ok(dict) = object.cast_exact::<PyDict>() {
        writer.begin_dict()?;
        levels.push(Level::Dict(dict.iter(), None));
    } else if object.is_exact_instance_of::<PySet>() {
        set(object, Container::Set, writer, levels)?;
    } else if object.is_exact_instance_of::<PyFrozenSet>() {
        set(object, Container::FrozenSet, writer, levels)?;
    } else if let Ok(complex) = object.cast_exact::<PyComplex>() {
        writer.complex(complex.real(), complex.imag())?;
    } else if let Ok(channel) = object.cast::<Channel>() {
        channel.get().write(writer)?;
    } else {
        let name = object.get_type().name()?;
        return Err(Failure::from(writer.refuse(&name.to_string_lossy())));
    }
    Ok(())
}

/// None if it has lone surrogates.
fn utf8(text: &Bound<'_, PyString>) -> Option<String> {
    let utf8 = text.encode_utf8().ok()?;
    std::str::from_utf8(utf8.as_bytes()).ok().map(str::to_owned)
}

fn put_text(text: &Bound<'_, PyString>, writer: &mut Writer) -> Result<()> {
    if let Ok(utf8) = text.encode_utf8()
        && let Ok(utf8) = std::str::from_utf8(utf8.as_bytes())
    {
        return Ok(writer.str(utf8)?);
    }
    // lone surrogates
    let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    let text = Text::from_bytes(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes());
    Ok(writer.text(&text.ok_or_else(|| writer.refuse("str"))?)?)
}

fn set<'py>(
    object: &Bound<'py, PyAny>,
    container: Container,
    writer: &mut Writer,
    levels: &mut Vec<Level<'py>>,
) -> Result<()> {
    writer.begin(container)?;
    let items = object.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    levels.push(Level::Set(items.into_iter()));
    Ok(())
}

/// An int with more than 64 bits.
fn big_int(object: &Bound<'_, PyAny>, writer: &mut Writer) -> Result<()> {
    let bits: usize = object.call_method0("bit_length")?.extract()?;
    let negative = object.lt(0)?;
    let bytes = object.call_method0("__abs__")?.call_method1("to_bytes", (bits.div_ceil(8), "little"))?;
    Ok(writer.big_int(negative, bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes())?)
}
