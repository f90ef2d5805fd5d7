//! The daemon without its IO: events in, actions out.
//!
//! Owns the [`Switch`], the hosts and every decision about them. [`Daemon::handle`] takes one [`Event`],
//! synchronously. The results wait in [`Daemon::take_actions`] and in the switch's queues. Starts no process,
//! opens no file, reads no clock.

mod draining;
mod joining;
mod keeping;
mod leaving;
mod looking;
mod placement;
mod pools;
mod prompts;
mod requests;
mod selecting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use execnet_proto::batch::Sink;
use execnet_proto::conn::PING_AFTER;
use execnet_proto::id::ClientId;
use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{HostSpec, Transport};
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Said, Short, Switch, SwitchEvent};

use crate::event::{Action, Event, RequestKey};
use crate::host::bootstrap::Common;
use crate::host::diagnosis::Cause;
use crate::host::forwards;
use crate::host::{Host, Way};
use crate::quota::Quota;
use draining::Draining;
use keeping::Finding;
use leaving::Closing;
use looking::Looking;
use prompts::Prompts;
use requests::Watcher;
use selecting::Selecting;

/// Unfinished connects per sshd: a part of its MaxStartups.
const CONNECTS_PER_SERVER: usize = 4;

/// A round trip is shown only if no host had joined for this long when it was measured.
const CALM: Duration = Duration::from_secs(1);

/// Links are checked at multiples of this, many at a time. Their deadlines leave room for it.
const COARSE: Duration = Duration::from_millis(250);

/// What the daemon is told at its start and never changes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) common: Common,
    pub(crate) life: u32,
    pub(crate) pid: u32,
    pub(crate) release: String,
    /// It belongs to one client and ends with it.
    pub(crate) private: bool,
    /// The network's file, for the status.
    pub(crate) file: Option<String>,
    /// Ids of hosts that are drained from the start.
    pub(crate) drained: Vec<String>,
    /// The groups of nodes at the start.
    pub(crate) groups: Groups,
    /// The program that ssh calls to ask a person.
    pub(crate) askpass: Option<PathBuf>,
    /// The environment has a DISPLAY.
    pub(crate) has_display: bool,
    /// How many agents may start on this machine at a time.
    pub(crate) local_connects: usize,
    /// Seed for jitter and for the ids of tunnels.
    pub(crate) seed: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Daemon {
    settings: Settings,
    switch: Switch,
    hosts: BTreeMap<HostKey, Host>,
    groups: Groups,
    watchers: Vec<Watcher>,
    draining: Vec<Draining>,
    prompts: Prompts,
    selecting: Vec<Selecting>,
    looking: Looking,
    finding: Vec<Finding>,
    closing: Option<Closing>,
    /// The path of its socket, and why it is not the usual one.
    place: Option<(String, Option<String>)>,
    /// The user's ssh agent, as the last command named it.
    auth_sock: Option<String>,
    /// Hosts whose watchers need an update.
    changed: BTreeSet<HostKey>,
    /// How much the log may still say because of clients.
    quota: Quota,
    rng: fastrand::Rng,
    attaches: u32,
    /// Until then round trips do not count: hosts are joining.
    busy_until: Duration,
    actions: Vec<Action>,
    last_host: u32,
    deadline_is_stale: bool,
}

