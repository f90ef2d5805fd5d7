//! Progress of copies: for each host how much is copied, how fast, and how long the rest will take.
//!
//! What takes longer than a second is drawn on a terminal: a line for each host, or one bar for all if they
//! are many. Elsewhere nothing is said.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::{Live, TICK, for_stderr, template};
use crate::print;
use crate::text::{duration, one_line, size};

/// What takes less is not drawn.
const DRAWN: Duration = Duration::from_secs(1);

/// The time over which a rate is averaged.
const AVERAGED: Duration = Duration::from_secs(3);

/// Shows how copies go on, until it is dropped.
pub(crate) struct CopyProgress {
    shared: Arc<Shared>,
    draws: Option<JoinHandle<()>>,
}

/// Counts what is copied to or from one host. Dropping it removes the host's line.
pub(crate) struct HostProgress(Arc<Counts>);

#[derive(Default)]
struct Shared {
    board: Mutex<Board>,
    changed: Condvar,
}

#[derive(Default)]
struct Board {
    hosts: Vec<Host>,
    ended: bool,
}

#[derive(Default)]
struct Counts {
    total: AtomicU64,
    settled: AtomicU64,
    moved: AtomicU64,
    done: AtomicBool,
}

struct Host {
    name: String,
    counts: Arc<Counts>,
    rate: Rate,
    line: Option<ProgressBar>,
}

/// How fast a count has grown lately.
#[derive(Default)]
struct Rate {
    last: Option<(Instant, u64)>,
    /// Per second.
    rate: f64,
}

impl CopyProgress {
    /// On stderr, for so many hosts.
    pub(crate) fn stderr(count: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let draws = shared.clone();
        let draws = thread::Builder::new().name("progress".to_owned()).spawn(move || draws.run(count));
        CopyProgress { shared, draws: draws.ok() }
    }

    pub(crate) fn host(&self, name: &str) -> HostProgress {
        let counts = Arc::new(Counts::default());
        let (name, rate) = (one_line(name), Rate::default());
        self.shared.lock().hosts.push(Host { name, counts: counts.clone(), rate, line: None });
        HostProgress(counts)
    }
}

impl Drop for CopyProgress {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(draws) = self.draws.take() {
            let _ = draws.join();
        }
    }
}

impl HostProgress {
    /// So many bytes are to be compared.
    pub(crate) fn total(&self, bytes: u64) {
        self.0.total.store(bytes, Ordering::Relaxed);
    }

