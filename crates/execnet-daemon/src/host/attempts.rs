//! A host's attempts to join: where it stands, and when the next step is due. Pure: takes the time, starts
//! nothing.
//!
//! ```text
//! ViaDown ⇄ Queued → Linked: Connecting → Up
//!              ↑                ↓    ↘     ↓
//!              └── Waiting ←────┴── Ending ┘
//! ```
//!
//! A link carried by a process beside the daemon is ending until that process is over. A tunnel is over at
//! once.

use std::time::Duration;

use execnet_proto::control::HostState;

use super::link::{Link, Stage};

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The longest delay when only a person can help. Servers lock out accounts that are refused often.
const LAST_REFUSED: Duration = Duration::from_secs(600);

/// A link that lasted this long was good, however it ended: the next retry is soon again. Nothing else a host
/// does shortens the delay, so a host that greets and ends at once does not get a login every second.
const LASTED: Duration = Duration::from_secs(10);

/// The least time a first attempt gives the agent to greet.
pub(crate) const SHORTEST: Duration = Duration::from_secs(30);

/// How often that time is doubled at most.
const DOUBLED: u32 = 4;

/// After its greeting an agent has this long to tell of all its nodes.
const SETTLE: Duration = Duration::from_secs(90);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Attempts {
    phase: Phase,
    ever_up: bool,
    failed: bool,
    settled: bool,
    failures: u32,
    /// How many of the last failures in a row need a person.
    refusals: u32,
    /// Attempts since somebody last waited who can answer questions.
    tries: u32,
    /// Attempts that were too short. A good one that did not need the extra time takes them back.
    timeouts: u32,
    /// Somebody waits for the current attempt, or for the next one.
    awaited: bool,
    /// Another attempt follows at once, and may ask questions.
    again: bool,
}

#[derive(Debug)]
enum Phase {
    /// The host in front of it is not reachable.
    ViaDown,
    /// Waits for its turn at the server.
    Queued,
    /// Has a link: connecting, up or ending.
    Linked(Link),
    /// Waits for the next attempt.
    Waiting { until: Duration },
}

impl Attempts {
    /// A host that was not tried yet.
    pub(crate) fn new(via_is_up: bool) -> Self {
        let phase = if via_is_up { Phase::Queued } else { Phase::ViaDown };
        Self {
            phase,
            ever_up: false,
            failed: false,
            settled: false,
            failures: 0,
            refusals: 0,
            tries: 0,
            timeouts: 0,
            awaited: false,
            again: false,
        }
    }

    /// Its state, as users see it. `reachable`: its link and all links beneath it are up.
    pub(crate) fn state(&self, reachable: bool) -> HostState {
        match self {
            _ if reachable => HostState::Up,
            Self { ever_up: true, .. } => HostState::Unreachable,
            // somebody waits for this attempt and may be asked something: the last result is out of date
            Self { failed: true, awaited: false, .. } => HostState::Failed,
            _ => HostState::Joining,
        }
    }

