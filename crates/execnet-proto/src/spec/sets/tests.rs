use super::*;

fn names(text: &str) -> String {
    text.parse::<NodeSet>().unwrap().names().unwrap().join(" ")
}

fn refused(text: &str) -> String {
    text.parse::<NodeSet>().unwrap_err().to_string()
}

#[test]
fn operators_are_evaluated_from_left_to_right() {
    for (set, all) in [
        ("b,a", "a b"),
        ("a[1-5]!a[2-3]&a[1-10]", "a1 a4 a5"),
        ("a,b!b,c", "a c"),
        ("a1,b1^b1,c", "a1 c"),
        ("a[1-3],!a2,b", "a1 a3 b"),
        ("a ! b , c", "a c"),
        ("r[1-2]n[3-4]", "r1n3 r1n4 r2n3 r2n4"),
        ("r[1-2][3-4]", "r13 r14 r23 r24"),
        ("n[01-10/3,15]", "n01 n04 n07 n10 n15"),
        ("n[ 9 - 11 , 1 ]:cpython3.11", "n1:cpython3.11 n9:cpython3.11 n10:cpython3.11 n11:cpython3.11"),
    ] {
        assert_eq!(names(set), all, "{set}");
    }
    assert_eq!("a!a".parse::<NodeSet>().unwrap().names().unwrap(), [""; 0]);
}

