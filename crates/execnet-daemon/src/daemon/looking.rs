//! What runs where and what it uses (`ps`, `top`), and the signals of people (`kill`).
//!
//! Hosts are asked only while somebody looks, each at most once a second however many look.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::time::Duration;

use execnet_proto::control::{
    ErrorKind, HostState, HostUsage, Interruption, KillReply, KillState, Killed, ProcessUsage, ReplyError,
    Usages,
};
use execnet_proto::feature::Feature;
use execnet_proto::id::ProcessId;
use execnet_proto::spec::sets::{NodeSet, Unresolved};
use execnet_proto::switch::{ClientKey, HostKey, KeptWork, Running, Switch};
use execnet_proto::text::hex;
use execnet_proto::wire::{Table, UNKNOWN, Usage};

use super::Daemon;
use crate::event::RequestKey;
use crate::text;

/// The time between two looks at a host.
const EVERY: Duration = Duration::from_secs(1);

/// How long `ps` waits for hosts.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long `top` does: a slow host must not slow down the others.
const PATIENCE_OF_TOP: Duration = Duration::from_millis(900);

/// How long `kill` waits for hosts.
const PATIENCE_OF_KILL: Duration = Duration::from_secs(5);

/// The most processes in a reply, which must fit into a frame.
const MOST_TOLD: usize = 10_000;

/// The most requests at a time that look, and that send signals.
const MOST_REQUESTS: usize = 256;

/// The most processes that one `kill` may name.
const MOST_KILLED: usize = 1_000;

/// The shortest beginning of an id that `kill` takes.
const SHORTEST: usize = 4;

/// Hex digits of an id that people see.
const SHOWN: usize = 8;

/// Why a request is refused: the kind, the message and a hint.
type Refused = (ErrorKind, String, Option<String>);

/// Who looks, what was seen, and signals that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Looking {
    lookers: Vec<Looker>,
    kills: Vec<Kill>,
    samples: HashMap<HostKey, Sample>,
    pids: HashMap<ClientKey, u32>,
}

/// A `ps` or `top` that is not over.
#[derive(Debug)]
struct Looker {
    request: RequestKey,
    /// All hosts without one.
    set: Option<NodeSet>,
    /// What the set meant when this round began.
    hosts: Vec<HostKey>,
    live: bool,
    /// Where its last reply ends.
    told: u64,
    /// The beginning of this round, which may be to come.
    since: Duration,
    /// Hosts that were asked in this round and may not have answered; none before it has begun.
    awaited: Option<Vec<HostKey>>,
}

/// A `kill` that is not over.
#[derive(Debug)]
struct Kill {
    request: RequestKey,
    reply: KillReply,
    ids: Vec<ProcessId>,
    until: Duration,
}

/// What a host told.
#[derive(Debug, Default)]
struct Sample {
    /// When it was asked last.
    asked: Duration,
    /// When it answered that, if it has.
    told: Option<Duration>,
    /// It was sent a signal since it was asked: whoever asks now wants to know what that changed.
    void: bool,
    about: HostUsage,
    rows: HashMap<ProcessId, Row>,
}

#[derive(Debug)]
struct Row {
    usage: Usage,
    /// 1 for one busy processor.
    cpu: Option<f64>,
}

impl Looking {
    pub(super) fn client_opened(&mut self, client: ClientKey, pid: Option<u32>) {
        if let Some(pid) = pid {
            self.pids.insert(client, pid);
        }
    }

    /// Process id of a client, on this machine.
    pub(super) fn pid(&self, client: ClientKey) -> Option<u32> {
        self.pids.get(&client).copied()
    }

