use execnet_proto::control::{NodeStatus, Status};

use super::*;

fn node(name: &str, host: &str, state: NodeState, implementation: &str) -> NodeStatus {
    NodeStatus {
        name: name.into(),
        host: host.into(),
        state,
        platform: if implementation.is_empty() { "" } else { "linux" }.into(),
        implementation: implementation.into(),
        version: if implementation.is_empty() { "" } else { "3.11.2" }.into(),
        message: (state == NodeState::Failed).then(|| "no\x1b such".into()),
        ..NodeStatus::default()
    }
}

fn hosts() -> Vec<HostStatus> {
    let host = |id: &str, state: HostState, nodes: Vec<NodeStatus>| HostStatus {
        id: id.into(),
        state,
        error: (state != HostState::Up).then(|| "no route".into()),
        nodes,
        ..HostStatus::default()
    };
    vec![
        host("a", HostState::Up, vec![node("a", "a", NodeState::Ready, "cpython")]),
        host(
            "b",
            HostState::Up,
            vec![
                node("b:cpython3.11", "b", NodeState::Ready, "cpython"),
                node("b:pypy3.11", "b", NodeState::Ready, "pypy"),
                node("b:3", "b", NodeState::Failed, ""),
            ],
        ),
        host(
            "c",
            HostState::Unreachable,
            vec![
                node("c:cpython3.11", "c", NodeState::Ready, "cpython"),
                node("c:pypy3.11", "c", NodeState::Ready, "pypy"),
            ],
        ),
        host("d", HostState::Failed, vec![]),
    ]
}

fn meant(hosts: &[HostStatus], pairs: &[(&str, &str)]) -> Meant {
    let selection = NodeSelection::from_pairs(pairs.iter().copied()).unwrap();
    let groups = [("odd".into(), "a,c".into())].into();
    let status = Status { network: "net".into(), groups, hosts: hosts.to_vec(), ..Status::default() };
    Meant::by(&selection, &status).unwrap()
}

fn sorted(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let hosts = hosts();
    let (ready, left_out) = sort(&hosts, &meant(&hosts, pairs));
    let name = |line: String| line.split(": ").next().unwrap().to_owned();
    (ready.into_iter().map(|origin| origin.node).collect(), left_out.into_iter().map(name).collect())
}

#[test]
fn all_nodes_that_match_are_taken_and_those_that_cannot_be_are_told() {
    let all = sorted(&[]);
    assert_eq!(all.0, ["a", "b:cpython3.11", "b:pypy3.11"]);
    assert_eq!(all.1, ["b:3", "c", "d"]);
    assert_eq!(
        sorted(&[("node", "b")]),
        (vec!["b:cpython3.11".into(), "b:pypy3.11".into()], vec!["b:3".into()])
    );
    assert_eq!(sorted(&[("node", "d")]), (vec![], vec!["d".into()]));
    let named = sorted(&[("node", "c")]);
    assert_eq!((named.0.len(), named.1.len()), (2, 0), "the daemon knows whether it may come soon");
    assert_eq!(sorted(&[("implementation", "pypy")]), (vec!["b:pypy3.11".into()], vec!["c".into()]));
    assert_eq!(sorted(&[("python-version", "<4"), ("node", "a")]), (vec!["a".into()], vec![]));
    assert_eq!(sorted(&[("python-version", "<4")]).1, ["c"], "of an unknown version nothing is known");
    assert_eq!(sorted(&[("platform", "java")]), (vec![], vec![]));
}

#[test]
fn why_a_node_is_left_out_is_said_without_control_characters() {
    let hosts = hosts();
    let (_, left_out) = sort(&hosts, &meant(&hosts, &[]));
    insta::assert_snapshot!(left_out.join("\n"), @r"
    b:3: no\x1b such
    c: unreachable: no route
    d: failed: no route
    ");
}

#[test]
fn a_set_takes_all_that_it_names_and_waits_for_what_may_be_back() {
    assert_eq!(sorted(&[("node", "@odd")]).0, ["a", "c:cpython3.11", "c:pypy3.11"]);
    assert_eq!(sorted(&[("node", "a,b!b:pypy3.11")]).0, ["a", "b:cpython3.11"]);
    let but = sorted(&[("node", "!b")]);
    assert_eq!((but.0, but.1), (vec!["a".into()], vec!["c".into(), "d".into()]));
    assert_eq!(sorted(&[("node", "@odd"), ("implementation", "pypy")]).0, ["c:pypy3.11"]);
}

#[test]
fn hosts_that_may_soon_have_a_matching_node_are_waited_for() {
    let waits = |host: &HostStatus, name: &str| {
        let mut other = HostStatus { id: "b".into(), state: HostState::Up, ..HostStatus::default() };
        other.nodes = vec![node("b", "b", NodeState::Ready, "cpython")];
        let pairs = [("node", name)];
        meant(&[host.clone(), other], if name.is_empty() { &[] } else { &pairs }).may_come(host)
    };
    let mut host = HostStatus { id: "a".into(), state: HostState::Joining, ..HostStatus::default() };
    assert!(waits(&host, ""));
    assert!(waits(&host, "a") && waits(&host, "a:pypy3.9") && waits(&host, "a,b") && waits(&host, "!b"));
    assert!(!waits(&host, "b") && !waits(&host, "!a"));
    host.state = HostState::Up;
    assert!(!waits(&host, ""));
    host.nodes = vec![node("a", "a", NodeState::Probing, "")];
    assert!(waits(&host, "") && !waits(&host, "b"));
    for state in [HostState::Failed, HostState::Unreachable, HostState::Leaving] {
        host.state = state;
        assert!(!waits(&host, ""), "{state}");
    }
}

#[test]
fn nodes_that_can_be_taken_at_once_are_ready_and_not_drained() {
    let mut hosts = hosts();
    assert_eq!(at_hand(&hosts, &meant(&hosts, &[])), 3);
    assert_eq!(at_hand(&hosts, &meant(&hosts, &[("node", "b,c")])), 2, "c may take a while to come back");
    hosts[1].drained = true;
    assert_eq!(at_hand(&hosts, &meant(&hosts, &[("node", "a,b")])), 1);
}
