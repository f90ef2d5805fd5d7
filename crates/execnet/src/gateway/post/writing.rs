//! How the outbox is written: by whoever puts something there, as far as there is room, and by the writer thread.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::super::carrier::Stop;
use super::super::wire;
use super::{Guard, MAX_OUT, Post, ring};
use crate::waiting::{Interrupt, Room};

/// Larger frames are copied piece by piece as they are sent: what is on its way must not keep all of a large value, in bytes.
const SHARED: usize = 4 << 20;

/// What is handed to the carrier at a time, in bytes, where it is made of small frames.
const BATCH: usize = 64 * 1024;

/// Frames that follow each other in a row are held so long, and up to so many bytes.
const HOLD: Duration = Duration::from_micros(500);
const HOLD_BYTES: usize = 32 * 1024;

/// How long a writer thread stays when there is nothing to do.
const LINGER: Duration = Duration::from_secs(5);

impl Post {
    /// Writes what is to be written as far as there is room, unless somebody is at it.
    pub(super) fn flush(&self, mut inner: Guard<'_>) {
        if inner.deaf {
            inner.state.out.clear();
        }
        if inner.flushing || inner.blocked || inner.state.out.queue.is_empty() {
            return;
        }
        if inner.in_row() && inner.state.out.bytes < HOLD_BYTES {
            if !std::mem::replace(&mut inner.held, true) {
                self.rouse_writer(inner);
            }
            return;
        }
        inner.flushing = true;
        let (mut inner, full) = self.write(inner, false);
        inner.flushing = false;
        if full {
            inner.blocked = true;
            self.rouse_writer(inner);
        }
    }

    /// Leaves writing to the writer thread.
    fn rouse_writer(&self, mut inner: Guard<'_>) {
        if inner.writer_runs {
            self.writer.notify_all();
            return;
        }
        inner.writer_runs = true;
        drop(inner);
        let Some(me) = self.base.me.upgrade() else { return };
        let spawned = std::thread::Builder::new().name("execnet-writer".into());
        if spawned.spawn(move || me.write_on()).is_err() {
            // then this thread has to wait
            self.write_up();
            self.lock().writer_runs = false;
        }
    }

    /// Writes the outbox; true if there is no more room.
    fn write<'a>(&'a self, mut inner: Guard<'a>, wait: bool) -> (Guard<'a>, bool) {
        while let Some(mut frame) = inner.state.out.queue.pop_front() {
            if frame.len() < BATCH / 2 && !inner.state.out.queue.is_empty() {
                frame = wire::gather(&frame, &mut inner.state.out.queue, BATCH);
            }
            let begun = std::mem::take(&mut inner.state.out.begun);
            drop(inner);
            let share = begun + frame.len() <= SHARED;
            let mut written = 0;
            let stop = loop {
                if written == frame.len() {
                    break None;
                }
                let sent = if share {
                    self.carrier.share(&frame.slice(written..), wait)
                } else {
                    self.carrier.send(&frame[written..], wait)
                };
                match sent {
                    Ok(count) => written += count,
                    Err(Stop::Interrupted) if wait => {}
                    Err(Stop::Interrupted) => {
                        // it is meant for this thread's next wait
                        Interrupt::this_thread().again();
                        break Some(Stop::TimedOut);
                    }
                    Err(stop) => break Some(stop),
                }
            };
            inner = self.lock();
            let before = inner.state.out.bytes;
            inner.state.out.bytes = before.saturating_sub(written);
            if before > MAX_OUT && inner.state.out.bytes <= MAX_OUT {
                // of no channel, but senders of all wait for it
                inner.touched = true;
                let alarms = self.over(&mut inner);
                drop(inner);
                ring(&alarms);
                inner = self.lock();
            }
            match stop {
                None => {}
                Some(Stop::End) => {
                    // the end of stdout follows, or has come
                    inner.deaf = true;
                    inner.state.out.clear();
                    inner.touched = true;
                }
                Some(_) => {
                    inner.state.out.queue.push_front(frame.slice(written..));
                    inner.state.out.begun = begun + written;
                    return (inner, true);
                }
            }
        }
        (inner, false)
    }

    /// What the writer thread does.
    fn write_on(&self) {
        loop {
            let mut inner = self.lock();
            if inner.held && !inner.blocked && inner.death.is_none() {
                inner = self.writer.wait_timeout(inner, HOLD).unwrap_or_else(PoisonError::into_inner).0;
            }
            inner.held = false;
            // who flushes takes along what there is
            inner.blocked |= !inner.flushing;
            if inner.blocked {
                drop(inner);
                self.write_up();
                inner = self.lock();
            }
            let until = Instant::now() + LINGER;
            while !inner.blocked && !inner.held && inner.death.is_none() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                inner = self.writer.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if !inner.blocked && !inner.held || inner.death.is_some() {
                inner.writer_runs = false;
                return;
            }
        }
    }

    fn write_up(&self) {
        let (mut inner, _) = self.write(self.lock(), true);
        inner.blocked = false;
    }
}
