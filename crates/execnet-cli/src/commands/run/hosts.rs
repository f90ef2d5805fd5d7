//! The hosts that a command runs on.

use execnet::Network;
use execnet_proto::control::{HostState, HostStatus, Status};
use execnet_proto::spec::NodeSelection;

use crate::commands::candidates::{least_busy, left_out_host, unusable};
use crate::commands::meant::{Meant, settled};
use crate::commands::used_though_drained;
use crate::error::{CommandError, Exit};
use crate::print::say;

/// Where to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts {
    /// Their ids, in the network's order.
    pub(super) ids: Vec<String>,
    /// Those that match and cannot be used, with the reason.
    pub(super) left_out: Vec<(String, String)>,
}

/// The hosts with a node that matches, whether that works or not; with `limit`, so many of them, the least
/// busy. Waits for those that may be up soon, unless there are enough without them, and names the others.
pub(super) fn choose(
    network: &Network,
    selection: &NodeSelection,
    limit: Option<usize>,
) -> Result<Hosts, CommandError> {
    let (status, meant) = settled(network, selection, |meant, status| pending(meant, status, limit))?;
    let mut hosts = sort(&status, &meant);
    if hosts.ids.is_empty() {
        return Err(none(&status, selection, hosts.left_out));
    }
    if let Some(limit) = limit {
        if hosts.ids.len() >= limit {
            hosts.left_out.clear();
        }
        hosts.ids = least_busy(&status.hosts, hosts.ids, |id| id, limit);
    }
    for (id, why) in &hosts.left_out {
        say(&format!("execnet: skipped: {id}: {why}"));
    }
    let used = |host: &&HostStatus| host.drained && hosts.ids.contains(&host.id);
    for host in status.hosts.iter().filter(|_| meant.is_by_name()).filter(used) {
        say(&used_though_drained(&host.id));
    }
    Ok(hosts)
}

/// The hosts that must be waited for. A host that is up and meant by what is known of it will do, whatever
/// becomes of its interpreters.
fn pending<'a>(meant: &Meant, status: &'a Status, limit: Option<usize>) -> Vec<&'a HostStatus> {
    let at_hand =
        |host: &&HostStatus| host.state == HostState::Up && host.nodes.iter().any(|node| meant.has(node));
    // drained hosts come last
    let enough = |limit| status.hosts.iter().filter(at_hand).filter(|host| !host.drained).count() >= limit;
    if limit.is_some_and(enough) {
        return Vec::new();
    }
    meant.pending(status).into_iter().filter(|host| !at_hand(host)).collect()
}

fn sort(status: &Status, meant: &Meant) -> Hosts {
    let mut sorted = Hosts::default();
    for host in meant.hosts(status) {
        // the daemon waits for a host selected by name, if it may be back soon
        let usable =
            host.state == HostState::Up || host.state == HostState::Unreachable && meant.is_by_name();
        if usable {
            sorted.ids.push(host.id.clone());
        } else {
            let line = left_out_host(host);
            let why = line.split_once(": ").map_or(&line[..], |(_, why)| why);
            sorted.left_out.push((host.id.clone(), why.to_owned()));
        }
    }
    sorted
}

/// The error if no host can be used.
fn none(status: &Status, selection: &NodeSelection, left_out: Vec<(String, String)>) -> CommandError {
    let network = &status.network;
    if !left_out.is_empty() {
        let lines = left_out.into_iter().map(|(id, why)| format!("{id}: {why}"));
        return unusable(network, "host", lines.collect());
    }
    if status.hosts.is_empty() {
        return CommandError::new(Exit::NoHost, format!("the network {network} has no hosts"))
            .hint(format!("for example `execnet addhost {network} ssh=build1`"));
    }
    CommandError::new(Exit::NoHost, format!("no host of `{network}` has a node that matches {selection}"))
        .hint(format!("`execnet status {network}` lists the nodes"))
}

#[cfg(test)]
mod tests {
    use execnet_proto::control::{NodeState, NodeStatus};

    use super::*;

    fn host(id: &str, state: HostState, implementations: &[&str]) -> HostStatus {
        let node = |implementation: &&str| NodeStatus {
            name: format!("{id}:{implementation}"),
            host: id.into(),
            state: if implementation.is_empty() { NodeState::Failed } else { NodeState::Ready },
            implementation: (*implementation).into(),
            version: if implementation.is_empty() { "" } else { "3.11.2" }.into(),
            ..NodeStatus::default()
        };
        let error = (state != HostState::Up).then(|| "no\x1b route".into());
        let nodes = implementations.iter().map(node).collect();
        HostStatus { id: id.into(), state, error, nodes, cpus: Some(2), ..HostStatus::default() }
    }

