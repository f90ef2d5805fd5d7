//! What a gateway's interpreter prints: forwarded line by line, and kept in case it dies.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use execnet_proto::text::lines;

/// The longest line that is forwarded in one piece, in bytes.
const LINE: usize = 64 * 1024;

/// How many of the last bytes are kept.
const TAIL: usize = 4_096;

/// How many of the last lines an error shows.
pub(super) const LINES: usize = 20;

/// Called with the id of the gateway and each line, as printed, without the newline.
pub(super) type OnOutput = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

/// See the module's documentation.
pub(super) struct Printed {
    id: String,
    on_output: Option<OnOutput>,
    parts: Mutex<Parts>,
    /// Lines that are held until it is known whether an error shows them.
    held: Mutex<Option<VecDeque<Vec<u8>>>>,
}

#[derive(Default)]
struct Parts {
    /// The beginning of a line.
    line: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Printed {
    /// For the gateway with this id. Its lines go to `on_output` or, but only after [`Printed::release`], to
    /// this program's stderr.
    pub(super) fn new(id: String, on_output: Option<OnOutput>) -> Self {
        Self { id, on_output, parts: Mutex::default(), held: Mutex::new(Some(VecDeque::new())) }
    }

    /// Prints the held lines, and holds no more.
    pub(super) fn release(&self) {
        let mut held = self.held();
        held.take().into_iter().flatten().for_each(|line| self.write(&line));
    }

    /// Drops the held lines, which an error shows, and holds no more.
    pub(super) fn forget(&self) {
        self.held().take();
    }

    /// Takes bytes that were printed.
    pub(super) fn take(&self, bytes: &[u8]) {
        let mut parts = self.parts();
        parts.tail.extend(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = parts.tail.len().saturating_sub(TAIL);
        parts.tail.drain(..surplus);
        let mut line = std::mem::take(&mut parts.line);
        // the callback may ask for the gateway's state
        drop(parts);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            line.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") || line.len() > LINE {
                self.pass_on(&line);
                line.clear();
            }
        }
        self.parts().line = line;
    }

    /// Nothing more is printed.
    pub(super) fn end(&self) {
        let line = std::mem::take(&mut self.parts().line);
        if !line.is_empty() {
            self.pass_on(&line);
        }
    }

    /// The last output.
    pub(super) fn tail(&self) -> String {
        let parts = self.parts();
        let (front, back) = parts.tail.as_slices();
        plain(&[front, back].concat())
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass_on(&self, line: &[u8]) {
        match &self.on_output {
            // a panic must not stop the interpreter's output
            Some(on_output) => drop(catch_unwind(AssertUnwindSafe(|| on_output(&self.id, line)))),
            None => {
                let mut held = self.held();
                let Some(lines) = held.as_mut() else { return self.write(line) };
                lines.push_back(line.to_vec());
                while lines.len() > LINES || lines.iter().map(|line| line.len() + 1).sum::<usize>() > TAIL {
                    lines.pop_front().iter().for_each(|line| self.write(line));
                }
            }
        }
    }

    /// Writes to this program's stderr.
    fn write(&self, line: &[u8]) {
        let mut stderr = std::io::stderr().lock();
        let line = if stderr.is_terminal() { plain(line).into_bytes() } else { line.to_vec() };
        let line = [b"[", self.id.as_bytes(), b"] ", &line, b"\n"].concat();
        // nobody can be told that stderr is closed
        let _ = stderr.write_all(&line);
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<VecDeque<Vec<u8>>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As text for a terminal.
pub(super) fn plain(bytes: &[u8]) -> String {
    lines(&String::from_utf8_lossy(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_the_last_bytes_are_kept() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let on_output = move |id: &str, line: &[u8]| {
            seen.lock().unwrap().push(format!("{id}:{}", String::from_utf8_lossy(line)));
        };
        let printed = Printed::new("gw3".into(), Some(Arc::new(on_output)));
        printed.take(b"one\ntw");
        printed.take(b"o\n\n\x1b[31mthree");
        printed.end();
        assert_eq!(*lines.lock().unwrap(), ["gw3:one", "gw3:two", "gw3:", "gw3:\x1b[31mthree"]);
        assert_eq!(printed.tail(), "one\ntwo\n\n\\x1b[31mthree");
        printed.take(&[b'x'; 2 * TAIL]);
        assert_eq!(printed.tail(), "x".repeat(TAIL));
    }
}
