//! How a client holds kept work: TAKE after each break, and from where whoever takes it goes on
//! (docs/protocol.md, section 6).

use super::{Phase, Process, Terminal};
use crate::conn::Conn;
use crate::feature::Feature;
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::kept::Replay;
use crate::stream::{OUTPUT_WINDOW, RecvStream, SendStream, Violation};
use crate::terminal::TerminalSize;
use crate::wire::{Frame, Role, Spawn, Standing, Stream, Table};

/// The tenure of whoever started it.
const FIRST: u32 = 1;

/// A number above this comes from no honest peer: nothing that is counted here gets so far. So counting on
/// never ends at the largest number.
pub(crate) const MAX_COUNT: u32 = u32::MAX / 2;

/// The same for positions.
const MAX_POSITION: u64 = u64::MAX / 4;

/// What begins the message of a loss to another program.
pub(crate) const TAKEN_OVER: &str = "taken over by ";

/// How LOST of kept work begins whose host leaves the network without ending it (docs/protocol.md, 6).
pub(crate) const STAYS: &str = "stays there: ";

/// Why a process was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Another program holds it now.
    TakenOver,
    /// Its host has left the network, and it goes on there.
    Stays,
    /// Everything else.
    Gone,
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    /// 0 until it is known.
    tenure: u32,
    /// Somebody else started it.
    taker: bool,
    /// The number of its last TAKE.
    pub(super) asked: u32,
    /// What is wanted of earlier output, until it was taken.
    replay: Option<Replay>,
    /// Where stdout and stderr ended when it was taken.
    ends: [u64; 2],
}

impl Hold {
    /// For a process that this SPAWN starts, if it is to be kept.
    pub(super) fn of(spawn: &Spawn) -> Option<Self> {
        let keeps = spawn.options.iter().any(|(key, _)| key == Feature::Keep.name());
        (keeps && spawn.role != Role::Read).then(Self::default)
    }
}

impl Process {
    /// A process that was started before, and that this client is about to take.
    pub(crate) fn taking(
        id: ProcessId,
        owner: ClientId,
        incarnation: Incarnation,
        host: String,
        replay: Replay,
        number: u16,
    ) -> Self {
        let mut process = Self::new(Spawn {
            id,
            attempt: 0,
            incarnation,
            owner,
            role: Role::Plain,
            stdout_limit: 0,
            stderr_limit: 0,
            host,
            node: String::new(),
            chdir: String::new(),
            args: Vec::new(),
            env: Table::new(),
            options: Table::new(),
        });
        process.stdin = SendStream::at(0);
        process.hold = Some(Hold {
            taker: true,
            // no TAKE of an earlier number is mistaken for one of these
            asked: u32::from(number) << 16,
            replay: Some(replay),
            ..Hold::default()
        });
        process
    }

