//! The clients' side of the switch: greeting, placing, claiming, and frames from clients about their
//! processes.

use std::time::Duration;

use bytes::Bytes;

use super::hosts::HostSide;
use super::relay::{Outstanding, Relay};
use super::{
    ClientEnd, ClientKey, Forwarded, HostKey, MAX_FORWARDED, MAX_PROCESSES, Owner, Peer, Switch, SwitchEvent,
};
use super::{looking, taking};
use crate::allowance::Turn;
use crate::batch::Sink;
use crate::client::PROGRAM;
use crate::conn::Conn;
use crate::feature::Feature;
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::opening::{OPENING, Opening};
use crate::stream::Violation;
use crate::text::line;
use crate::wire::{Frame, Refusal, Role, Table};

/// Work of a request: as much as a whole turn.
const REQUEST_WORK: u64 = u64::MAX;

/// Work of finding a place, in frames.
pub(super) const PLACE_WORK: u64 = 32;

/// Characters kept of the name of a client's program.
const MAX_PROGRAM: usize = 64;

/// A client's connection, as the switch sees it.
#[derive(Debug)]
pub(super) struct ClientSide {
    pub(super) conn: Conn,
    opening: Option<Opening>,
    pub(super) id: Option<ClientId>,
    pub(super) program: String,
    /// Its process id; 0 if that is not known.
    pub(super) pid: u32,
    pub(super) processes: usize,
    pub(super) outstanding: Outstanding,
}

impl ClientSide {
    /// Whether it has greeted.
    pub(super) fn is_open(&self) -> bool {
        self.opening.is_none() && self.id.is_some()
    }
}

impl Switch {
    /// A client has connected: a process of this machine with this id, if the system says which.
    pub fn client_opened(&mut self, client: ClientKey, pid: Option<u32>, now: Duration) {
        let mut conn = Conn::socket(now);
        conn.send_first(Bytes::from_static(&OPENING));
        conn.send(Frame::Daemon {
            life: self.me.life,
            pid: self.me.pid,
            release: self.me.release.clone(),
            network: self.me.network.clone(),
            facts: vec![self.me.features().entry()],
        });
        let side = ClientSide {
            conn,
            opening: Some(Opening::of_socket()),
            id: None,
            program: String::new(),
            pid: pid.unwrap_or(0),
            processes: 0,
            outstanding: Outstanding::default(),
        };
        self.clients.insert(client, side);
        self.ready.insert(Peer::Client(client));
    }

    /// Takes all bytes that arrived from a client.
    pub fn client_bytes(&mut self, client: ClientKey, bytes: &[u8], now: Duration) {
        let mut more = self.client_turn(client, bytes, now);
        while more {
            more = self.client_turn(client, &[], now);
        }
    }

    /// The same, but only one turn of work: see [`Switch::link_turn`].
    pub fn client_turn(&mut self, client: ClientKey, bytes: &[u8], now: Duration) -> bool {
        self.turn = Turn::new();
        if let Err(why) = self.client_frames(client, bytes, now) {
            self.client_closed(client);
            self.events.push_back(SwitchEvent::ClientEnded { client, why });
            return false;
        }
        self.turn.is_over()
    }

    /// A client's socket is closed: its processes are hung up, and what is kept is left.
    pub fn client_closed(&mut self, client: ClientKey) {
        let Some(side) = self.clients.remove(&client) else { return };
        self.ready.remove(&Peer::Client(client));
        self.leave_all(client, side.id);
    }

    /// Appends the bytes to write to a client now.
    pub fn client_transmit(&mut self, client: ClientKey, out: &mut impl Sink, most: usize, now: Duration) {
        if let Some(side) = self.clients.get_mut(&client) {
            side.conn.transmit(out, most, now);
        }
    }

    /// The name that a client gave its program, fit for a terminal; empty if it gave none.
    pub fn program(&self, client: ClientKey) -> &str {
        self.clients.get(&client).map_or("", |side| &side.program)
    }

    /// The number of connected clients.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Places a process on a node of a host that is up. Returns false if the host is not up, or too many
    /// processes run there.
    pub fn place(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        host: HostKey,
        node: &str,
        mut facts: Table,
    ) -> bool {
        let Some(incarnation) = self.hosts.get(&host).and_then(HostSide::up) else { return false };
        if self.processes(host) >= MAX_PROCESSES || self.hosts[&host].ids.len() >= MAX_FORWARDED {
            return false;
        }
        // a client that asked twice has its place; one that is gone, or asks for too many, does not need one
        let known = self.forwarded.contains_key(&id);
        let Some(side) = self.clients.get_mut(&client).filter(|side| side.processes < MAX_PROCESSES) else {
            return true;
        };
        if known {
            return true;
        }
        side.processes += 1;
        let (owner, relay) = (Owner::Client(client), Relay::default());
        let node = node.to_owned();
        let entry = Forwarded::new(owner, host, incarnation, relay);
        self.insert_forwarded(id, Forwarded { node: node.clone(), spawned: false, ..entry });
        let there = &self.hosts[&host];
        facts.push(there.features.entry());
        let host = there.name.clone();
        self.tell_client(client, Frame::Placed { id, incarnation, host, node, facts });
        true
    }

