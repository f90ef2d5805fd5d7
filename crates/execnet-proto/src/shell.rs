//! Words as a POSIX shell reads and writes them.
//!
//! Only quotes and backslashes count: there are no variables, globs or commands.

/// Splits a line at blanks; `'…'`, `"…"` and `\` quote. `None` if a quote is left open.
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// The word that a line is, if it is exactly one.
pub fn one_word(line: &str) -> Option<String> {
    split(line).and_then(|words| <[String; 1]>::try_from(words).ok()).map(|[word]| word)
}

/// A word as a person would write it in a shell: quoted only where needed.
///
/// ```
/// use execnet_proto::shell::quoted;
/// assert_eq!(quoted("ssh=a@b//id=x"), "ssh=a@b//id=x");
/// assert_eq!(quoted("python=*"), "'python=*'");
/// assert_eq!(quoted("it's"), r"'it'\''s'");
/// ```
#[must_use]
pub fn quoted(word: &str) -> String {
    quoted_unless(word, is_plain)
}

/// Whether no shell treats this character specially, wherever it stands.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c)
}

/// Quotes a word unless all its characters are `is_bare`.
pub(crate) fn quoted_unless(word: &str, is_bare: impl Fn(char) -> bool) -> String {
    if !word.is_empty() && word.chars().all(is_bare) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_a_shell_does() {
        let cases: [(&str, &[&str]); 7] = [
            ("docker exec -i web", &["docker", "exec", "-i", "web"]),
            ("  a\t b  ", &["a", "b"]),
            ("'a b' \"c d\" e\\ f", &["a b", "c d", "e f"]),
            (r#""a\"b\n""#, &[r#"a"b\n"#]),
            ("a''b ''", &["ab", ""]),
            (r"http:/\/x", &["http://x"]),
            ("", &[]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn an_open_quote_is_no_line() {
        for line in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn a_quoted_word_is_that_word() {
        for word in ["", "plain", "a b", "it's", "$(id)", "\\", "\"", "*", "~", "é"] {
            assert_eq!(one_word(&quoted(word)).as_deref(), Some(word));
        }
        assert_eq!((one_word("env python3"), one_word("'x"), one_word("")), (None, None, None));
    }
}
