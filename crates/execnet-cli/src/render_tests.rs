//! How a network is shown.

use execnet_proto::control::Step;

use super::*;
use crate::style::plain;

fn trouble(network: &str, host: &HostStatus) -> Option<String> {
    super::trouble(network, host).map(|text| plain(&text))
}

fn node(name: &str, platform: &str, implementation: &str, version: &str) -> NodeStatus {
    NodeStatus {
        name: name.into(),
        state: NodeState::Ready,
        platform: platform.into(),
        implementation: implementation.into(),
        version: version.into(),
        ..NodeStatus::default()
    }
}

fn up(id: &str, nodes: Vec<NodeStatus>) -> HostStatus {
    HostStatus {
        id: id.into(),
        spec: format!("ssh={id}"),
        resume: true,
        state: HostState::Up,
        rtt: Some(0.00021),
        processes: 2,
        nodes,
        ..HostStatus::default()
    }
}

fn failed() -> HostStatus {
    HostStatus {
        id: "build2".into(),
        spec: "ssh=build2".into(),
        state: HostState::Failed,
        step: Some(Step::Resolve),
        error: Some("the name `build2` is not known".into()),
        said: vec![
            "ssh: Could not resolve hostname build2: Name or service not known".into(),
            "\x1b[2Jbye".into(),
        ],
        hint: Some("check the spelling, or give the host a name in ssh's configuration".into()),
        retry_in: Some(4.6),
        ..HostStatus::default()
    }
}

fn network(hosts: Vec<HostStatus>) -> Status {
    Status {
        network: "mynet".into(),
        pid: 4242,
        release: "3.0.0".into(),
        protocol: 1,
        uptime: 200.0,
        clients: 1,
        hosts,
        ..Status::default()
    }
}

#[test]
fn a_socket_that_is_not_in_the_usual_place_is_told() {
    let mut status = network(Vec::new());
    status.socket = Some("/run/user/7/execnet/mynet.daemon.sock".into());
    assert!(!super::status(&status).contains("socket"));
    status.socket_note = Some("/tmp/execnet-7 belongs to another user".into());
    let told = super::status(&status);
    let line = "mynet: its socket is /run/user/7/execnet/mynet.daemon.sock: \
                /tmp/execnet-7 belongs to another user\n";
    assert!(told.ends_with(line), "{told}");
}

#[test]
fn nodes_of_a_host_that_is_out_of_reach_are_not_shown_as_ready() {
    let broken = NodeStatus { name: "a:python9".into(), state: NodeState::Failed, ..NodeStatus::default() };
    let nodes = vec![node("a:cpython3.11", "linux", "cpython", "3.11.2"), broken];
    let shown = |state| plain(&status(&network(vec![HostStatus { state, ..up("a", nodes.clone()) }])));
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    for (state, word) in
        [(HostState::Up, "ready"), (HostState::Unreachable, "unreachable"), (HostState::Leaving, "leaving")]
    {
        let text = shown(state);
        assert_eq!(
            (line(&text, "a:cpython3.11").as_str(), line(&text, "a:python9").as_str()),
            (word, "failed")
        );
    }
}

