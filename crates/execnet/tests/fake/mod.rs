//! A network in this process: the real daemon's core behind a real socket, with a model agent instead of a
//! host.
#![allow(missing_docs, unreachable_pub, dead_code)]

mod agent;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use execnet_proto::control::{HostStatus, KeptReply, KeptStatus, Request, Status, Unheard, Verb};
use execnet_proto::id::{ClientId, Epoch, ProcessId};
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Refusal, Table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use agent::Agent;
#[allow(unused_imports)]
pub use agent::patterned;

const HOST: HostKey = HostKey(1);

/// A test's network: the path of its socket, its host's agent, and its daemon, which can be replaced.
pub struct Fake {
    pub socket: PathBuf,
    agent: Arc<Mutex<Agent>>,
    daemon: Option<(JoinHandle<()>, Sender<Command>, UnixStream)>,
    life: u32,
}

enum Command {
    End,
    Cut,
    Join,
    /// Removes the host.
    Remove,
    /// Reports this about the host when asked.
    Fail(String),
    /// Tells the sender when this many processes wait for a place.
    Waiting(usize, Sender<()>),
    /// Does nothing until it gets the lock; tells the sender when it stopped.
    Pause(Arc<Mutex<()>>, Sender<()>),
}

impl Fake {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("execnet-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let agent = Arc::new(Mutex::new(Agent::new(1)));
        let mut fake = Self { socket: folder.join("socket"), agent, daemon: None, life: 0 };
        fake.start();
        fake
    }

    pub fn connect(&self) -> execnet::Network {
        execnet::Connect::at(&self.socket).open().unwrap()
    }

    /// Starts a daemon, which joins the host.
    pub fn start(&mut self) {
        self.life += 1;
        let (commands_tx, commands) = channel();
        let (waker, wake) = UnixStream::pair().unwrap();
        wake.set_nonblocking(true).unwrap();
        let daemon = Daemon::new(&self.socket, self.life, self.agent.clone(), commands, wake);
        let thread = std::thread::spawn(move || daemon.run());
        self.daemon = Some((thread, commands_tx, waker));
    }

    /// Kills the daemon: its socket closes, the agent stays.
    pub fn kill(&mut self) {
        self.end().unwrap();
    }

    fn end(&mut self) -> std::thread::Result<()> {
        self.daemon.take().map_or(Ok(()), |(thread, commands, mut waker)| {
            // it may have panicked
            let _ = commands.send(Command::End);
            let _ = waker.write_all(&[1]);
            thread.join()
        })
    }

    pub fn cut(&self) {
        self.tell(Command::Cut);
    }

    pub fn join(&self) {
        self.tell(Command::Join);
    }

    pub fn fail(&self, error: &str) {
        self.tell(Command::Fail(error.to_owned()));
    }

    pub fn remove_host(&self) {
        self.tell(Command::Remove);
    }

    /// Returns when this many processes wait for a place.
    pub fn until_waiting(&self, count: usize) {
        let (waiting_tx, waiting) = channel();
        self.tell(Command::Waiting(count, waiting_tx));
        waiting.recv().unwrap();
    }

    /// The daemon does nothing while `act` runs.
    pub fn paused<T>(&self, act: impl FnOnce() -> T) -> T {
        let pause = Arc::new(Mutex::new(()));
        let guard = pause.lock().unwrap();
        let (stopped_tx, stopped) = channel();
        self.tell(Command::Pause(pause.clone(), stopped_tx));
        stopped.recv().unwrap();
        let result = act();
        drop(guard);
        result
    }

    /// The agent loses everything, as after a reboot.
    pub fn reboot(&self) {
        *self.agent.lock().unwrap() = Agent::new(2);
    }

    pub fn running(&self) -> Vec<ProcessId> {
        self.agent.lock().unwrap().running()
    }

