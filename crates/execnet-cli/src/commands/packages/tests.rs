use std::time::Duration;

use super::*;
use crate::style;

fn stored(title: &str, size: u64, files: u64, used: u64, in_use: bool) -> Stored {
    let mut stored = Stored::default();
    (stored.id, stored.title, stored.size, stored.files) = ("ab".into(), title.into(), size, files);
    (stored.used, stored.in_use, stored.place) = (Duration::from_secs(used), in_use, "/tmp/x".into());
    stored
}

fn visited<T>(host: &str, outcome: Result<T, &str>) -> Visited<T> {
    Visited { host: host.into(), outcome: outcome.map_err(str::to_owned) }
}

#[test]
fn packages_are_listed_below_their_hosts() {
    let hosts = [
        visited(
            "build1",
            Ok(vec![
                stored("pytest, attrs", 2_000_000, 560, 7_300, true),
                stored("./s\x1brc", 900, 1, 3, false),
            ]),
        ),
        visited("build2", Ok(vec![])),
        visited("build3", Err("unreachable")),
    ];
    insta::assert_snapshot!(style::plain(&listed(&hosts)), @r"
    HOST / PACKAGES  SIZE     FILES  LAST USE  IN USE
    build1           1.9 MiB  561    -         -
      pytest, attrs  1.9 MiB  560    2 h ago   yes
      ./s\x1brc      900 B    1      3 s ago   no
    build2           -        -      -         -
    ");
    assert_eq!(listed(&hosts[2..]), "");
}

#[test]
fn what_is_unfinished_has_no_folder_of_its_own() {
    let mut unfinished = stored("unfinished", 5, 1, 0, true);
    unfinished.id = String::new();
    let json = stored_json(&[stored("attrs", 900, 1, 3, false), unfinished]);
    let folders = json["packages"].as_array().unwrap();
    assert_eq!(folders.iter().map(|folder| &folder["folder"]).collect::<Vec<_>>(), ["/tmp/x/ab", "/tmp/x"]);
}

#[test]
fn what_was_removed_is_told_with_what_stays() {
    let mut done = Cleaned::default();
    assert_eq!(cleaned("a", &done), "a: nothing to remove");
    (done.removed, done.bytes) = (1, 2048);
    assert_eq!(cleaned("a", &done), "a: removed 1 folder of packages, 2.0 KiB");
    done.removed = 2;
    done.in_use = vec!["pytest".into(), "s\x1brc".into()];
    assert_eq!(
        cleaned("a", &done),
        r"a: removed 2 folders of packages, 2.0 KiB; in use, so kept: pytest; s\x1brc"
    );
    done.in_use = ["pytest", "attrs", "pytest"].map(str::to_owned).into();
    done.in_use.extend((1..=9).map(|n| format!("./{n}")));
    assert_eq!(
        cleaned("a", &done).split_once("kept: ").unwrap().1,
        "pytest (2); attrs; ./1; ./2; ./3; ./4; ./5; ./6; and 3 more"
    );
}

#[test]
fn a_host_is_asked_through_its_best_node() {
    use execnet_proto::control::{HostState, NodeState, NodeStatus};

    let node = |name: &str, implementation: &str, version: &str, state| NodeStatus {
        name: name.into(),
        implementation: implementation.into(),
        version: version.into(),
        state,
        ..NodeStatus::default()
    };
    let mut host = HostStatus { id: "a".into(), state: HostState::Up, ..HostStatus::default() };
    for (name, implementation, version) in [
        ("a:jython2.7", "jython", "2.7.3"),
        ("a:cpython2.7", "cpython", "2.7.18"),
        ("a:pypy3.9", "pypy", "3.9.16"),
        ("a:cpython3.8", "cpython", "3.8.18"),
    ] {
        host.nodes.push(node("a:broken", "cpython", "3.13.0", NodeState::Failed));
        host.nodes.push(node(name, implementation, version, NodeState::Ready));
        assert_eq!(visit::destination(&host, false), Ok(name));
    }
    host.nodes.truncate(1);
    assert_eq!(visit::destination(&host, true), Err("it has no working Python".into()));
    host.nodes.push(node("a:x", "", "", NodeState::Probing));
    assert_eq!(visit::destination(&host, false), Ok("a"));
    host.state = HostState::Unreachable;
    host.error = Some("no route".into());
    assert_eq!(visit::destination(&host, false), Err("unreachable: no route".into()));
    assert_eq!(visit::destination(&host, true), Ok("a"), "it may be back soon");
    host.state = HostState::Failed;
    assert!(visit::destination(&host, true).is_err());
}
