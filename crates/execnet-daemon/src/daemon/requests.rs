//! What the command asks of the daemon (docs/requests.md), and who hears about changes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use execnet_proto::control::{
    AskpassReply, ErrorKind, GroupsReply, HostReply, HostState, HostStatus, Interruption, PromptKind,
    ReplyError, Request, Status, Verb,
};
use execnet_proto::control::{NodeState, Step};
use execnet_proto::opening::VERSION;
use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{HostSpec, nearest};
use execnet_proto::switch::HostKey;
use serde::Serialize;

use super::Daemon;
use crate::event::RequestKey;
use crate::host::Host;
use crate::host::link::Link;
use crate::text;

/// How many watchers there may be at a time.
const MAX_WATCHERS: usize = 256;

/// The most bytes of a reply, which must fit into a frame.
const MOST_OF_REPLY: usize = 16_000_000;

/// A `watch` or `addhost` request that is not over.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) request: RequestKey,
    /// The host it added; without one it watches all hosts.
    pub(super) host: Option<HostKey>,
}

impl Daemon {
    /// Answers a request, or remembers it.
    pub(super) fn request(&mut self, request: RequestKey, json: &Bytes, now: Duration) {
        let parsed = match serde_json::from_slice::<Request>(json) {
            Ok(parsed) => parsed,
            Err(error) => {
                let release = &self.settings.release;
                let message = format!("the daemon, execnet {release}, does not know such a request: {error}");
                let message = text::clean(&message, 300);
                let network = &self.settings.common.network;
                let hint = format!(
                    "a later release may know it: `execnet stop {network}`, then `start` with that release"
                );
                return self.fail(request, ErrorKind::Usage, message, Some(hint));
            }
        };
        if let Some(socket) = parsed.env.get("SSH_AUTH_SOCK") {
            self.refresh_ssh_agent(socket);
        }
        if self.closing.is_some() && !matches!(parsed.verb, Verb::Status | Verb::Stop { .. }) {
            return self.fail(request, ErrorKind::Closing, "the network is stopping".into(), None);
        }
        match parsed.verb {
            Verb::Status => {
                let status = self.status(now);
                self.reply(request, true, &status);
            }
            Verb::Watch => {
                if self.may_watch(request) {
                    self.watchers.push(Watcher { request, host: None });
                    let keys: Vec<HostKey> = self.hosts.keys().copied().collect();
                    for key in keys {
                        let host = self.host_status(key, now);
                        self.reply(request, false, &HostReply { host, ..HostReply::default() });
                    }
                }
            }
            Verb::AddHost { spec, end_kept } => self.add(request, &spec, end_kept, now),
            Verb::RmHost { host, kept } => self.remove(request, &host, kept, now),
            Verb::Drain { hosts, remove, wait } => self.drain(request, &hosts, remove, wait, now),
            Verb::Undrain { hosts } => self.undrain(request, &hosts, now),
            Verb::Groups { file, groups } => self.regroup(request, &file, &groups),
            Verb::Stop { kept } => self.stop(request, kept, now),
            Verb::Kept { names } => self.find(request, &names, now),
            Verb::Ps { node } => self.start_looking(request, node.as_deref(), false, now),
            Verb::Top { node } => self.start_looking(request, node.as_deref(), true, now),
            Verb::Kill { ids, signal } => self.kill(request, &ids, signal, now),
            Verb::AskPass { token, prompt, kind } => {
                self.askpass(request, &token, &prompt, kind, now);
            }
            Verb::Answer { prompt, answer } => self.answer(request, prompt, answer, now),
        }
    }

    /// Everything about the network.
    fn status(&mut self, now: Duration) -> Status {
        let keys: Vec<HostKey> = self.hosts.keys().copied().collect();
        Status {
            network: self.settings.common.network.clone(),
            pid: self.settings.pid,
            release: self.settings.release.clone(),
            protocol: VERSION,
            uptime: now.as_secs_f64(),
            clients: self.switch.clients() as u32,
            linger: Some(self.settings.common.linger.as_secs_f64()),
            socket: self.place.as_ref().map(|(socket, _)| socket.clone()),
            socket_note: self.place.as_ref().and_then(|(_, why)| why.clone()),
            file: self.settings.file.clone(),
            groups: self.groups.to_texts(),
            hosts: keys.into_iter().filter_map(|key| self.host_status(key, now)).collect(),
        }
    }

