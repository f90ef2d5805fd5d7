//! A process on a host that has our terminal: as `ssh -t`.
//!
//! [`on_terminal`] describes the process, [`stand_for`] passes keys, output, sizes and signals until it ends;
//! [`stand_for_kept`] until it ends or is left.
//! One thread decides; others wait for keys, output, signals and news of the process.

mod escapes;
#[cfg(test)]
mod fuzz;
mod modes;
mod options;
mod replay;
mod screen;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use execnet::{ExitStatus, Output, Process, ProcessBuilder, ProcessEvent};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::raise;

use crate::commands::{Work, ending};
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::{self, say};
use crate::render::reason;
use crate::signals::stop_job;
use crate::stdio::OwnStream;
use crate::text::one_line;
use escapes::{EscapeKey, Escapes, Typed};
pub(crate) use options::TerminalOptions;
use replay::Replay;
use screen::Raw;

/// Waits until our terminal, if there is one, is ours: before anything is started that will have it.
pub(crate) use screen::come_forward;

/// A break that lasts this long is told.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// During a break, this many times Ctrl-C within this time ends.
const INTERRUPTS: usize = 3;
const WITHIN: Duration = Duration::from_secs(2);

/// Bytes per read of keys or output.
const CHUNK: usize = 65_536;

const CTRL_C: u8 = 0x03;

/// Something that happened.
enum News {
    /// A key of ours.
    Typed(Typed),
    /// Ctrl-C was typed this often at once.
    Interrupts(usize),
    /// Nobody is at the keys any more.
    Gone,
    Signal(i32),
    Process(ProcessEvent),
    /// What is shown from now on is new.
    Replayed,
}

/// Why we stop standing for the process.
enum End {
    Process(ProcessEvent),
    /// A person ended it.
    Ended,
    /// A person left.
    Left,
    /// A signal ended us.
    Signal(i32),
}

/// Gives the process a terminal like ours: its size, and the variables that describe it. `TERM` goes along
/// always, `COLORTERM`, `LANG` and `LC_*` if they are set here.
pub(crate) fn on_terminal(process: ProcessBuilder) -> ProcessBuilder {
    let (rows, columns) = screen::size();
    let kind = std::env::var_os("TERM").filter(|kind| !kind.is_empty()).unwrap_or_else(|| "dumb".into());
    let mut process = process.terminal(rows, columns).env("TERM", kind);
    for (name, value) in std::env::vars_os() {
        if let Some(name) = name.to_str()
            && (matches!(name, "COLORTERM" | "LANG") || name.starts_with("LC_"))
        {
            process = process.env(name, value);
        }
    }
    process
}

/// Lets the process have our terminal until its end. Returns its exit status. `what` it is, for messages;
/// `failure`: the exit code if it cannot be known how it ended. Only `python` has that code also for what did
/// not start.
pub(crate) fn stand_for(process: &Process, escape: EscapeKey, what: &str, failure: Exit) -> CommandResult {
    Standing { process, escape, what, failure, work: None, reads_from: None }.stand()
}

/// Lets kept work have our terminal, until its end or until it is left.
pub(crate) fn stand_for_kept(process: &Process, escape: EscapeKey, work: &Work) -> CommandResult {
    let what = work.to_string();
    let (what, work) = (what.as_str(), Some(work));
    Standing { process, escape, what, failure: Exit::HostsFailed, work, reads_from: None }.stand()
}

/// Shows kept work on our terminal, until its end or until we go. Output before this position of it is old.
pub(crate) fn show_kept(reader: &Process, work: &Work, new: u64) -> CommandResult {
    let what = work.to_string();
    let (what, work, escape) = (what.as_str(), Some(work), EscapeKey::default());
    Standing { process: reader, escape, what, failure: Exit::HostsFailed, work, reads_from: Some(new) }
        .stand()
}

/// What has our terminal.
#[derive(Clone, Copy)]
struct Standing<'a> {
    process: &'a Process,
    escape: EscapeKey,
    what: &'a str,
    failure: Exit,
    /// What stays when we leave.
    work: Option<&'a Work>,
    /// We only read along: it gets no keys, sizes and signals. Output before this position is old.
    reads_from: Option<u64>,
}

