//! Makes text from hosts safe for a terminal and short enough for a report: drops colours, escapes everything
//! else a terminal would obey, and limits the length.

pub(crate) use execnet_proto::shell::quoted;
use execnet_proto::text::one_line;

/// How many lines of a host's or ssh's output to keep.
const LINES: usize = 12;

/// How many characters of a line to keep.
const LINE: usize = 500;

/// Puts text on one line of at most `most` characters, without the escape sequences of colours and titles.
/// `execnet_proto::text` decides which other characters are escaped.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len().min(most));
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = sequence(rest.as_bytes()).unwrap_or_else(|| {
            plain.push('\u{1b}');
            1
        });
        rest = &rest[length..];
    }
    plain.push_str(rest);
    let mut clean = one_line(&plain);
    if let Some((end, _)) = clean.char_indices().nth(most) {
        clean.truncate(end);
    }
    clean
}

/// Removes a secret from a text, even if the text cut it off at either end.
pub(crate) fn without(text: &str, secret: &str) -> String {
    const SHORTEST: usize = 6;
    let mut text = text.replace(secret, "…");
    for most in (SHORTEST..secret.len()).rev() {
        if let Some(rest) = text.strip_suffix(&secret[..most]) {
            text = format!("{rest}…");
        }
        if let Some(rest) = text.strip_prefix(&secret[secret.len() - most..]) {
            text = format!("…{rest}");
        }
    }
    text
}

/// The last lines of an output, clean, without empty ones.
pub(crate) fn last_lines(text: &str) -> Vec<String> {
    let lines = text.split(['\n', '\r']).map(|line| clean(line, LINE).trim().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// The length of the escape sequence at the beginning, if it only changes how what follows looks.
fn sequence(text: &[u8]) -> Option<usize> {
    let rest = &text[2.min(text.len())..];
    match text.get(1)? {
        b'[' => {
            let end = rest.iter().position(|byte| !(b' '..=b'?').contains(byte))?;
            (b'@'..=b'~').contains(&rest[end]).then_some(2 + end + 1)
        }
        // a title ends with BEL or ST
        b']' => {
            let end = rest.iter().position(|byte| *byte < b' ')?;
            match rest[end..] {
                [7, ..] => Some(2 + end + 1),
                [0x1b, b'\\', ..] => Some(2 + end + 2),
                _ => None,
            }
        }
        // selects a character set, as `tput sgr0` does
        b'(' | b')' => rest.first().filter(|byte| byte.is_ascii_graphic()).map(|_| 3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_left_out_whole_or_cut() {
        let secret = "0123456789abcdef".repeat(4);
        assert_eq!(without(&format!("a {secret} b {secret}"), &secret), "a … b …");
        assert_eq!(without(&format!("a {}", &secret[..40]), &secret), "a …");
        assert_eq!(without(&format!("{} b", &secret[7..]), &secret), "… b");
        assert_eq!(without("nothing of it", &secret), "nothing of it");
    }

    #[test]
    fn a_terminal_cannot_be_driven_by_what_a_host_says() {
        for (said, shown) in [
            ("plain é 漢", "plain é 漢"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]0;title\x1b\\after", "after"),
            ("\x1b]0;never ends", r"\x1b]0;never ends"),
            ("\x1b[3\x1b[31mx", r"\x1b[3x"),
            ("a\x08\x07\rb\0", r"a\x08\x07\rb\x00"),
            ("\u{9b}2Jx\u{85}", r"\x9b2Jx\x85"),
            ("a\tb\r\nc", "a b c"),
            ("\u{61c}\u{202e}evil\u{2066}", r"\u061c\u202eevil\u2066"),
            ("\x1b(Bx\x1b", r"x\x1b"),
        ] {
            assert_eq!(clean(said, 100), shown, "{said:?}");
        }
        assert_eq!(clean(&"x".repeat(99), 10).len(), 10);
    }

    #[test]
    fn the_last_lines_are_kept() {
        let text: String = (0..50).map(|n| format!("line {n}\r\n\n")).collect();
        let lines = last_lines(&text);
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (LINES, Some("line 49")));
    }
}