    pub(super) fn client_gone(&mut self, client: ClientKey) {
        self.pids.remove(&client);
        self.lookers.retain(|looker| looker.request.client != client);
        self.kills.retain(|kill| kill.request.client != client);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let lookers = self.lookers.iter().map(|looker| match looker.awaited {
            None => looker.since,
            Some(_) => looker.since + looker.patience(),
        });
        let kills = self.kills.iter().map(|kill| kill.until);
        let stale = self.samples.values().filter_map(Sample::stale);
        let stale = self.lookers.is_empty().then_some(stale).into_iter().flatten();
        lookers.chain(kills).chain(stale).min()
    }
}

impl Looker {
    fn patience(&self) -> Duration {
        if self.live { PATIENCE_OF_TOP } else { PATIENCE }
    }

    /// Whether a host's last answer is new enough for this round, and another one is not due yet.
    fn has_fresh(&self, sample: &Sample) -> bool {
        sample.told.is_some() && !sample.void && sample.asked + EVERY > self.since
    }

    /// Whether a host's last answer came lately enough for this round.
    fn counts(&self, sample: &Sample) -> bool {
        sample.told.is_some_and(|told| told + EVERY > self.since)
    }
}

impl Kill {
    /// What waits for a process that its host does not have yet does not wait for the host.
    fn name_starting(&mut self, switch: &Switch) {
        for (id, told) in self.ids.iter().zip(&mut self.reply.processes) {
            let starts = |process: Running<'_>| !process.started && switch.is_reachable(process.host);
            if told.state == KillState::Waiting && switch.process(*id).is_some_and(starts) {
                told.state = KillState::Starting;
            }
        }
    }
}

impl Sample {
    /// When it is forgotten if nobody looks. An answer that is to come is taken, however late it is.
    fn stale(&self) -> Option<Duration> {
        self.told.map(|told| told + EVERY)
    }
}

impl Daemon {
    /// Answers a `ps`, or begins with a `top`.
    pub(super) fn start_looking(
        &mut self,
        request: RequestKey,
        set: Option<&str>,
        live: bool,
        now: Duration,
    ) {
        if self.looking.lookers.len() >= MOST_REQUESTS {
            let message = format!("{MOST_REQUESTS} requests already look at processes");
            return self.fail(request, ErrorKind::Usage, message, None);
        }
        match self.parsed(set) {
            Ok((set, hosts)) => {
                let looker = Looker { request, set, hosts, live, told: 0, since: now, awaited: None };
                self.looking.lookers.push(looker);
            }
            Err((kind, message, hint)) => self.fail(request, kind, message, hint),
        }
    }

    /// Reads a set of nodes. Returns it and its hosts, or why it is refused.
    fn parsed(&self, set: Option<&str>) -> Result<(Option<NodeSet>, Vec<HostKey>), Refused> {
        let clean = |why: &dyn Display| text::clean(&why.to_string(), 500);
        let set = set.map(str::parse::<NodeSet>).transpose();
        let set = set.map_err(|error| (ErrorKind::Usage, clean(&error), None))?;
        let hosts = self.hosts_of(set.as_ref()).map_err(|why| {
            let hint = why.near().map(|near| format!("did you mean `{near}`?"));
            (ErrorKind::NoSuchHost, clean(&why), hint)
        })?;
        Ok((set, hosts))
    }

    /// The hosts of a set of nodes; all without one.
    pub(super) fn hosts_of(&self, set: Option<&NodeSet>) -> Result<Vec<HostKey>, Unresolved> {
        let Some(named) = self.named(set)? else { return Ok(self.hosts.keys().copied().collect()) };
        let ids: HashSet<&str> = named.hosts().collect();
        let meant = self.hosts.iter().filter(|(_, host)| ids.contains(host.spec.id.as_str()));
        Ok(meant.map(|(key, _)| *key).collect())
    }

