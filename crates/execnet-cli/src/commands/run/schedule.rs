//! Which host runs when, for how long, and how it is ended. Pure: times are arguments.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use execnet::Signal;

/// Between SIGTERM and SIGKILL.
const KILL: Duration = Duration::from_secs(5);

/// Between SIGKILL and the moment at which a host is no longer waited for.
const DEAD: Duration = Duration::from_secs(1);

/// How long processes may take to end after Ctrl-C. Then they are hung up.
const INTERRUPTED: Duration = Duration::from_millis(600);

/// Hosts by number, from 0 on. At most `fanout` run at a time, for at most `timeout`.
pub(super) struct Schedule {
    waiting: VecDeque<usize>,
    running: BTreeMap<usize, Running>,
    fanout: usize,
    timeout: Option<Duration>,
    /// Why no more hosts are started.
    over: Option<Why>,
    closed: bool,
    steps: Vec<Step>,
}

/// Why a process is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It ran longer than `timeout`.
    TimedOut,
    /// Another host failed.
    FailFast,
    /// The command itself is ended.
    Interrupted,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Start(usize),
    Signal(usize, Signal),
    /// It did not end in time: hang it up, and wait for it no longer.
    LetGo(usize, Why),
}

#[derive(Debug)]
struct Running {
    since: Instant,
    ending: Option<(Why, Next, Instant)>,
}

/// What follows if it does not end.
#[derive(Clone, Copy, Debug)]
enum Next {
    Kill,
    LetGo,
}

impl Schedule {
    pub(super) fn new(hosts: usize, fanout: usize, timeout: Option<Duration>) -> Self {
        Self {
            waiting: (0..hosts).collect(),
            running: BTreeMap::new(),
            fanout,
            timeout,
            over: None,
            closed: false,
            steps: Vec::new(),
        }
    }

    /// What is to be done now.
    pub(super) fn steps(&mut self, now: Instant) -> Vec<Step> {
        let mut gone = Vec::new();
        for (&host, running) in &mut self.running {
            let late = self.timeout.filter(|timeout| now >= running.since + *timeout);
            if running.ending.is_none() && late.is_some() {
                running.ending = Some((Why::TimedOut, Next::Kill, now + KILL));
                self.steps.push(Step::Signal(host, Signal::Term));
            }
            if let Some((why, next, at)) = &mut running.ending
                && now >= *at
            {
                match next {
                    Next::Kill => {
                        self.steps.push(Step::Signal(host, Signal::Kill));
                        (*next, *at) = (Next::LetGo, now + DEAD);
                    }
                    Next::LetGo => gone.push((host, *why)),
                }
            }
        }
        for (host, why) in gone {
            self.running.remove(&host);
            self.steps.push(Step::LetGo(host, why));
        }
        // one that ran too long keeps its slot no longer
        let on_time = self.running.values().filter(|running| running.ending.is_none()).count();
        let free = if self.starts_no_more() { 0 } else { self.fanout.saturating_sub(on_time) };
        for host in self.waiting.drain(..free.min(self.waiting.len())) {
            self.running.insert(host, Running { since: now, ending: None });
            self.steps.push(Step::Start(host));
        }
        std::mem::take(&mut self.steps)
    }

