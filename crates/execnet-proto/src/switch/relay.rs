//! What the daemon knows of one process that it forwards for: whether frames may pass, and within which credit.

use crate::frame::{Frame, Span, Stream};
use crate::stream::{MAX_WINDOW, POOL, STDIN_WINDOW, Violation, check_window};

/// The gate of one process.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// The attempt that passed on this attach.
    attempt: Option<u32>,
    /// It was the first SPAWN: stdin begins at zero and need not wait for the answer.
    fresh: bool,
    /// The agent has answered it.
    answered: bool,
    accounts: [Account; 3],
    lengths: [Option<u64>; 3],
}

/// One stream: what was forwarded, and within which bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    position: u64,
    span: Span,
}

/// Credit that one client or one host has given to all its streams together.
#[derive(Debug, Default)]
pub(super) struct Outstanding(u64);

impl Relay {
    /// Nothing passes any more; what was granted does not count any more.
    pub(super) fn shut(&mut self, client: Option<&mut Outstanding>, host: &mut Outstanding) {
        if let Some(client) = client {
            client.0 -= self.accounts[1].open() + self.accounts[2].open();
        }
        host.0 -= self.accounts[0].open();
        *self = Self::default();
    }

    /// Whether a frame from the client may go on to the agent.
    pub(super) fn from_client(
        &mut self,
        frame: &Frame,
        client: &mut Outstanding,
        host: &mut Outstanding,
    ) -> Result<bool, Violation> {
        match frame {
            Frame::Spawn(spawn) => {
                self.shut(Some(client), host);
                self.attempt = Some(spawn.attempt);
                self.fresh = spawn.attempt == 1;
                let stdin = if self.fresh { STDIN_WINDOW } else { 0 };
                for (index, limit) in [stdin, spawn.stdout_limit, spawn.stderr_limit].into_iter().enumerate()
                {
                    let owner = if index == 0 { &mut *host } else { &mut *client };
                    self.accounts[index].grant(Span { received: 0, limit }, owner)?;
                }
                Ok(true)
            }
            Frame::Resume { attempt, stdout, stderr, .. } => {
                self.shut(Some(client), host);
                self.attempt = Some(*attempt);
                for (index, span) in [(1, stdout), (2, stderr)] {
                    self.accounts[index].restart(*span, client)?;
                }
                Ok(true)
            }
            _ if self.attempt.is_none() => Ok(false),
            Frame::Data { stream: Stream::Stdin, position, bytes, .. } => {
                if !self.fresh && !self.answered {
                    return Ok(false);
                }
                self.accounts[0].data(*position, bytes.len() as u64)?;
                Ok(true)
            }
            Frame::Credit { stream, span, .. } if *stream != Stream::Stdin => {
                self.accounts[stream.index()].credit(*span, client)?;
                Ok(true)
            }
            Frame::Fin { stream: Stream::Stdin, .. } | Frame::Signal { .. } => Ok(true),
            Frame::Stop { stream, .. } if *stream != Stream::Stdin => Ok(true),
            _ => Err(Violation::Unexpected("client's")),
        }
    }

    /// Whether a frame from the agent may go on to the client.
    pub(super) fn from_agent(&mut self, frame: &Frame, host: &mut Outstanding) -> Result<bool, Violation> {
        match frame {
            Frame::Resumed { attempt, stdin, .. } => {
                if self.attempt != Some(*attempt) || self.answered {
                    return Ok(false);
                }
                self.answered = true;
                if self.fresh {
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
                match self.lengths[stream.index()] {
                    Some(length) if account.position > length => {
                        Err(Violation::WrongEnd { length, end: account.position })
                    }
                    _ => Ok(true),
                }
            }
            Frame::Credit { stream: Stream::Stdin, span, .. } => {
                self.accounts[0].credit(*span, host)?;
                Ok(true)
            }
            Frame::Fin { stream, length, .. } if *stream != Stream::Stdin => {
                self.length(*stream, *length)?;
                Ok(true)
            }
            Frame::Exit { stdout, stderr, .. } => {
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

    fn length(&mut self, stream: Stream, length: u64) -> Result<(), Violation> {
        let end = self.accounts[stream.index()].position;
        let before = self.lengths[stream.index()].replace(length);
        if end > length || before.is_some_and(|before| before != length) {
            return Err(Violation::WrongEnd { length, end });
        }
        Ok(())
    }
}

impl Account {
    fn open(&self) -> u64 {
        self.span.limit - self.span.received
    }

    /// A new attempt goes on where the receiver is.
    fn restart(&mut self, span: Span, owner: &mut Outstanding) -> Result<(), Violation> {
        owner.0 -= self.open();
        *self =
            Self { position: span.received, span: Span { received: span.received, limit: span.received } };
        self.grant(span, owner)
    }

    /// CREDIT within an attempt.
    fn credit(&mut self, span: Span, owner: &mut Outstanding) -> Result<(), Violation> {
        if span.received > self.position {
            return Err(Violation::AcknowledgedUnsent { received: span.received, sent: self.position });
        }
        if span.received < self.span.received || span.limit < self.span.limit {
            return Err(Violation::WentBack { before: self.span.limit, now: span.limit });
        }
        self.grant(span, owner)
    }

    fn grant(&mut self, span: Span, owner: &mut Outstanding) -> Result<(), Violation> {
        check_window(span)?;
        let sum = owner.0 - self.open() + (span.limit - span.received);
        if sum > POOL {
            return Err(Violation::PoolExceeded);
        }
        owner.0 = sum;
        self.span = span;
        Ok(())
    }

    fn data(&mut self, position: u64, length: u64) -> Result<(), Violation> {
        if position != self.position {
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
