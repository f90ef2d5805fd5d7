//! Checks that the repository matches docs/ARCHITECTURE.md and docs/security.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our crates, and those of ours that each may use outside its tests.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("execnet-proto", &[]),
    ("execnet", &["execnet-proto"]),
    ("execnet-daemon", &["execnet-proto"]),
    ("execnet-cli", &["execnet", "execnet-daemon", "execnet-proto"]),
    ("execnet-python", &["execnet"]),
    ("execnet-testkit", &[]),
];

/// Crates that do IO.
const IO: [&str; 5] = ["tokio", "rustix", "mio", "nix", "signal-hook"];

fn normal_dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), names.collect())
        })
        .collect()
}

#[test]
fn arrows_point_down_only() {
    let dependencies = normal_dependencies();
    let ours: Vec<_> = dependencies.keys().cloned().collect();
    let mut known: Vec<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(ours, known, "a new crate needs its line here and in docs/ARCHITECTURE.md");
    for (name, allowed) in ALLOWED {
        for dependency in &dependencies[name] {
            let fine = !ours.contains(dependency) || allowed.contains(&dependency.as_str());
            assert!(fine, "{name} must not use {dependency}");
        }
    }
    for dependency in &dependencies["execnet-proto"] {
        assert!(!IO.contains(&dependency.as_str()), "the protocol does no IO: {dependency}");
    }
    assert!(!dependencies["execnet"].contains(&"tokio".to_owned()), "the client library is blocking");
}

#[test]
fn every_crate_and_folder_stands_in_the_architecture() {
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("crates/{name}/")), "{name}");
    }
    assert!(text.lines().count() < 150);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Rust and Python files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "py") {
            found.push(path);
        }
    }
}

/// Whether a file's text has a test of this name.
fn has_test(file: &str, text: &str, name: &str) -> bool {
    if file.ends_with(".py") {
        let defined = format!("def {name}(");
        return name.starts_with("test_") && text.lines().any(|line| line.trim_start().starts_with(&defined));
    }
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let at =
        lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&format!("fn {name}(")));
    let above = |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    at.is_some_and(|at| above(at).any(|line| matches!(*line, "#[test]" | "#[tokio::test]")))
}

/// Errors in the promises of a threat model: rows without a test, and tests that do not exist.
fn unheld(document: &str, files: &[PathBuf]) -> Vec<String> {
    let promises =
        document.split("\n## ").find(|part| part.starts_with("What is promised")).unwrap_or_default();
    let rows = promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise |"));
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows {
        count += 1;
        let tests: Vec<_> = row.split('`').filter_map(|word| word.split_once("::")).collect();
        if tests.is_empty() {
            wrong.push(format!("without a test: {row}"));
        }
        for (file, name) in tests {
            let named: Vec<_> = files.iter().filter(|path| path.ends_with(file)).collect();
            let [path] = named[..] else {
                wrong.push(format!("{file} is {} files", named.len()));
                continue;
            };
            if !has_test(file, &std::fs::read_to_string(path).unwrap(), name) {
                wrong.push(format!("{file} has no test {name}"));
            }
        }
    }
    if count < 20 {
        wrong.push(format!("there are {count} promises"));
    }
    wrong
}

#[test]
fn each_promise_of_the_threat_model_is_held_by_tests_that_exist() {
    let mut files = Vec::new();
    ["crates", "python", "remote"].iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let document = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let wrong = unheld(&document, &files);
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (from, to, wrong) in [
        ("::test_linger`", "::test_lingers`", "outliving.py has no test test_lingers"),
        ("`quota.rs::who_says_much_has_a_line_a_minute`", "`quota.rs::take`", "quota.rs has no test take"),
        ("`quota.rs::", "`quotas.rs::", "quotas.rs is 0 files"),
        ("`system/ends.rs::", "`ends.rs::", "ends.rs is 2 files"),
        ("## What is promised", "## Promises", "there are 0 promises"),
    ] {
        let wrongs = unheld(&document.replace(from, to), &files);
        assert_eq!(wrongs.first().map(String::as_str), Some(wrong), "{from} is {to}");
    }
}
