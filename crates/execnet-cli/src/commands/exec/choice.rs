//! The nodes on which the code is executed.

use std::collections::{HashMap, VecDeque};

use execnet::Network;
use execnet_proto::control::{HostState, HostStatus, NodeState};
use execnet_proto::spec::NodeSelection;

use super::printer::Origin;
use crate::commands::meant::{Meant, listed, settled};
use crate::commands::used_though_drained;
use crate::error::{CommandError, Exit};
use crate::print::say;
use crate::render::state_line;
use crate::text::one_line;

/// Where to execute the code.
pub(super) struct Destination {
    pub(super) selection: NodeSelection,
    /// None if the daemon chooses.
    pub(super) origin: Option<Origin>,
}

/// The matching nodes that are ready, at most `limit`, and the names of those left out. Waits for those that
/// may be ready soon, and says why others are not.
pub(super) fn choose(
    network: &Network,
    selection: NodeSelection,
    limit: Option<usize>,
) -> Result<(Vec<Destination>, Vec<String>), CommandError> {
    let (status, meant) = settled(network, &selection)?;
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
        origins = least_busy(&status.hosts, origins, limit);
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

/// At most this many of the nodes, on hosts with the fewest processes per processor, in the order of the
/// hosts. Each node that is taken counts as a process. Drained hosts come last.
pub(in crate::commands) fn least_busy(
    hosts: &[HostStatus],
    origins: Vec<Origin>,
    limit: usize,
) -> Vec<Origin> {
    let mut processes: Vec<u64> = hosts.iter().map(|host| host.processes.into()).collect();
    let at: HashMap<&str, usize> = hosts.iter().enumerate().map(|(at, host)| (&*host.id, at)).collect();
    let mut waiting: Vec<VecDeque<(usize, Origin)>> = hosts.iter().map(|_| VecDeque::new()).collect();
    for (place, origin) in origins.into_iter().enumerate() {
        if let Some(at) = at.get(origin.host.as_str()) {
            waiting[*at].push_back((place, origin));
        }
    }
    let mut taken = Vec::new();
    while taken.len() < limit {
        let open = (0..hosts.len()).filter(|at| !waiting[*at].is_empty());
        let best = open.min_by(|one, other| {
            let cpus = |at: usize| u64::from(hosts[at].cpus.unwrap_or(1).max(1));
            // processes / cpus, without fractions
            let load = |of: usize, over: usize| processes[of] * cpus(over);
            let drained = hosts[*one].drained.cmp(&hosts[*other].drained);
            drained.then(load(*one, *other).cmp(&load(*other, *one)))
        });
        let Some(best) = best else { break };
        taken.extend(waiting[best].pop_front());
        processes[best] += 1;
    }
    taken.sort_by_key(|(place, _)| *place);
    taken.into_iter().map(|(_, origin)| origin).collect()
}

/// The error if there are matching nodes or hosts (`what`), but none can be used.
pub(in crate::commands) fn unusable(network: &str, what: &str, left_out: Vec<String>) -> CommandError {
    let message = match &left_out[..] {
        [only] => format!("the only matching {what} of `{network}` cannot be used: {only}"),
        _ => format!("no matching {what} of `{network}` can be used:\n  {}", listed(left_out, "\n  ")),
    };
    CommandError::new(Exit::HostsFailed, message)
        .hint(format!("`execnet status {network}` says what to do, and when they are tried again"))
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

pub(in crate::commands) fn left_out_host(host: &HostStatus) -> String {
    format!("{}: {}", one_line(&host.id), one_line(&state_line(host)))
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
