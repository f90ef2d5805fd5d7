//! Compares what programs saw with what really happened.

use execnet_proto::kept::Policy;
use execnet_proto::wire::{Ending, Stream};

use super::{PATIENCE, World};
use crate::plan::Behaviour;
use crate::program::{End, Outcome, Part, Special};

impl World {
    /// Compares how a process ended for its client with what really happened.
    pub(super) fn judge(&mut self, outcome: &Outcome) {
        if let Some(special) = &outcome.special {
            let name = self.judge_special(outcome, special);
            *self.outcomes.entry(name).or_default() += 1;
            return;
        }
        let id = outcome.id;
        let host = self.hosts.get(&outcome.host);
        let truth = host.and_then(|host| host.truths.get(&id));
        let name = match &outcome.end {
            End::HungUp => "hung up",
            End::Lost(message) => self.judge_loss(outcome, message),
            End::Ended(ending) => {
                let truth = truth.unwrap_or_else(|| panic!("{id} ended, but never ran"));
                assert_eq!(truth.ending.as_ref(), Some(ending), "{outcome:?}");
                for stream in [Stream::Stdout, Stream::Stderr] {
                    let index = stream.index() - 1;
                    if !outcome.stopped[index] {
                        assert_eq!(outcome.read[index], truth.written[index], "{stream:?} of {outcome:?}");
                    }
                }
                judge_behaviour(outcome, truth);
                "ended"
            }
        };
        *self.outcomes.entry(name).or_default() += 1;
    }

    /// The same for kept work and its readers.
    fn judge_special(&self, outcome: &Outcome, special: &Special) -> &'static str {
        let host = self.hosts.get(&outcome.host);
        let source = if let Part::Reader(source, _) = &special.role { *source } else { outcome.id };
        let truth = host.and_then(|host| host.truths.get(&source));
        for index in 0..2 {
            let missing: u64 = outcome.gaps[index].iter().map(|(from, to)| to - from).sum();
            let seen = outcome.at[index] - outcome.begin[index];
            assert_eq!(outcome.read[index] + missing, seen, "{outcome:?}");
        }
        match &outcome.end {
            End::HungUp => match special.role {
                Part::Reader(..) => "reader left",
                _ => "kept work left",
            },
            End::Lost(message) => self.judge_special_loss(outcome, special, message),
            End::Ended(Ending::NotStarted(0, _)) => match special.role {
                Part::Reader(..) => "nothing to read",
                _ => "name taken",
            },
            End::Ended(ending) => {
                let truth = truth.unwrap_or_else(|| panic!("{outcome:?} ended, but never ran"));
                if truth.ending.is_none() && outcome.stopped != [false; 2] {
                    // its source has ended, and what this reader does not want is still read there
                    assert!(matches!(special.role, Part::Reader(..)), "{outcome:?}");
                    return "reader ended";
                }
                assert_eq!(truth.ending.as_ref(), Some(ending), "{outcome:?}");
                for index in 0..2 {
                    if !outcome.stopped[index] {
                        assert_eq!(outcome.at[index], truth.written[index], "{outcome:?}");
                    }
                    self.judge_gaps(outcome, special, index, truth.written[index]);
                }
                match special.role {
                    Part::Reader(..) => "reader ended",
                    Part::Taker => "taken work ended",
                    Part::Starter(_) => "kept work ended",
                }
            }
        }
    }

    /// Only what the policy allows is missing.
    fn judge_gaps(&self, outcome: &Outcome, special: &Special, index: usize, written: u64) {
        let gaps = &outcome.gaps[index];
        match (special.policies[index], &special.role) {
            (Policy::Wait, Part::Starter(_)) => assert_eq!(gaps[..], [], "{outcome:?}"),
            // what an earlier holder has got
            (Policy::Wait, Part::Taker) => {
                assert!(gaps.iter().all(|(from, _)| *from == outcome.begin[index]), "{outcome:?}");
            }
            (Policy::Wait, Part::Reader(..)) => {}
            (Policy::Last(bytes) | Policy::Spill(bytes), _) => {
                // a reader skips first what it does not want, and at last what went with the record
                let is_reader = matches!(special.role, Part::Reader(..));
                let may = |from: u64, to: u64| is_reader && (from == 0 || to == written);
                let fits = |&(from, to): &(u64, u64)| to + bytes <= written || may(from, to);
                assert!(gaps.iter().all(fits), "{written} {outcome:?}");
            }
        }
    }

    fn judge_special_loss(&self, outcome: &Outcome, special: &Special, message: &str) -> &'static str {
        let host = &self.hosts[&outcome.host];
        let replaced = outcome.incarnation.is_some_and(|incarnation| host.dead.contains(&incarnation));
        let gone = replaced || host.ended(outcome.id).is_some();
        let (name, justified) = if message.starts_with("taken over by ") {
            let of_reader = matches!(special.role, Part::Reader(..));
            let mut takes = self.takes.iter();
            let took = takes.any(|(id, by)| *id == outcome.id && *by != outcome.client);
            ("lost: taken over", !of_reader && took)
        } else if message.contains("was replaced by a new one") {
            ("lost: another agent", replaced)
        } else if message.contains("removed from the network") || message.contains("no longer in the network")
        {
            ("lost: removed", self.removed.contains(&outcome.host))
        } else if message.contains("does not know `keep`") || message.contains("keeps no work") {
            ("lost: cannot keep", !host.resume)
        } else if message.contains("cannot resume") {
            ("lost: cannot resume", !host.resume)
        } else if message.contains("for 70 s") {
            // one that was claimed before it was certain that it is kept
            let away = self.gaps.get(&outcome.host).is_some_and(|gap| *gap >= PATIENCE);
            ("lost: away", away && !matches!(special.role, Part::Taker))
        } else if message.contains("no longer has it")
            || message.contains("keeps nothing with this id")
            || message.contains("was hung up when its client went away")
        {
            ("lost: forgotten", gone || host.forgot(outcome.id) || self.removed.contains(&outcome.host))
        } else if message.contains("no longer keeps this")
            || message.contains("its time was over")
            || message.contains("is over")
            || message.contains("was ended on")
            || message.contains("is being ended")
            || message.contains("was given to something else")
        {
            ("lost: no longer kept", gone || self.asked_to_end.contains(&outcome.id))
        } else {
            ("lost", false)
        };
        assert!(justified, "lost without a reason: {message}: {outcome:?}\n{}", self.dump());
        name
    }

    fn judge_loss(&self, outcome: &Outcome, message: &str) -> &'static str {
        let host = &self.hosts[&outcome.host];
        let replaced = outcome.incarnation.is_some_and(|incarnation| host.dead.contains(&incarnation));
        let (name, justified) = if message.contains("for 70 s") {
            ("lost: away", self.gaps.get(&outcome.host).is_some_and(|gap| *gap >= PATIENCE))
        } else if message.contains("was replaced by a new one") {
            ("lost: another agent", replaced)
        } else if message.contains("cannot resume") {
            ("lost: cannot resume", !host.resume)
        } else if message.contains("no longer has it") {
            // an agent that keeps work ends only the rest
            let ended = host.ended(outcome.id).is_some();
            ("lost: forgotten", replaced || ended || host.forgot(outcome.id))
        } else if message.contains("removed from the network") || message.contains("no longer in the network")
        {
            ("lost: removed", self.removed.contains(&outcome.host))
        } else {
            ("lost", false)
        };
        assert!(justified, "lost without a reason: {message}: {outcome:?}\n{}", self.dump());
        name
    }
}

