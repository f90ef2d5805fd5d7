//! ssh's questions, asked on the terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use execnet_proto::control::Prompt;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use execnet_proto::text::lines;

use crate::text::one_line;

/// The person ended the command instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

/// Answers questions: the person at the terminal, or a script in tests.
pub(crate) trait Person {
    /// The answer, or `None` if it was refused or nobody is there.
    fn ask(&self, prompt: &Prompt) -> Result<Option<String>, Interrupted>;
}

/// The person at the controlling terminal, whatever stdin and stdout are.
pub(crate) struct Terminal;

impl Person for Terminal {
    fn ask(&self, prompt: &Prompt) -> Result<Option<String>, Interrupted> {
        let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
            crate::print::say(&format!(
                "{}: ssh asks `{}`, but there is no terminal to answer on",
                one_line(&prompt.host),
                one_line(&prompt.text)
            ));
            return Ok(None);
        };
        // the answer may be a secret
        execnet_daemon::close_memory();
        let text = lines(&prompt.text);
        let Ok(raw) = RawMode::enter(&terminal) else { return Ok(None) };
        let mut keys = &terminal;
        if write!(keys, "{}: {} ", one_line(&prompt.host), text.trim_end()).is_err() {
            return Ok(None);
        }
        let answer = read_line(&mut keys, prompt.echo);
        drop(raw);
        let _ = keys.write_all(b"\n");
        answer
    }
}

/// A terminal that delivers every key at once, Ctrl-C too, and echoes none. Restores its modes when dropped.
struct RawMode<'a> {
    terminal: &'a File,
    before: Termios,
}

impl RawMode<'_> {
    fn enter(terminal: &File) -> io::Result<RawMode<'_>> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Reads keys up to Return; Backspace and Ctrl-U edit the line.
fn read_line(terminal: &mut (impl Read + Write), echo: bool) -> Result<Option<String>, Interrupted> {
    let mut line: Vec<u8> = Vec::new();
    let show = |terminal: &mut dyn Write, bytes: &[u8]| {
        if echo {
            let _ = terminal.write_all(bytes);
        }
    };
    let mut key = [0];
    loop {
        match terminal.read(&mut key) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(None),
        }
        match key[0] {
            b'\r' | b'\n' => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            0x03 | 0x1c => return Err(Interrupted),
            0x04 if line.is_empty() => return Ok(None),
            0x7f | 0x08 => {
                // a character may be several bytes
                while line.pop().is_some_and(|byte| (0x80..0xc0).contains(&byte)) {}
                show(terminal, b"\x08 \x08");
            }
            0x15 => {
                let shown = String::from_utf8_lossy(&line).chars().count();
                show(terminal, "\x08 \x08".repeat(shown).as_bytes());
                line.clear();
            }
            byte if byte < 0x20 => {}
            byte => {
                line.push(byte);
                show(terminal, &[byte]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys to press, and what the screen shows.
    struct Keys(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Keys {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Keys {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn typed(keys: &str, echo: bool) -> (Result<Option<String>, Interrupted>, String) {
        let mut terminal = Keys(io::Cursor::new(keys.into()), Vec::new());
        let line = read_line(&mut terminal, echo);
        (line, String::from_utf8(terminal.1).unwrap())
    }

    #[test]
    fn a_secret_is_read_and_never_shown() {
        assert_eq!(typed("s3crét\r", false), (Ok(Some("s3crét".into())), String::new()));
    }

    #[test]
    fn keys_can_be_taken_back() {
        assert_eq!(typed("noé\x7f\x7f\x7f\x7fyes\n", true).0, Ok(Some("yes".into())));
        assert_eq!(typed("wrong\x15right\n", false).0, Ok(Some("right".into())));
    }

    #[test]
    fn no_answer_is_told_from_an_empty_one() {
        assert_eq!(typed("\n", false).0, Ok(Some(String::new())));
        assert_eq!(typed("\x04", false).0, Ok(None));
        assert_eq!(typed("", false).0, Ok(None));
        assert_eq!(typed("abc\x03", false).0, Err(Interrupted));
    }
}
