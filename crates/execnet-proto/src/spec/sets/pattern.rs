//! One operand with its brackets: `r[1-2]n[01-10/3,15]`.

use std::fmt::Write;

/// Text and brackets in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Bracket(Vec<Range>),
}

/// Numbers with at least `width` digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    /// At least 1.
    pub(super) step: u64,
    pub(super) width: usize,
}

impl Range {
    fn count(&self) -> u64 {
        (self.last - self.first) / self.step + 1
    }

    fn numbers(self) -> impl Iterator<Item = u64> {
        (0..self.count()).map(move |n| self.first + n * self.step)
    }

    fn length(&self) -> usize {
        self.width.max(self.last.checked_ilog10().unwrap_or(0) as usize + 1)
    }
}

impl Pattern {
    /// The name, if there are no brackets.
    pub(super) fn plain(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Text(name)] => Some(name),
            _ => None,
        }
    }

    /// How many names it gives, each as often as it is given.
    pub(super) fn count(&self) -> u64 {
        let counts = self.0.iter().map(|part| match part {
            Part::Text(_) => 1,
            Part::Bracket(ranges) => ranges.iter().map(Range::count).fold(0, u64::saturating_add),
        });
        counts.fold(1, u64::saturating_mul)
    }

    /// The length of its longest name, in bytes.
    pub(super) fn length(&self) -> usize {
        let lengths = self.0.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Bracket(ranges) => ranges.iter().map(Range::length).max().unwrap_or(0),
        });
        lengths.sum()
    }

    /// Calls `take` with each name, the last bracket counting fastest.
    pub(super) fn each(&self, mut take: impl FnMut(&str)) {
        /// A bracket's numbers, each with its width, and the one whose turn it is.
        type Wheel = (Vec<(u64, usize)>, usize);
        let spelt = |ranges: &[Range]| -> Wheel {
            (ranges.iter().flat_map(|range| range.numbers().map(|n| (n, range.width))).collect(), 0)
        };
        let mut wheels: Vec<Wheel> = Vec::new();
        for part in &self.0 {
            if let Part::Bracket(ranges) = part {
                wheels.push(spelt(ranges));
            }
        }
        let mut name = String::new();
        loop {
            name.clear();
            let mut at = 0;
            for part in &self.0 {
                match part {
                    Part::Text(text) => name.push_str(text),
                    Part::Bracket(_) => {
                        let (numbers, turn) = &wheels[at];
                        let (number, width) = numbers[*turn];
                        let _ = write!(name, "{number:0width$}");
                        at += 1;
                    }
                }
            }
            take(&name);
            let Some(wheel) = wheels.iter_mut().rposition(|(numbers, turn)| *turn + 1 < numbers.len()) else {
                return;
            };
            wheels[wheel].1 += 1;
            wheels[wheel + 1..].iter_mut().for_each(|(_, turn)| *turn = 0);
        }
    }
}
