//! What the daemon knows about one forwarded process: whether frames may pass, and within which credit.
//!
//! A client's lie must end its own connection, not the link of a host that others use. So anything that an
//! agent would treat as a breach is detected here, as far as this life of the daemon has seen the process.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::feature::Feature;
use crate::prefix;
use crate::process::MAX_COUNT;
use crate::stream::{MAX_WINDOW, POOL, STDIN_WINDOW, Violation, check_window};
use crate::wire::{Exit, Frame, Role, Span, Spawn, Standing, Stream};

/// The gate of one process.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// The attempt that passed on this attach.
    attempt: Option<u32>,
    /// It was the first SPAWN: stdin begins at zero and need not wait for the answer.
    fresh: bool,
    /// Of stdin the agent may have so many bytes before they were forwarded.
    prefix: u64,
    /// Whether the agent has answered it.
    answered: bool,
    /// The number of a TAKE that passed, and its client's own number.
    taking: Option<(u32, u32)>,
    /// It was answered on this attach.
    taken: bool,
    accounts: [Account; 3],
    lengths: [Option<u64>; 3],
    past: Past,
}

/// Facts from earlier attaches too.
#[derive(Clone, Debug, Default)]
struct Past {
    attempt: u32,
    /// Hash of the SPAWN.
    spawn: Option<u64>,
    outputs: [Output; 2],
    /// An earlier daemon saw the beginning.
    claimed: bool,
    /// It is kept work: before it is resumed it is taken.
    kept: bool,
    /// Its outputs may have gaps.
    skips: bool,
    /// It was started before: no SPAWN starts it.
    taken: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Output {
    /// The client's bytes end here at the latest.
    forwarded: u64,
    /// The client acknowledged everything before this position.
    acknowledged: u64,
}

/// One stream: how much was forwarded, and its bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    position: u64,
    span: Span,
    /// Everything before this was skipped: CREDIT that does not know of it yet counts from here.
    floor: u64,
    /// The receiver has everything before this, whether it was forwarded or not: the sender may go on here.
    had: u64,
}

/// The account of one client or one host.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Credit that it has given to all its streams together.
    granted: u64,
    /// Bytes of processes that no longer count. It had credit for them and may have sent them before it knew.
    late: u64,
}

impl Outstanding {
    /// More bytes that may still come without counting.
    pub(super) fn expect_late(&mut self, bytes: u64) {
        self.late = (self.late + bytes).min(POOL);
    }

    /// Whether bytes that do not count may be among these.
    pub(super) fn are_late(&mut self, bytes: u64) -> bool {
        let may = bytes <= self.late;
        self.late -= if may { bytes } else { 0 };
        may
    }
}

impl Relay {
    /// The relay of a process that an earlier daemon forwarded before, and that is `kept` for certain.
    pub(super) fn claimed(kept: bool) -> Self {
        // it may be a reader
        Self { past: Past { claimed: true, skips: true, kept, ..Past::default() }, ..Self::default() }
    }

    /// Whether an earlier daemon forwarded it, and it is not known whether it is kept.
    pub(super) fn is_claimed(&self) -> bool {
        self.past.claimed && self.past.spawn.is_none()
    }

    /// A client asks to take it: it is kept, and was started before.
    pub(super) fn is_kept(&mut self) {
        (self.past.kept, self.past.skips, self.past.taken) = (true, true, true);
    }

    /// A client's TAKE passes, as this number. Until the answer nothing else does.
    pub(super) fn client_takes(
        &mut self,
        number: u32,
        attempt: u32,
        client: &mut Outstanding,
        host: &mut Outstanding,
    ) {
        self.shut(Some(client), host);
        self.taking = Some((number, attempt));
    }

    /// Whether the agent has said on this attach that its client holds it, and nothing else was asked since.
    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    /// The client's number of the TAKE that this TAKEN answers.
    pub(super) fn asked(&self, number: u32) -> Option<u32> {
        self.taking.filter(|(ours, _)| *ours == number).map(|(_, theirs)| theirs)
    }

