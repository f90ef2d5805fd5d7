//! Our stdin for all hosts. Each reads at its own pace.
//!
//! If all run at once, at most [`WINDOW`] bytes are in memory, so the slowest that still reads sets the pace.
//! If some start later, all of it is kept in an unlinked file. Hosts that are at the same place share what is
//! read back.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// The most that is held in memory, in bytes.
const WINDOW: u64 = 1 << 20;

/// How many pieces that were read back are held for others.
const SHARED: usize = 128;

/// What hosts have read, and what there is to read.
pub(in crate::commands) struct Feed {
    shared: Arc<Shared>,
    /// How far each host is that may still read.
    positions: BTreeMap<usize, u64>,
}

struct Shared {
    state: Mutex<State>,
    /// The reader waits here for room.
    room: Condvar,
}

struct State {
    store: Store,
    end: u64,
    finished: bool,
    /// Why reading or keeping it failed: what is there is not all.
    failed: Option<String>,
    /// Nobody reads it any more.
    unwanted: bool,
    /// More came since it was last asked.
    news: bool,
}

enum Store {
    Memory { from: u64, chunks: VecDeque<Bytes> },
    File { file: File, shared: VecDeque<(u64, Bytes)> },
}

/// What a host gets next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::commands) enum Next {
    Bytes(Bytes),
    /// Nothing yet.
    Nothing,
    End,
}

impl Feed {
    /// Reads `from` for so many hosts, and calls `wake` when there is more. With `keep`, some of them start
    /// later.
    pub(in crate::commands) fn start(
        from: impl Read + Send + 'static,
        hosts: usize,
        keep: bool,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let store = match keep {
            true => Store::File {
                file: tempfile::tempfile().map_err(|error| io::Error::other(kept(&error)))?,
                shared: VecDeque::new(),
            },
            false => Store::Memory { from: 0, chunks: VecDeque::new() },
        };
        let state =
            Mutex::new(State { store, end: 0, finished: false, failed: None, unwanted: false, news: false });
        let shared = Arc::new(Shared { state, room: Condvar::new() });
        let reader = shared.clone();
        // it may wait for input that never comes, so nothing joins it
        thread::Builder::new().name("stdin".to_owned()).spawn(move || read(from, &reader, &wake))?;
        Ok(Self { shared, positions: (0..hosts).map(|host| (host, 0)).collect() })
    }

    /// What a host gets next.
    ///
    /// # Errors
    /// If what was kept cannot be read.
    pub(in crate::commands) fn next(&self, host: usize) -> io::Result<Next> {
        let Some(&position) = self.positions.get(&host) else { return Ok(Next::End) };
        let mut state = self.shared.lock();
        if position == state.end {
            return Ok(if state.finished { Next::End } else { Next::Nothing });
        }
        let end = state.end;
        match &mut state.store {
            Store::Memory { from, chunks } => {
                let mut at = *from;
                for chunk in chunks {
                    let within = position - at;
                    if within < chunk.len() as u64 {
                        return Ok(Next::Bytes(chunk.slice(within as usize..)));
                    }
                    at += chunk.len() as u64;
                }
                Ok(Next::Nothing)
            }
            Store::File { file, shared } => {
                let from = position - position % CHUNK as u64;
                let within = (position - from) as usize;
                let held = shared.iter().find(|(at, bytes)| *at == from && bytes.len() > within);
                let bytes = match held {
                    Some((_, bytes)) => bytes.clone(),
                    None => {
                        let mut bytes = vec![0; CHUNK.min((end - from) as usize)];
                        file.read_exact_at(&mut bytes, from)?;
                        shared.retain(|(at, _)| *at != from);
                        shared.truncate(SHARED - 1);
                        shared.push_front((from, bytes.into()));
                        shared[0].1.clone()
                    }
                };
                Ok(Next::Bytes(bytes.slice(within..)))
            }
        }
    }

    /// A host took so many bytes.
    pub(in crate::commands) fn taken(&mut self, host: usize, count: usize) {
        if let Some(position) = self.positions.get_mut(&host) {
            *position += count as u64;
            self.trim();
        }
    }

    /// A host reads no more.
    pub(in crate::commands) fn done(&mut self, host: usize) {
        if self.positions.remove(&host).is_some() {
            self.trim();
        }
    }

    /// Hosts that may still read.
    pub(in crate::commands) fn readers(&self) -> Vec<usize> {
        self.positions.keys().copied().collect()
    }

    /// Whether there is more since the last call.
    pub(in crate::commands) fn has_news(&self) -> bool {
        std::mem::take(&mut self.shared.lock().news)
    }

    /// Why reading ended early, once. There is no end then.
    pub(in crate::commands) fn failure(&self) -> Option<String> {
        self.shared.lock().failed.take()
    }

