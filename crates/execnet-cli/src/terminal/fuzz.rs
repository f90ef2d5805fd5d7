//! Old output that is shown again asks a terminal nothing and sets no title, whatever it is.

use super::replay::Replay;

/// Shows what is in `bytes` behind the first one, which says how it comes.
pub(crate) fn replay(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let mut replay = if how & 1 == 0 { Replay::default() } else { Replay::of_part() };
    for part in bytes.chunks(usize::from(how) / 2 + 1) {
        replay.pass(part);
    }
    let shown = replay.shown();
    Terminal::default().take(&shown);
    let mut again = Replay::default();
    again.pass(&shown);
    assert_eq!(again.shown(), shown);
}

/// A terminal that breaks if it is asked for something. After the state machine of vt100.net, which VTE and
/// others follow, with all of 8-bit controls, as in xterm.
#[derive(Default)]
struct Terminal {
    at: At,
}

#[derive(Default)]
enum At {
    #[default]
    Text,
    Escape,
    Intermediate,
    /// With parameters and intermediates.
    Control(Vec<u8>),
}

impl Terminal {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let chunk = bytes.utf8_chunks().next();
            let (valid, invalid) = chunk.map(|chunk| (chunk.valid(), chunk.invalid())).unwrap_or_default();
            valid.chars().for_each(|char| self.step(char.into()));
            // whoever does not know UTF-8 sees these
            invalid.iter().for_each(|byte| self.step((*byte).into()));
            bytes = &bytes[valid.len() + invalid.len()..];
        }
    }

    fn step(&mut self, code: u32) {
        assert!(code != 5, "ENQ");
        self.at = match (std::mem::take(&mut self.at), code) {
            (_, 0x1b) => At::Escape,
            (_, 0x18 | 0x1a) => At::Text,
            (_, 0x9b) => At::Control(Vec::new()),
            (_, 0x90 | 0x98 | 0x9a | 0x9d..=0x9f) => panic!("{code:x}"),
            (_, 0x80..=0x9f) => At::Text,
            // acts at once, or is ignored; the sequence goes on
            (at, ..0x20 | 0x7f) => at,
            (At::Escape, 0x5b) => At::Control(Vec::new()),
            (At::Escape, 0x50 | 0x58 | 0x5a | 0x5d..=0x5f) => panic!("ESC {code:x}"),
            (At::Escape | At::Intermediate, 0x20..0x30) => At::Intermediate,
            (At::Control(parameters), 0x40..0x7f) => {
                control(&parameters, code as u8);
                At::Text
            }
            (At::Control(mut parameters), 0x20..0x40) => {
                parameters.push(code as u8);
                At::Control(parameters)
            }
            _ => At::Text,
        };
    }
}

/// What xterm answers, in the order of its list.
fn control(parameters: &[u8], last: u8) {
    let private = parameters.first().filter(|first| (0x3c..0x40).contains(*first)).copied();
    let between = match parameters {
        [.., 0x20..0x30, 0x20..0x30] => return,
        [.., last @ 0x20..0x30] => Some(*last),
        _ => None,
    };
    let asks = match between {
        None if matches!(last, b'c' | b'i' | b'n' | b't' | b'x') => true,
        None if private == Some(b'?') => matches!(last, b'm' | b'S' | b'u'),
        None => private == Some(b'>') && last == b'q',
        Some(b'$') => matches!(last, b'p' | b'u' | b'w'),
        Some(b'&') => last == b'u',
        Some(b'*') => last == b'y',
        Some(b'"') => last == b'v',
        Some(b'#') => matches!(last, b'R' | b'|'),
        Some(b'\'') => last == b'|',
        Some(_) => false,
    };
    assert!(!asks, "CSI {} {}", String::from_utf8_lossy(parameters), char::from(last));
}

#[cfg(test)]
mod tests {
    use super::replay;

    #[test]
    fn random_output_asks_nothing() {
        let alphabet = b"\x1b\x1b\x1b\x1b[[[]P_^X(# $&'\"*?>0156;;cnmqpuhltxyRS|\
            \x05\x07\x18\\\n\x7fa\xc2\x9b\x9d\xe2\x82";
        let mut random = 1_u64;
        for length in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..length % 40 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push(alphabet[(random >> 33) as usize % alphabet.len()]);
            }
            replay(&bytes);
        }
    }

    #[test]
    fn the_corpus_holds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/replay");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            replay(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0);
    }
}