#[test]
fn a_host_that_takes_no_new_work_is_shown_with_what_becomes_of_it() {
    let only = |id: &str| vec![node(id, "linux", "cpython", "3.11.2")];
    let drained = HostStatus { drained: true, ..up("a", only("a")) };
    let busy = Some("2 processes\x1b[2J run there".into());
    let leaves = HostStatus { drained: true, removing: true, busy, ..up("build3", only("build3")) };
    let failed = HostStatus { drained: true, ..failed() };
    let leaving = HostStatus { state: HostState::Leaving, ..leaves.clone() };
    assert_eq!(plain(&progress_line(&drained)), "a: up, drained: CPython 3.11.2");
    let shown = hosts(&[drained, leaves, failed, leaving]);
    assert!(shown.contains("\x1b[32mup, drained\x1b[0m"), "{shown:?}");
    insta::assert_snapshot!(plain(&shown), @r"
    HOST / NODE  STATE                     PLATFORM  PYTHON          VIA  PROCS  RTT
    a            up, drained               linux     CPython 3.11.2  -    2      0.21 ms
    build3       up, drained               linux     CPython 3.11.2  -    2      0.21 ms
    build2       failed: resolve, drained  -         -               -    -      -
    build3       leaving                   linux     CPython 3.11.2  -    2      0.21 ms
    build3: draining: rmhost when idle; 2 processes\x1b[2J run there
    ");
}

#[test]
fn the_status_shows_hosts_and_nodes() {
    let broken = NodeStatus {
        name: "old:python9".into(),
        state: NodeState::Failed,
        executable: "python9".into(),
        message: Some("there is no `python9` in any folder of the PATH of this host".into()),
        ..NodeStatus::default()
    };
    let nodes = vec![
        node("old:cpython2.7", "linux2", "cpython", "2.7.18"),
        node("old:jython2.7", "java17.0.13", "jython", "2.7.3"),
        broken,
    ];
    let note = Some("it cannot outlive its link: \x1b[2Jno room".into());
    let old = HostStatus { via: Some("build1".into()), rtt: Some(0.0123), note, ..up("old", nodes) };
    let joining = HostStatus { id: "slow".into(), step: Some(Step::Authenticate), ..HostStatus::default() };
    let hosts =
        vec![up("build1", vec![node("build1", "linux", "cpython", "3.11.2")]), old, failed(), joining];
    insta::assert_snapshot!(plain(&status(&network(hosts))), @r"
    mynet: running for 3 min, daemon 4242, 1 client
    HOST / NODE       STATE                  PLATFORM     PYTHON          VIA     PROCS  RTT
    build1            up                     linux        CPython 3.11.2  -       2      0.21 ms
    old               up                     -            -               build1  2      12 ms
      old:cpython2.7  ready                  linux2       CPython 2.7.18  -       0      -
      old:jython2.7   ready                  java17.0.13  Jython 2.7.3    -       0      -
      old:python9     failed                 -            python9         -       0      -
    build2            failed: resolve        -            -               -       -      -
    slow              joining: authenticate  -            -               -       -      -
    old: it cannot outlive its link: \x1b[2Jno room
    old:python9: there is no `python9` in any folder of the PATH of this host
    ");
    insta::assert_snapshot!(status(&network(vec![])), @"
    mynet: running for 3 min, daemon 4242, 1 client
    no hosts; `execnet addhost mynet SPEC` adds one
    ");
}

#[test]
fn a_failed_host_is_told_with_its_own_words() {
    insta::assert_snapshot!(trouble("mynet", &failed()).unwrap(), @r"
    build2: failed: resolve: the name `build2` is not known
        ssh: Could not resolve hostname build2: Name or service not known
        \x1b[2Jbye
      Hint: check the spelling, or give the host a name in ssh's configuration
      Hint: if it is mistyped, run: execnet rmhost mynet build2
      retrying in 5 s
    ");
}

#[test]
fn a_host_that_is_up_is_in_trouble_only_without_a_working_python() {
    let none = NodeStatus { message: Some("cannot execute nopython".into()), ..node("b", "", "", "") };
    let none = NodeStatus { state: NodeState::Failed, ..none };
    insta::assert_snapshot!(trouble("mynet", &up("b", vec![none.clone()])).unwrap(), @"
    b: connected, but its Python does not work
        cannot execute nopython
      Hint: after fixing it, run: execnet addhost mynet ssh=b
    ");
    let jython =
        HostStatus { spec: "ssh=b//python=my jython".into(), resume: false, ..up("b", vec![none.clone()]) };
    let told = trouble("mynet", &jython).unwrap();
    assert!(
        told.contains("run: execnet rmhost mynet b && execnet addhost mynet 'ssh=b//python=my jython'"),
        "{told}"
    );
    assert_eq!(trouble("mynet", &up("b", vec![none, node("c", "linux", "cpython", "3.11.2")])), None);
}

#[test]
fn the_status_says_why_a_host_cannot_be_used() {
    let none = NodeStatus { message: Some("cannot execute nopython".into()), ..node("b", "", "", "") };
    let none = NodeStatus { state: NodeState::Failed, ..none };
    let cut = HostStatus {
        state: HostState::Unreachable,
        error: Some("no byte for 15 s".into()),
        retry_in: Some(2.0),
        ..up("l", vec![])
    };
    let joining = HostStatus { id: "slow".into(), step: Some(Step::Authenticate), ..HostStatus::default() };
    let fine = up("build1", vec![node("build1", "linux", "cpython", "3.11.2")]);
    let hosts = [fine, up("b", vec![none]), cut, failed(), joining];
    insta::assert_snapshot!(plain(&troubles("mynet", &hosts)).trim_start(), @r"
    b: connected, but its Python does not work
        cannot execute nopython
      Hint: after fixing it, run: execnet addhost mynet ssh=b

    l: unreachable: no byte for 15 s
      retrying in 2 s

    build2: failed: resolve: the name `build2` is not known
        ssh: Could not resolve hostname build2: Name or service not known
        \x1b[2Jbye
      Hint: check the spelling, or give the host a name in ssh's configuration
      Hint: if it is mistyped, run: execnet rmhost mynet build2
      retrying in 5 s
    ");
    assert!(!super::hosts(&hosts[1..2]).contains("cannot execute"), "it is told once");
}

#[test]
fn a_line_says_where_a_host_stands() {
    let nodes = vec![
        node("l:cpython3.11", "linux", "cpython", "3.11.2"),
        node("l:pypy3.9", "linux", "pypy", "3.9.16"),
    ];
    assert_eq!(state_line(&up("l", nodes)), "up: CPython 3.11.2, PyPy 3.9.16");
    let asked = NodeStatus { state: NodeState::Probing, ..node("l", "", "", "") };
    assert_eq!(state_line(&up("l", vec![asked])), "up");
    assert_eq!(state_line(&failed()), "failed: resolve: the name `build2` is not known");
    let cut = HostStatus {
        state: HostState::Unreachable,
        error: Some("no byte for 15 s".into()),
        ..up("l", vec![])
    };
    assert_eq!(state_line(&cut), "unreachable: no byte for 15 s");
    let behind =
        HostStatus { error: Some("l is unreachable: b is unreachable: no byte for 15 s".into()), ..cut };
    assert_eq!(state_line(&behind), "unreachable: b is unreachable: no byte for 15 s");
    assert_eq!([0.00021, 0.0123, 1.25].map(round_trip), ["0.21 ms", "12 ms", "1.2 s"]);
}

#[test]
fn a_host_with_much_to_say_of_itself_leaves_the_table_readable() {
    let long = "\u{202e}x".repeat(100);
    let failed = NodeStatus {
        state: NodeState::Failed,
        executable: long.clone(),
        ..node("odd:b", &long, &long, &long)
    };
    let hosts = [
        up("fine", vec![node("fine", "linux", "cpython", "3.11.2")]),
        up("odd", vec![node("odd:a", &long, &long, &long), failed]),
    ];
    let table = plain(&super::hosts(&hosts));
    assert!(table.lines().take(5).all(|line| line.chars().count() < 220), "{table}");
    assert!(table.contains("\\u202ex") && table.contains('…'), "{table}");
}

#[test]
fn the_state_of_a_host_has_a_colour() {
    let green = "build1: \x1b[32mup\x1b[0m: CPython 3.11.2";
    assert_eq!(progress_line(&up("build1", vec![node("build1", "linux", "cpython", "3.11.2")])), green);
    assert_eq!(progress_line(&failed()), "build2: \x1b[31mfailed: resolve\x1b[0m");
    let joining = HostStatus { step: Some(Step::Connect), ..up("c", vec![]) };
    let joining = HostStatus { state: HostState::Joining, ..joining };
    assert_eq!(progress_line(&joining), "c: \x1b[33mjoining: connect\x1b[0m");
    let none = NodeStatus { state: NodeState::Failed, ..node("b", "", "", "") };
    let red = "b: \x1b[31mconnected, but its Python does not work\x1b[0m";
    assert_eq!(progress_line(&up("b", vec![none])), red);
    assert!(super::trouble("mynet", &failed()).unwrap().contains("\n  \x1b[1mHint:\x1b[0m check"));
}