    /// Whether it may connect as soon as it is its turn.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Queued)
    }

    /// Its link, until whatever carries the link is over.
    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// Its link, to change it.
    pub(crate) fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// Whether its agent has not greeted yet on the current link.
    pub(crate) fn is_connecting(&self) -> bool {
        self.link().is_some_and(|link| !link.is_up())
    }

    /// Whether its agent has greeted on the current link.
    pub(crate) fn is_up(&self) -> bool {
        self.link().is_some_and(Link::is_up)
    }

    /// Whether several attempts in a row failed.
    pub(crate) fn fail_again(&self) -> bool {
        self.failures > 1
    }

    /// Whether its agent ever greeted.
    pub(crate) fn was_ever_up(&self) -> bool {
        self.ever_up
    }

    /// Whether nothing new is expected of it for now: it failed, or has told of all its nodes.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled || (!self.ever_up && self.failed && !self.awaited) || (self.ever_up && !self.is_up())
    }

    /// Whether somebody waits for an attempt that is not over.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Whether this is the first attempt since somebody came who can answer questions.
    pub(crate) fn is_first_attempt(&self) -> bool {
        self.tries <= 1
    }

    /// How often the time of the first attempt is doubled for the next one.
    pub(crate) fn doubled(&self) -> u32 {
        self.timeouts
    }

    /// It is its turn: this link starts.
    pub(crate) fn connect(&mut self, link: Link) {
        self.phase = Phase::Linked(link);
        self.tries += 1;
    }

    /// The current attempt was too short.
    pub(crate) fn too_short(&mut self) {
        self.timeouts = (self.timeouts + 1).min(DOUBLED);
    }

    /// A person is being asked: no deadline.
    pub(crate) fn hold(&mut self) {
        if let Some(Stage::Connecting { deadline }) = self.stage_mut() {
            *deadline = None;
        }
    }

    /// The person has answered: the deadline is back.
    pub(crate) fn release(&mut self, now: Duration, patience: Duration) {
        if let Some(Stage::Connecting { deadline }) = self.stage_mut() {
            *deadline = Some(now + patience);
        }
    }

    /// Its agent has greeted.
    pub(crate) fn greeted(&mut self, now: Duration) {
        let Phase::Linked(link) = &mut self.phase else { return };
        let needed = 2 * now.saturating_sub(link.since);
        while self.timeouts > 0 && SHORTEST * (1 << (self.timeouts - 1)) >= needed {
            self.timeouts -= 1;
        }
        (link.stage, link.since) = (Stage::Up, now);
        link.token = None;
        self.ever_up = true;
        self.settled = false;
        self.awaited = false;
        self.again = false;
    }

    /// Its agent has told of all its nodes.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    /// The ending link was up but carried nothing: how long it lasted does not count.
    pub(crate) fn was_useless(&mut self, now: Duration) {
        if let Some(link) = self.link_mut() {
            link.since = now;
        }
    }

    /// Its link ended, or could not be opened. `jitter` is between 0 and 1; `refused`: only a person can
    /// help.
    pub(crate) fn ended(&mut self, now: Duration, jitter: f64, refused: bool) {
        if self.link().is_some_and(|link| link.is_up() && now.saturating_sub(link.since) >= LASTED) {
            self.failures = 0;
        }
        let (first, times, last) = if refused {
            (LAST_RETRY, self.refusals, LAST_REFUSED)
        } else {
            (FIRST_RETRY, self.failures, LAST_RETRY)
        };
        let until = now + (first * (1 << times.min(6))).mul_f64(0.8 + 0.4 * jitter).min(last);
        self.failures += 1;
        self.refusals = if refused { self.refusals + 1 } else { 0 };
        self.failed = true;
        self.settled = false;
        self.phase = Phase::Waiting { until };
        self.awaited = false;
        if std::mem::take(&mut self.again) {
            self.retry(now);
        }
    }

    /// The host in front of it came or went while this one has no link.
    pub(crate) fn via(&mut self, is_up: bool) {
        match &self.phase {
            Phase::ViaDown if is_up => {
                self.phase = Phase::Queued;
                self.failed &= self.tries > 0;
            }
            Phase::Queued | Phase::Waiting { .. } if !is_up => {
                self.phase = Phase::ViaDown;
                self.awaited = false;
            }
            _ => {}
        }
    }

    /// The host in front of it failed, and this one with it until that changes.
    pub(crate) fn fail_with_via(&mut self) {
        self.failed = true;
    }

    /// Tries again now.
    pub(crate) fn hurry(&mut self) {
        if let Phase::Waiting { .. } = self.phase {
            self.phase = Phase::Queued;
            self.refusals = 0;
        }
    }

    /// Somebody waits who can answer questions: tries once more as if for the first time.
    pub(crate) fn retry(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::ViaDown => return,
            Phase::Waiting { .. } | Phase::Queued => {
                self.phase = Phase::Queued;
                self.tries = 0;
                self.refusals = 0;
            }
            Phase::Linked(link) if link.is_up() => return,
            Phase::Linked(_) if self.tries <= 1 => {}
            Phase::Linked(link) => {
                // it may have waited long already, for a host that does not answer
                if let Stage::Connecting { deadline: Some(deadline) } = &mut link.stage {
                    *deadline = (*deadline).min(now + SHORTEST);
                }
                self.again = true;
            }
        }
        self.awaited = true;
    }

    /// The current attempt fails for a reason that is gone afterwards. If it is the first one, another
    /// follows at once; a host that lies about the reason waits like all others.
    pub(crate) fn once_more(&mut self) {
        if self.failures == 0 {
            self.again = true;
            self.awaited = true;
        }
    }

    /// Its link is about to be ended, and to be opened again at once.
    pub(crate) fn renew(&mut self, now: Duration) {
        self.was_useless(now);
        self.failures = 0;
        self.settled = false;
        self.awaited = true;
        self.again = true;
    }

    /// Time has passed. True when its agent should have greeted by now.
    pub(crate) fn tick(&mut self, now: Duration) -> bool {
        match &mut self.phase {
            Phase::Waiting { until } if now >= *until => self.phase = Phase::Queued,
            Phase::Linked(link) => match &mut link.stage {
                Stage::Connecting { deadline } => return deadline.take_if(|at| now >= *at).is_some(),
                Stage::Up => self.settled |= now >= link.since + SETTLE,
                Stage::Ending { .. } => {}
            },
            _ => {}
        }
        false
    }

    /// When [`Attempts::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Linked(link) => match link.stage {
                Stage::Connecting { deadline } => deadline,
                Stage::Up if !self.settled => Some(link.since + SETTLE),
                _ => None,
            },
            Phase::ViaDown | Phase::Queued => None,
        }
    }

    /// Drops the link of a host that leaves the network. No other link follows.
    pub(crate) fn drop_link(&mut self) {
        self.phase = Phase::Queued;
    }

    fn stage_mut(&mut self) -> Option<&mut Stage> {
        self.link_mut().map(|link| &mut link.stage)
    }

    /// Whether it may be reachable before `until`, as far as its own link decides. Asked while it is
    /// unreachable.
    pub(crate) fn may_come(&self, until: Duration) -> bool {
        self.retry_at().is_none_or(|at| at < until)
    }

    /// Somebody needs it now: skips the delay if an attempt costs nobody anything.
    pub(crate) fn is_needed(&mut self) {
        if self.refusals == 0 {
            self.hurry();
        }
    }

    /// When the next attempt is due.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
