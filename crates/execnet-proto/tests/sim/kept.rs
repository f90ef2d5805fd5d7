//! What the simulation's agent does for kept work: names, tenures, time, readers.

use std::time::Duration;

use bytes::Bytes;
use execnet_proto::id::{ClientId, ProcessId};
use execnet_proto::kept::{Policy, Replay};
use execnet_proto::stream::{RecvStream, STDIN_WINDOW, Violation};
use execnet_proto::wire::{Ending, Exit, Frame, Held, Role, Spawn, Standing, Stream, Table};

use super::output::{Out, Reader, Ring};
use super::{Action, Agent, Process};

/// A process that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: String,
    policies: [Policy; 2],
    seconds: u64,
    tenure: u32,
    /// Whoever became its holder last.
    owner: ClientId,
    program: String,
    pid: u32,
    /// That client has not left it.
    pub(super) is_held: bool,
    /// It was heard of in this life of the daemon.
    pub(super) is_heard: bool,
    /// TAKE was answered on this attach.
    pub(super) is_taken: bool,
    /// Its time is over then.
    pub(super) until: Option<Duration>,
}

impl Kept {
    fn leave(&mut self, now: Duration) {
        self.is_held = false;
        self.until = Some(now + Duration::from_secs(self.seconds));
    }
}

fn option<'a>(spawn: &'a Spawn, name: &str) -> Option<&'a str> {
    let value = spawn.options.iter().find(|(key, _)| key == name).map(|(_, value)| value)?;
    std::str::from_utf8(value).ok()
}

impl Agent {
    /// The part of a SPAWN that asks to be kept: the outputs, the state, or a sentence why not.
    pub(super) fn keep(
        &mut self,
        spawn: &Spawn,
        limits: [u64; 2],
    ) -> Option<Result<([Out; 2], Kept), String>> {
        let asked = (spawn.role == Role::Plain).then(|| option(spawn, "keep"))??;
        let words: Vec<&str> = asked.split(' ').collect();
        let name = words[0].to_owned();
        let namesake = self
            .processes
            .iter()
            .find(|(_, process)| process.kept.as_ref().is_some_and(|kept| kept.name == name));
        if let Some((&id, process)) = namesake {
            if process.ending.is_none() {
                return Some(Err(format!("the name {name} is taken on this host")));
            }
            self.drop_record(id, "its name went to another");
        }
        let policies = [words[2], words[3]].map(|policy| policy.parse().expect("a policy"));
        let kept = Kept {
            name,
            policies,
            seconds: words[1].parse().expect("seconds"),
            tenure: 1,
            owner: spawn.owner,
            program: String::new(),
            pid: 0,
            is_held: true,
            is_heard: true,
            is_taken: false,
            until: None,
        };
        let outs = std::array::from_fn(|index| Out::Ring(Ring::new(policies[index], limits[index])));
        Some(Ok((outs, kept)))
    }

    /// The part of a SPAWN that reads along: its source and places there, or a sentence why not.
    pub(super) fn read_along(
        &mut self,
        spawn: &Spawn,
        limits: [u64; 2],
    ) -> Option<Result<([Out; 2], ProcessId), String>> {
        let asked = (spawn.role == Role::Read).then(|| option(spawn, "keep"))??;
        let (name, bytes) = asked.split_once(' ').expect("a name and bytes");
        let replay = bytes.parse().map_or(Replay::All, Replay::Last);
        let named = |process: &Process| process.kept.as_ref().is_some_and(|kept| kept.name == name);
        let Some((&source, process)) = self.processes.iter().find(|(_, process)| named(process)) else {
            return Some(Err(format!("nothing named {name} is kept here")));
        };
        let outs = std::array::from_fn(|index| {
            Out::Reader(Reader::new(replay, process.outs[index].end(), limits[index]))
        });
        Some(Ok((outs, source)))
    }

    /// A repeated SPAWN of somebody who no longer holds it is answered here.
    pub(super) fn spawned_again(&mut self, spawn: &Spawn) -> bool {
        let Some(kept) = self.kept_mut(spawn.id) else { return false };
        if kept.owner != spawn.owner || kept.tenure != 1 {
            self.say_left(spawn.id, spawn.owner);
            return true;
        }
        (kept.is_held, kept.is_heard, kept.until) = (true, true, None);
        self.say_kept(spawn.id);
        false
    }

