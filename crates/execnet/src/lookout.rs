//! Watches the hosts on which the program has processes: reports those that are unreachable, and gives up on
//! them after a limit.
//!
//! The hub learns from the daemon whatever there is to know. Only while something is wrong is there a thread
//! (`hub/outages.rs`), which reports and keeps the time. Only that thread calls the program's code, and never
//! with the hub's lock held. There is no IO and no lock here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use execnet_proto::client::{Client, DAEMON_GONE};
use execnet_proto::id::ProcessId;
use execnet_proto::text::line;

use crate::node::Node;

/// Shorter breaks are not reported.
const AFTER: Duration = Duration::from_secs(5);

/// How long a daemon lets a process wait for an unreachable host: see SELECT in docs/protocol.md.
const FOR_A_PLACE: Duration = Duration::from_secs(10);

/// Added to `linger` before the processes of an unreachable host count as lost.
const BEYOND_LINGER: Duration = Duration::from_secs(30);

/// The beginning or end of an outage of a host on which the program has processes or gateways. `Display`
/// makes a sentence of it that may be printed on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// A node there that the program uses. If only the start of a process waits for the host, just the names
    /// are known, and both are the host's id.
    pub node: Node,
    /// Whether the outage begins or ends.
    pub state: Reach,
    /// Why the host is unreachable, or why the program gave it up; empty when it is reachable again. The text
    /// comes from the host: escape it before you show it.
    pub reason: String,
    /// How much longer the program waits for it, if that is known.
    pub limit: Option<Duration>,
}

/// Whether a host can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// Not at the moment. Processes there continue, and calls wait for the host.
    Unreachable,
    /// Again. Everything continues.
    Reachable,
    /// No longer, or not within the program's limit: its processes there are lost.
    Lost,
}

/// The outages of hosts on which the program has processes, as they begin and end: see
/// [`Network::outages`](crate::Network::outages). Ends with the connection.
#[derive(Debug)]
pub struct Outages {
    news: Receiver<Outage>,
}

/// Called for each outage.
pub(crate) type OnOutage = Arc<dyn Fn(&Outage) + Send + Sync>;

/// See the module's documentation. The hub's lock protects it.
pub(crate) struct Lookout {
    /// How long a break lasts before it is reported.
    pub(crate) after: Duration,
    /// How long a host may be out of reach, unless a process has its own limit.
    pub(crate) give_up: Option<Duration>,
    /// How long a daemon may be gone.
    pub(crate) patience: Duration,
    pub(crate) on_outage: OnOutage,
    pub(crate) network: String,
    streams: HashMap<ProcessId, Watched>,
    /// Processes that are not placed yet.
    starts: HashMap<ProcessId, Starting>,
    away: BTreeMap<String, Away>,
    /// The daemon does not answer.
    pub(crate) silent: bool,
    /// The set of unreachable hosts may have changed.
    pub(crate) changed: bool,
    pub(crate) news: VecDeque<Outage>,
    pub(crate) subscribers: Vec<Sender<Outage>>,
    pub(crate) runs: bool,
}

struct Watched {
    node: Node,
    give_up: Option<Duration>,
    /// A thread waits until it is ready, and waits for its host only as long as for a placement there.
    opening: bool,
}

/// A process that is not placed yet.
struct Starting {
    give_up: Option<Duration>,
    /// The host that it waits for, if there is one, and since when.
    host: Option<(String, Instant)>,
}

/// An unreachable host.
struct Away {
    /// A node there that the program uses.
    node: Node,
    since: Instant,
    reason: String,
    /// It was reported, or is about to be.
    told: bool,
    /// A start waits for it: reported at once.
    at_once: bool,
    /// At least one process was given up.
    given_up: bool,
    last: Last,
}

/// The last that was heard of the processes that wait for a host.
enum Last {
    Nothing,
    Back,
    Lost(String),
}

impl Lookout {
    pub(crate) fn new() -> Self {
        Self {
            after: AFTER,
            give_up: None,
            patience: Duration::ZERO,
            on_outage: Arc::new(say),
            network: String::new(),
            streams: HashMap::new(),
            starts: HashMap::new(),
            away: BTreeMap::new(),
            silent: false,
            changed: false,
            news: VecDeque::new(),
            subscribers: Vec::new(),
            runs: false,
        }
    }

