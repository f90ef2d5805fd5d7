//! Text from hosts, made fit for a terminal and for a report: no control characters, no more than is of use.

/// Lines that are kept of what a host or ssh wrote.
const LINES: usize = 12;

/// Characters that are kept of a line.
const LINE: usize = 500;

/// Text without escape sequences, control characters and marks that turn the direction of writing, at most `most` characters.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut clean = String::new();
    let mut chars = text.chars();
    let mut length = 0;
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_until_final(&mut chars),
            '\t' | '\n' => clean.push(' '),
            c if c.is_control() || is_invisible(c) => continue,
            c => clean.push(c),
        }
        length += 1;
        if length >= most {
            break;
        }
    }
    clean
}

/// Text in which a secret stood, maybe cut at the ends of the text.
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

/// The last lines of what was written, clean, without empty ones.
pub(crate) fn last_lines(text: &str) -> Vec<String> {
    let lines = text.split(['\n', '\r']).map(|line| clean(line, LINE).trim().to_owned());
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// A word as a person would write it in a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => skip_until_final(chars),
        // a string that ends with BEL or ST
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                match c {
                    '\u{7}' | '\u{9c}' => break,
                    '\u{1b}' => {
                        chars.next();
                        break;
                    }
                    _ => {}
                }
            }
        }
        Some('(' | ')' | '#' | '%') => {
            chars.next();
        }
        _ => {}
    }
}

fn skip_until_final(chars: &mut std::str::Chars<'_>) {
    chars.find(|c| ('@'..='~').contains(c));
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
            ("a\x08\x07\rb\0", "ab"),
            ("\u{9b}2Jx\u{85}", "x"),
            ("a\tb", "a b"),
            ("\u{202e}evil\u{2066}", "evil"),
            ("\x1b(Bx\x1b", "x"),
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

    #[test]
    fn a_word_is_quoted_where_a_shell_would_touch_it() {
        assert_eq!(quoted("ssh=a@b//id=x"), "ssh=a@b//id=x");
        assert_eq!(quoted("python=*"), "'python=*'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
