//! Channels, which carry values both ways between this program and code in a gateway.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::callback;
use super::driver::{Condition, Driver, Guard};
use super::error::ChannelError;
use super::handle::Handle;
use super::protocol::Awaited;
use super::received::{self, Held, Raw, check, take};
use super::remote_error;
use crate::value::{
    Channels, DumpError, Encoded, LoadError, StrConfig, Writer, Writing, from_reader, to_writer,
};
use crate::waiting::Room;
use crate::waiting::deadline;

/// One end of a channel; the other end is in a gateway's interpreter. Clones share it, and any number of
/// threads may use it.
///
/// ```no_run
/// # let gateway = execnet::Gateway::popen().start()?;
/// let channel = gateway.remote_exec("for word in channel: channel.send(len(word))")?;
/// for word in ["one", "three"] {
///     channel.send(word)?;
///     println!("{}", channel.receive::<usize>()?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// At most 8 MiB (or the gateway's [`window`](super::GatewayBuilder::window)) and one value can be unreceived
/// at each end; then senders block.
///
/// Dropping the last clone closes the channel, unless it has a callback, which continues until the other end
/// closes it. An error that nobody has received by then, or that arrives later, is printed to stderr; one
/// that arrives after [`Channel::close`] is dropped.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

/// What all clones of a channel share.
struct Shared {
    handle: Arc<Handle>,
    number: u32,
    /// It has a name.
    named: bool,
}

/// A condition for [`until`](crate::raw::until).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A value, or the end.
    ToReceive,
    /// Room for a value, or the end.
    ToSend,
    /// Nothing more comes, and the callback has had everything.
    Closed,
}

/// The values of a channel, until it is closed. See [`Channel::iter`].
#[derive(Debug)]
pub struct Receiving<T> {
    channel: Channel,
    over: bool,
    of: PhantomData<fn() -> T>,
}

impl Channel {
    pub(super) fn new(handle: Arc<Handle>, number: u32) -> Self {
        Self { shared: Arc::new(Shared { handle, number, named: false }) }
    }

    /// One with a name, in a gateway that is kept.
    pub(super) fn named(handle: Arc<Handle>, number: u32) -> Self {
        Self { shared: Arc::new(Shared { handle, number, named: true }) }
    }

