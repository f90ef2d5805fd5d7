//! Files as people write them, before and after changes.

use super::*;

fn file(text: &str) -> NetworkFile {
    NetworkFile::parse(Path::new("mynet.toml"), text, true).unwrap_or_else(|failure| panic!("{failure}"))
}

fn refused(text: &str) -> String {
    NetworkFile::parse(Path::new("mynet.toml"), text, true).unwrap_err().to_string()
}

fn host(text: &str) -> HostSpec {
    text.parse().unwrap()
}

fn added(text: &str, spec: &str) -> String {
    let mut file = file(text);
    file.add(&host(spec)).unwrap();
    let text = file.text();
    assert_eq!(NetworkFile::parse(Path::new("x"), &text, true).unwrap().hosts, file.hosts, "{text}");
    text
}

fn removed(text: &str, id: &str) -> String {
    let mut file = file(text);
    assert!(file.remove(id));
    let text = file.text();
    assert_eq!(NetworkFile::parse(Path::new("x"), &text, true).unwrap().hosts, file.hosts, "{text}");
    text
}

const LINES: &str = "# our machines
linger = \"10m\"

hosts = [
    # the fast ones
    \"ssh=a\", # first
    \"ssh=b\", # second
    # more to come
] # end
";

#[test]
fn a_host_is_added_in_the_layout_that_is_there() {
    assert_eq!(added("", "ssh=a"), "hosts = [\n    \"ssh=a\",\n]\n");
    assert_eq!(added("hosts = []\n", "ssh=a"), "hosts = [\"ssh=a\"]\n");
    assert_eq!(added("hosts = ['ssh=a'] # x\n", "ssh=b"), "hosts = ['ssh=a', \"ssh=b\"] # x\n");
    assert_eq!(added("hosts = [ 'ssh=a', ]\n", "ssh=b"), "hosts = [ 'ssh=a', \"ssh=b\"]\n");
    assert_eq!(
        added("hosts = [\n  'ssh=a' # one\n]\n", "ssh=b"),
        "hosts = [\n  'ssh=a', # one\n  \"ssh=b\",\n]\n"
    );
    assert_eq!(
        added("hosts = [\n  # none yet\n]\n", "ssh=b"),
        "hosts = [\n  # none yet\n    \"ssh=b\",\n]\n"
    );
    assert_eq!(
        added(LINES, "ssh=c"),
        LINES.replace("    # more to come\n", "    # more to come\n    \"ssh=c\",\n")
    );
}

#[test]
fn a_host_is_listed_as_drained_and_no_more() {
    let changed = |text: &str, id: &str, drained: bool| {
        let mut file = file(text);
        assert!(file.set_drained(id, drained) && !file.set_drained(id, drained), "{text}");
        let text = file.text();
        assert_eq!(NetworkFile::parse(Path::new("x"), &text, true).unwrap().drained, file.drained, "{text}");
        text
    };
    for (before, id, after) in [
        ("", "a", "drained = [\"a\"]\n"),
        (LINES, "a", &format!("{LINES}drained = [\"a\"]\n")),
        ("drained = ['a'] # for a week\n", "b", "drained = ['a', \"b\"] # for a week\n"),
        ("drained = [] # none now\n", "b", "drained = [\"b\"] # none now\n"),
        (
            "# broken\ndrained = [\n  'a', # disk\n]\n",
            "b",
            "# broken\ndrained = [\n  'a', # disk\n  \"b\",\n]\n",
        ),
    ] {
        assert_eq!(changed(before, id, true), after);
        assert_eq!(changed(after, id, false), before);
    }
    assert_eq!(
        changed("drained = [\n  'a',\n  # the disk\n]\n", "a", false),
        "drained = [\n  # the disk\n]\n"
    );
    assert!(refused("drained = 'a'").contains("`drained` is not a list of ids of hosts"));
    assert!(refused("drained = [1]").contains("`drained` is not a list of ids of hosts"));
}

#[test]
fn a_host_is_removed_with_nothing_but_its_own_line() {
    assert_eq!(removed(LINES, "a"), LINES.replace("    \"ssh=a\", # first\n", ""));
    assert_eq!(removed(LINES, "b"), LINES.replace("    \"ssh=b\", # second\n", ""));
    assert_eq!(
        removed(&removed(LINES, "b"), "a"),
        "# our machines\nlinger = \"10m\"\n\nhosts = [\n    # the fast ones\n    # more to come\n] # end\n"
    );
    assert_eq!(removed("hosts = ['ssh=a', 'ssh=b', 'ssh=c']", "a"), "hosts = ['ssh=b', 'ssh=c']\n");
    assert_eq!(removed("hosts = ['ssh=a', 'ssh=b', 'ssh=c']", "b"), "hosts = ['ssh=a', 'ssh=c']\n");
    assert_eq!(removed("hosts = ['ssh=a', 'ssh=b', 'ssh=c']", "c"), "hosts = ['ssh=a', 'ssh=b']\n");
    assert_eq!(removed("hosts = ['ssh=a']", "a"), "hosts = []\n");
    assert_eq!(removed("hosts = [\n  'ssh=a'\n]", "a"), "hosts = [\n]\n");
}