    /// Whether it is kept work, or is to be.
    pub fn is_kept(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether it can be taken: it is certainly kept.
    pub(crate) fn takes(&self) -> bool {
        let Some(hold) = self.hold else { return false };
        // one that could not be started is confirmed, too, but nothing is kept
        hold.taker || hold.tenure > 0 && (self.pid.is_some() || self.received() > 0)
    }

    /// Whether this client has it now, or had it before a break.
    pub fn is_held(&self) -> bool {
        self.hold.is_some_and(|hold| hold.tenure > 0) && self.lost.is_none()
    }

    /// What kind of loss it was, if it was lost.
    pub fn loss(&self) -> Option<Loss> {
        let message = self.lost.as_ref()?;
        let begins = |with: &str| self.hold.is_some() && message.starts_with(with);
        Some(match () {
            () if begins(TAKEN_OVER) => Loss::TakenOver,
            () if begins(STAYS) => Loss::Stays,
            () => Loss::Gone,
        })
    }

    /// The position at which stdout or stderr ended when this client took the process: what stands before is
    /// old. 0 if this client started it.
    pub fn old_end(&self, stream: Stream) -> u64 {
        self.hold.map_or(0, |hold| hold.ends[super::output(stream)])
    }

    /// Whether it has a terminal, as far as is known.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// It was started: whoever asked for it holds it.
    pub(super) fn confirm_hold(&mut self) {
        if let Some(hold) = &mut self.hold
            && hold.tenure == 0
        {
            hold.tenure = FIRST;
        }
    }

    /// Asks to hold it, or whether that lasts.
    pub(super) fn send_take(&mut self, conn: &mut Conn) {
        let Some(hold) = &mut self.hold else { return };
        hold.asked = hold.asked.wrapping_add(1);
        let (attempt, tenure) = (hold.asked, hold.tenure);
        self.phase = Phase::Taking;
        let Spawn { id, incarnation, owner, .. } = self.spawn;
        let (host, program) = (self.spawn.host.clone(), String::new());
        conn.send(Frame::Take { id, attempt, incarnation, owner, tenure, pid: 0, program, host });
    }

    /// Whether this answers the last TAKE.
    pub(super) fn awaits(&self, attempt: u32) -> bool {
        self.phase == Phase::Taking && self.hold.is_some_and(|hold| hold.asked == attempt)
    }

    /// Takes TAKEN, and asks to go on from there.
    pub(super) fn taken(
        &mut self,
        tenure: u32,
        standing: &Standing,
        conn: &mut Conn,
    ) -> Result<(), Violation> {
        let Some(mut hold) = self.hold else { return Err(Violation::Unexpected("client's")) };
        if standing.attempt.max(standing.signals).max(standing.sizes) > MAX_COUNT {
            return Err(Violation::TooHigh);
        }
        let replay = hold.replay.take();
        hold.tenure = tenure;
        if replay.is_some() {
            self.begin(standing)?;
            hold.ends = [standing.stdout.end, standing.stderr.end];
        }
        let held = [standing.stdout, standing.stderr];
        let stopped = [standing.stdout_stopped, standing.stderr_stopped];
        for ((recv, held), stopped) in self.output.iter_mut().zip(held).zip(stopped) {
            if held.end > MAX_POSITION {
                return Err(Violation::TooHigh);
            }
            if let Some(replay) = replay {
                let discards = recv.discards();
                *recv = RecvStream::at(replay.from(held.end), OUTPUT_WINDOW);
                if discards {
                    recv.discard();
                }
            }
            if recv.received() > held.end {
                return Err(Violation::AcknowledgedUnsent { received: recv.received(), sent: held.end });
            }
            if stopped {
                recv.stop();
            }
            recv.skip(held.start)?;
            recv.renew();
        }
        self.signals.sequence = self.signals.sequence.max(standing.signals);
        if let Some(terminal) = &mut self.terminal {
            terminal.sequence = terminal.sequence.max(standing.sizes);
        }
        self.hold = Some(hold);
        self.confirmed = true;
        self.unreachable = None;
        self.spawn.attempt = self.spawn.attempt.max(standing.attempt) + 1;
        self.send_resume(conn);
        Ok(())
    }

    /// The first TAKEN: what was asked of the process before is kept, and said from these numbers on.
    fn begin(&mut self, standing: &Standing) -> Result<(), Violation> {
        if standing.stdin > MAX_POSITION {
            return Err(Violation::TooHigh);
        }
        self.stdin.rebase(standing.stdin);
        if standing.stdin_closed {
            self.stdin.stop();
        } else if standing.stdin_ended {
            self.stdin.close_at(standing.stdin);
        }
        let size = TerminalSize { rows: standing.rows, columns: standing.columns };
        let asked = self.asked_size.take();
        if size != TerminalSize::default() {
            let known = self.knows_sizes;
            let more = u32::from(asked.is_some());
            let sequence = standing.sizes + more;
            self.terminal = Some(Terminal { sequence, size: asked.unwrap_or(size), known });
        }
        Ok(())
    }

    pub(super) fn send_resume(&mut self, conn: &mut Conn) {
        self.phase = Phase::Asked;
        let [stdout, stderr] = self.output.each_mut().map(RecvStream::span);
        let (id, attempt) = (self.id(), self.spawn.attempt);
        conn.send(Frame::Resume { id, attempt, stdout, stderr });
    }
}
