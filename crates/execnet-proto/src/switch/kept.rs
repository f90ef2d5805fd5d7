//! What hosts told of the work that they keep, and what became of work that they keep no more. All of it is
//! as last told: a host that is out of reach may have gone on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::looking::Kill;
use super::{ClientKey, HostKey, LinkEnd, Owner, Switch, SwitchEvent};
use crate::feature::Feature;
use crate::id::{Incarnation, ProcessId};
use crate::kept::{Kept, KeptName};
use crate::stream::Violation;
use crate::wire::{FrameKind, Table};

/// The most work that a host may tell of on a link: what an agent keeps, and the records of what has ended.
const MAX_KEPT: usize = 300;

/// The most work of a host that is remembered after it is gone.
const MAX_GONE: usize = 100;

/// Work that was told to have less time left than this when it went has gone because its time was over.
const CLOSE: Duration = Duration::from_secs(10);

/// The work that one host keeps.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    works: BTreeMap<ProcessId, Work>,
    gone: VecDeque<GoneWork>,
    /// It has told of all of it on its present link.
    told_all: bool,
}

/// Work that a host keeps, and the record of what has ended.
#[derive(Debug)]
pub(super) struct Work {
    facts: Kept,
    told: Duration,
    /// It was told on the present link.
    present: bool,
    /// A client of this daemon has had it: nobody has yet to start it.
    was_here: bool,
    pub(super) kill: Kill,
}

/// Work that a host keeps, as far as it has told.
#[derive(Clone, Copy, Debug)]
pub struct KeptWork<'a> {
    /// Its id.
    pub id: ProcessId,
    /// Its host.
    pub host: HostKey,
    /// The agent that keeps it.
    pub incarnation: Incarnation,
    /// What was told.
    pub facts: &'a Kept,
    /// When it was told: `left` and the like count from then.
    pub told: Duration,
    /// Whether it was told on the present link. If not, the work may be gone.
    pub present: bool,
    /// The client of this daemon that holds it, or has asked to.
    pub here: Option<ClientKey>,
    /// A signal of people was not answered yet.
    pub waiting: bool,
}

/// Work that a host no longer keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneWork {
    /// Its id.
    pub id: ProcessId,
    /// Its name.
    pub name: KeptName,
    /// The reason, fit for a terminal: a sentence without a full stop.
    pub why: String,
    /// When that became known.
    pub since: Duration,
}

impl Keeping {
    /// The link is gone.
    pub(super) fn unlink(&mut self) {
        self.told_all = false;
        self.works.values_mut().for_each(|work| work.present = false);
    }

    pub(super) fn has(&self, id: ProcessId) -> bool {
        self.works.contains_key(&id)
    }

    /// A client of this daemon has it.
    pub(super) fn is_here(&mut self, id: ProcessId) {
        if let Some(work) = self.works.get_mut(&id) {
            work.was_here = true;
        }
    }

    /// Whether it keeps this, and a client of this daemon has had it.
    pub(super) fn was_here(&self, id: ProcessId) -> bool {
        self.works.get(&id).is_some_and(|work| work.was_here)
    }

    /// Whether all that it keeps is known, and this is not among it.
    pub(super) fn lacks(&self, id: ProcessId) -> bool {
        self.told_all && !self.has(id)
    }

    /// The reason why it no longer keeps this, if it did.
    pub(super) fn why_gone(&self, id: ProcessId) -> Option<&str> {
        self.gone.iter().rev().find(|gone| gone.id == id).map(|gone| gone.why.as_str())
    }

    fn bury(&mut self, id: ProcessId, name: KeptName, why: String, since: Duration) {
        if self.gone.len() >= MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(GoneWork { id, name, why, since });
    }
}

impl Work {
    pub(super) fn is_running(&self) -> bool {
        self.facts.ending.is_none()
    }

