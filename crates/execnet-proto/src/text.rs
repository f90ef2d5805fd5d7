//! Which characters may reach a terminal, or a report that a person reads. Text from daemon, library, command
//! and Python package passes through here.
//!
//! Text from hosts is hostile. A character that could steer a terminal, change how other characters are
//! shown, or not be visible is written as Python would write it: `\x1b`, `\u202e`, `\U000e0041`. Backslashes
//! stay single, so the result is for reading, not for recovering the text; but text that was escaped once is
//! not escaped again.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// A piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// It can be shown as it is.
    Shown(&'a str),
    /// A character that cannot be shown; ends of lines and tabs count as such.
    Hidden(char),
}

/// The segments of a text in order. See [`segments`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a str,
    /// The character before, if it is shown.
    before: Option<char>,
}

/// Splits a text into segments that can be shown as they are and characters that cannot:
///
/// - controls, format characters (including those that turn the direction of writing), line and paragraph
///   separators
/// - private and unassigned characters
/// - invisible characters: fillers; joiners, except between two characters of scripts that use them, or of
///   emoji; variation selectors, except after the character that they belong to
#[must_use]
pub fn segments(text: &str) -> Segments<'_> {
    Segments { rest: text, before: None }
}

/// A text for a single line: everything that cannot be shown is escaped, including ends of lines and tabs.
///
/// ```
/// assert_eq!(execnet_proto::text::line("a\x1b[2J\nb"), r"a\x1b[2J\nb");
/// ```
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// A text of several lines, such as a traceback: ends of lines and tabs stay. `\r\n` is one end of a line.
///
/// ```
/// assert_eq!(execnet_proto::text::lines("a\x1b[2J\r\n\tb\rc"), "a\\x1b[2J\n\tb\\rc");
/// ```
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.contains("\r\n") {
        return escaped(text, |c| matches!(c, '\n' | '\t'));
    }
    escaped(&text.replace("\r\n", "\n"), |c| matches!(c, '\n' | '\t')).into_owned().into()
}

/// A text of several lines, put on one: ends of lines and tabs become blanks, everything else is as in
/// [`line()`].
///
/// ```
/// assert_eq!(execnet_proto::text::one_line("a\x1b\r\n\tb"), r"a\x1b  b");
/// ```
#[must_use]
pub fn one_line(text: &str) -> String {
    lines(text).replace(['\n', '\t'], " ")
}

/// JSON with everything escaped that cannot be shown, except ends of lines between values. JSON allows that
/// wherever such a character can occur.
#[must_use]
pub fn json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for segment in segments(json) {
        match segment {
            Segment::Shown(segment) => text.push_str(segment),
            Segment::Hidden('\n') => text.push('\n'),
            Segment::Hidden(c) => push(&mut text, EscapedJson(c)),
        }
    }
    text
}

/// Bytes as hex digits, two for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        push(&mut digits, format_args!("{byte:02x}"));
    }
    digits
}

/// A character as Python writes it in a string: `\n`, `\x1b`, `\u202e`, `\U000e0041`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped(pub char);

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, u32::from(self.0)) {
            ('\n', _) => f.write_str("\\n"),
            ('\r', _) => f.write_str("\\r"),
            ('\t', _) => f.write_str("\\t"),
            (_, code @ 0..=0xff) => write!(f, "\\x{code:02x}"),
            (_, code @ 0x100..=0xffff) => write!(f, "\\u{code:04x}"),
            (_, code) => write!(f, "\\U{code:08x}"),
        }
    }
}

/// A character as JSON writes it in a string: `\n`, `\u001b`, `\u202e`, `\udb40\udc41`.
#[derive(Clone, Copy, Debug)]
pub struct EscapedJson(pub char);

impl fmt::Display for EscapedJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\n' | '\r' | '\t' => Escaped(self.0).fmt(f),
            c => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(f, "\\u{unit:04x}")),
        }
    }
}

fn push(text: &mut String, escaped: impl fmt::Display) {
    // writing to a String does not fail
    let _ = write!(text, "{escaped}");
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let mut segments = segments(text);
    let first = match segments.next() {
        None => return text.into(),
        Some(Segment::Shown(segment)) if segment.len() == text.len() => return text.into(),
        Some(segment) => segment,
    };
    let mut escaped = String::with_capacity(text.len() + 16);
    for segment in std::iter::once(first).chain(segments) {
        match segment {
            Segment::Shown(segment) => escaped.push_str(segment),
            Segment::Hidden(c) if stays(c) => escaped.push(c),
            Segment::Hidden(c) => push(&mut escaped, Escaped(c)),
        }
    }
    escaped.into()
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let text = self.rest;
        let mut chars = text.char_indices().peekable();
        let mut hidden = None;
        while let Some((at, c)) = chars.next() {
            if is_hidden(self.before, c, chars.peek().map(|(_, after)| *after)) {
                hidden = Some((at, c));
                break;
            }
            self.before = Some(c);
        }
        let end = match hidden {
            None => text.len(),
            Some((0, c)) => {
                self.before = None;
                self.rest = &text[c.len_utf8()..];
                return Some(Segment::Hidden(c));
            }
            Some((at, _)) => at,
        };
        let (shown, rest) = text.split_at(end);
        self.rest = rest;
        (!shown.is_empty()).then_some(Segment::Shown(shown))
    }
}

