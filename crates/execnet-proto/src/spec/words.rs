//! Words in the value of a host spec: read as a shell reads them, written without `//`, which would end the
//! value.

use crate::shell::{is_plain, quoted_unless, split};

/// A value that [`shell::split`](crate::shell::split) splits into `words` again. It contains no `//`.
pub fn join<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    // no shell reads it: a person may write `python=~/bin/py*` as it is
    let is_bare = |c| is_plain(c) || "*~^".contains(c);
    match word.find("//") {
        None => quoted_unless(word, is_bare),
        Some(at) => {
            let (before, after) = word.split_at(at + 1);
            let mut text = quoted_unless(before, is_bare);
            let mut rest = after;
            while let Some(behind) = rest.strip_prefix('/') {
                text.push_str("\\/");
                rest = behind;
            }
            if !rest.is_empty() {
                text.push_str(&quoted(rest));
            }
            text
        }
    }
}

/// Characters that only a shell understands.
const OF_SHELLS: &str = "$`&;|<>()\n";

/// Commands that only a shell has.
const BUILTINS: [&str; 3] = ["exec", "command", "."];

/// The command of `python=LINE`: its words; or, if only a shell understands the line, a shell that executes
/// the line with the arguments that are appended. `None` if a quote is left open.
///
/// Agents do the same (`words` in remote/agent/nodes.py).
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

#[cfg(test)]
mod tests {
    use super::join;
    use crate::shell::{one_word, split};

    #[test]
    fn joined_words_split_back_and_hold_no_separator() {
        let words =
            ["", "a b", "it's", "http://x", "a ////", "//", "\\", "/", "é\"$(x)", "'//'", "a b//c d///e"];
        let line = join(&words);
        assert!(!line.contains("//"), "{line}");
        assert_eq!(split(&line).unwrap(), words);
    }

    #[test]
    fn one_word_is_written_and_found_again() {
        for word in ["python3", "~/a b/py", "./it's \"x\"\\n", "a//b c", "$(id)"] {
            assert_eq!(one_word(&join(&[word])).as_deref(), Some(word), "{}", join(&[word]));
        }
        assert_eq!(join(&["~/bin/python3.12"]), "~/bin/python3.12");
    }
}
