//! What a terminal showed before we attached to it: shown again, without letting it act.
//!
//! Old output may ask the terminal questions, whose answers the program would take for keys, or set its title
//! and clipboard. A replay begins behind a line end, and has none of these. A program that uses the whole
//! screen draws it anew when it is told the size, so of its output nothing is replayed.

use super::modes::Modes;

/// How much of the end is shown, in bytes: some screens full.
const SHOWN: usize = 64 * 1024;

/// The longest sequence that is passed on, in bytes. Longer ones are no sequences.
const LONGEST: usize = 256;

/// Old output, as it is collected.
#[derive(Debug, Default)]
pub(super) struct Replay {
    modes: Modes,
    last: Vec<u8>,
    cut: bool,
}

impl Replay {
    /// Old output that does not begin at the start of the program's: its first line may be a part of one.
    pub(super) fn of_part() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// Takes more of it.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.modes.pass(bytes);
        self.last.extend_from_slice(bytes);
        if self.last.len() > 2 * SHOWN {
            self.last.drain(..self.last.len() - SHOWN);
            self.cut = true;
        }
    }

    /// Some of it was lost: what comes does not follow what came.
    pub(super) fn lost(&mut self) {
        self.last.clear();
        self.cut = true;
    }

    /// What to show of it.
    pub(super) fn shown(&self) -> Vec<u8> {
        if self.modes.is_alternate() {
            return self.modes.enter();
        }
        let mut last = &self.last[self.last.len().saturating_sub(SHOWN)..];
        if self.cut || last.len() < self.last.len() {
            last = last.iter().position(|byte| *byte == b'\n').map_or(&[], |end| &last[end + 1..]);
        }
        harmless(last)
    }
}

/// The bytes without what asks a terminal for something, and without what sets its title or clipboard. A
/// sequence that is not finished is left out.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let length = match byte {
            0x1b => sequence(rest),
            // a question of old terminals
            0x05 => Some((1, false)),
            0x80.. => Some(character(rest)),
            _ => Some((1, true)),
        };
        let Some((length, passes)) = length else { break };
        if passes {
            out.extend_from_slice(&rest[..length]);
        }
        at += length;
    }
    out
}

/// Length of the character beyond ASCII that begins here, and whether it may pass. Some begin a sequence as
/// ESC does, alone or in UTF-8.
fn character(bytes: &[u8]) -> (usize, bool) {
    match bytes {
        [0xc2, 0x80..=0x9f, ..] => (2, false),
        [0x80..=0x9f, ..] => (1, false),
        [first, ..] => {
            let length = [0xc0, 0xe0, 0xf0].iter().filter(|least| *first >= **least).count() + 1;
            let is_one = bytes.get(..length).is_some_and(|bytes| std::str::from_utf8(bytes).is_ok());
            (if is_one { length } else { 1 }, true)
        }
        [] => (0, true),
    }
}

/// Length of the sequence that begins here, and whether it may pass. `None` if it is not finished.
fn sequence(bytes: &[u8]) -> Option<(usize, bool)> {
    match *bytes.get(1)? {
        b'[' => {
            let end = bytes[2..].iter().take(LONGEST).position(|byte| !(0x20..0x40).contains(byte));
            let Some(end) = end else {
                return (bytes.len() > LONGEST + 2).then_some((2, false));
            };
            let (parameters, last) = (&bytes[2..2 + end], bytes[2 + end]);
            let is_sequence = (0x40..0x7f).contains(&last);
            // control characters count within a sequence, too: leave it to the next round
            let length = if is_sequence { end + 3 } else { end + 2 };
            Some((length, is_sequence && !asks(parameters, last)))
        }
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let mut at = 2;
            loop {
                match *bytes.get(at)? {
                    0x07 if bytes[1] == b']' => return Some((at + 1, false)),
                    0x18 | 0x1a => return Some((at + 1, false)),
                    0x1b if bytes.get(at + 1) == Some(&b'\\') => return Some((at + 2, false)),
                    0x1b => {
                        bytes.get(at + 1)?;
                        return Some((at, false));
                    }
                    _ => at += 1,
                }
            }
        }
        b'Z' => Some((2, false)),
        0x20..=0x2f => {
            let end = 2 + bytes[2..].iter().position(|byte| !(0x20..0x30).contains(byte))?;
            let is_sequence = (0x30..0x7f).contains(&bytes[end]);
            Some(if is_sequence { (end + 1, true) } else { (end, false) })
        }
        0x30..0x7f => Some((2, true)),
        // a terminal would act on this, and go on with the sequence
        _ => Some((1, false)),
    }
}

