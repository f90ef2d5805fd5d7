//! What comes on a link that is no frame: how much of it is read and kept, and how its beginning is shown.

use crate::text::line;
use crate::wire::HEADER;

/// Bytes of noise that are read before the marker.
pub(super) const MAX_NOISE: usize = 1024 * 1024;

/// Bytes of noise, or of what a tunnel's process says on stderr, that are kept.
pub(super) const SAID: usize = 4096;

/// Bytes of the beginning of noise that are kept where there is more of it.
pub(super) const HEAD: usize = 256;

/// The beginning and the end of noise.
pub(super) fn shortened(head: &[u8], tail: &[u8]) -> Vec<u8> {
    let tail = &tail[tail.len().saturating_sub(SAID)..];
    if head.is_empty() { tail.to_vec() } else { [head, "\n…\n".as_bytes(), tail].concat() }
}

/// What is text at the beginning of bytes, if others than an agent may have written it.
pub(super) fn text_of(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(SAID)];
    let is_text = |byte: u8| byte >= b' ' || b"\t\n\r\x07\x08\x1b".contains(&byte);
    let text = &bytes[..bytes.iter().position(|byte| !is_text(*byte)).unwrap_or(bytes.len())];
    // a byte of another encoding alone could be anything
    if text.len() < HEADER && std::str::from_utf8(text).is_err() { &[] } else { text }
}

/// The beginning of a text as it can be shown.
pub(super) fn shown(text: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(text);
    let text = if text.trim().is_empty() { &text } else { text.trim() };
    let begins: String = text.chars().take(MOST).collect();
    format!("`{}{}`", line(&begins), if text.chars().count() > MOST { "…" } else { "" })
}
