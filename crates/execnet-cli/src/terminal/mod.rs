//! A process on a host that has our terminal: as `ssh -t`.
//!
//! [`on_terminal`] describes the process, [`stand_for`] passes keys, output, sizes and signals until it ends.
//! One thread decides; others wait for keys, output, signals and news of the process.

mod escapes;
mod modes;
mod options;
mod screen;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use execnet::{ExitStatus, Process, ProcessBuilder, ProcessEvent};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::raise;

use crate::error::{CommandError, CommandResult, Exit};
use crate::print::{self, say};
use crate::render::reason;
use crate::signals::stop_job;
use crate::stdio::OwnStream;
use crate::text::one_line;
use escapes::{EscapeKey, Escapes, HELP, Typed};
pub(crate) use options::TerminalOptions;
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
}

/// Why we stop standing for the process.
enum End {
    Process(ProcessEvent),
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
    let node = one_line(&process.node().name);
    let place = if node.is_empty() { one_line(&process.node().host) } else { node };
    let fail = |error: io::Error| CommandError::new(failure, "cannot use the terminal").because(&error);
    let (news_tx, news) = channel();
    let signals = [SIGWINCH, SIGCONT, SIGTSTP, SIGTERM, SIGHUP, SIGQUIT, SIGINT];
    let signals = Signals::new(signals).map_err(fail)?;
    let raw = Raw::take().map_err(fail)?;
    let output = show_output(process).map_err(fail)?;
    pass_keys(process, escape, news_tx.clone()).map_err(fail)?;
    pass_signals(signals, news_tx.clone()).map_err(fail)?;
    pass_events(process, news_tx).map_err(fail)?;
    let end = Attendance::new(process, escape).attend(&news);
    if let End::Process(ProcessEvent::Ended(_)) = end {
        let _ = output.join();
    }
    drop(raw);
    match end {
        End::Process(ProcessEvent::Ended(status)) => {
            let ExitStatus::NotStarted { message, .. } = &status else { return Ok(status.code().into()) };
            let refused = CommandError::new(failure, format!("cannot start {what} on `{place}`: {message}"));
            if failure == Exit::Python {
                return Err(refused);
            }
            print::error(&refused);
            Ok(status.code().into())
        }
        End::Process(ProcessEvent::Lost(lost)) => Err(CommandError::new(failure, lost)),
        End::Left => {
            say(&format!("\nexecnet: left; {what} on {place} is hung up"));
            Ok(status_of(SIGHUP))
        }
        End::Signal(number) => Ok(status_of(number)),
        End::Process(_) => Err(CommandError::new(failure, "the process is gone")),
    }
}

fn status_of(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

/// The thread that decides.
struct Attendance<'a> {
    process: &'a Process,
    escape: EscapeKey,
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
    fn new(process: &'a Process, escape: EscapeKey) -> Self {
        Self { process, escape, broken: None, interrupts: VecDeque::new() }
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
                Err(RecvTimeoutError::Disconnected) => Some(End::Left),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn handle(&mut self, news: News) -> Option<End> {
        match news {
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
                screen::notice(&HELP.map(|line| line.replace('~', &self.escape.shown())).join("\n"));
            }
            News::Typed(Typed::Keys(_)) => {}
            News::Interrupts(count) => return self.interrupted(count, Instant::now()),
            News::Signal(SIGCONT) => {
                screen::take_again();
                self.resize();
            }
            News::Signal(SIGWINCH) => self.resize(),
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
        let (rows, columns) = screen::size();
        // its end comes as news of its own
        let _ = self.process.resize(rows, columns);
    }

    fn tell(&mut self) {
        if let Some(broken) = &mut self.broken {
            broken.told = true;
            let host = &self.process.node().host;
            screen::notice(&format!(
                "execnet: {host} is unreachable: {}; keys wait; ^C three times within 2 s ends this",
                reason(host, &broken.why)
            ));
        }
    }

    fn back(&mut self) {
        if self.broken.take().is_some_and(|broken| broken.told) {
            if !screen::restore_title() {
                screen::notice(&format!("execnet: {} is reachable again", self.process.node().host));
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
        (self.interrupts.len() >= INTERRUPTS).then_some(End::Left)
    }
}

/// Shows the output, until its end or until nobody sees it.
fn show_output(process: &Process) -> io::Result<JoinHandle<()>> {
    let output = process.stdout();
    thread::Builder::new().name("output".into()).spawn(move || {
        while let Ok(bytes) = output.receive(CHUNK)
            && !bytes.is_empty()
        {
            if screen::write(&bytes).is_err() {
                // the process is hung up
                let _ = output.close();
                return;
            }
        }
    })
}

/// Passes what is typed. The thread may wait for keys that never come: nothing joins it.
fn pass_keys(process: &Process, escape: EscapeKey, news: Sender<News>) -> io::Result<()> {
    let is_terminal = io::stdin().is_terminal();
    let mut from = OwnStream::new(&io::stdin())?;
    let mut stdin = process.stdin();
    thread::Builder::new().name("keys".into()).spawn(move || {
        let mut escapes = Escapes::new(escape);
        let mut bytes = vec![0; CHUNK];
        loop {
            let typed = match from.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) if is_terminal => return drop(news.send(News::Gone)),
                Ok(0) | Err(_) => return drop(stdin.close()),
                Ok(count) if is_terminal => escapes.take(&bytes[..count]),
                Ok(count) => vec![Typed::Keys(bytes[..count].to_vec())],
            };
            for typed in typed {
                let Typed::Keys(keys) = typed else {
                    drop(news.send(News::Typed(typed)));
                    continue;
                };
                let interrupts = keys.iter().filter(|key| **key == CTRL_C).count();
                if is_terminal && interrupts > 0 {
                    drop(news.send(News::Interrupts(interrupts)));
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