    /// Nothing passes any more, and the credit granted no longer counts.
    pub(super) fn shut(&mut self, client: Option<&mut Outstanding>, host: &mut Outstanding) {
        if let Some(client) = client {
            client.granted -= self.accounts[1].open() + self.accounts[2].open();
        }
        host.granted -= self.accounts[0].open();
        host.expect_late(self.accounts[1].open() + self.accounts[2].open());
        *self = Self { past: std::mem::take(&mut self.past), ..Self::default() };
    }

    /// Whether these bytes are the next ones of a stream, and DATA of it passes within credit and length.
    pub(super) fn passes(&self, stream: Stream, position: u64, length: u64) -> bool {
        let may = if stream == Stream::Stdin { self.fresh || self.answered } else { self.answered };
        let account = &self.accounts[stream.index()];
        let end = position.saturating_add(length);
        self.attempt.is_some()
            && may
            && position == account.position
            && end <= account.span.limit
            && self.lengths[stream.index()].is_none_or(|length| end <= length)
    }

    /// So many bytes of a stream passed.
    pub(super) fn passed(&mut self, stream: Stream, length: u64) {
        let account = &mut self.accounts[stream.index()];
        account.position += length;
        if stream != Stream::Stdin {
            let output = &mut self.past.outputs[stream.index() - 1];
            output.forwarded = output.forwarded.max(account.position);
        }
    }

    /// Whether a frame from the client may pass to the agent.
    pub(super) fn client_says(
        &mut self,
        frame: &Frame,
        client: &mut Outstanding,
        host: &mut Outstanding,
    ) -> Result<bool, Violation> {
        match frame {
            Frame::Spawn(spawn) => {
                self.past.attempt(spawn.attempt)?;
                self.past.spawn(spawn)?;
                self.shut(Some(client), host);
                self.attempt = Some(spawn.attempt);
                self.fresh = spawn.attempt == 1;
                self.prefix = prefix::length(spawn)?;
                let stdin = if self.fresh { STDIN_WINDOW } else { 0 };
                for (index, limit) in [stdin, spawn.stdout_limit, spawn.stderr_limit].into_iter().enumerate()
                {
                    let owner = if index == 0 { &mut *host } else { &mut *client };
                    self.accounts[index].grant(Span { received: 0, limit }, owner)?;
                }
                Ok(true)
            }
            // what was asked for before a break, or by somebody who has lost it
            Frame::Resume { .. } if self.past.kept && !self.taken => Ok(false),
            Frame::Resume { attempt, stdout, stderr, .. } => {
                self.past.attempt(*attempt)?;
                for (output, span) in self.past.outputs.iter_mut().zip([stdout, stderr]) {
                    output.resume(*span, self.past.claimed)?;
                }
                self.past.claimed = false;
                let taken = self.taken;
                self.shut(Some(client), host);
                self.taken = taken;
                self.attempt = Some(*attempt);
                for (index, span) in [(1, stdout), (2, stderr)] {
                    self.accounts[index].restart(*span, client)?;
                }
                Ok(true)
            }
            // a client that waits for an answer sends nothing; this was on its way before
            _ if self.attempt.is_none() || (!self.fresh && !self.answered) => Ok(false),
            Frame::Data { stream: Stream::Stdin, position, bytes, .. } => {
                self.accounts[0].data(*position, bytes.len() as u64)?;
                self.within(Stream::Stdin)
            }
            Frame::Credit { stream, span, .. } if *stream != Stream::Stdin => {
                self.accounts[stream.index()].credit(*span, client)?;
                let output = &mut self.past.outputs[stream.index() - 1];
                output.acknowledged = output.acknowledged.max(span.received);
                Ok(true)
            }
            Frame::Fin { stream: Stream::Stdin, length, .. } if *length < self.prefix => {
                Err(Violation::WrongEnd { length: *length, end: self.prefix })
            }
            Frame::Fin { stream: Stream::Stdin, length, .. } => {
                self.length(Stream::Stdin, *length)?;
                Ok(true)
            }
            // whoever takes it next counts on
            Frame::Signal { sequence, .. } | Frame::Size { sequence, .. } => {
                if self.past.kept && *sequence > MAX_COUNT { Err(Violation::TooHigh) } else { Ok(true) }
            }
            Frame::Stop { stream, .. } if *stream != Stream::Stdin => Ok(true),
            _ => Err(Violation::Unexpected("client's")),
        }
    }

