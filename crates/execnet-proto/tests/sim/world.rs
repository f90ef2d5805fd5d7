//! The world of one seed: hosts, a daemon, programs, the links between them, and their failures.

#[path = "judge.rs"]
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use execnet_proto::id::{ClientId, ProcessId};
use execnet_proto::stream::{MAX_WINDOW, POOL};
use execnet_proto::switch::ClientKey;
use fastrand::Rng;

use crate::daemon::{Daemon, HostPlan};
use crate::host::SimHost;
use crate::net::{LinkId, Net, Side};
use crate::program::Program;

pub(crate) const LINGER: Duration = Duration::from_secs(40);

/// After `linger` and this long a process counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(70);

/// After the last failure, everything has to be over within this time.
const SETTLE: Duration = Duration::from_secs(900);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CutLink,
    CutTunnel,
    Stall,
    Deafen,
    Partition,
    RestartDaemon,
    StopDaemon,
    StopProgram,
    KillProgram,
    KillAgent,
    RemoveHost,
}

const FAULTS: [Fault; 11] = [
    Fault::CutLink,
    Fault::CutTunnel,
    Fault::Stall,
    Fault::Deafen,
    Fault::Partition,
    Fault::RestartDaemon,
    Fault::StopDaemon,
    Fault::StopProgram,
    Fault::KillProgram,
    Fault::KillAgent,
    Fault::RemoveHost,
];

