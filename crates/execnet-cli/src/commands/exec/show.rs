//! Writes values as one line of text each, like Python's `repr` or as JSON.
//!
//! Values are read token by token, without recursion, and with one bit of memory per dict. The output
//! contains no characters that control a terminal.

use std::fmt;
use std::io::{self, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use execnet::value::{BigInt, Container, LoadError, Reader, Text, Token};
use execnet_proto::text::{Escaped, EscapedJson, Segment, segments};
use num_bigint::Sign;

/// The largest integer written in decimal, in bytes: slightly below the 4,300 digits that Python parses by
/// default.
const DECIMAL: usize = 1_785;

/// The notation of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// Like `repr`.
    Python,
    /// As docs/cli.md specifies.
    Json,
}

/// A value that was checked and found valid.
pub(super) struct Shown<'a> {
    reader: Reader<'a>,
    notation: Notation,
    /// For each dict, in order: whether it can be a JSON object.
    objects: Vec<bool>,
}

/// A container that is being written.
struct OpenContainer {
    what: What,
    /// Values so far; keys count as values.
    count: usize,
}

#[derive(Clone, Copy)]
enum What {
    Sequence(Container, usize),
    /// Whether it is written as keys and values, or as a list of pairs.
    Dict(bool),
}

impl<'a> Shown<'a> {
    /// Checks a value.
    ///
    /// # Errors
    /// If it is not valid.
    pub(super) fn new(reader: Reader<'a>, notation: Notation) -> Result<Self, LoadError> {
        let mut objects = Vec::new();
        // for each open container: the dict's number, if it is one, and its values so far
        let mut open: Vec<(Option<usize>, usize)> = Vec::new();
        let mut scan = reader.clone();
        while let Some(token) = scan.next_token()? {
            if token == Token::End {
                open.pop();
                continue;
            }
            if let Some((dict, count)) = open.last_mut() {
                if let Some(dict) = dict.filter(|_| count.is_multiple_of(2)) {
                    objects[dict] &= matches!(&token, Token::Str(text) if !text.as_bytes().starts_with(b"$"));
                }
                *count += 1;
            }
            match token {
                Token::Begin(..) => open.push((None, 0)),
                Token::Dict => {
                    open.push((Some(objects.len()), 0));
                    objects.push(true);
                }
                _ => {}
            }
        }
        Ok(Self { reader, notation, objects })
    }

    /// Writes it.
    pub(super) fn write(self, out: &mut impl Write) -> io::Result<()> {
        let Self { mut reader, notation, objects } = self;
        let mut objects = objects.into_iter();
        let mut open: Vec<OpenContainer> = Vec::new();
        while let Some(token) = reader.next_token().map_err(io::Error::other)? {
            if token == Token::End {
                if let Some(OpenContainer { what, count }) = open.pop() {
                    out.write_all(end(notation, what, count))?;
                }
                continue;
            }
            if let Some(open) = open.last_mut() {
                out.write_all(between(open))?;
                open.count += 1;
            }
            let what = match token {
                Token::Begin(container, count) => What::Sequence(container, count),
                Token::Dict => What::Dict(notation == Notation::Python || objects.next() == Some(true)),
                token => {
                    atom(notation, &token, out)?;
                    continue;
                }
            };
            out.write_all(begin(notation, what))?;
            open.push(OpenContainer { what, count: 0 });
        }
        Ok(())
    }
}

fn begin(notation: Notation, what: What) -> &'static [u8] {
    match (notation, what) {
        (_, What::Dict(true)) => b"{",
        (_, What::Dict(false)) => b"{\"$dict\": [",
        (Notation::Json, What::Sequence(..)) | (_, What::Sequence(Container::List, _)) => b"[",
        (_, What::Sequence(Container::Tuple, _)) => b"(",
        (_, What::Sequence(Container::Set, 0)) => b"set(",
        (_, What::Sequence(Container::Set, _)) => b"{",
        (_, What::Sequence(Container::FrozenSet, 0)) => b"frozenset(",
        (_, What::Sequence(Container::FrozenSet, _)) => b"frozenset({",
    }
}

/// The separator before the next value.
fn between(open: &OpenContainer) -> &'static [u8] {
    match (open.what, open.count) {
        (What::Dict(false), 0) => b"[",
        (What::Dict(false), count) if count.is_multiple_of(2) => b"], [",
        (_, 0) => b"",
        (What::Dict(true), count) if !count.is_multiple_of(2) => b": ",
        _ => b", ",
    }
}

fn end(notation: Notation, what: What, count: usize) -> &'static [u8] {
    match (notation, what) {
        (_, What::Dict(true)) => b"}",
        (_, What::Dict(false)) if count == 0 => b"]}",
        (_, What::Dict(false)) => b"]]}",
        (Notation::Json, What::Sequence(..)) | (_, What::Sequence(Container::List, _)) => b"]",
        (_, What::Sequence(Container::Tuple, 1)) => b",)",
        (_, What::Sequence(Container::Set, 1..)) => b"}",
        (_, What::Sequence(Container::FrozenSet, 1..)) => b"})",
        (_, What::Sequence(..)) => b")",
    }
}