    pub(super) fn take(&mut self, frame: Frame) -> Result<(), Violation> {
        let Frame::Take { id, attempt, incarnation, owner, tenure, pid, program, .. } = frame else {
            return Ok(());
        };
        assert!(pid > 0 && !program.is_empty(), "the daemon says who takes");
        if incarnation != self.incarnation {
            return Err(Violation::Unexpected("TAKE of another agent's"));
        }
        let Some(kept) = self.kept_mut(id) else {
            self.say(Frame::Forget(id));
            return Ok(());
        };
        if tenure > 0 && (tenure != kept.tenure || kept.owner != owner) {
            self.say_left(id, owner);
            return Ok(());
        }
        let asked = tenure;
        if kept.owner != owner {
            kept.tenure += 1;
            kept.owner = owner;
        }
        (kept.program, kept.pid) = (program, pid);
        (kept.is_held, kept.is_heard, kept.is_taken, kept.until) = (true, true, true, None);
        let tenure = kept.tenure;
        let process = self.processes.get_mut(&id).expect("it is kept");
        process.muted = true;
        process.unclaimed = false;
        process.outs.iter_mut().filter_map(Out::ring).for_each(|ring| ring.is_present(false));
        if asked == 0 {
            process.stdin.void_end();
        }
        let held = [0, 1].map(|index| match &process.outs[index] {
            Out::Ring(ring) => Held { start: ring.base(), end: ring.end() },
            _ => Held::default(),
        });
        let standing = Standing {
            attempt: process.attempt,
            signals: process.signals,
            sizes: process.sizes,
            rows: 0,
            columns: 0,
            stdin_closed: process.stdin.is_stopped(),
            stdin_ended: process.stdin.is_complete(),
            stdout_stopped: false,
            stderr_stopped: false,
            stdin: process.stdin.received(),
            stdout: held[0],
            stderr: held[1],
        };
        self.say(Frame::Taken { id, attempt, tenure, standing });
        self.say_kept(id);
        Ok(())
    }

    pub(super) fn leave(&mut self, id: ProcessId, owner: ClientId, end: bool) {
        let now = self.now;
        let Some(kept) = self.kept_mut(id) else {
            self.known.insert(id);
            self.hang_up(id);
            self.say(Frame::Forget(id));
            return;
        };
        if kept.owner != owner {
            self.say_left(id, owner);
        } else if end {
            self.ended.insert(id, "it was to end");
            self.hang_up(id);
            self.say(Frame::Forget(id));
        } else {
            if kept.is_held {
                kept.leave(now);
            }
            self.mute(id);
            self.say(Frame::Left { id, owner, pid: 0, program: String::new() });
            self.say_kept(id);
        }
    }

    /// RELEASE of kept work only leaves it. Returns false if it is not kept.
    pub(super) fn release_kept(&mut self, id: ProcessId) -> bool {
        let Some(owner) = self.kept_mut(id).map(|kept| kept.owner) else { return false };
        self.leave(id, owner, false);
        true
    }

    fn say_left(&mut self, id: ProcessId, owner: ClientId) {
        let Some(kept) = self.kept_mut(id) else { return };
        let (pid, mut program) = (kept.pid, kept.program.clone());
        if program.is_empty() {
            program = "a program".into();
        }
        self.say(Frame::Left { id, owner, pid, program });
    }

    pub(super) fn kept_mut(&mut self, id: ProcessId) -> Option<&mut Kept> {
        self.processes.get_mut(&id)?.kept.as_mut()
    }

    pub(super) fn keeps(&self) -> bool {
        self.processes.values().any(|process| process.kept.is_some())
    }

    fn mute(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.muted = true;
        process.outs.iter_mut().filter_map(Out::ring).for_each(|ring| ring.is_present(false));
        if let Some(conn) = &mut self.conn {
            conn.void(id);
        }
    }

