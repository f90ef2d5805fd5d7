//! The thread that looks after hosts that are away: it keeps the time, asks the daemon what is wrong, and calls what the program has given.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use execnet_proto::control::{Request, Status, Verb};

use super::{Guard, Hub, Inbox, Inner, What};
use crate::lookout::patience;
use crate::waiting::{Room, deadline};

/// How long the daemon may take to say what is wrong with a host. Without an answer less is told.
const ANSWER: Duration = Duration::from_secs(5);

impl Hub {
    /// Acts on what was heard of hosts: called whenever that may have changed.
    pub(crate) fn look_out(&self, inner: &mut Inner) {
        let Inner { lookout, client, .. } = inner;
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

/// The thread: works for as long as a host is away.
fn work(hub: &Hub) {
    let mut inner = hub.lock();
    loop {
        let Inner { lookout, client, closing, .. } = &mut *inner;
        lookout.settle(client);
        if *closing || !lookout.has_work() {
            lookout.runs = false;
            return;
        }
        let now = Instant::now();
        let (given_up, not_placed) = (lookout.give_up(client, now), lookout.give_up_starts(now));
        if !given_up.is_empty() || !not_placed.is_empty() {
            for (id, message) in given_up {
                client.give_up(id, message);
            }
            for (id, message) in not_placed {
                inner.give_up_start(id, message);
            }
            inner.take_events();
            hub.leave(inner);
            inner = hub.lock();
        } else if let Some(host) = lookout.due(now) {
            inner = tell(hub, inner, &host);
        } else if let Some(outage) = lookout.news.pop_front() {
            lookout.subscribers.retain(|subscriber| subscriber.send(outage.clone()).is_ok());
            let on_outage = lookout.on_outage.clone();
            drop(inner);
            // a panic there is told by its hook
            let _ = catch_unwind(AssertUnwindSafe(|| on_outage(&outage)));
            inner = hub.lock();
        } else {
            let left = lookout.deadline(client).map(|at| at.saturating_duration_since(now));
            let most = left.unwrap_or(Duration::from_secs(3600));
            inner = hub.lookout.wait_timeout(inner, most).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Asks the daemon what is wrong with a host, and tells of it.
fn tell<'a>(hub: &'a Hub, mut inner: Guard<'a>, host: &str) -> Guard<'a> {
    let mut status = None;
    let mut most = Some(inner.lookout.patience);
    // of a start the daemon has just said it
    let is_fresh = inner.lookout.is_waited_for(host);
    if !is_fresh && !inner.lookout.silent && inner.line.as_ref().is_some_and(|line| line.greeted) {
        (inner, status) = ask(hub, inner);
        most = status.as_ref().and_then(|status| status.linger).map(patience);
    }
    let host_status = status.as_ref().and_then(|status| status.hosts.iter().find(|there| there.id == host));
    let error = host_status.and_then(|there| there.error.as_deref());
    let Inner { lookout, client, .. } = &mut *inner;
    lookout.settle(client);
    lookout.tell(host, error, most, client, Instant::now());
    inner
}

fn ask<'a>(hub: &'a Hub, mut inner: Guard<'a>) -> (Guard<'a>, Option<Status>) {
    let Ok(json) = serde_json::to_vec(&Request::from(Verb::Status)) else { return (inner, None) };
    let request = inner.client.request(json.into());
    inner.inboxes.insert(request, Inbox::default());
    hub.leave(inner);
    let until = deadline(ANSWER);
    let mut inner = match hub.wait(hub.lock(), &What::Reply(request), until) {
        Ok(inner) | Err((_, inner)) => inner,
    };
    let reply = inner.inboxes.remove(&request).and_then(|mut inbox| inbox.take());
    (inner, reply.and_then(|json| serde_json::from_slice(&json).ok()))
}
