//! On which node a process runs. Pure.

use execnet_proto::control::{NodeState, NodeStatus};
use execnet_proto::feature::Features;
use execnet_proto::spec::{NodeSelection, Wants, nearest};

use crate::text;

/// A host, as far as placement needs it.
#[derive(Debug)]
pub(super) struct Candidate<'a, K> {
    pub(super) key: K,
    pub(super) id: &'a str,
    /// Its link is up.
    pub(super) reachable: bool,
    /// Its link is down, was up before, and may be up again soon enough.
    pub(super) away: bool,
    /// It may still tell of more nodes.
    pub(super) joining: bool,
    /// Only who names it gets it, and only if no other host will do.
    pub(super) drained: bool,
    pub(super) cpus: u32,
    /// Clients' processes there.
    pub(super) processes: usize,
    /// Of its agent, while its link is up.
    pub(super) features: Features,
    pub(super) nodes: &'a [NodeStatus],
}

/// The result of a selection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placement<'a, K> {
    /// This host, and of its nodes this one, unless the host itself was asked for.
    Place(K, Option<&'a NodeStatus>),
    /// None yet, but a host is joining.
    Joining,
    /// None, but this host, unreachable for now, has a node that matches, or may match once it is known.
    Away(K),
    /// None.
    Nothing,
}

/// How busy a host is; the least is the best.
type Load = (u64, u64, usize);

/// The best among some hosts.
#[derive(Debug)]
struct Found<'a, K> {
    place: Option<(Load, K, Option<&'a NodeStatus>)>,
    joining: bool,
    /// One that is joining, and that the client named.
    named_joining: bool,
    away: Option<K>,
}

/// Chooses among the ready nodes that match, by the host with the fewest processes per processor. Ties go to
/// fewer processes, then to the order of the hosts. Drained hosts come last, and only for who names them.
pub(super) fn choose<'a, K: Copy>(
    wants: &Wants,
    hosts: impl Iterator<Item = Candidate<'a, K>>,
) -> Placement<'a, K> {
    let nothing = || Found { place: None, joining: false, named_joining: false, away: None };
    let (mut open, mut drained) = (nothing(), nothing());
    let is_meant = |host: &Candidate<'_, K>| wants.host.as_ref().is_none_or(|id| id == host.id);
    for host in hosts.filter(is_meant) {
        match host.drained {
            false => open.consider(wants, &host),
            true if wants.host.is_some() || wants.selection.node.is_some() => {
                drained.consider(wants, &host);
            }
            true => {}
        }
    }
    let drained_place = drained.place.filter(|_| !open.named_joining);
    if let Some((_, key, node)) = open.place.or(drained_place) {
        return Placement::Place(key, node);
    }
    match open.away.or(drained.away) {
        _ if open.joining || drained.joining => Placement::Joining,
        Some(key) => Placement::Away(key),
        None => Placement::Nothing,
    }
}

impl<'a, K: Copy> Found<'a, K> {
    fn consider(&mut self, wants: &Wants, host: &Candidate<'a, K>) {
        let ready =
            |node: &&NodeStatus| node.state == NodeState::Ready && wants.selection.matches(&node.info());
        let node = host.nodes.iter().find(ready).filter(|_| wants.host.is_none());
        let matches = wants.host.is_some() || node.is_some();
        if host.joining && !(wants.host.is_some() && host.reachable) {
            self.joining = true;
            self.named_joining |= may_name(wants, host.id);
        } else if host.away && (matches || may_match(wants, host)) {
            self.away = self.away.or(Some(host.key));
        }
        if !matches || !host.reachable || !wants.needs.without(host.features).is_empty() {
            return;
        }
        let (processes, cpus) = (host.processes as u64, u64::from(host.cpus.max(1)));
        let better = self.place.as_ref().is_none_or(|((load, of, count), ..)| {
            // processes / cpus, without fractions
            let (mine, theirs) = (processes * of, load * cpus);
            mine < theirs || (mine == theirs && host.processes < *count)
        });
        if better {
            self.place = Some(((processes, cpus, host.processes), host.key, node));
        }
    }
}

