//! Reads `marshal` data as a sequence of tokens. The input is hostile.
//!
//! Recognizes everything that supported Pythons write with version 2, and Python 2.7's own `s`, `t`, `R` and
//! `I`. Neither recurses nor evaluates: it allocates only a few words for each level of nesting, of which
//! there are at most [`MAX_DEPTH`], and for each interned string.

use std::borrow::Cow;
use std::fmt::Write;

use execnet_proto::text::line;

use super::bigint::BigInt;
use super::error::LoadError;
use super::format::{Container, Dialect, MAX_DEPTH, StrConfig};
use super::text::Text;

/// How to read bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// The major version of the Python that wrote them.
    pub dialect: Dialect,
    /// What a `str` becomes.
    pub strconfig: StrConfig,
    /// Whether tuples that begin with Ellipsis stand for channels and the like.
    pub escaped: bool,
}

impl Reading {
    /// See the fields.
    #[must_use]
    pub fn new(dialect: Dialect, strconfig: StrConfig, escaped: bool) -> Self {
        Self { dialect, strconfig, escaped }
    }
}

/// A part of a value. The items of a container follow it, and then [`Token::End`].
#[derive(Clone, Debug, PartialEq)]
pub enum Token<'a> {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// An `int` that fits.
    Int(i64),
    /// An `int` that does not fit.
    BigInt(BigInt),
    /// `float`.
    Float(f64),
    /// `complex`.
    Complex(f64, f64),
    /// `str`.
    Str(Text<'a>),
    /// `bytes`.
    Bytes(&'a [u8]),
    /// A list, tuple, set or frozenset with this many values. The bytes may end earlier: do not allocate on
    /// this number alone.
    Begin(Container, usize),
    /// A dict: keys and values follow alternately.
    Dict,
    /// The end of a container.
    End,
    /// The channel with this number, as its sender knows it.
    Channel(u32),
}

/// Reads one value, token by token.
///
/// ```
/// use execnet::value::{Container, Reader, Reading, Token};
///
/// let mut reader = Reader::new(b"[\x01\x00\x00\x00T", Reading::default());
/// assert_eq!(reader.next_token()?, Some(Token::Begin(Container::List, 1)));
/// assert_eq!(reader.next_token()?, Some(Token::Bool(true)));
/// assert_eq!(reader.next_token()?, Some(Token::End));
/// assert_eq!(reader.next_token()?, None);
/// # Ok::<(), execnet::value::LoadError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    reading: Reading,
    open: Vec<Open>,
    interned: Vec<&'a [u8]>,
    started: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// None for a dict.
    container: Option<Container>,
    /// How many values are still to come; for a dict, how many came.
    count: usize,
    total: usize,
    /// Where the last key of a dict begins.
    key: usize,
    /// It is in a key or a set, so it cannot be a list, dict or set.
    fixed: bool,
}

/// Added to codes by marshal version 3 and later.
const FLAG_REF: u8 = 0x80;

const UNHASHABLE: &str = "a list, dict or set as a key or in a set";

impl<'a> Reader<'a> {
    /// For the bytes of one value.
    #[must_use]
    pub fn new(bytes: &'a [u8], reading: Reading) -> Self {
        Self { bytes, at: 0, reading, open: Vec::new(), interned: Vec::new(), started: false }
    }