#[test]
fn lines_end_as_they_did() {
    assert_eq!(
        added("# a\r\nhosts = [\r\n  \"popen\", # c\r\n]\r\n", "ssh=b"),
        "# a\r\nhosts = [\r\n  \"popen\", # c\r\n  \"ssh=b\",\r\n]\r\n"
    );
}

#[test]
fn a_host_that_is_there_is_not_added_again() {
    assert_eq!(added(LINES, "ssh=a"), LINES);
    let mut file = file(LINES);
    let failure = file.add(&host("ssh=a//python=pypy3")).unwrap_err();
    insta::assert_snapshot!(failure, @"
    Error: mynet.toml already has a host `a` with a different spec: ssh=a
    Hint: give the new host another id (`//id=NAME`), or correct the spec of `a` in mynet.toml
    ");
}

#[test]
fn a_wrong_file_is_told_by_line_or_key() {
    insta::assert_snapshot!(refused("hosts = [\n  \"ssh=a\"\n  \"ssh=b\"\n]\n"), @"
    Error: mynet.toml: line 3: missing comma between array elements, expected `,`
    Hint: correct mynet.toml
    ");
    insta::assert_snapshot!(refused("host = [\"ssh=a\"]\n"), @"
    Error: mynet.toml: `host` is not a key of a network's file; did you mean `hosts`?
    Hint: its keys are `hosts` (host specs), `linger`, `drained` (ids) and `groups` (sets)
    ");
    insta::assert_snapshot!(refused("hosts = \"ssh=a\"\n"), @r#"
    Error: mynet.toml: `hosts` is not a list of host specs: hosts = ["ssh=build1"]
    Hint: correct mynet.toml
    "#);
    insta::assert_snapshot!(refused("hosts = [\"ssh=a//pyton=x\"]\n"), @"
    Error: mynet.toml: `ssh=a//pyton=x` is not a host spec
    Caused by: `pyton` is not a key of a host spec; did you mean `python`?
    Hint: correct mynet.toml
    ");
    insta::assert_snapshot!(refused("hosts = [\"ssh=a\", \"ssh=x//id=a\"]\n"), @"
    Error: mynet.toml: its hosts contradict each other
    Caused by: two hosts have the id `a`
    Hint: give one of them another id with `//id=NAME`
    ");
    insta::assert_snapshot!(refused("linger = \"soon\"\n"), @r#"
    Error: mynet.toml: `linger` is not a time
    Hint: write it as "90s", "10m" or "2h", at most 24 days
    "#);
}

#[test]
fn groups_are_sets_by_name_that_may_name_each_other() {
    for text in [
        "hosts = []\n\n[groups]\nweb = \"web[1-20]\" # behind the proxy\nall = \"@web,db1\"\n",
        "groups = { web = \"web[1-20]\", all = \"@web,db1\" }\nhosts = []\n",
    ] {
        let groups = file(text).groups().to_texts();
        let told: Vec<_> = groups.iter().map(|(name, set)| (name.as_str(), set.as_str())).collect();
        assert_eq!(told, [("all", "@web,db1"), ("web", "web[1-20]")]);
        // a change of the hosts leaves them as they are
        assert_eq!(removed(&added(text, "ssh=a"), "a").replace("[\n]", "[]"), text);
    }
    insta::assert_snapshot!(refused("groups = [\"web1\"]\n"), @r#"
    Error: mynet.toml: `groups` is not a table of sets: [groups] and below it web = "web[1-20]"
    Hint: correct mynet.toml
    "#);
    let said = refused("[groups]\nweb = \"web[1-\"\n");
    let begin =
        "Error: mynet.toml: the group `web` cannot be read: `web[1-` is not a set of nodes: the bracket at ";
    assert!(said.starts_with(begin), "{said}");
    insta::assert_snapshot!(refused("[groups]\na = \"@b\"\nb = \"x,@a\"\n"), @"
    Error: mynet.toml: groups name each other in a circle: @a names @b names @a
    Hint: correct mynet.toml
    ");
    let mut own = file("[groups]\nweb = \"web1\"\n");
    own.add_groups(file("[groups]\nweb = \"other\"\nall = \"@web,db\"\n").groups()).unwrap();
    assert_eq!(own.text(), "[groups]\nweb = \"web1\"\nall = \"@web,db\"\n");
    let mut own = file("hosts = [\"ssh=a\"]\n");
    own.add_groups(file("[groups]\nweb = \"a\"\n").groups()).unwrap();
    assert_eq!(own.text(), "hosts = [\"ssh=a\"]\n\n[groups]\nweb = \"a\"\n");
}

#[test]
fn linger_is_a_time() {
    for (text, seconds) in [("\"90s\"", 90), ("\"10m\"", 600), ("\"2 h\"", 7_200), ("45", 45), ("\"0\"", 0)] {
        assert_eq!(file(&format!("linger = {text}")).linger(), Some(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["-1", "\"\"", "\"m\"", "\"1w\"", "true", "\"25d\"", "\"99999999999999999999d\""] {
        assert!(refused(&format!("linger = {text}")).contains("`linger` is not a time"), "{text}");
    }
}

#[test]
fn hosts_must_fit_together() {
    let checked = |specs: &[&str]| {
        let hosts: Vec<HostSpec> = specs.iter().map(|spec| host(spec)).collect();
        check(&hosts, &Groups::new([("gate", "gate[1-2]")]).unwrap())
    };
    assert!(checked(&["ssh=c//via=b", "ssh=a", "ssh=b//via=a"]).is_ok());
    assert!(checked(&["ssh=c//via=@gate", "ssh=gate2"]).is_ok());
    insta::assert_snapshot!(checked(&["ssh=c//via=@gates", "ssh=gate2"]).unwrap_err(), @"
    Error: `c` is reached via `@gates`, which is not a group of this network
    Hint: did you mean `via=@gate`?
    ");
    insta::assert_snapshot!(checked(&["ssh=c//via=@web", "ssh=gate2"]).unwrap_err(), @r#"
    Error: `c` is reached via `@web`, which is not a group of this network
    Hint: name it in the network's file: `[groups]` and below it `web = "HOST,HOST"`
    "#);
    insta::assert_snapshot!(checked(&["ssh=c//via=@gate", "ssh=gate"]).unwrap_err(), @"
    Error: `c` is reached via `@gate`, and no host of that group can lead to it
    Hint: add hosts of `@gate` that are reached without it, or correct the group
    ");
    insta::assert_snapshot!(checked(&["ssh=build1", "ssh=c//via=biuld1"]).unwrap_err(), @"
    Error: `c` is reached via `biuld1`, which is not a host of this network
    Hint: did you mean `via=build1`?
    ");
    insta::assert_snapshot!(checked(&["ssh=c//via=gate"]).unwrap_err(), @"
    Error: `c` is reached via `gate`, which is not a host of this network
    Hint: add the host `gate` first
    ");
    let circle = checked(&["ssh=a//via=b", "ssh=b//via=c", "ssh=c//via=b"]).unwrap_err();
    insta::assert_snapshot!(circle, @"
    Error: hosts are reached through each other in a circle: a via b via c via b
    ");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let path = std::env::temp_dir().join(format!("execnet-config-pipe-{}", std::process::id()));
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let failure = NetworkFile::load(&path).unwrap_err();
    fs::remove_file(&path).unwrap();
    assert!(failure.to_string().contains("is not a file"), "{failure}");
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let folder = std::env::temp_dir().join(format!("execnet-config-{}", std::process::id()));
    let path = folder.join("net").join("mynet.toml");
    let mut file = NetworkFile::edit(&path).unwrap();
    assert!(!file.existed);
    file.add(&host("ssh=a")).unwrap();
    drop(file.prepare().unwrap());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    file.prepare().unwrap().commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "hosts = [\n    \"ssh=a\",\n]\n");
    assert_eq!(NetworkFile::load(&path).unwrap().hosts(), file.hosts());

    let link = folder.join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut file = NetworkFile::load(&link).unwrap();
    file.remove("a");
    file.prepare().unwrap().commit().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&path).unwrap(), "hosts = [\n]\n");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn two_commands_that_change_a_file_take_turns() {
    let folder = std::env::temp_dir().join(format!("execnet-turns-{}", std::process::id()));
    let path = folder.join("mynet.toml");
    let add = &|id: u32| {
        let mut file = NetworkFile::edit(&path).unwrap();
        file.add(&host(&format!("ssh=h//id=h{id}"))).unwrap();
        file.prepare().unwrap().commit().unwrap();
    };
    std::thread::scope(|scope| {
        for id in 0..8 {
            scope.spawn(move || add(id));
        }
    });
    assert_eq!(NetworkFile::load(&path).unwrap().hosts().len(), 8);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    // a write to /dev/full fails as on a full disk
    let error = File::options().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
    insta::assert_snapshot!(CommandError::file("write", Path::new("mynet.toml"), &error), @"
    Error: cannot write mynet.toml
    Caused by: No space left on device (os error 28)
    Hint: make room on that disk; nothing was changed
    ");
}
