//! What comes between frames and is none: how its beginning is shown.

use crate::text::line;
use crate::wire::HEADER;

/// Bytes that are kept of what a tunnel's process says on stderr, and looked at of what comes between frames.
pub(super) const SAID: usize = 4096;

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
