//! Kept work in requests: who means which by a name, and what is refused while work is kept.
//!
//! Hosts know what they keep, and tell it when they are attached. So a name is looked up once those that are
//! on their way have told.

use std::time::Duration;

use execnet_proto::control::{
    ErrorKind, KeptChoice, KeptReply, KeptState, KeptStatus, KillState, Killed, ProcessUsage, ReplyError,
    Unheard,
};
use execnet_proto::spec::sets::NodeSet;
use execnet_proto::switch::{ClientKey, HostKey, KeptWork};
use execnet_proto::text::hex;
use execnet_proto::wire::Ending;

use super::Daemon;
use crate::event::RequestKey;
use crate::text;

/// How long a name waits for hosts that are joining.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most requests that wait so at a time.
const MOST_REQUESTS: usize = 256;

/// The most names in a request.
const MOST_NAMES: usize = 1_000;

/// The most work that a reply tells of, which must fit into a frame.
const MOST_TOLD: usize = 10_000;

/// Characters of a command in a sentence.
const MOST_OF_COMMAND: usize = 40;

/// How much work a sentence names.
const MOST_NAMED: usize = 10;

/// A `kept` that is not over.
#[derive(Debug)]
pub(super) struct Finding {
    request: RequestKey,
    wanted: Vec<Wanted>,
    until: Duration,
}

/// What one word of a request means: `train`, `train@gpu`, `train[1-3]@build[1-20]`.
#[derive(Debug)]
struct Wanted {
    word: String,
    names: Vec<String>,
    on: Option<NodeSet>,
    /// It is a name alone, and means one work.
    plain: bool,
}

impl Finding {
    pub(super) fn client(&self) -> ClientKey {
        self.request.client
    }
}

impl Wanted {
    fn parse(word: &str) -> Result<Self, String> {
        let wrong =
            |why: &dyn std::fmt::Display| format!("`{}` names no work: {why}", text::clean(word, 300));
        let (names, on) = match word.split_once('@') {
            Some((names, on)) => (names, Some(on.parse::<NodeSet>().map_err(|error| wrong(&error))?)),
            None => (word, None),
        };
        let set = names.parse::<NodeSet>().map_err(|error| wrong(&error))?;
        let plain = set.plain().is_some() && on.is_none();
        let names = set.names().map_err(|error| wrong(&error))?;
        Ok(Self { word: text::clean(word, 300), names, on, plain })
    }
}

impl Daemon {
    /// Serves `kept`.
    pub(super) fn find(&mut self, request: RequestKey, words: &[String], now: Duration) {
        if words.len() > MOST_NAMES || self.finding.len() >= MOST_REQUESTS {
            let message = format!(
                "a request may have {MOST_NAMES} names, and {MOST_REQUESTS} requests may wait for hosts"
            );
            return self.fail(request, ErrorKind::Usage, message, None);
        }
        match words.iter().map(|word| Wanted::parse(word)).collect() {
            Ok(wanted) => self.finding.push(Finding { request, wanted, until: now + PATIENCE }),
            Err(message) => self.fail(request, ErrorKind::Usage, message, None),
        }
    }

    /// Answers those that need not wait any longer.
    pub(super) fn advance_finding(&mut self, now: Duration) {
        for finding in std::mem::take(&mut self.finding) {
            if now < finding.until && self.waits(&finding.wanted) {
                self.finding.push(finding);
                continue;
            }
            match self.found(&finding.wanted, now) {
                Ok(reply) => self.reply(finding.request, true, &reply),
                Err(error) => self.fail(finding.request, error.kind, error.message, error.hint),
            }
        }
    }

    pub(super) fn finding_deadline(&self) -> Option<Duration> {
        self.finding.iter().map(|finding| finding.until).min()
    }

