//! Progress of packages on their way to hosts.
//!
//! What takes longer than a second is drawn on a terminal: a line for each gateway, or one bar for all if
//! they are many. Elsewhere what takes longer than 5 s gets one line. Notes are lines that stay.

use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use execnet::{Step, Transfer};
use indicatif::ProgressBar;

use super::{Live, TICK, for_stderr, template};
use crate::print;
use crate::text::{one_line, size};

/// What takes less is not drawn.
const DRAWN: Duration = Duration::from_secs(1);

/// What takes less is not told where nothing can be drawn.
const TOLD: Duration = Duration::from_secs(5);

/// At most so many names are listed in a line.
const NAMES: usize = 5;

/// Shows how packages come to hosts, until it is dropped.
pub(crate) struct PackageProgress {
    board: Arc<Shared>,
    draws: Option<JoinHandle<()>>,
}

/// Tells of transfers, from any thread.
#[derive(Clone)]
pub(crate) struct Teller(Arc<Shared>);

struct Shared {
    board: Mutex<Board>,
    /// There is something to show at all, or it is the end.
    changed: Condvar,
}

/// What there is to show.
struct Board {
    /// How many gateways there are about.
    count: usize,
    /// Makes what is drawn, when it is needed.
    make: Box<dyn Fn(usize) -> Live + Send>,
    live: Option<Live>,
    below: Option<print::Below>,
    entries: Vec<Entry>,
    /// Notes that were told.
    notes: BTreeSet<String>,
    ended: bool,
}

/// A gateway whose packages are under way.
struct Entry {
    gateway: String,
    /// Its node.
    name: String,
    at: At,
    began: Instant,
    /// Since when it is at its step.
    at_step: Instant,
    /// Its step was told.
    told: bool,
    done: bool,
    line: Option<ProgressBar>,
}

/// What a gateway's packages are at.
enum At {
    Reading,
    Resolving,
    /// Another gateway brings them: what is waited for.
    Waiting(String),
    Sending(Amounts),
    Other,
}

/// What was sent, and will be.
#[derive(Clone, Copy, Default)]
struct Amounts {
    bytes: u64,
    of_bytes: u64,
    files: u64,
    of_files: u64,
}

impl PackageProgress {
    /// On stderr, for about `count` gateways.
    pub(crate) fn stderr(count: usize) -> Self {
        let board = Board::new(count, Live::stderr);
        let board = Arc::new(Shared { board: Mutex::new(board), changed: Condvar::new() });
        let draws = board.clone();
        let draws = thread::Builder::new().name("progress".to_owned()).spawn(move || draws.run());
        PackageProgress { board, draws: draws.ok() }
    }

    pub(crate) fn teller(&self) -> Teller {
        Teller(self.board.clone())
    }
}

impl Drop for PackageProgress {
    fn drop(&mut self) {
        self.board.lock().ended = true;
        self.board.changed.notify_all();
        if let Some(draws) = self.draws.take() {
            let _ = draws.join();
        }
    }
}

impl Teller {
    /// Shows the new state of a gateway's packages, and tells its notes.
    pub(crate) fn tell(&self, transfer: &Transfer) {
        let mut board = self.0.lock();
        if board.ended {
            return;
        }
        let name = transfer.node.as_ref().map_or(&transfer.gateway, |node| &node.name);
        let is_first = board.entries.is_empty();
        board.update(&transfer.gateway, name, At::of(transfer), Instant::now());
        let notes = board.new_notes(&transfer.notes);
        drop(board);
        if is_first {
            self.0.changed.notify_all();
        }
        for note in notes {
            print::say(&format!("execnet: {note}"));
        }
    }

