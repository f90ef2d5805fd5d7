//! The nodes on which the code is executed.

use execnet::Network;
use execnet_proto::control::{HostState, HostStatus, NodeState, NodeStatus};
use execnet_proto::spec::NodeSelection;

use super::printer::Origin;
use crate::commands::candidates::{least_busy, left_out_host, unusable};
use crate::commands::meant::{Meant, settled};
use crate::commands::used_though_drained;
use crate::error::CommandError;
use crate::print::say;
use crate::text::one_line;

/// Where to execute the code.
pub(super) struct Destination {
    pub(super) selection: NodeSelection,
    /// None if the daemon chooses.
    pub(super) origin: Option<Origin>,
}

/// The matching nodes that are ready, at most `limit`, and the names of those left out. Waits for those that
/// may be ready soon, unless there are enough without them, and says why others are not.
pub(super) fn choose(
    network: &Network,
    selection: NodeSelection,
    limit: Option<usize>,
) -> Result<(Vec<Destination>, Vec<String>), CommandError> {
    let (status, meant) = settled(network, &selection, |meant, status| match limit {
        Some(limit) if at_hand(&status.hosts, meant) >= limit => Vec::new(),
        _ => meant.pending(status),
    })?;
    let (mut origins, mut left_out) = sort(&status.hosts, &meant);
    if origins.is_empty() {
        // the daemon's refusal says which nodes exist
        if left_out.is_empty() {
            return Ok((vec![Destination { selection, origin: None }], Vec::new()));
        }
        return Err(unusable(&status.network, "node", left_out));
    }
    if let Some(limit) = limit {
        if origins.len() >= limit {
            left_out.clear();
        }
        origins = least_busy(&status.hosts, origins, |origin| &origin.host, limit);
    }
    for line in &left_out {
        say(&format!("execnet: skipped: {line}"));
    }
    let used = |host: &&HostStatus| origins.iter().any(|origin| origin.host == host.id);
    for host in status.hosts.iter().filter(|host| host.drained && meant.is_by_name()).filter(used) {
        say(&used_though_drained(&host.id));
    }
    let left_out = left_out.iter().map(|line| line.split(": ").next().unwrap_or_default().to_owned());
    let destination = |origin: Origin| {
        let selection = NodeSelection { node: Some(origin.node.clone()), ..NodeSelection::default() };
        Destination { selection, origin: Some(origin) }
    };
    Ok((origins.into_iter().map(destination).collect(), left_out.collect()))
}

/// How many matching nodes can be taken at once: drained hosts and those that may come back come last.
fn at_hand(hosts: &[HostStatus], meant: &Meant) -> usize {
    let hosts = hosts.iter().filter(|host| host.state == HostState::Up && !host.drained);
    let ready = |node: &&NodeStatus| meant.has(node) && node.state == NodeState::Ready;
    hosts.flat_map(|host| host.nodes.iter().filter(ready)).count()
}

/// The matching nodes that are ready, and a line about each matching node and host that is not.
fn sort(hosts: &[HostStatus], meant: &Meant) -> (Vec<Origin>, Vec<String>) {
    let (mut ready, mut left_out) = (Vec::new(), Vec::new());
    for host in hosts {
        let before = left_out.len();
        for node in host.nodes.iter().filter(|node| meant.has(node)) {
            // the daemon waits for a node selected by name, if it may be back soon
            let usable =
                host.state == HostState::Up || host.state == HostState::Unreachable && meant.is_by_name();
            if usable && node.state == NodeState::Ready {
                ready.push(Origin { node: node.name.clone(), host: host.id.clone() });
            } else if host.state == HostState::Up {
                let why = node.message.as_deref().unwrap_or("it is still being probed");
                left_out.push(format!("{}: {}", one_line(&node.name), one_line(why)));
            } else if left_out.len() == before {
                left_out.push(left_out_host(host));
            }
        }
        if host.nodes.is_empty() && meant.has_unknown(host) {
            left_out.push(left_out_host(host));
        }
    }
    (ready, left_out)
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
