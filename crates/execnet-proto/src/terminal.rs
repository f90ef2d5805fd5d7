//! The size of a process's terminal, as SPAWN states it.

use bytes::Bytes;

use crate::feature::Feature;
use crate::wire::Table;

/// Rows and columns of a terminal; 0 where a number is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    /// Its height, in lines.
    pub rows: u16,
    /// Its width, in characters.
    pub columns: u16,
}

impl TerminalSize {
    /// The option of a SPAWN that asks for a terminal of this size.
    pub fn option(self) -> (String, Bytes) {
        let Self { rows, columns } = self;
        (Feature::Terminal.name().to_owned(), format!("{rows} {columns}").into())
    }

    /// The size that these options of a SPAWN ask for, if they ask for a terminal. A text that is no size
    /// counts as an unknown one: the agent refuses it.
    pub fn asked(options: &Table) -> Option<Self> {
        let (_, text) = options.iter().find(|(key, _)| key == Feature::Terminal.name())?;
        let text = std::str::from_utf8(text).ok().and_then(|text| text.split_once(' '));
        let size = text.and_then(|(rows, columns)| {
            Some(Self { rows: rows.parse().ok()?, columns: columns.parse().ok()? })
        });
        Some(size.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_says_the_size() {
        for size in [(24, 80), (0, 0), (65_535, 1)].map(|(rows, columns)| TerminalSize { rows, columns }) {
            assert_eq!(TerminalSize::asked(&vec![size.option()]), Some(size));
        }
        assert_eq!(TerminalSize { rows: 24, columns: 80 }.option().1, "24 80");
        let odd = |text: &'static str| vec![("terminal".to_owned(), Bytes::from(text))];
        assert_eq!(TerminalSize::asked(&odd("24")), Some(TerminalSize::default()));
        assert_eq!(TerminalSize::asked(&Vec::new()), None);
    }
}
