//! The hosts that take part in a copy, each with the best of its nodes that match.

use execnet::Network;
use execnet_proto::control::{HostState, NodeState, Status};
use execnet_proto::spec::NodeSelection;

use crate::commands::candidates::{left_out_host, unusable};
use crate::commands::meant::{Meant, settled};
use crate::commands::packages::visit::rank;
use crate::commands::used_though_drained;
use crate::error::CommandError;
use crate::print::say;
use crate::text::one_line;

/// A host, and the node that copies there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) host: String,
    pub(super) node: String,
}

/// The hosts with a matching node, and a line about each that cannot take part. Waits for those that may be
/// ready soon.
///
/// # Errors
/// If none of the hosts can take part.
pub(super) fn hosts(
    network: &Network,
    selection: &NodeSelection,
) -> Result<(Vec<Destination>, Vec<String>), CommandError> {
    let (status, meant) = settled(network, selection, Meant::pending)?;
    let (ready, left_out) = sort(&status, &meant);
    if ready.is_empty() && !left_out.is_empty() {
        return Err(unusable(&status.network, "node", left_out));
    }
    let used = |id: &str| ready.iter().any(|one: &Destination| one.host == id);
    for host in status.hosts.iter().filter(|host| host.drained && meant.is_by_name() && used(&host.id)) {
        say(&used_though_drained(&host.id));
    }
    Ok((ready, left_out))
}

fn sort(status: &Status, meant: &Meant) -> (Vec<Destination>, Vec<String>) {
    let (mut ready, mut left_out) = (Vec::new(), Vec::new());
    for host in meant.hosts(status) {
        // the daemon waits for a host selected by name, if it may be back soon
        let usable =
            host.state == HostState::Up || host.state == HostState::Unreachable && meant.is_by_name();
        let nodes = host.nodes.iter().filter(|node| meant.has(node) && node.state == NodeState::Ready);
        match nodes.min_by_key(rank) {
            Some(node) if usable => {
                ready.push(Destination { host: host.id.clone(), node: node.name.clone() });
            }
            _ if host.state == HostState::Up => {
                left_out.push(format!("{}: it has no working Python", one_line(&host.id)));
            }
            _ => left_out.push(left_out_host(host)),
        }
    }
    (ready, left_out)
}

#[cfg(test)]
mod tests {
    use execnet_proto::control::{HostStatus, NodeStatus};

    use super::*;

    fn host(id: &str, state: HostState, nodes: &[(&str, &str, NodeState)]) -> HostStatus {
        let node = |(implementation, version, state): &(&str, &str, NodeState)| NodeStatus {
            name: format!("{id}:{implementation}{version}"),
            host: id.to_owned(),
            state: *state,
            implementation: (*implementation).to_owned(),
            version: (*version).to_owned(),
            ..NodeStatus::default()
        };
        HostStatus { id: id.into(), state, nodes: nodes.iter().map(node).collect(), ..HostStatus::default() }
    }

    #[test]
    fn each_host_takes_part_once_with_its_best_node() {
        use NodeState::{Failed, Ready};
        let hosts = [
            host("a", HostState::Up, &[("jython", "2.7.3", Ready), ("pypy", "3.9", Ready)]),
            host("b", HostState::Up, &[("pypy", "3.9", Ready), ("cpython", "3.11", Ready)]),
            host("c", HostState::Up, &[("cpython", "3.11", Failed)]),
            host("d", HostState::Up, &[("jython", "2.7.3", Ready), ("cpython", "3.11", Failed)]),
            host("e", HostState::Failed, &[]),
        ];
        let status = Status { hosts: hosts.into(), ..Status::default() };
        let sort = |selection: &NodeSelection| sort(&status, &Meant::by(selection, &status).unwrap());
        let (ready, left_out) = sort(&NodeSelection::default());
        let ready: Vec<_> = ready.iter().map(|one| (one.host.as_str(), one.node.as_str())).collect();
        assert_eq!(ready, [("a", "a:pypy3.9"), ("b", "b:cpython3.11"), ("d", "d:jython2.7.3")]);
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        assert_eq!(left_out[0], "c: it has no working Python");
        assert!(left_out[1].starts_with("e: "));
        let only = NodeSelection::from_pairs([("implementation", "pypy")]).unwrap();
        let (ready, left_out) = sort(&only);
        assert_eq!((ready.len(), left_out.len()), (2, 0), "{left_out:?}");
    }
}