    /// The next token; none after the last one.
    ///
    /// # Errors
    /// When the bytes are not a valid value. Then the reader cannot continue.
    pub fn next_token(&mut self) -> Result<Option<Token<'a>>, LoadError> {
        let at = self.at;
        let token = self.step().map_err(|why| {
            let why = why.unwrap_or("it ends too early");
            LoadError::malformed(format!("malformed value, byte {at}: {why}"))
        });
        token.map_err(|error| error.at(|| self.place()))
    }

    /// The next token, with a `str` of Python 2 as bytes.
    pub(crate) fn next_for_bytes(&mut self) -> Result<Option<Token<'a>>, LoadError> {
        let strconfig = self.reading.strconfig;
        self.reading.strconfig.py2str_as_py3str = false;
        let token = self.next_token();
        self.reading.strconfig = strconfig;
        token
    }

    /// The depth of the next token: 0 for the value itself.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// The current place, in Python's notation: `[2]['key']`.
    #[must_use]
    pub fn place(&self) -> String {
        let mut place = String::new();
        for open in &self.open {
            match open.container {
                // the current value was counted already
                Some(Container::List | Container::Tuple) => {
                    let _ = write!(place, "[{}]", (open.total - open.count).saturating_sub(1));
                }
                Some(_) => place += "{…}",
                None if open.count % 2 == 1 => place += "[key]",
                None => place += &key(&self.bytes[open.key..], self.reading),
            }
        }
        place
    }

    /// Whether the next token is `None`.
    pub(crate) fn is_none_next(&self) -> bool {
        let ended = self.open.last().is_some_and(|open| open.container.is_some() && open.count == 0);
        !ended && self.bytes.get(self.at) == Some(&b'N')
    }

    /// Whether the current container has ended. If so, takes its end.
    pub(crate) fn take_end(&mut self) -> Result<bool, LoadError> {
        let ended = match self.open.last() {
            Some(Open { container: None, .. }) => self.bytes.get(self.at) == Some(&b'0'),
            Some(open) => open.count == 0,
            None => false,
        };
        if ended {
            self.next_token()?;
        }
        Ok(ended)
    }

    /// Skips the rest of the value that began at this depth.
    pub(crate) fn skip_to(&mut self, depth: usize) -> Result<(), LoadError> {
        while self.open.len() > depth {
            self.next_token()?;
        }
        Ok(())
    }

    /// Errors are messages, or `None` where bytes are missing.
    fn step(&mut self) -> Result<Option<Token<'a>>, Option<&'static str>> {
        if let Some(open) = self.open.last_mut() {
            match open.container {
                Some(_) if open.count == 0 => {
                    self.open.pop();
                    return Ok(Some(Token::End));
                }
                Some(_) => open.count -= 1,
                None => {
                    if self.bytes.get(self.at) == Some(&b'0') {
                        if open.count % 2 == 1 {
                            return Err(Some("a key without a value"));
                        }
                        self.at += 1;
                        self.open.pop();
                        return Ok(Some(Token::End));
                    }
                    if open.count % 2 == 0 {
                        open.key = self.at;
                    }
                    open.count += 1;
                }
            }
        } else if self.started {
            let over = self.at == self.bytes.len();
            return if over { Ok(None) } else { Err(Some("more than one value")) };
        }
        self.started = true;
        self.value().map(Some)
    }

    fn value(&mut self) -> Result<Token<'a>, Option<&'static str>> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Some("nested more than 2000 deep"));
        }
        let [code] = *self.array()?;
        Ok(match code {
            b'N' => Token::None,
            b'T' => Token::Bool(true),
            b'F' => Token::Bool(false),
            b'i' => Token::Int(i32::from_le_bytes(*self.array()?).into()),
            b'I' => Token::Int(i64::from_le_bytes(*self.array()?)),
            b'l' => self.long()?,
            b'g' => Token::Float(f64::from_le_bytes(*self.array()?)),
            b'y' => Token::Complex(f64::from_le_bytes(*self.array()?), f64::from_le_bytes(*self.array()?)),
            b'u' if self.is_narrow() => Token::Bytes(self.sized()?),
            b'u' => Token::Str(self.text()?),
            b's' | b't' | b'R' => {
                let bytes = self.string(code)?;
                match self.reading {
                    Reading { dialect: Dialect::Three, .. } if code == b's' => Token::Bytes(bytes),
                    Reading { dialect: Dialect::Three, .. } if self.is_narrow() => Token::Bytes(bytes),
                    Reading { dialect: Dialect::Three, .. } => Token::Str(text(bytes)?),
                    Reading { strconfig: StrConfig { py2str_as_py3str: true, .. }, .. } => {
                        Token::Str(Text::from_latin1(bytes))
                    }
                    _ => Token::Bytes(bytes),
                }
            }
            b'(' => self.tuple()?,
            b'[' => self.sequence(Container::List)?,
            b'<' => self.sequence(Container::Set)?,
            b'>' => self.sequence(Container::FrozenSet)?,
            b'{' => {
                if self.is_fixed() {
                    return Err(Some(UNHASHABLE));
                }
                self.open.push(Open { container: None, count: 0, total: 0, key: self.at, fixed: false });
                Token::Dict
            }
            b'.' => return Err(Some("an Ellipsis")),
            b'S' => return Err(Some("a StopIteration")),
            b'c' => return Err(Some("a code object")),
            b'f' | b'x' => return Err(Some("marshal version 0 or 1")),
            b'r' | b'a' | b'A' | b'z' | b'Z' | b')' => return Err(Some("marshal version 3 or later")),
            b'0' => return Err(Some("an end without a beginning")),
            code if code & FLAG_REF != 0 => return Err(Some("marshal version 3 or later")),
            _ => return Err(Some("an unknown code")),
        })
    }

    fn long(&mut self) -> Result<Token<'a>, Option<&'static str>> {
        let size = i32::from_le_bytes(*self.array()?);
        let digits = self.take((size.unsigned_abs() as usize).checked_mul(2).ok_or(None)?)?;
        let digits = digits.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        if digits.clone().any(|digit| digit >> 15 != 0) || digits.clone().next_back() == Some(0) {
            return Err(Some("an integer with wrong digits"));
        }
        let number = BigInt::from_digits(size < 0, digits);
        Ok(i64::try_from(&number).map_or(Token::BigInt(number), Token::Int))
    }

    fn text(&mut self) -> Result<Text<'a>, Option<&'static str>> {
        text(self.sized()?)
    }

    fn sized(&mut self) -> Result<&'a [u8], Option<&'static str>> {
        let size = self.size()?;
        self.take(size)
    }

    /// Whether text of Python 3 becomes bytes.
    fn is_narrow(&self) -> bool {
        self.reading.dialect == Dialect::Three && self.reading.strconfig.py3str_as_py2str
    }

    /// A string of Python 2, or bytes.
    fn string(&mut self, code: u8) -> Result<&'a [u8], Option<&'static str>> {
        let size = self.size()?;
        if code == b'R' {
            return self.interned.get(size).copied().ok_or(Some("a reference to no string"));
        }
        let bytes = self.take(size)?;
        if code == b't' {
            self.interned.push(bytes);
        }
        Ok(bytes)
    }

    fn sequence(&mut self, container: Container) -> Result<Token<'a>, Option<&'static str>> {
        let fixed = self.is_fixed();
        if fixed && matches!(container, Container::List | Container::Set) {
            return Err(Some(UNHASHABLE));
        }
        let fixed = fixed || matches!(container, Container::Set | Container::FrozenSet);
        let count = self.size()?;
        // each takes at least a byte
        if count > self.bytes.len() - self.at {
            return Err(None);
        }
        self.open.push(Open { container: Some(container), count, total: count, key: 0, fixed });
        Ok(Token::Begin(container, count))
    }

    fn tuple(&mut self) -> Result<Token<'a>, Option<&'static str>> {
        let escaped = self.reading.escaped && self.bytes.get(self.at + 4) == Some(&b'.');
        if !escaped {
            return self.sequence(Container::Tuple);
        }
        if self.size()? != 3 {
            return Err(Some("an unknown escape"));
        }
        self.at += 1;
        match self.array()? {
            b"i\0\0\0\0" => {
                // its 32 bits, whatever the sign
                let [code, number @ ..] = self.array::<5>()?;
                if *code != b'i' {
                    return Err(Some("an unknown escape"));
                }
                let number = u32::from_le_bytes(*number);
                if number == 0 { Err(Some("a channel without a number")) } else { Ok(Token::Channel(number)) }
            }
            b"i\x01\0\0\0" => {
                let [code @ (b's' | b't' | b'R')] = *self.array()? else {
                    return Err(Some("an escape without bytes"));
                };
                let units = self.string(code)?;
                Text::from_utf16_be(units).map(Token::Str).ok_or(Some("half a character"))
            }
            _ => Err(Some("an unknown escape")),
        }
    }

    /// Whether the value that begins here is in a key or a set.
    fn is_fixed(&self) -> bool {
        // a key was counted already
        let key = |open: &Open| open.container.is_none() && open.count % 2 == 1;
        self.open.last().is_some_and(|open| open.fixed || key(open))
    }

    fn size(&mut self) -> Result<usize, Option<&'static str>> {
        let size = i32::from_le_bytes(*self.array()?);
        size.try_into().map_err(|_| Some("a negative length"))
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Option<&'static str>> {
        let (bytes, _) = self.bytes[self.at..].split_first_chunk().ok_or(None)?;
        self.at += N;
        Ok(bytes)
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Option<&'static str>> {
        let bytes = self.bytes[self.at..].get(..size).ok_or(None)?;
        self.at += size;
        Ok(bytes)
    }
}

fn text(bytes: &[u8]) -> Result<Text<'_>, Option<&'static str>> {
    Text::from_bytes(Cow::Borrowed(bytes)).ok_or(Some("text that is not UTF-8"))
}

/// A key in the notation of a place, given where its bytes begin.
pub(crate) fn key(bytes: &[u8], reading: Reading) -> String {
    let mut reader = Reader::new(bytes, reading);
    match reader.step() {
        Ok(Some(Token::Str(text))) => text_key(&text.to_string_lossy()),
        Ok(Some(Token::Int(number))) => format!("[{number}]"),
        Ok(Some(Token::Bool(true))) => "[True]".into(),
        Ok(Some(Token::Bool(false))) => "[False]".into(),
        Ok(Some(Token::None)) => "[None]".into(),
        _ => "[…]".into(),
    }
}

/// The same for text.
pub(crate) fn text_key(text: &str) -> String {
    let text: String = text.chars().take(40).collect();
    format!("['{}']", line(&text.replace('\\', "\\\\").replace('\'', "\\'")))
}
