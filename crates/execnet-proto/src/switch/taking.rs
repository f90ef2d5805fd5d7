//! How clients take kept work and leave it: TAKE, TAKEN, LEAVE, LEFT. Agents decide who holds it; here it is
//! only known as far as it passed.

use std::collections::VecDeque;
use std::time::Duration;

use super::clients::PLACE_WORK;
use super::relay::Relay;
use super::{ClientKey, Forwarded, HostKey, MAX_FORWARDED, MAX_PROCESSES, Owner, Switch};
use crate::feature::Feature;
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::kept::{Join, Keep, MAX_PROGRAM, shown};
use crate::process::{MAX_COUNT, TAKEN_OVER};
use crate::stream::Violation;
use crate::wire::{Frame, FrameKind, Role, Spawn};

/// What agents are told of a program without a name.
const NAMELESS: &str = "a program";

/// The most programs that may leave a process before its agent has answered one of them.
const MAX_LEAVES: usize = 16;

/// What is known of a process as kept work.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    /// It was asked for as kept work, or taken.
    pub(super) kept: bool,
    /// Its client's tenure; 0 while that is not known because it has asked to take over.
    pub(super) tenure: u32,
    /// Those that have left it since its agent has answered, the first one first. It may take any of them for
    /// the holder, so each leaves by its own LEAVE.
    leaves: VecDeque<Leave>,
    /// A LEAVE of its client may be unanswered from a time before it came back: that answer is not the one to
    /// the next LEAVE.
    crossed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Leave {
    owner: ClientId,
    end: bool,
}

impl Hold {
    /// Its client asks to start it as kept work.
    pub(super) fn asked(&mut self) {
        (self.kept, self.tenure) = (true, self.tenure.max(1));
    }

    /// Its client wants nothing more of it.
    pub(super) fn left_by(&mut self, owner: Option<ClientId>) {
        if self.kept
            && let Some(owner) = owner
        {
            self.leave(owner, false);
        }
    }

    fn leave(&mut self, owner: ClientId, end: bool) {
        match self.leaves.iter_mut().find(|leave| leave.owner == owner) {
            Some(leave) => leave.end |= end,
            None => self.leaves.push_back(Leave { owner, end }),
        }
    }

    /// Its agent has answered its client: that one is the holder.
    pub(super) fn is_answered(&mut self) {
        self.leaves.clear();
        self.crossed = false;
    }

    fn ends(&self) -> bool {
        self.leaves.iter().any(|leave| leave.end)
    }
}

impl Forwarded {
    /// Whether a host may say that it keeps this.
    pub(super) fn may_be_kept(&self) -> bool {
        match self.owner {
            Owner::Tunnel(..) => false,
            Owner::Client(_) => self.hold.kept || self.relay.is_claimed(),
            Owner::Nobody => self.of_client,
        }
    }
}

/// A client's TAKE.
struct Taking {
    id: ProcessId,
    attempt: u32,
    incarnation: Incarnation,
    tenure: u32,
}

impl Switch {
    /// A client asks to hold kept work, again or instead of somebody else.
    pub(super) fn client_takes(
        &mut self,
        client: ClientKey,
        frame: Frame,
        now: Duration,
    ) -> Result<(), Violation> {
        let Frame::Take { id, attempt, incarnation, owner, tenure, host: name, .. } = frame else {
            return Ok(());
        };
        self.turn.spend(PLACE_WORK);
        if self.me.private || self.clients.get(&client).and_then(|side| side.id) != Some(owner) {
            return Err(Violation::Unexpected(FrameKind::Take.name()));
        }
        if tenure > MAX_COUNT {
            return Err(Violation::TooHigh);
        }
        let taking = Taking { id, attempt, incarnation, tenure };
        let refused = match self.hosts.iter().find(|(_, host)| host.name == name).map(|(key, _)| *key) {
            Some(host) => self.take_at(client, host, &taking)?,
            None => Err(format!("host {name} is no longer in the network")),
        };
        if let Err(message) = refused {
            if self.is_owner(client, id) {
                self.lose(id, &message);
            } else {
                self.tell_client(client, Frame::Lost { id, message });
            }
            return Ok(());
        }
        self.pass_take(client, &taking, owner, now)
    }

