//! The nodes on which the code is executed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use execnet::Network;
use execnet_proto::control::{HostState, HostStatus, NodeState, Status, Verb};
use execnet_proto::spec::{NodeInfo, NodeSelection};

use super::NodeOutcome;
use super::printer::Origin;
use crate::commands::used_though_drained;
use crate::connection;
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

/// How often to look whether hosts have joined.
const LOOK: Duration = Duration::from_millis(200);

/// How long to wait for them without saying so, as the daemon does.
const SILENT: Duration = Duration::from_secs(5);

/// How many names or reasons are listed.
const LISTED: usize = 10;

/// The matching nodes that are ready. Waits for those that may be soon, and names the ones that are not.
pub(super) fn choose(
    network: &Network,
    selection: NodeSelection,
) -> Result<(Vec<Destination>, NodeOutcome), CommandError> {
    let status = settled(network, &selection)?;
    let (origins, left_out) = sort(&status.hosts, &selection);
    if origins.is_empty() {
        // the daemon's refusal says which nodes exist
        if left_out.is_empty() {
            return Ok((vec![Destination { selection, origin: None }], NodeOutcome::Fine));
        }
        return Err(unusable(&status.network, left_out));
    }
    for line in &left_out {
        say(&format!("execnet: skipped: {line}"));
    }
    let used = |host: &&HostStatus| origins.iter().any(|origin| origin.host == host.id);
    for host in status.hosts.iter().filter(|host| host.drained && selection.node.is_some()).filter(used) {
        say(&used_though_drained(&host.id));
    }
    let destination = |origin: Origin| {
        let selection = NodeSelection { node: Some(origin.node.clone()), ..NodeSelection::default() };
        Destination { selection, origin: Some(origin) }
    };
    let worst = if left_out.is_empty() { NodeOutcome::Fine } else { NodeOutcome::Broken };
    Ok((origins.into_iter().map(destination).collect(), worst))
}

/// The network's status, once no host is joining that may have a matching node.
fn settled(network: &Network, selection: &NodeSelection) -> Result<Status, CommandError> {
    let (began, mut said) = (Instant::now(), false);
    loop {
        let status: Status = connection::ask_once(network, Verb::Status)?;
        let pending = status.hosts.iter().filter(|host| may_match_soon(host, selection));
        let pending: Vec<String> = pending.map(|host| one_line(&host.id)).collect();
        if pending.is_empty() {
            return Ok(status);
        }
        if began.elapsed() >= SILENT && !std::mem::replace(&mut said, true) {
            say(&format!("execnet: waiting for hosts that are joining: {}", listed(pending, ", ")));
        }
        sleep(LOOK);
    }
}

/// Whether a host is joining, or looks at its interpreters, of which one may match.
fn may_match_soon(host: &HostStatus, selection: &NodeSelection) -> bool {
    let named = |name: &String| {
        name.strip_prefix(host.id.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    };
    let probing = || host.nodes.iter().any(|node| node.state == NodeState::Probing);
    let unsettled = host.state == HostState::Joining || host.state == HostState::Up && probing();
    unsettled && selection.node.as_ref().is_none_or(named)
}

fn listed(mut all: Vec<String>, between: &str) -> String {
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join(between)
}

/// The error if there are matching nodes, but none can be used.
fn unusable(network: &str, left_out: Vec<String>) -> CommandError {
    let message = match &left_out[..] {
        [only] => format!("the only matching node of `{network}` cannot be used: {only}"),
        _ => format!("no matching node of `{network}` can be used:\n  {}", listed(left_out, "\n  ")),
    };
    CommandError::new(Exit::HostsFailed, message)
        .hint(format!("`execnet status {network}` says what to do, and when they are tried again"))
}

/// The matching nodes that are ready, and a line about each matching node and host that is not.
fn sort(hosts: &[HostStatus], selection: &NodeSelection) -> (Vec<Origin>, Vec<String>) {
    let (mut ready, mut left_out) = (Vec::new(), Vec::new());
    let asks_for_version = selection.python_version.is_some();
    for host in hosts {
        let unknown =
            NodeInfo { name: &host.id, host: &host.id, platform: "", implementation: "", version: "" };
        let before = left_out.len();
        for node in &host.nodes {
            if !selection.matches(&node.info()) || asks_for_version && node.version.is_empty() {
                continue;
            }
            // the daemon waits for a node selected by name, if it may be back soon
            let usable = host.state == HostState::Up
                || host.state == HostState::Unreachable && selection.node.is_some();
            if usable && node.state == NodeState::Ready {
                ready.push(Origin { node: node.name.clone(), host: host.id.clone() });
            } else if host.state == HostState::Up {
                let why = node.message.as_deref().unwrap_or("it is still being probed");
                left_out.push(format!("{}: {}", one_line(&node.name), one_line(why)));
            } else if left_out.len() == before {
                left_out.push(left_out_host(host));
            }
        }
        if host.nodes.is_empty() && !asks_for_version && selection.matches(&unknown) {
            left_out.push(left_out_host(host));
        }
    }
    (ready, left_out)
}

fn left_out_host(host: &HostStatus) -> String {
    format!("{}: {}", one_line(&host.id), one_line(&state_line(host)))
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