    /// The gateway with this id is open, or will not be.
    pub(crate) fn done(&self, gateway: &str) {
        self.0.lock().done(gateway);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws and tells until the end.
    fn run(&self) {
        let mut board = self.lock();
        while !board.ended {
            let lines = board.show(Instant::now());
            if !lines.is_empty() {
                drop(board);
                lines.iter().for_each(|line| print::say(line));
                board = self.lock();
            } else if board.entries.is_empty() {
                board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
            } else {
                // not at each change: there may be thousands a second
                let waited = self.changed.wait_timeout(board, TICK);
                board = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        board.clear();
    }
}

impl Board {
    fn new(count: usize, make: impl Fn(usize) -> Live + Send + 'static) -> Self {
        Board {
            count,
            make: Box::new(make),
            live: None,
            below: None,
            entries: Vec::new(),
            notes: BTreeSet::new(),
            ended: false,
        }
    }

    fn update(&mut self, gateway: &str, name: &str, at: At, now: Instant) {
        match self.entry(gateway) {
            Some(entry) => {
                if !entry.at.is_as(&at) {
                    (entry.at_step, entry.told) = (now, false);
                }
                (entry.name, entry.at) = (one_line(name), at);
            }
            None => self.entries.push(Entry {
                gateway: gateway.to_owned(),
                name: one_line(name),
                at,
                began: now,
                at_step: now,
                told: false,
                done: false,
                line: None,
            }),
        }
    }

    fn entry(&mut self, gateway: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.gateway == gateway)
    }

    /// The notes that were not told yet, each in one line. What is the same for several hosts is told once.
    fn new_notes(&mut self, notes: &[String]) -> Vec<String> {
        notes.iter().map(|note| one_line(note)).filter(|note| self.notes.insert(note.clone())).collect()
    }

    fn done(&mut self, gateway: &str) {
        if let Some(entry) = self.entry(gateway) {
            entry.done = true;
        }
    }

    /// Draws what takes long. Returns lines to print where nothing can be drawn.
    fn show(&mut self, now: Instant) -> Vec<String> {
        let long = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        if self.live.is_none() && self.entries.iter().any(|entry| !entry.done && long(entry.began, DRAWN)) {
            let live = (self.make)(self.count);
            self.below = live.drawn().cloned().map(print::draw_below);
            self.live = Some(live);
        }
        let mut lines = Vec::new();
        match &self.live {
            None => {}
            Some(Live::Nothing) => {
                let due = |entry: &&mut Entry| !entry.done && !entry.told && long(entry.at_step, TOLD);
                let due: Vec<&mut Entry> = self.entries.iter_mut().filter(due).collect();
                lines = told(due);
            }
            Some(Live::Lines(drawn)) => {
                for entry in &mut self.entries {
                    match entry.done {
                        true => entry.line.take().iter().for_each(|line| drawn.remove(line)),
                        false if entry.line.is_some() || long(entry.began, DRAWN) => {
                            let line = entry.line.get_or_insert_with(|| drawn.add(ProgressBar::no_length()));
                            draw(line, &entry.name, &entry.at);
                        }
                        false => {}
                    }
                }
            }
            Some(Live::Bar(_, bar)) => draw_all(bar, &self.entries, self.count),
        }
        if !matches!(self.live, Some(Live::Bar(..))) {
            self.entries.retain(|entry| !entry.done);
        }
        if self.entries.iter().all(|entry| entry.done) {
            self.clear();
        }
        lines
    }

    fn clear(&mut self) {
        let Some(live) = self.live.take() else { return };
        if let Live::Bar(drawn, bar) = &live {
            drawn.remove(bar);
        }
        if let Some(drawn) = live.drawn() {
            self.entries
                .iter_mut()
                .filter_map(|entry| entry.line.take())
                .for_each(|line| drawn.remove(&line));
            let _ = drawn.clear();
        }
        self.entries.clear();
        self.below = None;
    }
}

impl At {
    fn of(transfer: &Transfer) -> Self {
        let Transfer { bytes, of_bytes, files, of_files, .. } = *transfer;
        match &transfer.step {
            Step::Reading => At::Reading,
            Step::Resolving => At::Resolving,
            Step::Waiting { for_ } => At::Waiting(one_line(for_)),
            Step::Sending => At::Sending(Amounts { bytes, of_bytes, files, of_files }),
            _ => At::Other,
        }
    }

    /// Whether it is the same step.
    fn is_as(&self, other: &At) -> bool {
        mem::discriminant(self) == mem::discriminant(other)
    }

    fn amounts(&self) -> Amounts {
        match self {
            At::Sending(amounts) => *amounts,
            _ => Amounts::default(),
        }
    }

    fn words(&self) -> String {
        match self {
            At::Reading => "reading packages".to_owned(),
            At::Resolving => "resolving packages with uv".to_owned(),
            At::Waiting(what) => format!("waiting for {what}"),
            At::Sending(amounts) => format!("packages: {amounts}"),
            At::Other => "preparing packages".to_owned(),
        }
    }
}

impl Amounts {
    fn plus(self, other: Amounts) -> Amounts {
        Amounts {
            bytes: self.bytes + other.bytes,
            of_bytes: self.of_bytes + other.of_bytes,
            files: self.files + other.files,
            of_files: self.of_files + other.of_files,
        }
    }
}

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Amounts { bytes, of_bytes, files, of_files } = *self;
        if (bytes, files) == (of_bytes, of_files) {
            // what is buffered on the way takes its time
            return write!(f, "{} in {files} files are on their way", size(bytes));
        }
        write!(f, "{} of {}, {files} of {of_files} files", size(bytes), size(of_bytes))
    }
}