    /// A process was placed.
    pub(crate) fn watch(
        &mut self,
        id: ProcessId,
        node: Node,
        give_up: Option<Duration>,
        opening: bool,
        client: &Client,
    ) {
        self.streams.insert(id, Watched { node, give_up, opening });
        self.heard_of(id, client);
    }

    /// A process is ready: from now on its host is waited for like any other.
    pub(crate) fn opened(&mut self, id: ProcessId) {
        if let Some(watched) = self.streams.get_mut(&id) {
            watched.opening = false;
        }
    }

    /// The program dropped the process.
    pub(crate) fn forget(&mut self, id: ProcessId) {
        let Some(watched) = self.streams.remove(&id) else { return };
        self.changed = true;
        // what happened to other processes earlier is no news now
        if let Some(away) = self.away.get_mut(&watched.node.host) {
            away.last = Last::Nothing;
        }
    }

    /// A process may have become reachable, unreachable or lost.
    pub(crate) fn heard_of(&mut self, id: ProcessId, client: &Client) {
        let (Some(watched), Some(process)) = (self.streams.get(&id), client.process(id)) else { return };
        let host = &watched.node.host;
        self.changed = true;
        if let Some(why) = process.unreachable() {
            let away = away(&mut self.away, &watched.node);
            away.at_once |= watched.opening;
            away.reason = if why == DAEMON_GONE {
                let network = &self.network;
                format!("the daemon of {network} is gone: `execnet start {network}` starts it again")
            } else {
                reason(host, why)
            };
            return;
        }
        let last = process.lost().map_or(Last::Back, |why| Last::Lost(reason(host, why)));
        let is_lost = matches!(last, Last::Lost(_));
        if let Some(away) = self.away.get_mut(host) {
            away.last = last;
        }
        if is_lost {
            self.streams.remove(&id);
        }
    }

    /// Whether a process that is not placed yet waits for this host.
    pub(crate) fn is_waited_for(&self, host: &str) -> bool {
        self.starts.values().any(|starting| starting.host.as_ref().is_some_and(|(there, _)| there == host))
    }

    /// Since when a host has been out of reach.
    pub(crate) fn away_since(&self, host: &str) -> Option<Instant> {
        self.away.get(host).map(|away| away.since)
    }

    /// Whether the daemon does not answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The daemon does not answer: for all processes it is as good as gone.
    pub(crate) fn hears_nothing(&mut self, client: &Client) {
        self.silent = true;
        self.changed = true;
        let network = &self.network;
        for (_, watched) in self.streams.iter().filter(|(id, _)| is_unreachable(client, **id, true)) {
            let away = away(&mut self.away, &watched.node);
            away.reason = format!(
                "the daemon of {network} does not answer: `execnet status {network}` says what to do"
            );
        }
    }

    /// The daemon said something, or is gone.
    pub(crate) fn hears(&mut self, client: &Client) {
        if std::mem::take(&mut self.silent) {
            let ids: Vec<ProcessId> = self.streams.keys().copied().collect();
            ids.into_iter().for_each(|id| self.heard_of(id, client));
        }
    }

    /// A process is waiting to be placed.
    pub(crate) fn starts(&mut self, id: ProcessId, give_up: Option<Duration>) {
        self.starts.insert(id, Starting { give_up, host: None });
    }

    /// A process that is not placed yet waits for a host, which is the first word of the daemon's message.
    pub(crate) fn waits(&mut self, id: ProcessId, message: &str) {
        let Some((host, _)) = message.split_once(" is unreachable") else { return };
        let Some(starting) = self.starts.get_mut(&id) else { return };
        starting.host = Some((host.to_owned(), Instant::now()));
        let away = away(&mut self.away, &Node { name: host.into(), host: host.into(), ..Node::default() });
        away.reason = reason(host, message);
        away.at_once = true;
        self.changed = true;
    }

    /// It no longer waits: it was placed, or not.
    pub(crate) fn waits_no_more(&mut self, id: ProcessId, placed: bool) {
        let Some((host, _)) = self.starts.remove(&id).and_then(|starting| starting.host) else { return };
        if let Some(away) = self.away.get_mut(&host).filter(|_| placed) {
            away.last = Last::Back;
        }
        self.changed = true;
    }

    /// Ends the iterators over outages.
    pub(crate) fn close(&mut self) {
        self.subscribers.clear();
    }

