//! The client's end of a gateway's protocol (docs/kernel.md) as a pure state machine: bytes in, frames out.
//! No IO, no locks, no waiting.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod named;

use std::collections::{HashMap, VecDeque};
use std::thread::ThreadId;

use bytes::Bytes;

use super::error::ChannelError;
use super::inbox::Inbox;
use super::info::Info;
use super::prologue::Prologue;
use super::remote_error;
use super::wire::{Decoder, Frame, Kind, MAX_HELLO, frame, head};
use crate::value::{Encoded, HEAD, MAX_LENGTH, Reader, Reading, StrConfig, Target, Token, Value};
use named::{Names, Taking};
pub(super) use named::{Opened, unfit};

/// The default for how much may be unreceived on a channel, in bytes.
pub(super) const WINDOW: u64 = 8 << 20;

/// How much may be unreceived on all channels of a gateway together, in bytes.
const MAX_HELD: usize = 1 << 30;

/// How many channels the kernel may have opened that nobody has taken.
const MAX_UNTAKEN: usize = 4_096;

/// See the module's documentation.
pub(super) struct Protocol {
    decoder: Decoder,
    pub(super) prologue: Prologue,
    info: Option<Info>,
    pub(super) channels: HashMap<u32, Chan>,
    next: u32,
    window: u64,
    strconfig: StrConfig,
    held: usize,
    untaken: usize,
    pub(super) out: Outbox,
    /// How many STATUS frames were sent and answered, and the answers that are awaited.
    asked: u64,
    answered: u64,
    pub(super) answers: HashMap<u64, Option<Value>>,
    /// Only of a kernel that is kept.
    names: Option<Box<Names>>,
    /// Errors that nobody will receive, for printing.
    pub(super) untold: Vec<String>,
    /// EXIT was sent.
    exiting: bool,
    /// Something has changed since the last look.
    touched: bool,
}

/// One channel.
#[derive(Debug, Default)]
pub(super) struct Chan {
    inbox: Inbox,
    sent: u64,
    credit: u64,
    received: u64,
    taken: u64,
    told: u64,
    said_close: bool,
    heard_close: bool,
    said_last: bool,
    heard_last: bool,
    error: Option<String>,
    /// The last handle was dropped while it was open, so nobody will ask for its error.
    dropped: bool,
    /// Its error is no surprise, because the gateway was told to end.
    expected: bool,
    strconfig: StrConfig,
    /// How many handles there are.
    handles: usize,
    pub(super) has_callback: bool,
    /// The thread of its callback, if waiting for the channel to close includes the callback.
    pub(super) awaited: Option<Awaited>,
    /// Why its callback ended early.
    failed: Option<ChannelError>,
    /// The kernel opened it, and it has no handle yet.
    untaken: bool,
    /// Only of one with a name.
    taking: Option<Box<Taking>>,
}

/// A callback that is included in waits for the channel to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Its thread has not started yet.
    Starting,
    In(ThreadId),
}

/// Frames that are to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) queue: VecDeque<Bytes>,
    pub(super) bytes: usize,
    /// How many bytes of the first frame were already written.
    pub(super) begun: usize,
}

