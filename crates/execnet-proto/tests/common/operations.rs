//! A switch driven by any bytes: hosts and clients come, go and send anything. The property tests and fuzz/
//! use it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::client::{Client, Launch};
use execnet_proto::feature::Features;
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::kept::{Keep, Policy, Replay};
use execnet_proto::opening::OPENING;
use execnet_proto::process::Process;
use execnet_proto::stream::POOL;
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Frame, Refusal, Stream, Table};

use crate::frames::{Input, frame, tunnel};

/// The links that are inside of others.
#[derive(Default)]
struct Tunnels(BTreeMap<HostKey, Tunnel>);

/// The process that carries a link, and how much it has put out.
struct Tunnel {
    via: HostKey,
    id: ProcessId,
    sent: u64,
}

impl Tunnels {
    /// Bytes of a host, on its own link or as output of the process that carries it.
    fn deliver(&mut self, switch: &mut Switch, mut host: HostKey, mut bytes: Bytes, now: Duration) {
        // a link may have been lost, and opened again the other way round, since a tunnel was opened
        for _ in 0..3 {
            let Some(Tunnel { via, id, sent }) = self.0.get_mut(&host) else { break };
            if bytes.is_empty() {
                return;
            }
            let (stream, position) = (Stream::Stdout, *sent);
            *sent += bytes.len() as u64;
            bytes = Frame::Data { id: *id, stream, position, bytes }.to_bytes();
            host = *via;
        }
        if !self.0.contains_key(&host) && !goes_short(switch, Peer::Host(host), &bytes, now) {
            switch.link_bytes(host, &bytes, now);
        }
    }
}

/// Drives a switch with `bytes` and checks its bounds.
pub(crate) fn switch(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let me = Identity {
        owner: ClientId([0xdd; 16]),
        life: 1,
        pid: 1,
        release: "3.0.0".into(),
        network: "fuzz".into(),
        linger: Duration::from_secs(10),
        private: false,
    };
    let mut switch = Switch::new(me);
    let (mut now, mut clients, mut attaches) = (Duration::ZERO, 0, 0);
    let mut epochs: BTreeMap<HostKey, Epoch> = BTreeMap::new();
    let mut tunnels = Tunnels::default();
    let mut selects = Vec::new();
    while !input.is_empty() {
        let host = HostKey(u32::from(input.below(3)));
        let client = ClientKey(clients);
        match input.below(24) {
            0 => {
                epochs.entry(host).or_insert_with(|| {
                    switch.add_host(host, &format!("h{}", host.0), now);
                    Epoch(0)
                });
            }
            1 if input.below(4) == 0 => {
                switch.remove_host(host, now);
                epochs.remove(&host);
                tunnels.0.remove(&host);
            }
            2 | 3 => {
                attaches += 1;
                let epoch = Epoch::new(1, attaches);
                if let Some(slot) = epochs.get_mut(&host) {
                    *slot = epoch;
                    tunnels.0.remove(&host);
                    switch.open_link(host, epoch, Bytes::from_static(b"boot"), now);
                }
            }
            4 => {
                let via = HostKey(u32::from(input.below(3)));
                attaches += 1;
                let (id, epoch) = (tunnel(input.tunnels), Epoch::new(1, attaches));
                let args = vec![Bytes::from_static(b"ssh")];
                if let Some(slot) = epochs.get_mut(&host)
                    && switch.open_tunnel(host, via, id, args, epoch, Bytes::from_static(b"boot"), now)
                {
                    *slot = epoch;
                    input.tunnels += 1;
                    tunnels.0.insert(host, Tunnel { via, id, sent: 0 });
                }
            }
            5 => {
                let bytes = input.bytes(100);
                tunnels.deliver(&mut switch, host, bytes, now);
            }
            6..=8 => {
                let bytes = greeting(epochs.get(&host).copied().unwrap_or(Epoch(0)), input.below(3));
                tunnels.deliver(&mut switch, host, bytes, now);
            }
            9..=12 => {
                let bytes = frame(&mut input).to_bytes();
                tunnels.deliver(&mut switch, host, bytes, now);
            }
            13 => {
                clients += 1;
                switch.client_opened(ClientKey(clients), Some(7), now);
                let mut bytes = BytesMut::from(&OPENING[..]);
                let id = ClientId([input.below(3); 16]);
                Frame::Client { id, release: String::new(), facts: Vec::new() }.encode(&mut bytes);
                switch.client_bytes(ClientKey(clients), &bytes, now);
            }
            14..=17 => {
                let bytes = frame(&mut input).to_bytes();
                if !goes_short(&mut switch, Peer::Client(client), &bytes, now) {
                    switch.client_bytes(client, &bytes, now);
                }
            }
            18 => {
                let bytes = input.bytes(100);
                switch.client_bytes(client, &bytes, now);
            }
            19 => {
                if let Some((client, id)) = selects.pop()
                    && !switch.place(client, id, host, "n", Table::new())
                {
                    switch.refuse(client, id, Refusal::NoMatch, "no".into());
                }
            }
            20 => {
                while let Some(peer) = switch.poll_ready() {
                    let mut out = BytesMut::new();
                    match peer {
                        Peer::Client(key) => switch.client_transmit(key, &mut out, 4096, now),
                        Peer::Host(key) => switch.link_transmit(key, &mut out, 4096, now),
                    }
                }
            }
            21 => {
                now += Duration::from_millis(u64::from(input.byte()) * 50);
                switch.tick(now);
            }
            22 => match input.below(3) {
                0 => {
                    switch.link_closed(host, "it is over", now);
                    tunnels.0.remove(&host);
                }
                1 => switch.client_closed(client),
                _ => switch.end_host(host, input.below(2) == 1, "bench was stopped"),
            },
            _ if input.below(2) == 1 => drop(switch.kill(input.id(), 2)),
            _ => switch.measure(host, now),
        }
        while let Some(event) = switch.poll_event() {
            if let SwitchEvent::Select { client, id, .. } = event {
                selects.push((client, id));
            }
        }
        switch.deadline();
        assert!(switch.kept_work().all(|work| epochs.contains_key(&work.host)));
        assert!(switch.gone_work().count() <= 300);
        let links = clients + epochs.len() as u64;
        assert!(switch.queued() as u64 <= links * POOL);
        for host in epochs.keys() {
            let _ = (switch.is_reachable(*host), switch.rtt(*host), switch.processes(*host));
            assert!(switch.keeps(*host) <= 300);
        }
    }
    for key in 0..=clients {
        switch.client_closed(ClientKey(key));
    }
    for host in epochs.keys() {
        switch.remove_host(*host, now);
    }
    while switch.poll_event().is_some() {}
    assert!(switch.is_idle(), "{switch:?}");
}

