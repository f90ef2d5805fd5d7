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
}