    /// Whether it has a name, and so outlives this program: see
    /// [`Gateway::channel`](super::Gateway::channel).
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.shared.named
    }

    /// How many values the other end had received on it before this program entered; 0 for a channel without
    /// a name.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn received_before(&self) -> Result<u64, ChannelError> {
        Ok(self.driver().enter()?.protocol.received_before(self.number()))
    }

    /// Its number in its gateway.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.shared.number
    }

    pub(crate) fn gateway_key(&self) -> u64 {
        self.driver().key
    }

    /// Sends a value. Blocks while the other end has no room for it.
    ///
    /// # Errors
    /// When it cannot be sent, the channel is closed, the gateway has ended, or the wait was interrupted.
    /// Then nothing was sent.
    pub fn send<T: Serialize>(&self, value: T) -> Result<(), ChannelError> {
        self.send_encoded(self.encode(&value)?)
    }

    /// As [`Channel::send`], waiting at most this long.
    ///
    /// # Errors
    /// As [`Channel::send`], and when there was no room in time.
    pub fn send_timeout<T: Serialize>(&self, value: T, timeout: Duration) -> Result<(), ChannelError> {
        self.offer(&mut Some(self.encode(&value)?), deadline(timeout))
    }

    /// Waits for a value.
    ///
    /// # Errors
    /// When the channel is closed and everything was received, the code at the other end failed, the value is
    /// not a `T`, the gateway has ended, or the wait was interrupted.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<T, ChannelError> {
        self.load(&self.receive_by(None)?)
    }

    /// As [`Channel::receive`], waiting at most this long.
    ///
    /// # Errors
    /// As [`Channel::receive`], and when nothing came in time.
    pub fn receive_timeout<T: DeserializeOwned>(&self, timeout: Duration) -> Result<T, ChannelError> {
        self.load(&self.receive_by(deadline(timeout))?)
    }

    /// The values that arrive, until the other end closes the channel. An error is the last item.
    ///
    /// ```no_run
    /// # let gateway = execnet::Gateway::popen().start()?;
    /// let channel = gateway.remote_exec("for i in range(3): channel.send(i)")?;
    /// let numbers: Vec<i64> = channel.iter().collect::<Result<_, _>>()?;
    /// assert_eq!(numbers, [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn iter<T: DeserializeOwned>(&self) -> Receiving<T> {
        Receiving { channel: self.clone(), over: false, of: PhantomData }
    }

    /// What values must be written for to go through this channel.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn writing(&self) -> Result<Writing, ChannelError> {
        let state = self.driver().enter()?;
        Ok(Writing { strconfig: state.protocol.strconfig(self.number()), target: state.protocol.target() })
    }

    /// Sends a value that a [`Writer`](crate::value::Writer) wrote.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_encoded(&self, encoded: Encoded) -> Result<(), ChannelError> {
        self.offer(&mut Some(encoded), None)
    }

    /// Takes the value only when it is sent, so that a failed call can be repeated.
    pub(crate) fn offer(
        &self,
        encoded: &mut Option<Encoded>,
        deadline: Option<Instant>,
    ) -> Result<(), ChannelError> {
        let gateway = encoded.as_ref().and_then(|encoded| encoded.gateway);
        if gateway.is_some_and(|gateway| gateway != self.gateway_key()) {
            return Err(DumpError::new("cannot send a channel of another gateway").into());
        }
        if self.shared.named && gateway.is_some() {
            let words = "cannot send a channel on one with a name: the next program would not know it";
            return Err(DumpError::new(words).into());
        }
        let number = self.number();
        let driver = self.driver();
        let mut state = self.wait(Condition::Send(number), deadline)?;
        let chan = state.protocol.channels.get(&number);
        if chan.is_none_or(super::protocol::Chan::is_closed) {
            return Err(ChannelError::Closed);
        }
        self.check(&state)?;
        if state.exiting {
            return Err(ChannelError::Closed);
        }
        if let Some(encoded) = encoded.take() {
            state.protocol.send(number, encoded);
        }
        driver.leave(state);
        Ok(())
    }

    /// Waits for a value and returns it undecoded. [`Channel::load`] decodes it.
    ///
    /// # Errors
    /// As [`Channel::receive`].
    pub fn receive_raw(&self) -> Result<Raw, ChannelError> {
        self.receive_by(None)
    }

    pub(crate) fn receive_by(&self, deadline: Option<Instant>) -> Result<Raw, ChannelError> {
        let (raw, mut state) = self.take(deadline, true)?;
        state.protocol.took(self.number(), raw.bytes.len());
        self.driver().leave(state);
        Ok(raw)
    }

    /// Takes back the value that was received last, as if it had not been.
    pub(crate) fn give_back(&self, mut raw: Raw) {
        let Ok(mut state) = self.driver().enter() else { return };
        state.protocol.give_back(self.number(), std::mem::take(&mut raw.bytes), raw.reading.escaped);
        self.driver().leave(state);
    }

    /// Receives a value that counts as received only once it is dropped. Leaves the error of failed code to
    /// [`Channel::wait_close`].
    pub(crate) fn receive_held(&self, deadline: Option<Instant>) -> Result<Held, ChannelError> {
        let (raw, state) = self.take(deadline, false)?;
        drop(state);
        Ok(Held { raw, driver: self.driver().clone(), number: self.number() })
    }

    /// The channel with this number in the same gateway: what a
    /// [`Token::Channel`](crate::value::Token::Channel) stands for.
    pub(crate) fn sibling(&self, number: u32) -> Result<Channel, ChannelError> {
        self.driver().enter()?.protocol.take_handle(number);
        Ok(Self::new(self.shared.handle.clone(), number))
    }

    /// Decodes a value as a `T`.
    ///
    /// # Errors
    /// When it is something else. If the bytes are not a value at all, the gateway is closed.
    pub fn load<T: DeserializeOwned>(&self, raw: &Raw) -> Result<T, ChannelError> {
        from_reader(raw.reader(), self).map_err(|error| self.malformed(error))
    }

    /// Returns this error as one of the channel. If it means that the bytes were not a value, closes the
    /// gateway.
    pub fn malformed(&self, error: LoadError) -> ChannelError {
        if error.is_malformed() && !self.is_forked() {
            self.driver().end_reading(error.to_string());
        }
        error.into()
    }

    /// Closes the channel: the other end reads an end, and what still arrives is dropped. What has arrived
    /// can be received. Calling it again does nothing.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn close(&self) -> Result<(), ChannelError> {
        self.close_by(None)
    }

    /// Closes it with an error, which `receive` and `waitclose` raise at the other end.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn close_with_error(&self, error: &str) -> Result<(), ChannelError> {
        // always text, whatever the channel's strconfig
        let mut writer = Writer::new(Writing { strconfig: StrConfig::default(), ..self.writing()? });
        writer.str(&remote_error::cut(error, error.len()))?;
        self.close_by(Some(&writer.finish()?))
    }

    /// Declares that nothing more will be sent. Values can still be received.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn close_sending(&self) -> Result<(), ChannelError> {
        let mut state = self.driver().enter()?;
        state.protocol.close_sending(self.number());
        self.driver().leave(state);
        Ok(())
    }

    fn close_by(&self, error: Option<&Encoded>) -> Result<(), ChannelError> {
        let mut state = self.driver().enter()?;
        state.protocol.close(self.number(), error.map(Encoded::as_bytes));
        self.driver().leave(state);
        Ok(())
    }

    /// Waits until nothing more can arrive, because the channel was closed here or by the other end, and
    /// until its callback has returned from its last call (unless the callback itself waits).
    ///
    /// # Errors
    /// When the code at the other end or the callback failed, the gateway has ended, or the wait was
    /// interrupted.
    pub fn wait_close(&self) -> Result<(), ChannelError> {
        self.wait_close_by(None)
    }

    /// As [`Channel::wait_close`], waiting at most this long.
    ///
    /// # Errors
    /// As [`Channel::wait_close`], and when the channel was not closed in time.
    pub fn wait_close_timeout(&self, timeout: Duration) -> Result<(), ChannelError> {
        self.wait_close_by(deadline(timeout))
    }

    pub(crate) fn wait_close_by(&self, deadline: Option<Instant>) -> Result<(), ChannelError> {
        let driver = self.driver();
        let state = driver.enter()?;
        let awaited = state.protocol.channels.get(&self.number()).and_then(|chan| chan.awaited);
        let what = if awaited == Some(Awaited::In(std::thread::current().id())) {
            Condition::ReceivedAll(self.number())
        } else {
            Condition::CalledBack(self.number())
        };
        let mut state = driver.wait(state, &what, deadline).map_err(|(halt, _)| halt)?;
        if let Some(error) = state.protocol.take_failure(self.number()) {
            return Err(error);
        }
        let error = state.protocol.take_error(self.number());
        if self.shared.named {
            state.protocol.saw_end(self.number());
            driver.leave(state);
            state = driver.enter()?;
        }
        if let Some(error) = error {
            return Err(ChannelError::Remote(error));
        }
        let chan = state.protocol.channels.get(&self.number());
        if chan.is_none_or(super::protocol::Chan::receives_no_more) {
            return Ok(());
        }
        self.check(&state)
    }

    /// Waits until a call would not have to wait. Takes nothing.
    pub(crate) fn until(&self, ready: Ready, deadline: Option<Instant>) -> Result<(), ChannelError> {
        let number = self.number();
        let what = match ready {
            Ready::ToReceive => {
                let driver = self.driver();
                let waited = received::wait(driver, driver.enter()?, number, self.shared.named, deadline);
                return waited.map(drop).map_err(|(halt, _)| halt.into());
            }
            Ready::ToSend => Condition::Send(number),
            Ready::Closed => Condition::CalledBack(number),
        };
        self.wait(what, deadline).map(drop)
    }

    /// Whether nothing can be sent any more: the channel was closed by the other end or here, perhaps only
    /// for sending, or the gateway has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let Ok(state) = self.driver().enter() else { return true };
        let chan = state.protocol.channels.get(&self.number());
        state.death.is_some() || chan.is_none_or(super::protocol::Chan::is_closed)
    }

    /// Sets how text and bytes are converted on this channel, at both ends.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn reconfigure(&self, strconfig: StrConfig) -> Result<(), ChannelError> {
        let mut state = self.driver().enter()?;
        state.protocol.reconfigure(self.number(), strconfig);
        self.driver().leave(state);
        Ok(())
    }

    /// From now on passes every value to `callback`, one after the other, in a thread of the channel, and
    /// finally `None` once. A slow callback delays only its own channel and, eventually, its sender. If a
    /// value is not a `T`, or the callback panics, the channel is closed with an error.
    /// [`Channel::wait_close`] waits for the last call, and returns why the channel was closed.
    ///
    /// ```no_run
    /// # let gateway = execnet::Gateway::popen().start()?;
    /// let channel = gateway.remote_exec("for i in range(3): channel.send(i)")?;
    /// channel.set_callback(|number: Option<i64>| match number {
    ///     Some(number) => println!("{number}"),
    ///     None => println!("that is all"),
    /// })?;
    /// channel.wait_close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When it has a callback already, or no thread can be started.
    pub fn set_callback<T, F>(&self, callback: F) -> Result<(), ChannelError>
    where
        T: DeserializeOwned,
        F: FnMut(Option<T>) + Send + 'static,
    {
        callback::start(Arc::downgrade(&self.shared.handle), self.driver(), self.number(), true, callback)
    }

    /// As [`Channel::set_callback`], but waiting for the channel to close does not wait for this callback,
    /// which may itself block on the thread that waits.
    pub(super) fn pass_on<T, F>(&self, callback: F) -> Result<(), ChannelError>
    where
        T: DeserializeOwned,
        F: FnMut(Option<T>) + Send + 'static,
    {
        callback::start(Arc::downgrade(&self.shared.handle), self.driver(), self.number(), false, callback)
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Encoded, ChannelError> {
        let mut writer = Writer::new(self.writing()?);
        to_writer(value, &mut writer)?;
        Ok(writer.finish()?)
    }

    fn take(&self, deadline: Option<Instant>, take_error: bool) -> Result<(Raw, Guard<'_>), ChannelError> {
        let state = self.driver().enter()?;
        if state.protocol.channels.get(&self.number()).is_some_and(|chan| chan.has_callback) {
            return Err(ChannelError::HasCallback);
        }
        let waited = received::wait(self.driver(), state, self.number(), self.shared.named, deadline);
        let taken = take(waited.map_err(|(halt, _)| halt)?, self.number(), take_error);
        if taken.is_err() && self.shared.named {
            // it may have said that the program has seen the end
            self.driver().leave(self.driver().enter()?);
        }
        taken
    }

    fn wait(&self, what: Condition, deadline: Option<Instant>) -> Result<Guard<'_>, ChannelError> {
        let driver = self.driver();
        Ok(driver.wait(driver.enter()?, &what, deadline).map_err(|(halt, _)| halt)?)
    }

    fn check(&self, state: &Guard<'_>) -> Result<(), ChannelError> {
        check(state)
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.driver().is_forked()
    }

    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.shared.handle
    }

    fn driver(&self) -> &Arc<Driver> {
        &self.shared.handle.driver
    }
}

