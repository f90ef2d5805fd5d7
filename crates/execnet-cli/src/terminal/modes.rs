//! Follows what a program sets on the terminal, so that it can be undone when the program is left, and done
//! again when it is taken up.
//!
//! Reads the output only; knows the few sequences that outlast a program which ends without its own goodbye.

use std::collections::BTreeSet;

/// Private modes that are off at first: cursor keys, reverse, origin, mouse, alternate screens, keypad,
/// focus reports, pasting, synchronized output.
const OFF_AT_FIRST: [u16; 19] =
    [1, 5, 6, 9, 47, 66, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2026];

/// Private modes that are on at first: lines that wrap, a cursor that shows.
const ON_AT_FIRST: [u16; 2] = [7, 25];

/// Those that lead to an alternate screen.
const ALTERNATE: [u16; 3] = [47, 1047, 1049];

/// Parameters of a sequence that are kept, in bytes. Longer ones are of no interest.
const MOST: usize = 64;

/// What a program has set.
#[derive(Clone, Debug, Default)]
pub(super) struct Modes {
    at: At,
    /// Parameters of the sequence that is being read.
    parameters: Vec<u8>,
    /// Private modes that are not as at first.
    changed: BTreeSet<u16>,
    keypad: bool,
    coloured: bool,
    /// Another character set is chosen, or shifted to.
    charset: bool,
    shape: bool,
    /// Keyboard protocols that were pushed.
    keyboards: u16,
    other_keys: bool,
}

/// Where in the output we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Text,
    /// This many bytes of a character are missing.
    Character(u8),
    Escape,
    /// Behind ESC and an intermediate byte.
    Intermediate(u8),
    Control,
    /// In a title or another string.
    String,
    StringEscape,
}