    /// Takes over the groups of the network's file. Those of another file, which belongs to a network of the
    /// same name in another place, change nothing.
    fn regroup(&mut self, request: RequestKey, file: &str, texts: &BTreeMap<String, String>) {
        if self.settings.file.as_deref() == Some(file) {
            match Groups::new(texts.iter().map(|(name, set)| (name.as_str(), set.as_str()))) {
                Ok(groups) if groups != self.groups => self.regrouped(groups),
                Ok(_) => {}
                Err(error) => return self.fail(request, ErrorKind::Usage, error.to_string(), None),
            }
        }
        let groups = self.groups.to_texts();
        self.reply(request, true, &GroupsReply { groups });
    }

    /// Everything about a host.
    pub(super) fn host_status(&self, key: HostKey, now: Duration) -> Option<HostStatus> {
        let host = self.hosts.get(&key)?;
        let mut status = host.status(self.switch.is_reachable(key), now);
        status.busy = host.drained.and_then(|_| self.busy(key, now));
        let measured =
            host.attempts.link().is_some_and(|link| link.measured) && status.state == HostState::Up;
        status.rtt = self.switch.rtt(key).filter(|_| measured).map(|rtt| rtt.as_secs_f64());
        if status.state == HostState::Unreachable && status.error.is_none() {
            status.error = self.switch.unreachable(key);
        }
        let left = self.switch.kept_work().filter(|work| work.host == key && work.here.is_none());
        let left = left.filter(|work| work.facts.ending.is_none()).map(|work| work.facts.node.as_str());
        for name in self.switch.nodes_in_use(key).chain(left) {
            status.processes += 1;
            if let Some(node) = status.nodes.iter_mut().find(|node| node.name == name) {
                node.processes += 1;
            }
        }
        Some(status)
    }

    fn add(&mut self, request: RequestKey, spec: &str, end_kept: bool, now: Duration) {
        let spec = match spec.parse::<HostSpec>() {
            Ok(spec) => spec,
            Err(error) => {
                let message = text::clean(&error.to_string(), 500);
                return self.fail(request, ErrorKind::Usage, message, None);
            }
        };
        if let Some(key) = self.host_named(&spec.id).filter(|key| self.may_try_again(*key, &spec)) {
            if self.may_watch(request) {
                if self.hosts[&key].attempts.is_up() && self.switch.is_reachable(key) {
                    self.renew(key, now);
                } else if let Some(host) = self.hosts.get_mut(&key) {
                    host.end_kept = end_kept;
                    host.attempts.retry(now);
                }
                self.changed.insert(key);
                self.watchers.push(Watcher { request, host: Some(key) });
            }
            return;
        }
        if self.host_named(&spec.id).is_some() {
            let message = format!("there is already a host `{}`", spec.id);
            let hint = "give this one another name with `//id=NAME`".to_owned();
            return self.fail(request, ErrorKind::DuplicateHost, message, Some(hint));
        }
        match (&spec.via, spec.pool()) {
            (_, Some(group)) => {
                if let Err(error) = self.can_lead(&spec.id, group) {
                    let hint = error.hint();
                    return self.fail(request, ErrorKind::NoSuchHost, error.to_string(), hint);
                }
            }
            (Some(via), None) if self.host_named(via).is_none_or(|key| self.hosts[&key].leave.is_some()) => {
                return self.no_such_host(request, via);
            }
            _ => {}
        }
        if self.may_watch(request) {
            if self.quota.take("clients", now) {
                tracing::info!("adding {}", spec.id);
            }
            let key = self.add_host(spec, now);
            if let Some(host) = self.hosts.get_mut(&key) {
                host.end_kept = end_kept;
            }
            self.watchers.push(Watcher { request, host: Some(key) });
        }
    }

