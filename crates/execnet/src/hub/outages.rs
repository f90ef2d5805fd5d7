//! The thread that watches unreachable hosts: it keeps the time, asks the daemon what is wrong, and calls the
//! program's `on_outage`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use execnet_proto::control::{Request, Status, Verb};

use super::{Condition, Guard, Hub, HubState, Inbox};
use crate::lookout::patience;
use crate::waiting::{Room, deadline};

/// How long the daemon may take to say what is wrong with a host. Without an answer the report says less.
const ANSWER: Duration = Duration::from_secs(5);

impl Hub {
    /// Call this whenever the reachability of a host may have changed.
    pub(crate) fn look_out(&self, state: &mut HubState) {
        let HubState { lookout, client, .. } = state;
        if !lookout.changed {
            return;
        }
        lookout.settle(client);
        if lookout.runs {
            self.lookout.notify_all();
            return;
        }
        if !lookout.has_work() {
            return;
        }
        let Some(hub) = self.me() else { return };
        let thread = std::thread::Builder::new().name("execnet-lookout".into());
        lookout.runs = thread.spawn(move || work(&hub)).is_ok();
    }
}

/// The thread. It runs while a host is unreachable.
fn work(hub: &Hub) {
    let mut state = hub.lock();
    loop {
        let HubState { lookout, client, closing, .. } = &mut *state;
        lookout.settle(client);
        if *closing || !lookout.has_work() {
            lookout.runs = false;
            return;
        }
        let now = Instant::now();
        let (given_up, not_placed) = (lookout.give_up(client, now), lookout.give_up_starts(now));
        if !given_up.is_empty() || !not_placed.is_empty() {
            for (id, message, is_opening) in given_up {
                client.give_up(id, message, is_opening);
            }
            for (id, message) in not_placed {
                state.give_up_start(id, message);
            }
            state.take_events();
            hub.leave(state);
            state = hub.lock();
        } else if let Some(host) = lookout.due(now) {
            state = tell(hub, state, &host);
        } else if let Some(outage) = lookout.news.pop_front() {
            lookout.subscribers.retain(|subscriber| subscriber.send(outage.clone()).is_ok());
            let on_outage = lookout.on_outage.clone();
            drop(state);
            // the panic hook reports a panic there
            let _ = catch_unwind(AssertUnwindSafe(|| on_outage(&outage)));
            // if it was replaced meanwhile, this drops it: see `Network::on_outage`
            drop(on_outage);
            state = hub.lock();
        } else {
            let left = lookout.deadline(client).map(|at| at.saturating_duration_since(now));
            let most = left.unwrap_or(Duration::from_secs(3600));
            state = hub.lookout.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Asks the daemon what is wrong with a host, and reports it.
fn tell<'a>(hub: &'a Hub, mut state: Guard<'a>, host: &str) -> Guard<'a> {
    let mut status = None;
    let mut most = Some(state.lookout.patience);
    // for a start, the daemon has just said it
    let is_fresh = state.lookout.is_waited_for(host);
    if !is_fresh
        && !state.lookout.silent
        && state.connection.as_ref().is_some_and(|connection| connection.greeted)
    {
        (state, status) = ask(hub, state);
        most = status.as_ref().and_then(|status| status.linger).map(patience);
    }
    let host_status = status.as_ref().and_then(|status| status.hosts.iter().find(|there| there.id == host));
    let error = host_status.and_then(|there| there.error.as_deref());
    let HubState { lookout, client, .. } = &mut *state;
    lookout.settle(client);
    lookout.tell(host, error, most, client, Instant::now());
    state
}

fn ask<'a>(hub: &'a Hub, mut state: Guard<'a>) -> (Guard<'a>, Option<Status>) {
    let Ok(json) = serde_json::to_vec(&Request::from(Verb::Status)) else { return (state, None) };
    let request = state.client.request(json.into());
    state.inboxes.insert(request, Inbox::default());
    hub.leave(state);
    let until = deadline(ANSWER);
    let mut state = match hub.wait(hub.lock(), &Condition::Reply(request), until) {
        Ok(state) | Err((_, state)) => state,
    };
    let reply = state.inboxes.remove(&request).and_then(|mut inbox| inbox.take());
    (state, reply.and_then(|json| serde_json::from_slice(&json).ok()))
}
