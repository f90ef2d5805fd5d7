//! The loop: does what the schedule says, and tells it and the display what happened on hosts.

use std::io;
use std::time::Instant;

use execnet::{KeptName, News, ProcessBuilder, Processes, StartError};
use execnet_proto::spec::NetworkName;

use super::outcome::Outcome;
use super::schedule::{Schedule, Step, Why};
use super::show::Show;
use super::signals::Ends;
use crate::commands::feed::{Feed, Next};
use crate::commands::folded::Side;
use crate::commands::kept::{Work, gone};
use crate::connection;
use crate::print::say;

/// All that one run consists of.
pub(super) struct Drive {
    pub(super) processes: Processes,
    pub(super) schedule: Schedule,
    pub(super) show: Show,
    /// Our stdin, if hosts get it.
    pub(super) feed: Option<Feed>,
    pub(super) ends: Ends,
    /// What to run, on any host.
    pub(super) builder: ProcessBuilder,
    pub(super) timeout: std::time::Duration,
    pub(super) fail_fast: bool,
    /// The highest exit status so far.
    pub(super) worst: u8,
    /// Their ids. Everything else knows them by their place here.
    pub(super) hosts: Vec<String>,
    /// The network, and the name under which it is kept.
    pub(super) kept: Option<(NetworkName, KeptName)>,
}

impl Drive {
    /// Runs it everywhere. Returns the exit status of the command.
    ///
    /// # Errors
    /// If long answers cannot be read back, or no host can run such a command.
    pub(super) fn run(&mut self, left_out: &[(String, String)]) -> io::Result<u8> {
        for (host, why) in left_out {
            let outcome = Outcome::Unreached(why.clone());
            self.worst = self.worst.max(outcome.code());
            self.show.not_started(host, &outcome)?;
        }
        loop {
            if let Some(signal) = self.ends.came() {
                self.schedule.interrupt(signal, Instant::now());
            }
            for signal in self.ends.passed() {
                for host in 0..self.hosts.len() {
                    self.processes.signal(host, signal);
                }
            }
            for step in self.schedule.steps(Instant::now()) {
                self.step(step)?;
            }
            if self.schedule.is_done() {
                break;
            }
            let due = [self.schedule.deadline(), self.show.deadline()].into_iter().flatten().min();
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            for (host, news) in self.processes.wait(timeout).map_err(io::Error::other)? {
                self.news(host, news)?;
            }
            self.feed_again()?;
            self.show.turn()?;
        }
        self.ends.all_let_go();
        for host in self.schedule.not_run().collect::<Vec<_>>() {
            self.show.not_started(&self.hosts[host], &Outcome::NotRun)?;
        }
        self.show.end()?;
        Ok(self.worst)
    }

