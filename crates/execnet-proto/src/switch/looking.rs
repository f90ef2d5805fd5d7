//! What people see of processes, and how they end those of others: LOOK, LOOKED, KILL, KILLED.

use bytes::Bytes;

use super::{ClientKey, Forwarded, HostKey, LinkEnd, Owner, Switch, SwitchEvent};
use crate::feature::Feature;
use crate::id::ProcessId;
use crate::stream::Violation;
use crate::text::line;
use crate::wire::{Frame, FrameKind, Table, Usage};

/// The most bytes kept of a command.
const MAX_COMMAND: usize = 256;

/// Rows of a LOOKED that are as much work as a frame.
const ROWS_PER_WORK: u64 = 4;

/// A client's process.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Running<'a> {
    pub id: ProcessId,
    pub host: HostKey,
    pub client: ClientKey,
    /// Empty if an earlier daemon placed it, or if it is a command of the host.
    pub node: &'a str,
    /// The client's own name for it.
    pub label: &'a str,
    /// Without that of the node; empty if an earlier daemon passed it on.
    pub command: &'a str,
    /// Its agent certainly has it.
    pub started: bool,
    /// A signal of people was not answered yet.
    pub waiting: bool,
}

/// The signals that people other than its client send to a process: as with SIGNAL, at most one frame of
/// them is unanswered, and those that come meanwhile go into the next one.
#[derive(Debug, Default)]
pub(super) struct Kill {
    /// That of the last frame.
    sequence: u64,
    said: u64,
    next: u64,
}

impl Kill {
    /// Whether signals were not answered yet.
    pub(super) fn is_open(&self) -> bool {
        self.said | self.next != 0
    }

    /// Gives up. Returns true if signals were not answered yet.
    pub(super) fn close(&mut self) -> bool {
        let was_open = self.is_open();
        (self.said, self.next) = (0, 0);
        was_open
    }

    /// The frame to send, again or for the first time. `last` counts all of this daemon.
    fn frame(&mut self, id: ProcessId, life: u32, last: &mut u32) -> Option<Frame> {
        if self.said == 0 && self.next != 0 {
            self.said = std::mem::take(&mut self.next);
            *last += 1;
            self.sequence = u64::from(life) << 32 | u64::from(*last);
        }
        let (sequence, mask) = (self.sequence, self.said);
        (mask != 0).then_some(Frame::Kill { id, sequence, mask })
    }
}

/// A command as a text for people.
pub(super) fn command(args: &[Bytes]) -> String {
    let mut text = String::new();
    for arg in args {
        if !text.is_empty() {
            text.push(' ');
        }
        text += &line(&String::from_utf8_lossy(&arg[..arg.len().min(MAX_COMMAND)]));
        if text.len() >= MAX_COMMAND {
            break;
        }
    }
    text.truncate((0..=MAX_COMMAND.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text
}

impl Forwarded {
    fn running(&self, id: ProcessId) -> Option<Running<'_>> {
        let Self { host, node, label, command, .. } = self;
        let Owner::Client(client) = self.owner else { return None };
        let (started, waiting) = (self.answered, self.kill.is_open());
        Some(Running { id, host: *host, client, node, label, command, started, waiting })
    }
}

impl Switch {
    /// Keeps a client's own name for a process that was placed.
    pub fn label(&mut self, id: ProcessId, label: &str) {
        if let Some(entry) = self.forwarded.get_mut(&id) {
            entry.label = label.to_owned();
        }
    }

    /// The clients' processes.
    pub fn running(&self) -> impl Iterator<Item = Running<'_>> {
        self.forwarded.iter().filter_map(|(id, entry)| entry.running(*id))
    }

    /// A client's process.
    pub fn process(&self, id: ProcessId) -> Option<Running<'_>> {
        self.forwarded.get(&id).and_then(|entry| entry.running(id))
    }

    /// Asks a host's agent what its processes use. Returns false if it was asked already and has not
    /// answered, or cannot be asked.
    pub fn look(&mut self, host: HostKey) -> bool {
        let may = self.is_reachable(host) && self.features(host).has(Feature::Look);
        let link = self.hosts.get_mut(&host).and_then(|state| state.link.as_mut());
        let Some(link) = link.filter(|link| may && !link.looking) else { return false };
        link.looking = true;
        self.tell_host(host, Frame::Look);
        true
    }

    /// Sends these signals (bit n: signal n by its Linux number) to a client's process, or to kept work that
    /// runs, also when its host comes back. [`SwitchEvent::Killed`] follows. Returns false if there is no
    /// such process.
    pub fn kill(&mut self, id: ProcessId, mask: u64) -> bool {
        if self.work_mut(id).is_some_and(|work| !work.is_running()) {
            return false;
        }
        let Some(kill) = self.kill_of(id) else { return false };
        kill.next |= mask;
        if kill.said == 0 {
            self.say_kill(id);
        }
        true
    }

    /// The signals of people for a process. Those of kept work stay with it whoever holds it.
    fn kill_of(&mut self, id: ProcessId) -> Option<&mut Kill> {
        if self.kept_on(id).is_some() {
            return self.work_mut(id).map(|work| &mut work.kill);
        }
        let entry = self.forwarded.get_mut(&id);
        entry.filter(|entry| matches!(entry.owner, Owner::Client(_))).map(|entry| &mut entry.kill)
    }

    /// Sends the signals for a process that are not answered yet, if its agent certainly has it.
    pub(super) fn say_kill(&mut self, id: ProcessId) {
        let kept = self.kept_on(id);
        let entry = self.forwarded.get(&id).filter(|entry| entry.answered);
        let Some(key) = kept.or_else(|| {
            let host = self.hosts.get(&entry?.host)?;
            (host.up() == Some(entry?.incarnation)).then_some(entry?.host)
        }) else {
            return;
        };
        let Some(host) = self.hosts.get(&key) else { return };
        if host.up().is_none() || !host.features.has(Feature::Look) {
            return;
        }
        let (life, mut last) = (self.me.life, self.kills);
        let frame = self.kill_of(id).and_then(|kill| kill.frame(id, life, &mut last));
        self.kills = last;
        if let Some(frame) = frame {
            self.tell_host(key, frame);
        }
    }

    /// Takes the answer to a LOOK.
    pub(super) fn looked(&mut self, host: HostKey, facts: Table, rows: Vec<Usage>) -> Result<(), LinkEnd> {
        let link = self.hosts.get_mut(&host).and_then(|state| state.link.as_mut());
        if !link.is_some_and(|link| std::mem::take(&mut link.looking)) {
            return Err(Violation::Unexpected(FrameKind::Looked.name()).into());
        }
        self.turn.spend(rows.len() as u64 / ROWS_PER_WORK);
        self.events.push_back(SwitchEvent::Looked { host, facts, rows });
        Ok(())
    }

    /// Takes the answer to a KILL.
    pub(super) fn killed(&mut self, id: ProcessId, sequence: u64) {
        let Some(kill) = self.kill_of(id) else { return };
        if kill.said == 0 || kill.sequence != sequence {
            return;
        }
        kill.said = 0;
        if kill.is_open() {
            self.say_kill(id);
        } else {
            self.events.push_back(SwitchEvent::Killed { id, gone: false });
        }
    }
}