/// Draws the line of a gateway: a bar while files are sent, otherwise a spinner.
fn draw(line: &ProgressBar, name: &str, at: &At) {
    let words = match at {
        At::Sending(amounts) => {
            line.set_style(template("[{bar:20}] {wide_msg}").progress_chars("=> "));
            line.set_length(amounts.of_bytes);
            line.set_position(amounts.bytes);
            amounts.to_string()
        }
        at => {
            line.set_style(template("{spinner} {wide_msg}").tick_chars(r"-\|/ "));
            at.words()
        }
    };
    line.set_message(for_stderr(format!("{name}: {words}")));
    line.tick();
}

/// Draws the bar of all gateways.
fn draw_all(bar: &ProgressBar, entries: &[Entry], count: usize) {
    let all = count.max(entries.len());
    let done = entries.iter().filter(|entry| entry.done).count();
    let busy: Vec<&Entry> = entries.iter().filter(|entry| !entry.done).collect();
    let mut message = format!("packages for {done}/{all} nodes");
    let sums = sums(&entries.iter().collect::<Vec<_>>());
    if sums.of_bytes > 0 {
        message += &format!(", {} of {}", size(sums.bytes), size(sums.of_bytes));
    }
    if !busy.is_empty() {
        message += &format!("; on the way: {}", names(&busy));
    }
    bar.set_length(all as u64);
    bar.set_position(done as u64);
    bar.set_message(for_stderr(message));
}

/// A line for each step at which these gateways are, with their names. From now on they count as told.
fn told(mut due: Vec<&mut Entry>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(first) = due.pop() {
        let (same, others): (Vec<_>, Vec<_>) = due.into_iter().partition(|entry| entry.at.is_as(&first.at));
        let mut all = same;
        all.push(first);
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.iter_mut().for_each(|entry| entry.told = true);
        let all: Vec<&Entry> = all.into_iter().map(|entry| &*entry).collect();
        let words = match &all[0].at {
            At::Sending(_) => At::Sending(sums(&all)).words(),
            at => at.words(),
        };
        lines.push(format!("execnet: {}: {words}", names(&all)));
        due = others;
    }
    lines
}

fn sums(entries: &[&Entry]) -> Amounts {
    entries.iter().map(|entry| entry.at.amounts()).fold(Amounts::default(), Amounts::plus)
}

/// The names of their nodes, or of the first few.
fn names(entries: &[&Entry]) -> String {
    let first: Vec<&str> = entries.iter().take(NAMES).map(|entry| &*entry.name).collect();
    let more = entries.len() - first.len();
    if more > 0 { format!("{} and {more} more", first.join(", ")) } else { first.join(", ") }
}

#[cfg(test)]
#[path = "packages_tests.rs"]
mod tests;