/// Whether the client named this host, or what may be a node of it.
pub(super) fn may_name(wants: &Wants, host: &str) -> bool {
    let of_host =
        |name: &String| name.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    wants.host.as_ref().is_some_and(|id| id == host) || wants.selection.node.as_ref().is_some_and(of_host)
}

/// Whether a host has a node that may match and is known by name only, because its link broke while its agent
/// was telling.
fn may_match<K>(wants: &Wants, host: &Candidate<'_, K>) -> bool {
    let Some(name) = &wants.selection.node else {
        return host.nodes.is_empty() || host.nodes.iter().any(|node| node.state == NodeState::Probing);
    };
    let probed =
        |node: &NodeStatus| node.state == NodeState::Probing && [&node.name, &node.host].contains(&name);
    host.nodes.is_empty() && may_name(wants, host.id) || host.nodes.iter().any(probed)
}

/// Why nothing was chosen where these hosts match, and all of them are drained.
pub(super) fn all_drained(network: &str, hosts: &[&str]) -> String {
    const MOST: usize = 10;
    let mut named = hosts[..hosts.len().min(MOST)].join(", ");
    if hosts.len() > MOST {
        named += &format!(" and {} more", hosts.len() - MOST);
    }
    let first = hosts.first().copied().unwrap_or_default();
    format!(
        "all hosts of {network} that match are drained: {named}\n`execnet undrain {network} {first}` lets it \
         take work again; who names it gets it all the same"
    )
}

