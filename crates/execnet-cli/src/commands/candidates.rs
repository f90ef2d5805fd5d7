//! Nodes and hosts that match: which of them a command takes if it needs only some, and why others cannot be
//! used.

use std::collections::{HashMap, VecDeque};

use execnet::StartError;
use execnet_proto::control::{HostState, HostStatus};
use execnet_proto::spec::NetworkName;

use super::meant::listed;
use crate::connection;
use crate::error::{CommandError, Exit};
use crate::render::state_line;
use crate::text::one_line;

/// At most this many of the nodes or hosts, those on hosts with the fewest processes per processor, in the
/// order in which they came. Each that is taken counts as a process. Unreachable hosts and
/// drained ones come last.
pub(super) fn least_busy<T>(
    hosts: &[HostStatus],
    all: Vec<T>,
    host_of: impl Fn(&T) -> &str,
    limit: usize,
) -> Vec<T> {
    let mut processes: Vec<u64> = hosts.iter().map(|host| host.processes.into()).collect();
    let at: HashMap<&str, usize> = hosts.iter().enumerate().map(|(at, host)| (&*host.id, at)).collect();
    let mut waiting: Vec<VecDeque<(usize, T)>> = hosts.iter().map(|_| VecDeque::new()).collect();
    for (place, one) in all.into_iter().enumerate() {
        if let Some(at) = at.get(host_of(&one)) {
            waiting[*at].push_back((place, one));
        }
    }
    let mut taken = Vec::new();
    while taken.len() < limit {
        let open = (0..hosts.len()).filter(|at| !waiting[*at].is_empty());
        let best = open.min_by(|one, other| {
            let cpus = |at: usize| u64::from(hosts[at].cpus.unwrap_or(1).max(1));
            // processes / cpus, without fractions
            let load = |of: usize, over: usize| processes[of] * cpus(over);
            // last those that take no new work, and before them those that may come back
            let last = |at: usize| (hosts[at].drained, hosts[at].state == HostState::Unreachable);
            last(*one).cmp(&last(*other)).then(load(*one, *other).cmp(&load(*other, *one)))
        });
        let Some(best) = best else { break };
        taken.extend(waiting[best].pop_front());
        processes[best] += 1;
    }
    taken.sort_by_key(|(place, _)| *place);
    taken.into_iter().map(|(_, one)| one).collect()
}

/// The error if there are matching nodes or hosts (`what`), but none can be used.
pub(super) fn unusable(network: &str, what: &str, left_out: Vec<String>) -> CommandError {
    let message = match &left_out[..] {
        [only] => format!("the only matching {what} of `{network}` cannot be used: {only}"),
        _ => format!("no matching {what} of `{network}` can be used:\n  {}", listed(left_out, "\n  ")),
    };
    CommandError::new(Exit::HostsFailed, message)
        .hint(format!("`execnet status {network}` says what to do, and when they are tried again"))
}

/// The error if the daemon found no node.
pub(super) fn unplaced(name: &NetworkName, error: &StartError) -> CommandError {
    match error {
        StartError::Connect(error) => connection::unconnected(name, error),
        StartError::NoMatch { message } => connection::no_match(Exit::NoHost, message),
        error => CommandError::new(Exit::Failed, error),
    }
}

/// A line about a host that cannot be used.
pub(super) fn left_out_host(host: &HostStatus) -> String {
    format!("{}: {}", one_line(&host.id), one_line(&state_line(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_takes_the_least_busy_hosts_one_node_each_time() {
        let host = |id: &str, cpus: u32, processes: u32| HostStatus {
            id: id.into(),
            cpus: Some(cpus),
            processes,
            drained: id == "drained",
            ..HostStatus::default()
        };
        let hosts = [host("a", 2, 3), host("b", 8, 4), host("c", 1, 0), host("drained", 64, 0)];
        let nodes = [("a", "a"), ("b:1", "b"), ("b:2", "b"), ("c:1", "c"), ("c:2", "c"), ("d", "drained")];
        let taken = |limit| {
            let taken = least_busy(&hosts, nodes.to_vec(), |(_, host)| host, limit);
            taken.into_iter().map(|(node, _)| node).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(taken(1), "c:1");
        assert_eq!(taken(3), "b:1 b:2 c:1");
        assert_eq!(taken(4), "b:1 b:2 c:1 c:2");
        assert_eq!(taken(5), "a b:1 b:2 c:1 c:2");
        assert_eq!(taken(99), "a b:1 b:2 c:1 c:2 d");
    }

    #[test]
    fn many_nodes_that_cannot_be_used_have_a_line_each_up_to_a_limit() {
        let left_out = |count| (0..count).map(|n| format!("h{n}: failed: connect")).collect();
        insta::assert_snapshot!(unusable("net", "node", left_out(1)), @"
        Error: the only matching node of `net` cannot be used: h0: failed: connect
        Hint: `execnet status net` says what to do, and when they are tried again
        ");
        insta::assert_snapshot!(unusable("net", "node", left_out(12)), @"
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
}