    /// Whether a host that matters is about to tell what it keeps. Hosts that fail again and again only
    /// matter while something was not found elsewhere.
    fn waits(&self, wanted: &[Wanted]) -> bool {
        let telling: Vec<HostKey> = self.hosts.keys().copied().filter(|key| self.will_tell(*key)).collect();
        if telling.is_empty() {
            return false;
        }
        let (mut all_found, mut everywhere, mut named) = (!wanted.is_empty(), wanted.is_empty(), Vec::new());
        for word in wanted {
            let Ok(hosts) = self.on(word) else { continue };
            let is_there = |name: &String| {
                self.switch.kept_work().any(|work| {
                    work.present
                        && work.facts.name.as_str() == name
                        && hosts.as_ref().is_none_or(|hosts| hosts.contains(&work.host))
                })
            };
            all_found = all_found && word.names.iter().all(is_there);
            match hosts {
                Some(hosts) => named.extend(hosts),
                None => everywhere = true,
            }
        }
        telling.into_iter().any(|key| {
            let is_in_vain = all_found && self.hosts[&key].attempts.fail_again();
            (everywhere || named.contains(&key)) && !is_in_vain
        })
    }

    /// Whether a host is about to tell what it keeps.
    fn will_tell(&self, key: HostKey) -> bool {
        let host = &self.hosts[&key];
        let is_coming =
            host.attempts.is_connecting() || host.attempts.is_up() && self.switch.is_reachable(key);
        is_coming && host.leave.is_none() && !self.switch.has_told_kept(key)
    }

    fn found(&self, wanted: &[Wanted], now: Duration) -> Result<KeptReply, ReplyError> {
        let mut works: Vec<KeptWork<'_>> = self.switch.kept_work().collect();
        works.sort_unstable_by(|a, b| (a.host, &a.facts.name).cmp(&(b.host, &b.facts.name)));
        let mut reply = KeptReply::default();
        if wanted.is_empty() {
            reply.kept = works.iter().take(MOST_TOLD).map(|work| self.kept_status(work, now)).collect();
            return Ok(reply);
        }
        for word in wanted {
            let hosts = self.on(word)?;
            let is_meant = |host: HostKey, name: &str| {
                hosts.as_ref().is_none_or(|hosts| hosts.contains(&host))
                    && word.names.iter().any(|wanted| wanted == name)
            };
            let meant = works.iter().filter(|work| is_meant(work.host, work.facts.name.as_str())).collect();
            let meant: Vec<&KeptWork<'_>> = self.one_if_plain(word, meant)?;
            let told = meant.iter().map(|work| self.kept_status(work, now));
            reply.kept.extend(told);
            if meant.is_empty() {
                // the newest of what is gone
                let gone = self.switch.gone_work().filter(|(host, gone)| is_meant(*host, gone.name.as_str()));
                match gone.max_by_key(|(_, gone)| gone.since) {
                    Some((host, gone)) => reply.kept.push(KeptStatus {
                        name: gone.name.to_string(),
                        host: self.id_of(host),
                        id: hex(&gone.id.0),
                        state: KeptState::Gone,
                        error: Some(gone.why.clone()),
                        ended: Some(now.saturating_sub(gone.since).as_secs_f64()),
                        ..KeptStatus::default()
                    }),
                    None => reply.unknown.push(word.word.clone()),
                }
            }
        }
        reply.kept.dedup_by(|a, b| a.id == b.id);
        reply.kept.truncate(MOST_TOLD);
        if !reply.unknown.is_empty() {
            let silent = self.hosts.iter().filter(|(key, _)| !self.switch.has_told_kept(**key));
            reply.unheard = silent
                .map(|(key, host)| Unheard {
                    host: host.spec.id.clone(),
                    why: self.switch.unreachable(*key).unwrap_or_else(|| "it has not told yet".into()),
                })
                .collect();
        }
        Ok(reply)
    }

