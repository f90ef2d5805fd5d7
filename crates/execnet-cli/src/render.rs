//! A network as text and tables. Colours only repeat what the words say.

use execnet_proto::control::{HostState, HostStatus, NodeState, NodeStatus, Status, Step};
use execnet_proto::shell::quoted;

use crate::style;
use crate::text::{duration, fit, one_line, table};

/// Limits for what a host says of itself, so that other rows stay readable.
const PLATFORM: usize = 24;
const VERSION: usize = 32;
const EXECUTABLE: usize = 100;

const HEAD: [&str; 7] = ["HOST / NODE", "STATE", "PLATFORM", "PYTHON", "VIA", "PROCS", "RTT"];

/// The status of a network: a line about it, then its hosts with their nodes.
pub(crate) fn status(status: &Status) -> String {
    let clients = match status.clients {
        1 => "1 client".to_owned(),
        clients => format!("{clients} clients"),
    };
    let title = format!(
        "{}: running for {}, daemon {}, {clients}\n",
        status.network,
        duration(status.uptime),
        status.pid
    );
    let place = place(status);
    if status.hosts.is_empty() {
        return format!("{title}no hosts; `execnet addhost {} SPEC` adds one\n{place}", status.network);
    }
    format!("{}\n{}{place}", one_line(&title), hosts(&status.hosts))
}

/// Where the daemon's socket is, unless it is in the usual place.
fn place(status: &Status) -> String {
    let (Some(socket), Some(why)) = (&status.socket, &status.socket_note) else { return String::new() };
    format!("{}: its socket is {}: {}\n", status.network, one_line(socket), one_line(why))
}

/// Hosts with their nodes, then notes on hosts that are up, and the messages of failed nodes on hosts that
/// have others. [`trouble`] covers the rest.
pub(crate) fn hosts(hosts: &[HostStatus]) -> String {
    let rows: Vec<Vec<String>> = hosts.iter().flat_map(host_rows).collect();
    let mut text = table(&HEAD, &rows);
    for host in hosts {
        if let Some(note) = drain_note(host) {
            text.push_str(&format!("{note}\n"));
        }
        if let Some(note) = &host.note {
            text.push_str(&format!("{}: {}\n", one_line(&host.id), one_line(note)));
        }
    }
    let told = |host: &&HostStatus| host.state != HostState::Up || has_ready(host);
    for node in hosts.iter().filter(told).flat_map(|host| &host.nodes) {
        if let (NodeState::Failed, Some(message)) = (node.state, &node.message) {
            text.push_str(&format!("{}: {}\n", one_line(&node.name), one_line(message)));
        }
    }
    text
}

/// All of [`trouble`] for hosts that cannot be used now.
pub(crate) fn troubles(network: &str, hosts: &[HostStatus]) -> String {
    let broken = |host: &&HostStatus| match host.state {
        HostState::Failed | HostState::Unreachable => true,
        HostState::Up => host.nodes.iter().all(|node| node.state == NodeState::Failed),
        HostState::Joining | HostState::Leaving => false,
    };
    let troubles = hosts.iter().filter(broken).filter_map(|host| trouble(network, host));
    troubles.map(|trouble| format!("\n{trouble}")).collect()
}

fn has_ready(host: &HostStatus) -> bool {
    host.nodes.iter().any(|node| node.state == NodeState::Ready)
}

/// A host's row, then those of its nodes; one row for both if the host is its only node.
fn host_rows(host: &HostStatus) -> Vec<Vec<String>> {
    let via = host.via.clone().unwrap_or_default();
    let rtt = host.rtt.map(round_trip).unwrap_or_default();
    let processes = |n: u32| {
        if matches!(host.state, HostState::Failed | HostState::Joining) {
            String::new()
        } else {
            n.to_string()
        }
    };
    let row = |platform: String, python: String| {
        vec![
            host.id.clone(),
            state_cell(host),
            platform,
            python,
            via.clone(),
            processes(host.processes),
            rtt.clone(),
        ]
    };
    if let [only] = host.nodes.as_slice()
        && only.name == host.id
        && only.state == NodeState::Ready
    {
        return vec![row(cell(&only.platform, PLATFORM), python(only))];
    }
    let mut rows = vec![row(String::new(), String::new())];
    rows.extend(host.nodes.iter().map(|node| {
        let python = match node.state {
            NodeState::Failed => cell(&node.executable, EXECUTABLE),
            _ => python(node),
        };
        let name = format!("  {}", node.name);
        vec![
            name,
            node_word(host, node),
            cell(&node.platform, PLATFORM),
            python,
            String::new(),
            node.processes.to_string(),
            String::new(),
        ]
    }));
    rows
}

/// The state of a node, or of its host if that is not up.
fn node_word(host: &HostStatus, node: &NodeStatus) -> String {
    match (host.state, node.state) {
        (HostState::Up | HostState::Joining, state) | (_, state @ NodeState::Failed) => state.to_string(),
        (state, _) => state.to_string(),
    }
}

fn state_word(host: &HostStatus) -> String {
    match (host.state, host.step) {
        (HostState::Joining | HostState::Failed, Some(step)) => format!("{}: {step}", host.state),
        (state, _) => state.to_string(),
    }
}

