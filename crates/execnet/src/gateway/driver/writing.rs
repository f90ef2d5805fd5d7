//! How the outbox is written: by the thread that puts something there, as far as there is room, and by the
//! writer thread.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::super::carrier::Stop;
use super::super::wire;
use super::{Driver, FEW_OUT, Guard, MAX_OUT, ring};
use crate::waiting::{Interrupt, Room};

/// Larger frames are copied piece by piece as they are sent, so that a large value is not kept in memory
/// until its last part has arrived. In bytes.
const SHARED: usize = 4 << 20;

/// How many bytes of small frames are passed to the carrier at a time.
const BATCH: usize = 64 * 1024;

/// How long frames in a row are held, and up to how many bytes.
const HOLD: Duration = Duration::from_micros(500);
const HOLD_BYTES: usize = 32 * 1024;

/// How long an idle writer thread stays.
const LINGER: Duration = Duration::from_secs(5);

impl Driver {
    /// Writes pending frames as far as there is room, unless another thread is at it.
    pub(super) fn flush(&self, mut state: Guard<'_>) {
        if state.deaf {
            state.protocol.out.clear();
        }
        if state.flushing || state.blocked || state.protocol.out.queue.is_empty() {
            return;
        }
        if state.in_row() && state.protocol.out.bytes < HOLD_BYTES {
            if !std::mem::replace(&mut state.held, true) {
                self.rouse_writer(state);
            }
            return;
        }
        state.flushing = true;
        let (mut state, full) = self.write(state, false);
        state.flushing = false;
        if full {
            state.blocked = true;
            self.rouse_writer(state);
        }
    }

    /// Leaves the rest to the writer thread.
    fn rouse_writer(&self, mut state: Guard<'_>) {
        if state.writer_runs {
            self.writer.notify_all();
            return;
        }
        state.writer_runs = true;
        drop(state);
        let Some(me) = self.base.me.upgrade() else { return };
        let spawned = std::thread::Builder::new().name("execnet-writer".into());
        if spawned.spawn(move || me.write_on()).is_err() {
            // then this thread has to block
            self.write_up();
            self.lock().writer_runs = false;
        }
    }

    /// Writes the outbox. Returns true if there is no more room.
    fn write<'a>(&'a self, mut state: Guard<'a>, wait: bool) -> (Guard<'a>, bool) {
        while let Some(mut frame) = state.protocol.out.queue.pop_front() {
            if frame.len() < BATCH / 2 && !state.protocol.out.queue.is_empty() {
                frame = wire::gather(&frame, &mut state.protocol.out.queue, BATCH);
            }
            let begun = std::mem::take(&mut state.protocol.out.begun);
            drop(state);
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
            state = self.lock();
            let before = state.protocol.out.bytes;
            state.protocol.out.bytes = before.saturating_sub(written);
            let after = state.protocol.out.bytes;
            if [MAX_OUT, FEW_OUT].iter().any(|&most| before > most && after <= most) {
                // senders on all channels wait for this
                state.touched = true;
                let alarms = self.over(&mut state);
                drop(state);
                ring(&alarms);
                state = self.lock();
            }
            match stop {
                None => {}
                Some(Stop::End) => {
                    // the end of stdout follows, or was read already
                    state.deaf = true;
                    state.protocol.out.clear();
                    state.touched = true;
                }
                Some(_) => {
                    state.protocol.out.queue.push_front(frame.slice(written..));
                    state.protocol.out.begun = begun + written;
                    return (state, true);
                }
            }
        }
        (state, false)
    }

    /// The writer thread.
    fn write_on(&self) {
        loop {
            let mut state = self.lock();
            if state.held && !state.blocked && state.death.is_none() {
                state = self.writer.wait_timeout(state, HOLD).unwrap_or_else(PoisonError::into_inner).0;
            }
            state.held = false;
            // a thread that flushes takes the frames along
            state.blocked |= !state.flushing;
            if state.blocked {
                drop(state);
                self.write_up();
                state = self.lock();
            }
            let until = Instant::now() + LINGER;
            while !state.blocked && !state.held && state.death.is_none() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.writer.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if !state.blocked && !state.held || state.death.is_some() {
                state.writer_runs = false;
                return;
            }
        }
    }

    fn write_up(&self) {
        let (mut state, _) = self.write(self.lock(), true);
        state.blocked = false;
    }
}
