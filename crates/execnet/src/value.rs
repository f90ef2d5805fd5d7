//! The values that channels carry: Python's None, bool, int, float, complex, str, bytes, list, tuple, dict,
//! set and frozenset, and channels themselves.
//!
//! Most Rust programs do not need this module: [`Channel::send`](crate::Channel::send) and
//! [`Channel::receive`](crate::Channel::receive) take and return whatever serde supports. [`Value`] is for
//! values of unknown type, [`Writer`] and [`Reader`] are for programs that build their own objects directly.
//!
//! | Rust | Python |
//! |---|---|
//! | `()`, `None` | None |
//! | `bool`, integers, floats, `char`, strings | bool, int, float, str |
//! | `bytes::Bytes`, and whatever serializes as bytes | bytes |
//! | `Vec`, slices, sets | list |
//! | tuples, arrays, tuple structs | tuple |
//! | maps, structs | dict |
//! | enums | str, or a dict of one entry |
//!
//! In the other direction, sequences can come from any of list, tuple, set and frozenset, `Vec<u8>` also from
//! bytes, and `(f64, f64)` also from complex. Text can come from UTF-8 bytes, and bytes from str. A `str` of
//! Python 2 becomes text or bytes, whichever is requested. Where serde buffers a value before it knows the
//! type (enums with `tag` or `untagged`, `flatten`), there can be no channels and no ints of more than 128
//! bits.
//!
//! The encoding is Python's `marshal` format, version 2 (docs/kernel.md, section 3). Nothing here evaluates
//! anything, recurses, or allocates memory that the bytes at hand do not account for.

mod bigint;
mod build;
mod de;
mod error;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod nested;
mod read;
mod ser;
mod text;
mod write;

pub use bigint::BigInt;
pub use error::{DumpError, LoadError};
pub use format::{Container, Dialect, MAX_DEPTH, MAX_LENGTH, StrConfig};
pub use read::{Reader, Reading, Token};
pub use text::Text;
pub use write::{Encoded, Writer, Writing};

pub(crate) use build::Channels;
#[cfg(any(test, fuzzing))]
pub(crate) use build::NoChannels;
pub(crate) use build::copy;
pub(crate) use de::from_reader;
pub(crate) use format::{HEAD, Target};
pub(crate) use ser::to_writer;

use crate::gateway::Channel;

/// A value of a type that every Python has.
///
/// ```
/// use execnet::value::Value;
///
/// let value = Value::List(vec![Value::Int(1), Value::from("two"), Value::None]);
/// assert_eq!(value.kind(), "list");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `bool`.
    Bool(bool),
    /// An `int` that fits.
    Int(i64),
    /// An `int` that does not fit into [`Value::Int`].
    BigInt(BigInt),
    /// `float`.
    Float(f64),
    /// `complex`: the real and the imaginary part.
    Complex(f64, f64),
    /// `str` (`unicode` on Python 2).
    Str(Text<'static>),
    /// `bytes` (`str` on Python 2).
    Bytes(Vec<u8>),
    /// `list`.
    List(Vec<Value>),
    /// `tuple`.
    Tuple(Vec<Value>),
    /// `dict`, in insertion order.
    Dict(Vec<(Value, Value)>),
    /// `set`.
    Set(Vec<Value>),
    /// `frozenset`.
    FrozenSet(Vec<Value>),
    /// A channel of the gateway that the value comes from or goes to.
    Channel(Channel),
}

impl Value {
    /// Python's name for its type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex(..) => "complex",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Set(_) => "set",
            Self::FrozenSet(_) => "frozenset",
            Self::Channel(_) => "Channel",
        }
    }

    /// Reads the next value. Channels in it belong to the gateway of `channel`.
    ///
    /// # Errors
    /// When there is no valid value.
    pub fn read(reader: &mut Reader<'_>, channel: &Channel) -> Result<Self, LoadError> {
        build::read(reader, channel)
    }

    /// Writes it.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn write(&self, writer: &mut Writer) -> Result<(), DumpError> {
        build::write(self, writer)
    }

    /// Decodes a value without channels.
    pub(crate) fn decode(bytes: &[u8], reading: Reading) -> Result<Self, LoadError> {
        let mut reader = Reader::new(bytes, reading);
        let value = build::read(&mut reader, &build::NoChannels)?;
        reader.next_token()?;
        Ok(value)
    }

    /// The value under this text key, if this is a dict that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Dict(pairs) = self else { return None };
        let is_it = |name: &Value| matches!(name, Self::Str(text) if text.as_bytes() == key.as_bytes());
        pairs.iter().find(|(name, _)| is_it(name)).map(|(_, value)| value)
    }

    /// The text, if it is text without lone surrogates.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { text.to_str() } else { None }
    }

    /// The number, if it is an int that fits.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }
}

macro_rules! from {
    ($($from:ty => |$it:ident| $make:expr),+ $(,)?) => {
        $(impl From<$from> for Value { fn from($it: $from) -> Self { $make } })+
    };
}

from! {
    bool => |it| Self::Bool(it),
    i32 => |it| Self::Int(it.into()),
    u32 => |it| Self::Int(it.into()),
    i64 => |it| Self::Int(it),
    f64 => |it| Self::Float(it),
    &str => |it| Self::Str(it.to_owned().into()),
    String => |it| Self::Str(it.into()),
    &[u8] => |it| Self::Bytes(it.to_vec()),
    Vec<u8> => |it| Self::Bytes(it),
    Vec<Value> => |it| Self::List(it),
    Channel => |it| Self::Channel(it),
}

#[cfg(test)]
mod tests;