    /// So many need not be copied.
    pub(crate) fn settled(&self, bytes: u64) {
        self.0.settled.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many were copied.
    pub(crate) fn moved(&self, bytes: u64) {
        self.0.moved.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for HostProgress {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws until the end.
    fn run(&self, count: usize) {
        let (began, mut live) = (Instant::now(), None);
        let mut board = self.lock();
        while !board.ended {
            let wait = if live.is_some() { TICK } else { DRAWN.saturating_sub(began.elapsed()) };
            board = self.changed.wait_timeout(board, wait).unwrap_or_else(PoisonError::into_inner).0;
            if began.elapsed() < DRAWN || board.ended {
                continue;
            }
            let (live, _) = live.get_or_insert_with(|| {
                let live = Live::stderr(count);
                let below = live.drawn().cloned().map(print::draw_below);
                (live, below)
            });
            if matches!(live, Live::Nothing) {
                board = self
                    .changed
                    .wait_while(board, |board| !board.ended)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            board.draw(live, count, Instant::now());
        }
        let lines: Vec<_> = board.hosts.iter_mut().filter_map(|host| host.line.take()).collect();
        drop(board);
        if let Some((live, _below)) = live {
            if let Live::Bar(drawn, bar) = &live {
                drawn.remove(bar);
            }
            if let Some(drawn) = live.drawn() {
                lines.iter().for_each(|line| drawn.remove(line));
                let _ = drawn.clear();
            }
        }
    }
}

impl Board {
    fn draw(&mut self, live: &Live, count: usize, now: Instant) {
        for host in &mut self.hosts {
            host.rate.add(now, host.counts.moved.load(Ordering::Relaxed));
        }
        match live {
            Live::Nothing => {}
            Live::Lines(drawn) => {
                for host in &mut self.hosts {
                    if host.counts.done.load(Ordering::Relaxed) {
                        host.line.take().iter().for_each(|line| drawn.remove(line));
                        continue;
                    }
                    let sums = Sums::of(std::slice::from_ref(host));
                    let line = host.line.get_or_insert_with(|| {
                        let line = drawn.add(ProgressBar::no_length());
                        line.set_style(template("[{bar:20}] {wide_msg}").progress_chars("=> "));
                        line
                    });
                    show(line, &sums, format!("{}: {}", host.name, sums.words()));
                }
            }
            Live::Bar(_, bar) => {
                let done = self.hosts.iter().filter(|host| host.counts.done.load(Ordering::Relaxed)).count();
                let sums = Sums::of(&self.hosts);
                show(bar, &sums, format!("{done}/{count} hosts: {}", sums.words()));
            }
        }
    }
}

fn show(bar: &ProgressBar, sums: &Sums, words: String) {
    bar.set_length(sums.total.max(1));
    bar.set_position(sums.settled + sums.moved);
    bar.set_message(for_stderr(words));
    bar.tick();
}

/// What was copied to some hosts.
struct Sums {
    total: u64,
    settled: u64,
    moved: u64,
    rate: f64,
    /// The hosts to which everything was sent.
    through: bool,
}

impl Sums {
    fn of(hosts: &[Host]) -> Self {
        let sum = |count: fn(&Counts) -> &AtomicU64| {
            hosts.iter().map(|host| count(&host.counts).load(Ordering::Relaxed)).sum::<u64>()
        };
        let total = sum(|counts| &counts.total);
        let (settled, moved) = (sum(|counts| &counts.settled), sum(|counts| &counts.moved));
        let rate = hosts.iter().map(|host| host.rate.rate).sum();
        Self { total, settled, moved, rate, through: settled + moved >= total }
    }

    fn words(&self) -> String {
        let left = self.total.saturating_sub(self.settled + self.moved);
        let mut words = format!("{} of {}", size(self.settled + self.moved), size(self.total));
        if self.through {
            return if self.total == 0 { "comparing".to_owned() } else { words + ", finishing" };
        }
        if self.rate >= 1.0 {
            let _ =
                write!(words, ", {}/s, {} left", size(self.rate as u64), duration(left as f64 / self.rate));
        }
        words
    }
}

impl Rate {
    fn add(&mut self, now: Instant, count: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, count));
            return;
        };
        let passed = now.saturating_duration_since(then).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let lately = count.saturating_sub(before) as f64 / passed;
        let weight = (passed / AVERAGED.as_secs_f64()).min(1.0);
        self.rate = if self.rate > 0.0 { self.rate + weight * (lately - self.rate) } else { lately };
        self.last = Some((now, count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_rest_are_told() {
        let counts = Arc::new(Counts::default());
        let progress = HostProgress(counts.clone());
        let mut host = Host { name: "b".into(), counts, rate: Rate::default(), line: None };
        let now = Instant::now();
        assert_eq!(Sums::of(std::slice::from_ref(&host)).words(), "comparing");
        progress.total(100 << 20);
        progress.settled(20 << 20);
        host.rate.add(now, 0);
        progress.moved(10 << 20);
        host.rate.add(now + Duration::from_secs(1), 10 << 20);
        assert_eq!(Sums::of(std::slice::from_ref(&host)).words(), "30 MiB of 100 MiB, 10 MiB/s, 7 s left");
        for n in 2..30 {
            host.rate.add(now + Duration::from_secs(n), n * (20 << 20));
        }
        assert!(Sums::of(std::slice::from_ref(&host)).words().contains(", 20 MiB/s, 4 s left"));
        progress.moved(70 << 20);
        assert_eq!(Sums::of(std::slice::from_ref(&host)).words(), "100 MiB of 100 MiB, finishing");
    }
}
