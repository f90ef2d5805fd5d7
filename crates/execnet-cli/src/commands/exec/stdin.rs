//! Copies our stdin to the channels of all nodes. Each reads at its own pace.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use execnet::value::Writer;
use execnet::{Channel, ChannelError};

use crate::commands::feed::{Feed, Next};
use crate::print::say;
use crate::stdio::OwnStream;

/// Our stdin, for all nodes.
pub(super) struct Stdin {
    state: Mutex<State>,
    news: Arc<News>,
}

struct State {
    feed: Feed,
    /// Why what was read is not all.
    failed: Option<String>,
}

/// What a node gets of our stdin. Dropped when it needs no more.
pub(super) struct Share {
    stdin: Arc<Stdin>,
    node: usize,
}

/// Counts whatever those wait for who have read all that there is.
#[derive(Default)]
struct News {
    count: Mutex<u64>,
    more: Condvar,
}

impl Stdin {
    /// Reads it for so many nodes. With `keep`, some of them start later.
    pub(super) fn start(nodes: usize, keep: bool) -> io::Result<Arc<Self>> {
        let stdin = OwnStream::new(&io::stdin())?;
        let news = Arc::new(News::default());
        let reader = news.clone();
        let feed = Feed::start(stdin, nodes, keep, move || reader.tell())?;
        Ok(Arc::new(Self { state: Mutex::new(State { feed, failed: None }), news }))
    }

    /// What this node gets.
    pub(super) fn share(self: &Arc<Self>, node: usize) -> Share {
        Share { stdin: self.clone(), node }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self, node: usize, channel: &Channel) -> Result<(), ChannelError> {
        loop {
            let seen = self.news.seen();
            let mut state = self.lock();
            match state.feed.next(node) {
                Ok(Next::Bytes(bytes)) => {
                    drop(state);
                    send(channel, &bytes)?;
                    self.lock().feed.taken(node, bytes.len());
                }
                Ok(Next::End) => return channel.close(),
                Ok(Next::Nothing) => {
                    if let Some(why) = state.feed.failure() {
                        say(&format!("execnet: {why}"));
                        state.failed = Some(why);
                    }
                    if let Some(why) = &state.failed {
                        // an end would make it look like all
                        return channel.close_with_error(why);
                    }
                    drop(state);
                    self.news.wait(seen);
                }
                Err(error) => {
                    let why = format!("cannot read back stdin: {error}");
                    say(&format!("execnet: {why}"));
                    return channel.close_with_error(&why);
                }
            }
        }
    }
}

impl Share {
    /// Copies it to the channel, in a thread, until the share is dropped or nobody reads.
    pub(super) fn copy_to(&self, channel: Channel) -> io::Result<()> {
        let (stdin, node) = (self.stdin.clone(), self.node);
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let _ = stdin.copy(node, &channel);
            stdin.lock().feed.done(node);
        })?;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.stdin.lock().feed.done(self.node);
        self.stdin.news.tell();
    }
}

impl News {
    fn seen(&self) -> u64 {
        *self.lock()
    }

    fn tell(&self) {
        *self.lock() += 1;
        self.more.notify_all();
    }

    /// Waits until something is told that was not seen.
    fn wait(&self, seen: u64) {
        let mut count = self.lock();
        while *count == seen {
            count = self.more.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(channel: &Channel, bytes: &[u8]) -> Result<(), ChannelError> {
    let mut writer = Writer::new(channel.writing()?);
    writer.bytes(bytes)?;
    channel.send_encoded(writer.finish()?)
}
