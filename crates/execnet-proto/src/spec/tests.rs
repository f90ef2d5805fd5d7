//! What people write, what they get, and what they are told.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn spec(text: &str) -> HostSpec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    text.parse::<HostSpec>().expect_err(text).to_string()
}

#[test]
fn a_spec_says_how_a_host_is_reached() {
    let popen = spec("popen//python=*");
    assert_eq!((popen.id.as_str(), popen.python.as_deref()), ("local", Some("*")));

    let ssh = spec("ssh=-p 2222 -i '/my keys/id' ann@build1//python=jython//id=j1//via=gate");
    assert_eq!(ssh.id, "j1");
    assert_eq!(ssh.via.as_deref(), Some("gate"));
    let Transport::Ssh { options, destination } = &ssh.transport else { panic!("{ssh:?}") };
    assert_eq!(options, &["-p", "2222", "-i", "/my keys/id"]);
    assert_eq!(destination, "ann@build1");

    let cmd = spec("cmd=docker exec -i web//nice=5//env:A=1//env:B=x=y");
    assert_eq!(cmd.id, "docker");
    assert_eq!(cmd.transport, Transport::Cmd(["docker", "exec", "-i", "web"].map(String::from).to_vec()));
    assert_eq!(cmd.nice, Some(5));
    assert_eq!(cmd.env, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
}

#[test]
fn the_order_of_keys_does_not_matter() {
    assert_eq!(spec("id=x//python=python3//ssh=h"), spec("ssh=h//python=python3//id=x"));
}

#[test]
fn values_may_begin_and_end_with_a_slash() {
    let host = spec("ssh=h//python=/usr/bin/python3//id=x");
    assert_eq!((host.python.as_deref(), host.id.as_str()), (Some("/usr/bin/python3"), "x"));
    assert_eq!(spec("popen//chdir=/tmp").chdir.as_deref(), Some("/tmp"));
    let root = spec("popen//chdir=///id=x");
    assert_eq!((root.chdir.as_deref(), root.id.as_str()), (Some("/"), "x"));
    assert_eq!(spec("popen//chdir=/srv///id=x").chdir.as_deref(), Some("/srv/"));
    assert_eq!(
        spec("popen//chdir=/a\nb\x1b").chdir.as_deref(),
        Some("/a\nb\x1b"),
        "a folder may be called so"
    );
    assert_eq!(spec(r"popen//env:http_proxy=http:/\/proxy:3128").env[0].1, "http://proxy:3128");
    assert_eq!(spec(r"ssh=ssh:/\/ann@build1:2222").id, "build1");
}

#[test]
fn a_port_is_taken_as_people_write_it() {
    for (text, written) in [
        ("ssh=ann@build1:2222", "ssh=-p 2222 ann@build1"),
        ("ssh=build1:22//id=x", "ssh=-p 22 build1//id=x"),
        ("ssh=-C build1:22", "ssh=-C -p 22 build1"),
        ("ssh=ssh://ann@build1:2222", "ssh=-p 2222 ann@build1"),
        ("ssh=ssh://build1", "ssh=build1"),
        ("ssh=ssh://build1///python=pypy3", "ssh=build1//python=pypy3"),
        ("ssh=-4 ssh://ann@build1:2222//via=x", "ssh=-4 -p 2222 ann@build1//via=x"),
        ("ssh=[::1]", "ssh=::1"),
        ("ssh=ann@[fe80::1%eth0]:2222", "ssh=-p 2222 ann@fe80::1%eth0"),
        ("ssh=ssh://[::1]:2222//id=six", "ssh=-p 2222 ::1//id=six"),
        ("ssh=::1", "ssh=::1"),
    ] {
        assert_eq!(spec(text).to_string(), written, "{text}");
    }
    let ids = ["ssh=build1:2222", "ssh=ssh://ann@build1:2222", "ssh=[::1]:22", "ssh=fe80::1%eth0"];
    assert_eq!(ids.map(|text| spec(text).id), ["build1", "build1", "ip6-1", "ip6-fe80-1-eth0"]);
}

#[test]
fn a_host_without_an_id_is_called_by_its_transport() {
    for (text, id) in [
        ("popen", "local"),
        ("ssh=build1", "build1"),
        ("ssh=ann@build1.example.org", "build1.example.org"),
        ("ssh=-4 build1 -p 22", "build1"),
        ("ssh=-p22 -oUser=ann build1", "build1"),
        ("ssh=-Cp 22 build1", "build1"),
        ("cmd=/usr/bin/docker exec -i web", "docker"),
    ] {
        assert_eq!(spec(text).id, id, "{text}");
    }
    assert_eq!(
        refused("ssh=bücher"),
        "`bücher` cannot be the host's id; add `//id=NAME` (letters, digits, `.`, `_` and `-`, beginning \
         with a letter or digit, at most 64)"
    );
    assert_eq!(spec("ssh=bücher//id=books").id, "books");
}

#[test]
fn patience_is_a_time_as_people_write_it() {
    for (text, seconds) in
        [("60", 60), ("90s", 90), ("2m", 120), ("2min", 120), ("1 h", 3_600), ("1d", 86_400)]
    {
        let host = spec(&format!("ssh=h//patience={text}"));
        assert_eq!(host.patience, Some(Duration::from_secs(seconds)), "{text}");
        assert_eq!(host.to_string(), format!("ssh=h//patience={seconds}"));
    }
    assert_eq!(spec("ssh=h").patience, None);
}

#[test]
fn errors_name_the_key() {
    for (text, message) in [
        ("ssh=h//pyton=python3", "`pyton` is not a key of a host spec; did you mean `python`?"),
        ("shh=h", "`shh` is not a key of a host spec; did you mean `ssh`?"),
        ("ssh-config=x//ssh=h", "`ssh-config` is not a key of a host spec; did you mean `ssh_config`?"),
        (
            "ssh=h//socket=h:8888",
            "`socket` is not a key of a host spec; there are popen, ssh, cmd, python, via, id, chdir, nice, \
             env:, ssh_config, patience",
        ),
        (
            "ssh=h//packages=attrs",
            "`packages` is for gateways, not for hosts: `--with` of `execnet exec` and `execnet python`, \
             `packages=` of `makegateway`, `pytest --tx net=NAME//packages=*`",
        ),
        (
            "ssh=h//large",
            "`large` is for gateways, not for hosts: `--large` of `execnet exec` and `execnet python`, \
             `large=` of `makegateway`, `pytest --tx net=NAME//packages=*//large`",
        ),
        (
            "node=b//ssh=h",
            "`node` is for gateways, not for hosts: `node=` of `makegateway`, `pytest --tx net=NAME//node=…`",
        ),
        (
            "packages",
            "it does not say how to reach the host: `popen`, `ssh=HOST` or `cmd=COMMAND`; did you mean \
             `ssh=packages`?",
        ),
        (
            "build1",
            "it does not say how to reach the host: `popen`, `ssh=HOST` or `cmd=COMMAND`; did you mean \
             `ssh=build1`?",
        ),
        ("python=python3", "it does not say how to reach the host: `popen`, `ssh=HOST` or `cmd=COMMAND`"),
        ("popen//ssh=h", "`popen` and `ssh` are two ways to reach one host; give one"),
        ("ssh=a//ssh=b", "`ssh` is given twice"),
        ("ssh=a//python=x//python=x", "`python` is given twice"),
        ("popen//env:A=1//env:A=2", "`env:A` is given twice"),
        ("ssh=", "`ssh` needs a value: `ssh=…`"),
        ("ssh=a//python", "`python` needs a value: `python=…`"),
        ("popen//env:A=", "`env:A` needs a value: `env:A=…`"),
        ("popen//chdir=//tmp", "`chdir` needs a value: `chdir=…`"),
        ("popen//env:=x", "env:=x: not the name of a variable: `env:NAME=value`"),
        ("popen=1", "popen=1: `popen` takes no value"),
        ("", "it has an empty part; `//` only separates keys"),
        ("ssh=a//", "it has an empty part; `//` only separates keys"),
        ("ssh=a////id=x", "it has an empty part; `//` only separates keys"),
        ("popen//chdir=/a\0b", "the value of `chdir` contains a line end or a NUL"),
        ("popen//python=/a\nb", "the value of `python` contains a line end or a NUL"),
        ("popen//env:A=a\0", "the value of `env:A` contains a line end or a NUL"),
        ("ssh=-oProxyCommand=x", "ssh=-oProxyCommand=x: the host is missing: `ssh=[options] [user@]host`"),
        ("ssh=-- -h", "ssh=-- -h: a host does not begin with `-`"),
        ("ssh=ann@-oX", "ssh=ann@-oX: a host does not begin with `-`"),
        ("ssh=$(id)", "ssh=$(id): `$(id)` is not `[user@]host`"),
        ("ssh=@h", "ssh=@h: `@h` is not `[user@]host`"),
        ("ssh=h:http", "ssh=h:http: `http` is not a port, a number from 1 to 65535"),
        ("ssh=h:0", "ssh=h:0: `0` is not a port, a number from 1 to 65535"),
        ("ssh=h:", "ssh=h:: `` is not a port, a number from 1 to 65535"),
        ("ssh=[::1]x", "ssh=[::1]x: `[::1]x` is not `[user@]host`"),
        ("ssh=-N h", "ssh=-N h: ssh's option `-N` cannot be used for a link"),
        ("ssh=h -p", "ssh=h -p: `-p` needs an argument"),
        ("ssh=h uptime", "ssh=h uptime: `uptime` after the host `h`: no command is taken here"),
        ("ssh='h", "ssh='h: a quote is not closed"),
        ("cmd=''", "cmd='': the command is empty"),
        ("popen//nice=x", "nice=x: not a whole number from -20 to 19"),
        ("popen//nice=20", "nice=20: not a whole number from -20 to 19"),
        ("popen//patience=soon", "patience=soon: not a time like `90`, `90s`, `2m` or `1h`, at most 24 days"),
        ("popen//patience=0", "patience=0: not a time like `90`, `90s`, `2m` or `1h`, at most 24 days"),
        ("popen//patience=25d", "patience=25d: not a time like `90`, `90s`, `2m` or `1h`, at most 24 days"),
        ("popen//python=-c", "python=-c: a command or path does not begin with `-`"),
        ("popen//via=local", "via=local: a host is not reached through itself"),
        ("popen//via=@gw", "via=@gw: `popen` would be another machine with each host of the group"),
        ("popen//ssh_config=x", "`ssh_config` goes with `ssh=` only"),
    ] {
        assert_eq!(refused(text), message, "{text:?}");
    }
    assert!(refused("popen//id=a/b").starts_with("id=a/b: not a host's id"));
    assert!(refused("popen//via=-x").starts_with("via=-x: neither a host's id nor `@GROUP`"));
    assert!(refused("ssh=h//via=@").starts_with("via=@: neither a host's id nor `@GROUP`"));
}

#[test]
fn names_fit_into_file_names() {
    for name in ["mynet", "0", "a.b_c-d", &"x".repeat(64)] {
        assert_eq!(name.parse::<NetworkName>().unwrap().as_str(), name);
    }
    for name in ["", ".x", "-x", "a/b", "a b", "é", "a\0", &"x".repeat(65)] {
        assert!(name.parse::<NetworkName>().is_err(), "{name}");
    }
}

#[test]
fn the_nearest_word_is_suggested_only_when_it_is_near() {
    assert_eq!(nearest("mynt", ["other", "mynet"]), Some("mynet"));
    assert_eq!(nearest("Mynet", ["mynet"]), Some("mynet"));
    assert_eq!(nearest("production", ["mynet"]), None);
    assert_eq!(nearest("a", ["b"]), None);
}

const NAME: &str = "[A-Za-z0-9][A-Za-z0-9._-]{0,12}";

fn value() -> impl Strategy<Value = String> {
    prop_oneof![r"[/\\a' =]{1,8}", r"[^\r\n\x00]{1,12}"].prop_filter("blank", |text| !text.trim().is_empty())
}

fn transport() -> impl Strategy<Value = Transport> {
    let options = prop::collection::vec(
        prop_oneof![Just("-C".to_owned()), "-o[^\r\n\x00]{1,12}", "-p[0-9]{1,5}"],
        0..3,
    );
    prop_oneof![
        Just(Transport::Popen),
        (options, "([a-z]{1,5}@)?([a-z][a-z0-9.-]{0,8}|[a-f0-9]{0,4}::[a-f0-9]{1,4}(%[a-z]{1,4})?)")
            .prop_map(|(options, destination)| { Transport::Ssh { options, destination } }),
        ("[^\r\n\x00]{1,8}", prop::collection::vec("[^\r\n\x00]{0,12}", 0..4))
            .prop_map(|(command, args)| Transport::Cmd([vec![command], args].concat())),
    ]
}

prop_compose! {
    fn any_spec()(
        id in NAME,
        transport in transport(),
        python in prop::option::of(value().prop_filter("option", |text| !text.starts_with('-'))),
        via in prop::option::of("@?[A-Za-z0-9][A-Za-z0-9._-]{0,12}"),
        chdir in prop::option::of(prop_oneof![value(), Just("/a\nb\x1b[2J\r/\u{9b}".to_owned())]),
        nice in prop::option::of(-20..=19),
        env in prop::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,5}", value(), 0..3),
        config in prop::option::of(value()),
        patience in prop::option::of((1_u64..2_000_000).prop_map(Duration::from_secs)),
    ) -> HostSpec {
        let is_popen = transport == Transport::Popen;
        let via = via.filter(|via| *via != id && !(is_popen && via.starts_with('@')));
        let ssh_config = config.filter(|_| transport.key() == "ssh");
        let env = env.into_iter().collect();
        HostSpec { id, transport, python, via, chdir, nice, env, ssh_config, patience }
    }
}