    pub(crate) fn subscribe(&mut self) -> Outages {
        let (news_tx, news) = channel();
        self.subscribers.push(news_tx);
        Outages { news }
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// Finds out which outages are over.
    pub(crate) fn settle(&mut self, client: &Client) {
        if !std::mem::take(&mut self.changed) || self.away.is_empty() {
            return;
        }
        let Self { streams, starts, away, news, silent, .. } = self;
        let waited_for = starts.values().filter_map(|starting| starting.host.as_ref());
        let mut still: BTreeSet<&str> = waited_for.map(|(host, _)| host.as_str()).collect();
        let unreachable = streams.iter().filter(|(id, _)| is_unreachable(client, **id, *silent));
        still.extend(unreachable.map(|(_, watched)| watched.node.host.as_str()));
        away.retain(|host, away| {
            if still.contains(host.as_str()) {
                return true;
            }
            let end = match std::mem::replace(&mut away.last, Last::Nothing) {
                Last::Back if away.told => Some((Reach::Reachable, String::new())),
                Last::Lost(reason) if away.told || away.given_up => Some((Reach::Lost, reason)),
                // nobody here waits for it any more
                _ => None,
            };
            let node = away.node.clone();
            news.extend(end.map(|(state, reason)| Outage { node, state, reason, limit: None }));
            false
        });
    }

    /// The processes whose limit has passed, with a message for each, and whether nobody had it yet: a
    /// gateway that is still being opened.
    pub(crate) fn give_up(&mut self, client: &Client, now: Instant) -> Vec<(ProcessId, String, bool)> {
        let mut given_up = Vec::new();
        for (id, watched) in &self.streams {
            let host = &watched.node.host;
            let Some((limit, away)) = watched.limit(self.give_up).zip(self.away.get_mut(host)) else {
                continue;
            };
            if now.saturating_duration_since(away.since) >= limit && is_unreachable(client, *id, self.silent)
            {
                given_up.push((*id, given_up_after(host, &away.reason, limit), watched.opening));
                away.given_up = true;
            }
        }
        given_up
    }

    /// The same for processes that are not placed yet.
    pub(crate) fn give_up_starts(&mut self, now: Instant) -> Vec<(ProcessId, String)> {
        let mut given_up = Vec::new();
        for (id, starting) in &self.starts {
            let Some((host, since)) = &starting.host else { continue };
            let Some(limit) = starting.give_up.or(self.give_up) else { continue };
            if now.saturating_duration_since(*since) >= limit {
                let reason = self.away.get(host).map_or("", |away| &away.reason);
                given_up.push((*id, given_up_after(host, reason, limit)));
            }
        }
        given_up.iter().for_each(|(id, _)| self.waits_no_more(*id, false));
        given_up
    }

    /// A host whose outage is due to be reported.
    pub(crate) fn due(&self, now: Instant) -> Option<String> {
        let is_due = |away: &Away| {
            !away.told && (away.at_once || now.saturating_duration_since(away.since) >= self.after)
        };
        self.away.iter().find(|(_, away)| is_due(away)).map(|(host, _)| host.clone())
    }

    /// Reports a host, with the daemon's reason. Nobody waits longer for it than `most`.
    pub(crate) fn tell(
        &mut self,
        host: &str,
        error: Option<&str>,
        most: Option<Duration>,
        client: &Client,
        now: Instant,
    ) {
        let Some(away) = self.away.get_mut(host).filter(|away| !away.told) else { return };
        away.told = true;
        if let Some(error) = error {
            away.reason = reason(host, error);
        }
        let (elapsed, reason) = (now.saturating_duration_since(away.since), away.reason.clone());
        let node = away.node.clone();
        let waiting = self
            .streams
            .iter()
            .filter(|(id, watched)| watched.node.host == host && is_unreachable(client, **id, self.silent));
        // the longest limit counts
        let limits = waiting.map(|(_, watched)| watched.limit(self.give_up).unwrap_or(Duration::MAX));
        let limit = match (limits.max(), most) {
            (None, _) => Some(self.for_a_place(host, now)),
            (Some(own), Some(most)) => Some(most.min(own).saturating_sub(elapsed)),
            (Some(Duration::MAX), None) => None,
            (Some(own), None) => Some(own.saturating_sub(elapsed)),
        };
        self.news.push_back(Outage { node, state: Reach::Unreachable, reason, limit });
    }

    /// How much longer a process waits to be placed there.
    fn for_a_place(&self, host: &str, now: Instant) -> Duration {
        let left = self.starts.values().filter_map(|starting| {
            let (_, since) = starting.host.as_ref().filter(|(there, _)| there == host)?;
            let limit = for_a_place(starting.give_up.or(self.give_up));
            Some(limit.saturating_sub(now.saturating_duration_since(*since)))
        });
        left.max().unwrap_or(FOR_A_PLACE)
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self, client: &Client) -> Option<Instant> {
        let tell = self.away.values().filter(|away| !away.told);
        let tell = tell.filter_map(|away| away.since.checked_add(self.after));
        let give_up = self.streams.iter().filter_map(|(id, watched)| {
            let away =
                self.away.get(&watched.node.host).filter(|_| is_unreachable(client, *id, self.silent))?;
            away.since.checked_add(watched.limit(self.give_up)?)
        });
        let give_up_starts = self.starts.values().filter_map(|starting| {
            let (_, since) = starting.host.as_ref()?;
            since.checked_add(starting.give_up.or(self.give_up)?)
        });
        tell.chain(give_up).chain(give_up_starts).min()
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.away.is_empty() || !self.news.is_empty()
    }
}

impl Watched {
    /// How long its host is waited for: its own limit, or else `all`.
    fn limit(&self, all: Option<Duration>) -> Option<Duration> {
        let own = self.give_up.or(all);
        if self.opening { Some(for_a_place(own)) } else { own }
    }
}

impl Outages {
    /// The next one; waits at most this long.
    ///
    /// # Errors
    /// When none came in time, or none can come any more.
    pub fn next_timeout(&self, timeout: Duration) -> Result<Outage, RecvTimeoutError> {
        self.news.recv_timeout(timeout)
    }
}

/// Ends with the connection.
impl Iterator for Outages {
    type Item = Outage;

