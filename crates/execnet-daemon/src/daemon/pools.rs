//! Pools: groups of hosts any of which may lead to the hosts behind them (`via=@GROUP`).
//!
//! Hosts are spread evenly. Each stays with its member, also when others come back, until that member is
//! gone, or did not lead there several times. Then another one takes its place: the host's agent is reached
//! on a new link, and nothing that runs there notices, because a process belongs to its two ends.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use execnet_proto::control::HostState;
use execnet_proto::spec::hosts::{HostsError, members};
use execnet_proto::spec::nearest;
use execnet_proto::spec::sets::Groups;
use execnet_proto::switch::HostKey;

use super::Daemon;
use crate::host::{Host, Then, Way};

/// A member that is unreachable for so long is replaced. One whose link was tried again in vain is replaced
/// at once.
const GONE: Duration = Duration::from_secs(10);

/// After so many attempts in a row that failed, another member is tried.
const IN_VAIN: u32 = 3;

/// How fit a member is to lead to one more host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Up,
    /// It is joining, or may be back soon.
    Coming,
    /// It is up, and takes no new work.
    Drained,
}

impl Daemon {
    /// Chooses a member for each host behind a pool that has none, or whose member is gone or does not lead
    /// there.
    pub(super) fn choose_ways(&mut self, now: Duration) {
        let is_pooled = |host: &&Host| host.spec.pool().is_some() && host.leave.is_none();
        if self.closing.is_some() || !self.hosts.values().any(|host| is_pooled(&host)) {
            return;
        }
        let mut load: HashMap<HostKey, usize> = HashMap::new();
        for via in self.hosts.values().filter(is_pooled).filter_map(Host::via) {
            *load.entry(via).or_default() += 1;
        }
        let vias: Vec<HostKey> = load.keys().copied().collect();
        for via in vias {
            self.note_absence(via, now);
        }
        let gone: BTreeSet<HostKey> = load.keys().copied().filter(|via| self.is_gone(*via, now)).collect();
        let open = self.hosts.iter().filter(|(_, host)| is_pooled(host));
        let is_open =
            |host: &Host| host.in_vain >= IN_VAIN || host.via().is_none_or(|via| gone.contains(&via));
        let open = open.filter(|(_, host)| is_open(host));
        let open: Vec<HostKey> = open.map(|(key, _)| *key).collect();
        let mut pools: HashMap<String, Vec<HostKey>> = HashMap::new();
        for key in open {
            let Some(group) = self.hosts[&key].spec.pool().map(str::to_owned) else { continue };
            let members = pools.entry(group).or_insert_with_key(|group| self.members_of(group));
            let host = &self.hosts[&key];
            let in_vain = host.via().filter(|_| host.in_vain >= IN_VAIN);
            // one that leaves still leads there
            let leads = host.via().is_some_and(|via| self.switch.is_reachable(via));
            let fit = members
                .iter()
                .filter(|member| Some(**member) != in_vain)
                .filter(|member| !leads || self.switch.is_reachable(**member))
                .filter_map(|member| Some((self.fitness(*member, key, now)?, *member)));
            let least = |(fitness, member): &(Fitness, HostKey)| {
                (*fitness, load.get(member).copied().unwrap_or_default(), *member)
            };
            let Some((_, best)) = fit.min_by_key(least) else { continue };
            *load.entry(best).or_default() += 1;
            if let Some(before) = self.hosts[&key].via() {
                load.entry(before).and_modify(|load| *load -= 1);
            }
            self.take_way(key, best, now);
        }
    }

    /// Whether a host behind a pool can be reached at once if its member leaves.
    pub(super) fn has_other_way(&self, key: HostKey) -> bool {
        let host = &self.hosts[&key];
        let Some(group) = host.spec.pool() else { return false };
        let is_up = |member: &HostKey| {
            Some(*member) != host.via()
                && self.switch.is_reachable(*member)
                && self.hosts[member].drained != Some(Then::Removed)
                && !self.leads_through(*member, key)
        };
        self.members_of(group).iter().any(is_up)
    }