    fn step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Start(host) => {
                self.show.ask(&self.hosts[host]);
                match self.start(host) {
                    Ok(()) => Ok(()),
                    // what no host can run
                    Err(error @ (StartError::TooLong { .. } | StartError::Invalid { .. })) => {
                        Err(io::Error::other(error))
                    }
                    Err(error) => self.ended(host, &Outcome::Unreached(unplaced(&self.hosts[host], &error))),
                }
            }
            Step::Signal(host, signal) => {
                if self.processes.signal(host, signal) {
                    return Ok(());
                }
                // it is still on its way there, and will not be started any more
                self.processes.release(host);
                self.ended(host, &Outcome::Unreached("was not reached in time".to_owned()))
            }
            Step::LetGo(host, why) => {
                self.processes.release(host);
                self.over(host, &self.ended_by(why))
            }
        }
    }

    fn start(&mut self, host: usize) -> Result<(), StartError> {
        loop {
            let builder = self.builder.clone().host(&self.hosts[host]);
            match self.processes.start(host, builder) {
                // by our stdin or a signal; the loop looks after both
                Err(StartError::Interrupted) => {}
                result => return result,
            }
        }
    }

    fn news(&mut self, host: usize, news: News) -> io::Result<()> {
        match news {
            News::Placed if self.feed.is_some() => self.processes.feed(host, true),
            News::Placed => self.processes.close_stdin(host),
            News::NotStarted(error) => {
                let why = unplaced(&self.hosts[host], &error);
                self.ended(host, &Outcome::Unreached(why))?;
            }
            News::Stdout(bytes) => self.output(host, Side::Out, &bytes)?,
            News::Stderr(bytes) => self.output(host, Side::Err, &bytes)?,
            News::Room => self.feed(host)?,
            News::StdinClosed => {
                self.processes.feed(host, false);
                self.feed.iter_mut().for_each(|feed| feed.done(host));
            }
            News::Started(pid) => {
                if let (Some((network, name)), Some(process)) = (&self.kept, self.processes.process(host)) {
                    Work::new(network, name.as_str(), process.node()).tell_started(Some(pid));
                }
            }
            News::StdoutGone(bytes) => say(&format!("{}: {}", self.hosts[host], gone(bytes, "stdout"))),
            News::StderrGone(bytes) => say(&format!("{}: {}", self.hosts[host], gone(bytes, "stderr"))),
            News::Ended(status) => self.ended(host, &Outcome::Ended(status))?,
            News::Lost(lost) => self.ended(host, &Outcome::Unreached(lost.message))?,
            _ => {}
        }
        Ok(())
    }

    /// A host wrote something.
    fn output(&mut self, host: usize, side: Side, bytes: &[u8]) -> io::Result<()> {
        for (name, why) in self.show.output(&self.hosts[host], side, bytes) {
            if let Some(host) = self.hosts.iter().position(|host| *host == name) {
                self.break_off(host, why)?;
            }
        }
        Ok(())
    }

    /// Hangs up what runs on a host, because something failed here.
    fn break_off(&mut self, host: usize, why: String) -> io::Result<()> {
        self.processes.release(host);
        self.schedule.over(host);
        self.over(host, &Outcome::BrokenOff(why))
    }

    /// Writes more to the stdin of a host that has room.
    fn feed(&mut self, host: usize) -> io::Result<()> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        match feed.next(host) {
            Ok(Next::Bytes(bytes)) => {
                let taken = self.processes.write(host, &bytes);
                feed.taken(host, taken);
            }
            Ok(Next::Nothing) => self.processes.feed(host, false),
            Ok(Next::End) => {
                self.processes.feed(host, false);
                self.processes.close_stdin(host);
                feed.done(host);
            }
            Err(error) => return self.break_off(host, format!("cannot read back stdin: {error}")),
        }
        Ok(())
    }

    /// There may be more of our stdin for those that had all.
    fn feed_again(&mut self) -> io::Result<()> {
        let Some(feed) = &self.feed else { return Ok(()) };
        if feed.has_news() {
            for host in feed.readers() {
                self.processes.feed(host, true);
            }
        }
        // a part would look like all of it to them
        if let Some(why) = feed.failure() {
            self.schedule.start_no_more();
            for host in feed.readers() {
                if self.schedule.is_running(host) {
                    self.break_off(host, why.clone())?;
                }
            }
        }
        Ok(())
    }

    fn ended(&mut self, host: usize, outcome: &Outcome) -> io::Result<()> {
        match (self.schedule.over(host), outcome) {
            (Some(Why::Interrupted), Outcome::Ended(status)) if !outcome.is_fine() => {
                self.over(host, &Outcome::Interrupted(status.clone()))
            }
            (Some(why), _) if !outcome.is_fine() => self.over(host, &self.ended_by(why)),
            _ => self.over(host, outcome),
        }
    }

    fn ended_by(&self, why: Why) -> Outcome {
        match why {
            Why::TimedOut => Outcome::TimedOut(self.timeout),
            Why::FailFast => Outcome::EndedEarly,
            Why::Interrupted => Outcome::NotHeard,
        }
    }

    fn over(&mut self, host: usize, outcome: &Outcome) -> io::Result<()> {
        self.feed.iter_mut().for_each(|feed| feed.done(host));
        self.worst = self.worst.max(outcome.code());
        self.show.ended(&self.hosts[host], outcome)?;
        if self.fail_fast && outcome.is_failure() {
            self.schedule.fail_fast(Instant::now());
        }
        Ok(())
    }
}

/// Why a host was not reached, in the words of the daemon without the host's name.
fn unplaced(host: &str, error: &StartError) -> String {
    let StartError::NoMatch { message } = error else { return error.to_string() };
    let (why, _) = connection::advice(message);
    why.strip_prefix(&format!("the host {host} ")).unwrap_or(why).to_owned()
}
