//! Errors of commands, as a person reads them, with their exit codes.
//!
//! Only here do errors become sentences on a terminal.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use execnet_proto::text::lines;

use crate::text::one_line;

/// Exit codes, as docs/cli.md lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Any error without a code of its own.
    Failed = 1,
    /// A wrong option, name, host spec or file; nothing was changed.
    Usage = 2,
    /// No such network, or it is not running.
    NoNetwork = 3,
    /// No such host.
    NoHost = 4,
    /// The network is already running.
    Running = 5,
    /// Some hosts did not come up.
    HostsFailed = 6,
    /// `execnet python` itself failed, not the process.
    Python = 125,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: a sentence, its causes, a hint and the exit code.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

/// What commands return.
pub(crate) type CommandResult<T = ExitCode> = Result<T, CommandError>;

impl CommandError {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> CommandError {
        CommandError { exit, message: message.to_string(), causes: Vec::new(), hint: None }
    }

    /// Adds `error` and its sources as causes.
    pub(crate) fn because(mut self, error: &(dyn Error + 'static)) -> CommandError {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> CommandError {
        self.hint = Some(hint.to_string());
        self
    }

    /// Drops the hint, where it would not help.
    pub(crate) fn without_hint(self) -> CommandError {
        CommandError { hint: None, ..self }
    }

    /// Adds another error as the cause, with its hint.
    pub(crate) fn behind(mut self, cause: CommandError) -> CommandError {
        self.causes.push(cause.message);
        self.causes.extend(cause.causes);
        self.hint = cause.hint.or(self.hint);
        self
    }

    /// A failure to read or write `path`.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> CommandError {
        let failure = CommandError::new(Exit::Failed, format!("cannot {what} {}", path.display()));
        let failure = failure.because(error);
        match no_room(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// What to do if a file could not be written for lack of room.
pub(crate) fn no_room(error: &std::io::Error) -> Option<&'static str> {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Some("make room on that disk; nothing was changed"),
        std::io::ErrorKind::QuotaExceeded => Some("your quota is used up; nothing was changed"),
        _ => None,
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Lines after the first are indented: no name with a line end in it can pass for a cause or a hint.
        let mut lines = lines(self.message.trim_end()).into_owned();
        if lines.contains('\n') {
            lines = lines.replace("\n  ", "\n").replace('\n', "\n  ");
        }
        writeln!(f, "Error: {lines}")?;
        for cause in &self.causes {
            writeln!(f, "Caused by: {}", one_line(cause))?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "Hint: {}", one_line(hint)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_end_cannot_pass_for_a_hint() {
        let odd = "no folder /a\nHint: b\x1b[2J";
        let failure = CommandError::new(Exit::Failed, odd).because(&std::io::Error::other(odd)).hint(odd);
        insta::assert_snapshot!(failure, @r"
        Error: no folder /a
          Hint: b\x1b[2J
        Caused by: no folder /a Hint: b\x1b[2J
        Hint: no folder /a Hint: b\x1b[2J
        ");
        insta::assert_snapshot!(CommandError::new(Exit::Failed, "there are:\n  a\n  b"), @"
        Error: there are:
          a
          b
        ");
    }
}