    /// Checks that a member of a group can lead to a host with this id, which is not here yet.
    pub(super) fn can_lead(&self, id: &str, group: &str) -> Result<(), HostsError> {
        let (host, group) = (id.to_owned(), group.to_owned());
        if self.groups.set(&group).is_none() {
            let near = nearest(&group, self.groups.names()).map(str::to_owned);
            return Err(HostsError::NoGroup { host, group, near });
        }
        match self.members_of(&group).is_empty() {
            true => Err(HostsError::NoMember { host, group }),
            false => Ok(()),
        }
    }

    /// The groups are others now. Hosts that have no link get a member that their group has.
    pub(super) fn regrouped(&mut self, groups: Groups) {
        self.groups = groups;
        let pooled = self.hosts.values_mut().filter(|host| host.spec.pool().is_some());
        pooled.for_each(Host::forget_way);
    }

    /// When [`Daemon::choose_ways`] may find that a member is gone, though nothing happened.
    pub(super) fn pools_deadline(&self, now: Duration) -> Option<Duration> {
        self.hosts.values().filter_map(|host| Some(host.away? + GONE)).filter(|at| *at > now).min()
    }

    /// The hosts of a group that stay.
    fn members_of(&self, group: &str) -> Vec<HostKey> {
        let staying = || self.hosts.iter().filter(|(_, host)| host.leave.is_none());
        let keys: HashMap<&str, HostKey> =
            staying().map(|(key, host)| (host.spec.id.as_str(), *key)).collect();
        let ids = staying().map(|(_, host)| host.spec.id.as_str());
        let members = members(group, ids, &self.groups).unwrap_or_default();
        members.into_iter().filter_map(|id| keys.get(id).copied()).collect()
    }

    /// How fit a member is to lead to a host. None if it cannot.
    fn fitness(&self, member: HostKey, to: HostKey, now: Duration) -> Option<Fitness> {
        if self.is_gone(member, now) || self.leads_through(member, to) {
            return None;
        }
        Some(match (self.switch.is_reachable(member), self.hosts[&member].drained) {
            (true, None) => Fitness::Up,
            (false, _) => Fitness::Coming,
            (true, Some(_)) => Fitness::Drained,
        })
    }

    /// Whether the way to a host is this host, or leads through it.
    fn leads_through(&self, to: HostKey, key: HostKey) -> bool {
        let mut next = Some(to);
        while let Some(at) = next {
            if at == key {
                return true;
            }
            next = self.hosts.get(&at).and_then(Host::via);
        }
        false
    }

    /// Takes note of since when a member is unreachable.
    fn note_absence(&mut self, member: HostKey, now: Duration) {
        let reachable = self.switch.is_reachable(member);
        let Some(host) = self.hosts.get_mut(&member) else { return };
        let is_away = host.state(reachable) == HostState::Unreachable;
        host.away = is_away.then(|| host.away.unwrap_or(now));
    }

    /// Whether a member leads nowhere for a while.
    fn is_gone(&self, member: HostKey, now: Duration) -> bool {
        let Some(host) = self.hosts.get(&member) else { return true };
        let leaves = host.leave.is_some() || host.drained == Some(Then::Removed);
        leaves
            || match host.state(self.switch.is_reachable(member)) {
                HostState::Failed => true,
                HostState::Unreachable => {
                    host.attempts.fail_again() || host.away.is_some_and(|since| now >= since + GONE)
                }
                _ => false,
            }
    }

    /// From now on, this member leads to a host.
    fn take_way(&mut self, key: HostKey, member: HostKey, now: Duration) {
        let id = self.hosts[&member].spec.id.clone();
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let before = host.take(Way { via: member, id: id.clone() });
        self.changed.insert(key);
        let Some(before) = before.filter(|before| before.via != member) else { return };
        if host.may_log(now) {
            tracing::info!("{} is to be reached through {id}, no longer {}", host.spec.id, before.id);
        }
        if host.attempts.link().is_some() {
            self.moved(key, before.id, now);
        }
    }
}
