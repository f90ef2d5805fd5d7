//! A TCP proxy in front of a host that makes its link bad: silent, slow or cut.
//!
//! Each direction of a connection has a thread that reads and one that writes. Bytes wait in a queue between
//! them until they are due, so a delay costs no bandwidth.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::tools::free_port;

/// The most that one direction holds: 64 MiB, enough for 300 MB/s at 200 ms.
const HELD: usize = 64 << 20;
const CHUNK: usize = 128 << 10;

/// The proxy in front of a host made with [`through_proxy`](crate::LabHostBuilder::through_proxy).
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    conditions: Arc<Conditions>,
}

/// State shared by all connections of a proxy.
#[derive(Debug, Default)]
struct Conditions {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    stalled: bool,
    delay: Duration,
    ended: bool,
    /// Counts cuts. A connection belongs to the count at which it began.
    cuts: u64,
    open: Vec<(TcpStream, TcpStream)>,
}

impl Proxy {
    pub(crate) fn start(host: SocketAddr) -> Result<Proxy> {
        let ip = Ipv4Addr::LOCALHOST;
        let listener = TcpListener::bind((ip, free_port(ip.into())?)).context("a port for the proxy")?;
        let proxy = Proxy { address: listener.local_addr()?, conditions: Arc::default() };
        let conditions = proxy.conditions.clone();
        thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            for client in listener.incoming().flatten() {
                if conditions.now().ended {
                    break;
                }
                // if the host's sshd is down, the connection closes at once
                if let Ok(server) = TcpStream::connect(host) {
                    let _ = conditions.join(client, server);
                }
            }
        })?;
        Ok(proxy)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the link silent: no byte and no close passes in either direction. New connections are accepted
    /// and get silence.
    pub fn stall(&self) {
        self.conditions.change(|now| now.stalled = true);
    }

    /// Ends a stall: the held bytes pass, in order.
    pub fn resume(&self) {
        self.conditions.change(|now| now.stalled = false);
    }

    /// Closes every open connection in both directions, stalled or not. New ones are served.
    pub fn cut(&self) {
        self.conditions.change(|now| {
            now.cuts += 1;
            for (client, server) in now.open.drain(..) {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            }
        });
    }

    /// Delays every byte from now on, in each direction, so a round trip takes twice the delay longer.
    /// Bandwidth stays.
    pub fn delay(&self, each_way: Duration) {
        self.conditions.change(|now| now.delay = each_way);
    }

    pub(crate) fn end(&self) {
        self.conditions.change(|now| now.ended = true);
        self.cut();
        // wakes the accepting thread
        let _ = TcpStream::connect(self.address);
    }
}

impl Conditions {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now());
        self.changed.notify_all();
    }

    /// Waits while the link is silent. False if the connection was cut.
    fn passes(&self, born: u64) -> bool {
        let stalled = |now: &mut Now| now.stalled && now.cuts == born;
        let now = self.changed.wait_while(self.now(), stalled).unwrap_or_else(PoisonError::into_inner);
        now.cuts == born
    }

    fn join(self: &Arc<Self>, client: TcpStream, server: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let born = {
            let mut now = self.now();
            // both directions ended: only descriptors are left here
            now.open.retain(|(client, _)| client.peer_addr().is_ok());
            now.open.push((client.try_clone()?, server.try_clone()?));
            now.cuts
        };
        for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
            let (writer_conditions, reader_conditions) = (self.clone(), self.clone());
            let pipe = Arc::new(Pipe::default());
            let writer_pipe = pipe.clone();
            thread::Builder::new().spawn(move || read(&reader_conditions, born, from, &pipe))?;
            thread::Builder::new().spawn(move || write(&writer_conditions, born, to, &writer_pipe))?;
        }
        Ok(())
    }
}

/// The bytes on the way in one direction.
#[derive(Debug, Default)]
struct Pipe {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// When each chunk is due; an empty one is the end.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    held: usize,
    writer_gone: bool,
}

fn read(conditions: &Conditions, born: u64, mut from: TcpStream, pipe: &Pipe) {
    let mut buffer = vec![0; CHUNK];
    while conditions.passes(born) {
        let count = from.read(&mut buffer).unwrap_or(0);
        let due = Instant::now() + conditions.now().delay;
        let queue = pipe.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |queue: &mut Queue| queue.held > HELD && !queue.writer_gone;
        let mut queue = pipe.changed.wait_while(queue, full).unwrap_or_else(PoisonError::into_inner);
        queue.chunks.push_back((due, buffer[..count].to_vec()));
        queue.held += count;
        let over = count == 0 || queue.writer_gone;
        drop(queue);
        pipe.changed.notify_all();
        if over {
            break;
        }
    }
}

fn write(conditions: &Conditions, born: u64, mut to: TcpStream, pipe: &Pipe) {
    loop {
        let queue = pipe.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = |queue: &mut Queue| queue.chunks.is_empty();
        let mut queue = pipe.changed.wait_while(queue, empty).unwrap_or_else(PoisonError::into_inner);
        let Some((due, chunk)) = queue.chunks.pop_front() else {
            continue;
        };
        queue.held -= chunk.len();
        drop(queue);
        pipe.changed.notify_all();
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if !conditions.passes(born) || chunk.is_empty() || to.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    pipe.queue.lock().unwrap_or_else(PoisonError::into_inner).writer_gone = true;
    pipe.changed.notify_all();
}