    /// When [`Schedule::steps`] has something to do that nobody tells.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.running.values().filter_map(|running| match running.ending {
            Some((_, _, at)) => Some(at),
            None => self.timeout.map(|timeout| running.since + timeout),
        });
        next.min()
    }

    /// A process is over. Returns why it was ended, if it was.
    pub(super) fn over(&mut self, host: usize) -> Option<Why> {
        self.running.remove(&host)?.ending.map(|(why, ..)| why)
    }

    /// A host failed, and the others are not wanted any more: no more start, and those that run get SIGTERM,
    /// and SIGKILL 5 s later.
    pub(super) fn fail_fast(&mut self, now: Instant) {
        if self.over.is_none() {
            self.over = Some(Why::FailFast);
            self.end(Why::FailFast, Signal::Term, Next::Kill, now + KILL);
        }
    }

    /// The command is to end, within a second: those that run get this signal, then they are let go.
    pub(super) fn interrupt(&mut self, signal: Signal, now: Instant) {
        if self.over != Some(Why::Interrupted) {
            self.over = Some(Why::Interrupted);
            self.end(Why::Interrupted, signal, Next::LetGo, now + INTERRUPTED);
        }
    }

    /// Hosts that have not started.
    pub(super) fn not_run(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().copied()
    }

    /// Whether nothing runs and nothing will.
    pub(super) fn is_done(&self) -> bool {
        self.running.is_empty() && self.steps.is_empty() && (self.waiting.is_empty() || self.starts_no_more())
    }

    /// Those that run go on, and no others are started.
    pub(super) fn start_no_more(&mut self) {
        self.closed = true;
    }

    /// Whether it was started and is not over.
    pub(super) fn is_running(&self, host: usize) -> bool {
        self.running.contains_key(&host)
    }

    fn starts_no_more(&self) -> bool {
        self.closed || self.over.is_some()
    }

    fn end(&mut self, why: Why, signal: Signal, next: Next, at: Instant) {
        for (&host, running) in &mut self.running {
            let before = running.ending.map(|(why, ..)| why);
            if before.is_none() || why == Why::Interrupted {
                self.steps.push(Step::Signal(host, signal));
                // that it ran too long remains the reason
                running.ending = Some((before.unwrap_or(why), next, at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn started(steps: &[Step]) -> Vec<usize> {
        steps
            .iter()
            .filter_map(|step| if let Step::Start(host) = step { Some(*host) } else { None })
            .collect()
    }

    #[test]
    fn a_slot_is_free_when_a_process_is_over_or_runs_too_long() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(5, 2, Some(10 * SECOND));
        assert_eq!(schedule.steps(begin), [Step::Start(0), Step::Start(1)]);
        assert!(schedule.steps(begin).is_empty());
        assert_eq!(schedule.over(1), None);
        assert_eq!(schedule.steps(begin + SECOND), [Step::Start(2)]);
        assert_eq!(schedule.deadline(), Some(begin + 10 * SECOND));
        let late = schedule.steps(begin + 10 * SECOND);
        assert_eq!(late, [Step::Signal(0, Signal::Term), Step::Start(3)]);
        assert_eq!(schedule.over(2), None);
        assert_eq!(schedule.over(3), None);
        assert_eq!(started(&schedule.steps(begin + 11 * SECOND)), [4]);
        assert_eq!(schedule.over(4), None);
        assert_eq!(schedule.deadline(), Some(begin + 15 * SECOND));
        assert_eq!(schedule.steps(begin + 15 * SECOND), [Step::Signal(0, Signal::Kill)]);
        assert!(!schedule.is_done());
        assert_eq!(schedule.steps(begin + 16 * SECOND), [Step::LetGo(0, Why::TimedOut)]);
        assert!(schedule.is_done());
    }

    #[test]
    fn a_failure_ends_the_others_and_starts_no_more() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(9, 3, None);
        schedule.steps(begin);
        assert_eq!((schedule.over(0), schedule.deadline()), (None, None));
        schedule.fail_fast(begin);
        schedule.fail_fast(begin);
        assert_eq!(schedule.steps(begin), [1, 2].map(|host| Step::Signal(host, Signal::Term)));
        assert_eq!(schedule.over(1), Some(Why::FailFast));
        assert_eq!(schedule.not_run().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8]);
        assert_eq!(schedule.steps(begin + KILL), [Step::Signal(2, Signal::Kill)]);
        assert_eq!(schedule.steps(begin + KILL + DEAD), [Step::LetGo(2, Why::FailFast)]);
        assert!(schedule.is_done());
    }

    #[test]
    fn those_that_run_go_on_if_no_more_are_to_start() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(3, 1, None);
        schedule.steps(begin);
        schedule.start_no_more();
        assert!(schedule.is_running(0) && !schedule.is_running(1) && !schedule.is_done());
        schedule.over(0);
        assert!(schedule.steps(begin).is_empty() && schedule.is_done());
        assert_eq!(schedule.not_run().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn ctrl_c_waits_for_nobody_longer_than_a_second() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(3, 2, Some(SECOND));
        schedule.steps(begin);
        schedule.steps(begin + SECOND);
        schedule.interrupt(Signal::Int, begin + 2 * SECOND);
        let steps = schedule.steps(begin + 2 * SECOND);
        assert_eq!(steps, [0, 1, 2].map(|host| Step::Signal(host, Signal::Int)));
        assert_eq!(schedule.over(0), Some(Why::TimedOut), "why it is ended does not change");
        let steps = schedule.steps(begin + 2 * SECOND + INTERRUPTED);
        assert_eq!(steps, [Step::LetGo(1, Why::TimedOut), Step::LetGo(2, Why::Interrupted)]);
        assert!(schedule.is_done());
    }

    proptest! {
        #[test]
        fn every_host_runs_once_and_no_more_than_the_fanout_at_a_time(
            hosts in 0_usize..40,
            fanout in 1_usize..9,
            ends in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let begin = Instant::now();
            let mut schedule = Schedule::new(hosts, fanout, None);
            let (mut running, mut ran) = (Vec::new(), Vec::new());
            for end in ends {
                running.extend(started(&schedule.steps(begin)));
                prop_assert!(running.len() <= fanout);
                prop_assert!(running.len() == fanout || ran.len() + running.len() == hosts);
                if !running.is_empty() {
                    let host = running.remove(end.index(running.len()));
                    prop_assert_eq!(schedule.over(host), None);
                    ran.push(host);
                }
            }
            ran.sort_unstable();
            prop_assert_eq!(ran, (0..hosts).collect::<Vec<_>>());
            prop_assert!(schedule.is_done());
        }
    }
}
