//! Several channels, used as one.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::channel::Channel;
use super::error::ChannelError;
use super::open::Gateway;
use crate::waiting::{Monitor, deadline};

/// Several channels, of any gateways.
#[derive(Clone, Debug, Default)]
pub struct MultiChannel {
    channels: Vec<Channel>,
}

impl MultiChannel {
    /// Bundles these channels.
    #[must_use]
    pub fn new(channels: Vec<Channel>) -> Self {
        Self { channels }
    }

    /// The channels.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Sends a value on each channel.
    ///
    /// # Errors
    /// As [`Channel::send`], at the first channel that fails.
    pub fn send_each<T: Serialize>(&self, value: T) -> Result<(), ChannelError> {
        self.channels.iter().try_for_each(|channel| channel.send(&value))
    }

    /// Receives a value from each channel, in order, with its gateway.
    ///
    /// # Errors
    /// As [`Channel::receive`], at the first channel that fails.
    pub fn receive_each<T: DeserializeOwned>(&self) -> Result<Vec<(Gateway, T)>, ChannelError> {
        self.channels.iter().map(|channel| Ok((channel.gateway(), channel.receive()?))).collect()
    }

    /// Waits until all channels are closed, and returns the first error.
    ///
    /// # Errors
    /// As [`Channel::wait_close`].
    pub fn wait_close(&self) -> Result<(), ChannelError> {
        self.wait_close_by(None)
    }

    /// As [`MultiChannel::wait_close`], waiting at most this long for all together.
    ///
    /// # Errors
    /// As [`Channel::wait_close_timeout`].
    pub fn wait_close_timeout(&self, timeout: Duration) -> Result<(), ChannelError> {
        self.wait_close_by(deadline(timeout))
    }

    fn wait_close_by(&self, deadline: Option<Instant>) -> Result<(), ChannelError> {
        let mut result = Ok(());
        for channel in &self.channels {
            let closed = channel.wait_close_by(deadline);
            if matches!(closed, Err(ChannelError::TimedOut | ChannelError::Interrupted)) {
                return closed;
            }
            result = result.and(closed);
        }
        result
    }

    /// From now on puts what any channel receives into one queue, in order of arrival.
    ///
    /// # Errors
    /// When one of them has a callback already.
    pub fn make_receive_queue<T: DeserializeOwned + Send + 'static>(
        &self,
    ) -> Result<ReceiveQueue<T>, ChannelError> {
        let shared = Arc::new(Shared::default());
        for (index, channel) in self.channels.iter().enumerate() {
            let shared = shared.clone();
            channel.pass_on(move |value: Option<T>| shared.push(index, value))?;
        }
        Ok(ReceiveQueue { channels: self.channels.clone(), left: self.channels.len(), shared })
    }
}

/// The values that several channels receive. See [`MultiChannel::make_receive_queue`].
///
/// At most 1,024 values wait in it. More wait in their channels and, eventually, block their senders.
#[derive(Debug)]
pub struct ReceiveQueue<T> {
    channels: Vec<Channel>,
    left: usize,
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: Arc<Monitor<Queue<T>>>,
    /// Notified when a value was taken.
    room: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    /// The index of a channel, and a value that it received; none at its end.
    entries: VecDeque<(usize, Option<T>)>,
    /// Nobody takes values any more.
    dropped: bool,
}

/// How many values the queue holds. More wait in their channels.
const MOST: usize = 1_024;

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { queue: Arc::default(), room: Condvar::new() }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), dropped: false }
    }
}

impl<T> Shared<T> {
    fn push(&self, from: usize, value: Option<T>) {
        let mut queue = self.queue.lock();
        while queue.entries.len() >= MOST && !queue.dropped {
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if !queue.dropped {
            queue.entries.push_back((from, value));
            self.queue.notify();
        }
    }
}

impl<T: Send + 'static> ReceiveQueue<T> {
    /// The next value, with the channel that received it; none once all channels are closed.
    ///
    /// # Errors
    /// When the wait was interrupted, or a channel was closed with an error. The others continue.
    pub fn receive(&mut self) -> Result<Option<(Channel, T)>, ChannelError> {
        self.receive_by(None)
    }

    /// As [`ReceiveQueue::receive`], waiting at most this long.
    ///
    /// # Errors
    /// As [`ReceiveQueue::receive`], and when nothing came in time.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<(Channel, T)>, ChannelError> {
        self.receive_by(deadline(timeout))
    }

    fn receive_by(&mut self, deadline: Option<Instant>) -> Result<Option<(Channel, T)>, ChannelError> {
        while self.left > 0 {
            let (from, value) = self.shared.queue.wait(deadline, |queue| queue.entries.pop_front())?;
            self.shared.room.notify_all();
            let channel = &self.channels[from];
            if let Some(value) = value {
                return Ok(Some((channel.clone(), value)));
            }
            self.left -= 1;
            channel.wait_close()?;
        }
        Ok(None)
    }
}

impl<T> Drop for ReceiveQueue<T> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.dropped = true;
        queue.entries.clear();
        self.shared.room.notify_all();
    }
}
