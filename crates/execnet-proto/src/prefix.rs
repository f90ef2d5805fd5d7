//! With what the stdin of every process of a kind begins (docs/protocol.md, SPAWN): a host may give it ahead
//! to a process that waits for the next SPAWN.

use bytes::Bytes;

use crate::feature::Feature;
use crate::stream::Violation;
use crate::wire::{Role, Spawn};

/// The most bytes that a prefix has.
pub const LONGEST: usize = 262_144;

/// The first bytes of stdin that all processes like it are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    bytes: Bytes,
    sha256: [u8; 32],
}

impl Prefix {
    /// These bytes, which have this hash. None if there are none, or more than [`LONGEST`].
    pub fn new(bytes: impl Into<Bytes>, sha256: [u8; 32]) -> Option<Self> {
        let bytes = bytes.into();
        (1..=LONGEST).contains(&bytes.len()).then_some(Self { bytes, sha256 })
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The option of a SPAWN that names it. `like`: how many processes like this one its client has on the
    /// node at a time, this one included.
    pub(crate) fn option(&self, like: usize) -> (String, Bytes) {
        let hash: String = self.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let like = like.clamp(1, usize::from(u16::MAX));
        (Feature::Prefix.name().to_owned(), format!("{} {hash} {like}", self.bytes.len()).into())
    }
}

/// The length of the prefix that a SPAWN names; 0 if it names none.
///
/// # Errors
/// If it is not what an agent takes for one.
pub(crate) fn length(spawn: &Spawn) -> Result<u64, Violation> {
    let Some((_, text)) = spawn.options.iter().find(|(key, _)| key == Feature::Prefix.name()) else {
        return Ok(0);
    };
    let digits = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok());
    let words = std::str::from_utf8(text).ok().map(|text| text.split(' ').collect::<Vec<_>>());
    let length = words.as_deref().and_then(|words| {
        let [length, hash, like] = words else { return None };
        let hash_is = hash.len() == 64 && hash.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
        let like: u64 = digits(like)??;
        let length: u64 = digits(length)??;
        let good = hash_is && (1..=u64::from(u16::MAX)).contains(&like) && spawn.role == Role::Ahead;
        (good && (1..=LONGEST as u64).contains(&length)).then_some(length)
    });
    length.ok_or(Violation::Unexpected("SPAWN with a prefix that cannot be one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ClientId, Incarnation, ProcessId};
    use crate::wire::Table;

    fn spawn(options: Table, role: Role) -> Spawn {
        Spawn {
            id: ProcessId([1; 16]),
            attempt: 0,
            incarnation: Incarnation([2; 16]),
            owner: ClientId([3; 16]),
            role,
            stdout_limit: 0,
            stderr_limit: 0,
            host: "h".into(),
            node: "h".into(),
            chdir: String::new(),
            args: Vec::new(),
            env: Table::new(),
            options,
        }
    }

    #[test]
    fn an_option_names_it() {
        let prefix = Prefix::new(&b"abc"[..], [0xab; 32]).unwrap();
        let (key, text) = prefix.option(70_000);
        assert_eq!((key.as_str(), &text[..]), ("prefix", format!("3 {} 65535", "ab".repeat(32)).as_bytes()));
        let said = |text: String, role| length(&spawn(vec![("prefix".into(), text.into())], role));
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert_eq!(said(text.clone(), Role::Ahead), Ok(3));
        assert_eq!(length(&spawn(Table::new(), Role::Plain)), Ok(0));
        assert!(said(text.clone(), Role::Plain).is_err());
        for (from, to) in [
            ("3 ", "0 "),
            ("3 ", "+3 "),
            ("3 ", "262145 "),
            ("3 ", "\u{663} "),
            ("3 ", ""),
            (" 65535", " 0"),
            (" 65535", " 65536"),
            (" 65535", ""),
            ("abab", "ABAB"),
            ("abab", "ab"),
            (" ", "  "),
        ] {
            assert!(said(text.replacen(from, to, 1), Role::Ahead).is_err(), "{from} {to}");
        }
        assert_eq!(Prefix::new(Bytes::new(), [0; 32]), None);
        assert_eq!(Prefix::new(vec![0; LONGEST + 1], [0; 32]), None);
    }
}
