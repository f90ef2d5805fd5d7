//! Writing to the terminal: results to stdout, messages to stderr.

use std::io::{self, ErrorKind, Write};

use execnet_proto::text::lines;

use crate::error::{CommandError, Exit};
use crate::style;

/// Writes to stdout as it is. A reader that closed the pipe (`execnet status | head -1`) is no error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    write(io::stdout().lock(), text)
}

/// Writes coloured text to stdout, or plain text where colours are not wanted.
pub(crate) fn print_styled(text: &str) -> Result<(), CommandError> {
    write(anstream::stdout().lock(), text)
}

fn write(mut out: impl Write, text: &str) -> Result<(), CommandError> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::new(Exit::Failed, "cannot write to stdout").because(&error))
        }
        _ => Ok(()),
    }
}

/// Writes lines to stderr, escaped. Ignores failures to write.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", lines(text));
}

/// Writes coloured lines to stderr, or plain ones where colours are not wanted. The text must be escaped
/// already.
pub(crate) fn say_styled(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Writes an error to stderr.
pub(crate) fn error(error: &CommandError) {
    say_styled(&style::message(error.to_string().trim_end()));
}