impl Standing<'_> {
    fn is_mute(&self) -> bool {
        self.reads_from.is_some()
    }

    fn stand(self) -> CommandResult {
        let Self { process, what, failure, work, reads_from, .. } = self;
        let mute = self.is_mute();
        let node = one_line(&process.node().name);
        let place = if node.is_empty() { one_line(&process.node().host) } else { node };
        let fail = |error: io::Error| CommandError::new(failure, "cannot use the terminal").because(&error);
        let (news_tx, news) = channel();
        let signals = [SIGWINCH, SIGCONT, SIGTSTP, SIGTERM, SIGHUP, SIGQUIT, SIGINT];
        let signals = Signals::new(signals).map_err(fail)?;
        let raw = Raw::take().map_err(fail)?;
        let live = Arc::new(AtomicBool::new(work.is_none()));
        let output = show_output(process, reads_from, live.clone(), news_tx.clone()).map_err(fail)?;
        pass_keys(self, live, news_tx.clone()).map_err(fail)?;
        pass_signals(signals, news_tx.clone()).map_err(fail)?;
        pass_events(process, news_tx).map_err(fail)?;
        let end = Attendance::new(self).attend(&news);
        if let End::Process(ProcessEvent::Ended(_)) = end {
            let _ = output.join();
        }
        drop(raw);
        if let (Some(_), End::Process(ProcessEvent::Lost(_))) = (work, &end) {
            // not behind what it has shown
            say("");
        }
        match end {
            End::Process(ProcessEvent::Ended(status)) => {
                let ExitStatus::NotStarted { message, .. } = &status else {
                    if work.is_some() {
                        say(&format!("execnet: {what} {}", ending(&status)));
                    }
                    return Ok(status.code().into());
                };
                let refused =
                    CommandError::new(failure, format!("cannot start {what} on `{place}`: {message}"));
                if failure == Exit::Python {
                    return Err(refused);
                }
                print::error(&refused);
                Ok(status.code().into())
            }
            End::Process(ProcessEvent::Lost(lost)) => Err(match work {
                Some(work) if mute => work.unread(&lost),
                Some(work) => work.lost(&lost),
                None => CommandError::new(failure, lost),
            }),
            End::Ended => {
                process.end();
                let place = if work.is_some() { String::new() } else { format!(" on {place}") };
                say(&format!("\nexecnet: {what}{place} is hung up"));
                Ok(status_of(SIGHUP))
            }
            End::Left => {
                process.detach();
                say("");
                if let Some(work) = work.filter(|_| !mute) {
                    work.tell_left();
                }
                Ok(ExitCode::SUCCESS)
            }
            End::Signal(number) => {
                if let Some(work) = work.filter(|_| !mute) {
                    work.tell_left();
                }
                Ok(status_of(number))
            }
            End::Process(_) => Err(CommandError::new(failure, "the process is gone")),
        }
    }
}

fn status_of(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

/// The thread that decides.
struct Attendance<'a> {
    standing: Standing<'a>,
    broken: Option<Break>,
    interrupts: VecDeque<Instant>,
}

/// A break of the way to the host.
struct Break {
    since: Instant,
    why: String,
    told: bool,
}

impl<'a> Attendance<'a> {
    fn new(standing: Standing<'a>) -> Self {
        Self { standing, broken: None, interrupts: VecDeque::new() }
    }

    /// What it means if a person gives up.
    fn giving_up(&self) -> End {
        if self.standing.work.is_some() { End::Left } else { End::Ended }
    }

