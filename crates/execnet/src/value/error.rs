//! Why a value cannot be sent, or cannot be understood.

use std::fmt;

use execnet_proto::text::{line, lines};

/// Surrounds the place in [`DumpError::as_text`].
const MARK: char = '\0';

/// A value cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpError {
    message: String,
    place: Option<String>,
    /// The place within a part that was written separately.
    inner: String,
}

/// What arrived is not a value, or not of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    message: String,
    place: Option<String>,
    kind: LoadErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadErrorKind {
    /// A valid value, but not one that is wanted.
    Unwanted,
    /// Not a valid value.
    Malformed,
    /// A channel in it belongs to the parent of this forked process.
    Forked,
}

impl DumpError {
    /// With this reason, as half a sentence: `cannot send a bytearray`.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, inner: String::new() }
    }

    /// In the form in which it passes through serde, which carries only text.
    pub(super) fn as_text(&self) -> String {
        format!("{MARK}{}{MARK}{}", self.place(), self.message)
    }

    /// The place in the value, in Python's notation: `[2]['key']`; empty for the value itself.
    #[must_use]
    pub fn place(&self) -> &str {
        self.place.as_deref().unwrap_or_default()
    }

    /// Adds the place in the value, unless there is one already.
    #[must_use]
    pub fn at(mut self, place: impl FnOnce() -> String) -> Self {
        self.place.get_or_insert_with(|| short(place() + &self.inner));
        self
    }
}

impl LoadError {
    /// A valid value, but not one that is wanted.
    pub fn unwanted(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, kind: LoadErrorKind::Unwanted }
    }

    /// Not a valid value.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, kind: LoadErrorKind::Malformed }
    }

    /// A channel in it cannot be used in a forked child.
    pub(crate) fn forked() -> Self {
        let message = "a gateway cannot be used in a forked child; open another one there".to_owned();
        Self { message, place: None, kind: LoadErrorKind::Forked }
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.kind == LoadErrorKind::Forked
    }

    /// The place in the value, in Python's notation: `[2]['key']`; empty for the value itself.
    #[must_use]
    pub fn place(&self) -> &str {
        self.place.as_deref().unwrap_or_default()
    }

    /// Whether the bytes are not a value at all. Then their sender broke the protocol, and its gateway ends.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.kind == LoadErrorKind::Malformed
    }

    /// Adds the place in the value, unless there is one already.
    #[must_use]
    pub fn at(mut self, place: impl FnOnce() -> String) -> Self {
        self.place.get_or_insert_with(|| short(place()));
        self
    }
}

/// Shortens a long place to its beginning and end.
fn short(place: String) -> String {
    const PART: usize = 40;
    if place.chars().count() <= 2 * PART {
        return place;
    }
    let cut = |at: Option<(usize, char)>| at.map_or(0, |(at, _)| at);
    // keep steps whole unless they are longer than a part
    let begin = &place[..cut(place.char_indices().nth(PART))];
    let begin = begin.rfind(']').map_or(begin, |at| &begin[..=at]);
    let end = &place[cut(place.char_indices().nth_back(PART - 1))..];
    let end = end.find('[').map_or(end, |at| &end[at..]);
    format!("{begin}…{end}")
}

fn show(f: &mut fmt::Formatter<'_>, message: &str, place: Option<&str>) -> fmt::Result {
    match place {
        None | Some("") => f.write_str(&lines(message)),
        Some(place) => write!(f, "{}, at {}", lines(message), line(place)),
    }
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.message, self.place.as_deref())
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, &self.message, self.place.as_deref())
    }
}

impl std::error::Error for DumpError {}
impl std::error::Error for LoadError {}

impl serde::ser::Error for DumpError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        match text.strip_prefix(MARK).and_then(|text| text.split_once(MARK)) {
            Some((inner, message)) => Self { inner: inner.to_owned(), ..Self::new(message) },
            None => Self::new(text),
        }
    }
}

impl serde::de::Error for LoadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::unwanted(message.to_string())
    }
}
