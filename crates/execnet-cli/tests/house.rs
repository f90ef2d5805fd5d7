//! The house is as docs/ARCHITECTURE.md draws it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Our crates, and which of ours each may use outside its tests.
const ALLOWED: [(&str, &[&str]); 6] = [
    ("execnet-proto", &[]),
    ("execnet", &["execnet-proto"]),
    ("execnet-daemon", &["execnet-proto"]),
    ("execnet-cli", &["execnet", "execnet-daemon", "execnet-proto"]),
    ("execnet-python", &["execnet"]),
    ("execnet-testkit", &[]),
];

/// What brings IO along.
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let text = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("crates/{name}/")), "{name}");
    }
    assert!(text.lines().count() < 300);
}
