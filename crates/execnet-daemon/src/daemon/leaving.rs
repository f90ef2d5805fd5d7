//! Hosts that leave the network: one by `rmhost`, all of them when the daemon ends. Agents are told to end,
//! innermost first.

use std::time::Duration;

use execnet_proto::control::{ErrorKind, HostReply, Interruption, KeptChoice, ReplyError, StopReply};
use execnet_proto::spec::Transport;
use execnet_proto::switch::HostKey;
use execnet_proto::wire::Refusal;

use super::Daemon;
use crate::event::{Action, RequestKey};
use crate::host::{Host, Leave, Leaving, Then};

/// How long agents get to shut down.
const PATIENCE: Duration = Duration::from_secs(8);

/// How much longer an agent gets that runs a `cmd=` for other hosts.
const CANCEL: Duration = Duration::from_secs(10);

/// How long a host that is connecting may take until it can be told.
const GREETING: Duration = Duration::from_secs(3);

/// The daemon is ending.
#[derive(Debug)]
pub(super) struct Closing {
    /// Requests to answer when it is over.
    pub(super) asked: Vec<RequestKey>,
    /// Kept work ends, too.
    end_kept: bool,
    over: bool,
}

impl Daemon {
    /// Serves `stop`.
    pub(super) fn stop(&mut self, request: RequestKey, kept: Option<KeptChoice>, now: Duration) {
        if self.closing.is_none()
            && let Err(error) = self.keeps(kept, None, now)
        {
            return self.reply(request, true, &Interruption::Error(error));
        }
        self.close(Some(request), now);
        if let Some(closing) = &mut self.closing {
            closing.end_kept |= kept == Some(KeptChoice::End);
        }
    }

    /// Ends everything except for kept work, then the daemon.
    pub(super) fn close(&mut self, asked_by: Option<RequestKey>, now: Duration) {
        if let Some(closing) = &mut self.closing {
            closing.asked.extend(asked_by);
            return;
        }
        tracing::info!("stopping");
        self.closing = Some(Closing { asked: asked_by.into_iter().collect(), end_kept: false, over: false });
        for selecting in std::mem::take(&mut self.selecting) {
            let message = format!("the network {} is stopping", self.settings.common.network);
            self.switch.refuse(selecting.client, selecting.id, Refusal::Closing, message);
        }
        let watching = std::mem::take(&mut self.watchers).into_iter().map(|watcher| watcher.request);
        let draining = std::mem::take(&mut self.draining).into_iter().map(|draining| draining.request);
        for request in watching.chain(draining).collect::<Vec<RequestKey>>() {
            self.fail(request, ErrorKind::Closing, "the network is stopping".into(), None);
        }
        let keys: Vec<HostKey> = self.hosts.keys().copied().collect();
        for key in keys {
            self.leave(key, None, now);
        }
    }

    /// Serves `rmhost`.
    pub(super) fn remove(&mut self, request: RequestKey, id: &str, kept: Option<KeptChoice>, now: Duration) {
        let may = self.removable(id).and_then(|key| self.keeps(kept, Some(key), now).map(|()| key));
        match may {
            Ok(key) => {
                self.leave(key, Some(request), now);
                if let Some(leave) = self.hosts.get_mut(&key).and_then(|host| host.leave.as_mut()) {
                    leave.end_kept = kept == Some(KeptChoice::End);
                }
            }
            Err(error) => self.reply(request, true, &Interruption::Error(error)),
        }
    }

    /// The host with this id, unless it cannot be removed.
    pub(super) fn removable(&self, id: &str) -> Result<HostKey, ReplyError> {
        let key = self.staying(id)?;
        let behind =
            |(inner, host): &(&HostKey, &Host)| host.via() == Some(key) && !self.has_other_way(**inner);
        let Some((_, inner)) = self.hosts.iter().find(behind) else { return Ok(key) };
        let id = &inner.spec.id;
        let (message, hint) = match inner.spec.pool() {
            None => (String::new(), format!("remove `{id}` first")),
            Some(pool) => (
                format!(", and no other host of `@{pool}` is up"),
                format!("wait until another one is up, or remove `{id}` first"),
            ),
        };
        let message = format!("`{id}` is reached through `{}`{message}", self.hosts[&key].spec.id);
        let hint = Some(hint);
        Err(ReplyError { kind: ErrorKind::InUse, message, hint })
    }

    /// The host with this id, unless it is leaving already.
    pub(super) fn staying(&self, id: &str) -> Result<HostKey, ReplyError> {
        let key = self.host_named(id).ok_or_else(|| self.unknown_host(id))?;
        if self.hosts[&key].leave.is_none() {
            return Ok(key);
        }
        let message = format!("`{id}` is already being removed");
        Err(ReplyError { kind: ErrorKind::Cancelled, message, hint: None })
    }

    pub(super) fn leave(&mut self, key: HostKey, asked: Option<RequestKey>, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        if host.leave.is_none() {
            host.leave = Some(Leave { since: now, stage: Leaving::Waiting, asked, end_kept: false });
            self.changed.insert(key);
        }
    }

