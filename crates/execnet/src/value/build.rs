//! Builds a [`Value`] from tokens, and writes it as tokens, without recursion.

use super::format::Container;
use super::read::{Reader, Token};
use super::write::Writer;
use super::{BigInt, DumpError, LoadError, Value};
use crate::gateway::Channel;

/// Returns the channel with a number that stands in a value.
pub(crate) trait Channels {
    fn channel(&self, number: u32) -> Result<Channel, LoadError>;
}

/// For values that cannot contain channels.
pub(crate) struct NoChannels;

impl Channels for NoChannels {
    fn channel(&self, _: u32) -> Result<Channel, LoadError> {
        Err(LoadError::malformed("a channel where there cannot be one"))
    }
}

/// A container while it is being filled.
enum Open {
    Sequence(Container, Vec<Value>),
    Dict(Vec<(Value, Value)>, Option<Value>),
}

/// Reads the value that begins with the next token.
pub(crate) fn read(reader: &mut Reader<'_>, channels: &dyn Channels) -> Result<Value, LoadError> {
    let mut open: Vec<Open> = Vec::new();
    loop {
        let token = reader.next_token()?;
        let value = match token.ok_or_else(|| LoadError::malformed("no value"))? {
            // the announced items are not there yet; the vectors grow as they come
            Token::Begin(container, count) => {
                open.push(Open::Sequence(container, Vec::with_capacity(count.min(64))));
                continue;
            }
            Token::Dict => {
                open.push(Open::Dict(Vec::new(), None));
                continue;
            }
            Token::End => match open.pop() {
                Some(Open::Sequence(container, mut values)) => {
                    values.shrink_to_fit();
                    match container {
                        Container::List => Value::List(values),
                        Container::Tuple => Value::Tuple(values),
                        Container::Set => Value::Set(values),
                        Container::FrozenSet => Value::FrozenSet(values),
                    }
                }
                Some(Open::Dict(mut pairs, _)) => {
                    pairs.shrink_to_fit();
                    Value::Dict(pairs)
                }
                None => return Err(LoadError::malformed("an end without a beginning")),
            },
            Token::None => Value::None,
            Token::Bool(value) => Value::Bool(value),
            Token::Int(value) => Value::Int(value),
            Token::BigInt(value) => Value::BigInt(value),
            Token::Float(value) => Value::Float(value),
            Token::Complex(real, imaginary) => Value::Complex(real, imaginary),
            Token::Str(text) => Value::Str(text.into_owned()),
            Token::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Token::Channel(number) => Value::Channel(channels.channel(number)?),
        };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::Sequence(_, values)) => values.push(value),
            Some(Open::Dict(pairs, key)) => match key.take() {
                None => *key = Some(value),
                Some(key) => pairs.push((key, value)),
            },
        }
    }
}

/// What remains to be written.
enum Rest<'v> {
    Values(std::slice::Iter<'v, Value>),
    Pairs(std::slice::Iter<'v, (Value, Value)>),
    One(&'v Value),
}

/// Writes a value.
pub(crate) fn write(value: &Value, writer: &mut Writer) -> Result<(), DumpError> {
    let mut rest = vec![Rest::One(value)];
    while let Some(last) = rest.last_mut() {
        let next = match last {
            Rest::Values(values) => values.next(),
            Rest::Pairs(pairs) => match pairs.next() {
                Some((key, value)) => {
                    rest.push(Rest::One(value));
                    Some(key)
                }
                None => None,
            },
            Rest::One(value) => {
                let value = *value;
                rest.pop();
                begin(value, writer, &mut rest)?;
                continue;
            }
        };
        match next {
            Some(value) => begin(value, writer, &mut rest)?,
            None => {
                rest.pop();
                writer.end();
            }
        }
    }
    Ok(())
}

fn begin<'v>(value: &'v Value, writer: &mut Writer, rest: &mut Vec<Rest<'v>>) -> Result<(), DumpError> {
    let mut sequence = |container, values: &'v [Value]| {
        writer.begin(container)?;
        rest.push(Rest::Values(values.iter()));
        Ok(())
    };
    match value {
        Value::List(values) => sequence(Container::List, values),
        Value::Tuple(values) => sequence(Container::Tuple, values),
        Value::Set(values) => sequence(Container::Set, values),
        Value::FrozenSet(values) => sequence(Container::FrozenSet, values),
        Value::Dict(pairs) => {
            writer.begin_dict()?;
            rest.push(Rest::Pairs(pairs.iter()));
            Ok(())
        }
        Value::None => writer.none(),
        Value::Bool(value) => writer.bool(*value),
        Value::Int(value) => writer.int(*value),
        Value::BigInt(value) => writer.big_int(value.is_negative(), value.magnitude()),
        Value::Float(value) => writer.float(*value),
        Value::Complex(real, imaginary) => writer.complex(*real, *imaginary),
        Value::Str(text) => writer.text(text),
        Value::Bytes(bytes) => writer.bytes(bytes),
        Value::Channel(channel) => writer.channel(channel),
    }
}

/// Copies a value from a reader to a writer. The channels in it belong to one gateway.
pub(crate) fn copy(reader: &mut Reader<'_>, writer: &mut Writer, gateway: u64) -> Result<(), DumpError> {
    while let Some(token) = reader.next_token().map_err(|error| DumpError::new(error.to_string()))? {
        match token {
            Token::Begin(container, _) => writer.begin(container)?,
            Token::Dict => writer.begin_dict()?,
            Token::End => writer.end(),
            Token::None => writer.none()?,
            Token::Bool(value) => writer.bool(value)?,
            Token::Int(value) => writer.int(value)?,
            Token::BigInt(value) => big_int(&value, writer)?,
            Token::Float(value) => writer.float(value)?,
            Token::Complex(real, imaginary) => writer.complex(real, imaginary)?,
            Token::Str(text) => writer.text(&text)?,
            Token::Bytes(bytes) => writer.bytes(bytes)?,
            Token::Channel(number) => writer.channel_number(gateway, number)?,
        }
    }
    Ok(())
}

fn big_int(value: &BigInt, writer: &mut Writer) -> Result<(), DumpError> {
    writer.big_int(value.is_negative(), value.magnitude())
}
