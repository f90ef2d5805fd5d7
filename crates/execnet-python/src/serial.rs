//! `dumps` and `loads`: objects as bytes in execnet's own format (2), which execnet 2 and older programs read and write.
//!
//! A stack machine's program: a version byte, then opcodes of one letter. Scalars are pushed. A tuple or set takes what was pushed for it; a list or
//! dict is pushed empty, and filled by pushing key and value for each part. Numbers are big-endian, lengths take four bytes.

use execnet::value::{self, BigInt, Container, Encoded, LoadError, Reader, Reading, Text, Token, Writing};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
};

use crate::decode::big_int;
use crate::encode::encode;
use crate::error::{DumpError, EndOfData, Failure, Result};

const VERSION: u8 = 2;

/// The bytes of an object.
#[pyfunction]
pub(crate) fn dumps<'py>(py: Python<'py>, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let encoded = encode(obj, Writing::default())?;
    Ok(PyBytes::new(py, &translate(&encoded)?))
}

/// The object that these bytes are. `py2str_as_py3str`: what was a `str` of Python 2 becomes text, otherwise bytes. `py3str_as_py2str`: what was a `str`
/// of Python 3 becomes bytes, otherwise text.
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
    Ok(Machine { py, take, py2str_as_py3str, py3str_as_py2str, stack: Vec::new() }.run()?)
}

/// As [`loads`], with `read(length)` giving the bytes.
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
    Ok(Machine { py, take, py2str_as_py3str, py3str_as_py2str, stack: Vec::new() }.run()?)
}

/// From one format to the other.
fn translate(encoded: &Encoded) -> Result<Vec<u8>> {
    if encoded.is_escaped() {
        return Err(DumpError::new_err("cannot dump a Channel: it can be sent only").into());
    }
    let mut reader = Reader::new(encoded.as_bytes(), Reading::default());
    let mut out = vec![VERSION];
    // what is open, and how many values were begun in it; None for a dict
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
            Token::BigInt(value) => sized(&mut out, b'H', &decimal(&value))?,
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
    let length =
        i32::try_from(length).map_err(|_| DumpError::new_err("cannot dump what is longer than 2 GiB"))?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The digits of a number, without the limit that Python has.
fn decimal(value: &BigInt) -> Vec<u8> {
    const BASE: u64 = 1_000_000_000;
    let bytes = value.magnitude();
    let mut limbs: Vec<u32> = Vec::with_capacity(bytes.len() / 4 + 1);
    for chunk in bytes.chunks(4) {
        let mut limb = [0; 4];
        limb[..chunk.len()].copy_from_slice(chunk);
        limbs.push(u32::from_le_bytes(limb));
    }
    let mut groups = Vec::new();
    while !limbs.is_empty() {
        let mut rest = 0;
        for limb in limbs.iter_mut().rev() {
            let value = rest << 32 | u64::from(*limb);
            *limb = (value / BASE) as u32;
            rest = value % BASE;
        }
        groups.push(rest);
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
    }
    let mut text = String::from(if value.is_negative() { "-" } else { "" });
    text += &groups.pop().unwrap_or(0).to_string();
    groups.iter().rev().for_each(|group| text += &format!("{group:09}"));
    text.into_bytes()
}

fn cut_short() -> Failure {
    EndOfData::new_err("the data ends too early").into()
}

fn wrong(why: impl Into<String>) -> Failure {
    LoadError::unwanted(why).into()
}

/// Runs a program and keeps what it has pushed.
struct Machine<'py, T> {
    py: Python<'py>,
    take: T,
    py2str_as_py3str: bool,
    py3str_as_py2str: bool,
    stack: Vec<Bound<'py, PyAny>>,
}

impl<'py, T: FnMut(usize) -> Result<Vec<u8>>> Machine<'py, T> {
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
        }
        match (self.stack.pop(), self.stack.is_empty()) {
            (Some(object), true) => Ok(object),
            _ => Err(wrong("the data is not one object")),
        }
    }

    fn step(&mut self, code: u8) -> Result<()> {
        let py = self.py;
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
                PyList::empty(py).into_any()
            }
            b'J' => PyDict::new(py).into_any(),
            b'P' => return self.place(),
            b'@' => PyTuple::new(py, self.parts()?)?.into_any(),
            b'O' => PySet::new(py, self.parts()?).map_err(|error| unhashable(py, error))?.into_any(),
            b'E' => PyFrozenSet::new(py, self.parts()?).map_err(|error| unhashable(py, error))?.into_any(),
            b'B' => return Err(wrong("a channel, which belongs to a gateway")),
            _ => return Err(wrong(format!("unknown opcode {code:#04x}"))),
        };
        self.stack.push(object);
        Ok(())
    }

    /// Puts key and value into the list or dict below them.
    fn place(&mut self) -> Result<()> {
        let (Some(value), Some(key), Some(into)) = (self.stack.pop(), self.stack.pop(), self.stack.last())
        else {
            return Err(wrong("an item for nothing"));
        };
        if let Ok(list) = into.cast_exact::<PyList>() {
            if key.extract::<usize>().ok() != Some(list.len()) {
                return Err(wrong("a list whose items are not in order"));
            }
            list.append(value)?;
        } else if let Ok(dict) = into.cast_exact::<PyDict>() {
            dict.set_item(key, value).map_err(|error| unhashable(self.py, error))?;
        } else {
            return Err(wrong("an item for what has none"));
        }
        Ok(())
    }

    fn parts(&mut self) -> Result<Vec<Bound<'py, PyAny>>> {
        let count = self.length()?;
        let from =
            self.stack.len().checked_sub(count).ok_or_else(|| wrong("fewer items than were promised"))?;
        Ok(self.stack.split_off(from))
    }

    fn long(&mut self) -> Result<Bound<'py, PyAny>> {
        let digits = self.sized()?;
        let text = std::str::from_utf8(&digits).map_err(|_| wrong("an integer that is no number"))?;
        if let Ok(value) = text.parse::<i64>() {
            return Ok(PyInt::new(self.py, value).into_any());
        }
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        if text.is_empty() || !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(wrong("an integer that is no number"));
        }
        big_int(self.py, &BigInt::new(negative, binary(text)))
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

/// The number that these digits are, the least significant byte first.
fn binary(digits: &str) -> Vec<u8> {
    let mut limbs: Vec<u32> = Vec::new();
    for group in digits.as_bytes().chunks(9) {
        let value = group.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        let mut carry = value;
        for limb in &mut limbs {
            let sum = u64::from(*limb) * 10_u64.pow(group.len() as u32) + carry;
            *limb = sum as u32;
            carry = sum >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    limbs.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn unhashable(py: Python<'_>, error: PyErr) -> Failure {
    if error.is_instance_of::<PyTypeError>(py) { wrong(error.value(py).to_string()) } else { error.into() }
}
