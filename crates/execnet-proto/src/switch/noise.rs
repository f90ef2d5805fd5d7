//! Bytes between frames that are not a frame: how a report shows their beginning.

use crate::text::line;
use crate::wire::HEADER;

/// Bytes that are kept of a tunnel process's stderr, and examined of the bytes between frames.
pub(super) const SAID: usize = 4096;

/// The text at the beginning of bytes, if something other than an agent may have written it.
pub(super) fn text_of(bytes: &[u8]) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(SAID)];
    let is_text = |byte: u8| byte >= b' ' || b"\t\n\r\x07\x08\x1b".contains(&byte);
    let text = &bytes[..bytes.iter().position(|byte| !is_text(*byte)).unwrap_or(bytes.len())];
    // a single byte of another encoding could be anything
    if text.len() < HEADER && std::str::from_utf8(text).is_err() { &[] } else { text }
}

/// The beginning of a text, for a report.
pub(super) fn shown(text: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(text);
    let text = if text.trim().is_empty() { &text } else { text.trim() };
    let begins: String = text.chars().take(MOST).collect();
    format!("`{}{}`", line(&begins), if text.chars().count() > MOST { "…" } else { "" })
}