impl Modes {
    /// Follows output.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.at = self.step(byte);
        }
    }

    /// Whether output may be put in here.
    pub(super) fn is_between(&self) -> bool {
        self.at == At::Text
    }

    /// Whether a program uses the whole screen.
    pub(super) fn is_alternate(&self) -> bool {
        ALTERNATE.iter().any(|mode| self.changed.contains(mode))
    }

    /// What undoes all of it.
    pub(super) fn leave(&self) -> Vec<u8> {
        let mut out = match self.at {
            At::Text => Vec::new(),
            At::Character(_) | At::Escape | At::Intermediate(_) | At::Control => b"\x18".to_vec(),
            At::String | At::StringEscape => b"\x1b\\".to_vec(),
        };
        let mut say = |what: String| out.extend_from_slice(what.as_bytes());
        if self.keyboards > 0 {
            say(format!("\x1b[<{}u", self.keyboards));
        }
        if self.other_keys {
            say("\x1b[>4m".into());
        }
        // the screen comes last: some terminals keep a keyboard for each
        for mode in self.changed.iter().rev().filter(|mode| !ALTERNATE.contains(mode)) {
            say(format!("\x1b[?{mode}{}", if ON_AT_FIRST.contains(mode) { 'h' } else { 'l' }));
        }
        for mode in self.changed.iter().filter(|mode| ALTERNATE.contains(mode)) {
            say(format!("\x1b[?{mode}l"));
        }
        for (is_set, sequence) in [
            (self.keypad, "\x1b>"),
            (self.coloured, "\x1b[m"),
            (self.charset, "\x1b(B\x0f"),
            (self.shape, "\x1b[0 q"),
        ] {
            if is_set {
                say(sequence.into());
            }
        }
        out
    }

    /// What does it again, as far as a program that draws its screen anew does not do it itself.
    pub(super) fn enter(&self) -> Vec<u8> {
        let mut out = String::new();
        for mode in self.changed.iter().filter(|mode| ALTERNATE.contains(mode)) {
            out += &format!("\x1b[?{mode}h");
        }
        for mode in self.changed.iter().filter(|mode| !ALTERNATE.contains(mode)) {
            out += &format!("\x1b[?{mode}{}", if ON_AT_FIRST.contains(mode) { 'l' } else { 'h' });
        }
        if self.keypad {
            out += "\x1b=";
        }
        out.into_bytes()
    }

    fn step(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::StringEscape, b'\\') | (At::String, 0x07) | (_, 0x18 | 0x1a) => At::Text,
            (At::String, 0x1b) => At::StringEscape,
            (At::String, _) => At::String,
            (_, 0x1b) => At::Escape,
            (At::Escape | At::StringEscape, _) => self.escape(byte),
            (At::Intermediate(kind), _) => {
                if kind == b'(' {
                    self.charset = byte != b'B';
                }
                At::Text
            }
            (At::Control, 0x40..=0x7e) => {
                self.control(byte);
                At::Text
            }
            (At::Control, _) => {
                if self.parameters.len() < MOST {
                    self.parameters.push(byte);
                }
                At::Control
            }
            (At::Character(left), 0x80..=0xbf) if left > 1 => At::Character(left - 1),
            (At::Text | At::Character(_), _) => self.text(byte),
        }
    }

    fn text(&mut self, byte: u8) -> At {
        match byte {
            0x0e => self.charset = true,
            0x0f => self.charset = false,
            0xc2..=0xdf if self.at == At::Text => return At::Character(1),
            0xe0..=0xef if self.at == At::Text => return At::Character(2),
            0xf0..=0xf4 if self.at == At::Text => return At::Character(3),
            _ => {}
        }
        At::Text
    }

    fn escape(&mut self, byte: u8) -> At {
        match byte {
            b'[' => {
                self.parameters.clear();
                return At::Control;
            }
            b']' | b'P' | b'X' | b'^' | b'_' => return At::String,
            0x20..=0x2f => return At::Intermediate(byte),
            b'=' => self.keypad = true,
            b'>' => self.keypad = false,
            b'c' => *self = Self::default(),
            _ => {}
        }
        At::Text
    }

    fn control(&mut self, end: u8) {
        let text = String::from_utf8_lossy(&self.parameters).into_owned();
        match (end, text.as_bytes().first()) {
            (b'h' | b'l', Some(b'?')) => {
                for mode in text[1..].split(';').filter_map(|mode| mode.parse().ok()) {
                    self.private(mode, end == b'h');
                }
            }
            (b'u', Some(b'>')) => self.keyboards = self.keyboards.saturating_add(1),
            (b'u', Some(b'<')) => {
                let count = text[1..].parse().unwrap_or(1);
                self.keyboards = self.keyboards.saturating_sub(count);
            }
            (b'm', Some(b'>')) => self.other_keys = text.starts_with(">4;") && text != ">4;0",
            (b'm', _) => self.coloured = !matches!(text.as_str(), "" | "0"),
            (b'q', _) if text.ends_with(' ') => self.shape = !matches!(text.as_str(), " " | "0 "),
            (b'p', Some(b'!')) => {
                for mode in [1, 6, 7, 25] {
                    self.changed.remove(&mode);
                }
                (self.keypad, self.coloured, self.charset) = (false, false, false);
            }
            _ => {}
        }
    }

    fn private(&mut self, mode: u16, on: bool) {
        let changed = if ON_AT_FIRST.contains(&mode) {
            !on
        } else if OFF_AT_FIRST.contains(&mode) {
            on
        } else {
            return;
        };
        if changed {
            self.changed.insert(mode);
        } else {
            self.changed.remove(&mode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(output: &str) -> Modes {
        let (mut whole, mut apart) = (Modes::default(), Modes::default());
        whole.pass(output.as_bytes());
        output.as_bytes().chunks(1).for_each(|byte| apart.pass(byte));
        assert_eq!(format!("{whole:?}"), format!("{apart:?}"));
        whole
    }

    fn left(output: &str) -> String {
        String::from_utf8(after(output).leave()).unwrap()
    }

    #[test]
    fn what_a_program_left_set_is_undone_and_nothing_else() {
        for (output, undone) in [
            ("plain \u{e4}\u{1f600} text\r\n", ""),
            // vim, then its own goodbye
            (
                "\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l",
                "\x1b[>4m\x1b[?2004l\x1b[?25h\x1b[?1l\x1b[?1049l\x1b>",
            ),
            ("\x1b[?1049h\x1b[?1h\x1b=\x1b[?25l\x1b[?25h\x1b[?1l\x1b>\x1b[?1049l", ""),
            ("\x1b[?1000;1006h\x1b[31mred", "\x1b[?1006l\x1b[?1000l\x1b[m"),
            ("\x1b[31mred\x1b[0m \x1b[1mbold\x1b[m", ""),
            ("\x1b(0lqqk", "\x1b(B\x0f"),
            ("\x1b(0lqqk\x1b(B", ""),
            ("\x0elqqk", "\x1b(B\x0f"),
            ("\x1b[>1u\x1b[>5u\x1b[<u", "\x1b[<1u"),
            ("\x1b[4 q\x1b[0 q", ""),
            ("\x1b[4 q", "\x1b[0 q"),
            ("\x1b[?1049h\x1b[?25l\x1bc", ""),
            ("\x1b[?25l\x1b[!p", ""),
            ("\x1b[?25", "\x18"),
            ("\x1b]2;a title", "\x1b\\"),
            ("\x1b]2;[?1049h\x07text", ""),
            ("\x1b[?12h\x1b[?99999999999999h", ""),
        ] {
            assert_eq!(left(output), undone, "{output:?}");
        }
    }

    #[test]
    fn notices_go_between_sequences_and_characters() {
        for (output, between, alternate) in [
            ("text", true, false),
            ("\x1b[3", false, false),
            ("\x1b", false, false),
            ("\x1b]0;title", false, false),
            ("\x1b[?1049h", true, true),
            ("\x1b[?47h\x1b[?47l", true, false),
        ] {
            let modes = after(output);
            assert_eq!((modes.is_between(), modes.is_alternate()), (between, alternate), "{output:?}");
        }
        let mut modes = Modes::default();
        modes.pass(&"\u{1f600}".as_bytes()[..3]);
        assert!(!modes.is_between());
        modes.pass(&"\u{1f600}".as_bytes()[3..]);
        assert!(modes.is_between());
    }

    #[test]
    fn what_was_undone_can_be_done_again() {
        let mut modes = after("\x1b[?1049h\x1b[?1h\x1b=\x1b[?25l");
        let (leave, enter) = (modes.leave(), modes.enter());
        let before = format!("{modes:?}");
        modes.pass(&leave);
        assert!(modes.leave().is_empty());
        modes.pass(&enter);
        assert_eq!(format!("{:?}", modes.changed), format!("{:?}", after("\x1b[?1049;1h\x1b[?25l").changed));
        assert!(before.contains("keypad: true") && modes.keypad);
    }
}
