//! Watches over the hosts on which the program has processes: tells of those that cannot be reached, and gives up on them where a limit was set.
//!
//! What there is to know the hub learns from the daemon anyway. Only while something is wrong there is a thread (`hub/outages.rs`), which tells and keeps
//! time; it is the only one that calls what the program has given, and never with the hub's lock held. No IO here, and no lock.

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

/// A break that is over by then is not worth a word.
const AFTER: Duration = Duration::from_secs(5);

/// How long a daemon lets a process wait for a host that is away: see SELECT in docs/protocol.md.
const FOR_A_PLACE: Duration = Duration::from_secs(10);

/// Added to `linger` before an unreachable host's processes count as lost.
const BEYOND_LINGER: Duration = Duration::from_secs(30);

/// What a program is told of a host on which it has processes or gateways. `Display` makes a sentence of it, fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// A node there that the program uses. Where only the start of a process waits for the host, nothing is known but names, both the host's id.
    pub node: Node,
    /// Whether it is the beginning or the end of an outage.
    pub state: Reach,
    /// Why the host cannot be reached, or why it was given up. As it comes from there: escape it before you show it. Empty when it is reachable again.
    pub reason: String,
    /// For how much longer it is waited for, if that is known.
    pub limit: Option<Duration>,
}

/// Whether a host can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// Not just now. What runs there goes on, and what waits for it waits.
    Unreachable,
    /// Again, and all goes on.
    Reachable,
    /// Not any more, or not for as long as the program would wait: what ran there is lost.
    Lost,
}

/// Outages of hosts on which the program has processes, as they begin and end: see [`Network::outages`](crate::Network::outages). Ends with the connection.
#[derive(Debug)]
pub struct Outages {
    news: Receiver<Outage>,
}

/// What is called for each outage.
pub(crate) type OnOutage = Arc<dyn Fn(&Outage) + Send + Sync>;

/// See the module's documentation. The hub's lock protects it.
pub(crate) struct Lookout {
    /// How long a break has to last before it is told.
    pub(crate) after: Duration,
    /// How long a host may be out of reach, unless a process says it itself.
    pub(crate) give_up: Option<Duration>,
    /// How long a daemon may be gone.
    pub(crate) patience: Duration,
    pub(crate) on_outage: OnOutage,
    pub(crate) network: String,
    streams: HashMap<ProcessId, Watched>,
    /// Processes without a place.
    starts: HashMap<ProcessId, Starting>,
    away: BTreeMap<String, Away>,
    /// The daemon does not answer.
    pub(crate) silent: bool,
    /// Something has changed of which hosts are away.
    pub(crate) changed: bool,
    pub(crate) news: VecDeque<Outage>,
    pub(crate) subscribers: Vec<Sender<Outage>>,
    pub(crate) runs: bool,
}

struct Watched {
    node: Node,
    give_up: Option<Duration>,
    /// Somebody waits until it is ready, and for its host no longer than for a place there.
    opening: bool,
}

/// A process that waits for a place.
struct Starting {
    give_up: Option<Duration>,
    /// The host that it waits for, if there is one, and since when.
    host: Option<(String, Instant)>,
}

/// A host that cannot be reached.
struct Away {
    /// One there that the program uses.
    node: Node,
    since: Instant,
    reason: String,
    /// It was told, or is about to be.
    told: bool,
    /// A start waits for it, which is told at once.
    at_once: bool,
    /// Some process was not waited for any longer.
    given_up: bool,
    last: Last,
}