    fn hosts() -> Vec<HostStatus> {
        vec![
            host("a", HostState::Up, &["cpython", "pypy"]),
            host("b", HostState::Up, &[""]),
            host("c", HostState::Unreachable, &["cpython"]),
            host("d", HostState::Failed, &[]),
        ]
    }

    fn sorted(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let selection = NodeSelection::from_pairs(pairs.iter().copied()).unwrap();
        let status = Status { network: "net".into(), hosts: hosts(), ..Status::default() };
        let Hosts { ids, left_out } = sort(&status, &Meant::by(&selection, &status).unwrap());
        (ids, left_out.into_iter().map(|(id, why)| format!("{id}: {why}")).collect())
    }

    #[test]
    fn a_host_runs_it_once_whatever_its_nodes() {
        let (ids, left_out) = sorted(&[]);
        assert_eq!(ids, ["a", "b"], "also without a Python that works");
        assert_eq!(left_out, ["c: unreachable: no\\x1b route", "d: failed: no\\x1b route"]);
        assert_eq!(sorted(&[("node", "a:pypy")]).0, ["a"]);
        assert_eq!(sorted(&[("node", "!a")]).0, ["b"]);
        assert_eq!(sorted(&[("node", "b")]), (vec!["b".into()], vec![]));
        assert_eq!(sorted(&[("node", "c")]).0, ["c"], "the daemon knows whether it may come soon");
        assert_eq!(sorted(&[("node", "d")]).1.len(), 1);
    }

    #[test]
    fn hosts_are_waited_for_if_they_are_needed() {
        let mut hosts = hosts();
        hosts[2].state = HostState::Joining;
        hosts[2].nodes.clear();
        hosts[1].nodes[0].state = NodeState::Probing;
        let waits = |hosts: &[HostStatus], pairs: &[(&str, &str)], limit| {
            let selection = NodeSelection::from_pairs(pairs.iter().copied()).unwrap();
            let status = Status { network: "net".into(), hosts: hosts.to_vec(), ..Status::default() };
            let meant = Meant::by(&selection, &status).unwrap();
            pending(&meant, &status, limit).into_iter().map(|host| host.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&hosts, &[], None), ["c"], "not for the interpreter of b");
        assert_eq!(waits(&hosts, &[("node", "b")], None), [""; 0]);
        assert_eq!(waits(&hosts, &[("node", "b:other,c")], None), ["b", "c"], "b may not have it");
        assert_eq!(waits(&hosts, &[("implementation", "pypy")], None), ["b", "c"]);
        assert_eq!(waits(&hosts, &[], Some(2)), [""; 0]);
        assert_eq!(waits(&hosts, &[], Some(3)), ["c"]);
        hosts[0].drained = true;
        assert_eq!(waits(&hosts, &[], Some(2)), ["c"], "a drained host comes last");
    }

    #[test]
    fn nodes_can_choose_hosts() {
        assert_eq!(sorted(&[("implementation", "pypy")]), (vec!["a".into()], vec![]));
        let (ids, left_out) = sorted(&[("python-version", ">=3")]);
        assert_eq!((ids, left_out.len()), (vec!["a".to_owned()], 1));
        assert_eq!(sorted(&[("platform", "java")]), (vec![], vec![]));
    }

    #[test]
    fn the_least_busy_hosts_are_taken() {
        let mut all = hosts();
        for (at, processes) in [5, 3, 4, 3].into_iter().enumerate() {
            all[at].processes = processes;
        }
        all[2].cpus = Some(16);
        let ids = |all: &[HostStatus], limit| {
            let ids: Vec<_> = all.iter().map(|host| host.id.clone()).collect();
            least_busy(all, ids, |id| id, limit)
        };
        assert_eq!((ids(&all, 1), ids(&all, 2)), (vec!["b".to_owned()], vec!["b".into(), "d".into()]));
        assert_eq!(ids(&all, 9).len(), 4);
        all[2].state = HostState::Up;
        assert_eq!((ids(&all, 1), ids(&all, 2)), (vec!["c".to_owned()], vec!["b".into(), "c".into()]));
        all[2].drained = true;
        assert_eq!(ids(&all, 2), ["b", "d"], "a drained host takes no new work");
    }
}