    /// Tells a client that a process waits for a host that cannot be reached now.
    pub fn keep_waiting(&mut self, client: ClientKey, id: ProcessId, message: String) {
        self.tell_client(client, Frame::Unreachable { id, message });
    }

    /// Refuses a process a place.
    pub fn refuse(&mut self, client: ClientKey, id: ProcessId, refusal: Refusal, message: String) {
        self.tell_client(client, Frame::Refused { id, refusal, message });
        self.end_if_clogged(client);
    }

    /// Answers a request.
    pub fn reply(&mut self, client: ClientKey, request: u32, last: bool, json: Bytes) {
        self.tell_client(client, Frame::Reply { request, last, json });
        self.end_if_clogged(client);
    }

    /// The place behind all replies to a client so far.
    pub fn replies_end(&self, client: ClientKey) -> u64 {
        self.clients.get(&client).map_or(0, |side| side.conn.first_end())
    }

    /// Whether all replies before this place were written: to a client that does not read they are not.
    pub fn has_sent(&self, client: ClientKey, end: u64) -> bool {
        self.clients.get(&client).is_none_or(|side| side.conn.has_sent(end))
    }

    fn end_if_clogged(&mut self, client: ClientKey) {
        if self.clients.get(&client).is_some_and(|side| side.conn.is_clogged()) {
            self.client_closed(client);
            self.events.push_back(SwitchEvent::ClientEnded { client, why: ClientEnd::Clogged });
        }
    }

    fn client_frames(&mut self, client: ClientKey, bytes: &[u8], now: Duration) -> Result<(), ClientEnd> {
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        if let Some(opening) = &mut side.opening {
            let Some(rest) = opening.take(bytes)? else { return Ok(()) };
            side.opening = None;
            side.conn.push(&rest, now);
        } else {
            side.conn.push(bytes, now);
        }
        while let Some(side) = self.clients.get_mut(&client)
            && let Some(frame) = side.conn.next_within(&mut self.turn, now)?
        {
            self.client_frame(client, frame, now)?;
            if self.clients.get(&client).is_some_and(|side| side.conn.is_clogged()) {
                return Err(ClientEnd::Clogged);
            }
        }
        self.ready.insert(Peer::Client(client));
        Ok(())
    }

    fn client_frame(&mut self, client: ClientKey, frame: Frame, now: Duration) -> Result<(), Violation> {
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        let processes = side.processes;
        match frame {
            Frame::Client { id, facts, .. } if side.id.is_none() => {
                side.id = Some(id);
                let program = facts.into_iter().find(|(key, _)| key == PROGRAM);
                side.program = program.map_or_else(String::new, |(_, name)| {
                    line(&String::from_utf8_lossy(&name)).chars().take(MAX_PROGRAM).collect()
                });
            }
            _ if side.id.is_none() => return Err(Violation::Unexpected("client's first")),
            Frame::Request { request, json } => {
                self.turn.spend(REQUEST_WORK);
                self.events.push_back(SwitchEvent::Request { client, request, json });
            }
            Frame::Select { id, wants } => {
                self.turn.spend(PLACE_WORK);
                if self.forwarded.contains_key(&id) || self.kept_on(id).is_some() {
                    return Err(Violation::ForeignProcess(id));
                }
                if processes >= MAX_PROCESSES {
                    let message = format!("a program may run {MAX_PROCESSES} processes at a time");
                    self.refuse(client, id, Refusal::TooMany, message);
                } else {
                    self.events.push_back(SwitchEvent::Select { client, id, wants });
                }
            }
            Frame::Claim { id, incarnation, host } => {
                self.turn.spend(PLACE_WORK);
                self.claim(client, id, incarnation, &host)?;
            }
            frame @ Frame::Take { .. } => self.client_takes(client, frame, now)?,
            Frame::Leave { id, owner, end } => self.client_leaves(client, id, owner, end)?,
            frame => {
                let id = frame.process().ok_or(Violation::Unexpected("client's"))?;
                self.client_says(client, id, frame, now)?;
            }
        }
        Ok(())
    }

