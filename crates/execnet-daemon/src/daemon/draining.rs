//! Hosts that take no new work, and those that leave the network once they are idle.
//!
//! Who names a drained host gets it all the same, and what runs there goes on, tunnels too.

use std::time::Duration;

use execnet_proto::control::{ErrorKind, HostReply, Interruption};
use execnet_proto::switch::HostKey;

use super::Daemon;
use crate::event::RequestKey;
use crate::host::{Host, Then};

/// How long the clients of an earlier daemon may take to claim what they run.
const CLAIMS: Duration = Duration::from_secs(5);

/// A `drain` request that is not over.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) request: RequestKey,
    /// Its hosts, until they are idle.
    hosts: Vec<HostKey>,
    /// Without this, it waits only for hosts that are leaving.
    wait: bool,
}

impl Daemon {
    /// Serves `drain`: all of the hosts, or none.
    pub(super) fn drain(
        &mut self,
        request: RequestKey,
        ids: &[String],
        remove: bool,
        wait: bool,
        now: Duration,
    ) {
        let find = |id: &String| if remove { self.removable(id) } else { self.staying(id) };
        let hosts = match ids.iter().map(find).collect::<Result<Vec<HostKey>, _>>() {
            Ok(hosts) => hosts,
            Err(error) => return self.reply(request, true, &Interruption::Error(error)),
        };
        if !self.may_watch(request) {
            return;
        }
        for &key in &hosts {
            self.set_drained(key, true);
            if let Some(host) = self.hosts.get_mut(&key).filter(|_| remove) {
                host.drained = Some(Then::Removed);
            }
        }
        if self.quota.take("clients", now) {
            tracing::info!("draining {}{}", ids.join(", "), if remove { ", to be removed" } else { "" });
        }
        self.draining.push(Draining { request, hosts, wait });
    }

    /// Serves `undrain`: all of the hosts, or none.
    pub(super) fn undrain(&mut self, request: RequestKey, ids: &[String], now: Duration) {
        let hosts = match ids.iter().map(|id| self.staying(id)).collect::<Result<Vec<HostKey>, _>>() {
            Ok(hosts) => hosts,
            Err(error) => return self.reply(request, true, &Interruption::Error(error)),
        };
        for &key in &hosts {
            self.set_drained(key, false);
        }
        for key in hosts {
            let host = self.host_status(key, now);
            self.reply(request, false, &HostReply { host, ..HostReply::default() });
        }
        self.reply(request, true, &HostReply::default());
    }

    /// Drains a host, or lets it take work again.
    pub(super) fn set_drained(&mut self, key: HostKey, drained: bool) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.drained = drained.then(|| host.drained.unwrap_or(Then::Stays));
        self.switch.tell_releases(key, drained);
        self.changed.insert(key);
    }

    /// Removes the hosts that are to leave and are idle.
    pub(super) fn remove_idle(&mut self, now: Duration) {
        let due = |host: &Host| host.drained == Some(Then::Removed) && host.leave.is_none();
        let due: Vec<HostKey> =
            self.hosts.iter().filter(|(_, host)| due(host)).map(|(key, _)| *key).collect();
        let idle: Vec<HostKey> = due.into_iter().filter(|key| self.busy(*key, now).is_none()).collect();
        for key in &idle {
            self.leave(*key, None, now);
        }
        if !idle.is_empty() {
            self.advance_leaving(now);
        }
    }

    /// Why a host is not idle.
    pub(super) fn busy(&self, key: HostKey, now: Duration) -> Option<String> {
        let id = &self.hosts.get(&key)?.spec.id;
        let programs = || of_programs(self.switch.programs(key).into_iter().collect());
        match self.switch.processes(key) {
            0 => {}
            1 => return Some(format!("1 process runs there{}", programs())),
            count => return Some(format!("{count} processes run there{}", programs())),
        }
        let when = if self.switch.is_reachable(key) { "" } else { " when it is reachable again" };
        match self.switch.ending(key) {
            0 => {}
            1 => return Some(format!("1 process is ended there{when}")),
            count => return Some(format!("{count} processes are ended there{when}")),
        }
        match self.switch.keeps(key) {
            0 => {}
            1 => return Some("1 process is kept there".to_owned()),
            count => return Some(format!("{count} processes are kept there")),
        }
        if self.selecting.iter().any(|selecting| self.is_named(selecting, id)) {
            return Some("a program waits for it".to_owned());
        }
        if let Some(inner) = self.hosts.values().find(|host| host.via() == Some(key)) {
            return Some(format!("`{}` is reached through it", inner.spec.id));
        }
        let came_after_another = self.settings.life > 1 && now < CLAIMS;
        came_after_another.then(|| "programs of an earlier daemon may come back to it".to_owned())
    }

    /// When [`Daemon::remove_idle`] may find more than before, though nothing happened.
    pub(super) fn draining_deadline(&self, now: Duration) -> Option<Duration> {
        let waits =
            self.hosts.values().any(|host| host.drained == Some(Then::Removed)) || !self.draining.is_empty();
        (waits && self.settings.life > 1 && now < CLAIMS).then_some(CLAIMS)
    }

    /// Tells those who drain a host of its new state.
    pub(super) fn tell_draining(&mut self, key: HostKey, reply: &HostReply) {
        let told = self.draining.iter().filter(|draining| draining.hosts.contains(&key));
        for request in told.map(|draining| draining.request).collect::<Vec<RequestKey>>() {
            self.reply(request, false, reply);
        }
    }

    /// Ends the requests whose hosts are idle, or gone if they are to be removed.
    pub(super) fn end_draining(&mut self, now: Duration) {
        for mut draining in std::mem::take(&mut self.draining) {
            let undrained = |key: &HostKey| self.hosts.get(key).is_some_and(|host| host.drained.is_none());
            if let Some(key) = draining.hosts.iter().find(|key| undrained(key)) {
                let message = format!("`{}` was undrained in the meantime", self.hosts[key].spec.id);
                self.fail(draining.request, ErrorKind::Cancelled, message, None);
                continue;
            }
            draining.hosts.retain(|key| match self.hosts.get(key) {
                None => false,
                Some(host) if host.leave.is_some() => true,
                Some(_) => draining.wait && self.busy(*key, now).is_some(),
            });
            if draining.hosts.is_empty() {
                self.reply(draining.request, true, &HostReply::default());
            } else {
                self.draining.push(draining);
            }
        }
    }
}

/// ` (pytest)`, if programs have names.
fn of_programs(mut names: Vec<&str>) -> String {
    const MOST: usize = 3;
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_but_not_all_of_them() {
        let said: Vec<String> = [0, 1, 3, 5]
            .into_iter()
            .map(|count| of_programs(["a", "b", "c", "d", "e"][..count].into()))
            .collect();
        assert_eq!(said, ["", " (a)", " (a, b, c)", " (a, b, c and 2 more)"]);
    }
}