/// Checks what a process of each behaviour must have done when it ended by itself.
fn judge_behaviour(outcome: &Outcome, truth: &crate::host::Truth) {
    let Some(ending) = &truth.ending else { return };
    let whole = outcome.stopped == [false; 2];
    match (&outcome.behaviour, ending) {
        (Behaviour::Echo, Ending::Exited(status)) => {
            assert_eq!(
                (*status, truth.read, truth.written[0]),
                (0, outcome.written, truth.read),
                "{outcome:?}"
            );
            assert!(outcome.closed);
        }
        (Behaviour::Source { out, err, status }, Ending::Exited(found)) => {
            assert_eq!((status, [*out, *err]), (found, truth.written), "{outcome:?}");
        }
        (Behaviour::Sink { status }, Ending::Exited(found)) => {
            assert_eq!((status, outcome.written), (found, truth.read), "{outcome:?}");
        }
        (Behaviour::Closer { after, status }, Ending::Exited(found)) => {
            assert_eq!((status, (*after).min(outcome.written)), (found, truth.read), "{outcome:?}");
        }
        (Behaviour::Mortal { .. } | Behaviour::Stubborn, Ending::Signaled(9))
        | (Behaviour::Missing, Ending::NotStarted(2, _)) => {}
        (Behaviour::Signals, Ending::Signaled(15)) => {
            // every requested signal was applied, none more often than it was requested
            let applied = truth.signals.iter().fold(0, |mask, number| mask | 1_u64 << number);
            assert_eq!(applied, outcome.signals, "{outcome:?}");
            // the last size was set, and none came back
            assert_eq!(truth.sizes.last(), outcome.size.as_ref(), "{outcome:?}");
        }
        (_, Ending::Signaled(13)) => assert!(!whole, "{outcome:?}"),
        _ => panic!("{outcome:?} ended as {truth:?}"),
    }
}