/// Why nothing was chosen: what was asked for, and what there is. `nodes` come with their hosts' state.
pub(super) fn refusal<'a>(
    wants: &NodeSelection,
    network: &str,
    nodes: impl Iterator<Item = (&'a NodeStatus, String)>,
    hosts_without: impl Iterator<Item = (&'a str, String)>,
) -> String {
    const MOST: usize = 40;
    let nodes: Vec<(&NodeStatus, String)> = nodes.collect();
    let mut lines: Vec<String> = nodes.iter().map(|(node, state)| describe(node, state)).collect();
    let (ids, without): (Vec<&str>, Vec<String>) =
        hosts_without.map(|(id, state)| (id, format!("{id} ({state})"))).unzip();
    lines.extend(without);
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    if lines.is_empty() {
        return format!("the network {network} has no hosts");
    }
    let wanted = match *wants == NodeSelection::default() {
        true => "is ready".to_owned(),
        false => format!("matches {}", text::clean(&wants.to_string(), 300)),
    };
    let nodes: Vec<&NodeStatus> = nodes.into_iter().map(|(node, _)| node).collect();
    let meant =
        meant(wants, &nodes, &ids).map(|word| format!("\ndid you mean `{word}`?")).unwrap_or_default();
    format!("no node of {network} {wanted}; there are:\n  {}{meant}", lines.join("\n  "))
}

/// The word the client may have meant where it named something unknown. `ids`: hosts without known nodes.
fn meant<'a>(wants: &NodeSelection, nodes: &[&'a NodeStatus], ids: &[&'a str]) -> Option<&'a str> {
    let alone = |wish: NodeSelection| !nodes.iter().any(|node| wish.matches(&node.info()));
    let node = wants.node.as_ref().filter(|name| {
        !ids.contains(&name.as_str())
            && alone(NodeSelection { node: Some(name.to_string()), ..Default::default() })
    });
    let platform = wants.platform.as_ref().filter(|platform| {
        alone(NodeSelection { platform: Some(platform.to_string()), ..Default::default() })
    });
    let implementation = wants
        .implementation
        .as_ref()
        .filter(|name| alone(NodeSelection { implementation: Some(name.to_string()), ..Default::default() }));
    let names =
        || nodes.iter().flat_map(|node| [node.host.as_str(), node.name.as_str()]).chain(ids.iter().copied());
    let kinds = || nodes.iter().map(|node| node.implementation.as_str());
    let platforms = || nodes.iter().map(|node| node.platform.as_str()).chain(kinds());
    None.or_else(|| nearest(node?, names()))
        .or_else(|| nearest(platform?, platforms()))
        .or_else(|| nearest(implementation?, kinds()))
}

fn describe(node: &NodeStatus, state: &str) -> String {
    let facts = [&node.platform, &node.implementation, &node.version];
    let facts: Vec<&str> = facts.into_iter().map(String::as_str).filter(|fact| !fact.is_empty()).collect();
    match facts.is_empty() {
        true => format!("{} ({state})", node.name),
        false => format!("{}: {} ({state})", node.name, facts.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use execnet_proto::feature::Feature;

    use super::*;

    fn node(name: &str, implementation: &str, version: &str) -> NodeStatus {
        NodeStatus {
            name: name.into(),
            host: name.split(':').next().unwrap().into(),
            state: NodeState::Ready,
            platform: if implementation == "jython" { "java17.0.1" } else { "linux" }.into(),
            implementation: implementation.into(),
            version: version.into(),
            ..NodeStatus::default()
        }
    }

    fn host<K>(key: K, cpus: u32, processes: usize, nodes: &[NodeStatus]) -> Candidate<'_, K> {
        Candidate {
            key,
            id: "n",
            reachable: true,
            away: false,
            joining: false,
            drained: false,
            cpus,
            processes,
            features: Feature::Look.into(),
            nodes,
        }
    }

    fn wants(pairs: &[(&str, &str)]) -> Wants {
        Wants::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn chosen<K>(choice: Placement<'_, K>) -> Option<(K, &str)> {
        match choice {
            Placement::Place(key, node) => Some((key, node.map_or("", |node| &node.name))),
            _ => None,
        }
    }

    #[test]
    fn the_host_with_the_fewest_processes_for_its_processors_is_chosen() {
        let nodes = [node("n", "cpython", "3.11.2")];
        let best = |hosts: &[(u32, usize)]| {
            let hosts =
                hosts.iter().enumerate().map(|(key, (cpus, processes))| host(key, *cpus, *processes, &nodes));
            chosen(choose(&wants(&[]), hosts)).unwrap().0
        };
        assert_eq!(best(&[(2, 3), (8, 4)]), 1);
        assert_eq!(best(&[(1, 0), (8, 0)]), 0, "order decides");
        assert_eq!(best(&[(4, 2), (2, 1)]), 1, "fewer processes decide");
        assert_eq!(best(&[(2, 1), (4, 1)]), 1);
        assert_eq!(best(&[(0, 1), (1, 0)]), 1, "a forged count is survived");
    }

    #[test]
    fn only_nodes_that_match_and_are_ready_are_chosen() {
        let mut nodes = [
            node("a:cpython3.11", "cpython", "3.11.2"),
            node("a:pypy3.9", "pypy", "3.9.1"),
            node("a:jython2.7", "jython", "2.7.3"),
        ];
        let best = |pairs: &[(&str, &str)], nodes: &[NodeStatus]| {
            chosen(choose(&wants(pairs), [host(1, 1, 0, nodes)].into_iter())).map(|(_, name)| name.to_owned())
        };
        assert_eq!(best(&[("platform", "java")], &nodes).as_deref(), Some("a:jython2.7"));
        assert_eq!(best(&[("platform", "pypy")], &nodes).as_deref(), Some("a:pypy3.9"));
        assert_eq!(best(&[("node", "a")], &nodes).as_deref(), Some("a:cpython3.11"));
        assert_eq!(best(&[("python-version", ">=3.12")], &nodes), None);
        nodes[0].state = NodeState::Failed;
        assert_eq!(best(&[("implementation", "cpython")], &nodes), None);
    }

    #[test]
    fn joining_and_broken_hosts_are_waited_for() {
        let nodes = [node("n", "cpython", "3.11.2")];
        let away = || Candidate { reachable: false, away: true, ..host(1, 1, 0, &nodes) };
        let joining = || Candidate { reachable: false, joining: true, ..host(2, 1, 0, &[]) };
        assert_eq!(choose(&wants(&[]), [away()].into_iter()), Placement::Away(1));
        let not_soon = Candidate { away: false, ..away() };
        assert_eq!(choose(&wants(&[]), [not_soon].into_iter()), Placement::Nothing);
        assert_eq!(choose(&wants(&[]), [away(), joining()].into_iter()), Placement::Joining);
        assert_eq!(choose(&wants(&[("platform", "java")]), [away()].into_iter()), Placement::Nothing);
        let up = host(3, 1, 9, &nodes);
        assert_eq!(chosen(choose(&wants(&[]), [joining(), away(), up].into_iter())), Some((3, "n")));
    }

    #[test]
    fn a_host_that_broke_off_before_it_had_told_of_its_nodes_is_waited_for() {
        let choice = |nodes: &[NodeStatus], pairs: &[(&str, &str)]| {
            let away = Candidate { id: "a", reachable: false, away: true, ..host(1, 1, 0, nodes) };
            choose(&wants(pairs), [away].into_iter()) == Placement::Away(1)
        };
        let probing = [NodeStatus { state: NodeState::Probing, ..node("a:pypy3", "", "") }];
        for nodes in [&[][..], &probing] {
            assert!(choice(nodes, &[]) && choice(nodes, &[("platform", "java")]));
            assert!(choice(nodes, &[("node", "a")]) && choice(nodes, &[("node", "a:pypy3")]));
            assert!(!choice(nodes, &[("node", "b")]) && !choice(nodes, &[("node", "ab")]));
        }
        assert!(choice(&[], &[("node", "a:jython")]) && !choice(&probing, &[("node", "a:jython")]));
        let failed = [NodeStatus { state: NodeState::Failed, ..node("a", "", "") }];
        assert!(!choice(&failed, &[("node", "a")]));
    }

    #[test]
    fn a_drained_host_is_only_for_those_who_name_it_and_only_without_another() {
        let nodes = [node("a", "cpython", "3.11.2"), node("b", "cpython", "3.11.2")];
        let busy = || Candidate { id: "a", ..host("a", 1, 9, &nodes[..1]) };
        let drained = || Candidate { id: "b", drained: true, ..host("b", 1, 0, &nodes[1..]) };
        let named = wants(&[("node", "b")]);
        let key = |placement| chosen(placement).map(|(key, _)| key);
        assert_eq!(key(choose(&wants(&[]), [drained(), busy()].into_iter())), Some("a"));
        assert_eq!(choose(&wants(&[]), [drained()].into_iter()), Placement::Nothing);
        assert_eq!(key(choose(&named, [drained(), busy()].into_iter())), Some("b"));
        // one that nobody named need not be waited for
        let joining = |id| Candidate { id, reachable: false, joining: true, ..host("a", 1, 0, &[]) };
        assert_eq!(key(choose(&named, [joining("a"), drained()].into_iter())), Some("b"));
        assert_eq!(choose(&named, [joining("b"), drained()].into_iter()), Placement::Joining);
        let joining = Candidate { drained: true, ..joining("a") };
        assert_eq!(choose(&wants(&[]), [joining].into_iter()), Placement::Nothing);
        let away = Candidate { reachable: false, away: true, ..drained() };
        assert_eq!(choose(&named, [busy(), away].into_iter()), Placement::Away("b"));
    }

    #[test]
    fn a_host_is_chosen_with_whatever_nodes_it_has() {
        let failed = [NodeStatus { state: NodeState::Failed, ..node("n", "", "") }];
        let choice = |nodes: &[NodeStatus], pairs: &[(&str, &str)], change: fn(&mut Candidate<'_, i32>)| {
            let mut host = host(1, 1, 0, nodes);
            change(&mut host);
            match choose(&wants(pairs), [host].into_iter()) {
                Placement::Place(key, node) => Some((key, node.is_some())),
                Placement::Joining => Some((-1, false)),
                Placement::Away(_) => Some((-2, false)),
                Placement::Nothing => None,
            }
        };
        let named = [("host", "n")];
        assert_eq!(choice(&[], &named, |_| {}), Some((1, false)));
        assert_eq!(choice(&failed, &named, |host| host.joining = true), Some((1, false)));
        assert_eq!(choice(&failed, &[("host", "m")], |_| {}), None);
        let away = |host: &mut Candidate<'_, i32>| (host.reachable, host.away) = (false, true);
        assert_eq!(choice(&failed, &named, away), Some((-2, false)));
        let joining = |host: &mut Candidate<'_, i32>| (host.reachable, host.joining) = (false, true);
        assert_eq!(choice(&[], &named, joining), Some((-1, false)));
    }

    #[test]
    fn what_a_process_needs_is_looked_for() {
        let nodes = [node("n", "cpython", "3.11.2")];
        let able = || Candidate { features: Features::all(), ..host(2, 1, 9, &nodes) };
        let choice = |needs: &str, hosts: Vec<Candidate<'_, i32>>| {
            chosen(choose(&wants(&[("needs", needs)]), hosts.into_iter())).map(|(key, _)| key)
        };
        assert_eq!(choice("terminal", vec![host(1, 1, 0, &nodes), able()]), Some(2));
        assert_eq!(choice("look", vec![host(1, 1, 0, &nodes), able()]), Some(1));
        assert_eq!(choice("terminal look", vec![host(1, 1, 0, &nodes)]), None);
    }

    #[test]
    fn a_refusal_suggests_what_may_be_meant() {
        let nodes = [node("build1:cpython3.11", "cpython", "3.11.2"), node("j", "jython", "2.7.3")];
        let told = |pairs: &[(&str, &str)]| {
            let nodes = nodes.iter().map(|node| (node, "ready".to_owned()));
            let text =
                refusal(&wants(pairs).selection, "n", nodes, std::iter::once(("inner", "failed".to_owned())));
            text.rsplit_once('\n').and_then(|(_, last)| Some(last.strip_prefix("did you mean `")?.to_owned()))
        };
        for (key, typed, meant) in [
            ("node", "biuld1", Some("build1`?")),
            ("node", "build1:cpython311", Some("build1:cpython3.11`?")),
            ("node", "iner", Some("inner`?")),
            ("node", "something", None),
            ("node", "inner", None),
            ("platform", "linxu", Some("linux`?")),
            ("platform", "pypy", None),
            ("implementation", "cpyhton", Some("cpython`?")),
            ("python-version", ">=3.12", None),
        ] {
            assert_eq!(told(&[(key, typed)]).as_deref(), meant, "{key} {typed}");
        }
    }

    #[test]
    fn a_refusal_lists_what_there_is() {
        let nodes = [node("a", "cpython", "3.11.2"), node("j", "jython", "2.7.3")];
        let nodes = nodes.iter().map(|node| (node, "ready".to_owned()));
        let message = refusal(
            &wants(&[("platform", "win")]).selection,
            "mynet",
            nodes,
            std::iter::once(("b", "joining".to_owned())),
        );
        assert!(message.contains("mynet") && message.contains("win"), "{message}");
        assert!(
            message.ends_with(
                "\n  a: linux cpython 3.11.2 (ready)\n  j: java17.0.1 jython 2.7.3 (ready)\n  b (joining)"
            ),
            "{message}"
        );
        assert_eq!(
            refusal(&wants(&[]).selection, "n", std::iter::empty(), std::iter::empty()),
            "the network n has no hosts"
        );
    }
}