    /// The kept work that a word means, if it is a word that names any.
    pub(super) fn kept_named(&self, word: &str) -> Result<Vec<KeptWork<'_>>, ReplyError> {
        let Ok(wanted) = Wanted::parse(word) else { return Ok(Vec::new()) };
        let hosts = self.on(&wanted)?;
        let is_meant = |work: &KeptWork<'_>| {
            hosts.as_ref().is_none_or(|hosts| hosts.contains(&work.host))
                && wanted.names.iter().any(|name| name == work.facts.name.as_str())
        };
        let mut works: Vec<KeptWork<'_>> = self.switch.kept_work().filter(is_meant).collect();
        works.sort_unstable_by(|a, b| (a.host, &a.facts.name).cmp(&(b.host, &b.facts.name)));
        self.one_if_plain(&wanted, works)
    }

    /// What a plain name means: of work on several hosts what runs, if that is one.
    fn one_if_plain<'a, W: std::borrow::Borrow<KeptWork<'a>>>(
        &self,
        word: &Wanted,
        mut meant: Vec<W>,
    ) -> Result<Vec<W>, ReplyError> {
        if !word.plain || meant.len() < 2 {
            return Ok(meant);
        }
        let runs = |work: &W| work.borrow().facts.ending.is_none();
        if meant.iter().filter(|work| runs(work)).count() == 1 {
            meant.retain(runs);
            return Ok(meant);
        }
        Err(self.ambiguous_name(&word.word, &meant.iter().map(|work| *work.borrow()).collect::<Vec<_>>()))
    }

    /// Kept work that is about to be sent a signal.
    pub(super) fn kept_to_kill(&self, work: &KeptWork<'_>, now: Duration) -> Killed {
        let status = self.kept_status(work, now);
        let state = if work.facts.ending.is_some() { KillState::Gone } else { KillState::Waiting };
        Killed {
            id: status.id,
            host: status.host,
            client_pid: status.client_pid,
            program: status.program,
            gateway: status.name,
            command: status.command,
            state,
        }
    }

    /// The hosts that a word means; all without a set.
    fn on(&self, word: &Wanted) -> Result<Option<Vec<HostKey>>, ReplyError> {
        let Some(set) = &word.on else { return Ok(None) };
        self.hosts_of(Some(set)).map(Some).map_err(|why| ReplyError {
            kind: ErrorKind::NoSuchHost,
            message: text::clean(&why.to_string(), 500),
            hint: why.near().map(|near| format!("did you mean `{near}`?")),
        })
    }

    fn ambiguous_name(&self, name: &str, meant: &[KeptWork<'_>]) -> ReplyError {
        let hosts: Vec<String> = meant.iter().map(|work| self.id_of(work.host)).collect();
        let hint = format!("write `{name}@{}`", hosts[0]);
        let message = format!("`{name}` is kept on {} hosts: {}", hosts.len(), enumerated(hosts));
        ReplyError { kind: ErrorKind::Usage, message, hint: Some(hint) }
    }

    fn id_of(&self, key: HostKey) -> String {
        self.hosts.get(&key).map(|host| host.spec.id.clone()).unwrap_or_default()
    }

    /// What is told of kept work now.
    pub(super) fn kept_status(&self, work: &KeptWork<'_>, now: Duration) -> KeptStatus {
        let facts = work.facts;
        let passed = now.saturating_sub(work.told);
        let holder = facts.holder.as_ref();
        let is_held = work.here.is_some() || holder.is_some();
        let (program, client_pid) = match (work.here, holder) {
            (Some(client), _) => (self.switch.program(client).to_owned(), self.looking.pid(client)),
            (None, Some(holder)) => (holder.program.clone(), Some(holder.pid).filter(|pid| *pid != 0)),
            (None, None) => (String::new(), None),
        };
        let (mut status, mut signal, mut error, mut ended) = (None, None, None, None);
        if let Some((ending, since)) = &facts.ending {
            ended = Some((*since + passed).as_secs_f64());
            match ending {
                Ending::Exited(number) => status = Some(*number),
                Ending::Signaled(number) => signal = Some(*number),
                Ending::NotStarted(_, message) => error = Some(message.clone()),
            }
        }
        let left = facts.left.filter(|_| work.here.is_none());
        KeptStatus {
            name: facts.name.to_string(),
            host: self.id_of(work.host),
            id: hex(&work.id.0),
            incarnation: hex(&work.incarnation.0),
            state: match (ended, is_held) {
                (Some(_), _) => KeptState::Ended,
                (None, true) => KeptState::Held,
                (None, false) => KeptState::Left,
            },
            node: facts.node.clone(),
            command: facts.command.clone(),
            pid: Some(facts.pid).filter(|pid| *pid != 0),
            program,
            client_pid,
            age: Some((facts.age + passed).as_secs_f64()),
            seconds: facts.seconds,
            left: left.map(|left| left.saturating_sub(passed).as_secs_f64()),
            stdout: facts.stdout.to_string(),
            stderr: facts.stderr.to_string(),
            status,
            signal,
            error,
            ended,
            terminal: facts.terminal,
            enter: facts.admits,
            waits: facts.waits,
            note: Some(facts.note.clone()).filter(|note| !note.is_empty()),
            unreachable: self.switch.unreachable(work.host),
        }
    }

    /// Kept work that no client here holds, for `ps`.
    pub(super) fn kept_usage(&self, work: &KeptWork<'_>, now: Duration) -> ProcessUsage {
        let status = self.kept_status(work, now);
        ProcessUsage {
            id: status.id.clone(),
            host: status.host.clone(),
            node: status.node.clone(),
            pid: status.pid.filter(|_| status.state != KeptState::Ended),
            client_pid: status.client_pid,
            program: status.program.clone(),
            age: status.age,
            command: status.command.clone(),
            waiting: work.waiting,
            kept: Some(Box::new(status)),
            ..ProcessUsage::default()
        }
    }

    /// Why these hosts must not leave yet: work that runs is kept there, and nobody has chosen what becomes
    /// of it.
    pub(super) fn keeps(
        &self,
        choice: Option<KeptChoice>,
        on: Option<HostKey>,
        now: Duration,
    ) -> Result<(), ReplyError> {
        let running = self.running_kept(on, now);
        if running.is_empty() || choice.is_some() {
            return Ok(());
        }
        let away = running.iter().any(|work| work.unreachable.is_some());
        let what = running.iter().map(described).collect();
        let whose = on.map_or_else(|| self.settings.common.network.clone(), |key| self.id_of(key));
        let known = if away { " (as was last known)" } else { "" };
        let again = if away { "; only a host with the same id finds it again" } else { "" };
        Err(ReplyError {
            kind: ErrorKind::Keeps,
            message: format!("{whose} keeps work{known}: {}", enumerated(what)),
            hint: Some(format!("`--leave-kept` leaves it there{again}; `--end-kept` ends it")),
        })
    }

    /// Work that is kept and has not ended, as far as it is known.
    pub(super) fn running_kept(&self, on: Option<HostKey>, now: Duration) -> Vec<KeptStatus> {
        let works = self.switch.kept_work().filter(|work| work.facts.ending.is_none());
        let mut works: Vec<KeptWork<'_>> =
            works.filter(|work| on.is_none_or(|key| work.host == key)).collect();
        works.sort_unstable_by(|a, b| (a.host, &a.facts.name).cmp(&(b.host, &b.facts.name)));
        works.iter().map(|work| self.kept_status(work, now)).collect()
    }
}

/// `train on gpu (python3 train.py)`.
fn described(work: &KeptStatus) -> String {
    let command = text::clean(&work.command, MOST_OF_COMMAND + 1);
    let command = match command.char_indices().nth(MOST_OF_COMMAND) {
        Some((at, _)) => format!(" ({}…)", &command[..at]),
        None if command.is_empty() => String::new(),
        None => format!(" ({command})"),
    };
    format!("{} on {}{command}", work.name, work.host)
}

fn enumerated(mut words: Vec<String>) -> String {
    let more = words.len().saturating_sub(MOST_NAMED);
    words.truncate(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    words.join(", ") + &more
}