    /// Takes every leaving host as far as it can go.
    pub(super) fn advance_leaving(&mut self, now: Duration) {
        loop {
            let keys: Vec<HostKey> = self.leaving().map(|(key, _)| key).collect();
            for key in &keys {
                self.advance_one(*key, now);
            }
            if self.leaving().count() == keys.len() {
                break;
            }
        }
        let Some(closing) = &mut self.closing else { return };
        let over = |host: &Host| host.leave.as_ref().is_some_and(Leave::is_over);
        if self.hosts.values().all(over) && !std::mem::replace(&mut closing.over, true) {
            let stage = |host: &Host| host.leave.as_ref().map(|leave| leave.stage);
            let left = self.hosts.values().filter(|host| stage(host) == Some(Leaving::LeftBehind));
            let left = left.map(|host| host.spec.id.clone()).collect();
            let end_kept = closing.end_kept;
            let was_told = |id: &str| {
                let host = self.hosts.values().find(|host| host.spec.id == id);
                host.is_none_or(|host| stage(host) != Some(Leaving::LeftBehind))
            };
            let mut kept = self.running_kept(None, now);
            kept.retain(|work| !(end_kept && was_told(&work.host)));
            kept.iter_mut().filter(|work| was_told(&work.host)).for_each(|work| work.unreachable = None);
            let reply = StopReply { left, kept };
            let Some(closing) = &mut self.closing else { return };
            for request in std::mem::take(&mut closing.asked) {
                self.reply(request, true, &reply);
            }
            self.act(Action::Exit);
        }
    }

    fn advance_one(&mut self, key: HostKey, now: Duration) {
        let blocked = self
            .hosts
            .values()
            .any(|host| host.via() == Some(key) && host.leave.as_ref().is_none_or(|leave| !leave.is_over()));
        let reachable = self.switch.is_reachable(key);
        // commands that it runs to reach others get time to take their jobs back
        let behind =
            |host: &Host| host.via() == Some(key) && matches!(host.spec.transport, Transport::Cmd(_));
        let patience = if self.hosts.values().any(behind) { PATIENCE + CANCEL } else { PATIENCE };
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let carried = host.attempts.link().is_some();
        let (connecting, up, ever_up) =
            (host.attempts.is_connecting(), host.attempts.is_up(), host.attempts.was_ever_up());
        let Some(leave) = &mut host.leave else { return };
        let waited = now.saturating_sub(leave.since);
        let told = leave.stage == Leaving::Told;
        if told && !carried {
            return self.left(key, false, now);
        }
        if waited >= patience {
            return self.left(key, ever_up, now);
        }
        if blocked || told {
            return;
        }
        if up && reachable {
            leave.stage = Leaving::Told;
            let all = leave.end_kept || self.closing.as_ref().is_some_and(|closing| closing.end_kept);
            let why = self.why_leaving(key);
            self.switch.end_host(key, all, &why);
        } else if !(carried && (connecting && waited < GREETING || up && !reachable && !host.is_behind())) {
            // nothing leads to its agent
            self.left(key, ever_up, now);
        }
    }

    /// A host has left. `left`: its agent may still be there.
    fn left(&mut self, key: HostKey, left: bool, now: Duration) {
        self.cut(key, "it is leaving the network", now);
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let id = host.spec.id.clone();
        let linger = self.settings.common.linger.as_secs();
        if self.quota.take("clients", now) {
            tracing::info!("{id} has left{}", if left { "; its agent could not be told" } else { "" });
        }
        let Some(leave) = &mut host.leave else { return };
        leave.stage = if left { Leaving::LeftBehind } else { Leaving::Gone };
        let (asked, end_kept) = (leave.asked.take(), leave.end_kept);
        let mut status = self.host_status(key, now);
        if self.closing.is_some() {
            // clients must not wait for another daemon
            let why = self.why_leaving(key);
            return self.switch.lose_host(key, &why);
        }
        let mut kept = self.running_kept(Some(key), now);
        kept.retain(|_| left || !end_kept);
        kept.iter_mut().filter(|_| !left).for_each(|work| work.unreachable = None);
        if let Some(status) = &mut status {
            let mut then = match kept.is_empty() {
                true => format!("it ends by itself within {linger} s"),
                false => format!("it ends all but what it keeps within {linger} s"),
            };
            if !kept.is_empty() && end_kept {
                then.push_str("; add the host again to end that, too");
            }
            // its link was meant to end: that is no error
            status.error = left.then(|| format!("its agent could not be told to end; {then}"));
        }
        self.drop_questions(key);
        let why = self.why_leaving(key);
        self.switch.end_host(key, end_kept, &why);
        self.switch.remove_host(key, now);
        self.looks_no_more(key);
        let removed = self.hosts.remove(&key);
        if removed.is_some_and(|host| host.drained == Some(Then::Removed)) {
            self.act(Action::Forget(id));
        }
        let reply = HostReply { host: status, kept };
        self.tell_draining(key, &reply);
        if let Some(request) = asked {
            self.reply(request, true, &reply);
        }
    }

    /// What clients are told of their processes on a host that leaves.
    fn why_leaving(&self, key: HostKey) -> String {
        match &self.closing {
            Some(_) => format!("the network {} was stopped", self.settings.common.network),
            None => format!("host {} was removed from the network", self.hosts[&key].spec.id),
        }
    }

    /// When [`Daemon::advance_leaving`] is due again.
    pub(super) fn leaving_deadline(&self, now: Duration) -> Option<Duration> {
        let due = |leave: &Leave| {
            let early = leave.since + GREETING;
            let due = [early, leave.since + PATIENCE, leave.since + PATIENCE + CANCEL];
            due.into_iter().find(|due| now < *due).unwrap_or(due[2])
        };
        self.leaving().map(|(_, leave)| due(leave)).min()
    }

    /// Hosts that have not left yet.
    fn leaving(&self) -> impl Iterator<Item = (HostKey, &Leave)> {
        let leaves = self.hosts.iter().filter_map(|(key, host)| Some((*key, host.leave.as_ref()?)));
        leaves.filter(|(_, leave)| !leave.is_over())
    }
}