/// Writes a value that is not a container.
fn atom(notation: Notation, token: &Token<'_>, out: &mut impl Write) -> io::Result<()> {
    let json = notation == Notation::Json;
    match token {
        Token::None => out.write_all(if json { b"null" } else { b"None" }),
        Token::Bool(it) if json => write!(out, "{it}"),
        Token::Bool(it) => out.write_all(if *it { b"True" } else { b"False" }),
        Token::Int(it) => write!(out, "{it}"),
        Token::BigInt(it) if it.magnitude().len() <= DECIMAL => out.write_all(decimal(it).as_bytes()),
        Token::BigInt(it) if json => write!(out, "{{\"$int\": \"{it}\"}}"),
        Token::BigInt(it) => write!(out, "{it}"),
        Token::Float(it) if json => json_float(*it, out),
        Token::Float(it) => out.write_all(float(*it).as_bytes()),
        Token::Complex(real, imaginary) if json => {
            out.write_all(b"{\"$complex\": [")?;
            json_float(*real, out)?;
            out.write_all(b", ")?;
            json_float(*imaginary, out)?;
            out.write_all(b"]}")
        }
        Token::Complex(real, imaginary) => out.write_all(complex(*real, *imaginary).as_bytes()),
        Token::Str(text) if json => json_text(text, out),
        Token::Str(text) => python_text(text, out),
        Token::Bytes(bytes) if json => {
            out.write_all(b"{\"$bytes\": \"")?;
            base64(bytes, out)?;
            out.write_all(b"\"}")
        }
        Token::Bytes(bytes) => python_bytes(bytes, out),
        Token::Channel(number) if json => write!(out, "{{\"$channel\": {number}}}"),
        Token::Channel(number) => write!(out, "<Channel {number}>"),
        Token::Begin(..) | Token::Dict | Token::End => Ok(()),
    }
}

/// An integer in decimal. Takes time quadratic in its length.
fn decimal(number: &BigInt) -> String {
    let sign = if number.is_negative() { Sign::Minus } else { Sign::Plus };
    num_bigint::BigInt::from_bytes_le(sign, number.magnitude()).to_string()
}

/// A float as `repr` writes it.
fn float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        _ if number.is_nan() => "nan".to_owned(),
        None => text,
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

fn json_float(number: f64, out: &mut impl Write) -> io::Result<()> {
    let text = float(number);
    if number.is_finite() {
        out.write_all(text.as_bytes())
    } else {
        write!(out, "{{\"$float\": \"{text}\"}}")
    }
}

fn complex(real: f64, imaginary: f64) -> String {
    let part = |number: f64| float(number).strip_suffix(".0").map_or_else(|| float(number), str::to_owned);
    if real == 0.0 && real.is_sign_positive() {
        return format!("{}j", part(imaginary));
    }
    let sign = if imaginary.is_nan() || imaginary.is_sign_positive() { "+" } else { "" };
    format!("({}{sign}{}j)", part(real), part(imaginary))
}

/// Text without surrogates, or one surrogate.
enum Piece<'a> {
    Text(&'a str),
    Surrogate(u16),
}

fn pieces<'a>(text: &'a Text<'_>) -> impl Iterator<Item = Piece<'a>> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let good = match std::str::from_utf8(rest) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default(),
        };
        if !good.is_empty() {
            rest = &rest[good.len()..];
            return Some(Piece::Text(good));
        }
        let [_, high, low, ..] = *rest else { return None };
        rest = &rest[3..];
        Some(Piece::Surrogate(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f)))
    })
}

fn python_text(text: &Text<'_>, out: &mut impl Write) -> io::Result<()> {
    quoted(text, quote(text.as_bytes()), out, Escaped)
}

fn json_text(text: &Text<'_>, out: &mut impl Write) -> io::Result<()> {
    quoted(text, '"', out, EscapedJson)
}

/// Writes quoted text; `escaped` writes unprintable characters that have no short escape.
fn quoted<E: fmt::Display>(
    text: &Text<'_>,
    quote: char,
    out: &mut impl Write,
    escaped: impl Fn(char) -> E,
) -> io::Result<()> {
    write!(out, "{quote}")?;
    for piece in pieces(text) {
        let text = match piece {
            Piece::Surrogate(unit) => {
                write!(out, "\\u{unit:04x}")?;
                continue;
            }
            Piece::Text(text) => text,
        };
        for segment in segments(text) {
            let text = match segment {
                Segment::Shown(text) => text,
                Segment::Hidden(c) => {
                    write!(out, "{}", escaped(c))?;
                    continue;
                }
            };
            let mut written = 0;
            // `repr` escapes all whitespace but the plain space
            let is_special = |c: char| c == '\\' || c == quote || !c.is_ascii() && c.is_whitespace();
            for (at, c) in text.char_indices().filter(|(_, c)| is_special(*c)) {
                out.write_all(&text.as_bytes()[written..at])?;
                if c.is_ascii() { write!(out, "\\{c}") } else { write!(out, "{}", escaped(c)) }?;
                written = at + c.len_utf8();
            }
            out.write_all(&text.as_bytes()[written..])?;
        }
    }
    write!(out, "{quote}")
}

fn python_bytes(bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    let quote = quote(bytes);
    write!(out, "b{quote}")?;
    for &byte in bytes {
        match byte {
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            b'\t' => out.write_all(b"\\t")?,
            b'\\' => out.write_all(b"\\\\")?,
            _ if char::from(byte) == quote => write!(out, "\\{quote}")?,
            b' '..=b'~' => out.write_all(&[byte])?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    write!(out, "{quote}")
}

fn quote(bytes: &[u8]) -> char {
    if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' }
}

fn base64(bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    let mut encoder = EncoderWriter::new(out, &STANDARD);
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