const ANY: &str = r"((popen|ssh=|cmd=|python=|env:A=|id=|via=|//|/|[ -~]){0,12})|\PC{0,40}";

proptest! {
    #[test]
    fn a_written_spec_reads_back_equal(host in any_spec()) {
        let text = host.to_string();
        prop_assert_eq!(text.parse::<HostSpec>().map_err(|error| format!("{text}: {error}")), Ok(host));
    }

    #[test]
    fn any_text_is_a_spec_or_an_error(text in ANY) {
        if let Ok(host) = text.parse::<HostSpec>() {
            prop_assert_eq!(host.to_string().parse::<HostSpec>(), Ok(host));
        }
    }
}

#[test]
fn a_slip_is_told_from_another_word() {
    let keys = ["id", "via", "env", "nice", "python", "chdir"];
    for (word, meant) in [
        ("pyhton", Some("python")),
        ("pythn", Some("python")),
        ("PYTHON", Some("python")),
        ("evn", Some("env")),
        ("ENV", Some("env")),
        ("di", Some("id")),
        // programs have such keys of their own
        ("ip", None),
        ("pid", None),
        ("end", None),
        ("hosts", None),
        ("python", None),
    ] {
        assert_eq!(misspelt(word, keys), meant, "{word}");
    }
}

#[test]
fn a_value_of_ssh_alone_needs_no_escapes() {
    let spec = HostSpec::by_ssh(r"-F '/a///b c\d' ann@build1").unwrap();
    let options = ["-F", r"/a///b c\d"].map(str::to_owned).to_vec();
    assert_eq!(spec.transport, Transport::Ssh { options, destination: "ann@build1".into() });
    assert_eq!(spec.id, "build1");
    assert_eq!(spec.to_string().parse(), Ok(spec));
    assert_eq!(HostSpec::by_ssh("ssh://_build").unwrap().id, "host");
    assert_eq!(HostSpec::by_ssh(""), Err(SpecError::Empty("ssh".into())));
    assert!(HostSpec::by_ssh("build1//python=x").is_err());
}
