//! Whether the hosts of a network fit together.

use std::collections::{HashMap, HashSet};

use super::sets::{Groups, Member, Universe};
use super::{HostSpec, nearest};

/// Why hosts do not make a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// Two of them have the same id.
    #[error("two hosts have the id `{0}`")]
    Twice(String),
    /// A `via` is no host.
    #[error("`{host}` is reached via `{via}`, which is not a host of this network")]
    NoHost {
        /// The id of the host.
        host: String,
        /// Its via.
        via: String,
        /// The id that may be meant.
        near: Option<String>,
    },
    /// A `via` is no group.
    #[error("`{host}` is reached via `@{group}`, which is not a group of this network")]
    NoGroup {
        /// The id of the host.
        host: String,
        /// The group.
        group: String,
        /// The group that may be meant.
        near: Option<String>,
    },
    /// No host of this group is in the network, besides those that are reached through it.
    #[error("`{host}` is reached via `@{group}`, and no host of that group can lead to it")]
    NoMember {
        /// The id of the host.
        host: String,
        /// The group.
        group: String,
    },
    /// The way to a host leads back to it: the ids on it.
    #[error("hosts are reached through each other in a circle: {}", .0.join(" via "))]
    Circle(Vec<String>),
}

impl HostsError {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Twice(_) => Some("give one of them another id with `//id=NAME`".to_owned()),
            Self::NoHost { near: Some(near), .. } => Some(format!("did you mean `via={near}`?")),
            Self::NoHost { via, .. } => Some(format!("add the host `{via}` first")),
            Self::NoGroup { near: Some(near), .. } => Some(format!("did you mean `via=@{near}`?")),
            Self::NoGroup { group, .. } => Some(format!(
                "name it in the network's file: `[groups]` and below it `{group} = \"HOST,HOST\"`"
            )),
            Self::NoMember { group, .. } => {
                Some(format!("add hosts of `@{group}` that are reached without it, or correct the group"))
            }
            Self::Circle(_) => None,
        }
    }
}

/// Those of these hosts that a group has, in their order. `None` if there is no such group.
pub fn members<'a>(
    group: &str,
    hosts: impl IntoIterator<Item = &'a str>,
    groups: &'a Groups,
) -> Option<Vec<&'a str>> {
    let set = format!("@{group}").parse().ok()?;
    let hosts = hosts.into_iter().map(|id| Member { id, nodes: Vec::new(), settled: false });
    Universe::new(hosts, groups).hosts(&set).ok()
}

/// Checks that ids are unique, and that a way leads to each host: each `via` is a host, or a group with at
/// least one that is reached without it.
///
/// # Errors
/// If that is not so.
pub fn check(hosts: &[HostSpec], groups: &Groups) -> Result<(), HostsError> {
    let mut by_id: HashMap<&str, &HostSpec> = HashMap::new();
    for host in hosts {
        if by_id.insert(&host.id, host).is_some() {
            return Err(HostsError::Twice(host.id.clone()));
        }
    }
    let ids = || hosts.iter().map(|host| host.id.as_str());
    let mut pools: HashMap<&str, Vec<&str>> = HashMap::new();
    for host in hosts {
        let id = host.id.as_str();
        match (&host.via, host.pool()) {
            (Some(via), None) if !by_id.contains_key(via.as_str()) => {
                let near = nearest(via, ids().filter(|other| *other != id)).map(str::to_owned);
                return Err(HostsError::NoHost { host: id.to_owned(), via: via.clone(), near });
            }
            (_, Some(group)) if !pools.contains_key(group) => {
                let Some(members) = members(group, ids(), groups) else {
                    let near = nearest(group, groups.names()).map(str::to_owned);
                    return Err(HostsError::NoGroup { host: id.to_owned(), group: group.to_owned(), near });
                };
                pools.insert(group, members);
            }
            _ => {}
        }
    }
    let mut open: Vec<&HostSpec> = hosts.iter().collect();
    // those to which a way leads
    let mut good: HashSet<&str> = HashSet::new();
    loop {
        let count = open.len();
        open.retain(|host| {
            let leads = match (&host.via, host.pool()) {
                (None, _) => true,
                (_, Some(group)) => pools[group].iter().any(|member| good.contains(member)),
                (Some(via), None) => good.contains(via.as_str()),
            };
            if leads {
                good.insert(&host.id);
            }
            !leads
        });
        if open.is_empty() {
            return Ok(());
        }
        if open.len() == count {
            return Err(circle(open[0], &by_id));
        }
    }
}

/// Why no way leads to this host, though all vias are there.
fn circle(host: &HostSpec, by_id: &HashMap<&str, &HostSpec>) -> HostsError {
    let mut way = vec![host.id.as_str()];
    let mut at = host;
    loop {
        if let Some(group) = at.pool() {
            return HostsError::NoMember { host: at.id.clone(), group: group.to_owned() };
        }
        let Some(via) = at.via.as_deref() else { break };
        let is_circle = way.contains(&via);
        way.push(via);
        match by_id.get(via) {
            Some(next) if !is_circle => at = next,
            _ => break,
        }
    }
    HostsError::Circle(way.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(specs: &[&str]) -> Result<(), String> {
        let hosts: Vec<HostSpec> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        let groups = [("gw", "g[1-9]"), ("loop", "x,y"), ("all", "!b")];
        check(&hosts, &Groups::new(groups).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_group_leads_to_a_host_if_one_of_its_hosts_is_reached_without_it() {
        assert_eq!(checked(&["ssh=a//via=@gw", "ssh=g2", "ssh=g3//via=g2", "ssh=b//via=a"]), Ok(()));
        assert_eq!(checked(&["ssh=g1//via=@gw", "ssh=g2"]), Ok(()), "a member behind another one");
        assert_eq!(checked(&["ssh=x//via=@loop", "ssh=y//via=@gw", "ssh=g1"]), Ok(()));
        let none = |host: &str, group: &str| {
            Err(format!("`{host}` is reached via `@{group}`, and no host of that group can lead to it"))
        };
        assert_eq!(checked(&["ssh=a//via=@gw"]), none("a", "gw"));
        assert_eq!(checked(&["ssh=b//via=g1", "ssh=g1//via=@gw", "ssh=c"]), none("g1", "gw"));
        assert_eq!(checked(&["ssh=x//via=@loop", "ssh=y//via=x"]), none("x", "loop"));
        let unknown = "`a` is reached via `@wg`, which is not a group of this network";
        assert_eq!(checked(&["ssh=a//via=@wg", "ssh=g1"]), Err(unknown.into()));
    }

    #[test]
    fn hosts_may_stand_in_any_order_but_not_lead_to_each_other() {
        assert_eq!(checked(&["ssh=a", "ssh=c//via=b", "ssh=b//via=a"]), Ok(()));
        assert_eq!(checked(&["ssh=a", "ssh=a"]), Err("two hosts have the id `a`".into()));
        let nowhere = "`a` is reached via `x`, which is not a host of this network";
        assert_eq!(checked(&["ssh=c//via=a", "ssh=a//via=x"]), Err(nowhere.into()));
        let circle = "hosts are reached through each other in a circle: c via a via b via a";
        assert_eq!(checked(&["ssh=c//via=a", "ssh=a//via=b", "ssh=b//via=a"]), Err(circle.into()));
    }
}