    /// Whether a frame from the agent may pass to the client.
    pub(super) fn agent_says(
        &mut self,
        frame: &Frame,
        client: &mut Outstanding,
        host: &mut Outstanding,
    ) -> Result<bool, Violation> {
        match frame {
            Frame::Taken { .. } if !self.past.kept => Err(Violation::Unexpected("agent's")),
            Frame::Taken { attempt, tenure, standing, .. } => {
                if self.taking.take_if(|(ours, _)| ours == attempt).is_none() {
                    return Ok(false);
                }
                self.past.goes_on(*tenure, standing)?;
                self.taken = true;
                Ok(true)
            }
            Frame::Resumed { attempt, stdin, .. } => {
                if self.attempt != Some(*attempt) || self.answered {
                    return Ok(false);
                }
                self.answered = true;
                if self.fresh {
                    self.accounts[0].has(stdin.received.min(self.prefix));
                    self.accounts[0].credit(*stdin, host)?;
                } else {
                    self.accounts[0].restart(*stdin, host)?;
                }
                Ok(true)
            }
            _ if !self.answered => Ok(false),
            Frame::Data { stream, position, bytes, .. } if *stream != Stream::Stdin => {
                let account = &mut self.accounts[stream.index()];
                account.data(*position, bytes.len() as u64)?;
                let output = &mut self.past.outputs[stream.index() - 1];
                output.forwarded = output.forwarded.max(account.position);
                self.within(*stream)
            }
            Frame::Skip { stream, position, .. } if *stream != Stream::Stdin && self.past.skips => {
                let counts = self.accounts[stream.index()].skip(*position, client)?;
                let output = &mut self.past.outputs[stream.index() - 1];
                output.forwarded = output.forwarded.max(*position);
                Ok(self.within(*stream)? && counts)
            }
            Frame::Credit { stream: Stream::Stdin, span, .. } => {
                self.accounts[0].credit(*span, host)?;
                Ok(true)
            }
            Frame::Fin { stream, length, .. } if *stream != Stream::Stdin => {
                self.length(*stream, *length)?;
                Ok(true)
            }
            Frame::Exit { exit: Exit { stdout, stderr, .. }, .. } => {
                self.length(Stream::Stdout, *stdout)?;
                self.length(Stream::Stderr, *stderr)?;
                Ok(true)
            }
            Frame::Stop { stream: Stream::Stdin, .. } | Frame::Started { .. } | Frame::Signaled { .. } => {
                Ok(true)
            }
            _ => Err(Violation::Unexpected("agent's")),
        }
    }

    fn within(&self, stream: Stream) -> Result<bool, Violation> {
        let end = self.accounts[stream.index()].position;
        match self.lengths[stream.index()] {
            Some(length) if end > length => Err(Violation::WrongEnd { length, end }),
            _ => Ok(true),
        }
    }

    fn length(&mut self, stream: Stream, length: u64) -> Result<(), Violation> {
        let end = self.accounts[stream.index()].position;
        let before = self.lengths[stream.index()].replace(length);
        if end > length || before.is_some_and(|before| before != length) {
            return Err(Violation::WrongEnd { length, end });
        }
        Ok(())
    }
}

impl Past {
    fn attempt(&mut self, attempt: u32) -> Result<(), Violation> {
        if self.kept && attempt > MAX_COUNT {
            return Err(Violation::TooHigh);
        }
        if attempt <= self.attempt {
            return Err(Violation::Unexpected("repeated attempt's"));
        }
        self.attempt = attempt;
        Ok(())
    }