    /// The reason why an agent that is there has forgotten it.
    fn why_forgotten(&self, host: &str, ended_here: bool, now: Duration) -> String {
        let passed = now.saturating_sub(self.told);
        let is_over = self.facts.left.is_some_and(|left| left <= passed + CLOSE);
        match &self.facts.ending {
            _ if ended_here => format!("it was ended on {host}"),
            Some((ending, _)) if is_over => {
                format!("it {ending}, and the time for which {host} keeps this is over")
            }
            Some((ending, _)) => format!("it {ending}, and {host} no longer keeps this"),
            None if is_over => format!("its time was over, so {host} has ended it"),
            None => format!("{host} no longer has it"),
        }
    }
}

impl Switch {
    /// Everything that hosts keep, as far as they told: processes that run, and records of those that ended.
    pub fn kept_work(&self) -> impl Iterator<Item = KeptWork<'_>> {
        self.hosts.iter().flat_map(move |(&host, state)| {
            let incarnation = state.incarnation();
            state.keeping.works.iter().filter_map(move |(&id, work)| {
                let entry = self.forwarded.get(&id);
                let here = entry.and_then(|entry| match entry.owner {
                    Owner::Client(client) => Some(client),
                    _ => None,
                });
                let Work { facts, told, present, kill, .. } = work;
                let (incarnation, waiting) = (incarnation?, kill.is_open());
                Some(KeptWork { id, host, incarnation, facts, told: *told, present: *present, here, waiting })
            })
        })
    }

    /// What hosts kept and keep no more, the newest last; the last 100 of each host.
    pub fn gone_work(&self) -> impl Iterator<Item = (HostKey, &GoneWork)> {
        self.hosts.iter().flat_map(|(&host, state)| state.keeping.gone.iter().map(move |gone| (host, gone)))
    }

    /// Whether a host's agent has told on its present link of all the work that it keeps; also if it can keep
    /// none.
    pub fn has_told_kept(&self, host: HostKey) -> bool {
        let Some(state) = self.hosts.get(&host) else { return false };
        state.up().is_some() && (state.keeping.told_all || !state.features.has(Feature::Keep))
    }

    /// How many processes a host keeps that have not ended, as far as it told.
    pub fn keeps(&self, host: HostKey) -> usize {
        let works = self.hosts.get(&host).into_iter().flat_map(|state| state.keeping.works.values());
        works.filter(|work| work.is_running()).count()
    }

    /// The host that keeps this, or the record of it.
    pub(super) fn kept_on(&self, id: ProcessId) -> Option<HostKey> {
        self.kept.get(&id).copied()
    }

    /// Whether this is kept work: a host told of it, a client asked for it, or it was taken.
    pub(super) fn is_kept(&self, id: ProcessId) -> bool {
        let entry = self.forwarded.get(&id);
        entry.is_some_and(|entry| {
            entry.hold.kept || self.hosts.get(&entry.host).is_some_and(|host| host.keeping.has(id))
        }) || entry.is_none() && self.kept_on(id).is_some()
    }

    pub(super) fn work_mut(&mut self, id: ProcessId) -> Option<&mut Work> {
        let host = self.kept_on(id)?;
        self.hosts.get_mut(&host)?.keeping.works.get_mut(&id)
    }

    /// Takes KEPT.
    pub(super) fn told_kept(
        &mut self,
        host: HostKey,
        id: ProcessId,
        table: &Table,
        now: Duration,
    ) -> Result<(), LinkEnd> {
        let elsewhere = self.kept_on(id).is_some_and(|key| key != host);
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        if !state.features.has(Feature::Keep) {
            return Err(Violation::Unexpected(FrameKind::Kept.name()).into());
        }
        if elsewhere || self.forwarded.get(&id).is_some_and(|entry| entry.host != host) {
            return Err(Violation::ForeignProcess(id).into());
        }
        if let Some(entry) = self.forwarded.get(&id)
            && !entry.may_be_kept()
        {
            let Owner::Client(client) = entry.owner else { return Err(Violation::ForeignProcess(id).into()) };
            if entry.answered {
                return Err(Violation::ForeignProcess(id).into());
            }
            // the client has given a new process an id that it knew
            self.take_from(client, id, "something else is kept under its id".into());
            self.remove_forwarded(id);
        }
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        let entry = self.forwarded.get_mut(&id);
        let facts = Kept::of(table).ok_or(Violation::KeptName)?;
        let works = &mut state.keeping.works;
        let known = works.remove(&id);
        self.kept.remove(&id);
        let namesake = works.iter().find(|(_, work)| work.facts.name == facts.name).map(|(id, _)| *id);
        if works.values().filter(|work| work.present).count() >= MAX_KEPT {
            return Err(Violation::TooMuchKept.into());
        }
        // what was told on links before this one
        let stale = works.iter().find(|(id, work)| !work.present && Some(**id) != namesake);
        let stale = stale.filter(|_| works.len() >= 2 * MAX_KEPT).map(|(id, _)| *id);
        // what people have said to it before it was known to be kept
        let was_here = known.as_ref().is_some_and(|work| work.was_here)
            || entry.as_ref().is_some_and(|entry| entry.answered);
        let kill = match (known, entry) {
            (Some(work), _) => work.kill,
            (None, Some(entry)) => std::mem::take(&mut entry.kill),
            (None, None) => Kill::default(),
        };
        works.insert(id, Work { facts, told: now, present: true, was_here, kill });
        self.kept.insert(id, host);
        if let Some(namesake) = namesake {
            self.bury_kept(host, namesake, "its name was given to something else".into(), now);
        }
        if let Some(stale) = stale {
            self.bury_kept(host, stale, "there was too much else to remember".into(), now);
        }
        self.events.push_back(SwitchEvent::Kept { host, id });
        self.say_kill(id);
        Ok(())
    }

    /// Takes KEEPS: what was not told again is gone.
    pub(super) fn told_all_kept(&mut self, host: HostKey, now: Duration) -> Result<(), LinkEnd> {
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        if !state.features.has(Feature::Keep) {
            return Err(Violation::Unexpected(FrameKind::Keeps.name()).into());
        }
        state.keeping.told_all = true;
        let works = &state.keeping.works;
        let gone: Vec<_> = works.iter().filter(|(_, work)| !work.present).map(|(id, _)| *id).collect();
        for id in gone {
            let ended = self.is_ended_here(id);
            let name = &self.hosts[&host].name;
            let works = &self.hosts[&host].keeping.works;
            let why = works.get(&id).map_or_else(String::new, |work| work.why_forgotten(name, ended, now));
            self.bury_kept(host, id, why, now);
        }
        self.events.push_back(SwitchEvent::ToldKept { host });
        Ok(())
    }

    /// A host's agent says that it does not have this. Returns why, if it kept it.
    pub(super) fn forget_kept(&mut self, host: HostKey, id: ProcessId, now: Duration) -> Option<String> {
        let ended = self.is_ended_here(id);
        let state = self.hosts.get(&host)?;
        let Some(work) = state.keeping.works.get(&id) else {
            return state.keeping.why_gone(id).map(str::to_owned);
        };
        let why = work.why_forgotten(&state.name, ended, now);
        self.bury_kept(host, id, why.clone(), now);
        Some(why)
    }

    /// Another agent answers on a host: what the one before kept is gone.
    pub(super) fn kept_is_gone(&mut self, host: HostKey, why: &str, now: Duration) {
        let Some(state) = self.hosts.get(&host) else { return };
        for id in state.keeping.works.keys().copied().collect::<Vec<_>>() {
            self.bury_kept(host, id, why.to_owned(), now);
        }
    }

    /// A host is removed: nobody asks what it keeps any more.
    pub(super) fn drop_kept(&mut self, host: HostKey) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        for (id, work) in std::mem::take(&mut state.keeping.works) {
            self.kept.remove(&id);
            self.events.push_back(SwitchEvent::KeptGone { host, id });
            if work.kill.is_open() {
                self.events.push_back(SwitchEvent::Killed { id, gone: true });
            }
        }
    }

    fn bury_kept(&mut self, host: HostKey, id: ProcessId, why: String, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let Some(work) = state.keeping.works.remove(&id) else { return };
        self.kept.remove(&id);
        state.keeping.bury(id, work.facts.name, why, now);
        self.events.push_back(SwitchEvent::KeptGone { host, id });
        if work.kill.is_open() {
            self.events.push_back(SwitchEvent::Killed { id, gone: true });
        }
    }
}
