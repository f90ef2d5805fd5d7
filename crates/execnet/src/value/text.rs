//! Python's text: any sequence of code points, including lone surrogates.

use std::borrow::Cow;
use std::fmt;

/// Text of any code points, in UTF-8. A surrogate takes three bytes, like its neighbours (Python's
/// `surrogatepass`).
///
/// ```
/// use execnet::value::Text;
///
/// let text = Text::from("söme");
/// assert_eq!(text.to_str(), Some("söme"));
/// let lone = Text::from_bytes(&b"\xed\xa0\x80"[..]).unwrap();
/// assert_eq!((lone.to_str(), lone.to_string_lossy()), (None, "\u{fffd}".into()));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// Text from these bytes; none if they are not UTF-8 with surrogates.
    pub fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        is_text(&bytes).then_some(Self(bytes))
    }

    /// Its bytes, in UTF-8 with surrogates.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a string; none if it has surrogates.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// As a string, with U+FFFD for each surrogate.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        if let Some(text) = self.to_str() {
            return text.into();
        }
        let mut text = String::with_capacity(self.0.len());
        for_each_part(&self.0, |part| text.push_str(part.unwrap_or("\u{fffd}")));
        text.into()
    }

    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text(self.0.into_owned().into())
    }

    /// Each byte as the character with that number (latin-1).
    #[must_use]
    pub fn from_latin1(bytes: &'a [u8]) -> Self {
        if bytes.is_ascii() {
            return Self(bytes.into());
        }
        Self(bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into_bytes().into())
    }

    /// From big-endian UTF-16; none for an odd number of bytes. Lone surrogates stay.
    #[must_use]
    pub fn from_utf16_be(bytes: &[u8]) -> Option<Text<'static>> {
        if bytes.len() % 2 == 1 {
            return None;
        }
        let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let mut text = Vec::with_capacity(bytes.len());
        for unit in char::decode_utf16(units) {
            match unit {
                Ok(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(lone) => {
                    let [high, low] = lone.unpaired_surrogate().to_be_bytes();
                    text.extend_from_slice(&[
                        0xe0 | high >> 4,
                        0x80 | (high & 0xf) << 2 | low >> 6,
                        0x80 | low & 0x3f,
                    ]);
                }
            }
        }
        Some(Text(text.into()))
    }
}

/// Whether these bytes are UTF-8, surrogates allowed.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() || for_each_part(bytes, |_| {})
}

/// Calls back with the parts between surrogates, and with `None` for each surrogate; false if the bytes are
/// neither.
fn for_each_part<'a>(mut bytes: &'a [u8], mut take: impl FnMut(Option<&'a str>)) -> bool {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                if !text.is_empty() {
                    take(Some(text));
                }
                return true;
            }
            Err(error) => {
                let (good, rest) = bytes.split_at(error.valid_up_to());
                if !good.is_empty() {
                    // it is valid so far
                    take(std::str::from_utf8(good).ok());
                }
                let [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] = rest else { return false };
                take(None);
                bytes = &rest[3..];
            }
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

/// Replaces each surrogate by U+FFFD.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}