#[test]
fn a_text_that_is_no_set_is_refused_with_a_sentence_that_says_where() {
    for (text, said) in [
        ("", "is empty"),
        (" ", "is empty"),
        ("a,,b", "missing between `,` and `,b`"),
        ("a,&b", "missing between `,` and `&b`"),
        ("a!!b", "missing between `!` and `!b`"),
        ("&a", "missing before the first `&`"),
        ("a,", "missing behind the last `,`"),
        ("!", "missing behind the last `!`"),
        ("a b", "by commas, not by spaces: `,b`"),
        ("a[1 b", "bracket at `[1 b` is not closed"),
        ("a[1[2]", "bracket at `[1[2]` is not closed"),
        ("a]b", "no `[` before `]b`"),
        ("a[]", "number is missing at `]`"),
        ("a[1,,2]", "number is missing at `,2]`"),
        ("a[x]", "`x` is not a range of numbers; write `1-20`"),
        ("a[1-]", "`1-` is not a range"),
        ("a[-1]", "`-1` is not a range"),
        ("a[1-2-3]", "`1-2-3` is not a range"),
        ("a[3-1]", "`3-1` ends before it begins"),
        ("a[01-100]", "`01-100` differ in their zeros"),
        ("a[1-5/0]", "step of `1-5/0` is 0"),
        ("a[1/2]", "`1/2` has a step and no end"),
        ("a[1000000000000000000]", "more than 18 digits"),
        ("web*", "no wildcards (`*`)"),
        ("@*", "no wildcards"),
        ("@", "does not begin with the name of a group"),
        ("@web[1-2]", "does not begin with the name of a group"),
        ("@slurm:web", "names a source of groups; groups come from the network's file alone"),
        ("é1", "no name has the character at `é1`"),
        ("a=b", "no name has the character at `=b`"),
        ("a\x1b[2J", r"no name has the character at `\x1b[2J`"),
        ("a[1-9999999]", "it stands for 9999999 names; at most 65536"),
        ("a[1-40000],a[1-40000]", "with `a[1-40000]` it stands for 80000 names"),
        ("a[1-999999]b[1-999999]c[1-999999]d[1-999999]", "at most 65536"),
    ] {
        let error = refused(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(refused(&"a".repeat(300)).contains("too long"), "{}", refused(&"a".repeat(300)));
    assert!(refused(&"a,".repeat(MAX_TEXT)).len() < 300);
    let at_the_limit = format!("a[1-{MAX_NAMES}]");
    assert_eq!(at_the_limit.parse::<NodeSet>().unwrap().names().unwrap().len(), MAX_NAMES);
}

#[test]
fn names_fold_to_a_set_in_natural_order_with_their_count() {
    for (names, set) in [
        ("", ""),
        ("build3 build1 web01 build7 build2", "build[1-3,7],web01"),
        ("a1 a01 a001 a10", "a[1,01,10,001]"),
        ("a9 a10 a09 a11 a011", "a[9,09-11,011]"),
        ("a98 a99 a100 a0100", "a[98-100,0100]"),
        ("a098 a099 a100 a999 a1000", "a[098-100,999-1000]"),
        ("b2 a10 a9 z c", "a[9-10],b2,c,z"),
        ("n1-ib0 n2-ib0", "n[1-2]-ib0"),
        ("10.0.0.1 10.0.0.2", "10.0.0.[1-2]"),
        ("r1n1 r1n2 r2n1 r2n2", "r[1-2]n[1-2]"),
        ("r1n1 r1n2 r2n2", "r1n[1-2],r2n2"),
        ("b1:cpython3.11 b2:cpython3.11 b2:pypy3.9", "b[1-2]:cpython3.11,b2:pypy3.9"),
        ("a a", "a"),
        ("a1234567890123456789 a1234567890123456790", "a1234567890123456789,a1234567890123456790"),
        ("a\0 a1 a2", "a\0,a[1-2]"),
    ] {
        assert_eq!(fold(names.split(' ').filter(|name| !name.is_empty())).set, set, "{names}");
    }
    let folded = fold(["a1", "a2", "a1", "b"]);
    assert_eq!((format!("{folded}"), format!("{folded:#}")), ("a[1-2],b".into(), "a[1-2],b (3)".into()));
}

#[test]
fn big_sets_take_no_more_than_their_size() {
    let all: Vec<String> =
        (0..MAX_NAMES).map(|n| format!("r{}n{}x{}", n / 4096, n / 64 % 64, n % 64)).collect();
    let folded = fold(&all);
    assert_eq!((folded.set.as_str(), folded.count), ("r[0-15]n[0-63]x[0-63]", MAX_NAMES));
    let odd: Vec<String> = (0..MAX_NAMES).map(|n| format!("r{n}n{}x{}", n * 7 % 65_521, n * 3)).collect();
    assert_eq!(fold(&odd).count, MAX_NAMES);
    let deep: Vec<String> = (0..10_000).map(|n| format!("{}{n}", "1.2:".repeat(30))).collect();
    assert!(fold(&deep).set.ends_with(":[0-9999]"));
    let many = format!("a[1-60000]{}", "&a[1-2]".repeat(2_000));
    assert_eq!(names(&many), "a1 a2");
}

fn groups(pairs: &[(&str, &str)]) -> Groups {
    Groups::new(pairs.iter().copied()).unwrap()
}

#[test]
fn groups_name_only_groups_and_no_circle() {
    let refused = |pairs: &[(&str, &str)]| Groups::new(pairs.iter().copied()).unwrap_err().to_string();
    let error = refused(&[("all", "@web,@db"), ("db", "d1,@all"), ("web", "w1")]);
    assert_eq!(error, "groups name each other in a circle: @all names @db names @all");
    assert_eq!(refused(&[("a", "@a")]), "groups name each other in a circle: @a names @a");
    let error = refused(&[("web", "w1"), ("all", "x,@wbe")]);
    assert_eq!(error, "the group `all` names `@wbe`, which is not a group; did you mean `@web`?");
    assert!(refused(&[("web", "w[1")]).starts_with("the group `web` cannot be read: `w[1` is not a set"));
    assert!(refused(&[("@web", "w")]).starts_with("`@web` cannot be the name of a group"));
    let many: Vec<String> = (0..2_000).map(|n| format!("g{n}")).collect();
    assert!(Groups::new(many.iter().map(|name| (name.as_str(), "a"))).is_err());
    // each group names the one before twice: no more work than there are groups
    let texts: Vec<(String, String)> =
        (1..1_000).map(|n| (format!("g{n}"), format!("@g{},@g{}", n - 1, n - 1))).collect();
    let texts = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).chain([("g0", "a")]);
    let groups = Groups::new(texts).unwrap();
    let universe = Universe::new([member("a", &["a"], true)], &groups);
    assert!(universe.choose(Some(&"@g999".parse().unwrap())).unwrap().has("a", "a"));
}

fn member<'a>(id: &'a str, nodes: &[&'a str], settled: bool) -> Member<'a> {
    Member { id, nodes: nodes.to_vec(), settled }
}

/// What is chosen: nodes, and `HOST:?` for unknown ones.
fn chosen(text: &str) -> Result<String, String> {
    let groups = groups(&[("web", "web[1-3]"), ("some", "@web!web2"), ("old", "web[8-9]")]);
    let hosts = [
        member("web1", &["web1"], true),
        member("web2", &["web2"], true),
        member("web3", &["web3"], true),
        member("b", &["b:cpython3.11", "b:pypy3.9"], true),
        member("new", &["new:cpython3.11"], false),
        member("down", &[], true),
    ];
    let universe = Universe::new(hosts.clone(), &groups);
    let chosen = universe.choose(Some(&text.parse().unwrap())).map_err(|error| match error.near() {
        Some(near) => format!("{error}; {near}?"),
        None => error.to_string(),
    })?;
    let mut all = Vec::new();
    for host in hosts {
        let nodes = host.nodes.iter().filter(|node| chosen.has(host.id, node));
        all.extend(nodes.map(|node| (*node).to_owned()));
        all.extend(chosen.may_have(host.id).then(|| format!("{}:?", host.id)));
        let named = chosen.hosts().any(|id| id == host.id);
        assert_eq!(named, all.iter().any(|name| name.split(':').next() == Some(host.id)));
    }
    Ok(all.join(" "))
}

#[test]
fn a_set_chooses_nodes_by_their_names_and_those_of_hosts_and_groups() {
    for (set, nodes) in [
        ("web1", "web1"),
        ("b", "b:cpython3.11 b:pypy3.9"),
        ("b:pypy3.9", "b:pypy3.9"),
        ("b!b:pypy3.9", "b:cpython3.11"),
        ("@web,!web2", "web1 web3"),
        ("@some", "web1 web3"),
        ("@some^@web", "web2"),
        ("!@web", "b:cpython3.11 b:pypy3.9 new:cpython3.11 new:? down:?"),
        ("!b:pypy3.9&b", "b:cpython3.11"),
        ("!@web!new,!b!down,web1", "web1"),
        ("new", "new:cpython3.11 new:?"),
        ("new:pypy3.9", "new:?"),
        ("new!new:pypy3.9", "new:cpython3.11 new:?"),
        ("new&new:pypy3.9", "new:?"),
        ("new^new:pypy3.9", "new:cpython3.11 new:?"),
        ("new:cpython3.11", "new:cpython3.11"),
        ("down:pypy3", "down:?"),
    ] {
        assert_eq!(chosen(set).as_deref(), Ok(nodes), "{set}");
    }
}

#[test]
fn what_a_set_cannot_mean_is_named() {
    for (set, said) in [
        ("web[1-5]", "there is no host or node `web[4-5]`"),
        ("wbe1", "there is no host or node `wbe1`; web1?"),
        ("b:jython2.7", "there is no host or node `b:jython2.7`"),
        ("!wbe1", "there is no host or node `wbe1`; web1?"),
        ("web1&other", "there is no host or node `other`"),
        ("@old", "there is no host or node `web[8-9]`, which the group `@old` names"),
        ("@wbe", "there is no group `@wbe`; there are `@old`, `@some`, `@web`; @web?"),
        ("web1!@web", "`web1!@web` stands for no node at all"),
    ] {
        let error = chosen(set).unwrap_err();
        assert!(error.starts_with(said), "{set}: {error}");
    }
    let none = Groups::default();
    let universe = Universe::new([member("a", &["a"], true)], &none);
    let error = universe.choose(Some(&"@web".parse().unwrap())).unwrap_err().to_string();
    assert!(error.contains("the network has no groups: its file names them"), "{error}");
    assert!(universe.choose(None).unwrap().has("a", "a"));
    assert_eq!(Universe::new([], &none).choose(None).unwrap().hosts().count(), 0);
}

#[test]
fn a_name_is_told_from_a_set() {
    let plain = |text: &str| text.parse::<NodeSet>().unwrap().plain().map(str::to_owned);
    assert_eq!(plain(" build1:cpython3.11 ").as_deref(), Some("build1:cpython3.11"));
    for set in ["a,b", "a[1]", "@a", "!a"] {
        assert_eq!(plain(set), None, "{set}");
    }
    assert!("!a".parse::<NodeSet>().unwrap().is_all_but() && !"a!b".parse::<NodeSet>().unwrap().is_all_but());
}