/// The last that was heard of what waits for a host.
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

    /// A process has its place.
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

    /// A process is ready: its host is waited for as for any other's.
    pub(crate) fn opened(&mut self, id: ProcessId) {
        if let Some(watched) = self.streams.get_mut(&id) {
            watched.opening = false;
        }
    }

    /// Nobody has the process any more.
    pub(crate) fn forget(&mut self, id: ProcessId) {
        let Some(watched) = self.streams.remove(&id) else { return };
        self.changed = true;
        // what became of others before is no news then
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

    /// Whether a process without a place waits for a host.
    pub(crate) fn is_waited_for(&self, host: &str) -> bool {
        self.starts.values().any(|starting| starting.host.as_ref().is_some_and(|(there, _)| there == host))
    }

    /// Since when a host is out of reach.
    pub(crate) fn away_since(&self, host: &str) -> Option<Instant> {
        self.away.get(host).map(|away| away.since)
    }

    /// Whether the daemon does not answer.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The daemon does not answer: as good as gone, for all that runs.
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

    /// Something came from the daemon, or it is gone.
    pub(crate) fn hears(&mut self, client: &Client) {
        if std::mem::take(&mut self.silent) {
            let ids: Vec<ProcessId> = self.streams.keys().copied().collect();
            ids.into_iter().for_each(|id| self.heard_of(id, client));
        }
    }

    /// A process is to have a place.
    pub(crate) fn starts(&mut self, id: ProcessId, give_up: Option<Duration>) {
        self.starts.insert(id, Starting { give_up, host: None });
    }

    /// A process without a place waits for a host. The daemon says which, as the first word.
    pub(crate) fn waits(&mut self, id: ProcessId, message: &str) {
        let Some((host, _)) = message.split_once(" is unreachable") else { return };
        let Some(starting) = self.starts.get_mut(&id) else { return };
        starting.host = Some((host.to_owned(), Instant::now()));
        let away = away(&mut self.away, &Node { name: host.into(), host: host.into(), ..Node::default() });
        away.reason = reason(host, message);
        away.at_once = true;
        self.changed = true;
    }

    /// It waits no more: it was placed, or not.
    pub(crate) fn waits_no_more(&mut self, id: ProcessId, placed: bool) {
        let Some((host, _)) = self.starts.remove(&id).and_then(|starting| starting.host) else { return };
        if let Some(away) = self.away.get_mut(&host).filter(|_| placed) {
            away.last = Last::Back;
        }
        self.changed = true;
    }

    /// Whoever hears of outages hears no more.
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

    /// Processes that were waited for long enough, and what is said of each.
    pub(crate) fn give_up(&mut self, client: &Client, now: Instant) -> Vec<(ProcessId, String)> {
        let mut given_up = Vec::new();
        for (id, watched) in &self.streams {
            let host = &watched.node.host;
            let Some((limit, away)) = watched.limit(self.give_up).zip(self.away.get_mut(host)) else {
                continue;
            };
            if now.saturating_duration_since(away.since) >= limit && is_unreachable(client, *id, self.silent)
            {
                given_up.push((*id, given_up_after(host, &away.reason, limit)));
                away.given_up = true;
            }
        }
        given_up
    }

    /// The same of processes without a place.
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

    /// A host of which it is time to tell.
    pub(crate) fn due(&self, now: Instant) -> Option<String> {
        let is_due = |away: &Away| {
            !away.told && (away.at_once || now.saturating_duration_since(away.since) >= self.after)
        };
        self.away.iter().find(|(_, away)| is_due(away)).map(|(host, _)| host.clone())
    }

    /// Tells of a host, with what the daemon says of it. Nobody waits longer for it than `most`.
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
        // the most patient one counts
        let limits = waiting.map(|(_, watched)| watched.limit(self.give_up).unwrap_or(Duration::MAX));
        let limit = match (limits.max(), most) {
            (None, _) => Some(self.for_a_place(host, now)),
            (Some(own), Some(most)) => Some(most.min(own).saturating_sub(elapsed)),
            (Some(Duration::MAX), None) => None,
            (Some(own), None) => Some(own.saturating_sub(elapsed)),
        };
        self.news.push_back(Outage { node, state: Reach::Unreachable, reason, limit });
    }

    /// For how much longer some process waits for a place there.
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
    /// For how long its host is waited for, where `all` limits it unless a process says it itself.
    fn limit(&self, all: Option<Duration>) -> Option<Duration> {
        let own = self.give_up.or(all);
        if self.opening { Some(for_a_place(own)) } else { own }
    }
}

impl Outages {
    /// The next one, for which this waits at most so long.
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
            Reach::Lost => write!(f, "what ran on {host} is lost ({reason})"),
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

/// What is done with outages unless the program says something else.
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

/// Whether a process cannot be reached; none can where the daemon is `silent`.
fn is_unreachable(client: &Client, id: ProcessId, silent: bool) -> bool {
    client.process(id).is_some_and(|process| process.unreachable().is_some() || silent && !process.is_over())
}

/// Why a host is away, without the beginning that the daemon has put there.
fn reason(host: &str, why: &str) -> String {
    let rest = why.strip_prefix(host).and_then(|rest| rest.strip_prefix(" is unreachable: "));
    rest.unwrap_or(why).to_owned()
}

fn given_up_after(host: &str, reason: &str, limit: Duration) -> String {
    format!("{host} is unreachable: {reason}; given up after {}", lasting(limit))
}

/// How long a place is waited for, or what should run there, where no more than `limit` is waited for a host.
fn for_a_place(limit: Option<Duration>) -> Duration {
    limit.map_or(FOR_A_PLACE, |limit| limit.min(FOR_A_PLACE))
}

/// How long a daemon waits for a host.
pub(crate) fn patience(linger: f64) -> Duration {
    Duration::try_from_secs_f64(linger).unwrap_or(Duration::MAX).saturating_add(BEYOND_LINGER)
}

/// A time in words.
fn lasting(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{} s", time.as_secs_f64()),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
