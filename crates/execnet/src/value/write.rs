//! Writes values as `marshal` data, version 2: the subset that every supported Python reads.
//!
//! Values are pushed one after the other; containers are begun and ended. Counts are filled in at the end, so
//! callers need not know them in advance.

use std::fmt::Write;

use super::bigint::{BigInt, digits};
use super::error::DumpError;
use super::format::{Container, HEAD, MAX_DEPTH, MAX_LENGTH, StrConfig, Target};
use super::read::{Reading, key, text_key};
use super::text::Text;
use crate::gateway::Channel;

/// From version 3 on, marshal adds NOTED to the code of an object that is referenced later.
const NOTED: u8 = 0x80;
const REFERENCE: u8 = b'r';

/// What a value is written for: see [`Channel::writing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// How text is written.
    pub strconfig: StrConfig,
    pub(crate) target: Target,
}

/// An encoded value, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// HEAD bytes, then the value.
    pub(crate) bytes: Vec<u8>,
    pub(crate) escaped: bool,
    /// The gateway of the channels in it.
    pub(crate) gateway: Option<u64>,
}

/// Writes one value, part by part.
///
/// ```
/// use execnet::value::{Container, Writer, Writing};
///
/// let mut writer = Writer::new(Writing::default());
/// writer.begin(Container::List)?;
/// writer.int(1)?;
/// writer.str("two")?;
/// writer.end();
/// assert_eq!(writer.finish()?.as_bytes(), b"[\x02\x00\x00\x00i\x01\x00\x00\x00u\x03\x00\x00\x00two");
/// # Ok::<(), execnet::value::DumpError>(())
/// ```
///
/// Each call fails if the value becomes nested too deeply or too long, or if a list, dict or set is put where
/// Python needs something immutable: in the keys of a dict, in a set.
#[derive(Clone, Debug)]
pub struct Writer {
    out: Vec<u8>,
    writing: Writing,
    open: Vec<Open>,
    keys: Keys,
    escaped: bool,
    gateway: Option<u64>,
    complete: bool,
}

/// Dict keys that can be referenced: the dicts of a list mostly have the same ones.
#[derive(Clone, Debug, Default)]
struct Keys {
    /// Where they begin, in the order in which they were written.
    written: Vec<usize>,
    /// The indexes of some of them, by a hash of their text; empty until there are any.
    known: Vec<Option<u32>>,
}

impl Keys {
    /// How many can be referenced, how many are remembered at a time, and how long they may be, in bytes.
    const MOST: usize = 1_024;
    const KNOWN: usize = 64;
    const LONGEST: usize = 32;
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// None for a dict.
    container: Option<Container>,
    /// Where the count goes.
    at: usize,
    count: u32,
    /// Where the last key of a dict begins.
    key: usize,
    /// It is in a key or a set.
    fixed: bool,
}

impl Encoded {
    /// The value's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[HEAD..]
    }

    /// Whether there are channels or the like in it.
    #[must_use]
    pub fn is_escaped(&self) -> bool {
        self.escaped
    }
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) => |$self:ident| $body:block)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// See [`Writer`].
            pub fn $name(&mut self, $($arg: $type),*) -> Result<(), DumpError> {
                self.item()?;
                let $self = self;
                $body
                Ok(())
            }
        )+
    };
}

impl Writer {
    /// For the reader that `writing` describes.
    #[must_use]
    pub fn new(writing: Writing) -> Self {
        let mut out = Vec::with_capacity(64);
        out.resize(HEAD, 0);
        Self {
            out,
            writing,
            open: Vec::new(),
            keys: Keys::default(),
            escaped: false,
            gateway: None,
            complete: false,
        }
    }

    scalars! {
        /// `None`.
        none() => |it| { it.out.push(b'N'); }
        /// `bool`.
        bool(value: bool) => |it| { it.out.push(if value { b'T' } else { b'F' }); }
        /// `float`.
        float(value: f64) => |it| { it.put(b'g', &value.to_le_bytes()); }
        /// `complex`.
        complex(real: f64, imaginary: f64) => |it| {
            it.put(b'y', &real.to_le_bytes());
            it.out.extend_from_slice(&imaginary.to_le_bytes());
        }
    }