    /// Asks the hosts that are to be asked now, and answers those who have seen all of theirs.
    pub(super) fn advance_looking(&mut self, now: Duration) {
        if self.looking.kills.iter().any(|kill| now >= kill.until) {
            let kills = std::mem::take(&mut self.looking.kills);
            let (mut over, rest): (Vec<Kill>, _) = kills.into_iter().partition(|kill| now >= kill.until);
            self.looking.kills = rest;
            for kill in &mut over {
                kill.name_starting(&self.switch);
            }
            self.answer_kills(over);
        }
        if self.looking.lookers.is_empty() {
            self.looking.samples.retain(|_, sample| sample.stale().is_none_or(|at| at > now));
            return;
        }
        for mut looker in std::mem::take(&mut self.looking.lookers) {
            if looker.awaited.is_none()
                && looker.since <= now
                && !self.switch.has_sent(looker.request.client, looker.told)
            {
                // a program that was stopped, or a slow terminal: nobody needs the next round yet
                looker.since = now + EVERY;
                self.deadline_is_stale = true;
            }
            if looker.awaited.is_none() && looker.since <= now {
                looker.since = now;
                // hosts may have come, and others have gone: then a set may name one that there is not
                looker.hosts = self.hosts_of(looker.set.as_ref()).unwrap_or(looker.hosts);
                let hosts = looker.hosts.iter().copied().filter(|key| self.ask(*key, &looker, now)).collect();
                looker.awaited = Some(hosts);
                self.deadline_is_stale = true;
            }
            if let Some(mut awaited) = looker.awaited.take() {
                while awaited.pop_if(|key| !self.is_awaited(*key)).is_some() {}
                if !awaited.is_empty() && now < looker.since + looker.patience() {
                    looker.awaited = Some(awaited);
                } else {
                    self.tell_looker(&looker, now);
                    looker.told = self.switch.replies_end(looker.request.client);
                    self.deadline_is_stale = true;
                    if !looker.live {
                        continue;
                    }
                    looker.since += EVERY;
                }
            }
            self.looking.lookers.push(looker);
        }
    }

    /// Asks a host, unless it was asked lately. Returns true if its answer is to come.
    fn ask(&mut self, key: HostKey, looker: &Looker, now: Duration) -> bool {
        if !self.looking.samples.get(&key).is_some_and(|sample| looker.has_fresh(sample)) {
            self.ask_anew(key, now);
        }
        self.is_awaited(key)
    }

    /// Asks a host, unless an earlier answer is to come.
    fn ask_anew(&mut self, key: HostKey, now: Duration) {
        if self.switch.look(key) {
            let sample = self.looking.samples.entry(key).or_default();
            (sample.asked, sample.told, sample.void) = (now, None, false);
        }
    }

    fn is_awaited(&self, key: HostKey) -> bool {
        self.looking.samples.get(&key).is_some_and(|sample| sample.told.is_none())
            && self.switch.is_reachable(key)
    }

    /// Takes what a host told.
    pub(super) fn looked(&mut self, key: HostKey, facts: &Table, rows: Vec<Usage>, now: Duration) {
        let Some(sample) = self.looking.samples.get_mut(&key) else { return };
        sample.told = Some(now);
        sample.about = about(facts);
        let before = std::mem::take(&mut sample.rows);
        let row = |usage: Usage| {
            let cpu = rate(before.get(&usage.id), &usage);
            (usage.id, Row { usage, cpu })
        };
        sample.rows = rows.into_iter().map(row).collect();
        if sample.void && !self.looking.lookers.is_empty() {
            // whoever began to look after the signal waits for this host
            self.ask_anew(key, now);
        }
    }

    /// Forgets what a host told that has left.
    pub(super) fn looks_no_more(&mut self, key: HostKey) {
        self.looking.samples.remove(&key);
    }