impl<T: DeserializeOwned> Iterator for Receiving<T> {
    type Item = Result<T, ChannelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        match self.channel.receive() {
            Err(ChannelError::Closed) => {
                self.over = true;
                None
            }
            result => {
                self.over = result.is_err();
                Some(result)
            }
        }
    }
}

impl Channels for Channel {
    fn channel(&self, number: u32) -> Result<Channel, LoadError> {
        self.sibling(number).map_err(|_| LoadError::forked())
    }
}

/// For threads that must not keep the gateway open.
impl Channels for Weak<Handle> {
    fn channel(&self, number: u32) -> Result<Channel, LoadError> {
        let handle = self.upgrade().ok_or_else(|| LoadError::unwanted("the gateway is being ended"))?;
        let mut state = handle.driver.enter().map_err(|_| LoadError::forked())?;
        state.protocol.take_handle(number);
        drop(state);
        Ok(Channel::new(handle, number))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // in a forked child the channel belongs to the parent
        let Ok(mut state) = self.handle.driver.enter() else { return };
        state.protocol.drop_handle(self.number);
        self.handle.driver.leave(state);
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        (self.gateway_key(), self.number()) == (other.gateway_key(), other.number())
    }
}

impl Eq for Channel {}

impl Hash for Channel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.gateway_key(), self.number()).hash(state);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { id, .. } = &*self.shared.handle;
        f.debug_struct("Channel").field("gateway", id).field("number", &self.number()).finish()
    }
}
