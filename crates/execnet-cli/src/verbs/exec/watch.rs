//! Hosts that cannot be reached while something runs there: it goes on, but somebody may wonder.

use std::collections::BTreeSet;

use execnet::Network;
use execnet_proto::control::{HostState, HostStatus};

use crate::render::reason;
use crate::text::{one_line, say};

/// What was said of breaks so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    hosts: BTreeSet<String>,
    daemon: bool,
}

impl Watch {
    /// Looks at the hosts that are waited for, and says what has changed.
    pub(super) fn look<'a>(&mut self, network: &Network, waited_for: impl Iterator<Item = &'a str>) {
        if !network.is_connected() {
            if !std::mem::replace(&mut self.daemon, true) {
                say(&format!("execnet: the daemon of {} is away; waiting", network.name()));
            }
            return;
        }
        // who learns nothing tries again
        let Ok(status) = network.status() else { return };
        self.daemon = false;
        for line in self.changes(&status.hosts, &waited_for.collect()) {
            say(&line);
        }
    }

    fn changes(&mut self, hosts: &[HostStatus], waited_for: &BTreeSet<&str>) -> Vec<String> {
        let mut lines = Vec::new();
        for host in hosts.iter().filter(|host| waited_for.contains(host.id.as_str())) {
            let id = one_line(&host.id);
            match host.state {
                HostState::Unreachable if self.hosts.insert(host.id.clone()) => {
                    let why = host.error.as_deref().unwrap_or("its link is down");
                    lines.push(format!(
                        "execnet: {id} is unreachable: {}; waiting",
                        one_line(reason(&host.id, why))
                    ));
                }
                HostState::Up if self.hosts.remove(&host.id) => lines.push(format!("execnet: {id} is back")),
                _ => {}
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once_and_only_of_hosts_that_are_waited_for() {
        let host = |id: &str, state| HostStatus {
            id: id.into(),
            state,
            error: Some("no \x1b byte".into()),
            ..HostStatus::default()
        };
        let mut watch = Watch::default();
        let mut look = |states: [HostState; 2]| {
            let hosts = [host("a", states[0]), host("b", states[1])];
            watch.changes(&hosts, &BTreeSet::from(["a"])).join("\n")
        };
        assert_eq!(look([HostState::Up, HostState::Unreachable]), "");
        let broken = [HostState::Unreachable, HostState::Up];
        assert_eq!(look(broken), "execnet: a is unreachable: no \\x1b byte; waiting");
        assert_eq!(look(broken), "");
        assert_eq!(look([HostState::Up, HostState::Up]), "execnet: a is back");
        assert_eq!(look([HostState::Up, HostState::Up]), "");
    }
}