    fn tell_looker(&mut self, looker: &Looker, now: Duration) {
        let mut told = Usages::default();
        let mut running: HashMap<HostKey, Vec<Running<'_>>> = HashMap::new();
        for process in self.switch.running() {
            running.entry(process.host).or_default().push(process);
        }
        let works: HashMap<ProcessId, KeptWork<'_>> =
            self.switch.kept_work().map(|work| (work.id, work)).collect();
        let mut left: HashMap<HostKey, Vec<&KeptWork<'_>>> = HashMap::new();
        for work in works.values().filter(|work| work.here.is_none()) {
            left.entry(work.host).or_default().push(work);
        }
        for key in &looker.hosts {
            let Some(host) = self.host_usage(*key, looker) else { continue };
            let mut own = running.remove(key).unwrap_or_default();
            own.sort_unstable_by_key(|process| process.id.0);
            for process in own {
                if told.processes.len() >= MOST_TOLD {
                    told.left_out += 1;
                } else {
                    let usage = self.process_usage(&host.id, process);
                    let kept = works.get(&process.id).map(|work| Box::new(self.kept_status(work, now)));
                    told.processes.push(ProcessUsage { kept, ..usage });
                }
            }
            let mut left = left.remove(key).unwrap_or_default();
            left.sort_unstable_by(|a, b| a.facts.name.cmp(&b.facts.name));
            for work in left {
                if told.processes.len() >= MOST_TOLD {
                    told.left_out += 1;
                } else {
                    let usage = self.kept_usage(work, now);
                    told.processes.push(self.measured(usage, work.host, work.id));
                }
            }
            told.hosts.push(host);
        }
        self.reply(looker.request, !looker.live, &told);
    }

    fn host_usage(&self, key: HostKey, looker: &Looker) -> Option<HostUsage> {
        let host = self.hosts.get(&key)?;
        let state = host.state(self.switch.is_reachable(key));
        let sample = self.looking.samples.get(&key);
        let note = if state != HostState::Up {
            None
        } else if !self.switch.features(key).has(Feature::Look) {
            Some("its agent cannot tell what processes use".to_owned())
        } else if !sample.is_some_and(|sample| looker.counts(sample)) {
            Some(format!("it did not answer within {} s", looker.patience().as_secs_f64()))
        } else {
            None
        };
        let about = sample.map(|sample| sample.about.clone()).unwrap_or_default();
        let cpus = host.greeting.as_ref().map(|_| host.cpus());
        Some(HostUsage { id: host.spec.id.clone(), state, note, cpus, ..about })
    }

    fn process_usage(&self, host: &str, process: Running<'_>) -> ProcessUsage {
        let usage = ProcessUsage {
            id: hex(&process.id.0),
            host: host.to_owned(),
            node: process.node.to_owned(),
            client_pid: self.looking.pid(process.client),
            program: self.switch.program(process.client).to_owned(),
            gateway: process.label.to_owned(),
            command: process.command.to_owned(),
            waiting: process.waiting,
            ..ProcessUsage::default()
        };
        self.measured(usage, process.host, process.id)
    }

    /// The same, with what its host told of it.
    fn measured(&self, known: ProcessUsage, host: HostKey, id: ProcessId) -> ProcessUsage {
        let sample = self.looking.samples.get(&host);
        let Some(row) = sample.and_then(|sample| sample.rows.get(&id)) else { return known };
        let usage = &row.usage;
        let number = |number: u64| Some(number).filter(|number| *number != UNKNOWN);
        let seconds = |number_of: u64| number(number_of).map(|ms| ms as f64 / 1e3);
        let command = text::clean(usage.command.trim(), 256);
        ProcessUsage {
            pid: Some(usage.pid).filter(|pid| *pid != 0),
            age: seconds(usage.age).or(known.age),
            cpu: row.cpu,
            cpu_time: seconds(usage.cpu),
            memory: number(usage.memory),
            processes: Some(usage.processes),
            command: Some(command).filter(|text| !text.is_empty()).unwrap_or(known.command),
            ..known
        }
    }

