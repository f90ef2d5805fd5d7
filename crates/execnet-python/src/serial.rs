//! `dumps` and `loads`: execnet's own serialization format (version 2), which execnet 2 and older programs
//! read and write.
//!
//! The format is a program for a stack machine: a version byte, then opcodes of one letter. Scalars are
//! pushed. A tuple or set takes its items from the stack; a list or dict is pushed empty, and filled by
//! pushing key and value of each item. Numbers are big-endian, lengths have four bytes.

use execnet::value::{
    self, BigInt, Container, Encoded, LoadError, MAX_DEPTH, Reader, Reading, Text, Token, Writing,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::checkpoint::Checkpoint;
use crate::decode::{big_int, frozenset, set};
use crate::encode::encode;
use crate::error::{DumpError, EndOfData, Failure, Result};
use crate::hashed::is_long;

const VERSION: u8 = 2;

/// Serializes an object.
#[pyfunction]
pub(crate) fn dumps<'py>(py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let encoded = encode(obj, Writing::default())?;
    Ok(PyBytes::new(py, &translate(py, &encoded)?))
}

/// Deserializes an object. `py2str_as_py3str`: a `str` of Python 2 becomes text, otherwise bytes.
/// `py3str_as_py2str`: a `str` of Python 3 becomes bytes, otherwise text.
#[pyfunction]
#[pyo3(signature = (bytestring, py2str_as_py3str = false, py3str_as_py2str = false))]
pub(crate) fn loads<'py>(
    py: Python<'py>,
    bytestring: &[u8],
    py2str_as_py3str: bool,
    py3str_as_py2str: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let mut rest = bytestring;
    let take = |length: usize| {
        let (taken, behind) = rest.split_at_checked(length).ok_or_else(cut_short)?;
        rest = behind;
        Ok(taken.to_vec())
    };
    Ok(Loader::new(py, take, py2str_as_py3str, py3str_as_py2str).run()?)
}

/// Like [`loads`]; `read(length)` returns the bytes.
#[pyfunction]
pub(crate) fn load<'py>(
    py: Python<'py>,
    read: &Bound<'py, PyAny>,
    py2str_as_py3str: bool,
    py3str_as_py2str: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let take = |length: usize| {
        let mut taken = Vec::new();
        while taken.len() < length {
            let part = read.call1((length - taken.len(),))?;
            let part = part.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes();
            if part.is_empty() {
                return Err(cut_short());
            }
            taken.extend_from_slice(part);
        }
        Ok(taken)
    };
    Ok(Loader::new(py, take, py2str_as_py3str, py3str_as_py2str).run()?)
}

/// Converts from marshal to this format.
fn translate(py: Python<'_>, encoded: &Encoded) -> Result<Vec<u8>> {
    if encoded.is_escaped() {
        return Err(DumpError::new_err("cannot dump a Channel; it can only be sent").into());
    }
    let mut reader = Reader::new(encoded.as_bytes(), Reading::default());
    let mut out = vec![VERSION];
    // the open containers, and how many values were begun in each; None for a dict
    let mut open: Vec<(Option<Container>, usize)> = Vec::new();
    while let Some(token) = reader.next_token()? {
        if !matches!(token, Token::End)
            && let Some((container, count)) = open.last_mut()
        {
            if *container == Some(Container::List) {
                out.push(b'F');
                length(&mut out, *count)?;
            }
            *count += 1;
        }
        match token {
            Token::None => out.push(b'L'),
            Token::Bool(value) => out.push(if value { b'R' } else { b'C' }),
            Token::Int(value) => match i32::try_from(value) {
                Ok(value) => put(&mut out, b'F', &value.to_be_bytes()),
                Err(_) => sized(&mut out, b'H', value.to_string().as_bytes())?,
            },
            Token::BigInt(value) => sized(&mut out, b'H', &decimal(py, &value)?)?,
            Token::Float(value) => put(&mut out, b'D', &value.to_be_bytes()),
            Token::Complex(real, imag) => {
                put(&mut out, b'T', &real.to_be_bytes());
                out.extend_from_slice(&imag.to_be_bytes());
            }
            Token::Str(value) if value.to_str().is_none() => {
                let error = value::DumpError::new("cannot dump text with lone surrogates");
                return Err(error.at(|| reader.place()).into());
            }
            Token::Str(value) => sized(&mut out, b'N', value.as_bytes())?,
            Token::Bytes(value) => sized(&mut out, b'A', value)?,
            Token::Begin(container, count) => {
                if container == Container::List {
                    out.push(b'K');
                    length(&mut out, count)?;
                }
                open.push((Some(container), 0));
                continue;
            }
            Token::Dict => {
                out.push(b'J');
                open.push((None, 0));
                continue;
            }
            Token::End => {
                let code = match open.pop() {
                    Some((Some(Container::Tuple), count)) => Some((b'@', count)),
                    Some((Some(Container::Set), count)) => Some((b'O', count)),
                    Some((Some(Container::FrozenSet), count)) => Some((b'E', count)),
                    _ => None,
                };
                if let Some((code, count)) = code {
                    out.push(code);
                    length(&mut out, count)?;
                }
            }
            Token::Channel(_) => {}
        }
        // a value is complete: put it into the list or dict around it
        match open.last() {
            Some((Some(Container::List), _)) => out.push(b'P'),
            Some((None, count)) if count.is_multiple_of(2) => out.push(b'P'),
            _ => {}
        }
    }
    out.push(b'Q');
    Ok(out)
}

