//! Copies our stdin to every node, at the pace of the slowest reader. Only one chunk is in memory.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::Receiver;
use std::thread;

use execnet::value::Writer;
use execnet::{Channel, ChannelError};

use crate::print::say;
use crate::stdio::OwnStream;

/// Bytes per chunk.
const CHUNK: usize = 65_536;

/// Waits until all channels are there, then copies our stdin to all of them.
pub(super) fn start(channels: Receiver<Channel>) -> io::Result<()> {
    let stdin = OwnStream::new(&io::stdin())?;
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        if let Err(error) = feed(stdin, channels.iter().collect()) {
            say(&format!("execnet: cannot read stdin: {error}"));
        }
    })?;
    Ok(())
}

/// Returns at the end of `from`, or when no channel takes any more.
fn feed(mut from: impl Read, mut channels: Vec<Channel>) -> io::Result<()> {
    let mut piece = vec![0; CHUNK];
    let result = loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => break Err(error),
        };
        channels.retain(|channel| send(channel, &piece[..read]).is_ok());
        if channels.is_empty() {
            return Ok(());
        }
    };
    for channel in channels {
        let _ = channel.close();
    }
    result
}

fn send(channel: &Channel, bytes: &[u8]) -> Result<(), ChannelError> {
    let mut writer = Writer::new(channel.writing()?);
    writer.bytes(bytes)?;
    channel.send_encoded(writer.finish()?)
}