    /// `int`.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn int(&mut self, value: i64) -> Result<(), DumpError> {
        match i32::try_from(value) {
            Ok(value) => {
                self.item()?;
                self.put(b'i', &value.to_le_bytes());
                Ok(())
            }
            Err(_) => self.big_int(value < 0, &value.unsigned_abs().to_le_bytes()),
        }
    }

    /// An `int` of any size, given its magnitude as little-endian bytes.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn big_int(&mut self, negative: bool, magnitude: &[u8]) -> Result<(), DumpError> {
        if magnitude.len() <= 16 {
            let number = BigInt::new(negative, magnitude);
            if let Some(value) = i64::try_from(&number).ok().and_then(|value| i32::try_from(value).ok()) {
                return self.int(value.into());
            }
        }
        self.check(magnitude.len())?;
        self.item()?;
        let digits = digits(magnitude);
        let size = digits.len() as i32;
        self.put(b'l', &if negative { -size } else { size }.to_le_bytes());
        self.out.extend(digits.into_iter().flat_map(u16::to_le_bytes));
        Ok(())
    }

    /// `str`.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn str(&mut self, value: &str) -> Result<(), DumpError> {
        if self.writing.strconfig.py3str_as_py2str {
            return self.bytes(value.as_bytes());
        }
        if self.writing.target.references && value.len() <= Keys::LONGEST && self.is_key() {
            return self.key(value);
        }
        self.string(b'u', value.as_bytes())
    }

    /// `str` of any code points.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn text(&mut self, value: &Text<'_>) -> Result<(), DumpError> {
        match value.to_str() {
            Some(text) => self.str(text),
            None if self.writing.target.no_surrogates => {
                let message = "cannot send a str with a lone surrogate to Jython, which has no such text";
                Err(DumpError::new(message).at(|| self.place()))
            }
            None if self.writing.strconfig.py3str_as_py2str => self.bytes(value.as_bytes()),
            None => self.string(b'u', value.as_bytes()),
        }
    }

    /// `bytes`.
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn bytes(&mut self, value: &[u8]) -> Result<(), DumpError> {
        self.string(b's', value)
    }

    /// A channel of the gateway that the value goes to.
    ///
    /// # Errors
    /// When the value contains a channel of another gateway, or one with a name, and as in [`Writer`].
    pub fn channel(&mut self, channel: &Channel) -> Result<(), DumpError> {
        if channel.is_named() {
            let words = "cannot send a channel with a name: the other end finds it by that";
            return Err(DumpError::new(words).at(|| self.place()));
        }
        self.channel_number(channel.gateway_key(), channel.number())
    }

    pub(crate) fn channel_number(&mut self, gateway: u64, number: u32) -> Result<(), DumpError> {
        if *self.gateway.get_or_insert(gateway) != gateway {
            return Err(DumpError::new("cannot send channels of different gateways").at(|| self.place()));
        }
        self.item()?;
        self.escape(0);
        self.put(b'i', &number.to_le_bytes());
        Ok(())
    }

    /// Begins a container: what is written next is in it, up to [`Writer::end`].
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn begin(&mut self, container: Container) -> Result<(), DumpError> {
        let fixed = self.is_fixed();
        if fixed && matches!(container, Container::List | Container::Set) {
            return Err(self.unhashable(if container == Container::List { "list" } else { "set" }));
        }
        self.item()?;
        let (code, inner) = match container {
            Container::List => (b'[', fixed),
            Container::Tuple => (b'(', fixed),
            Container::Set => (b'<', true),
            Container::FrozenSet => (b'>', true),
        };
        self.complete = false;
        self.put(code, &[0; 4]);
        let at = self.out.len() - 4;
        self.open.push(Open { container: Some(container), at, count: 0, key: 0, fixed: inner });
        Ok(())
    }

    /// Begins a dict: keys and values are written alternately, up to [`Writer::end`].
    ///
    /// # Errors
    /// See [`Writer`].
    pub fn begin_dict(&mut self) -> Result<(), DumpError> {
        if self.is_fixed() {
            return Err(self.unhashable("dict"));
        }
        self.item()?;
        self.complete = false;
        self.out.push(b'{');
        let at = self.out.len();
        self.open.push(Open { container: None, at, count: 0, key: at, fixed: false });
        Ok(())
    }

    /// Ends the container that was begun last.
    ///
    /// # Panics
    /// When there is none, or when it is a dict whose last key has no value.
    pub fn end(&mut self) {
        let open = self.open.pop().expect("a container was begun");
        match open.container {
            Some(_) => self.out[open.at..open.at + 4].copy_from_slice(&open.count.to_le_bytes()),
            None => {
                assert!(open.count.is_multiple_of(2), "each key has a value");
                self.out.push(b'0');
            }
        }
        self.complete = self.open.is_empty();
    }

    /// The value.
    ///
    /// # Errors
    /// When there is none, when it has not ended, or when it is too long.
    pub fn finish(self) -> Result<Encoded, DumpError> {
        if !self.complete {
            return Err(DumpError::new("the value is not complete"));
        }
        self.check(0)?;
        Ok(Encoded { bytes: self.out, escaped: self.escaped, gateway: self.gateway })
    }

    /// The error for an object of this type that cannot be sent, at the current place.
    #[must_use]
    pub fn refuse(&self, kind: &str) -> DumpError {
        DumpError::new(format!("cannot send {}", with_article(kind))).at(|| self.place())
    }

    /// The current place, in Python's notation: `[2]['key']`.
    #[must_use]
    pub fn place(&self) -> String {
        let reading = Reading {
            dialect: self.writing.target.dialect,
            escaped: true,
            strconfig: self.writing.strconfig,
        };
        let mut place = String::new();
        for (depth, open) in self.open.iter().enumerate() {
            // on the levels above the innermost one the current value was counted already
            let inner = depth + 1 < self.open.len();
            match open.container {
                Some(Container::List | Container::Tuple) => {
                    let _ = write!(place, "[{}]", open.count - u32::from(inner));
                }
                Some(_) => place += "{…}",
                None if (open.count - u32::from(inner)).is_multiple_of(2) => place += "[key]",
                None => place += &self.key_at(open.key, reading),
            }
        }
        place
    }

    fn key_at(&self, mut at: usize, reading: Reading) -> String {
        let number =
            |at: usize| self.out[at + 1..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if self.out[at] == REFERENCE {
            at = self.keys.written[number(at) as usize];
        }
        if self.out[at] != b'u' | NOTED {
            return key(&self.out[at..], reading);
        }
        text_key(&String::from_utf8_lossy(&self.out[at + 5..][..number(at) as usize]))
    }

    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Counts a value.
    fn item(&mut self) -> Result<(), DumpError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(DumpError::new(format!("nested more than {MAX_DEPTH} deep")).at(|| self.place()));
        }
        let at = self.out.len();
        match self.open.last_mut() {
            Some(open) => {
                if open.container.is_none() && open.count.is_multiple_of(2) {
                    open.key = at;
                }
                open.count += 1;
            }
            None if self.complete => return Err(DumpError::new("more than one value")),
            None => self.complete = true,
        }
        self.check(0)
    }

    fn check(&self, more: usize) -> Result<(), DumpError> {
        if self.out.len() - HEAD + more > MAX_LENGTH {
            return Err(DumpError::new("longer than 1 GiB").at(|| self.place()));
        }
        Ok(())
    }

    fn is_fixed(&self) -> bool {
        self.is_key() || self.open.last().is_some_and(|open| open.fixed)
    }

    /// Whether a key comes next.
    fn is_key(&self) -> bool {
        self.open.last().is_some_and(|open| open.container.is_none() && open.count.is_multiple_of(2))
    }

    /// A short key, or a reference to it.
    fn key(&mut self, text: &str) -> Result<(), DumpError> {
        let sum = text.bytes().fold(text.len(), |sum, byte| sum.wrapping_mul(31) ^ usize::from(byte));
        let place = sum % Keys::KNOWN;
        if self.keys.known.is_empty() {
            self.keys.known.resize(Keys::KNOWN, None);
        }
        if let Some(number) = self.keys.known[place] {
            let at = self.keys.written[number as usize];
            let length = (text.len() as u32).to_le_bytes();
            if self.out[at + 1..at + 5] == length && self.out[at + 5..].starts_with(text.as_bytes()) {
                self.item()?;
                self.put(REFERENCE, &number.to_le_bytes());
                return Ok(());
            }
        }
        let number = self.keys.written.len();
        if number == Keys::MOST {
            return self.string(b'u', text.as_bytes());
        }
        let at = self.out.len();
        self.string(b'u' | NOTED, text.as_bytes())?;
        self.keys.known[place] = Some(number as u32);
        self.keys.written.push(at);
        Ok(())
    }

    fn unhashable(&self, kind: &str) -> DumpError {
        let message = format!("{} cannot be a key or in a set", with_article(kind));
        DumpError::new(message).at(|| self.place())
    }

    fn string(&mut self, code: u8, bytes: &[u8]) -> Result<(), DumpError> {
        self.check(bytes.len())?;
        self.item()?;
        self.out.reserve(bytes.len() + 5);
        self.put(code, &(bytes.len() as u32).to_le_bytes());
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// The beginning of an escape: a tuple of three items, of which the last follows.
    fn escape(&mut self, what: i32) {
        self.escaped = true;
        self.put(b'(', &3_u32.to_le_bytes());
        self.out.push(b'.');
        self.put(b'i', &what.to_le_bytes());
    }

    fn put(&mut self, code: u8, bytes: &[u8]) {
        self.out.push(code);
        self.out.extend_from_slice(bytes);
    }
}

fn with_article(kind: &str) -> String {
    let article =
        if kind.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" };
    format!("{article} {kind}")
}