    /// Sends a signal to processes that are named by their ids.
    pub(super) fn kill(&mut self, request: RequestKey, names: &[String], signal: u32, now: Duration) {
        if !(1..64).contains(&signal) || names.is_empty() || names.len() > MOST_KILLED {
            let message = format!("a signal from 1 to 63 and 1 to {MOST_KILLED} ids are needed");
            return self.fail(request, ErrorKind::Usage, message, None);
        }
        if self.looking.kills.len() >= MOST_REQUESTS {
            let message = format!("{MOST_REQUESTS} requests already wait for signals to be sent");
            return self.fail(request, ErrorKind::Usage, message, None);
        }
        let (reply, meant) = match self.meant(names, now) {
            Ok(found) => found,
            Err(error) => return self.reply(request, true, &Interruption::Error(error)),
        };
        let ids = meant.iter().map(|(id, _)| *id).collect();
        let mut kill = Kill { request, reply, ids, until: now + PATIENCE_OF_KILL };
        for ((id, host), told) in meant.into_iter().zip(&mut kill.reply.processes) {
            if told.state == KillState::Gone {
                // its record is kept, and nothing runs
            } else if self.switch.is_reachable(host) && !self.switch.features(host).has(Feature::Look) {
                told.state = KillState::Unable;
            } else {
                self.switch.kill(id, 1 << signal);
            }
        }
        self.looking.kills.push(kill);
        self.finish_kills();
    }

    /// The processes that are meant by ids or their beginnings. An error if one means several.
    fn meant(
        &self,
        names: &[String],
        now: Duration,
    ) -> Result<(KillReply, Vec<(ProcessId, HostKey)>), ReplyError> {
        let usage = |message| ReplyError { kind: ErrorKind::Usage, message, hint: None };
        // kept work that no program here holds has an id, too
        let ids = self.switch.running().map(|process| process.id);
        let ids: BTreeSet<ProcessId> = ids.chain(self.switch.kept_work().map(|work| work.id)).collect();
        let ids: Vec<(String, ProcessId)> = ids.into_iter().map(|id| (hex(&id.0), id)).collect();
        let mut reply = KillReply::default();
        let mut meant: Vec<(ProcessId, HostKey)> = Vec::new();
        for name in names {
            // a name goes before the digits of an id
            let works = self.kept_named(name)?;
            for work in &works {
                if !meant.iter().any(|(known, _)| *known == work.id) {
                    meant.push((work.id, work.host));
                    reply.processes.push(self.kept_to_kill(work, now));
                }
            }
            if !works.is_empty() {
                continue;
            }
            let begins = |id: &str| is_beginning(name) && id.starts_with(&name.to_ascii_lowercase());
            let found: Vec<&(String, ProcessId)> = ids.iter().filter(|(id, _)| begins(id)).collect();
            match found[..] {
                [] => reply.unknown.push(text::clean(name, 64)),
                [(_, id)] => {
                    let new = !meant.iter().any(|(known, _)| known == id);
                    if let Some((host, told)) = self.to_kill(*id, now).filter(|_| new) {
                        meant.push((*id, host));
                        reply.processes.push(told);
                    }
                }
                _ => return Err(usage(self.ambiguous(name, &found, now))),
            }
        }
        Ok((reply, meant))
    }

    /// The process of a client or the kept work with this id, about to be sent a signal, and its host.
    fn to_kill(&self, id: ProcessId, now: Duration) -> Option<(HostKey, Killed)> {
        let Some(process) = self.switch.process(id) else {
            let work = self.switch.kept_work().find(|work| work.id == id)?;
            return Some((work.host, self.kept_to_kill(&work, now)));
        };
        let told = Killed {
            id: hex(&id.0),
            host: self.hosts.get(&process.host).map(|host| host.spec.id.clone()).unwrap_or_default(),
            client_pid: self.looking.pids.get(&process.client).copied(),
            program: self.switch.program(process.client).to_owned(),
            gateway: process.label.to_owned(),
            command: process.command.to_owned(),
            state: KillState::Waiting,
        };
        Some((process.host, told))
    }