    fn tell(&self, command: Command) {
        let Some((_, commands, waker)) = &self.daemon else { return };
        commands.send(command).unwrap();
        (&mut &*waker).write_all(&[1]).unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let ended = self.end();
        let _ = std::fs::remove_dir_all(self.socket.parent().unwrap());
        // a panic while another one unwinds would abort the program
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

struct Daemon {
    switch: Switch,
    agent: Arc<Mutex<Agent>>,
    listener: UnixListener,
    clients: BTreeMap<ClientKey, (UnixStream, BytesMut)>,
    accepted: u64,
    commands: Receiver<Command>,
    wake: UnixStream,
    started: Instant,
    epoch: Epoch,
    /// Processes to place at the next request, except those that are refused.
    late: Vec<(ClientKey, ProcessId, bool)>,
    /// Hears when this many of them are there.
    awaited: Option<(usize, Sender<()>)>,
    error: Option<String>,
    /// The host has told that it keeps `late`: it does so when it is asked for all.
    has_told: bool,
}

impl Daemon {
    fn new(
        socket: &Path,
        life: u32,
        agent: Arc<Mutex<Agent>>,
        commands: Receiver<Command>,
        wake: UnixStream,
    ) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let me = Identity {
            owner: ClientId([life as u8; 16]),
            life,
            pid: std::process::id(),
            release: "0.0.1".into(),
            network: "fake".into(),
            linger: Duration::from_secs(600),
            private: false,
        };
        let mut switch = Switch::new(me);
        switch.add_host(HOST, "alpha", Duration::ZERO);
        let mut daemon = Self {
            switch,
            agent,
            listener,
            clients: BTreeMap::new(),
            accepted: 0,
            commands,
            wake,
            started: Instant::now(),
            epoch: Epoch::new(life, 0),
            late: Vec::new(),
            awaited: None,
            error: None,
            has_told: false,
        };
        daemon.join();
        daemon
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn join(&mut self) {
        self.epoch.0 += 1;
        self.switch.open_link(HOST, self.epoch, Bytes::new(), self.now());
        self.agent.lock().unwrap().attach(self.epoch, facts(), self.started.elapsed());
    }

    fn run(mut self) {
        loop {
            self.settle();
            if let Some((_, waiting)) = self.awaited.take_if(|(count, _)| self.late.len() >= *count) {
                waiting.send(()).unwrap();
            }
            self.sleep();
            // before the commands: what a client sends after a command must not be read before it
            self.accept();
            self.read();
            while let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::End => return self.agent.lock().unwrap().detach(),
                    Command::Cut => {
                        self.switch.link_closed(HOST, "the test cut its link", self.now());
                        self.agent.lock().unwrap().detach();
                    }
                    Command::Join => self.join(),
                    Command::Fail(error) => self.error = Some(error),
                    Command::Waiting(count, waiting) => self.awaited = Some((count, waiting)),
                    Command::Remove => self.switch.remove_host(HOST, self.now()),
                    Command::Pause(lock, stopped) => {
                        stopped.send(()).unwrap();
                        drop(lock.lock().unwrap());
                    }
                }
            }
        }
    }