    /// A client that was connected to an earlier daemon names a process that it runs.
    fn claim(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        incarnation: Incarnation,
        name: &str,
    ) -> Result<(), Violation> {
        if let Some(entry) = self.forwarded.get(&id) {
            if let Owner::Client(other) = entry.owner
                && other != client
                && self.is_kept(id)
            {
                let message = self.taken_over_by(other);
                self.tell_client(client, Frame::Lost { id, message });
                return Ok(());
            }
            if !matches!(entry.owner, Owner::Nobody) {
                return Err(Violation::ForeignProcess(id));
            }
            let message = "it was hung up when its client went away".into();
            self.tell_client(client, Frame::Lost { id, message });
            return Ok(());
        }
        let Some((&key, host)) = self.hosts.iter().find(|(_, host)| host.name == name) else {
            let message = format!("host {name} is no longer in the network");
            self.tell_client(client, Frame::Lost { id, message });
            return Ok(());
        };
        if host.incarnation().is_some_and(|known| known != incarnation) {
            let message = format!("the agent on {name} was replaced by a new one");
            self.tell_client(client, Frame::Lost { id, message });
            return Ok(());
        }
        if host.ids.len() >= MAX_FORWARDED {
            let message = format!("too many processes run on {name}");
            self.tell_client(client, Frame::Lost { id, message });
            return Ok(());
        }
        let kept = host.keeping.has(id);
        if host.keeping.was_here(id) {
            let message = format!("{name} keeps it, and it was left");
            self.tell_client(client, Frame::Lost { id, message });
            return Ok(());
        }
        let answer = match host.reachable(&self.hosts) {
            Ok(()) => Frame::Reachable(id),
            Err(message) => Frame::Unreachable { id, message },
        };
        if let Some(side) = self.clients.get_mut(&client) {
            if side.processes >= MAX_PROCESSES {
                return Err(Violation::Unexpected("CLAIM above the bound"));
            }
            side.processes += 1;
        }
        let (owner, relay) = (Owner::Client(client), Relay::claimed(kept));
        self.insert_forwarded(id, Forwarded::new(owner, key, incarnation, relay));
        self.tell_client(client, answer);
        Ok(())
    }

    /// Takes a frame about a process, from its client.
    fn client_says(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        frame: Frame,
        now: Duration,
    ) -> Result<(), Violation> {
        let Some(entry) = self.forwarded.get_mut(&id) else {
            if let Frame::Spawn(_) | Frame::Resume { .. } = frame {
                let message = "the daemon no longer knows it".into();
                self.tell_client(client, Frame::Lost { id, message });
            }
            return Ok(());
        };
        match entry.owner {
            Owner::Client(owner) if owner == client => {}
            Owner::Nobody => {
                // most of these were sent before the client learned that the process is gone
                if let Frame::Spawn(_) | Frame::Resume { .. } = frame {
                    let message = "it has been hung up".into();
                    self.tell_client(client, Frame::Lost { id, message });
                }
                return Ok(());
            }
            // one that has lost kept work may not know yet
            _ => return if self.is_kept(id) { Ok(()) } else { Err(Violation::ForeignProcess(id)) },
        }
        if let Frame::Release(_) = frame {
            self.release(id);
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(&entry.host) else { return Ok(()) };
        if let Frame::Spawn(spawn) = &frame {
            if spawn.role == Role::Tunnel || spawn.incarnation != entry.incarnation || spawn.host != host.name
            {
                return Err(Violation::Unexpected("SPAWN for another place"));
            }
            if self.clients.get(&client).and_then(|side| side.id) != Some(spawn.owner) {
                return Err(Violation::Unexpected("SPAWN with another owner"));
            }
            // what it can do is known once it has greeted; before that nothing passes
            let greeted = host.incarnation().is_some();
            let unknown = spawn.options.iter().find(|(key, _)| greeted && !host.features.has_named(key));
            if let Some((key, _)) = unknown {
                let message = format!("{} or the network's daemon does not know `{}`", host.name, line(key));
                self.lose(id, &message);
                return Ok(());
            }
            if taking::check(spawn)? {
                entry.hold.asked();
            }
            if entry.command.is_empty() {
                entry.command = looking::command(&spawn.args);
            }
        }
        if host.up() != Some(entry.incarnation) || host.is_away() {
            return Ok(());
        }
        if matches!(frame, Frame::Size { .. }) && !host.features.has(Feature::Terminal) {
            return Err(Violation::Unexpected("client's"));
        }
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        if entry.relay.client_says(&frame, &mut side.outstanding, &mut host.outstanding)? {
            entry.spawned |= matches!(frame, Frame::Spawn(_) | Frame::Resume { .. });
            let key = entry.host;
            if !matches!(frame, Frame::Data { .. }) {
                side.conn.charge(frame.kind(), 1, now)?;
            }
            self.tell_host(key, frame);
        }
        Ok(())
    }
}