impl Daemon {
    /// A daemon that has yet to reach any host. The hosts' `via`s have been checked.
    pub(crate) fn new(settings: Settings, hosts: Vec<HostSpec>, now: Duration) -> Self {
        let mut rng = fastrand::Rng::with_seed(settings.seed);
        let mut owner = [0; 16];
        rng.fill(&mut owner);
        let switch = Switch::new(Identity {
            owner: ClientId(owner),
            life: settings.life,
            pid: settings.pid,
            release: settings.release.clone(),
            network: settings.common.network.clone(),
            linger: settings.common.linger,
            private: settings.private,
        });
        let mut daemon = Self {
            groups: settings.groups.clone(),
            settings,
            switch,
            hosts: BTreeMap::new(),
            watchers: Vec::new(),
            draining: Vec::new(),
            prompts: Prompts::default(),
            selecting: Vec::new(),
            looking: Looking::default(),
            finding: Vec::new(),
            closing: None,
            place: None,
            auth_sock: None,
            changed: BTreeSet::new(),
            quota: Quota::of(10),
            rng,
            attaches: 0,
            busy_until: Duration::ZERO,
            actions: Vec::new(),
            last_host: 0,
            deadline_is_stale: true,
        };
        let keys: Vec<HostKey> = hosts.into_iter().map(|spec| daemon.add_host(spec, now)).collect();
        for key in keys {
            // a via may stand behind the hosts that are reached through it
            let spec = daemon.hosts[&key].spec.clone();
            let way = daemon.way(&spec);
            let drained = daemon.settings.drained.contains(&spec.id);
            daemon.hosts.insert(key, Host::new(spec, way));
            daemon.set_drained(key, drained);
        }
        daemon.advance(now);
        daemon
    }

    /// Takes one event. True if bytes said more than one turn's work: then the caller, after the turns of
    /// others, passes an event of the same peer without bytes, and no new bytes before that.
    pub(crate) fn handle(&mut self, event: Event<'_>, now: Duration) -> bool {
        // frames that only pass through need no decision here
        let mut decide = true;
        let mut more = false;
        match event {
            Event::ClientBytes(client, bytes) => {
                more = self.switch.client_turn(client, bytes, now);
                decide = false;
            }
            Event::LinkBytes(host, bytes) => {
                more = self.switch.link_turn(host, bytes, now);
                decide = false;
            }
            Event::ClientOpened(client, pid) => {
                self.switch.client_opened(client, pid, now);
                self.looking.client_opened(client, pid);
            }
            Event::ClientClosed(client) => {
                self.switch.client_closed(client);
                self.client_gone(client, now);
            }
            Event::SshConfig(host, said) => {
                let lent = forwards::by_settings(said, self.settings.has_display);
                if let Some(link) = self.link_mut(host) {
                    link.forwards = lent;
                }
            }
            Event::LinkEnded(host, over) => self.process_ended(host, over, now),
            Event::Tick => self.tick(now),
            Event::Terminate => self.close(None, now),
        }
        while let Some(event) = self.switch.poll_event() {
            // with 200 hosts these come often, and change nothing else
            decide |= !matches!(event, SwitchEvent::Looked { .. });
            self.switched(event, now);
        }
        if decide {
            self.advance(now);
        }
        more
    }

    /// Whether bytes from a peer can take the short way: see [`Switch::short_way`].
    pub(crate) fn short_way(&self, from: Peer, bytes: &[u8]) -> Option<Short> {
        self.switch.short_way(from, bytes)
    }

    /// They have. Returns whether somebody has something to say because of that.
    pub(crate) fn passed(&mut self, short: Short, now: Duration) -> bool {
        self.switch.passed(short, now);
        self.switch.is_ready()
    }

    /// Takes note of where clients find it: the path of its socket, and why it is not the usual one.
    pub(crate) fn meets_at(&mut self, socket: String, why: Option<String>) {
        self.place = Some((socket, why));
    }

    /// What to do now.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Whether [`Daemon::deadline`] may have changed since it was last asked for.
    pub(crate) fn deadline_is_stale(&self) -> bool {
        self.deadline_is_stale
    }

    /// When [`Event::Tick`] is due.
    pub(crate) fn deadline(&mut self, now: Duration) -> Option<Duration> {
        self.deadline_is_stale = false;
        let hosts = self.hosts.values().filter_map(|host| host.attempts.deadline()).min();
        let selecting = self.selecting.iter().filter_map(|selecting| selecting.wake).min();
        // an answered PING brings the next one forward, and nobody asks again because of that
        let switch = self.switch.deadline().map(|at| round_up(at.min(now + PING_AFTER), COARSE));
        let calm = self.hosts.values().any(Host::is_unmeasured).then_some(self.busy_until);
        let others = [
            self.prompts.deadline(),
            self.leaving_deadline(now),
            self.draining_deadline(now),
            self.pools_deadline(now),
            calm,
        ];
        [switch, hosts, selecting, self.looking.deadline(), self.finding_deadline()]
            .into_iter()
            .chain(others)
            .flatten()
            .min()
    }