    /// Makes a client the one that this process is forwarded for. The inner error says why it cannot be.
    fn take_at(
        &mut self,
        client: ClientKey,
        host: HostKey,
        taking: &Taking,
    ) -> Result<Result<(), String>, Violation> {
        let id = taking.id;
        let state = &self.hosts[&host];
        let name = state.name.clone();
        let lacks = state.up().is_some() && !state.features.has(Feature::Keep);
        let (why_gone, unknown) = (state.keeping.why_gone(id).map(str::to_owned), state.keeping.lacks(id));
        let other_agent = state.incarnation().is_some_and(|known| known != taking.incarnation);
        let crowded = state.ids.len() >= MAX_FORWARDED;
        let is_kept = self.is_kept(id);
        let full = self.clients.get(&client).is_some_and(|side| side.processes >= MAX_PROCESSES);
        let restless = self.forwarded.get(&id).is_some_and(|entry| entry.hold.leaves.len() >= MAX_LEAVES);
        // before anything is taken from anybody
        if (full || restless) && !self.is_owner(client, id) {
            return Ok(Err(match restless {
                true => {
                    format!("too many programs have left it while {name} did not answer; try again later")
                }
                false => format!("a program may run {MAX_PROCESSES} processes at a time"),
            }));
        }
        if let Some(entry) = self.forwarded.get(&id) {
            let misplaced = entry.host != host || entry.incarnation != taking.incarnation;
            match entry.owner {
                Owner::Tunnel(..) => return Err(Violation::ForeignProcess(id)),
                Owner::Client(owner) if owner == client => {
                    if misplaced {
                        return Err(Violation::Unexpected("TAKE for another place"));
                    }
                    if !is_kept && !entry.relay.is_claimed() {
                        return Err(Violation::Unexpected("TAKE of what is not kept"));
                    }
                }
                Owner::Client(other) => {
                    let holder = self.in_words(other);
                    if !is_kept {
                        // an earlier daemon knew whether it is
                        let claimed = entry.relay.is_claimed();
                        let message = format!("{holder} runs it, and {name} does not keep it");
                        return if claimed { Ok(Err(message)) } else { Err(Violation::ForeignProcess(id)) };
                    }
                    let known = entry.hold.tenure;
                    if misplaced && (entry.answered || state.keeping.has(id)) {
                        return Ok(Err(format!("{name} does not have it")));
                    }
                    if !misplaced && taking.tenure > 0 && (known == 0 || known >= taking.tenure) {
                        return Ok(Err(self.taken_over_by(other)));
                    }
                    let message = match misplaced {
                        true => "it is on another host".to_owned(),
                        false => self.taken_over_by(client),
                    };
                    self.take_from(other, id, message);
                    if misplaced {
                        self.remove_forwarded(id);
                    }
                }
                Owner::Nobody if entry.hold.ends() => {
                    return Ok(Err(format!("it is being ended on {name}")));
                }
                Owner::Nobody if !is_kept => {
                    return Ok(Err("it was hung up when its client went away".into()));
                }
                Owner::Nobody if misplaced => return Ok(Err(format!("{name} does not have it"))),
                Owner::Nobody => {}
            }
        }
        let is_new = !self.forwarded.contains_key(&id);
        let refusal = if other_agent {
            Some(why_gone.unwrap_or_else(|| format!("the agent on {name} was replaced by a new one")))
        } else if lacks {
            Some(format!("{name} or the network's daemon keeps no work"))
        } else if is_new && unknown {
            Some(why_gone.unwrap_or_else(|| format!("{name} keeps nothing with this id")))
        } else if is_new && crowded {
            Some(format!("too many processes run on {name}"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Ok(Err(refusal));
        }
        if is_new {
            let (owner, relay) = (Owner::Nobody, Relay::default());
            self.insert_forwarded(id, Forwarded::new(owner, host, taking.incarnation, relay));
        }
        let counted = self.is_owner(client, id);
        let side = self.clients.get_mut(&client);
        let owner = side.as_ref().and_then(|side| side.id);
        if let Some(side) = side
            && !counted
        {
            side.processes += 1;
        }
        if let Some(entry) = self.forwarded.get_mut(&id) {
            entry.owner = Owner::Client(client);
            entry.of_client = true;
            entry.hold.crossed |= entry.hold.leaves.iter().any(|leave| Some(leave.owner) == owner);
            (entry.hold.kept, entry.hold.tenure) = (true, taking.tenure);
            entry.relay.is_kept();
        }
        Ok(Ok(()))
    }

    /// Passes a TAKE on to the agent, or says that this is not possible now.
    fn pass_take(
        &mut self,
        client: ClientKey,
        taking: &Taking,
        owner: ClientId,
        now: Duration,
    ) -> Result<(), Violation> {
        let &Taking { id, attempt, incarnation, tenure } = taking;
        let Some(key) = self.forwarded.get(&id).map(|entry| entry.host) else { return Ok(()) };
        if let Some(message) = self.unreachable(key) {
            self.shut(id);
            self.tell_client(client, Frame::Unreachable { id, message });
            return Ok(());
        }
        let (Some(entry), Some(host)) = (self.forwarded.get_mut(&id), self.hosts.get_mut(&key)) else {
            return Ok(());
        };
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        // answers to an earlier one, whoever asked, are told from those to this one
        self.takes = self.takes.wrapping_add(1);
        let number = self.takes;
        entry.relay.client_takes(number, attempt, &mut side.outstanding, &mut host.outstanding);
        side.conn.charge(FrameKind::Take, 1, now)?;
        let program = if side.program.is_empty() { NAMELESS } else { &side.program }.to_owned();
        let (pid, host) = (side.pid, host.name.clone());
        let take = Frame::Take { id, attempt: number, incarnation, owner, tenure, pid, program, host };
        self.tell_host(key, take);
        Ok(())
    }

    /// A client no longer has a process, because somebody else has. The agent need not be told.
    pub(super) fn take_from(&mut self, client: ClientKey, id: ProcessId, message: String) {
        self.shut(id);
        let mut owner = None;
        if let Some(side) = self.clients.get_mut(&client) {
            side.processes -= 1;
            side.conn.void(id);
            owner = side.id;
        }
        if let Some(entry) = self.forwarded.get_mut(&id) {
            entry.owner = Owner::Nobody;
            entry.hold.left_by(owner);
        }
        self.tell_client(client, Frame::Lost { id, message });
    }

    /// A client and its process, for people: `PROGRAM (PID)`.
    fn in_words(&self, client: ClientKey) -> String {
        let Some(side) = self.clients.get(&client) else { return NAMELESS.into() };
        in_words(&side.program, side.pid)
    }

    pub(super) fn taken_over_by(&self, client: ClientKey) -> String {
        format!("{TAKEN_OVER}{}", self.in_words(client))
    }

    pub(super) fn is_owner(&self, client: ClientKey, id: ProcessId) -> bool {
        self.forwarded
            .get(&id)
            .is_some_and(|entry| matches!(entry.owner, Owner::Client(key) if key == client))
    }

    /// A client leaves a process.
    pub(super) fn client_leaves(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        owner: ClientId,
        end: bool,
    ) -> Result<(), Violation> {
        if self.me.private || self.clients.get(&client).and_then(|side| side.id) != Some(owner) {
            return Err(Violation::Unexpected(FrameKind::Leave.name()));
        }
        if let Some(entry) = self.forwarded.get_mut(&id)
            && matches!(entry.owner, Owner::Client(key) if key == client)
        {
            entry.hold.leave(owner, end);
            self.release(id);
        }
        Ok(())
    }

    /// A client is gone: it leaves all its processes, whether they are kept or not.
    pub(super) fn leave_all(&mut self, client: ClientKey, owner: Option<ClientId>) {
        let theirs = |entry: &Forwarded| matches!(entry.owner, Owner::Client(key) if key == client);
        let ids: Vec<_> =
            self.forwarded.iter().filter(|(_, entry)| theirs(entry)).map(|(id, _)| *id).collect();
        for id in ids {
            if let (Some(entry), Some(owner)) = (self.forwarded.get_mut(&id), owner) {
                entry.hold.leave(owner, false);
            }
            self.release(id);
        }
    }

    /// Tells an agent that nobody here wants a process any more.
    pub(super) fn say_farewell(&mut self, host: HostKey, id: ProcessId) {
        let Some(entry) = self.forwarded.get(&id) else { return };
        let knows = self.hosts.get(&host).is_some_and(|state| state.features.has(Feature::Keep));
        let frame = match entry.hold.leaves.front().filter(|_| knows) {
            Some(&Leave { owner, end }) => Frame::Leave { id, owner, end },
            None => Frame::Release(id),
        };
        self.tell_host(host, frame);
    }

    /// Takes LEFT for a process that is forwarded for this client.
    pub(super) fn left(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        owner: ClientId,
        pid: u32,
        program: &str,
    ) {
        // without a name it answers an earlier LEAVE; whoever takes over, or has taken, is not answered so
        let entry = self.forwarded.get(&id);
        let other = entry.is_none_or(|entry| entry.hold.tenure == 0 || entry.relay.is_taken());
        if other || program.is_empty() || self.clients.get(&client).and_then(|side| side.id) != Some(owner) {
            return;
        }
        let message = format!("{TAKEN_OVER}{}", in_words(&shown(program, MAX_PROGRAM), pid));
        self.take_from(client, id, message);
        self.remove_forwarded(id);
    }

    /// Takes LEFT for a process that nobody here wants.
    pub(super) fn left_by_nobody(&mut self, id: ProcessId, owner: ClientId) {
        let Some(entry) = self.forwarded.get_mut(&id) else { return };
        let Hold { leaves, crossed, .. } = &mut entry.hold;
        let host = entry.host;
        match leaves.front() {
            Some(leave) if leave.owner != owner => return,
            // perhaps an earlier one was answered: it is said once more
            Some(_) if std::mem::take(crossed) => {}
            _ => drop(leaves.pop_front()),
        }
        if leaves.is_empty() {
            self.remove_forwarded(id);
        } else {
            self.say_farewell(host, id);
        }
    }

    /// Whether this daemon was asked to end this kept work.
    pub(super) fn is_ended_here(&self, id: ProcessId) -> bool {
        self.forwarded.get(&id).is_some_and(|entry| entry.hold.ends())
    }

    /// The agent of a host that was removed may still have these processes of clients: it is to let them go.
    pub(super) fn let_go(&mut self, host: HostKey, incarnation: Incarnation, ids: Vec<(ProcessId, Hold)>) {
        for (id, hold) in ids {
            if let Some(entry) = self.forwarded.get_mut(&id) {
                // somebody has asked to take it since
                for leave in hold.leaves.into_iter().rev() {
                    entry.hold.leaves.retain(|later| later.owner != leave.owner);
                    entry.hold.leaves.push_front(leave);
                }
            } else {
                let entry = Forwarded::new(Owner::Nobody, host, incarnation, Relay::default());
                self.insert_forwarded(id, Forwarded { of_client: true, hold, ..entry });
            }
        }
    }
}

/// Checks what a client's SPAWN says of kept work. An agent might take anything else for a breach. Returns
/// whether it asks to keep its process.
pub(super) fn check(spawn: &Spawn) -> Result<bool, Violation> {
    let option = |feature: Feature| {
        let found = spawn.options.iter().find(|(key, _)| key == feature.name());
        found.map(|(_, value)| std::str::from_utf8(value).unwrap_or("\0"))
    };
    let (keep, enter) = (option(Feature::Keep), option(Feature::Enter));
    let fits = match spawn.role {
        Role::Plain => match keep {
            Some(keep) => Keep::is_asked(keep) && enter.is_none_or(str::is_empty),
            None => enter.is_none(),
        },
        Role::Enter => keep.is_none() && enter.is_some_and(Join::is_entry),
        Role::Read => enter.is_none() && keep.is_some_and(Join::is_reader),
        Role::Ahead | Role::Tunnel => keep.is_none() && enter.is_none(),
    };
    if !fits {
        return Err(Violation::Unexpected("SPAWN with such options"));
    }
    Ok(spawn.role == Role::Plain && keep.is_some())
}

fn in_words(program: &str, pid: u32) -> String {
    let program = if program.is_empty() { NAMELESS } else { program };
    if pid == 0 { program.to_owned() } else { format!("{program} ({pid})") }
}