fn is_hidden(before: Option<char>, c: char, after: Option<char>) -> bool {
    match c {
        ' '..='~' => false,
        c if c.is_ascii() => true,
        // a selector behind a joiner is hidden itself
        c if is_joiner(c) => {
            let joins_next = after.is_some_and(|after| joins(after) && !is_selector(after));
            !(before.is_some_and(joins) && joins_next)
        }
        c if is_selector(c) => !before.is_some_and(has_forms),
        c => !is_visible(c),
    }
}

/// Zero width non-joiner and joiner. Persian, the scripts of India and emoji need them.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether a joiner next to it has a meaning. Latin, Greek and Cyrillic do not use joiners, nor do the
/// characters between words.
fn joins(c: char) -> bool {
    c >= '\u{590}' && !matches!(c, '\u{1e00}'..='\u{20cf}') && (is_selector(c) || is_visible(c))
}

/// A variation selector: it chooses a form of the character before it.
fn is_selector(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether a selector may follow: of ASCII only the characters of keycaps (`1`, `#`) have forms.
fn has_forms(c: char) -> bool {
    let key = c.is_ascii_digit() || matches!(c, '#' | '*');
    key || !(c.is_ascii() || is_selector(c) || is_joiner(c))
}

/// Whether a character other than ASCII is visible by itself. Blanks are.
fn is_visible(c: char) -> bool {
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => true,
        // letters and marks that are invisible
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}' => false,
        c if is_joiner(c) => false,
        c => {
            // The standard library escapes everything but letters, marks, numbers, punctuation and symbols.
            // It also escapes marks that follow nothing.
            let mut pair = String::from('x');
            pair.push(c);
            pair.escape_debug().nth(1) == Some(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_and_invisible_characters_are_escaped() {
        let controls = (0..0x20).chain(0x7f..0xa0);
        let turns = [0x61c, 0x200e, 0x200f].into_iter().chain(0x202a..=0x202e).chain(0x2066..=0x2069);
        let nothing = [0xad, 0x34f, 0x180e, 0x200b, 0x3164, 0xfeff].into_iter().chain(0x2060..=0x2065);
        let separators = [0x2028, 0x2029];
        let others = [0xe000, 0xf8ff, 0xfff0, 0xffff, 0xe0001, 0xe0020, 0xe007f, 0xf0000, 0x10_ffff, 0x378];
        for c in controls.chain(turns).chain(nothing).chain(separators).chain(others) {
            let c = char::from_u32(c).unwrap();
            for around in ["", "a", "ж", "漢", "🐍"] {
                let text = format!("{around}{c}{around}");
                assert_eq!(line(&text).matches('\\').count(), 1, "{text:?}");
                assert!(!line(&text).contains(c), "{text:?}");
                assert_eq!(lines(&text).contains(c), matches!(c, '\n' | '\t'), "{text:?}");
            }
        }
        assert_eq!(
            line("\0\x07\x1b\x7f\u{9b}\u{61c}\u{200b}\u{2028}\u{feff}"),
            r"\x00\x07\x1b\x7f\x9b\u061c\u200b\u2028\ufeff"
        );
        assert_eq!(line("\u{e0041}\t\r\n"), r"\U000e0041\t\r\n");
    }

    #[test]
    fn a_carriage_return_hides_nothing() {
        assert_eq!(
            lines("ValueError: wrong\rall is well\r\n\tnext\n"),
            "ValueError: wrong\\rall is well\n\tnext\n"
        );
        assert_eq!(lines("a\r\r\nb"), "a\\r\nb");
    }

    #[test]
    fn text_that_people_write_stays() {
        for text in [
            "",
            r#"plain ' " \ $"#,
            "é Ж 漢字　かな e\u{301} ä\u{a0}b 1\u{202f}000 €",
            "नमस्ते क्\u{200d}ष می\u{200c}خواهم",
            "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3} 葛\u{e0100} 🏳\u{fe0f}\u{200d}🌈",
        ] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn joiners_and_selectors_stay_only_where_they_mean_something() {
        for (text, shown) in [
            ("a\u{200d}b", r"a\u200db"),
            ("پ\u{200c}", "پ\\u200c"),
            ("👩\u{200d}\u{200d}👧", r"👩\u200d\u200d👧"),
            ("👩\u{200d}a", r"👩\u200da"),
            ("👩\u{200d}\u{fe0f}", r"👩\u200d\ufe0f"),
            ("\u{fe0f}", r"\ufe0f"),
            ("é\u{fe0f}\u{fe0e}\u{e0101}", "é\u{fe0f}\\ufe0e\\U000e0101"),
            ("'\u{fe00}a\u{fe0f}", r"'\ufe00a\ufe0f"),
            ("\x1b\u{fe0f}", r"\x1b\ufe0f"),
        ] {
            assert_eq!(line(text), shown, "{text:?}");
        }
    }

    #[test]
    fn escaped_text_is_not_escaped_again() {
        let odd: String = (0..0x3000).chain(0xe_0000..0xe_0200).filter_map(char::from_u32).collect();
        for once in [line(&odd), lines(&odd)] {
            assert_eq!(lines(&once), once);
        }
    }

    #[test]
    fn json_says_the_same() {
        let odd = "a\x1b[2J\u{9b}31m\u{7f}\u{202e}\u{e0041}\n👩\u{200d}👧ä";
        let json = json(&serde_json::to_string_pretty(&[odd]).unwrap());
        assert!(
            segments(&json).all(|segment| matches!(segment, Segment::Shown(_) | Segment::Hidden('\n'))),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).unwrap(), [odd]);
    }
}
