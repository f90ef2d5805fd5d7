//! Whether the hosts of a network fit together.

use std::collections::{HashMap, HashSet};

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
            Self::Circle(_) => None,
        }
    }
}

/// Checks that ids are unique, and that each `via` is a host and leads in no circle.
///
/// # Errors
/// If that is not so.
pub fn check(hosts: &[HostSpec]) -> Result<(), HostsError> {
    let mut ids: HashMap<&str, &HostSpec> = HashMap::new();
    for host in hosts {
        if ids.insert(&host.id, host).is_some() {
            return Err(HostsError::Twice(host.id.clone()));
        }
    }
    // those whose way leads to this machine
    let mut good: HashSet<&str> = HashSet::new();
    for host in hosts {
        let mut way = vec![host.id.as_str()];
        let mut next = host.via.as_deref();
        while let Some(via) = next.filter(|via| !good.contains(via)) {
            let at = way.last().copied().unwrap_or_default();
            let Some(inner) = ids.get(via) else {
                let near = nearest(via, hosts.iter().map(|host| host.id.as_str()).filter(|id| *id != at));
                let (host, via, near) = (at.to_owned(), via.to_owned(), near.map(str::to_owned));
                return Err(HostsError::NoHost { host, via, near });
            };
            let circle = way.contains(&via);
            way.push(via);
            if circle {
                return Err(HostsError::Circle(way.into_iter().map(str::to_owned).collect()));
            }
            next = inner.via.as_deref();
        }
        good.extend(way);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(specs: &[&str]) -> Result<(), String> {
        let hosts: Vec<HostSpec> = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        check(&hosts).map_err(|error| error.to_string())
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