    /// Whether adding it means trying it once more: it is here already, but is not up, or an interpreter
    /// failed.
    fn may_try_again(&self, key: HostKey, spec: &HostSpec) -> bool {
        let host = &self.hosts[&key];
        let state = host.state(self.switch.is_reachable(key));
        // looking for interpreters needs another link, which not every agent survives
        let may_ask = host.greeting.as_ref().is_some_and(|greeting| greeting.resume);
        let failed = may_ask && host.nodes.iter().any(|node| node.state == NodeState::Failed);
        host.spec == *spec && host.leave.is_none() && (state != HostState::Up || failed)
    }

    pub(super) fn no_such_host(&mut self, request: RequestKey, id: &str) {
        let error = Interruption::Error(self.unknown_host(id));
        self.reply(request, true, &error);
    }

    pub(super) fn unknown_host(&self, id: &str) -> ReplyError {
        let id = text::clean(id, 64);
        let near = nearest(&id, self.hosts.values().map(|host| host.spec.id.as_str()));
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        ReplyError { kind: ErrorKind::NoSuchHost, message: format!("there is no host `{id}`"), hint }
    }

    pub(super) fn may_watch(&mut self, request: RequestKey) -> bool {
        let may = self.watchers.len() + self.draining.len() < MAX_WATCHERS;
        if !may {
            let message = format!("{MAX_WATCHERS} requests already wait for hosts");
            self.fail(request, ErrorKind::Usage, message, None);
        }
        may
    }

    /// Tells watchers what changed, passes on what ssh asks, and ends the requests of watchers that have seen
    /// everything.
    pub(super) fn tell_watchers(&mut self, now: Duration) {
        let changed = std::mem::take(&mut self.changed);
        if self.watchers.is_empty() && self.draining.is_empty() {
            return;
        }
        for key in changed {
            let Some(status) = self.host_status(key, now) else { continue };
            let reply = HostReply { host: Some(status), ..HostReply::default() };
            self.tell_draining(key, &reply);
            let watches = |watcher: &&Watcher| watcher.host.is_none_or(|host| host == key);
            let told: Vec<RequestKey> =
                self.watchers.iter().filter(watches).map(|watcher| watcher.request).collect();
            for request in told {
                self.reply(request, false, &reply);
            }
        }
        let watchers = &self.watchers;
        let questions = self.prompts.show(|host| {
            let own = watchers.iter().find(|watcher| watcher.host == Some(host));
            let any = watchers.iter().find(|watcher| watcher.host.is_none());
            own.or(any).map(|watcher| watcher.request)
        });
        for (request, prompt) in questions {
            self.reply(request, false, &Interruption::Prompt(prompt));
        }
        for watcher in std::mem::take(&mut self.watchers) {
            let joining = |key: HostKey| self.hosts.get(&key).is_some_and(|host| self.is_joining(key, host));
            let is_over = match watcher.host {
                Some(key) => !joining(key),
                None => !self.hosts.keys().copied().any(joining),
            };
            if !is_over {
                self.watchers.push(watcher);
                continue;
            }
            let Watcher { request, host } = watcher;
            self.prompts.watch_over(request, now);
            match host.map(|key| self.host_status(key, now)) {
                None => self.reply(request, true, &HostReply::default()),
                Some(Some(host)) if host.state != HostState::Leaving => {
                    self.reply(request, true, &HostReply { host: Some(host), ..HostReply::default() });
                }
                Some(_) => {
                    self.fail(
                        request,
                        ErrorKind::Cancelled,
                        "the host was removed in the meantime".into(),
                        None,
                    );
                }
            }
        }
        self.end_draining(now);
    }

    fn is_joining(&self, key: HostKey, host: &Host) -> bool {
        match host.state(self.switch.is_reachable(key)) {
            HostState::Joining => true,
            HostState::Up => !host.attempts.is_settled(),
            // the reason why its link ended comes in a moment
            HostState::Unreachable if host.attempts.link().is_some_and(Link::is_ending) => true,
            _ => host.attempts.is_awaited(),
        }
    }

