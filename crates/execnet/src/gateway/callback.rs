//! The thread of a channel that has a callback: receives, calls, and only then gives credit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::error::ChannelError;
use super::handle::Handle;
use super::post::{Post, What};
use super::received::take;
use super::state::Awaited;
use crate::value::{LoadError, Writer, Writing, from_reader};
use crate::waiting::{Halt, Room};

/// Gives a channel a callback. Its thread does not keep the gateway open. Who waits for the channel's end waits for it if it is `awaited`.
pub(super) fn start<T, F>(
    handle: Weak<Handle>,
    post: &Arc<Post>,
    number: u32,
    awaited: bool,
    callback: F,
) -> Result<(), ChannelError>
where
    T: DeserializeOwned,
    F: FnMut(Option<T>) + Send + 'static,
{
    let mut inner = post.enter()?;
    if let Some(chan) = inner.state.channels.get_mut(&number) {
        if std::mem::replace(&mut chan.has_callback, true) {
            return Err(ChannelError::HasCallback);
        }
        chan.awaited = awaited.then_some(Awaited::Starting);
    }
    drop(inner);
    let for_thread = post.clone();
    let thread = std::thread::Builder::new().name("execnet-callback".into());
    let thread = thread.spawn(move || run(&handle, &for_thread, number, callback));
    if let Err(error) = thread {
        post.enter()?.state.callback_over(number);
        return Err(LoadError::unwanted(format!("no thread for a callback: {error}")).into());
    }
    Ok(())
}

fn run<T: DeserializeOwned>(
    handle: &Weak<Handle>,
    post: &Arc<Post>,
    number: u32,
    mut callback: impl FnMut(Option<T>),
) {
    let mut inner = post.lock();
    if let Some(chan) = inner.state.channels.get_mut(&number) {
        chan.awaited = chan.awaited.map(|_| Awaited::In(std::thread::current().id()));
    }
    drop(inner);
    if let Err(error) = call(handle, post, number, &mut callback) {
        let mut inner = post.lock();
        let writing = Writing { target: inner.state.target(), ..Writing::default() };
        let mut writer = Writer::new(writing);
        let encoded = writer.str(&error.to_string()).and_then(|()| writer.finish());
        inner.state.close(number, encoded.ok().as_ref().map(crate::value::Encoded::as_bytes));
        inner.state.callback_failed(number, error);
        post.leave(inner);
    }
    let _ = catch_unwind(AssertUnwindSafe(|| callback(None)));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(callback)));
    let mut inner = post.lock();
    inner.state.callback_over(number);
    post.leave(inner);
}

/// Calls it with every value, up to the end of the channel.
fn call<T: DeserializeOwned>(
    handle: &Weak<Handle>,
    post: &Arc<Post>,
    number: u32,
    callback: &mut impl FnMut(Option<T>),
) -> Result<(), ChannelError> {
    loop {
        let raw = match post.wait(post.lock(), &What::Receive(number), None) {
            Ok(inner) => match take(inner, number, false) {
                Ok((raw, inner)) => {
                    drop(inner);
                    raw
                }
                Err(_) => return Ok(()),
            },
            // nobody has this thread's handle but who means the gateway
            Err((Halt::Interrupted, _)) => continue,
            Err(_) => return Ok(()),
        };
        let done = catch_unwind(AssertUnwindSafe(|| {
            callback(Some(from_reader(raw.reader(), handle)?));
            Ok(())
        }));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error: LoadError = error;
                if error.is_malformed() {
                    post.end_reading(error.to_string());
                }
                return Err(error.into());
            }
            Err(_) => return Err(ChannelError::CallbackPanicked),
        }
        let mut inner = post.lock();
        inner.state.took(number, raw.length());
        post.leave(inner);
    }
}
