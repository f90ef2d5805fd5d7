//! Sets against ClusterShell, which people know them from. `scripts/test` installs it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the oracle is another program, in an environment that a variable names"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use execnet_proto::spec::sets::{MAX_NAMES, NodeSet, fold};
use fastrand::Rng;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

/// The environment with ClusterShell that `scripts/test` makes.
fn venv() -> Option<PathBuf> {
    let venv = std::env::var_os("EXECNET_TEST_VENV").map(PathBuf::from);
    assert!(
        venv.is_some() || std::env::var_os("CI").is_none(),
        "EXECNET_TEST_VENV is not set; run scripts/test"
    );
    if venv.is_none() {
        println!(
            "skipped, because EXECNET_TEST_VENV names no environment with ClusterShell: run scripts/test"
        );
    }
    venv
}

#[derive(Deserialize)]
struct Answers {
    sets: Vec<Option<BTreeSet<String>>>,
    folds: Vec<String>,
}

fn ask(venv: &std::path::Path, sets: &[String], folds: &[Vec<String>]) -> Answers {
    let mut oracle = Command::new(venv.join("bin/python"))
        .args(["-c", include_str!("sets_oracle.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({ "sets": sets, "folds": folds }).to_string();
    oracle.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let answer = oracle.wait_with_output().unwrap();
    assert!(answer.status.success(), "the oracle failed; has {} ClusterShell?", venv.display());
    serde_json::from_slice(&answer.stdout).unwrap()
}

fn pick<'a>(rng: &mut Rng, all: &[&'a str]) -> &'a str {
    all[rng.usize(..all.len())]
}

fn number(rng: &mut Rng) -> String {
    let number = if rng.u8(..8) == 0 { rng.u32(..1_200) } else { rng.u32(..14) };
    let width = [0, 0, 0, 2, 3][rng.usize(..5)];
    format!("{number:0width$}")
}

/// Numbers and ranges, of which some cannot be.
fn bracket(rng: &mut Rng) -> String {
    let parts: Vec<String> = (0..=rng.usize(..3))
        .map(|_| {
            let first = number(rng);
            let width = if first.starts_with('0') { first.len() } else { 0 };
            match rng.u8(..6) {
                0 | 1 => first,
                2 => format!("{first}-{}", number(rng)),
                kind => {
                    let last = first.parse::<u32>().unwrap() + rng.u32(..25);
                    let step = if kind == 5 { format!("/{}", rng.u32(1..6)) } else { String::new() };
                    format!("{first}-{last:0width$}{step}")
                }
            }
        })
        .collect();
    format!("[{}]", parts.join(if rng.u8(..8) == 0 { " , " } else { "," }))
}

/// A name, perhaps with brackets.
fn operand(rng: &mut Rng) -> String {
    let begin = pick(rng, &["a", "n", "web-", "a.b", "x:", ""]);
    let mut text = begin.to_owned();
    match rng.u8(..8) {
        0 if !begin.is_empty() => {}
        0..=2 => text += &number(rng),
        _ => text += &bracket(rng),
    }
    match rng.u8(..8) {
        0 => text += pick(rng, &["-x", ".example.org", ":cpython", "n"]),
        1 => text += &format!("n{}", bracket(rng)),
        2 => text += &format!(":py{}.{}", rng.u8(..4), number(rng)),
        _ => {}
    }
    text
}

/// Operands and operators, and sometimes a slip.
fn set(rng: &mut Rng) -> String {
    let mut text = operand(rng);
    for _ in 0..rng.usize(..5) {
        let sign = pick(rng, &[",", ",", ",", "!", "&", "^", " , ", "! ", " &", ",!"]);
        text += &format!("{sign}{}", operand(rng));
    }
    if rng.u8(..8) == 0 {
        let at = rng.usize(..=text.len());
        match rng.u8(..3) {
            0 if at < text.len() => drop(text.remove(at)),
            1 => text.insert_str(at, pick(rng, &[",", "!", "&", "^", "[", "]", "-", "/", "0", "1", " "])),
            _ => text.truncate(at),
        }
    }
    text
}

/// Why ours may differ from ClusterShell's.
fn deviation(text: &str) -> Option<&'static str> {
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = dense.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    if dense.is_empty() {
        return Some("an empty set is refused");
    }
    if dense.starts_with('!') {
        return Some("`!x` means all but x");
    }
    for (at, _) in text.match_indices(' ') {
        let (before, after) = (text[..at].trim_end(), text[at..].trim_start());
        let inside = before.matches('[').count() > before.matches(']').count();
        let free = |c: Option<char>| c.is_none_or(|c| ",!&^".contains(c));
        if !inside && !free(before.chars().last()) && !free(after.chars().next()) {
            return Some("a name has no spaces");
        }
    }
    if text.split('[').any(|part| part.split_once(']').map_or(part, |(_, name)| name).contains('/')) {
        return Some("a name has no slashes");
    }
    for (at, _) in dense.match_indices('[') {
        let inside = dense[at + 1..].split(']').next().unwrap_or_default();
        if inside.split(',').any(|part| part.starts_with('-') || part.matches('-').count() > 1) {
            return Some("there are no negative numbers");
        }
        // the one difference in zeros that ClusterShell lets pass
        if inside.split(',').any(|part| part.starts_with("0-00")) {
            return Some("zeros in front are as many at both ends");
        }
        // ClusterShell takes digits beside a bracket into its numbers: `a1[8-10]` has 93 names there
        if at > 0 && (digit(at - 1) || bytes[at - 1] == b']') {
            return Some("what stands beside a bracket is text");
        }
        let end = at + inside.len() + 2;
        if digit(end) || bytes.get(end) == Some(&b'[') {
            return Some("what stands beside a bracket is text");
        }
    }
    None
}

