//! Progress of joining hosts; that of packages is in `packages`, that of copies in `copy`.
//!
//! A host that is up or has failed gets one line that stays. On a terminal, hosts that are still joining are
//! drawn below these lines: one line each, or one bar for all if they are many.

mod copy;
mod packages;
mod screen;
mod waiting;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use execnet_proto::control::{HostState, HostStatus, NodeState, Step};
use execnet_proto::spec::HostSpec;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::text::one_line;
use crate::{render, style};
pub(crate) use copy::{CopyProgress, HostProgress};
pub(crate) use packages::{PackageProgress, Teller};
use screen::Screen;
pub(crate) use waiting::WaitProgress;

/// More hosts than this share a bar, and so do hosts that would leave fewer than [`MARGIN`] rows of the
/// terminal.
const MOST_LINES: usize = 20;
const MARGIN: usize = 4;

/// Names of joining hosts in one line; few terminals show more.
const MOST_NAMES: usize = 50;

/// Between two frames of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// The most frames a second.
const RATE: u8 = 20;

/// Shows how hosts join.
pub(crate) struct JoinProgress<'a> {
    out: Box<dyn Write + 'a>,
    live: Live,
    hosts: Vec<HostLine>,
    /// Where each host is in `hosts`, by its id.
    places: HashMap<String, usize>,
    tally: Tally,
}

/// How many hosts are in which state, kept with each change: a thousand hosts change thousands of times.
#[derive(Default)]
struct Tally {
    up: usize,
    failed: usize,
    /// Places of those that are joining.
    joining: BTreeSet<usize>,
}

/// What is drawn below the lines that stay.
enum Live {
    Nothing,
    /// A line for each host.
    Lines(MultiProgress),
    /// One bar for all hosts.
    Bar(MultiProgress, ProgressBar),
}

/// A host, and what was shown of it.
struct HostLine {
    status: HostStatus,
    /// The state of the last line that stays.
    told: Option<(HostState, Option<Step>)>,
    /// Its line while it is joining.
    line: Option<ProgressBar>,
}

impl<'a> JoinProgress<'a> {
    fn new(out: Box<dyn Write + 'a>, live: Live) -> Self {
        let (hosts, places, tally) = Default::default();
        Self { out, live, hosts, places, tally }
    }
}

impl JoinProgress<'_> {
    /// On stderr, for about `count` hosts; drawn in place if that is a capable terminal.
    pub(crate) fn stderr(count: usize) -> JoinProgress<'static> {
        JoinProgress::new(Box::new(anstream::stderr()), Live::stderr(count))
    }

    /// Only the lines that stay.
    #[cfg(test)]
    pub(crate) fn written_to(out: &mut dyn Write) -> JoinProgress<'_> {
        JoinProgress::new(Box::new(out), Live::Nothing)
    }

    /// Shows the new state of a host.
    pub(crate) fn update(&mut self, status: &HostStatus) {
        let at = self.places.get(&status.id).copied().unwrap_or_else(|| {
            self.hosts.push(HostLine { status: status.clone(), told: None, line: None });
            self.tally.count(self.hosts.len() - 1, status.state, true);
            self.places.insert(status.id.clone(), self.hosts.len() - 1);
            self.hosts.len() - 1
        });
        self.tally.count(at, self.hosts[at].status.state, false);
        self.tally.count(at, status.state, true);
        self.hosts[at].status = status.clone();
        match (&self.live, is_settled(status)) {
            (_, true) => self.tell(at),
            (Live::Nothing, false) if status.state == HostState::Up && finds_every_python(status) => {
                self.tell(at);
            }
            (Live::Lines(lines), false) => self.hosts[at].draw(lines),
            _ => {}
        }
        if let Live::Bar(_, bar) = &self.live {
            self.tally.show(bar, &self.hosts);
        }
    }

    /// Runs `act` with nothing drawn, as it uses the terminal.
    pub(crate) fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.live {
            Live::Nothing => act(),
            Live::Lines(drawn) | Live::Bar(drawn, _) => drawn.suspend(act),
        }
    }

    /// Writes the lines of hosts that have none yet, and removes what was drawn.
    pub(crate) fn finish(&mut self) {
        for at in 0..self.hosts.len() {
            if self.hosts[at].status.state == HostState::Up {
                self.tell(at);
            }
        }
        self.clear();
    }

    /// Writes the line of a host that stays, unless it would repeat the last one.
    fn tell(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if let (Live::Lines(lines), Some(line)) = (&self.live, host.line.take()) {
            lines.remove(&line);
        }
        let HostStatus { state, step, .. } = host.status;
        let now = (state, step.filter(|_| state == HostState::Failed));
        if host.told.replace(now) == Some(now) || state == HostState::Leaving {
            return;
        }
        // the bar counts them, and a table follows
        if state == HostState::Up && matches!(self.live, Live::Bar(..)) {
            return;
        }
        let line = match &self.live {
            // its interpreters are not all known yet; the table that follows shows them
            Live::Nothing if state == HostState::Up && finds_every_python(&host.status) => {
                render::progress_line(&HostStatus { nodes: Vec::new(), ..host.status.clone() })
            }
            _ => render::progress_line(&host.status),
        };
        let out = &mut self.out;
        let mut write = || drop(writeln!(out, "{line}").and_then(|()| out.flush()));
        match &self.live {
            Live::Nothing => write(),
            Live::Lines(drawn) | Live::Bar(drawn, _) => drawn.suspend(write),
        }
    }

    fn clear(&mut self) {
        if let Live::Bar(drawn, bar) = &self.live {
            drawn.remove(bar);
        }
        if let Live::Lines(drawn) | Live::Bar(drawn, _) = &self.live {
            self.hosts.iter_mut().filter_map(|host| host.line.take()).for_each(|line| drawn.remove(&line));
            let _ = drawn.clear();
        }
        self.live = Live::Nothing;
    }
}