    fn ambiguous(&self, name: &str, found: &[&(String, ProcessId)], now: Duration) -> String {
        const MOST: usize = 10;
        let mut message = format!("{} processes have an id that begins with `{name}`:", found.len());
        // as many digits as tell them apart
        let apart = |digits: &usize| {
            let mut heads: Vec<&str> = found.iter().map(|(id, _)| &id[..*digits]).collect();
            heads.sort_unstable();
            heads.windows(2).all(|pair| pair[0] != pair[1])
        };
        let digits = (SHOWN.max(name.len() + 1)..32).find(apart).unwrap_or(32);
        let told = found.iter().take(MOST).filter_map(|(_, id)| self.to_kill(*id, now));
        for (_, told) in told {
            let program =
                if told.program.is_empty() { String::new() } else { format!(" of {}", told.program) };
            let command = text::clean(&told.command, 60);
            message += &format!("\n{} on {}{program}: {command}", &told.id[..digits], told.host);
        }
        if found.len() > MOST {
            message += &format!("\nand {} more", found.len() - MOST);
        }
        message
    }

    /// The signals for a process were sent, or it was gone before.
    pub(super) fn killed(&mut self, id: ProcessId, gone: bool) {
        let host = self.switch.process(id).map(|process| process.host);
        if let Some(sample) = host.and_then(|host| self.looking.samples.get_mut(&host)) {
            sample.void = true;
        }
        for kill in &mut self.looking.kills {
            for (known, told) in kill.ids.iter().zip(&mut kill.reply.processes) {
                if *known == id && told.state == KillState::Waiting {
                    told.state = if gone { KillState::Gone } else { KillState::Sent };
                }
            }
        }
        self.finish_kills();
    }

    fn finish_kills(&mut self) {
        let waits = |kill: &Kill| kill.reply.processes.iter().any(|told| told.state == KillState::Waiting);
        let (rest, over) = std::mem::take(&mut self.looking.kills).into_iter().partition(waits);
        self.looking.kills = rest;
        self.answer_kills(over);
    }

    fn answer_kills(&mut self, over: Vec<Kill>) {
        for kill in over {
            self.reply(kill.request, true, &kill.reply);
        }
    }
}

/// Whether a text can be the beginning of an id that somebody meant.
fn is_beginning(name: &str) -> bool {
    (SHORTEST..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Processor time over time between two looks, or since the start: 1 for one busy processor.
fn rate(row: Option<&Row>, now: &Usage) -> Option<f64> {
    if now.cpu == UNKNOWN || now.age == UNKNOWN {
        return None;
    }
    let before = row.map(|row| &row.usage);
    // a host that answers from an earlier look tells nothing new
    let is_same = |before: &&Usage| (before.pid, before.age, before.cpu) == (now.pid, now.age, now.cpu);
    if before.is_some_and(|before| is_same(&before)) {
        return row.and_then(|row| row.cpu);
    }
    let comparable = |before: &&Usage| before.pid == now.pid && before.cpu != UNKNOWN && before.age < now.age;
    let (cpu, age) = before.filter(comparable).map_or((0, 0), |before| (before.cpu, before.age));
    let passed = now.age.checked_sub(age).filter(|passed| *passed > 0)?;
    // a process of the session that leaves it takes its time along
    Some(now.cpu.saturating_sub(cpu) as f64 / passed as f64)
}

/// The facts that a host told, as far as they are plain numbers.
fn about(facts: &Table) -> HostUsage {
    const MOST: f64 = 1e15;
    let word = |name: &str| {
        let value = facts.iter().find(|(key, _)| key == name);
        value.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or_default()
    };
    let number = |text: &str| text.parse().ok().filter(|value: &f64| (0.0..MOST).contains(value));
    let bytes = |name| word(name).parse::<u64>().ok();
    let load: Vec<f64> = word("load").split(' ').filter_map(number).collect();
    HostUsage {
        load: load.try_into().ok(),
        memory: bytes("memory"),
        available: bytes("available"),
        uptime: number(word("uptime")),
        ..HostUsage::default()
    }
}