    /// A peer that may have bytes waiting for it.
    pub(crate) fn poll_ready(&mut self) -> Option<Peer> {
        self.switch.poll_ready()
    }

    /// Appends what may be written to a peer now, at most a little more than `most` bytes.
    pub(crate) fn transmit(&mut self, peer: Peer, out: &mut impl Sink, most: usize, now: Duration) {
        match peer {
            Peer::Client(client) => self.switch.client_transmit(client, out, most, now),
            Peer::Host(host) => self.switch.link_transmit(host, out, most, now),
        }
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn add_host(&mut self, spec: HostSpec, now: Duration) -> HostKey {
        self.last_host += 1;
        let key = HostKey(self.last_host);
        let way = self.way(&spec);
        self.switch.add_host(key, &spec.id, now);
        self.hosts.insert(key, Host::new(spec, way));
        self.changed.insert(key);
        key
    }

    /// The host that its spec names as the one in front of it.
    fn way(&self, spec: &HostSpec) -> Option<Way> {
        let id = spec.via.clone()?;
        Some(Way { via: self.host_named(&id)?, id })
    }

    fn host_named(&self, id: &str) -> Option<HostKey> {
        self.hosts.iter().find(|(_, host)| host.spec.id == id).map(|(key, _)| *key)
    }

    fn switched(&mut self, event: SwitchEvent, now: Duration) {
        match event {
            SwitchEvent::Select { client, id, wants } => self.select(client, id, &wants, now),
            SwitchEvent::Request { client, request, json } => {
                self.request(RequestKey { client, number: request }, &json, now);
            }
            SwitchEvent::ClientEnded { client, why } => {
                if self.quota.take("clients", now) {
                    tracing::warn!("a client was dropped: {why}");
                }
                self.client_gone(client, now);
                self.act(Action::CloseClient(client));
            }
            SwitchEvent::Up { host, incarnation, resume, pid, facts } => {
                let Some(there) = self.hosts.get_mut(&host) else { return };
                there.greeted(incarnation, resume, pid, &facts, now);
                self.busy_until = now + CALM;
                if there.may_log(now) {
                    tracing::info!("{} is up (agent {pid})", there.spec.id);
                    if let Some(note) = there.note() {
                        tracing::warn!("{}: {note}", there.spec.id);
                    }
                }
                self.drop_questions(host);
                self.changed.insert(host);
            }
            SwitchEvent::Node { host, name, state, facts } => {
                let Some(there) = self.hosts.get_mut(&host) else { return };
                there.node(name, state, &facts);
                self.changed.insert(host);
            }
            SwitchEvent::Nodes { host, .. } => {
                if let Some(there) = self.hosts.get_mut(&host) {
                    there.attempts.settle();
                    self.busy_until = now + CALM;
                    // the greeting measured the round trip to an agent that was still starting
                    self.switch.measure(host, now);
                    self.changed.insert(host);
                }
            }
            SwitchEvent::LinkEnded { host, why, said } => self.link_dropped(host, why, said, now),
            SwitchEvent::Looked { host, facts, rows } => {
                self.looked(host, &facts, rows, now);
                self.advance_looking(now);
            }
            SwitchEvent::Killed { id, gone } => self.killed(id, gone),
            SwitchEvent::Outcast { host } => {
                if let Some(host) = self.hosts.get_mut(&host) {
                    if let Some(link) = host.attempts.link_mut() {
                        link.cause = Some((Cause::Outcast, Said::default()));
                    }
                    host.attempts.once_more();
                }
            }
            SwitchEvent::ViaChanged { host }
            | SwitchEvent::Released { host }
            | SwitchEvent::Kept { host, .. }
            | SwitchEvent::KeptGone { host, .. }
            | SwitchEvent::ToldKept { host } => {
                self.changed.insert(host);
            }
        }
    }

    fn tick(&mut self, now: Duration) {
        self.switch.tick(now);
        let due: Vec<HostKey> =
            self.hosts.iter_mut().filter_map(|(key, host)| host.attempts.tick(now).then_some(*key)).collect();
        for key in due {
            self.timed_out(key, now);
        }
        self.give_up_questions(now);
        if now >= self.busy_until {
            for (key, host) in self.hosts.iter_mut().filter(|(_, host)| host.is_unmeasured()) {
                if let Some(link) = host.attempts.link_mut() {
                    link.measured = true;
                }
                self.switch.measure_afresh(*key, now);
            }
        }
    }

    /// Does everything that has become possible.
    fn advance(&mut self, now: Duration) {
        self.deadline_is_stale = true;
        self.choose_ways(now);
        self.follow_vias();
        self.advance_leaving(now);
        self.connect_queued(now);
        self.place_waiting(now);
        self.remove_idle(now);
        self.advance_looking(now);
        self.advance_finding(now);
        self.tell_watchers(now);
    }

    /// Hosts wait for the one in front of them, and fail with it.
    fn follow_vias(&mut self) {
        let behind = self.hosts.iter().filter(|(_, host)| host.is_behind());
        let behind: Vec<(HostKey, Option<HostKey>)> = behind.map(|(key, host)| (*key, host.via())).collect();
        let mut again = true;
        while std::mem::take(&mut again) {
            for (key, via) in &behind {
                let reachable = via.is_some_and(|via| self.switch.is_reachable(via));
                let via = via.and_then(|via| self.hosts.get(&via));
                let failed = via.is_none_or(|via| via.failed(reachable));
                let Some(host) = self.hosts.get_mut(key) else { continue };
                if host.follow_via(reachable, failed) {
                    self.changed.insert(*key);
                    again = true;
                }
            }
        }
    }

    /// Starts the links that may start, in the order of the hosts.
    fn connect_queued(&mut self, now: Duration) {
        if !self.hosts.values().any(|host| host.attempts.is_queued()) {
            return;
        }
        let mut busy: HashMap<String, usize> = HashMap::new();
        for host in self.hosts.values().filter(|host| host.attempts.is_connecting()) {
            *busy.entry(host.server.clone()).or_default() += 1;
        }
        let queued = |host: &Host| host.attempts.is_queued() && host.leave.is_none();
        let keys: Vec<HostKey> =
            self.hosts.iter().filter(|(_, host)| queued(host)).map(|(key, _)| *key).collect();
        for key in keys {
            let host = &self.hosts[&key];
            let limit = match host.spec.transport {
                Transport::Popen if !host.is_behind() => self.settings.local_connects,
                _ => CONNECTS_PER_SERVER,
            };
            let busy = busy.entry(host.server.clone()).or_default();
            if *busy < limit {
                *busy += 1;
                self.connect(key, now);
            }
        }
    }

    fn client_gone(&mut self, client: ClientKey, now: Duration) {
        self.watchers.retain(|watcher| watcher.request.client != client);
        self.draining.retain(|draining| draining.request.client != client);
        self.selecting.retain(|selecting| selecting.client != client);
        self.looking.client_gone(client);
        self.finding.retain(|finding| finding.client() != client);
        for (host, notice) in self.prompts.client_gone(client, now) {
            self.go_on(host, notice, now);
        }
        if let Some(closing) = &mut self.closing {
            closing.asked.retain(|request| request.client != client);
        }
    }
}

fn round_up(time: Duration, step: Duration) -> Duration {
    let step = step.as_millis() as u64;
    Duration::from_millis((time.as_millis() as u64 + 1).div_ceil(step) * step)
}

#[cfg(test)]
mod tests;