    fn attend(mut self, news: &Receiver<News>) -> End {
        loop {
            let due =
                self.broken.as_ref().filter(|broken| !broken.told).map(|broken| broken.since + TOLD_AFTER);
            let next = match due {
                Some(due) => news.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let end = match next {
                Ok(news) => self.handle(news),
                Err(RecvTimeoutError::Timeout) => {
                    self.tell();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => Some(self.giving_up()),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn handle(&mut self, news: News) -> Option<End> {
        match news {
            News::Typed(Typed::End) if self.standing.is_mute() => return Some(End::Left),
            News::Typed(Typed::End) => return Some(End::Ended),
            News::Typed(Typed::Leave) => return Some(End::Left),
            News::Gone => return Some(End::Signal(SIGHUP)),
            News::Typed(Typed::Suspend) => {
                screen::give_back();
                stop_job();
                screen::take_again();
            }
            News::Signal(SIGTSTP) => {
                screen::give_back();
                // SIGTSTP is handled here; SIGSTOP looks the same to the shell. SIGCONT takes it again
                let _ = raise(SIGSTOP);
            }
            News::Typed(Typed::Help) => {
                screen::notice(&self.standing.escape.help(self.standing.work.is_some()));
            }
            News::Typed(Typed::Keys(_)) => {}
            News::Interrupts(count) => return self.interrupted(count, Instant::now()),
            News::Signal(SIGCONT) => {
                screen::take_again();
                self.resize();
            }
            News::Signal(SIGWINCH) | News::Replayed => self.resize(),
            News::Signal(number) => return Some(End::Signal(number)),
            News::Process(ProcessEvent::Unreachable(why)) => {
                self.interrupts.clear();
                self.broken = Some(Break { since: Instant::now(), why, told: false });
            }
            News::Process(ProcessEvent::Reachable) => self.back(),
            News::Process(end @ (ProcessEvent::Ended(_) | ProcessEvent::Lost(_))) => {
                return Some(End::Process(end));
            }
            News::Process(_) => {}
        }
        None
    }

    /// States the size, also if it is the same: a program draws its screen anew.
    fn resize(&self) {
        if !self.standing.is_mute() {
            let (rows, columns) = screen::size();
            // its end comes as news of its own
            let _ = self.standing.process.resize(rows, columns);
        }
    }

    fn tell(&mut self) {
        if let Some(broken) = &mut self.broken {
            broken.told = true;
            let host = &self.standing.process.node().host;
            let ends = if self.standing.work.is_some() { "leaves it" } else { "ends this" };
            screen::notice(&format!(
                "execnet: {host} is unreachable: {}; keys wait; ^C three times within 2 s {ends}",
                reason(host, &broken.why)
            ));
        }
    }

    fn back(&mut self) {
        if self.broken.take().is_some_and(|broken| broken.told) {
            if !screen::restore_title() {
                screen::notice(&format!("execnet: {} is reachable again", self.standing.process.node().host));
            }
            // what it draws now is not in the middle of our line
            self.resize();
        }
    }

    /// Ctrl-C was typed: it goes to the process, and during a break some of them mean us.
    fn interrupted(&mut self, count: usize, now: Instant) -> Option<End> {
        self.broken.as_ref()?;
        self.interrupts.extend(std::iter::repeat_n(now, count.min(INTERRUPTS)));
        while self.interrupts.front().is_some_and(|first| now.saturating_duration_since(*first) > WITHIN) {
            self.interrupts.pop_front();
        }
        (self.interrupts.len() >= INTERRUPTS).then(|| self.giving_up())
    }
}

/// Shows the output, until its end or until nobody sees it. What was written before we attached is shown
/// again first; `live` says that this is over.
fn show_output(
    process: &Process,
    reads_from: Option<u64>,
    live: Arc<AtomicBool>,
    news: Sender<News>,
) -> io::Result<JoinHandle<()>> {
    let output = process.stdout();
    thread::Builder::new().name("output".into()).spawn(move || {
        let is_live = live.load(Ordering::SeqCst);
        let mut is_seen = is_live || replay(&output, reads_from).is_ok();
        live.store(true, Ordering::SeqCst);
        if !is_live {
            drop(news.send(News::Replayed));
        }
        while is_seen
            && let Ok(piece) = output.receive_piece(CHUNK)
            && !piece.is_end
        {
            is_seen = screen::write(&piece.bytes).is_ok();
        }
        if !is_seen {
            // the process is hung up, or left
            let _ = output.close();
        }
    })
}

/// Shows what was written before we attached.
fn replay(output: &Output, reads_from: Option<u64>) -> io::Result<()> {
    let mut left = match reads_from {
        Some(new) => new.saturating_sub(output.position()),
        None => output.old().unwrap_or(0),
    };
    let mut replay = if output.position() > 0 { Replay::of_part() } else { Replay::default() };
    while left > 0 {
        let Ok(piece) = output.receive_piece(CHUNK) else { break };
        if piece.gone > 0 {
            replay.lost();
        }
        replay.pass(&piece.bytes);
        left = left.saturating_sub(piece.gone + piece.bytes.len() as u64);
        if piece.is_end {
            break;
        }
    }
    let shown = replay.shown();
    if shown.is_empty() { Ok(()) } else { screen::write(&shown) }
}

/// Passes what is typed. The thread may wait for keys that never come: nothing joins it.
fn pass_keys(standing: Standing<'_>, live: Arc<AtomicBool>, news: Sender<News>) -> io::Result<()> {
    let is_terminal = io::stdin().is_terminal();
    let mut from = OwnStream::new(&io::stdin())?;
    let mut stdin = standing.process.stdin();
    let (mute, is_kept) = (standing.is_mute(), standing.work.is_some());
    let mut escapes = Escapes::new(standing.escape, is_kept);
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut bytes = vec![0; CHUNK];
        loop {
            let typed = match from.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) if is_terminal => return drop(news.send(News::Gone)),
                Ok(0) | Err(_) if is_kept => return,
                Ok(0) | Err(_) => return drop(stdin.close()),
                Ok(count) if is_terminal => escapes.take(&bytes[..count]),
                Ok(count) => vec![Typed::Keys(bytes[..count].to_vec())],
            };
            for typed in typed {
                let Typed::Keys(keys) = typed else {
                    drop(news.send(News::Typed(typed)));
                    continue;
                };
                if mute {
                    // there is nobody to get it but us
                    if keys.contains(&CTRL_C) {
                        drop(news.send(News::Typed(Typed::Leave)));
                    }
                    continue;
                }
                let interrupts = keys.iter().filter(|key| **key == CTRL_C).count();
                if is_terminal && interrupts > 0 {
                    drop(news.send(News::Interrupts(interrupts)));
                }
                // what answers old output is no key
                if !live.load(Ordering::SeqCst) {
                    continue;
                }
                if stdin.write_all(&keys).is_err() {
                    // its end comes as news of its own; until then escapes are listened to
                    break;
                }
            }
        }
    })?;
    Ok(())
}

fn pass_signals(mut signals: Signals, news: Sender<News>) -> io::Result<()> {
    thread::Builder::new().name("signals".into()).spawn(move || {
        for number in signals.forever() {
            if news.send(News::Signal(number)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

fn pass_events(process: &Process, news: Sender<News>) -> io::Result<()> {
    let events = process.events();
    thread::Builder::new().name("events".into()).spawn(move || {
        for event in events {
            if news.send(News::Process(event)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