/// Whether a control sequence asks the terminal for something, changes its window, or prints.
fn asks(parameters: &[u8], last: u8) -> bool {
    let begins = |first: &[u8]| parameters.starts_with(first);
    let ends = |last: &[u8]| parameters.ends_with(last);
    match last {
        b'c' | b'i' | b'n' | b't' | b'x' => true,
        b'p' | b'w' => ends(b"$"),
        b'q' => begins(b">"),
        b'u' => begins(b"?") || ends(b"$") || ends(b"&"),
        b'm' | b'S' => begins(b"?"),
        b'R' => ends(b"#"),
        b'v' => ends(b"\""),
        b'y' => ends(b"*"),
        b'|' => ends(b"#") || ends(b"'"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(replay: &Replay) -> String {
        String::from_utf8(replay.shown()).unwrap()
    }

    fn replayed(bytes: &str) -> String {
        let mut replay = Replay::default();
        bytes.as_bytes().chunks(3).for_each(|part| replay.pass(part));
        shown(&replay)
    }

    #[test]
    fn what_is_shown_does_not_ask_and_sets_no_title() {
        for (old, new) in [
            ("a\x1b[31mb\x1b[0m", "a\x1b[31mb\x1b[0m"),
            ("\x1b[6nx\x1b[5n\x1b[c\x1b[>c\x1b[=0c", "x"),
            ("\x1b[?2026$p\x1b[>0q\x1b[?u\x1b[14t\x1b[?4m\x1bZ\x05ok", "ok"),
            ("\x1b]0;title\x07\x1b]52;c;Zm9v\x1b\\ok", "ok"),
            ("\x1bP$qm\x1b\\\x1b_Ga=q\x1b\\\x1b^x\x1b\\\x1bXy\x1b\\ok", "ok"),
            ("\x1b]0;title\x1b[1mok", "\x1b[1mok"),
            ("\x1b(0lq\x1b(B\x1b7\x1b8\x1b[2;5H\x1b[K", "\x1b(0lq\x1b(B\x1b7\x1b8\x1b[2;5H\x1b[K"),
            ("\x1b[?2004h\x1b[1 q", "\x1b[?2004h\x1b[1 q"),
            ("end\x1b[3", "end"),
            ("end\x1b]0;never finished", "end"),
            ("a\x1b[1\nb", "a\nb"),
        ] {
            assert_eq!(replayed(old), new, "{old:?}");
        }
        // what a terminal acts on within a sequence, which then goes on
        for old in ["\x1b\x1b[6n", "\x1b\n[6n", "\x1b(\x1b[6n", "\x1b \x07\x1b[6n", "\x1b\0]0;x\x07"] {
            assert!(!replayed(old).contains('\x1b'), "{old:?}");
        }
        assert_eq!(replayed("ä\u{9b}6n\u{9d}0;x\u{9c}€\u{e0b0}"), "ä6n0;x€\u{e0b0}");
        assert_eq!(harmless(b"\x9b6n\xe4\x90\xff\xe2\x82"), b"6n\xe4\xff\xe2");
        for old in ["&u", "1$u", "1$w", "\"v", "1'|", "#|", "#R", "5i", "?5i"] {
            assert_eq!(replayed(&format!("\x1b[{old}")), "", "{old:?}");
        }
        let long = format!("\x1b[{}x", "1".repeat(1000));
        assert!(!replayed(&long).contains('\x1b'));
    }

    #[test]
    fn a_part_begins_behind_a_line_end() {
        let mut replay = Replay::of_part();
        replay.pass("e of a line\nwhole\nlast".as_bytes());
        assert_eq!(shown(&replay), "whole\nlast");
        replay.lost();
        replay.pass(b"rest\nnew");
        assert_eq!(shown(&replay), "new");
        let mut all = String::new();
        (0..100_000).for_each(|n| all += &format!("line {n}\n"));
        let end = replayed(&all);
        assert!(
            end.len() <= SHOWN && end.starts_with("line ") && end.ends_with("line 99999\n"),
            "{}",
            &end[..40]
        );
    }

    #[test]
    fn of_a_whole_screen_only_its_modes_are_taken_up() {
        let end = replayed("shell\n\x1b[?1049h\x1b[?1h\x1b=vim draws\x1b[6n");
        assert_eq!(end, "\x1b[?1049h\x1b[?1h\x1b=");
        assert_eq!(replayed("\x1b[?1049hvim\x1b[?1049l$ "), "\x1b[?1049hvim\x1b[?1049l$ ");
    }
}
