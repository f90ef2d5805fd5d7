//! Writes names as a set: `build[1-3,7],web01`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Digits of the longest number that counts as one; longer ones are text.
const MAX_DIGITS: usize = 18;

/// How many numbers of a name may vary: the last ones. What else is a number is text.
const MAX_FIELDS: usize = 8;

/// Names as a set. `{}` writes the set, `{:#}` also how many names it has: `build[1-3] (3)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Folded {
    /// The set.
    pub set: String,
    /// How many different names it has.
    pub count: usize,
}

impl fmt::Display for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => write!(f, "{} ({})", self.set, self.count),
            false => f.write_str(&self.set),
        }
    }
}

/// Folds names to a set that stands for exactly these: `a1`, `a2`, `a3` to `a[1-3]`, in natural order. Zeros
/// in front stay: `a1` and `a01` are two names. Names with several numbers fold where all of them do:
/// `r[1-2]n[1-4]`.
pub fn fold<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Folded {
    let names: Vec<T> = names.into_iter().collect();
    let mut shapes: BTreeMap<(String, usize), Vec<Vec<&str>>> = BTreeMap::new();
    for name in &names {
        let (shape, numbers) = shape(name.as_ref());
        shapes.entry((shape, numbers.len())).or_default().push(numbers);
    }
    let (mut sets, mut count) = (Vec::new(), 0);
    for ((shape, _), mut rows) in shapes {
        rows.sort_by(|one, other| compare(one, other));
        rows.dedup();
        count += rows.len();
        sets.extend(merge(&rows).iter().map(|fields| written(&shape, fields)));
    }
    Folded { set: sets.join(","), count }
}

/// Sorts names as people would: `a2` before `a10`, what belongs to a set together.
pub fn natural_order<T: AsRef<str>>(names: &mut Vec<T>) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    {
        let shapes: Vec<(String, Vec<&str>)> = names.iter().map(|name| shape(name.as_ref())).collect();
        order.sort_by(|one, other| {
            let ((shape, numbers), (other_shape, others)) = (&shapes[*one], &shapes[*other]);
            shape.cmp(other_shape).then_with(|| compare(numbers, others))
        });
    }
    let mut places: Vec<Option<T>> = names.drain(..).map(Some).collect();
    names.extend(order.into_iter().filter_map(|at| places[at].take()));
}

/// The character that stands for a number in a shape. It sorts before all that names have.
const NUMBER: char = '\0';

/// A name without its numbers, and these. A name with that character has none.
fn shape(name: &str) -> (String, Vec<&str>) {
    if name.contains(NUMBER) {
        return (name.to_owned(), Vec::new());
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut begun = None;
    for (at, byte) in name.bytes().chain([b' ']).enumerate() {
        match (byte.is_ascii_digit(), begun) {
            (true, None) => begun = Some(at),
            (false, Some(from)) => {
                begun = None;
                if at - from <= MAX_DIGITS {
                    runs.push((from, at));
                }
            }
            _ => {}
        }
    }
    let mut shape = String::with_capacity(name.len());
    let mut numbers = Vec::new();
    let mut done = 0;
    for (from, to) in runs.iter().skip(runs.len().saturating_sub(MAX_FIELDS)) {
        shape.push_str(&name[done..*from]);
        shape.push(NUMBER);
        numbers.push(&name[*from..*to]);
        done = *to;
    }
    shape.push_str(&name[done..]);
    (shape, numbers)
}

fn compare(one: &[&str], other: &[&str]) -> std::cmp::Ordering {
    let by_number = |number: &&str| number.len();
    let pairs = one.iter().zip(other);
    let mut orders = pairs.map(|(a, b)| by_number(a).cmp(&by_number(b)).then_with(|| a.cmp(b)));
    orders.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

/// Lists of values, each once, so that lists are compared by their numbers.
#[derive(Default)]
struct Lists<'a> {
    all: Vec<Vec<&'a str>>,
    known: HashMap<Vec<&'a str>, usize>,
}

impl<'a> Lists<'a> {
    fn number(&mut self, list: Vec<&'a str>) -> usize {
        match self.known.entry(list) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.all.push(entry.key().clone());
                *entry.insert(self.all.len() - 1)
            }
        }
    }
}

/// Merges rows that differ in one number alone, the last one first, and again what has come of that. Gives
/// for each number of the shape the values that it takes, sorted: all combinations are meant.
fn merge<'a>(rows: &[Vec<&'a str>]) -> Vec<Vec<Vec<&'a str>>> {
    let mut lists = Lists::default();
    let mut entries: Vec<Vec<usize>> =
        rows.iter().map(|row| row.iter().map(|number| lists.number(vec![number])).collect()).collect();
    for field in (0..rows.first().map_or(0, Vec::len)).rev() {
        let mut groups: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut merged: Vec<(Vec<usize>, Vec<&'a str>)> = Vec::new();
        for entry in entries {
            // a number that has not had its turn has one value
            let own = lists.all[entry[field]][0];
            let mut others = entry;
            others[field] = usize::MAX;
            match groups.entry(others) {
                Entry::Occupied(group) => merged[*group.get()].1.push(own),
                Entry::Vacant(group) => {
                    merged.push((group.key().clone(), vec![own]));
                    group.insert(merged.len() - 1);
                }
            }
        }
        let whole = |(mut entry, own): (Vec<usize>, Vec<&'a str>)| {
            entry[field] = lists.number(own);
            entry
        };
        entries = merged.into_iter().map(whole).collect();
    }
    entries.iter().map(|entry| entry.iter().map(|list| lists.all[*list].clone()).collect()).collect()
}

/// A shape with the values of its numbers.
fn written(shape: &str, fields: &[Vec<&str>]) -> String {
    let mut text = String::with_capacity(shape.len());
    let mut fields = fields.iter().peekable();
    for c in shape.chars() {
        match fields.next_if(|_| c == NUMBER).map(Vec::as_slice) {
            None => text.push(c),
            Some([only]) => text.push_str(only),
            Some(values) => {
                text.push('[');
                text.push_str(&ranges(values));
                text.push(']');
            }
        }
    }
    text
}

/// `1-3,7` of sorted numbers.
fn ranges(values: &[&str]) -> String {
    let mut text = String::new();
    let mut rest = values;
    while let [first, ..] = rest {
        let run = 1 + rest.windows(2).take_while(|pair| follows(first, pair[0], pair[1])).count();
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(first);
        if run > 1 {
            text.push('-');
            text.push_str(rest[run - 1]);
        }
        rest = &rest[run..];
    }
    text
}

/// Whether a run that began with `first` goes on from `last` to `next`.
fn follows(first: &str, last: &str, next: &str) -> bool {
    let value = |digits: &str| digits.parse::<u64>().ok();
    let is_next = value(last).and_then(|last| last.checked_add(1)) == value(next);
    // a run that is padded has one width
    let padded = first.len() > 1 && first.starts_with('0');
    is_next && (last.len() == next.len() || !padded && !next.starts_with('0'))
}
