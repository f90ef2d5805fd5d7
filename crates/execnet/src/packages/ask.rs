//! What a kernel says before HELLO about its packages. Every byte of it may be hostile.

use crate::value::{Dialect, Reading, StrConfig, Value};

/// The payload of one PACKAGES frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Ask {
    /// What the interpreter is.
    Facts(Value),
    /// Another gateway brings the same to that host.
    Waits(String),
    /// The manifests of these sets are missing there.
    Lacks(Vec<usize>),
    /// These files are missing there.
    Wants(Vec<Wanted>),
}

/// Files of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The set's number.
    pub(crate) set: usize,
    /// A bit for each file, the lowest first.
    pub(crate) bits: Vec<u8>,
}

impl Ask {
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Facts(_) => "facts",
            Self::Waits(_) => "waits",
            Self::Lacks(_) => "lacks",
            Self::Wants(_) => "wants",
        }
    }

    pub(crate) fn read(payload: &[u8]) -> Result<Self, String> {
        // bytes are written alike by every Python; its text is always `u`
        let strconfig = StrConfig { py2str_as_py3str: false, py3str_as_py2str: false };
        let reading = Reading { dialect: Dialect::Two, strconfig, ..Reading::default() };
        let value = Value::decode(payload, reading).map_err(|error| format!("PACKAGES: {error}"))?;
        let Value::Tuple(parts) = value else { return Err("PACKAGES: no tuple".into()) };
        let mut parts = parts.into_iter();
        let verb = parts.next().unwrap_or_default();
        let verb = verb.as_str().ok_or("PACKAGES: no verb")?;
        let (content, surplus) = (parts.next(), parts.next());
        let wrong = || format!("PACKAGES: a wrong `{verb}`");
        let content = content.filter(|_| surplus.is_none()).ok_or_else(wrong)?;
        match (verb, content) {
            ("facts", facts @ Value::Dict(_)) => Ok(Self::Facts(facts)),
            ("waits", Value::Str(text)) => Ok(Self::Waits(text.to_string_lossy().into_owned())),
            ("lacks", Value::List(sets)) => {
                let sets = sets.iter().map(index).collect::<Option<_>>();
                sets.map(Self::Lacks).ok_or_else(wrong)
            }
            ("wants", Value::List(wanted)) => {
                let wanted = wanted.into_iter().map(Wanted::read).collect::<Option<_>>();
                wanted.map(Self::Wants).ok_or_else(wrong)
            }
            ("facts" | "waits" | "lacks" | "wants", _) => Err(wrong()),
            _ => Err("PACKAGES: an unknown verb".into()),
        }
    }
}

impl Wanted {
    fn read(value: Value) -> Option<Self> {
        let Value::Tuple(parts) = value else { return None };
        let [set, Value::Bytes(bits)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
        Some(Self { set: index(&set)?, bits })
    }

    /// The numbers of the files, of which the set has this many.
    pub(crate) fn files(&self, count: usize) -> Result<Vec<usize>, String> {
        if self.bits.len() != count.div_ceil(8) {
            return Err(format!("PACKAGES: {} bytes of bits for {count} files", self.bits.len()));
        }
        let is_set = |at: &usize| self.bits[at / 8] >> (at % 8) & 1 == 1;
        let all: Vec<usize> = (0..self.bits.len() * 8).filter(is_set).collect();
        match all.last() {
            Some(&last) if last >= count => Err("PACKAGES: a file that does not exist is wanted".into()),
            _ => Ok(all),
        }
    }
}

fn index(value: &Value) -> Option<usize> {
    value.as_int().and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Container, Writer, Writing};

    fn frame(verb: &str, content: &Value) -> Vec<u8> {
        let mut writer = Writer::new(Writing::default());
        writer.begin(Container::Tuple).unwrap();
        writer.str(verb).unwrap();
        content.write(&mut writer).unwrap();
        writer.end();
        writer.finish().unwrap().as_bytes().to_vec()
    }

    #[test]
    fn what_kernels_say_is_read() {
        let read = |verb: &str, content: Value| Ask::read(&frame(verb, &content)).unwrap();
        let facts = Value::Dict(vec![("digest".into(), "ab".into())]);
        assert_eq!(read("facts", facts.clone()), Ask::Facts(facts));
        assert_eq!(read("waits", "for gw1".into()), Ask::Waits("for gw1".into()));
        assert_eq!(read("lacks", Value::List(vec![0.into(), 2.into()])), Ask::Lacks(vec![0, 2]));
        let wanted = Value::Tuple(vec![1.into(), Value::Bytes(vec![0b101, 1])]);
        let wanted = read("wants", Value::List(vec![wanted]));
        assert_eq!(wanted, Ask::Wants(vec![Wanted { set: 1, bits: vec![0b101, 1] }]));
    }

    #[test]
    fn anything_else_is_an_error() {
        for (verb, content) in [
            ("facts", Value::None),
            ("facts", "text".into()),
            ("waits", Value::Bytes(b"for gw1".to_vec())),
            ("lacks", Value::List(vec![Value::Int(-1)])),
            ("lacks", Value::List(vec!["0".into()])),
            ("lacks", Value::Tuple(vec![Value::Int(0)])),
            ("wants", Value::List(vec![Value::Int(0)])),
            ("wants", Value::List(vec![Value::Tuple(vec![Value::Int(0)])])),
            ("wants", Value::List(vec![Value::Tuple(vec![Value::Int(0), "\u{1}".into()])])),
            ("sets", Value::List(vec![])),
            ("", Value::None),
        ] {
            assert!(Ask::read(&frame(verb, &content)).is_err(), "{verb} {content:?}");
        }
        for bytes in [&b""[..], b"N", b"(\0\0\0\0", b"(\x01\0\0\0u\x05\0\0\0facts", b"[\x01\0\0\0N"] {
            assert!(Ask::read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn bits_name_files_that_exist() {
        let files = |bits: &[u8], count| Wanted { set: 0, bits: bits.to_vec() }.files(count);
        assert_eq!(files(&[0b1000_0001, 0b1], 9), Ok(vec![0, 7, 8]));
        assert_eq!(files(&[0, 0], 9), Ok(vec![]));
        assert_eq!(files(&[], 0), Ok(vec![]));
        assert!(files(&[0, 0b10], 9).is_err());
        assert!(files(&[0], 9).is_err() && files(&[0, 0, 0], 9).is_err() && files(&[0], 0).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            noise: Vec<u8>,
            at: proptest::sample::Index,
            byte: u8,
            count in 0_usize..99,
        ) {
            let _ = Ask::read(&noise);
            let wanted = Value::Tuple(vec![1.into(), Value::Bytes(vec![0b101, 1])]);
            let mut payload = frame("wants", &Value::List(vec![wanted]));
            let at = at.index(payload.len());
            payload[at] = byte;
            if let Ok(Ask::Wants(wanted)) = Ask::read(&payload) {
                for wanted in wanted {
                    let files = wanted.files(count).unwrap_or_default();
                    assert!(files.iter().all(|&file| file < count));
                }
            }
        }
    }
}
