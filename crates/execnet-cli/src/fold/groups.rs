//! Which answers are equal, and when they are shown. Pure: times are arguments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use execnet_proto::spec::sets::natural_order;

use super::End;
use super::answer::Key;

/// How long to wait for more answers at least, once some have come.
const QUIET: Duration = Duration::from_secs(2);

/// Answers that were not shown yet, in groups of equal ones.
#[derive(Debug)]
pub(crate) struct Groups<A> {
    groups: BTreeMap<Key, Group<A>>,
    /// How long the slowest answer took.
    slowest: Duration,
    last: Option<Instant>,
    shown: bool,
}

/// Equal answers.
#[derive(Debug)]
pub(crate) struct Group<A> {
    /// Whose they are.
    pub(crate) names: Vec<String>,
    pub(crate) answer: A,
    pub(crate) end: End,
}

impl<A> Groups<A> {
    pub(crate) fn new() -> Self {
        Self { groups: BTreeMap::new(), slowest: Duration::ZERO, last: None, shown: false }
    }

    /// An answer came, which was asked for at this time. Returns it if there is an equal one already.
    pub(crate) fn heard(
        &mut self,
        name: String,
        key: Key,
        answer: A,
        end: End,
        asked: Instant,
        now: Instant,
    ) -> Option<A> {
        self.slowest = self.slowest.max(now.saturating_duration_since(asked));
        self.last = Some(now);
        if let Some(group) = self.groups.get_mut(&key) {
            group.names.push(name);
            return Some(answer);
        }
        self.groups.insert(key, Group { names: vec![name], answer, end });
        None
    }

    /// When to show what came, unless more comes: when nothing came for as long as the slowest took. Once
    /// some were shown, others are as they come.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let last = self.last.filter(|_| !self.groups.is_empty())?;
        Some(if self.shown { last } else { last + self.slowest.max(QUIET) })
    }

    pub(crate) fn has_shown(&self) -> bool {
        self.shown
    }

    /// The groups to show now, the largest first, then by name. With `all`, no more answers are waited for.
    pub(crate) fn due(&mut self, now: Instant, all: bool) -> Vec<Group<A>> {
        if !all && self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.shown |= !self.groups.is_empty();
        let mut due: Vec<Group<A>> = std::mem::take(&mut self.groups).into_values().collect();
        due.iter_mut().for_each(|group| natural_order(&mut group.names));
        let mut first: Vec<&str> = due.iter().map(|group| group.names[0].as_str()).collect();
        natural_order(&mut first);
        let rank: BTreeMap<String, usize> =
            first.into_iter().enumerate().map(|(at, name)| (name.to_owned(), at)).collect();
        due.sort_by_key(|group| (std::cmp::Reverse(group.names.len()), rank.get(&group.names[0]).copied()));
        due
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    fn names<A>(due: &[Group<A>]) -> Vec<String> {
        due.iter().map(|group| group.names.join(",")).collect()
    }

    #[test]
    fn the_largest_group_comes_first_and_names_are_in_their_order() {
        let begin = Instant::now();
        let mut groups = Groups::new();
        for (name, answer) in [("n10", 1), ("n2", 1), ("x", 2), ("n1", 3), ("b", 2), ("n9", 4)] {
            groups.heard(name.into(), key(answer), answer, End::Fine, begin, begin);
        }
        assert!(groups.due(begin, false).is_empty());
        assert_eq!(names(&groups.due(begin, true)), ["b,x", "n2,n10", "n1", "n9"]);
        assert!(groups.due(begin, true).is_empty());
    }

    #[test]
    fn answers_wait_for_as_long_as_the_slowest_took() {
        let begin = Instant::now();
        let mut groups = Groups::new();
        assert_eq!(groups.deadline(), None);
        groups.heard("a".into(), key(1), (), End::Fine, begin, begin + SECOND / 10);
        assert_eq!(groups.deadline(), Some(begin + SECOND / 10 + QUIET));
        groups.heard("b".into(), key(1), (), End::Fine, begin, begin + 9 * SECOND);
        groups.heard("c".into(), key(1), (), End::Fine, begin + 9 * SECOND, begin + 10 * SECOND);
        assert_eq!(groups.deadline(), Some(begin + 19 * SECOND));
        assert!(groups.due(begin + 18 * SECOND, false).is_empty());
        assert_eq!(names(&groups.due(begin + 19 * SECOND, false)), ["a,b,c"]);
        assert_eq!(groups.deadline(), None);
        groups.heard("d".into(), key(1), (), End::Fine, begin, begin + 20 * SECOND);
        assert_eq!(names(&groups.due(begin + 20 * SECOND, false)), ["d"], "later ones as they come");
    }

    proptest! {
        #[test]
        fn every_answer_is_shown_once_with_its_equals(
            answers in prop::collection::vec((0_u8..6, 0_u64..4_000, any::<bool>()), 1..60),
        ) {
            let begin = Instant::now();
            let (mut now, mut groups) = (begin, Groups::new());
            let (mut seen, mut kept): (BTreeMap<String, u8>, i32) = (BTreeMap::new(), 0);
            let mut check = |due: Vec<Group<u8>>, kept: &mut i32| {
                let sizes: Vec<usize> = due.iter().map(|group| group.names.len()).collect();
                assert!(sizes.is_sorted_by(|one, other| one >= other));
                let different: BTreeSet<u8> = due.iter().map(|group| group.answer).collect();
                assert_eq!(different.len(), due.len(), "equal ones are one group");
                for group in due {
                    *kept -= 1;
                    for name in group.names {
                        assert_eq!(seen.insert(name, group.answer), None);
                    }
                }
            };
            for (number, (answer, later, look)) in answers.iter().enumerate() {
                now += Duration::from_millis(*later);
                if *look {
                    check(groups.due(now, false), &mut kept);
                }
                let same = groups.heard(format!("h{number}"), key(*answer), *answer, End::Fine, begin, now);
                kept += i32::from(same.is_none());
            }
            check(groups.due(now, true), &mut kept);
            prop_assert_eq!(kept, 0, "nothing is held any more");
            let told = answers.iter().enumerate();
            let told: BTreeMap<String, u8> =
                told.map(|(number, (answer, ..))| (format!("h{number}"), *answer)).collect();
            prop_assert_eq!(seen, told);
        }
    }
}
