//! The two threads that each gateway has.
//!
//! One reads what comes from the interpreter while nobody waits for anything, and takes note of its end. The other one passes on what it prints.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Ending};
use super::error::Death;
use super::failed;
use super::output::Printed;
use super::post::{Inner, Killed, Post, What};
use crate::status::ExitStatus;
use crate::waiting::Room;

/// For so long after somebody has read it is expected that somebody will again: then nobody needs to be woken for it.
const GRACE: Duration = Duration::from_millis(5);

/// How long an interpreter may take to end once it has closed its stdout; when it was told to end; when it was killed.
const END: Duration = Duration::from_secs(3);
const EXIT: Duration = Duration::from_secs(20);
const KILLED: Duration = Duration::from_secs(10);

/// How long a host may take to hear that one was told to end, or was killed.
const HEARS: Duration = Duration::from_secs(2);

/// So long a host is out of reach before nobody waits for the end of what was told to end there: longer than most breaks last, and over before anybody is
/// told of one. How often that is looked at meanwhile.
const AWAY: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(250);

/// How long the last words may take behind the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reads while nobody waits, until the gateway has ended.
pub(super) fn attend(post: &Post, id: &str, printed: &Printed) {
    let mut inner = post.lock();
    loop {
        if !inner.state.untold.is_empty() {
            let untold = std::mem::take(&mut inner.state.untold);
            drop(inner);
            untold.iter().for_each(|error| failed::tell(error));
            inner = post.lock();
            continue;
        }
        if let Some(reason) = &inner.read_up {
            let (reason, exiting) = (reason.clone(), inner.exiting);
            drop(inner);
            return bury(post, id, printed, reason, exiting);
        }
        let (deadline, leaving) = (inner.kill_at, inner.is_leaving());
        let now = Instant::now();
        let is_away = || post.carrier.away_for().is_some_and(|time| time >= AWAY);
        if deadline.is_some_and(|deadline| now >= deadline) || leaving && is_away() {
            kill(&mut inner, &*post.carrier);
            continue;
        }
        let look = (leaving && post.carrier.node().is_some()).then(|| now + LOOK);
        let next = deadline.into_iter().chain(look).min();
        let left = next.map(|next| next.saturating_duration_since(now));
        let idle = inner.left.elapsed();
        if inner.wants_reader() && !inner.has_waiters() && idle >= GRACE {
            inner = post.read_once(inner, &What::Attend(deadline, leaving), next);
            continue;
        }
        let doze = inner.wants_reader() && !inner.has_waiters();
        inner.attendant_rests = !doze;
        let most = if doze { Some(GRACE.saturating_sub(idle)) } else { left };
        inner = match most {
            Some(most) => post.attendant.wait_timeout(inner, most).unwrap_or_else(PoisonError::into_inner).0,
            None => post.attendant.wait(inner).unwrap_or_else(PoisonError::into_inner),
        };
        inner.attendant_rests = false;
    }
}

/// Goes one step further with killing it, and says when the next one is due.
pub(super) fn kill(inner: &mut Inner, carrier: &dyn Carrier) {
    let asked = inner.exited.is_some_and(|exited| exited.elapsed() >= HEARS);
    let deaf = || Killed::Left("its host does not answer".into());
    let (next, patience) = match (&inner.killed, carrier.unreachable()) {
        (Killed::Left(_), _) => (inner.killed.clone(), KILLED),
        (_, Some(why)) => (Killed::Left(why), KILLED),
        (Killed::No, None) if asked && !carrier.has_heard() => (deaf(), KILLED),
        (Killed::No, None) => (Killed::Told, HEARS),
        (Killed::Told, None) if carrier.has_heard() => (Killed::Heard, KILLED),
        (Killed::Told, None) => (deaf(), KILLED),
        (Killed::Heard, None) => (Killed::Left("it could not be ended".into()), KILLED),
    };
    match next {
        Killed::Told => carrier.kill(),
        // whoever waits for it learns that it has ended
        Killed::Left(_) => carrier.release(),
        Killed::Heard | Killed::No => {}
    }
    inner.killed = next;
    inner.kill_at = Some(Instant::now() + patience);
    inner.touch();
}

/// Finds out how the interpreter ended, and tells everybody.
fn bury(post: &Post, id: &str, printed: &Printed, reason: Option<String>, exiting: bool) {
    let carrier = &post.carrier;
    let patience = match (&reason, exiting) {
        (Some(_), _) => {
            carrier.kill();
            carrier.close_output();
            KILLED
        }
        (None, true) => EXIT,
        (None, false) => END,
    };
    let ending = carrier.ending(patience).or_else(|| {
        carrier.kill();
        carrier.close_output();
        carrier.ending(KILLED)
    });
    let until = Instant::now() + LAST_WORDS;
    let mut inner = post.lock();
    while !inner.errors_over {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        inner = post.attendant.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let left = match &inner.killed {
        Killed::Left(why) => Some(format!("{why}; it is ended as soon as its host can be reached")),
        _ => None,
    };
    drop(inner);
    carrier.release();
    let (status, lost) = match (ending, left) {
        (Some(Ending::Status(status)), _) => (Some(status), None),
        (_, Some(left)) => (None, Some(left)),
        (Some(Ending::Lost(message)), None) => (None, Some(message)),
        (None, None) => (None, Some("it could not be ended".into())),
    };
    let not_started = matches!(status, Some(ExitStatus::NotStarted { .. }));
    let broke = reason.map(|reason| format!("its kernel broke the rules: {reason}"));
    post.bury(Death {
        gateway: id.to_owned(),
        node: carrier.node().map(|node| node.name.clone()),
        host: carrier.node().map(|node| node.host.clone()),
        status,
        reason: broke.or(lost),
        stderr: if not_started { String::new() } else { printed.tail() },
    });
}

/// Passes on what is printed, up to its end.
pub(super) fn pass_on(post: &Arc<Post>, printed: &Printed) {
    post.carrier.errors(&mut |bytes| printed.take(bytes));
    printed.end();
    post.lock().errors_over = true;
    post.attendant.notify_all();
}