    /// KEPT for everything that is kept, and KEEPS.
    pub(super) fn tell_kept(&mut self) {
        let ids: Vec<_> =
            self.processes.iter().filter(|(_, process)| process.kept.is_some()).map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.say_kept(*id));
        self.say(Frame::Keeps(ids.len() as u16));
    }

    pub(super) fn say_kept(&mut self, id: ProcessId) {
        let now = self.now;
        let Some(process) = self.processes.get(&id) else { return };
        let Some(kept) = &process.kept else { return };
        let mut facts: Vec<(&str, String)> = vec![
            ("name", kept.name.clone()),
            ("tenure", kept.tenure.to_string()),
            ("stdout", kept.policies[0].to_string()),
            ("stderr", kept.policies[1].to_string()),
            ("seconds", kept.seconds.to_string()),
            (
                "command",
                process
                    .spawn
                    .args
                    .first()
                    .map_or_else(String::new, |arg| String::from_utf8_lossy(arg).into_owned()),
            ),
        ];
        if kept.is_held {
            facts.push(("holder", kept.owner.to_string()));
        }
        if let Some(until) = kept.until {
            facts.push(("left", until.saturating_sub(now).as_millis().to_string()));
        }
        if let Some(Ending::Exited(status)) = &process.ending {
            facts.push(("exit", format!("0 {status}")));
        } else if let Some(Ending::Signaled(number)) = &process.ending {
            facts.push(("exit", format!("1 {number}")));
        } else if process.ending.is_some() {
            facts.push(("exit", "2 2".into()));
        }
        let facts: Table =
            facts.into_iter().map(|(key, value)| (key.to_owned(), Bytes::from(value))).collect();
        self.say(Frame::Kept { id, facts });
    }

    /// Nobody was heard of: whoever holds something has left it.
    pub(super) fn leave_unheard(&mut self) {
        let now = self.now;
        for process in self.processes.values_mut() {
            if let Some(kept) = &mut process.kept
                && kept.is_held
                && !kept.is_heard
            {
                kept.leave(now);
            }
        }
    }

    /// When the time of something is over.
    pub(super) fn kept_deadline(&self) -> Option<Duration> {
        self.processes.values().filter_map(|process| process.kept.as_ref()?.until).min()
    }

    /// What runs too long is ended, and what has ended is forgotten.
    pub(super) fn tick_kept(&mut self) {
        let now = self.now;
        let over = |process: &Process| {
            process.kept.as_ref().is_some_and(|kept| kept.until.is_some_and(|until| now >= until))
        };
        let ids: Vec<_> =
            self.processes.iter().filter(|(_, process)| over(process)).map(|(id, _)| *id).collect();
        for id in ids {
            if self.processes[&id].has_ended() || self.ended.contains_key(&id) {
                self.drop_record(id, "its time was over");
            } else {
                self.ended.insert(id, "its time is over");
                self.actions.push_back(Action::HangUp(id));
                if let Some(kept) = self.kept_mut(id) {
                    kept.until = Some(now + Duration::from_secs(6));
                }
            }
        }
    }

    /// It has ended: its record stays for its time.
    pub(super) fn kept_ended(&mut self, id: ProcessId) {
        let now = self.now;
        let over = self.ended.contains_key(&id);
        if let Some(kept) = self.kept_mut(id) {
            let seconds = if over { 0 } else { kept.seconds };
            kept.until = (!kept.is_held || over).then(|| now + Duration::from_secs(seconds));
            self.say_kept(id);
        }
    }

    fn drop_record(&mut self, id: ProcessId, why: &'static str) {
        self.ended.insert(id, why);
        self.forget(id);
        self.say(Frame::Forget(id));
    }

    /// Something is no longer there; its readers hear its end, or that there is none.
    pub(super) fn leave_readers(&mut self, id: ProcessId) {
        let readers: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.source == Some(id))
            .map(|(id, _)| *id)
            .collect();
        for reader in readers {
            if !self.processes[&reader].has_ended() {
                self.ended.insert(reader, "its source is gone");
                self.forget(reader);
                self.say(Frame::Forget(reader));
            }
        }
    }

    /// Readers learn of ends of their source.
    pub(super) fn tell_readers(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get(&id) else { return };
        let (lengths, ending) = (process.lengths, process.ending.clone());
        let readers: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.source == Some(id))
            .map(|(id, _)| *id)
            .collect();
        for reader in readers {
            let process = self.processes.get_mut(&reader).expect("just listed");
            process.ending.clone_from(&ending);
            let known = process.lengths;
            // one that was stopped has a length of its own
            process.lengths = std::array::from_fn(|index| known[index].or(lengths[index]));
            for stream in [Stream::Stdout, Stream::Stderr] {
                let index = stream.index() - 1;
                if let (None, Some(length)) = (known[index], lengths[index]) {
                    self.say_of(reader, Frame::Fin { id: reader, stream, length });
                }
            }
            self.maybe_exit(reader);
        }
    }

    pub(super) fn pump_readers(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let readers: Vec<_> =
            self.processes.iter().filter_map(|(id, process)| Some((*id, process.source?))).collect();
        for (id, source) in readers {
            let mut process = self.processes.remove(&id).expect("just listed");
            let mut from = self.processes.get_mut(&source);
            for stream in [Stream::Stdout, Stream::Stderr] {
                let index = stream.index() - 1;
                let length = process.lengths[index];
                let ring = from.as_mut().and_then(|source| source.outs[index].ring());
                let ring = ring.ok_or(length.unwrap_or(0));
                if let Out::Reader(reader) = &mut process.outs[index]
                    && !process.muted
                {
                    reader.pump(id, stream, ring, conn);
                }
            }
            self.processes.insert(id, process);
        }
    }

    /// A process that could not be kept or read.
    pub(super) fn refuse(&mut self, spawn: Spawn, attempt: u32, limits: [u64; 2], message: String) {
        let id = spawn.id;
        let mut process = Process::plain(spawn, attempt, limits);
        process.ending = Some(Ending::NotStarted(0, message));
        process.lengths = [Some(0); 2];
        process.outs.iter_mut().for_each(Out::finish);
        process.stdin.stop();
        let stdin = RecvStream::new(STDIN_WINDOW).span();
        self.processes.insert(id, process);
        self.say(Frame::Resumed { id, attempt, stdin });
        self.maybe_exit(id);
    }
}

impl Process {
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some() && self.lengths.iter().all(Option::is_some)
    }

    pub(super) fn exit(&self) -> Option<Exit> {
        let (ending, [Some(stdout), Some(stderr)]) = (self.ending.clone()?, self.lengths) else {
            return None;
        };
        Some(Exit { ending, stdout, stderr })
    }
}
