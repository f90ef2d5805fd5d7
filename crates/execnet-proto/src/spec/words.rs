//! Splitting a value into words as a shell line is split, and writing words so that they split back.
//!
//! Quotes and backslashes only: no variables, no globs, no commands. Written words never contain `//`, because that ends
//! a value in a host spec.

/// Splits `line` at blanks; `'…'`, `"…"` and `\` quote as in a POSIX shell. `None` when a quote is left open.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
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

/// Characters that only a shell understands.
const OF_SHELLS: &str = "$`&;|<>()\n";

/// Commands that only a shell has.
const BUILTINS: [&str; 3] = ["exec", "command", "."];

/// The command of `python=LINE`: its words, or a shell that executes the line and passes on what is appended, if only a
/// shell understands the line. `None` when a quote is left open.
///
/// Agents decide alike (`words` in remote/agent/nodes.py).
pub fn python_command(line: &str) -> Option<Vec<String>> {
    let words = split(line)?;
    let first = words.first().map_or("", String::as_str);
    let needs_shell = assigns(first)
        || BUILTINS.contains(&first)
        || words.iter().skip(1).any(|word| word.starts_with('~'))
        || line.contains(|c| OF_SHELLS.contains(c));
    Some(if needs_shell {
        ["sh", "-c", &format!("{line} \"$@\""), "sh"].map(str::to_owned).into()
    } else {
        words
    })
}

/// Whether a word of a shell sets a variable: `NAME=VALUE`.
fn assigns(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The word that a line is, if it is but one.
pub fn one_word(line: &str) -> Option<String> {
    split(line).and_then(|words| <[String; 1]>::try_from(words).ok()).map(|[word]| word)
}

/// The line that is this one word, as [`one_word`] has it.
pub fn quoted(word: &str) -> String {
    quote(word)
}

/// One line that [`split`] takes apart into `words` again.
pub(super) fn join<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word.as_ref())).collect();
    words.join(" ")
}

fn quote(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-*~^".contains(c);
    let quoted = word.is_empty() || !word.chars().all(bare);
    let mut text = String::with_capacity(word.len() + 2);
    if quoted {
        text.push('\'');
    }
    let mut after_slash = false;
    for c in word.chars() {
        match c {
            '\'' => text.push_str("'\\''"),
            '/' if after_slash && quoted => text.push_str("'\\/'"),
            '/' if after_slash => text.push_str("\\/"),
            c => text.push(c),
        }
        after_slash = c == '/';
    }
    if quoted {
        text.push('\'');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{join, one_word, quoted, split};

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
    fn joined_words_split_back_and_hold_no_separator() {
        let words = ["", "a b", "it's", "http://x", "a ////", "//", "\\", "/", "é\"$(x)"];
        let line = join(&words);
        assert!(!line.contains("//"), "{line}");
        assert_eq!(split(&line).unwrap(), words);
    }

    #[test]
    fn one_word_is_quoted_and_found_again() {
        for word in ["python3", "~/a b/py", "./it's \"x\"\\n", "a//b c", "$(id)"] {
            assert_eq!(one_word(&quoted(word)).as_deref(), Some(word), "{}", quoted(word));
        }
        assert_eq!(quoted("~/bin/python3.12"), "~/bin/python3.12");
        assert_eq!((one_word("env python3"), one_word("'x"), one_word("")), (None, None, None));
    }
}
