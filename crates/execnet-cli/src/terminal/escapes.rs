//! Keys for us among those for the program: as in ssh, behind Enter.

/// A paste begins, and ends, for a program that asked to be told.
const PASTE: [[u8; 6]; 2] = [*b"\x1b[200~", *b"\x1b[201~"];

/// The lines of `~?`; `~` stands for the escape key.
const HELP: [&str; 6] = [
    "behind Enter:",
    "  ~.   end: what runs is hung up",
    "  ~^Z  suspend this command",
    "  ~?   this help",
    "  ~~   the key itself",
    "while the host is out of reach, ^C three times within 2 s ends, too",
];

/// The same for what stays.
const HELP_OF_KEPT: [&str; 7] = [
    "behind Enter:",
    "  ~d   leave: what runs stays there",
    "  ~.   end: what runs is hung up",
    "  ~^Z  suspend this command",
    "  ~?   this help",
    "  ~~   the key itself",
    "while the host is out of reach, ^C three times within 2 s leaves, too",
];

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// For the program.
    Keys(Vec<u8>),
    /// End what runs.
    End,
    /// Leave it there.
    Leave,
    /// Suspend this command.
    Suspend,
    /// Show the help.
    Help,
}

/// The key that begins an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EscapeKey(Option<u8>);

impl Default for EscapeKey {
    fn default() -> Self {
        Self(Some(b'~'))
    }
}

impl EscapeKey {
    /// The lines that explain it. `stays`: what runs can be left.
    pub(super) fn help(self, stays: bool) -> String {
        let lines: &[&str] = if stays { &HELP_OF_KEPT } else { &HELP };
        lines.join("\n").replace('~', &self.shown())
    }

    /// As people write it, for a line of the help.
    fn shown(self) -> String {
        match self.0 {
            Some(key @ 0..=31) => format!("^{}", char::from(key + 64)),
            Some(key) => char::from(key).into(),
            None => String::new(),
        }
    }
}

/// A character, `^` and a letter, or `none`.
impl std::str::FromStr for EscapeKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match *text.as_bytes() {
            _ if text == "none" => Ok(Self(None)),
            [key @ 0x21..=0x7e] => Ok(Self(Some(key))),
            [b'^', key] if (0x40..0x80).contains(&key) => Ok(Self(Some(key & 0x1f))),
            _ => Err("expected a character, `^` and a letter, or `none`"),
        }
    }
}

/// Finds escapes in what is typed.
#[derive(Clone, Debug)]
pub(super) struct Escapes {
    key: Option<u8>,
    stays: bool,
    behind_enter: bool,
    held: bool,
    pasting: bool,
    recent: [u8; 6],
}

impl Escapes {
    /// `stays`: what runs can be left.
    pub(super) fn new(key: EscapeKey, stays: bool) -> Self {
        Self { key: key.0, stays, behind_enter: true, held: false, pasting: false, recent: [0; 6] }
    }

    /// Takes what was typed. A key that may begin an escape is held until the next one.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let (mut all, mut keys) = (Vec::new(), Vec::new());
        for &byte in bytes {
            self.recent.rotate_left(1);
            self.recent[5] = byte;
            let held = std::mem::take(&mut self.held);
            let ours = match byte {
                _ if !held => None,
                b'.' => Some(Typed::End),
                b'd' if self.stays => Some(Typed::Leave),
                0x1a => Some(Typed::Suspend),
                b'?' => Some(Typed::Help),
                _ => None,
            };
            if let Some(ours) = ours {
                if !keys.is_empty() {
                    all.push(Typed::Keys(std::mem::take(&mut keys)));
                }
                all.push(ours);
                self.behind_enter = true;
                continue;
            }
            if !held && self.behind_enter && !self.pasting && Some(byte) == self.key {
                self.held = true;
                continue;
            }
            if held && Some(byte) != self.key {
                keys.extend(self.key);
            }
            keys.push(byte);
            if let Some(end) = PASTE.iter().position(|mark| *mark == self.recent) {
                self.pasting = end == 0;
            }
            self.behind_enter = !self.pasting && matches!(byte, b'\r' | b'\n');
        }
        if !keys.is_empty() {
            all.push(Typed::Keys(keys));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(key: &str, keys: &str) -> String {
        all(&Escapes::new(key.parse().unwrap(), false), keys)
    }

    fn all(fresh: &Escapes, keys: &str) -> String {
        let mut results = Vec::new();
        for size in [1, 3, 1000] {
            let mut escapes = fresh.clone();
            let mut seen = String::new();
            for part in keys.as_bytes().chunks(size) {
                for typed in escapes.take(part) {
                    match typed {
                        Typed::Keys(keys) => seen += std::str::from_utf8(&keys).unwrap(),
                        typed => seen += &format!("<{typed:?}>"),
                    }
                }
            }
            results.push(seen);
        }
        assert!(results.iter().all(|seen| *seen == results[0]), "{results:?}");
        results.remove(0)
    }

    #[test]
    fn an_escape_is_found_behind_enter_only() {
        for (keys, seen) in [
            ("~.", "<End>"),
            ("a~.", "a~."),
            ("a\r~.", "a\r<End>"),
            ("a\n~\x1ab", "a\n<Suspend>b"),
            ("~?~?x", "<Help><Help>x"),
            ("~~.", "~."),
            ("~~~.", "~~."),
            ("~x~.", "~x~."),
            ("~\r~.", "~\r<End>"),
            ("ls ~/x\r", "ls ~/x\r"),
            ("\r~", "\r"),
        ] {
            assert_eq!(typed("~", keys), seen, "{keys:?}");
        }
    }

    #[test]
    fn what_stays_can_be_left() {
        let kept = |keys| all(&Escapes::new(EscapeKey::default(), true), keys);
        assert_eq!(kept("~d"), "<Leave>");
        assert_eq!(kept("rm ~d\r~da~d\n~."), "rm ~d\r<Leave>a~d\n<End>");
        assert_eq!(typed("~", "~d"), "~d", "but nothing else");
        assert!(EscapeKey::default().help(true).contains("~d   leave"));
        assert!(!"^]".parse::<EscapeKey>().unwrap().help(false).contains('~'));
    }

    #[test]
    fn a_paste_is_never_an_escape() {
        let paste = "\x1b[200~\n~.\r~?\n\x1b[201~";
        assert_eq!(typed("~", paste), paste);
        assert_eq!(typed("~", &format!("\r{paste}~.\r~.")), format!("\r{paste}~.\r<End>"));
        assert_eq!(typed("~", &format!("\r~{paste}")), format!("\r~{paste}"));
    }

    #[test]
    fn the_key_can_be_another_or_none() {
        assert_eq!(typed("none", "\r~.\x1d."), "\r~.\x1d.");
        assert_eq!(typed("^]", "\r~.\r\x1d."), "\r~.\r<End>");
        assert_eq!(typed("%", "%.~."), "<End>~.");
        for wrong in ["", "ab", "^", "^\u{e4}", "\u{e4}", "\t", " "] {
            assert_eq!(wrong == "^", wrong.parse::<EscapeKey>().is_ok(), "{wrong:?}");
        }
        assert_eq!(["~", "^]"].map(|key| key.parse::<EscapeKey>().unwrap().shown()), ["~", "^]"]);
    }
}
