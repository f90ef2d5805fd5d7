//! The code to execute: an argument, a file, or our stdin.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

use execnet::Code;

use crate::error::{CommandError, Exit};

/// The code with its arguments.
#[derive(Debug)]
pub(super) struct ExecSource {
    pub(super) code: Code,
    /// It was read from our stdin, so nothing is left there.
    pub(super) took_stdin: bool,
}

impl ExecSource {
    /// Reads it from the command line: the code, then its arguments.
    pub(super) fn read(words: &[OsString]) -> Result<Self, CommandError> {
        let words = words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
        let Some((&first, args)) = words.split_first() else {
            return Err(CommandError::new(Exit::Usage, "no code to execute").hint(
                "for example `execnet exec NETWORK 'import sys; channel.send(sys.platform)'`, or name a file",
            ));
        };
        let path = Path::new(first);
        let (name, source) = if first == "-" {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| CommandError::new(Exit::Failed, "cannot read stdin").because(&error))?;
            ("-", utf8(bytes, "stdin")?)
        } else if path.metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            let bytes = std::fs::read(path).map_err(|error| CommandError::file("read", path, &error))?;
            (first, utf8(bytes, first)?)
        } else if is_name(first) {
            return Err(CommandError::new(Exit::Usage, format!("there is no file `{first}`")));
        } else {
            ("-c", dedent(first))
        };
        let mut code = Code::source(source).argv(std::iter::once(name).chain(args.iter().copied()));
        match name {
            "-" => code = code.filename("<stdin>"),
            "-c" => {}
            file => code = code.filename(file),
        }
        Ok(Self { code, took_stdin: first == "-" })
    }
}

fn text(word: &OsString) -> Result<&str, CommandError> {
    word.to_str().ok_or_else(|| CommandError::new(Exit::Usage, format!("the argument {word:?} is not UTF-8")))
}

fn utf8(bytes: Vec<u8>, from: &str) -> Result<String, CommandError> {
    let source = String::from_utf8(bytes)
        .map_err(|error| CommandError::new(Exit::Usage, format!("{from} is not UTF-8")).because(&error))?;
    Ok(source.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(source))
}

/// Removes the indentation that all lines share, as quoted code in a script may have it.
fn dedent(source: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut common: Option<&str> = None;
    for line in source.lines().filter(|line| !line.trim().is_empty()) {
        let blanks = &line[..indent(line)];
        let before = common.unwrap_or(blanks);
        let same = before.bytes().zip(blanks.bytes()).take_while(|(one, other)| one == other).count();
        common = Some(&before[..same]);
    }
    let common = common.unwrap_or_default();
    let lines = source.split('\n').map(|line| line.strip_prefix(common).unwrap_or(line.trim_start()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether this is meant as a file name and not as code.
fn is_name(text: &str) -> bool {
    text.ends_with(".py") && !text.contains(|c: char| c.is_whitespace() || "();='\"#".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        ExecSource::read(&words).unwrap_err().to_string()
    }

    #[test]
    fn code_may_be_indented_as_a_whole() {
        assert_eq!(dedent("\n    if 1:\n      x\n  \n\n    y\n  "), "\nif 1:\n  x\n\n\ny\n");
        assert_eq!(dedent("a\n  b"), "a\n  b");
        assert_eq!(dedent("\ta\n  b"), "\ta\n  b");
        assert_eq!(dedent("  a"), "a");
    }

    #[test]
    fn what_is_no_code_is_not_taken_for_some() {
        insta::assert_snapshot!(refusal(&[]), @"
        Error: no code to execute
        Hint: for example `execnet exec NETWORK 'import sys; channel.send(sys.platform)'`, or name a file
        ");
        let refused = refusal(&["scripts/lode.py", "x"]);
        insta::assert_snapshot!(refused, @"Error: there is no file `scripts/lode.py`");
        assert!(
            ExecSource::read(&["open('x.py')".into()]).is_ok()
                && ExecSource::read(&["x = y.py".into()]).is_ok()
        );
        // a folder is not a file
        assert!(ExecSource::read(&["/".into()]).is_ok());
    }
}
