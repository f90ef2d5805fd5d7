//! Bytes as lines: what many hosts write comes in pieces, and is shown in lines.

/// The longest line that is shown in one piece, in bytes.
pub(crate) const LONGEST: usize = 64 * 1024;

/// Splits bytes that come in pieces into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl Lines {
    /// Calls `each` with every line that `bytes` completes, without its end. A line longer than [`LONGEST`]
    /// comes in pieces.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let ended = piece.strip_suffix(b"\n");
            let mut rest = ended.unwrap_or(piece);
            while self.begun.len() + rest.len() > LONGEST {
                let (now, later) = rest.split_at(LONGEST - self.begun.len());
                self.begun.extend_from_slice(now);
                each(&std::mem::take(&mut self.begun));
                rest = later;
            }
            if ended.is_none() {
                self.begun.extend_from_slice(rest);
            } else if self.begun.is_empty() {
                each(without_return(rest));
            } else {
                self.begun.extend_from_slice(rest);
                each(without_return(&self.begun));
                self.begun.clear();
            }
        }
    }

    /// No more bytes come: calls `each` with a line that has no end.
    pub(crate) fn end(&mut self, mut each: impl FnMut(&[u8])) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            each(&begun);
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line of a host, safe for a terminal.
pub(crate) fn shown(line: &[u8]) -> String {
    execnet_proto::text::lines(&String::from_utf8_lossy(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| all.push(shown(line)));
        }
        lines.end(|line| all.push(shown(line)));
        all
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(split(&[b"a\nb", b"c\r", b"\n\n", b"d"]), ["a", "bc", "", "d"]);
        assert_eq!(split(&[b"a\x1b[2J\tb\xff\n"]), ["a\\x1b[2J\tb\u{fffd}"]);
        assert_eq!(split(&[b"", b"\n"]), [""]);
        assert!(split(&[]).is_empty());
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let long = vec![b'x'; 2 * LONGEST + 7];
        let lengths = |pieces: &[&[u8]]| split(pieces).iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[&long, b"y\n"]), [LONGEST, LONGEST, 8]);
        let pieces: Vec<&[u8]> = long.chunks(1000).collect();
        assert_eq!(lengths(&pieces), [LONGEST, LONGEST, 7]);
    }
}
