use execnet_proto::control::NodeStatus;

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

fn sorted(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let selection = NodeSelection::from_pairs(pairs.iter().copied()).unwrap();
    let (ready, left_out) = sort(&hosts(), &selection);
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
    let (_, left_out) = sort(&hosts(), &NodeSelection::default());
    insta::assert_snapshot!(left_out.join("\n"), @r"
    b:3: no\x1b such
    c: unreachable: no route
    d: failed: no route
    ");
}

#[test]
fn hosts_that_may_soon_have_a_matching_node_are_waited_for() {
    let named = |name: &str| NodeSelection { node: Some(name.into()), ..NodeSelection::default() };
    let any = NodeSelection::default();
    let mut host = HostStatus { id: "a".into(), state: HostState::Joining, ..HostStatus::default() };
    assert!(may_match_soon(&host, &any));
    assert!(may_match_soon(&host, &named("a")) && may_match_soon(&host, &named("a:pypy3.9")));
    assert!(!may_match_soon(&host, &named("ab")) && !may_match_soon(&host, &named("b")));
    host.state = HostState::Up;
    assert!(!may_match_soon(&host, &any));
    host.nodes = vec![node("a", "a", NodeState::Probing, "")];
    assert!(may_match_soon(&host, &any) && !may_match_soon(&host, &named("b")));
    for state in [HostState::Failed, HostState::Unreachable, HostState::Leaving] {
        host.state = state;
        assert!(!may_match_soon(&host, &any), "{state}");
    }
}

#[test]
fn many_nodes_that_cannot_be_used_have_a_line_each_up_to_a_limit() {
    let left_out = |count| (0..count).map(|n| format!("h{n}: failed: connect")).collect();
    insta::assert_snapshot!(unusable("net", left_out(1)), @"
    Error: the only matching node of `net` cannot be used: h0: failed: connect
    Hint: `execnet status net` says what to do, and when they are tried again
    ");
    insta::assert_snapshot!(unusable("net", left_out(12)), @"
    Error: no matching node of `net` can be used:
      h0: failed: connect
      h1: failed: connect
      h2: failed: connect
      h3: failed: connect
      h4: failed: connect
      h5: failed: connect
      h6: failed: connect
      h7: failed: connect
      h8: failed: connect
      h9: failed: connect
      and 2 more
    Hint: `execnet status net` says what to do, and when they are tried again
    ");
}
