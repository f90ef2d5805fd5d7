//! Frames about processes, from the agents that run them.

use std::time::Duration;

use super::relay::Outstanding;
use super::{HostKey, LinkEnd, Owner, Switch};
use crate::id::ProcessId;
use crate::stream::Violation;
use crate::wire::Frame;

impl Switch {
    /// Takes a frame about a process, from the agent that runs it.
    pub(super) fn agent_says(
        &mut self,
        host: HostKey,
        id: ProcessId,
        frame: Frame,
        now: Duration,
    ) -> Result<(), LinkEnd> {
        let kind = frame.kind();
        let bytes = if let Frame::Data { bytes, .. } = &frame { bytes.len() as u64 } else { 0 };
        let passed = self.pass_on(host, id, frame, now)?;
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        let paid = bytes > 0 && (passed || state.outstanding.are_late(bytes));
        if let Some(conn) = state.conn_mut().filter(|_| !paid) {
            conn.charge(kind, 1, now)?;
        }
        Ok(())
    }

    /// Passes a frame on if it counts. Returns true if it did.
    fn pass_on(
        &mut self,
        host: HostKey,
        id: ProcessId,
        frame: Frame,
        now: Duration,
    ) -> Result<bool, LinkEnd> {
        let Some(entry) = self.forwarded.get_mut(&id) else {
            // work that it keeps, and nobody here has
            match frame {
                Frame::Forget(_) => drop(self.forget_kept(host, id, now)),
                Frame::Killed { sequence, .. } => self.killed(id, sequence),
                _ => {}
            }
            return Ok(false);
        };
        if entry.host != host {
            return Err(Violation::ForeignProcess(id).into());
        }
        match frame {
            Frame::Forget(_) => return Ok(self.forgotten(host, id, now)),
            Frame::Killed { sequence, .. } => {
                self.killed(id, sequence);
                return Ok(false);
            }
            _ => {}
        }
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(false) };
        match &mut entry.owner {
            Owner::Nobody => {
                if let Frame::Left { owner, .. } = frame {
                    self.left_by_nobody(id, owner);
                }
                Ok(false)
            }
            Owner::Client(client) => {
                let client = *client;
                if let Frame::Left { owner, pid, program, .. } = frame {
                    self.left(client, id, owner, pid, &program);
                    return Ok(false);
                }
                let asked = match &frame {
                    Frame::Taken { attempt, .. } => entry.relay.asked(*attempt),
                    _ => None,
                };
                let mut nothing = Outstanding::default();
                let theirs = match frame {
                    Frame::Skip { .. } => self.clients.get_mut(&client).map(|side| &mut side.outstanding),
                    _ => None,
                };
                let theirs = theirs.unwrap_or(&mut nothing);
                let counts = entry.relay.agent_says(&frame, theirs, &mut state.outstanding)?;
                let mut frame = frame;
                if let Frame::Taken { tenure, attempt, .. } = &mut frame
                    && let Some(asked) = asked
                {
                    entry.hold.tenure = *tenure;
                    *attempt = asked;
                }
                let answers = counts && matches!(frame, Frame::Resumed { .. } | Frame::Taken { .. });
                if answers {
                    entry.hold.is_answered();
                    state.keeping.is_here(id);
                }
                let first = answers && !std::mem::replace(&mut entry.answered, true);
                if counts {
                    self.tell_client(client, frame);
                }
                if first {
                    self.say_kill(id);
                }
                Ok(counts)
            }
            Owner::Tunnel(inner, process) => {
                if matches!(
                    frame,
                    Frame::Reachable(_)
                        | Frame::Unreachable { .. }
                        | Frame::Lost { .. }
                        | Frame::Taken { .. }
                        | Frame::Left { .. }
                ) {
                    return Err(Violation::Unexpected("agent's").into());
                }
                let (inner, before) = (*inner, process.received());
                if let Some(conn) = state.conn_mut() {
                    process.handle(frame, conn, &mut self.tunnels)?;
                }
                let counts = process.received() > before;
                self.drain_tunnel(inner, host, id, now);
                Ok(counts)
            }
        }
    }

    /// A host's agent no longer has a process, or never had it.
    fn forgotten(&mut self, host: HostKey, id: ProcessId, now: Duration) -> bool {
        let message = self.forget_kept(host, id, now);
        let message = message.unwrap_or_else(|| {
            let state = self.hosts.get(&host);
            state.and_then(|state| state.ends().map(str::to_owned)).unwrap_or_else(|| {
                let name = state.map_or("its host", |state| &state.name);
                format!("the agent on {name} no longer has it")
            })
        });
        self.lose(id, &message);
        self.forget(id, now);
        true
    }

    /// Drops the entry of a process that its agent does not have.
    pub(super) fn forget(&mut self, id: ProcessId, now: Duration) {
        self.shut(id);
        self.lose_tunnel(id, "its agent no longer has it", now);
        self.remove_forwarded(id);
    }
}