pub(crate) struct World {
    rng: Rng,
    net: Net,
    pub(crate) now: Duration,
    pub(crate) steps: u64,
    hosts: BTreeMap<String, SimHost>,
    plans: Vec<HostPlan>,
    daemon: Option<Daemon>,
    daemon_back: Duration,
    life: u32,
    programs: Vec<Program>,
    /// The program of each socket; the sockets of killed programs are gone.
    sockets: u64,
    faults: Vec<Fault>,
    next_fault: Duration,
    faults_left: u32,
    /// Things break within milliseconds, and are repaired as fast.
    hasty: bool,
    /// This host cannot be dialed until then.
    cut_off: BTreeMap<String, Duration>,
    removed: BTreeSet<String>,
    /// The longest time for which each host was unreachable.
    gaps: BTreeMap<String, Duration>,
    calm_since: Option<Duration>,
    /// Kept work that programs have asked to end.
    asked_to_end: BTreeSet<ProcessId>,
    /// Who has asked to take what.
    takes: BTreeSet<(ProcessId, ClientId)>,
    /// How often programs take kept work and read along with it: one in so many steps.
    visits: u32,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    log: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(1..=4);
        let mut plans: Vec<HostPlan> = Vec::new();
        let mut hosts = BTreeMap::new();
        for index in 0..count {
            let name = format!("m{index}");
            let via = (index > 0 && rng.u8(..3) > 0)
                .then(|| if rng.bool() { index - 1 } else { rng.usize(..index) });
            hosts.insert(name.clone(), SimHost::new(&name, rng.u8(..10) > 0, LINGER));
            plans.push(HostPlan { name, via, removed: false });
        }
        let bulk = match rng.u8(..12) {
            0 => 16_000_000,
            1 | 2 => 4_000_000,
            _ => 200_000,
        };
        let jobs = rng.usize(1..10);
        let programs =
            (0..rng.usize(1..=3)).map(|_| Program::new(&mut rng, jobs, bulk, Duration::ZERO)).collect();
        // each world has its own kinds of trouble
        let mut faults: Vec<_> = FAULTS.into_iter().filter(|_| rng.u8(..3) == 0).collect();
        if faults.is_empty() {
            faults.push(Fault::CutLink);
        }
        let hasty = rng.u8(..3) == 0;
        let faults_left = if rng.u8(..10) == 0 { 0 } else { rng.u32(1..if hasty { 120 } else { 25 }) };
        Self {
            net: Net::default(),
            now: Duration::ZERO,
            steps: 0,
            hosts,
            plans,
            daemon: None,
            daemon_back: Duration::ZERO,
            life: 0,
            programs,
            sockets: 0,
            faults,
            next_fault: Duration::from_millis(rng.u64(..5_000)),
            faults_left,
            hasty,
            cut_off: BTreeMap::new(),
            removed: BTreeSet::new(),
            gaps: BTreeMap::new(),
            calm_since: None,
            asked_to_end: BTreeSet::new(),
            takes: BTreeSet::new(),
            visits: rng.u32(20..2_000),
            outcomes: BTreeMap::new(),
            log: Vec::new(),
            rng,
        }
    }

    /// Runs until everything is over.
    pub(crate) fn run(&mut self, most: u64) {
        while !self.is_over() {
            self.steps += 1;
            assert!(self.steps < most, "still busy after {most} steps\n{}", self.dump());
            let busy = self.round();
            self.check();
            if !busy {
                let next = self.next();
                assert!(next < Duration::MAX, "stuck: nothing will ever happen again\n{}", self.dump());
                self.now = next.max(self.now + Duration::from_micros(1));
            } else if self.rng.u8(..4) == 0 {
                self.now += Duration::from_micros(self.rng.u64(..2_000));
            }
            if let Some(since) = self.calm_since {
                assert!(self.now < since + SETTLE, "not over in time\n{}", self.dump());
            }
        }
        self.check_end();
    }

    /// Every part does something, in any order.
    fn round(&mut self) -> bool {
        let mut busy = self.trouble();
        self.visit();
        let mut turns: Vec<usize> = (0..=self.hosts.len() + self.programs.len()).collect();
        self.rng.shuffle(&mut turns);
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        for turn in turns {
            if turn == 0 {
                busy |= self.daemon();
            } else if let Some(name) = names.get(turn - 1) {
                let host = self.hosts.get_mut(name).expect("it is there");
                busy |= host.step(&mut self.net, self.now, &mut self.rng);
                busy |= self.dial_tunnels(name);
            } else {
                busy |= self.program(turn - 1 - names.len());
            }
        }
        busy
    }

    /// A program takes kept work that the daemon knows of, or reads along with it.
    fn visit(&mut self) {
        if self.calm_since.is_some() || self.rng.u32(..self.visits) > 0 {
            return;
        }
        let Some(daemon) = &self.daemon else { return };
        let (Some(work), Some(program)) =
            (self.rng.choice(daemon.kept()), self.rng.choice(&mut self.programs))
        else {
            return;
        };
        if self.rng.u8(..4) == 0 {
            program.read_along(work, self.now, &mut self.rng);
        } else {
            self.takes.insert((work.1, program.id));
            program.take(work, self.now, &mut self.rng);
        }
    }

    fn daemon(&mut self) -> bool {
        let Some(daemon) = &mut self.daemon else {
            if self.now < self.daemon_back {
                return false;
            }
            self.life += 1;
            self.log.push(format!("{:?} daemon of life {}", self.now, self.life));
            self.daemon = Some(Daemon::new(self.life, &self.plans, LINGER, self.hasty, self.now));
            return true;
        };
        if self.now < daemon.stopped {
            return false;
        }
        let busy = daemon.step(&mut self.net, self.now, &mut self.rng);
        for (name, gap) in &daemon.gaps {
            let longest = self.gaps.entry(name.clone()).or_default();
            *longest = (*longest).max(*gap);
        }
        for (key, name) in std::mem::take(&mut daemon.dials) {
            let link = dial(&mut self.net, &mut self.hosts, &self.cut_off, &name, self.now, &mut self.rng);
            daemon.dialed(key, link, &mut self.net, self.now);
        }
        busy
    }

    fn dial_tunnels(&mut self, from: &str) -> bool {
        let dials = std::mem::take(&mut self.hosts.get_mut(from).expect("it is there").dials);
        let busy = !dials.is_empty();
        for (id, name) in dials {
            let link = dial(&mut self.net, &mut self.hosts, &self.cut_off, &name, self.now, &mut self.rng);
            let host = self.hosts.get_mut(from).expect("it is there");
            host.dialed(id, link, &mut self.net, self.now);
        }
        busy
    }

    fn program(&mut self, index: usize) -> bool {
        let Some(program) = self.programs.get_mut(index) else { return false };
        if self.now < program.stopped {
            return false;
        }
        let busy = program.step(&mut self.net, self.now, &mut self.rng);
        if std::mem::take(&mut program.wants_connection)
            && let Some(daemon) = &mut self.daemon
        {
            self.sockets += 1;
            let link = self.net.open(Duration::ZERO, self.rng.usize(1_000..100_000), false);
            daemon.accept(ClientKey(self.sockets), link, self.now);
            program.connected(link, self.now);
        }
        self.asked_to_end.extend(program.asked_to_end.drain(..));
        for outcome in std::mem::take(&mut program.ended) {
            self.judge(&outcome);
        }
        busy
    }

    fn next(&mut self) -> Duration {
        let fault = if self.calm_since.is_some() { Duration::MAX } else { self.next_fault };
        let mut times = vec![fault, self.daemon_back];
        times.extend(self.net.next(self.now));
        if let Some(daemon) = &mut self.daemon {
            let stopped = daemon.stopped;
            times.extend(daemon.deadline().map(|at| at.max(stopped)));
            times.push(stopped);
        }
        times.extend(self.hosts.values().filter_map(SimHost::deadline));
        times.extend(self.programs.iter().flat_map(|p| [p.deadline().max(p.stopped), p.stopped]));
        times.into_iter().filter(|at| *at > self.now).min().unwrap_or(Duration::MAX)
    }

    // --- trouble

    fn trouble(&mut self) -> bool {
        if self.calm_since.is_some() || self.now < self.next_fault {
            return false;
        }
        let pause = match self.rng.u8(..8) {
            _ if self.hasty => 300,
            0 | 1 => 60_000,
            _ => 4_000,
        };
        self.next_fault = self.now + Duration::from_millis(self.rng.u64(..pause));
        if self.faults_left == 0 {
            self.calm();
            return true;
        }
        self.faults_left -= 1;
        let fault = *self.rng.choice(&self.faults).expect("there is one");
        self.log.push(format!("{:?} {fault:?}", self.now));
        let seconds = |rng: &mut Rng, most: u64| Duration::from_millis(rng.u64(..most * 1_000));
        match fault {
            Fault::CutLink | Fault::CutTunnel | Fault::Stall | Fault::Deafen => {
                let own = self.daemon.as_ref().map(Daemon::own_links).unwrap_or_default();
                let mut links: Vec<LinkId> = self.net.ids();
                links.retain(|link| match fault {
                    Fault::CutLink => own.contains(link),
                    Fault::CutTunnel => !own.contains(link),
                    _ => true,
                });
                links.retain(|link| self.net.is_long(*link));
                let Some(&link) = self.rng.choice(&links) else { return true };
                if fault == Fault::Deafen {
                    self.net.deafen(link);
                } else if fault == Fault::Stall {
                    let until = self.now + seconds(&mut self.rng, 40);
                    self.net.stall(link, until, &mut self.rng);
                } else {
                    self.net.cut(link, self.now, &mut self.rng);
                }
            }
            Fault::Partition => {
                let name = self.any_host();
                let most = if self.rng.u8(..3) == 0 { 400 } else { 120 };
                let until = self.now + seconds(&mut self.rng, most);
                self.cut_off.insert(name, until);
                for link in self.daemon.as_ref().map(Daemon::own_links).unwrap_or_default() {
                    if self.rng.bool() {
                        self.net.stall(link, until, &mut self.rng);
                    }
                }
            }
            Fault::RestartDaemon => {
                let Some(mut daemon) = self.daemon.take() else { return true };
                daemon.die(&mut self.net, self.now);
                let most = if self.rng.u8(..6) == 0 { 100 } else { 5 };
                let back = seconds(&mut self.rng, most);
                self.daemon_back = self.now + if self.hasty { back / 100 } else { back };
                // one that does not come back in time is not waited for
                if self.rng.u8(..4) == 0 {
                    self.stop_program(100);
                }
            }
            Fault::StopDaemon => {
                if let Some(daemon) = &mut self.daemon {
                    daemon.stopped = self.now + seconds(&mut self.rng, 40);
                }
            }
            Fault::StopProgram => {
                let most = if self.rng.u8(..3) == 0 { 100 } else { 10 };
                self.stop_program(most);
            }
            Fault::KillProgram => {
                if self.programs.len() > 1 {
                    let index = self.rng.usize(..self.programs.len());
                    let program = self.programs.swap_remove(index);
                    if let Some(link) = program.link {
                        self.net.close(link, Side::Near, self.now);
                    }
                }
            }
            Fault::KillAgent => {
                let name = self.any_host();
                let host = self.hosts.get_mut(&name).expect("it is there");
                host.kill_agent(&mut self.net, self.now);
            }
            Fault::RemoveHost => {
                let index = self.rng.usize(..self.plans.len());
                let plan = &mut self.plans[index];
                plan.removed = !plan.removed;
                self.removed.insert(plan.name.clone());
                if let Some(daemon) = &mut self.daemon {
                    if plan.removed {
                        daemon.remove(index, self.rng.bool(), &mut self.net, self.now);
                    } else {
                        daemon.add(index, plan, self.now);
                    }
                }
            }
        }
        true
    }

    fn stop_program(&mut self, most: u64) {
        let stopped = self.now + Duration::from_millis(self.rng.u64(..most * 1_000));
        if let Some(program) = self.rng.choice(&mut self.programs) {
            program.stopped = stopped;
        }
    }

    /// From now on nothing fails.
    fn calm(&mut self) {
        self.log.push(format!("{:?} calm", self.now));
        self.calm_since = Some(self.now);
        self.cut_off.clear();
        self.net.end_stalls(self.now);
        self.daemon_back = self.daemon_back.min(self.now);
        for index in 0..self.plans.len() {
            if std::mem::take(&mut self.plans[index].removed)
                && let Some(daemon) = &mut self.daemon
            {
                daemon.add(index, &self.plans[index], self.now);
            }
        }
        if let Some(daemon) = &mut self.daemon {
            daemon.stopped = self.now;
        }
        for program in &mut self.programs {
            program.stopped = self.now;
            program.calm = true;
        }
    }

    fn any_host(&mut self) -> String {
        let names: Vec<_> = self.hosts.keys().cloned().collect();
        self.rng.choice(names).expect("there is one")
    }

    // --- invariants

    fn is_over(&self) -> bool {
        self.calm_since.is_some()
            && self.programs.iter().all(Program::is_done)
            && self.daemon.as_ref().is_some_and(|daemon| daemon.everything_is_up() && daemon.switch.is_idle())
            && self.hosts.values().all(SimHost::is_idle)
    }

    fn check(&mut self) {
        if !self.steps.is_multiple_of(64) {
            return;
        }
        for host in self.hosts.values() {
            if let Some(agent) = &host.agent {
                assert!(agent.granted() <= POOL);
                assert!(agent.held() <= MAX_WINDOW);
            }
        }
        if let Some(daemon) = &self.daemon {
            let links = self.plans.len() as u64 + daemon.clients() as u64;
            assert!((daemon.switch.queued() as u64) <= links * POOL / 4);
        }
    }

    /// Everything is over: nothing may be left anywhere.
    fn check_end(&mut self) {
        for host in self.hosts.values() {
            for (id, why) in host.all_ended() {
                assert!(why != "it was to end" || self.asked_to_end.contains(&id), "{id} was ended unasked");
                assert!(why != "the agent was to end it" || host.truths.get(&id).is_none_or(|t| !t.kept));
            }
            let tunnels = self.plans.len();
            assert!(host.children() <= tunnels, "{} has {} children", host.name, host.children());
        }
        let daemon = self.daemon.as_ref().expect("it runs");
        assert_eq!(daemon.switch.queued(), 0, "{}", self.dump());
    }

    /// How many frames took the short way in its last daemon.
    pub(crate) fn short(&self) -> u64 {
        self.daemon.as_ref().map_or(0, |daemon| daemon.short)
    }

    pub(crate) fn dump(&self) -> String {
        let mut text = format!("at {:?}, {} steps\n", self.now, self.steps);
        for line in &self.log {
            let _ = writeln!(text, "{line}");
        }
        for plan in &self.plans {
            let _ = writeln!(text, "{plan:?}");
        }
        for program in &self.programs {
            text += &program.dump();
        }
        for host in self.hosts.values() {
            let _ = writeln!(text, "{}", host.dump());
        }
        if let Some(daemon) = &self.daemon {
            let _ = writeln!(text, "up {}, {:?}", daemon.everything_is_up(), daemon.switch);
        }
        text
    }
}

fn dial(
    net: &mut Net,
    hosts: &mut BTreeMap<String, SimHost>,
    cut_off: &BTreeMap<String, Duration>,
    name: &str,
    now: Duration,
    rng: &mut Rng,
) -> LinkId {
    let delay = Duration::from_micros(if rng.bool() { rng.u64(..2_000) } else { rng.u64(..150_000) });
    let link = net.open(delay, rng.usize(2_000..2_000_000), true);
    if cut_off.get(name).is_some_and(|until| now < *until) {
        net.cut(link, now, rng);
        net.close(link, Side::Far, now);
    } else {
        hosts.get_mut(name).expect("a host").stub(link);
    }
    link
}
