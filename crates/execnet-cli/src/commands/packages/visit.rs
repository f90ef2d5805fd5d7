//! Asks hosts about the packages they hold, many at a time, through a gateway on one of their nodes.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use execnet::packages::StoredError;
use execnet::{Gateway, Network, OpenError, StartError};
use execnet_proto::control::{HostState, HostStatus, NodeState, NodeStatus};

use super::cleaned;
use crate::print::say;
use crate::render::{reason, state_line};
use crate::text::one_line;

/// How many are asked at a time.
const PARALLEL: usize = 32;

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a host answered, or why it did not.
pub(in crate::commands) struct Visited<T> {
    pub(in crate::commands) host: String,
    pub(in crate::commands) outcome: Result<T, String>,
}

/// Asks each of these hosts. Those that are not up are waited for as by `execnet python`, if `wait`.
pub(super) fn visit<T: Send>(
    network: &Network,
    hosts: &[&HostStatus],
    wait: bool,
    ask: fn(&Gateway) -> Result<T, StoredError>,
) -> Vec<Visited<T>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    let work = || {
        while let Some(host) = hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let at = hosts.iter().position(|other| other.id == host.id);
            let outcome = destination(host, wait).and_then(|node| ask_node(network, host, node, ask));
            let visited = Visited { host: host.id.clone(), outcome };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push((at, visited));
        }
    };
    thread::scope(|scope| {
        // this thread works, too, so that there is one even if the system starts no other
        for _ in 1..hosts.len().min(PARALLEL) {
            let _ = thread::Builder::new().name("host".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, visited)| visited).collect()
}

/// Removes what these hosts hold and nobody uses, before they are told to end. Says what went, and names
/// those that could not be asked; then it is false.
pub(in crate::commands) fn clean(network: &Network, hosts: &[&HostStatus]) -> bool {
    let mut all = true;
    for Visited { host, outcome } in visit(network, hosts, false, execnet::packages::clean) {
        match outcome {
            Ok(done) => say(&cleaned(&host, &done)),
            Err(why) => {
                all = false;
                say(&format!("{}: its packages stay: {}", one_line(&host), one_line(&why)));
            }
        }
    }
    all
}

/// The node that answers for a host.
pub(super) fn destination(host: &HostStatus, wait: bool) -> Result<&str, String> {
    match host.state {
        HostState::Up => {
            match host.nodes.iter().filter(|node| node.state == NodeState::Ready).min_by_key(rank) {
                Some(node) => Ok(&node.name),
                // the daemon waits for its interpreters
                None if host.nodes.iter().any(|node| node.state == NodeState::Probing) => Ok(&host.id),
                None => Err("it has no working Python".to_owned()),
            }
        }
        HostState::Joining | HostState::Unreachable if wait => Ok(&host.id),
        _ => Err(state_line(host)),
    }
}

/// The best node comes first: CPython 3 starts fastest, Jython slowest.
pub(in crate::commands) fn rank(node: &&NodeStatus) -> impl Ord + use<> {
    let modern = node.version.starts_with('3');
    let implementation =
        ["cpython", "pypy"].iter().position(|name| *name == node.implementation).unwrap_or(2);
    (Reverse(modern), implementation)
}

fn ask_node<T>(
    network: &Network,
    host: &HostStatus,
    node: &str,
    ask: fn(&Gateway) -> Result<T, StoredError>,
) -> Result<T, String> {
    let gateway = network.makegateway().node(node).visit_packages().timeout(PATIENCE).on_output(|_, _| {});
    let gateway = gateway.start().map_err(|error| match &error {
        OpenError::Place(StartError::NoMatch { message }) => reason(&host.id, message).to_owned(),
        error => error.to_string(),
    })?;
    let answer = ask(&gateway).map_err(|error| error.to_string());
    let _ = gateway.exit();
    answer
}
