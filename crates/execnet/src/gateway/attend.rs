//! The two threads that each gateway has.
//!
//! One reads from the interpreter while nobody waits, and notices its end. The other forwards what it prints.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Ending};
use super::driver::{Condition, Driver, DriverState, Killed};
use super::error::Death;
use super::output::Printed;
use super::remote_error;
use crate::status::ExitStatus;
use crate::waiting::Room;

/// After somebody has read, nobody else needs to be woken for this long: the same thread will probably read
/// again.
const GRACE: Duration = Duration::from_millis(5);

/// How long an interpreter may take to end: after it closed its stdout, after it was told to end, after it
/// was killed.
const END: Duration = Duration::from_secs(3);
const EXIT: Duration = Duration::from_secs(20);
const KILLED: Duration = Duration::from_secs(10);

/// How long a host may take to confirm that it received EXIT or SIGKILL.
const HEARS: Duration = Duration::from_secs(2);

/// Once its host has been out of reach for this long, nobody waits for the end of a gateway that was told to
/// end: longer than most breaks, but shorter than the time after which breaks are reported. LOOK is how often
/// that is checked.
const AWAY: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(250);

/// How long the last output may arrive after the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reads while nobody waits, until the gateway has ended.
pub(super) fn attend(driver: &Driver, id: &str, printed: &Printed) {
    let mut state = driver.lock();
    loop {
        if !state.protocol.untold.is_empty() {
            let untold = std::mem::take(&mut state.protocol.untold);
            drop(state);
            untold.iter().for_each(|error| remote_error::tell(error));
            state = driver.lock();
            continue;
        }
        if let Some(reason) = &state.read_up {
            let (reason, exiting) = (reason.clone(), state.exiting);
            drop(state);
            return bury(driver, id, printed, reason, exiting);
        }
        let is_away = || driver.carrier.away_for().is_some_and(|time| time >= AWAY);
        if let Some(mut until) = state.leave_by {
            if is_away() {
                until = Instant::now();
            }
            if state.is_written() || Instant::now() >= until {
                let is_written = state.is_written();
                drop(state);
                let has_arrived = driver.carrier.leave(until);
                driver.lock().left_early = !(is_written && has_arrived);
                return bury(driver, id, printed, None, true);
            }
            state = driver.attendant.wait_timeout(state, GRACE).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let (deadline, leaving) = (state.kill_at, state.is_leaving());
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) || leaving && is_away() {
            kill(&mut state, &*driver.carrier);
            continue;
        }
        let look = (leaving && driver.carrier.node().is_some()).then(|| now + LOOK);
        let next = deadline.into_iter().chain(look).min();
        let left = next.map(|next| next.saturating_duration_since(now));
        let idle = state.left.elapsed();
        if state.wants_reader() && !state.has_waiters() && idle >= GRACE {
            state = driver.read_once(state, &Condition::Attend(deadline, leaving), next);
            continue;
        }
        let doze = state.wants_reader() && !state.has_waiters();
        state.attendant_rests = !doze;
        let most = if doze { Some(GRACE.saturating_sub(idle)) } else { left };
        state = match most {
            Some(most) => {
                driver.attendant.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
            }
            None => driver.attendant.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.attendant_rests = false;
    }
}

/// Takes the next step in killing the interpreter, and schedules the one after.
pub(super) fn kill(state: &mut DriverState, carrier: &dyn Carrier) {
    let asked = state.exited.is_some_and(|exited| exited.elapsed() >= HEARS);
    let deaf = || Killed::Left("its host does not answer".into());
    let (next, patience) = match (&state.killed, carrier.unreachable()) {
        (Killed::Left(_), _) => (state.killed.clone(), KILLED),
        (_, Some(why)) => (Killed::Left(why), KILLED),
        (Killed::No, None) if asked && !carrier.has_heard() => (deaf(), KILLED),
        (Killed::No, None) => (Killed::Told, HEARS),
        (Killed::Told, None) if carrier.has_heard() => (Killed::Heard, KILLED),
        (Killed::Told, None) => (deaf(), KILLED),
        (Killed::Heard, None) => (Killed::Left("it could not be killed".into()), KILLED),
    };
    match next {
        Killed::Told => carrier.kill(),
        // ends it for the threads that wait
        Killed::Left(_) => carrier.release(),
        Killed::Heard | Killed::No => {}
    }
    state.killed = next;
    state.kill_at = Some(Instant::now() + patience);
    state.touch();
}

/// Finds out how the interpreter ended, and ends all waits.
fn bury(driver: &Driver, id: &str, printed: &Printed, reason: Option<String>, exiting: bool) {
    let carrier = &driver.carrier;
    let is_entry = carrier.is_entry();
    let patience = match (&reason, exiting) {
        (Some(_), _) if is_entry => {
            carrier.release();
            Duration::ZERO
        }
        (Some(_), _) => {
            carrier.kill();
            carrier.close_output();
            KILLED
        }
        (None, true) => EXIT,
        (None, false) => END,
    };
    let ending = carrier.ending(patience).or_else(|| {
        if is_entry {
            return Some(Ending::Lost("its connection has ended; it may live on".into()));
        }
        carrier.kill();
        carrier.close_output();
        carrier.ending(KILLED)
    });
    let until = Instant::now() + LAST_WORDS;
    let mut state = driver.lock();
    while !state.errors_over {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        state = driver.attendant.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let left = match &state.killed {
        Killed::Left(why) => Some(format!("{why}; it ends as soon as its host is reachable")),
        _ => None,
    };
    drop(state);
    carrier.release();
    let (status, lost) = match (ending, left) {
        (Some(Ending::Status(status)), _) => (Some(status), None),
        (_, Some(left)) => (None, Some(left)),
        (Some(Ending::Lost(message)), None) => (None, Some(message)),
        (None, None) => (None, Some("it could not be killed".into())),
    };
    let not_started = matches!(status, Some(ExitStatus::NotStarted { .. }));
    let broke = reason.map(|reason| format!("its kernel broke the protocol: {reason}"));
    driver.bury(Death {
        gateway: id.to_owned(),
        node: carrier.node().map(|node| node.name.clone()),
        host: carrier.node().map(|node| node.host.clone()),
        status,
        reason: broke.or(lost),
        stderr: if not_started { String::new() } else { printed.tail() },
    });
}

/// Forwards what is printed, up to its end.
pub(super) fn pass_on(driver: &Arc<Driver>, printed: &Printed) {
    driver.carrier.errors(&mut |bytes| printed.take(bytes));
    printed.end();
    driver.lock().errors_over = true;
    driver.attendant.notify_all();
}