fn put(out: &mut Vec<u8>, code: u8, bytes: &[u8]) {
    out.push(code);
    out.extend_from_slice(bytes);
}

fn sized(out: &mut Vec<u8>, code: u8, bytes: &[u8]) -> Result<()> {
    out.push(code);
    length(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn length(out: &mut Vec<u8>, length: usize) -> Result<()> {
    let length = i32::try_from(length).map_err(|_| DumpError::new_err("cannot dump more than 2 GiB"))?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The decimal digits of a number: as many as Python agrees to make, which takes time that grows with the
/// square of their number.
fn decimal(py: Python<'_>, value: &BigInt) -> Result<Vec<u8>> {
    let text = big_int(py, value)?.str().map_err(|error| {
        let why = error.value(py);
        if error.is_instance_of::<PyValueError>(py) {
            value::DumpError::new(format!("cannot dump an int as large as this: {why}")).into()
        } else {
            Failure::from(error)
        }
    })?;
    Ok(text.to_string_lossy().into_owned().into_bytes())
}

fn cut_short() -> Failure {
    EndOfData::new_err("the data ends too early").into()
}

fn wrong(why: impl Into<String>) -> Failure {
    LoadError::unwanted(why).into()
}

/// Runs a program, and keeps its stack.
struct Loader<'py, T> {
    py: Python<'py>,
    take: T,
    py2str_as_py3str: bool,
    py3str_as_py2str: bool,
    stack: Vec<Bound<'py, PyAny>>,
    /// For each object on the stack, how deep it is nested.
    depths: Vec<usize>,
    checkpoint: Checkpoint,
}

impl<'py, T: FnMut(usize) -> Result<Vec<u8>>> Loader<'py, T> {
    fn new(py: Python<'py>, take: T, py2str_as_py3str: bool, py3str_as_py2str: bool) -> Self {
        let (stack, depths) = (Vec::new(), Vec::new());
        Self { py, take, py2str_as_py3str, py3str_as_py2str, stack, depths, checkpoint: Checkpoint::new() }
    }

    fn run(mut self) -> Result<Bound<'py, PyAny>> {
        let version = (self.take)(1).map_err(|failure| {
            let error = PyErr::from(failure);
            if error.is_instance_of::<EndOfData>(self.py) {
                return wrong("wrong dumpformat version b''");
            }
            error.into()
        })?;
        if version != [VERSION] {
            return Err(wrong(format!("wrong dumpformat version {}", version[0])));
        }
        loop {
            let code = (self.take)(1)?[0];
            if code == b'Q' {
                break;
            }
            self.step(code)?;
            self.checkpoint.step(self.py)?;
        }
        match (self.stack.pop(), self.stack.is_empty()) {
            (Some(object), true) => Ok(object),
            _ => Err(wrong("the data is not one object")),
        }
    }

    fn step(&mut self, code: u8) -> Result<()> {
        let py = self.py;
        let mut depth = 0;
        let object = match code {
            b'L' => py.None().into_bound(py),
            b'R' => PyBool::new(py, true).to_owned().into_any(),
            b'C' => PyBool::new(py, false).to_owned().into_any(),
            b'F' | b'G' => PyInt::new(py, self.int()?).into_any(),
            b'H' | b'I' => self.long()?,
            b'D' => PyFloat::new(py, self.float()?).into_any(),
            b'T' => {
                let (real, imag) = (self.float()?, self.float()?);
                PyComplex::from_doubles(py, real, imag).into_any()
            }
            b'A' => PyBytes::new(py, &self.sized()?).into_any(),
            b'N' if self.py3str_as_py2str => PyBytes::new(py, &self.sized()?).into_any(),
            b'N' | b'S' => {
                let bytes = self.sized()?;
                PyString::new(py, std::str::from_utf8(&bytes).map_err(|_| wrong("text that is not UTF-8"))?)
                    .into_any()
            }
            b'M' if self.py2str_as_py3str => {
                let bytes = self.sized()?;
                crate::decode::text(py, &Text::from_latin1(&bytes))?
            }
            b'M' => PyBytes::new(py, &self.sized()?).into_any(),
            b'K' => {
                self.length()?;
                depth = 1;
                PyList::empty(py).into_any()
            }
            b'J' => {
                depth = 1;
                PyDict::new(py).into_any()
            }
            b'P' => return self.place(),
            b'@' | b'O' | b'E' => {
                let parts = self.parts(&mut depth)?;
                let unhashable = |error| unhashable(py, error);
                match code {
                    b'@' => PyTuple::new(py, parts)?.into_any(),
                    b'O' => set(py, parts.into_iter(), &mut self.checkpoint, unhashable)?,
                    _ => frozenset(py, parts.into_iter(), &mut self.checkpoint, unhashable)?,
                }
            }
            b'B' => return Err(wrong("a channel, which belongs to a gateway")),
            _ => return Err(wrong(format!("unknown opcode {code:#04x}"))),
        };
        self.stack.push(object);
        self.depths.push(depth);
        Ok(())
    }

    /// Puts key and value into the list or dict below them.
    fn place(&mut self) -> Result<()> {
        let (Some(value), Some(key), Some(into)) =
            (self.stack.pop(), self.stack.pop(), self.stack.last().cloned())
        else {
            return Err(wrong("an item for nothing"));
        };
        let depth = self.deepest(self.depths.len() - 2)?;
        if let Some(into) = self.depths.last_mut() {
            *into = depth.max(*into);
        }
        if let Ok(list) = into.cast_exact::<PyList>() {
            if key.extract::<usize>().ok() != Some(list.len()) {
                return Err(wrong("a list whose items are not in order"));
            }
            list.append(value)?;
        } else if let Ok(dict) = into.cast_exact::<PyDict>() {
            let unhashable = |error| unhashable(self.py, error);
            let long = is_long(&key).map_err(unhashable)?;
            dict.set_item(key, value).map_err(unhashable)?;
            if long {
                self.checkpoint.look(self.py)?;
            }
        } else {
            return Err(wrong("an item for something that has none"));
        }
        Ok(())
    }

    fn parts(&mut self, depth: &mut usize) -> Result<Vec<Bound<'py, PyAny>>> {
        let count = self.length()?;
        let from = self.stack.len().checked_sub(count).ok_or_else(|| wrong("fewer items than announced"))?;
        *depth = self.deepest(from)?;
        Ok(self.stack.split_off(from))
    }

    /// The nesting of a container of the objects from here on, which are taken off. Python itself recurses
    /// into it to hash it.
    fn deepest(&mut self, from: usize) -> Result<usize> {
        let depth = 1 + self.depths.drain(from..).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(wrong(format!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(depth)
    }

    fn long(&mut self) -> Result<Bound<'py, PyAny>> {
        let digits = self.sized()?;
        let text = std::str::from_utf8(&digits).map_err(|_| wrong("an integer that is not a number"))?;
        if let Ok(value) = text.parse::<i64>() {
            return Ok(PyInt::new(self.py, value).into_any());
        }
        let digits = text;
        let text = digits.strip_prefix('-').unwrap_or(digits);
        if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(wrong("an integer that is not a number"));
        }
        // as many digits as Python agrees to parse
        self.py.get_type::<PyInt>().call1((digits,)).map_err(|error| {
            let why = error.value(self.py).to_string();
            if error.is_instance_of::<PyValueError>(self.py) { wrong(why) } else { error.into() }
        })
    }

    fn sized(&mut self) -> Result<Vec<u8>> {
        let length = self.length()?;
        (self.take)(length)
    }

    fn length(&mut self) -> Result<usize> {
        usize::try_from(self.int()?).map_err(|_| wrong("a negative length"))
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn float(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        (self.take)(N)?.try_into().map_err(|_| cut_short())
    }
}

fn unhashable(py: Python<'_>, error: PyErr) -> Failure {
    if error.is_instance_of::<PyTypeError>(py) { wrong(error.value(py).to_string()) } else { error.into() }
}