    /// Drops what all have read.
    fn trim(&self) {
        let mut state = self.shared.lock();
        let end = state.end;
        let needed = self.positions.values().copied().min();
        state.unwanted = needed.is_none();
        if let Store::Memory { from, chunks } = &mut state.store {
            while let Some(first) = chunks.front()
                && *from + first.len() as u64 <= needed.unwrap_or(end)
            {
                *from += first.len() as u64;
                chunks.pop_front();
            }
        }
        drop(state);
        self.shared.room.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        !self.unwanted && matches!(self.store, Store::Memory { from, .. } if self.end - from >= WINDOW)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.store {
            Store::Memory { chunks, .. } => chunks.push_back(Bytes::copy_from_slice(bytes)),
            Store::File { file, .. } => file.write_all_at(bytes, self.end).map_err(|error| kept(&error))?,
        }
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn kept(error: &io::Error) -> String {
    format!("cannot keep stdin in {} ($TMPDIR): {error}", std::env::temp_dir().display())
}

/// Reads until the end, or until nobody wants more.
fn read(mut from: impl Read, shared: &Shared, wake: &impl Fn()) {
    let mut piece = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read,
        };
        let mut state = shared.lock();
        while state.is_full() {
            state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.unwanted {
            return;
        }
        let added = match read {
            Ok(0) => {
                state.finished = true;
                Ok(())
            }
            Ok(count) => state.add(&piece[..count]),
            Err(error) => Err(format!("cannot read stdin: {error} (`-n` does not read it)")),
        };
        state.news = true;
        let over = state.finished || added.is_err();
        state.failed = added.err();
        drop(state);
        wake();
        if over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    fn read_all(feed: &mut Feed, host: usize, news: &std::sync::mpsc::Receiver<()>) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match feed.next(host).unwrap() {
                Next::Bytes(bytes) => {
                    // a part is taken, as by a process without more room
                    let part = bytes.len().div_ceil(2);
                    all.extend_from_slice(&bytes[..part]);
                    feed.taken(host, part);
                }
                Next::Nothing => news.recv_timeout(LIMIT).unwrap(),
                Next::End => return all,
            }
        }
    }

    fn fed(keep: bool, hosts: usize) -> (UnixStream, Feed, std::sync::mpsc::Receiver<()>) {
        let (near, far) = UnixStream::pair().unwrap();
        let (tell, news) = channel();
        let wake = move || {
            let _ = tell.send(());
        };
        (near, Feed::start(far, hosts, keep, wake).unwrap(), news)
    }

    #[test]
    fn hosts_that_start_later_get_all_of_it() {
        let (mut near, mut feed, news) = fed(true, 3);
        let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
        // nobody reads yet, and nothing stalls
        near.write_all(&sent).unwrap();
        drop(near);
        for host in 0..3 {
            assert!(read_all(&mut feed, host, &news) == sent, "{host}");
            feed.done(host);
        }
    }

    #[test]
    fn memory_is_bounded_and_those_that_are_done_are_not_waited_for() {
        let (near, mut feed, news) = fed(false, 3);
        let sent = vec![7; 3 << 20];
        let writer = {
            let sent = sent.clone();
            let mut near = near.try_clone().unwrap();
            thread::spawn(move || near.write_all(&sent))
        };
        drop(near);
        let held = |feed: &Feed| {
            let state = feed.shared.lock();
            let Store::Memory { from, .. } = &state.store else { panic!() };
            state.end - from
        };
        while held(&feed) < WINDOW {
            news.recv_timeout(LIMIT).unwrap();
        }
        assert!(held(&feed) < WINDOW + CHUNK as u64);
        assert_ne!(feed.next(1).unwrap(), Next::Nothing);
        feed.done(1);
        feed.done(2);
        assert!(read_all(&mut feed, 0, &news) == sent);
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn what_cannot_be_read_to_its_end_has_none() {
        let (tell, news) = channel();
        let folder = File::open("/").unwrap();
        let feed = Feed::start(folder, 1, false, move || tell.send(()).unwrap()).unwrap();
        news.recv_timeout(LIMIT).unwrap();
        assert_eq!(feed.next(0).unwrap(), Next::Nothing);
        let said = feed.failure().unwrap();
        assert_eq!(said, "cannot read stdin: Is a directory (os error 21) (`-n` does not read it)");
        assert_eq!(feed.failure(), None);
    }

    #[test]
    fn a_reader_that_nobody_wants_ends() {
        let (mut near, mut feed, news) = fed(false, 1);
        near.write_all(b"x").unwrap();
        news.recv_timeout(LIMIT).unwrap();
        feed.done(0);
        // the other end is closed then
        near.set_read_timeout(Some(LIMIT)).unwrap();
        while near.write_all(&[0; 4096]).is_ok() {}
        assert_eq!(near.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(feed.next(0).unwrap(), Next::End);
    }
}