    /// Everything counts on from here.
    fn goes_on(&mut self, tenure: u32, standing: &Standing) -> Result<(), Violation> {
        let Standing { attempt, signals, sizes, stdout, stderr, .. } = *standing;
        if [tenure, attempt, signals, sizes].into_iter().any(|count| count > MAX_COUNT) {
            return Err(Violation::TooHigh);
        }
        let outputs = [stdout, stderr].map(|held| Output { forwarded: held.end, acknowledged: 0 });
        *self = Self { attempt, spawn: None, outputs, claimed: false, kept: true, skips: true, taken: true };
        Ok(())
    }

    fn spawn(&mut self, spawn: &Spawn) -> Result<(), Violation> {
        if self.taken {
            return Err(Violation::Unexpected("SPAWN of what was taken"));
        }
        let keeps = spawn.options.iter().any(|(key, _)| key == Feature::Keep.name());
        self.kept |= keeps && spawn.role != Role::Read;
        self.skips |= keeps;
        for output in &mut self.outputs {
            output.resume(Span::default(), self.claimed)?;
        }
        let mut hasher = DefaultHasher::new();
        Frame::Spawn(Box::new(Spawn { attempt: 0, ..spawn.clone() })).to_bytes().hash(&mut hasher);
        let hash = hasher.finish();
        match self.spawn.replace(hash) {
            Some(before) if before != hash => Err(Violation::OtherSpawn(spawn.id)),
            _ => Ok(()),
        }
    }
}

impl Output {
    fn resume(&mut self, span: Span, claimed: bool) -> Result<(), Violation> {
        if claimed {
            self.forwarded = self.forwarded.max(span.received);
        }
        if span.received > self.forwarded {
            return Err(Violation::AcknowledgedUnsent { received: span.received, sent: self.forwarded });
        }
        if span.received < self.acknowledged {
            return Err(Violation::WentBack { before: self.acknowledged, now: span.received });
        }
        self.acknowledged = span.received;
        Ok(())
    }
}

impl Account {
    fn open(&self) -> u64 {
        self.span.limit - self.span.received
    }

    /// A new attempt continues at the receiver's position.
    fn restart(&mut self, span: Span, owner: &mut Outstanding) -> Result<(), Violation> {
        owner.granted -= self.open();
        let position = span.received;
        *self = Self { position, span: Span { received: position, limit: position }, floor: 0, had: 0 };
        self.grant(span, owner)
    }

    /// SKIP: everything before this position counts as received. False if that is nothing new.
    fn skip(&mut self, position: u64, owner: &mut Outstanding) -> Result<bool, Violation> {
        if position < self.position {
            return Err(Violation::WentBack { before: self.position, now: position });
        }
        if position == self.position {
            return Ok(false);
        }
        let span = Span { received: position, limit: self.span.limit.max(position) };
        (self.position, self.floor) = (position, position);
        self.grant(span, owner)?;
        Ok(true)
    }

    /// CREDIT within an attempt.
    fn credit(&mut self, span: Span, owner: &mut Outstanding) -> Result<(), Violation> {
        check_window(span)?;
        let span = Span { received: span.received.max(self.floor), limit: span.limit.max(self.floor) };
        if span.received > self.position.max(self.had) {
            return Err(Violation::AcknowledgedUnsent { received: span.received, sent: self.position });
        }
        if span.received < self.span.received || span.limit < self.span.limit {
            return Err(Violation::WentBack { before: self.span.limit, now: span.limit });
        }
        self.grant(span, owner)
    }

    fn grant(&mut self, span: Span, owner: &mut Outstanding) -> Result<(), Violation> {
        check_window(span)?;
        let sum = owner.granted - self.open() + (span.limit - span.received);
        if sum > POOL {
            return Err(Violation::PoolExceeded);
        }
        owner.granted = sum;
        self.span = span;
        Ok(())
    }

    fn has(&mut self, position: u64) {
        self.had = position;
    }

    fn data(&mut self, position: u64, length: u64) -> Result<(), Violation> {
        if position != self.position && !(position == self.had && position > self.position) {
            return Err(Violation::Gap { position, received: self.position });
        }
        let end = position + length;
        if end > self.span.limit {
            return Err(Violation::OverCredit { end, limit: self.span.limit });
        }
        self.position = end;
        Ok(())
    }
}

const _: () = assert!(MAX_WINDOW <= POOL);
