//! Properties that hold whatever a host says. The targets in fuzz/ try them on bytes that reach new code; the
//! tests here on a few, and on those in fuzz/corpus/ that once reached something new.

pub use crate::copy::fuzz::fetch;
pub use crate::gateway::fuzz::kernel;
pub use crate::packages::supply::fuzz::packages;
pub use crate::value::fuzz::values;

use crate::value::{Value, Writer, Writing};

/// Bytes that decide; zeros once they are used up.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(crate) fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    pub(crate) fn bytes(&mut self, most: u8) -> &'a [u8] {
        let length = usize::from(self.below(most)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// Small most of the time, sometimes anything.
    pub(crate) fn number(&mut self) -> i64 {
        let near = i64::from(self.byte());
        match self.below(8) {
            0..=4 => near,
            5 => -1 - near,
            6 => i64::MAX - near,
            _ => near << self.below(56),
        }
    }

    pub(crate) fn text(&mut self) -> String {
        match self.below(6) {
            0 => String::new(),
            1 => "a".into(),
            2 => "b".into(),
            3 => "\u{1b}[2J".into(),
            _ => String::from_utf8_lossy(self.bytes(70)).into_owned(),
        }
    }

    pub(crate) fn value(&mut self, depth: u8) -> Value {
        let more = if depth == 0 { 6 } else { 9 };
        match self.below(more) {
            0 => Value::None,
            1 => Value::Bool(self.below(2) == 1),
            2 | 3 => Value::Int(self.number()),
            4 => Value::Bytes(self.bytes(40).to_vec()),
            5 => self.text().as_str().into(),
            6 => Value::List((0..self.below(5)).map(|_| self.value(depth - 1)).collect()),
            7 => Value::Tuple((0..self.below(8)).map(|_| self.value(depth - 1)).collect()),
            _ => Value::Dict((0..self.below(4)).map(|_| (self.value(0), self.value(depth - 1))).collect()),
        }
    }
}

/// A value as a kernel writes it.
pub(crate) fn encoded(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new(Writing::default());
    let written = value.write(&mut writer).and_then(|()| writer.finish());
    written.expect("a value that can be sent").as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a target of fuzz/ does.
    type Target = fn(&[u8]);

    proptest! {
        #[test]
        fn a_gateway_survives_its_kernel(bytes in vec(any::<u8>(), 0..1_000)) {
            kernel(&bytes);
        }

        #[test]
        fn packages_survive_their_kernel(bytes in vec(any::<u8>(), 0..400)) {
            packages(&bytes);
        }

        #[test]
        fn values_are_values_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            values(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

        #[test]
        fn what_is_fetched_stays_in_its_folder(bytes in vec(any::<u8>(), 0..400)) {
            fetch(&bytes);
        }
    }

    #[test]
    fn the_corpus_holds() {
        let targets: [(&str, Target); 4] =
            [("kernel", kernel), ("packages", packages), ("values", values), ("fetch", fetch)];
        for (name, target) in targets {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/").to_owned() + name;
            let mut count = 0;
            for entry in std::fs::read_dir(&folder).unwrap() {
                target(&std::fs::read(entry.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{folder} is empty");
        }
    }
}
