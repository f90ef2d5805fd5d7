//! On which node a process runs. Pure.

use execnet_proto::control::{NodeState, NodeStatus};
use execnet_proto::feature::Features;
use execnet_proto::spec::sets::{Chosen, Unresolved};
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

/// What a process wants, and which nodes of the network that names.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub(super) wants: &'a Wants,
    /// `None`: all nodes.
    pub(super) named: Option<Chosen<'a>>,
    /// Nodes are named; not all of them, or all but some.
    pub(super) by_name: bool,
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
    wish: &Wish<'_>,
    hosts: impl Iterator<Item = Candidate<'a, K>>,
) -> Placement<'a, K> {
    let nothing = || Found { place: None, joining: false, named_joining: false, away: None };
    let (mut open, mut drained) = (nothing(), nothing());
    let is_meant = |host: &Candidate<'_, K>| wish.wants.host.as_ref().is_none_or(|id| id == host.id);
    for host in hosts.filter(is_meant) {
        match host.drained {
            false => open.consider(wish, &host),
            true if wish.wants.host.is_some() || wish.by_name => drained.consider(wish, &host),
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
    fn consider(&mut self, wish: &Wish<'_>, host: &Candidate<'a, K>) {
        let wants = wish.wants;
        let ready = |node: &&NodeStatus| node.state == NodeState::Ready && wish.matches(host.id, node);
        let node = host.nodes.iter().find(ready).filter(|_| wants.host.is_none());
        let matches = wants.host.is_some() || node.is_some();
        if host.joining && !(wants.host.is_some() && host.reachable) {
            let may_match = wants.host.is_some() || wish.may_match(host);
            self.joining |= may_match;
            self.named_joining |= may_match && (wants.host.is_some() || wish.by_name);
        } else if host.away && (matches || wish.may_match(host)) {
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

impl Wish<'_> {
    /// Whether this node of this host meets all conditions.
    pub(super) fn matches(&self, host: &str, node: &NodeStatus) -> bool {
        self.names(host, node) && self.wants.selection.fits(&node.info())
    }

    /// Whether a host may have a node that matches: one that is not known yet, or known by name only, because
    /// the host is joining, or its link broke while its agent was telling.
    fn may_match<K>(&self, host: &Candidate<'_, K>) -> bool {
        let unknown = match &self.named {
            Some(named) => named.may_have(host.id),
            None => host.joining || host.nodes.is_empty(),
        };
        let probed = |node: &NodeStatus| node.state == NodeState::Probing && self.names(host.id, node);
        unknown || host.nodes.iter().any(probed)
    }

    fn names(&self, host: &str, node: &NodeStatus) -> bool {
        self.named.as_ref().is_none_or(|named| named.has(host, &node.name))
    }
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

/// Why nothing was chosen: what was asked for, and what there is. `unresolved`: why a set means no node.
/// `nodes` come with their hosts' state.
pub(super) fn refusal<'a>(
    wants: &NodeSelection,
    unresolved: Option<&Unresolved>,
    network: &str,
    nodes: impl Iterator<Item = (&'a NodeStatus, String)>,
    hosts_without: impl Iterator<Item = (&'a str, String)>,
) -> String {
    const MOST: usize = 40;
    let nodes: Vec<(&NodeStatus, String)> = nodes.collect();
    let mut lines: Vec<String> = nodes.iter().map(|(node, state)| describe(node, state)).collect();
    lines.extend(hosts_without.map(|(id, state)| format!("{id} ({state})")));
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
    // a plain name that is not in the list below needs no more words
    let is_plain = wants.set_of_nodes().is_ok_and(|set| set.is_none_or(|set| set.plain().is_some()));
    let why = unresolved.filter(|_| !is_plain).map(|why| format!(": {why}")).unwrap_or_default();
    let nodes: Vec<&NodeStatus> = nodes.into_iter().map(|(node, _)| node).collect();
    let meant = unresolved.and_then(Unresolved::near).or_else(|| meant(wants, &nodes));
    let meant = meant.map(|word| format!("\ndid you mean `{word}`?")).unwrap_or_default();
    format!("no node of {network} {wanted}{why}; there are:\n  {}{meant}", lines.join("\n  "))
}

/// The word the client may have meant where no node has what it asked for.
fn meant<'a>(wants: &NodeSelection, nodes: &[&'a NodeStatus]) -> Option<&'a str> {
    let alone = |wish: NodeSelection| !nodes.iter().any(|node| wish.fits(&node.info()));
    let platform = wants.platform.as_ref().filter(|platform| {
        alone(NodeSelection { platform: Some(platform.to_string()), ..Default::default() })
    });
    let implementation = wants
        .implementation
        .as_ref()
        .filter(|name| alone(NodeSelection { implementation: Some(name.to_string()), ..Default::default() }));
    let kinds = || nodes.iter().map(|node| node.implementation.as_str());
    let platforms = || nodes.iter().map(|node| node.platform.as_str()).chain(kinds());
    None.or_else(|| nearest(platform?, platforms())).or_else(|| nearest(implementation?, kinds()))
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

    use execnet_proto::spec::sets::{Groups, Member, Universe};

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
        let id = nodes.first().map_or("n", |node| &node.host);
        Candidate {
            key,
            id,
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

    fn members<'a, K>(hosts: &[Candidate<'a, K>]) -> Vec<Member<'a>> {
        let member = |host: &Candidate<'a, K>| {
            let nodes = host.nodes.iter().map(|node| node.name.as_str()).collect();
            Member { id: host.id, nodes, settled: !host.joining }
        };
        hosts.iter().map(member).collect()
    }

    fn choose<'a, K: Copy>(wants: &Wants, hosts: impl Iterator<Item = Candidate<'a, K>>) -> Placement<'a, K> {
        let hosts: Vec<Candidate<'a, K>> = hosts.collect();
        let groups = Groups::new([("odd", "a,c")]).unwrap();
        let universe = Universe::new(members(&hosts), &groups);
        let set = wants.selection.set_of_nodes().unwrap();
        let Ok(named) = set.as_ref().map(|set| universe.choose(Some(set))).transpose() else {
            return Placement::Nothing;
        };
        let by_name = set.is_some_and(|set| !set.is_all_but());
        super::choose(&Wish { wants, named, by_name }, hosts.into_iter())
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
        let both = wants(&[("node", "b,c")]);
        assert_eq!(choose(&both, [joining("c"), drained()].into_iter()), Placement::Joining);
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
    fn of_a_set_the_least_busy_node_is_chosen_and_never_one_that_it_does_not_name() {
        let nodes = ["a", "b", "c", "d"].map(|name| node(name, "cpython", "3.11.2"));
        let hosts = |processes: [usize; 4]| {
            let hosts = nodes.iter().zip(processes).enumerate();
            hosts
                .map(|(at, (node, count))| host(at, 1, count, std::slice::from_ref(node)))
                .collect::<Vec<_>>()
        };
        let key = |set: &str, processes| {
            chosen(choose(&wants(&[("node", set)]), hosts(processes).into_iter())).map(|(key, _)| key)
        };
        assert_eq!(key("a,b,c", [3, 2, 1, 0]), Some(2));
        assert_eq!(key("@odd", [3, 0, 1, 0]), Some(2));
        assert_eq!(key("!d,!c", [3, 2, 1, 0]), Some(1));
        assert_eq!(key("a,x", [3, 2, 1, 0]), None, "never silently fewer");
        assert_eq!(key("a!a", [3, 2, 1, 0]), None, "never all");
        let choice = |set: &str, change: fn(&mut [Candidate<'_, usize>])| {
            let mut hosts = hosts([3, 2, 1, 0]);
            change(&mut hosts);
            match choose(&wants(&[("node", set)]), hosts.into_iter()) {
                Placement::Joining => Some(9),
                placement => chosen(placement).map(|(key, _)| key),
            }
        };
        // one of a set that joins is not waited for if another is ready
        let joins =
            |hosts: &mut [Candidate<'_, usize>]| (hosts[1].reachable, hosts[1].joining) = (false, true);
        assert_eq!(
            (choice("b", joins), choice("a,b", joins), choice("!b", joins)),
            (Some(9), Some(0), Some(3))
        );
        let drained = |hosts: &mut [Candidate<'_, usize>]| hosts[3].drained = true;
        assert_eq!((choice("d", drained), choice("c,d", drained)), (Some(3), Some(2)));
        assert_eq!(choice("!a!b!c", drained), None);
    }

    #[test]
    fn a_refusal_suggests_what_may_be_meant() {
        let nodes = [node("build1:cpython3.11", "cpython", "3.11.2"), node("j", "jython", "2.7.3")];
        let hosts = [host(0, 1, 0, &nodes[..1]), host(0, 1, 0, &nodes[1..])];
        let inner = Candidate { id: "inner", ..host(0, 1, 0, &[]) };
        let members: Vec<Member<'_>> = members(&hosts).into_iter().chain(members(&[inner])).collect();
        let groups = Groups::new([("web", "j")]).unwrap();
        let universe = Universe::new(members, &groups);
        let named = |pairs: &[(&str, &str)]| {
            let set = wants(pairs).selection.set_of_nodes().unwrap();
            universe.choose(set.as_ref()).err()
        };
        let told = |pairs: &[(&str, &str)]| {
            let nodes = nodes.iter().map(|node| (node, "ready".to_owned()));
            let inner = std::iter::once(("inner", "failed".to_owned()));
            let text = refusal(&wants(pairs).selection, named(pairs).as_ref(), "n", nodes, inner);
            text.rsplit_once('\n').and_then(|(_, last)| Some(last.strip_prefix("did you mean `")?.to_owned()))
        };
        for (key, typed, meant) in [
            ("node", "biuld1", Some("build1`?")),
            ("node", "build1:cpython311", Some("build1:cpython3.11`?")),
            ("node", "iner", Some("inner`?")),
            ("node", "something", None),
            ("node", "inner", None),
            ("node", "@wbe", Some("@web`?")),
            ("node", "j,biuld1", Some("build1`?")),
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
            None,
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
            refusal(&wants(&[]).selection, None, "n", std::iter::empty(), std::iter::empty()),
            "the network n has no hosts"
        );
    }
}
