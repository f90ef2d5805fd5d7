//! Which nodes and hosts of a network a command means: `--node` and its siblings, held against the status.

use std::collections::{HashMap, HashSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use execnet::Network;
use execnet_proto::control::{HostStatus, NodeState, NodeStatus, Status, Verb};
use execnet_proto::spec::sets::{Groups, Member, NodeSet, Universe, Unresolved, fold};
use execnet_proto::spec::{NodeInfo, NodeSelection};

use crate::connection;
use crate::error::{CommandError, Exit};
use crate::print::say;
use crate::text::one_line;

/// How often to look whether hosts have joined.
const LOOK: Duration = Duration::from_millis(200);

/// How long to wait for them without saying so, as the daemon does.
const SILENT: Duration = Duration::from_secs(5);

/// How many names or reasons are listed.
const LISTED: usize = 10;

/// What a selection means in a network.
#[derive(Debug)]
pub(super) struct Meant {
    selection: NodeSelection,
    /// The known nodes that are named, by host; and whether nodes that are not known yet are.
    named: HashMap<String, (HashSet<String>, bool)>,
    by_name: bool,
}

impl Meant {
    /// Looks up the names of a selection.
    ///
    /// # Errors
    /// If one means nothing, or all together mean no node.
    pub(super) fn by(selection: &NodeSelection, status: &Status) -> Result<Self, CommandError> {
        let set = selection.set_of_nodes().map_err(|error| CommandError::new(Exit::Usage, error))?;
        let groups = status.groups();
        let universe = status.universe(&groups);
        let chosen = universe.choose(set.as_ref()).map_err(|error| unresolved(&error, status))?;
        let named = status.hosts.iter().map(|host| {
            let nodes = host.nodes.iter().filter(|node| chosen.has(&host.id, &node.name));
            let nodes = nodes.map(|node| node.name.clone()).collect();
            (host.id.clone(), (nodes, chosen.may_have(&host.id)))
        });
        let by_name = set.is_some_and(|set| !set.is_all_but());
        Ok(Meant { selection: selection.clone(), named: named.collect(), by_name })
    }

    /// Whether the nodes are named, not all nodes or all but some.
    pub(super) fn is_by_name(&self) -> bool {
        self.by_name
    }

    /// Whether this node is meant.
    pub(super) fn has(&self, node: &NodeStatus) -> bool {
        self.names(node) && self.selection.fits(&node.info())
    }

    /// Whether nodes of this host that are not known yet are meant, as far as their names tell.
    pub(super) fn has_unknown(&self, host: &HostStatus) -> bool {
        let nothing = NodeInfo { platform: "", implementation: "", version: "" };
        self.names_unknown(host) && self.selection.fits(&nothing)
    }

    /// The hosts with a node that is meant.
    pub(super) fn hosts<'a>(&self, status: &'a Status) -> Vec<&'a HostStatus> {
        let is_meant =
            |host: &&HostStatus| self.has_unknown(host) || host.nodes.iter().any(|node| self.has(node));
        status.hosts.iter().filter(is_meant).collect()
    }

    /// The hosts that may soon have a node that is meant and is not known yet.
    pub(super) fn pending<'a>(&self, status: &'a Status) -> Vec<&'a HostStatus> {
        status.hosts.iter().filter(|host| self.may_come(host)).collect()
    }

    /// Whether a host is joining, or looks at its interpreters, of which one may be meant.
    pub(super) fn may_come(&self, host: &HostStatus) -> bool {
        let probed = |node: &NodeStatus| node.state == NodeState::Probing && self.names(node);
        host.may_have_more() && (self.names_unknown(host) || host.nodes.iter().any(probed))
    }

    fn names(&self, node: &NodeStatus) -> bool {
        self.named.get(&node.host).is_some_and(|(nodes, _)| nodes.contains(&node.name))
    }

    fn names_unknown(&self, host: &HostStatus) -> bool {
        self.named.get(&host.id).is_some_and(|(_, unknown)| *unknown)
    }
}

/// The network's status, once there are no hosts that `waits_for` returns; and what is meant. Most commands
/// wait for [`Meant::pending`].
pub(super) fn settled(
    network: &Network,
    selection: &NodeSelection,
    waits_for: impl for<'a> Fn(&Meant, &'a Status) -> Vec<&'a HostStatus>,
) -> Result<(Status, Meant), CommandError> {
    let (began, mut said) = (Instant::now(), false);
    refresh_groups(network, selection)?;
    loop {
        let status: Status = connection::ask_once(network, Verb::Status)?;
        let meant = Meant::by(selection, &status)?;
        let pending = waits_for(&meant, &status);
        let pending: Vec<String> = pending.into_iter().map(|host| one_line(&host.id)).collect();
        if pending.is_empty() {
            return Ok((status, meant));
        }
        if began.elapsed() >= SILENT && !std::mem::replace(&mut said, true) {
            say(&format!("execnet: waiting for hosts that are joining: {}", listed(pending, ", ")));
        }
        sleep(LOOK);
    }
}

/// Lets the daemon have the groups of the network's file, if the selection names groups.
pub(super) fn refresh_groups(network: &Network, selection: &NodeSelection) -> Result<(), CommandError> {
    if selection.node.as_ref().is_some_and(|set| set.contains('@')) {
        connection::read_groups(network)?;
    }
    Ok(())
}

/// The ids of the running hosts that are named, each once: ids, or sets of them.
pub(super) fn hosts_named(
    network: &Network,
    names: &[String],
    status: &Status,
) -> Result<Vec<String>, CommandError> {
    let groups = match names.iter().any(|name| name.contains('@')) {
        true => connection::read_groups(network)?,
        false => Groups::default(),
    };
    let hosts = status.hosts.iter().map(|host| Member { id: &host.id, nodes: vec![&host.id], settled: true });
    let universe = Universe::new(hosts, &groups);
    let mut ids: Vec<String> = Vec::new();
    for name in names {
        let set: NodeSet = name.parse().map_err(|error| CommandError::new(Exit::Usage, error))?;
        let chosen = universe.choose(Some(&set)).map_err(|error| match set.plain() {
            Some(name) => super::no_such_host(name, status),
            None => unresolved(&error, status),
        })?;
        ids.extend(chosen.hosts().map(str::to_owned));
    }
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

/// The first of a list, and how many more there are.
pub(super) fn listed(mut all: Vec<String>, between: &str) -> String {
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join(between)
}

/// The error if a set means no nodes of the network.
fn unresolved(error: &Unresolved, status: &Status) -> CommandError {
    let failure = CommandError::new(Exit::NoHost, format!("no node of {} matches: {error}", status.network));
    match (error.near(), error) {
        (Some(near), _) => failure.hint(format!("did you mean `{near}`?")),
        (None, Unresolved::Names { .. }) if !status.hosts.is_empty() => {
            let hosts = fold(status.hosts.iter().map(|host| &host.id));
            failure
                .hint(format!("its hosts are {hosts}; `execnet status {}` lists nodes, too", status.network))
        }
        (None, Unresolved::Empty(_)) => failure
            .hint("sets are read from left to right: `,` adds, `!` takes away, `&` keeps what is in both"),
        _ => failure,
    }
}
