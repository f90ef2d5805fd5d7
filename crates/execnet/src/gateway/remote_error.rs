//! The text of an error that closes a channel: how it arrives, how much of it is kept, and how it is printed
//! if nobody receives it.

use std::io::Write;

use execnet_proto::text::lines;

use super::wire::MAX_ERROR;
use crate::value::{LoadError, Value};

/// The kernel's error for code that KeyboardInterrupt ended.
pub(super) const INTERRUPTED: &str = "keyboard-interrupted";

/// The error in a CLOSE, of whose payload only the beginning was kept.
pub(super) fn heard(
    payload: &[u8],
    length: usize,
    read: impl FnOnce(&[u8]) -> Result<Value, LoadError>,
) -> Result<Option<String>, String> {
    if payload.is_empty() {
        return Ok(None);
    }
    if payload.len() < length {
        return match payload {
            [b'u', a, b, c, d, text @ ..] if u32::from_le_bytes([*a, *b, *c, *d]) as usize == length - 5 => {
                Ok(Some(cut(&String::from_utf8_lossy(text), length - 5)))
            }
            _ => Err("a long CLOSE that is not text".into()),
        };
    }
    match read(payload).map_err(|error| format!("CLOSE: {error}"))? {
        Value::Str(text) => Ok(Some(cut(&text.to_string_lossy(), text.as_bytes().len()))),
        other => Err(format!("CLOSE with a {}", other.kind())),
    }
}

/// The part of an error's text that is kept; `length` is that of the whole text, in bytes.
pub(super) fn cut(text: &str, length: usize) -> String {
    if text.len().max(length) <= MAX_ERROR - 5 {
        return text.to_owned();
    }
    let rest = format!("… (cut off: it is {length} bytes long)\n");
    let most = MAX_ERROR - rest.len();
    let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}{rest}", &text[..end])
}

/// Prints an error that nobody received.
pub(super) fn tell(error: &str) {
    let pid = std::process::id();
    // nobody can be told that stderr is closed
    let _ =
        writeln!(std::io::stderr(), "[{pid}] Warning: unhandled RemoteError: {}", lines(error.trim_end()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Reading;

    fn read(payload: &[u8]) -> Result<Value, LoadError> {
        Value::decode(payload, Reading::default())
    }

    fn close(text: &str) -> Vec<u8> {
        [&b"u"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn a_long_error_is_cut_and_says_so() {
        for text in ["x".repeat(MAX_ERROR - 5), "ä".repeat(9)] {
            let payload = close(&text);
            assert_eq!(heard(&payload, payload.len(), read), Ok(Some(text)));
        }
        for text in ["x".repeat(MAX_ERROR - 4), "ä".repeat(MAX_ERROR), "x".repeat(3 * MAX_ERROR)] {
            let payload = close(&text);
            let error = heard(&payload[..MAX_ERROR], payload.len(), read).unwrap().unwrap();
            assert!(error.len() <= MAX_ERROR && error.len() > MAX_ERROR - 100);
            assert!(error.ends_with(&format!("… (cut off: it is {} bytes long)\n", text.len())), "{text}");
        }
        assert!(heard(&b"u\0\0\0\0xxx"[..], 2 * MAX_ERROR, read).is_err());
        assert!(heard(&b"i\0\0\0\0"[..], 5, read).is_err());
    }
}