    fn next(&mut self) -> Option<Outage> {
        self.news.recv().ok()
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, reason) = (line(&self.node.host), line(&self.reason));
        match self.state {
            Reach::Reachable => write!(f, "{host} is reachable again"),
            Reach::Lost => write!(f, "the processes on {host} are lost ({reason})"),
            Reach::Unreachable => {
                write!(f, "{host} is unreachable ({reason}); waiting")?;
                let whole = |limit: Duration| limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
                let limit = self.limit.map(|limit| lasting(Duration::from_secs(whole(limit))));
                limit.map_or(Ok(()), |limit| write!(f, ", at most {limit}"))
            }
        }
    }
}

impl Reach {
    /// A word for it: `unreachable`, `reachable`, `lost`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Reachable => "reachable",
            Self::Lost => "lost",
        }
    }
}

/// The default `on_outage`.
fn say(outage: &Outage) {
    // nobody can be told that stderr is closed
    let _ = writeln!(std::io::stderr(), "execnet: {outage}");
}

fn away<'a>(hosts: &'a mut BTreeMap<String, Away>, node: &Node) -> &'a mut Away {
    hosts.entry(node.host.clone()).or_insert_with(|| Away {
        node: node.clone(),
        since: Instant::now(),
        reason: String::new(),
        told: false,
        at_once: false,
        given_up: false,
        last: Last::Nothing,
    })
}

/// Whether a process is unreachable. If the daemon is `silent`, all are.
fn is_unreachable(client: &Client, id: ProcessId, silent: bool) -> bool {
    client.process(id).is_some_and(|process| process.unreachable().is_some() || silent && !process.is_over())
}

/// The reason without the beginning that the daemon added.
fn reason(host: &str, why: &str) -> String {
    let rest = why.strip_prefix(host).and_then(|rest| rest.strip_prefix(" is unreachable: "));
    rest.unwrap_or(why).to_owned()
}

fn given_up_after(host: &str, reason: &str, limit: Duration) -> String {
    format!("{host} is unreachable: {reason}; given up after {}", lasting(limit))
}

/// How long to wait for a placement, or for a process to get ready, if `limit` applies to its host.
fn for_a_place(limit: Option<Duration>) -> Duration {
    limit.map_or(FOR_A_PLACE, |limit| limit.min(FOR_A_PLACE))
}

/// How long a daemon waits for a host.
pub(crate) fn patience(linger: f64) -> Duration {
    Duration::try_from_secs_f64(linger).unwrap_or(Duration::MAX).saturating_add(BEYOND_LINGER)
}

/// A duration in words.
fn lasting(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{} s", time.as_secs_f64()),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