    /// Moves bytes until nobody has anything to say.
    fn settle(&mut self) {
        let now = self.now();
        loop {
            let mut quiet = true;
            while let Some(event) = self.switch.poll_event() {
                quiet = false;
                self.act(event);
            }
            while let Some(Peer::Client(_) | Peer::Host(_)) = self.switch.poll_ready() {}
            let mut bytes = BytesMut::new();
            self.switch.link_transmit(HOST, &mut bytes, 1 << 20, now);
            let mut agent = self.agent.lock().unwrap();
            if !bytes.is_empty() {
                quiet = false;
                agent.bytes(&bytes, now);
                bytes.clear();
            }
            agent.transmit(&mut bytes, now);
            drop(agent);
            if !bytes.is_empty() {
                quiet = false;
                self.switch.link_bytes(HOST, &bytes, now);
            }
            for (&key, (socket, out)) in &mut self.clients {
                if out.is_empty() {
                    self.switch.client_transmit(key, out, 256 * 1024, now);
                }
                if let Ok(count) = (&*socket).write(out)
                    && count > 0
                {
                    out.advance(count);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn sleep(&self) {
        let mut fds =
            vec![PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        for (socket, out) in self.clients.values() {
            let flags = if out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
            fds.push(PollFd::new(socket, flags));
        }
        let most = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut fds, Some(&most));
        let _ = (&self.wake).read(&mut [0; 16]);
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true).unwrap();
            self.accepted += 1;
            let key = ClientKey(self.accepted);
            self.clients.insert(key, (socket, BytesMut::new()));
            self.switch.client_opened(key, None, self.now());
        }
    }

    fn read(&mut self) {
        let now = self.now();
        let mut buffer = vec![0; 256 * 1024];
        let mut gone = Vec::new();
        for (&key, (socket, _)) in &self.clients {
            match (&*socket).read(&mut buffer) {
                Ok(0) => gone.push(key),
                Ok(count) => self.switch.client_bytes(key, &buffer[..count], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => gone.push(key),
            }
        }
        for key in gone {
            self.switch.client_closed(key);
            self.clients.remove(&key);
        }
    }

    fn act(&mut self, event: SwitchEvent) {
        match event {
            SwitchEvent::Select { client, id, wants } => self.select(client, id, &wants),
            SwitchEvent::Request { client, request, json } => {
                let read: Request = serde_json::from_slice(&json).unwrap();
                self.answer(client, request, &read.verb);
            }
            SwitchEvent::ClientEnded { client, why } => {
                self.clients.remove(&client);
                panic!("the daemon dropped a client: {why}");
            }
            SwitchEvent::LinkEnded { why, .. } => panic!("the daemon dropped the link: {why}"),
            _ => {}
        }
    }

    fn select(&mut self, client: ClientKey, id: ProcessId, wants: &Table) {
        let node = wants
            .iter()
            .find(|(key, _)| key == "node")
            .map_or("", |(_, value)| std::str::from_utf8(value).unwrap());
        match node {
            // never answers
            "silence" => {}
            "late" => self.late.push((client, id, true)),
            "away" | "gone" => {
                self.switch.keep_waiting(client, id, "alpha is unreachable: its ssh ended".into());
                self.late.push((client, id, node == "away"));
            }
            "nowhere" => {
                let message = "no node is called nowhere; there is alpha".into();
                self.switch.refuse(client, id, Refusal::NoMatch, message);
            }
            _ => assert!(self.switch.place(client, id, HOST, "alpha", facts())),
        }
    }

    fn answer(&mut self, client: ClientKey, request: u32, verb: &Verb) {
        for (client, id, placed) in std::mem::take(&mut self.late) {
            if placed {
                assert!(self.switch.place(client, id, HOST, "alpha", facts()));
            } else {
                self.switch.refuse(client, id, Refusal::NoMatch, "alpha is unreachable".into());
            }
        }
        let processes = self.switch.processes(HOST) as u32;
        let mut reply = |last, json: serde_json::Value| {
            self.switch.reply(client, request, last, json.to_string().into());
        };
        match verb {
            Verb::Status => {
                let status = Status {
                    network: "fake".into(),
                    pid: 1,
                    release: "0.0.1".into(),
                    protocol: 1,
                    uptime: 1.0,
                    clients: 1,
                    linger: Some(600.0),
                    hosts: vec![HostStatus {
                        id: "alpha".into(),
                        error: self.error.clone(),
                        processes,
                        ..HostStatus::default()
                    }],
                    ..Status::default()
                };
                reply(true, serde_json::to_value(status).unwrap());
            }
            Verb::Kept { names } => {
                self.has_told |= names.is_empty();
                let late = KeptStatus { name: "late".into(), host: "alpha".into(), ..KeptStatus::default() };
                let unheard = Unheard { host: "alpha".into(), why: "it has not told yet".into() };
                let is_meant = names.iter().all(|name| name == "late");
                let found = KeptReply {
                    kept: if self.has_told && is_meant { vec![late] } else { Vec::new() },
                    unknown: names.clone(),
                    unheard: if self.has_told { Vec::new() } else { vec![unheard] },
                };
                reply(true, serde_json::to_value(found).unwrap());
            }
            // a first reply, but no second one
            Verb::Watch => reply(false, serde_json::json!({"host": null})),
            Verb::RmHost { .. } => {
                let error = serde_json::json!({"kind": "no-such-host", "message": "no host x", "hint": null});
                reply(true, serde_json::json!({ "error": error }));
            }
            Verb::Stop { .. } => {
                for part in 0..1000 {
                    reply(part == 999, serde_json::json!({ "left": [part.to_string()] }));
                }
            }
            _ => reply(true, serde_json::json!({})),
        }
    }
}

fn facts() -> Table {
    let facts = [
        ("executable", "/usr/bin/python3"),
        ("platform", "linux"),
        ("implementation", "cpython"),
        ("version", "3.11.2"),
        ("machine", "x86_64"),
    ];
    facts.map(|(key, value)| (key.to_owned(), Bytes::from_static(value.as_bytes()))).into()
}