impl Drop for JoinProgress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Live {
    /// On stderr, for about `count` hosts; nothing is drawn unless that is a capable terminal.
    fn stderr(count: usize) -> Live {
        let able = io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        match size.filter(|size| able && size.ws_col > 0 && size.ws_row > 0) {
            None => Live::Nothing,
            Some(size) => Live::new(Screen::new(io::stderr()), count, size.ws_row.into(), size.ws_col.into()),
        }
    }

    fn drawn(&self) -> Option<&MultiProgress> {
        match self {
            Live::Nothing => None,
            Live::Lines(drawn) | Live::Bar(drawn, _) => Some(drawn),
        }
    }

    fn new(screen: impl TermLike + 'static, count: usize, rows: usize, columns: usize) -> Live {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen), RATE);
        let drawn = MultiProgress::with_draw_target(target);
        if count <= MOST_LINES && count + MARGIN <= rows {
            return Live::Lines(drawn);
        }
        let width = if columns < 60 { 10 } else { 20 };
        let bar = drawn.add(ProgressBar::new(count as u64));
        bar.set_style(template(&format!("[{{bar:{width}}}] {{wide_msg}}")).progress_chars("=> "));
        bar.enable_steady_tick(TICK);
        Live::Bar(drawn, bar)
    }
}

impl HostLine {
    /// Draws the line of a host that is joining.
    fn draw(&mut self, lines: &MultiProgress) {
        let line = self.line.get_or_insert_with(|| {
            let line = lines.add(ProgressBar::new_spinner());
            line.set_style(template("{spinner} {wide_msg}").tick_chars(r"-\|/ "));
            line.enable_steady_tick(TICK);
            line
        });
        line.set_message(for_stderr(render::progress_line(&self.status)));
    }
}

impl Tally {
    /// The host at this place is in this state, or is no more.
    fn count(&mut self, at: usize, state: HostState, is: bool) {
        if state == HostState::Joining {
            if is {
                self.joining.insert(at)
            } else {
                self.joining.remove(&at)
            };
        }
        let number = match state {
            HostState::Up => &mut self.up,
            HostState::Failed | HostState::Unreachable => &mut self.failed,
            HostState::Joining | HostState::Leaving => return,
        };
        *number = if is { *number + 1 } else { number.saturating_sub(1) };
    }

    /// Shows how many hosts are up and have failed, and which ones are joining, as far as a line may show
    /// them.
    fn show(&self, bar: &ProgressBar, hosts: &[HostLine]) {
        let Self { up, failed, joining } = self;
        let all = bar.length().unwrap_or_default().max(hosts.len() as u64);
        let mut message = format!("{up}/{all} up");
        if *failed > 0 {
            message += &format!(", {}", style::bad(&format!("{failed} failed")));
        }
        let names = joining.iter().take(MOST_NAMES).map(|at| one_line(&hosts[*at].status.id));
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            message += &format!("; joining: {}", names.join(", "));
        }
        bar.set_length(all);
        bar.set_position((up + failed) as u64);
        bar.set_message(for_stderr(message));
    }
}

/// Text with colours, or without them where stderr gets none.
fn for_stderr(text: String) -> String {
    match AutoStream::choice(&io::stderr()) {
        ColorChoice::Never => anstream::adapter::strip_str(&text).to_string(),
        _ => text,
    }
}

fn template(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Whether nothing more will come: the host failed, or it is up and each interpreter has answered.
fn is_settled(host: &HostStatus) -> bool {
    match host.state {
        HostState::Joining => false,
        HostState::Up => {
            let probing = host.nodes.iter().any(|node| node.state == NodeState::Probing);
            !probing && !host.nodes.is_empty() && !finds_every_python(host)
        }
        HostState::Failed | HostState::Unreachable | HostState::Leaving => true,
    }
}

/// Whether every interpreter found becomes a node. How many there are is known only when no host is joining
/// any more.
fn finds_every_python(host: &HostStatus) -> bool {
    let spec = host.spec.parse::<HostSpec>();
    spec.is_ok_and(|spec| spec.python.as_deref() == Some("*"))
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
