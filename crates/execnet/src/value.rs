//! Values that travel through channels: what Python programs know as None, bool, int, float, complex, str, bytes, list, tuple, dict, set and
//! frozenset, and channels themselves.
//!
//! Most Rust programs never see this module: [`Channel::send`](crate::Channel::send) and [`Channel::receive`](crate::Channel::receive) take and
//! give whatever serde knows. [`Value`] is for what is not known before it arrives, [`Writer`] and [`Reader`] are for programs that build
//! objects of their own without one in between.
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
//! In the other direction sequences may come from any of list, tuple, set and frozenset, `Vec<u8>` also from bytes, `(f64, f64)` also from complex.
//! Text may come from bytes that are UTF-8, and bytes from str. A `str` of Python 2 comes as text or as bytes, whichever is asked for. What serde holds back
//! before it knows the type (enums with `tag` or `untagged`, `flatten`) can be neither a channel nor an int of more than 128 bits.
//!
//! The bytes are Python's `marshal` format, version 2 (docs/kernel.md, 3). Nothing here evaluates anything, recurses, or takes memory that the bytes
//! at hand do not account for.

mod bigint;
mod build;
mod de;
mod error;
mod nested;
mod read;
mod ser;
mod text;
mod write;

pub use bigint::BigInt;
pub use error::{DumpError, LoadError};
pub use read::{Reader, Reading, Token};
pub use text::Text;
pub use write::{Container, Encoded, Writer, Writing};

pub(crate) use build::Channels;
pub(crate) use build::copy;
pub(crate) use de::from_reader;
pub(crate) use ser::to_writer;
pub(crate) use write::{HEAD, Target};

use crate::gateway::Channel;

/// How deep values may be nested, counted from the outermost one: Python's own limit.
pub const MAX_DEPTH: usize = 2_000;

/// The longest encoding of a value, in bytes.
pub const MAX_LENGTH: usize = (1 << 30) - 1;

/// A value of a kind that every Python has.
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
    /// `dict`, in its order.
    Dict(Vec<(Value, Value)>),
    /// `set`.
    Set(Vec<Value>),
    /// `frozenset`.
    FrozenSet(Vec<Value>),
    /// A channel of the gateway that the value comes from or goes to.
    Channel(Channel),
}

/// How text and bytes are told apart: `str` of Python 2 is both, and programs of its time may want bytes of Python 3, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StrConfig {
    /// A `str` of Python 2 arrives as text, each byte as the character of that number; otherwise as bytes.
    pub py2str_as_py3str: bool,
    /// Text arrives as bytes, in UTF-8: on Python 2 as `str`, otherwise as `unicode`; between this program and Python 3 as `bytes`, both ways.
    pub py3str_as_py2str: bool,
}

impl StrConfig {
    /// See the fields.
    #[must_use]
    pub fn new(py2str_as_py3str: bool, py3str_as_py2str: bool) -> Self {
        Self { py2str_as_py3str, py3str_as_py2str }
    }
}

impl Default for StrConfig {
    /// Text from there is text here, and the other way round.
    fn default() -> Self {
        Self { py2str_as_py3str: true, py3str_as_py2str: false }
    }
}

/// Which family of Python encoded a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Python 2: a `str` is text or bytes, as [`StrConfig`] says.
    Two,
    /// Python 3.
    #[default]
    Three,
}

impl Value {
    /// What Python calls its type.
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

    /// Reads the value that a reader comes to next; channels are those of the gateway of `channel`.
    ///
    /// # Errors
    /// When there is no value.
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

    /// The value that these bytes are, without channels.
    pub(crate) fn decode(bytes: &[u8], reading: Reading) -> Result<Self, LoadError> {
        let mut reader = Reader::new(bytes, reading);
        let value = build::read(&mut reader, &build::NoChannels)?;
        reader.next_token()?;
        Ok(value)
    }

    /// The value under a key that is text, if this is a dict that has it.
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