/// What comes next on a channel.
#[derive(Debug)]
pub(super) enum Next {
    Value {
        bytes: Bytes,
        escaped: bool,
    },
    Error(String),
    Closed,
    /// Nothing yet.
    Nothing,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: impl Into<Bytes>) {
        let frame = frame.into();
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Chan {
    /// Whether nothing more will arrive on it.
    pub(super) fn receives_no_more(&self) -> bool {
        self.said_close || self.heard_close || self.heard_last
    }

    /// Whether nothing can be sent on it.
    pub(super) fn is_closed(&self) -> bool {
        self.said_close || self.said_last || self.heard_close
    }

    pub(super) fn can_send(&self) -> bool {
        self.sent < self.credit
    }

    pub(super) fn has_something(&self) -> bool {
        match &self.taking {
            None => !self.inbox.is_empty() || self.receives_no_more(),
            Some(taking) => {
                let over = self.inbox.is_empty() && self.receives_no_more();
                over || self.said_close || taking.is_ready()
            }
        }
    }
}

impl Protocol {
    pub(super) fn new(window: u64) -> Self {
        Self {
            decoder: Decoder::default(),
            prologue: Prologue::default(),
            info: None,
            channels: HashMap::new(),
            next: 1,
            window,
            strconfig: StrConfig::default(),
            held: 0,
            untaken: 0,
            out: Outbox::default(),
            asked: 0,
            answered: 0,
            answers: HashMap::new(),
            names: None,
            untold: Vec::new(),
            exiting: false,
            touched: false,
        }
    }

    /// What the kernel reported.
    pub(super) fn info(&self) -> Option<&Info> {
        self.info.as_ref()
    }

    /// Whether something has changed since the last call.
    pub(super) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    /// Takes bytes from the kernel.
    ///
    /// # Errors
    /// When the kernel broke the protocol. Then the gateway has to be closed.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(behind) = self.prologue.behind_marker(bytes) else { return Ok(()) };
        let mut bytes = behind.as_ref();
        while !bytes.is_empty() {
            // a value that fits into what is left or, if nothing is held, the longest one
            let room = MAX_HELD.saturating_sub(self.held).min(MAX_LENGTH);
            if let Some(frame) = self.decoder.next(&mut bytes, room)? {
                self.frame(frame)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), String> {
        if self.info.is_none() && frame.kind != Kind::Hello {
            self.touched = true;
            return self.prologue.frame(&frame);
        }
        let Frame { kind, channel, payload, length } = frame;
        match kind {
            Kind::Hello if self.info.is_none() => {
                if length > MAX_HELLO && self.names.is_none() {
                    return Err(format!("a HELLO of {length} bytes"));
                }
                self.greeted_with_names(&payload).map_err(|error| format!("HELLO: {error}"))?;
                self.info = Some(Info::read(&payload).map_err(|error| format!("HELLO: {error}"))?);
                self.touched = true;
            }
            Kind::Data | Kind::Escaped => self.data(channel, payload, kind == Kind::Escaped)?,
            Kind::Close => self.heard_close(channel, &payload, length)?,
            Kind::Last => {
                let chan = self.channels.get_mut(&channel).filter(|chan| chan.taking.is_none());
                if let Some(chan) = chan {
                    chan.heard_last = true;
                    self.touched = true;
                }
            }
            Kind::Credit => {
                let credit: [u8; 8] = payload.as_ref().try_into().map_err(|_| "a short CREDIT")?;
                if let Some(chan) = self.channels.get_mut(&channel) {
                    chan.credit = chan.credit.max(u64::from_be_bytes(credit));
                    self.touched = true;
                }
            }
            Kind::Status => {
                if self.answered == self.asked {
                    return Err("a STATUS that nobody asked for".into());
                }
                self.answered += 1;
                let status = self.value(&payload).map_err(|error| format!("STATUS: {error}"))?;
                if let Some(answer) = self.answers.get_mut(&self.answered) {
                    *answer = Some(status);
                    self.touched = true;
                }
            }
            Kind::StrConfig => {
                let strconfig =
                    StrConfig { py2str_as_py3str: payload[0] != 0, py3str_as_py2str: payload[1] != 0 };
                self.set_strconfig(channel, strconfig);
            }
            Kind::Took if self.names.is_some() => {
                let count: [u8; 8] = payload.as_ref().try_into().map_err(|_| "a short TOOK")?;
                self.heard_took(channel, u64::from_be_bytes(count))?;
            }
            Kind::Name if self.names.is_some() => self.heard_name(channel, &payload)?,
            Kind::Took
            | Kind::Name
            | Kind::Hello
            | Kind::Exec
            | Kind::Exit
            | Kind::Interrupt
            | Kind::Packages
            | Kind::Files => {
                return Err(format!("a frame {kind:?} where there cannot be one"));
            }
        }
        Ok(())
    }

    fn data(
        &mut self,
        channel: u32,
        payload: std::borrow::Cow<'_, [u8]>,
        escaped: bool,
    ) -> Result<(), String> {
        if !self.channels.contains_key(&channel) && is_theirs(channel) {
            self.open_theirs(channel)?;
        }
        let Some(chan) = self.channels.get_mut(&channel) else { return Ok(()) };
        if chan.said_close || chan.heard_close || chan.heard_last {
            return Ok(());
        }
        if chan.received >= chan.told {
            return Err(format!("more on channel {channel} than it has credit for"));
        }
        let cost = Inbox::cost(payload.len());
        if self.held + payload.len() > MAX_HELD {
            return Err("more than 1 GiB of unreceived data".into());
        }
        chan.received += payload.len() as u64;
        let (length, has_name) = (payload.len(), chan.taking.is_some());
        if escaped {
            self.check_named(channel, &payload, escaped)?;
            for number in mentioned(&payload)? {
                self.mention(number)?;
            }
        }
        if let Some(chan) = self.channels.get_mut(&channel) {
            self.held += cost;
            chan.inbox.push(payload, escaped);
            self.touched = true;
        }
        if has_name {
            self.arrived_named(channel, length);
        }
        Ok(())
    }

    fn heard_close(&mut self, channel: u32, payload: &[u8], length: usize) -> Result<(), String> {
        let mut error = remote_error::heard(payload, length, |payload| self.value(payload))?;
        if self.is_named(channel) {
            return self.heard_close_named(channel, error);
        }
        if self.names.is_some() && self.heard_refusal(channel, &mut error) {
            return Ok(());
        }
        let (room, exiting) = (MAX_HELD.saturating_sub(self.held), self.exiting);
        let Some(chan) = self.channels.get_mut(&channel) else { return Ok(()) };
        if std::mem::replace(&mut chan.heard_close, true) {
            return Ok(());
        }
        let said_close = std::mem::replace(&mut chan.said_close, true);
        if !said_close {
            self.out.push(frame(Kind::Close, channel, b""));
        }
        if let Some(error) = error.filter(|_| !said_close || chan.dropped) {
            if error.len() > room {
                return Err("more than 1 GiB of unreceived data".into());
            }
            self.held += error.len();
            chan.expected = exiting && !chan.dropped;
            chan.error = Some(error);
        }
        self.touched = true;
        self.forget(channel);
        Ok(())
    }

    /// A value mentions a channel, which exists from now on.
    fn mention(&mut self, number: u32) -> Result<(), String> {
        if self.channels.contains_key(&number) {
            return Ok(());
        }
        if is_theirs(number) {
            return self.open_theirs(number);
        }
        // one of ours that is closed, as a handle for it would show
        if number < self.next {
            Ok(())
        } else {
            Err(format!("a value with channel {number}, which does not exist"))
        }
    }

    fn open_theirs(&mut self, number: u32) -> Result<(), String> {
        if self.is_unopened(number) {
            return Err(format!("something on channel {number}, whose name nobody has asked for"));
        }
        if self.untaken == MAX_UNTAKEN {
            return Err(format!("it opened {MAX_UNTAKEN} channels that nobody has taken"));
        }
        self.untaken += 1;
        self.channels.insert(number, Chan { untaken: true, ..self.chan() });
        Ok(())
    }

    fn chan(&self) -> Chan {
        Chan { credit: self.window, told: self.window, strconfig: self.strconfig, ..Chan::default() }
    }

    /// Opens a channel, with one handle.
    pub(super) fn open(&mut self) -> u32 {
        let number = self.next;
        self.next += 2;
        self.channels.insert(number, Chan { handles: 1, ..self.chan() });
        number
    }

    /// Adds a handle. A channel that is gone counts as closed.
    pub(super) fn take_handle(&mut self, number: u32) {
        let gone = Chan { said_close: true, heard_close: true, ..Chan::default() };
        let chan = self.channels.entry(number).or_insert(gone);
        chan.handles += 1;
        if std::mem::take(&mut chan.untaken) {
            self.untaken -= 1;
        }
    }

    /// Removes a handle. Without handles, only its callback receives on the channel.
    pub(super) fn drop_handle(&mut self, number: u32) {
        let Some(chan) = self.channels.get_mut(&number) else { return };
        chan.handles -= 1;
        if chan.handles > 0 {
            return;
        }
        if chan.taking.is_some() {
            self.forget(number);
        } else if chan.has_callback {
            self.close_sending(number);
        } else {
            chan.dropped |= !chan.said_close;
            self.close(number, None);
        }
    }

    /// Declares that nothing more is sent on a channel.
    pub(super) fn close_sending(&mut self, number: u32) {
        let Some(chan) = self.channels.get_mut(&number) else { return };
        let is_news = !chan.said_close && !std::mem::replace(&mut chan.said_last, true);
        if is_news && chan.taking.is_none() {
            self.out.push(frame(Kind::Last, number, b""));
        }
    }

    /// The channel's callback has failed: it panicked, or could not take a value.
    pub(super) fn callback_failed(&mut self, number: u32, error: ChannelError) {
        if let Some(chan) = self.channels.get_mut(&number) {
            chan.failed = Some(error);
        }
    }

    /// The channel's callback has had everything.
    pub(super) fn callback_over(&mut self, number: u32) {
        if let Some(chan) = self.channels.get_mut(&number) {
            chan.has_callback = false;
            chan.awaited = None;
            self.touched = true;
            self.saw_end(number);
            self.forget(number);
        }
    }

    /// Why the channel's callback ended early, once.
    pub(super) fn take_failure(&mut self, number: u32) -> Option<ChannelError> {
        self.channels.get_mut(&number)?.failed.take()
    }

    /// Closes a channel, with an encoded error if there is one.
    pub(super) fn close(&mut self, number: u32, error: Option<&[u8]>) {
        let Some(chan) = self.channels.get_mut(&number) else { return };
        if !std::mem::replace(&mut chan.said_close, true) {
            self.out.push(frame(Kind::Close, number, error.unwrap_or_default()));
            self.touched = true;
            self.unname(number);
            self.drop_untaken_values(number);
        }
        self.forget(number);
    }

    /// Forgets a channel that is closed and has no handles. Drops what it holds as soon as it has no handles.
    fn forget(&mut self, number: u32) {
        let mut numbers = vec![number];
        while let Some(number) = numbers.pop() {
            let Some(chan) = self.channels.get_mut(&number) else { continue };
            let is_closed = chan.said_close && chan.heard_close;
            let stays = chan.taking.is_some() && !is_closed;
            if chan.handles > 0 || chan.has_callback || chan.untaken || stays {
                continue;
            }
            self.held -= chan.inbox.held();
            if let Some(error) = chan.error.take() {
                self.held -= error.len();
                if !chan.expected && error != remote_error::INTERRUPTED {
                    self.untold.push(error);
                }
            }
            let mut inbox = std::mem::take(&mut chan.inbox);
            if is_closed {
                self.channels.remove(&number);
            }
            // channels in these values that nobody will ever see
            while let Some((value, escaped)) = inbox.pop() {
                if escaped && let Ok(mentioned) = mentioned(&value) {
                    numbers.extend(mentioned.into_iter().filter(|&number| self.drop_untaken(number)));
                }
            }
        }
    }

    fn drop_untaken(&mut self, number: u32) -> bool {
        let Some(chan) = self.channels.get_mut(&number).filter(|chan| chan.untaken) else { return false };
        chan.untaken = false;
        self.untaken -= 1;
        if !std::mem::replace(&mut chan.said_close, true) {
            self.out.push(frame(Kind::Close, number, b""));
        }
        true
    }

    /// Sends a value, whether there is credit or not: see [`Chan::can_send`].
    pub(super) fn send(&mut self, number: u32, encoded: Encoded) {
        let Encoded { mut bytes, escaped, .. } = encoded;
        let length = bytes.len() - HEAD;
        let kind = if escaped { Kind::Escaped } else { Kind::Data };
        bytes[..HEAD].copy_from_slice(&head(kind, number, length));
        self.out.push(bytes);
        if let Some(chan) = self.channels.get_mut(&number) {
            chan.sent += length as u64;
        }
    }

    /// Sends EXEC on a channel.
    pub(super) fn exec(&mut self, number: u32, code: Encoded) {
        let mut bytes = code.bytes;
        let length = bytes.len() - HEAD;
        bytes[..HEAD].copy_from_slice(&head(Kind::Exec, number, length));
        self.out.push(bytes);
    }

    /// Takes the next value of a channel. [`Protocol::took`] returns its credit.
    pub(super) fn receive(&mut self, number: u32, take_error: bool) -> Next {
        let Some(chan) = self.channels.get_mut(&number) else { return Next::Closed };
        if chan.taking.is_some() {
            return self.receive_named(number, take_error);
        }
        if let Some((bytes, escaped)) = chan.inbox.pop() {
            self.held -= Inbox::cost(bytes.len());
            return Next::Value { bytes, escaped };
        }
        if !chan.receives_no_more() {
            return Next::Nothing;
        }
        let error = if take_error { self.take_error(number) } else { None };
        error.map_or(Next::Closed, Next::Error)
    }

    /// The error with which the other end closed a channel, once.
    pub(super) fn take_error(&mut self, number: u32) -> Option<String> {
        let error = self.channels.get_mut(&number)?.error.take()?;
        self.held -= error.len();
        Some(error)
    }

    /// The program has received a value with this length.
    pub(super) fn took(&mut self, number: u32, length: usize) {
        let window = self.window;
        let Some(chan) = self.channels.get_mut(&number) else { return };
        chan.taken += length as u64;
        if chan.taking.is_some() {
            return;
        }
        let since_told = (chan.taken + window).saturating_sub(chan.told);
        if !chan.receives_no_more() && since_told >= (window / 4).max(1) {
            chan.told = chan.taken + window;
            self.out.push(frame(Kind::Credit, number, &chan.told.to_be_bytes()));
        }
    }

    /// Takes back the value that was received last: it comes next. Credit that was granted for it stays.
    pub(super) fn give_back(&mut self, number: u32, bytes: Bytes, escaped: bool) {
        let Some(chan) = self.channels.get_mut(&number) else { return };
        chan.taken -= bytes.len() as u64;
        self.held += Inbox::cost(bytes.len());
        chan.inbox.give_back(bytes, escaped);
        Self::give_back_named(chan);
        self.touched = true;
    }

    /// Asks for the kernel's status. The answer gets this number.
    pub(super) fn ask_status(&mut self) -> u64 {
        self.asked += 1;
        self.answers.insert(self.asked, None);
        self.out.push(frame(Kind::Status, 0, b""));
        self.asked
    }

    /// Sends a frame that concerns the whole gateway: EXIT, INTERRUPT.
    pub(super) fn say(&mut self, kind: Kind) {
        self.exiting |= kind == Kind::Exit;
        self.out.push(frame(kind, 0, b""));
    }

    /// Sets how text and bytes are converted, at both ends; for channel 0, on all channels that are created
    /// from now on.
    pub(super) fn reconfigure(&mut self, channel: u32, strconfig: StrConfig) {
        let StrConfig { py2str_as_py3str, py3str_as_py2str } = strconfig;
        let payload = [py2str_as_py3str.into(), py3str_as_py2str.into()];
        self.out.push(frame(Kind::StrConfig, channel, &payload));
        self.set_strconfig(channel, strconfig);
    }

    fn set_strconfig(&mut self, channel: u32, strconfig: StrConfig) {
        if channel == 0 {
            self.strconfig = strconfig;
        } else if let Some(chan) = self.channels.get_mut(&channel) {
            chan.strconfig = strconfig;
        }
    }

    /// How text and bytes are converted on a channel.
    pub(super) fn strconfig(&self, channel: u32) -> StrConfig {
        self.channels.get(&channel).map_or(self.strconfig, |chan| chan.strconfig)
    }

    /// What the kernel supports.
    pub(super) fn target(&self) -> Target {
        self.info.as_ref().map(Info::target).unwrap_or_default()
    }

    fn value(&self, payload: &[u8]) -> Result<Value, crate::value::LoadError> {
        let dialect = self.target().dialect;
        Value::decode(payload, Reading { dialect, ..Reading::default() })
    }
}

fn is_theirs(channel: u32) -> bool {
    channel != 0 && channel.is_multiple_of(2)
}

/// The channels in a value.
fn mentioned(payload: &[u8]) -> Result<Vec<u32>, String> {
    // how text is converted does not matter here
    let mut reader = Reader::new(payload, Reading { escaped: true, ..Reading::default() });
    let mut numbers = Vec::new();
    while let Some(token) = reader.next_token().map_err(|error| error.to_string())? {
        if let Token::Channel(number) = token {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests;