#[test]
fn sets_stand_for_what_clustershell_says() {
    let Some(venv) = venv() else { return };
    let mut rng = Rng::with_seed(14);
    let sets: Vec<String> = (0..8_000).map(|_| set(&mut rng)).collect();
    // behind a comma, ClusterShell refuses our `!`, which means the same without the comma
    let asked: Vec<String> = sets.iter().map(|set| set.replace(",!", "!").replace(", !", "!")).collect();
    let answers = ask(&venv, &asked, &[]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (text, theirs) in sets.iter().zip(answers.sets) {
        let ours = text.parse::<NodeSet>().and_then(|set| set.names());
        let too_many = ours.as_ref().is_err_and(|error| error.to_string().contains("at most 65536"));
        let ours: Option<BTreeSet<String>> = ours.ok().map(|names| names.into_iter().collect());
        let why = if too_many { Some("a set has an end") } else { deviation(text) };
        let kind = why.unwrap_or(if theirs.is_some() { "understood by both" } else { "refused by both" });
        *counts.entry(kind).or_default() += 1;
        if why.is_none() && ours != theirs {
            let few = |names: Option<BTreeSet<String>>| Some(names?.into_iter().take(20).collect::<Vec<_>>());
            panic!("{text:?}: {:?}, {:?}", few(ours), few(theirs));
        }
    }
    println!("{counts:?}");
    assert!(counts["understood by both"] > 3_000 && counts["refused by both"] > 300, "{counts:?}");
}

/// Names of a few shapes, so that many of them belong together.
fn names(rng: &mut Rng, fields: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..=rng.usize(..60) {
        let name = match rng.u8(..10) {
            0 => pick(rng, &["a", "ab", "a-b", "login", "a.b", "z:cpython"]).to_owned(),
            n if fields == 1 => {
                let end = if n > 7 { "-x" } else { "" };
                format!("{}{}{end}", pick(rng, &["a", "a", "a-", "b", "web", ""]), number(rng))
            }
            _ => format!("r{}n{}", rng.u32(1..4), rng.u32(..8)),
        };
        names.push(name);
    }
    names
}

#[test]
fn names_fold_as_in_clustershell() {
    let Some(venv) = venv() else { return };
    let mut rng = Rng::with_seed(15);
    let mut all: Vec<Vec<String>> = (0..2_000).map(|_| names(&mut rng, 1)).collect();
    // with several numbers, what folds into one set folds as there
    for _ in 0..500 {
        let (rows, columns) = (rng.u32(1..5), rng.u32(1..12));
        let of_row = |row: u32| (1..=columns).map(move |column| format!("r{row}n{column:02}-ib0"));
        all.push((1..=rows).flat_map(of_row).collect());
    }
    let answers = ask(&venv, &[], &all);
    for (names, theirs) in all.iter().zip(answers.folds) {
        let folded = fold(names);
        assert_eq!(folded.set, theirs, "{names:?}");
        assert_eq!(folded.count, names.iter().collect::<BTreeSet<_>>().len());
    }
}

#[test]
fn what_was_folded_unfolds_to_the_same_names_here_and_in_clustershell() {
    let Some(venv) = venv() else { return };
    let mut rng = Rng::with_seed(16);
    // ClusterShell may choose other sets for these, which stand for the same names
    let all: Vec<Vec<String>> = (0..2_000).map(|n| names(&mut rng, 1 + n % 2)).collect();
    let folded: Vec<String> = all.iter().map(|names| fold(names).set).collect();
    let answers = ask(&venv, &folded, &[]);
    for ((names, set), theirs) in all.iter().zip(&folded).zip(answers.sets) {
        let names: BTreeSet<String> = names.iter().cloned().collect();
        let ours: BTreeSet<String> = set.parse::<NodeSet>().unwrap().names().unwrap().into_iter().collect();
        assert_eq!(ours, names, "{set}");
        assert_eq!(theirs, Some(names), "{set}");
    }
}

fn needs_network(set: &NodeSet) -> bool {
    set.is_all_but() || set.groups().next().is_some()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_is_a_set_or_refused_in_a_line(
        text in "[ab019\\[\\]/,!&^@ .:é\x1b-]{0,24}|.{0,40}",
    ) {
        match text.parse::<NodeSet>() {
            Ok(set) => {
                let bounded = set.names().is_ok_and(|names| names.len() <= MAX_NAMES);
                prop_assert!(bounded || needs_network(&set));
            }
            Err(error) => {
                let said = error.to_string();
                prop_assert!(said.len() < 1_000 && !said.contains(['\x1b', '\n']), "{said}");
            }
        }
    }

    #[test]
    fn any_names_fold(names in proptest::collection::vec("[a0-9\0]{0,30}|.{0,20}", 0..30)) {
        let folded = fold(&names);
        prop_assert_eq!(folded.count, names.iter().collect::<BTreeSet<_>>().len());
    }
}