/// Whether bytes took the short way, as a driver lets them.
fn goes_short(switch: &mut Switch, from: Peer, bytes: &[u8], now: Duration) -> bool {
    let short = switch.short_way(from, bytes);
    if let Some(short) = short {
        switch.passed(short, now);
    }
    short.is_some()
}

/// Drives a client with `bytes`.
pub(crate) fn client(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut client = Client::new(ClientId([1; 16]), "3.0.0");
    let now = Duration::ZERO;
    while !input.is_empty() {
        let id = input.id();
        match input.below(19) {
            16 => {
                let incarnation = Incarnation([input.below(3); 16]);
                client.take(
                    id,
                    incarnation,
                    "h0",
                    [Replay::All, Replay::Last(5)][usize::from(input.below(2))],
                );
            }
            17 => client.end(id),
            18 => drop(client.gap(id, Stream::Stdout)),
            0 => {
                client.connected(now);
                let mut bytes = BytesMut::from(&OPENING[..]);
                let features = if input.below(4) > 0 { Features::all() } else { Features::default() };
                let (release, network, facts) = (String::new(), String::new(), vec![features.entry()]);
                Frame::Daemon { life: 1, pid: 1, release, network, facts }.encode(&mut bytes);
                let _ = client.handle(&bytes, now);
            }
            1 => client.disconnected(),
            2 => client.select(id, Table::new()),
            3 => {
                let name = "a".parse().expect("a name");
                let (stdout, stderr) = (Policy::Last(5), Policy::Wait);
                let keep = Keep { name, seconds: 60, stdout, stderr, admits: false };
                let keep = (input.below(2) == 1).then_some(keep);
                client.launch(id, Launch { keep, ..Launch::default() });
            }
            4 => {
                let most = client.process(id).map_or(0, Process::stdin_capacity);
                let bytes = input.bytes(200);
                client.write(id, bytes.slice(..bytes.len().min(most)));
            }
            5 => client.close_stdin(id),
            6 => drop(client.read(id, Stream::Stdout, usize::from(input.byte()))),
            7 => client.stop(id, Stream::Stderr),
            8 => client.signal(id, u32::from(input.byte())),
            9 => client.release(id),
            10 => {
                let mut out = BytesMut::new();
                client.transmit(&mut out, 4096, now);
            }
            _ => {
                let bytes = frame(&mut input).to_bytes();
                if client.handle(&bytes, now).is_err() {
                    client.disconnected();
                }
            }
        }
        while client.poll_event().is_some() {}
    }
}

/// Marker and HELLO of an honest agent.
fn greeting(epoch: Epoch, incarnation: u8) -> Bytes {
    let mut bytes = BytesMut::from(&OPENING[..]);
    let incarnation = Incarnation([incarnation; 16]);
    let facts = vec![Features::all().entry()];
    Frame::Hello { incarnation, epoch, resume: true, pid: 1, facts }.encode(&mut bytes);
    bytes.freeze()
}