/// The same, with the word that it takes no new work.
fn state_cell(host: &HostStatus) -> String {
    let drained = host.drained && host.state != HostState::Leaving;
    state_word(host) + if drained { ", drained" } else { "" }
}

/// What becomes of a drained host, and what it waits for.
fn drain_note(host: &HostStatus) -> Option<String> {
    if !host.removing || host.state == HostState::Leaving {
        return None;
    }
    let busy = host.busy.as_deref().map_or_else(String::new, |busy| format!("; {}", one_line(busy)));
    Some(format!("{}: draining: rmhost when idle{busy}", one_line(&host.id)))
}

/// `CPython 3.11.2`.
fn python(node: &NodeStatus) -> String {
    let name = match node.implementation.to_lowercase().as_str() {
        "cpython" => "CPython",
        "pypy" => "PyPy",
        "jython" => "Jython",
        _ => &node.implementation,
    };
    cell(&format!("{name} {}", node.version), VERSION)
}

fn cell(text: &str, width: usize) -> String {
    fit(&one_line(text), width)
}

fn round_trip(seconds: f64) -> String {
    match seconds * 1_000.0 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

/// The state of a host in one line: `up: CPython 3.11.2, PyPy 3.9.16`.
pub(crate) fn state_line(host: &HostStatus) -> String {
    let line = match (host.state, &host.error) {
        (HostState::Up, _) => {
            let ready = host.nodes.iter().filter(|node| node.state == NodeState::Ready);
            let nodes: Vec<String> = ready.map(python).collect();
            let failed = host
                .nodes
                .iter()
                .filter(|node| node.state == NodeState::Failed)
                .map(|node| format!("{} failed", node.name));
            let all: Vec<String> = nodes.into_iter().chain(failed).collect();
            match host.nodes.len() {
                // no node, or none that has answered yet
                _ if all.is_empty() => "up".to_owned(),
                1 if !has_ready(host) && all.len() == 1 => {
                    "connected, but its Python does not work".to_owned()
                }
                count if !has_ready(host) && all.len() == count => {
                    "connected, but none of its Pythons works".to_owned()
                }
                _ => format!("{}: {}", state_cell(host), all.join(", ")),
            }
        }
        (HostState::Failed | HostState::Unreachable, Some(error)) => {
            format!("{}: {}", state_word(host), reason(&host.id, error))
        }
        _ => state_word(host),
    };
    one_line(&line)
}

/// The state of a host while others join: `build1: up: CPython 3.11.2`. [`trouble`] says why it failed, once
/// all have settled.
pub(crate) fn progress_line(host: &HostStatus) -> String {
    let state = match host.state {
        HostState::Failed | HostState::Unreachable => one_line(&state_word(host)),
        _ => state_line(host),
    };
    format!("{}: {}", one_line(&host.id), coloured(host, &state))
}

/// A line that [`state_line`] or [`state_word`] made, with its state in colour.
fn coloured(host: &HostStatus, line: &str) -> String {
    match (host.state, has_ready(host) || host.nodes.is_empty()) {
        (HostState::Up, true) => style::state("up") + line.strip_prefix("up").unwrap_or_default(),
        (HostState::Up, false) if line != "up" => style::bad(line),
        _ => {
            let word = state_word(host);
            style::state(&word) + line.strip_prefix(&word).unwrap_or_default()
        }
    }
}

/// Why a host is unreachable, without the prefix `HOST is unreachable: ` that the daemon may have added.
pub(crate) fn reason<'a>(host: &str, why: &'a str) -> &'a str {
    let rest = why.strip_prefix(host).and_then(|rest| rest.strip_prefix(" is unreachable: "));
    rest.unwrap_or(why)
}

/// What to know of a host on which nothing can run: the step that failed, the last lines from there, what to
/// do.
pub(crate) fn trouble(network: &str, host: &HostStatus) -> Option<String> {
    let hinted = format!("  {}", style::hint());
    let mut text = format!("{}: {}\n", one_line(&host.id), coloured(host, &state_line(host)));
    if host.state == HostState::Up {
        if host.nodes.is_empty() || has_ready(host) {
            return None;
        }
        for node in &host.nodes {
            text.push_str(&format!(
                "    {}\n",
                one_line(node.message.as_deref().unwrap_or("no working Python"))
            ));
        }
        let spec = quoted(&one_line(&host.spec));
        let network = one_line(network);
        // an agent that cannot outlive its link probes its interpreters only once
        let first = match host.resume {
            true => String::new(),
            false => format!("execnet rmhost {network} {} && ", one_line(&host.id)),
        };
        text.push_str(&format!("{hinted} after fixing it, run: {first}execnet addhost {network} {spec}\n"));
    }
    for line in &host.said {
        text.push_str(&format!("    {}\n", one_line(line)));
    }
    if let Some(hint) = &host.hint {
        text.push_str(&format!("{hinted} {}\n", one_line(hint)));
    }
    if (host.state, host.step) == (HostState::Failed, Some(Step::Resolve)) {
        // the network's file lists it by now
        let [network, id] = [network, &host.id].map(one_line);
        text.push_str(&format!("{hinted} if it is mistyped, run: execnet rmhost {network} {id}\n"));
    }
    if let Some(seconds) = host.retry_in.filter(|_| host.state != HostState::Up) {
        text.push_str(&format!("  retrying in {}\n", duration(seconds.max(1.0))));
    }
    Some(text)
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