    fn refresh_ssh_agent(&mut self, socket: &str) {
        if self.auth_sock.as_deref() == Some(socket) || socket.contains('\0') {
            return;
        }
        self.auth_sock = Some(socket.to_owned());
        // hosts that could not log in may be able to now
        for host in self.hosts.values_mut() {
            if host.failure.as_ref().is_some_and(|failure| failure.step == Step::Authenticate) {
                host.attempts.hurry();
            }
        }
    }

    fn askpass(&mut self, asker: RequestKey, token: &str, prompt: &str, kind: PromptKind, now: Duration) {
        let asks = |host: &Host| host.attempts.link().and_then(|link| link.token.as_deref()) == Some(token);
        let found = self.hosts.iter().find(|(_, host)| asks(host));
        let Some((&key, host)) = found else {
            return self.refuse_question(asker, "no connection of this network asks this");
        };
        let id = host.spec.id.clone();
        if !self.prompts.ask(key, &id, prompt, kind, asker, now) {
            let message = "too many questions are open".into();
            return self.fail(asker, ErrorKind::Usage, message, None);
        }
        if let Some(host) = self.hosts.get_mut(&key) {
            let host_key = kind == PromptKind::HostKey || prompt.starts_with("The authenticity of host ");
            host.step = if host_key { Step::HostKey } else { Step::Authenticate };
            host.attempts.hold();
        }
        self.changed.insert(key);
    }

    fn answer(&mut self, from: RequestKey, prompt: u64, answer: Option<String>, now: Duration) {
        let Some((host, asker)) = self.prompts.answer(prompt) else {
            let message = "the question is no longer open".into();
            return self.fail(from, ErrorKind::Cancelled, message, None);
        };
        self.go_on(host, answer.is_some(), now);
        match answer {
            Some(answer) => self.reply(asker, true, &AskpassReply { answer }),
            None => self.refuse_question(asker, "the person did not answer"),
        }
        self.reply(from, true, &HostReply::default());
    }

    /// A host's ssh got its answer, or none: its deadline counts again.
    pub(super) fn go_on(&mut self, key: HostKey, answered: bool, now: Duration) {
        if let Some(host) = self.hosts.get_mut(&key) {
            let patience = host.patience();
            if let Some(link) = host.attempts.link_mut() {
                link.unanswered = !answered;
            }
            host.attempts.release(now, patience);
        }
    }

    /// Refuses questions that nobody was there to answer.
    pub(super) fn give_up_questions(&mut self, now: Duration) {
        for (host, asker, notice) in self.prompts.expired(now) {
            self.go_on(host, notice, now);
            self.refuse_question(asker, "nobody is there to answer");
        }
    }

    /// Drops a host's questions: nobody needs an answer any more.
    pub(super) fn drop_questions(&mut self, key: HostKey) {
        for asker in self.prompts.host_gone(key) {
            self.refuse_question(asker, "the connection has ended");
        }
    }

    fn refuse_question(&mut self, request: RequestKey, why: &str) {
        self.fail(request, ErrorKind::Cancelled, why.to_owned(), None);
    }

    pub(super) fn fail(
        &mut self,
        request: RequestKey,
        kind: ErrorKind,
        message: String,
        hint: Option<String>,
    ) {
        let error = Interruption::Error(ReplyError { kind, message, hint });
        self.reply(request, true, &error);
    }

    pub(super) fn reply(&mut self, request: RequestKey, last: bool, reply: &impl Serialize) {
        match serde_json::to_vec(reply) {
            Ok(json) if json.len() > MOST_OF_REPLY => {
                let message = "the reply is too large".into();
                let error = ReplyError { kind: ErrorKind::Usage, message, hint: Some("ask for less".into()) };
                self.reply(request, true, &Interruption::Error(error));
            }
            Ok(json) => self.switch.reply(request.client, request.number, last, json.into()),
            Err(error) => tracing::error!("a reply cannot be written as JSON: {error}"),
        }
    }
}
