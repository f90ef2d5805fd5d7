//! The thread of a channel that has a callback: receives, calls, and only then gives credit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::Handle;
use super::channel::take;
use super::error::ChannelError;
use super::post::{Post, What};
use crate::hub::Halt;
use crate::value::{LoadError, Writer, Writing, from_reader};

/// Gives a channel a callback. Its thread does not keep the gateway open.
pub(super) fn start<T, F>(
    handle: Weak<Handle>,
    post: &Arc<Post>,
    number: u32,
    callback: F,
) -> Result<(), ChannelError>
where
    T: DeserializeOwned,
    F: FnMut(Option<T>) + Send + 'static,
{
    let mut inner = post.enter()?;
    if let Some(chan) = inner.state.channels.get_mut(&number)
        && std::mem::replace(&mut chan.has_callback, true)
    {
        return Err(ChannelError::HasCallback);
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
    let failed = loop {
        let raw = match post.wait(post.lock(), What::Receive(number), None) {
            Ok(inner) => match take(inner, number, false) {
                Ok((raw, inner)) => {
                    drop(inner);
                    raw
                }
                Err(_) => break None,
            },
            // nobody has this thread's handle but who means the gateway
            Err((Halt::Interrupted, _)) => continue,
            Err(_) => break None,
        };
        let value: T = match from_reader(raw.reader(), handle) {
            Ok(value) => value,
            Err(error) => {
                if error.is_malformed() {
                    post.end_reading(error.to_string());
                }
                break Some(error.to_string());
            }
        };
        if catch_unwind(AssertUnwindSafe(|| callback(Some(value)))).is_err() {
            break Some("its callback panicked".to_owned());
        }
        let mut inner = post.lock();
        inner.state.took(number, raw.length());
        post.leave(inner);
    };
    let _ = catch_unwind(AssertUnwindSafe(|| callback(None)));
    drop(callback);
    let mut inner = post.lock();
    if let Some(error) = failed {
        let writing = Writing { strconfig: inner.state.strconfig(number), target: inner.state.target() };
        let mut writer = Writer::new(writing);
        let encoded = writer.str(&error).and_then(|()| writer.finish());
        inner.state.close(number, encoded.ok().as_ref().map(crate::value::Encoded::as_bytes));
    }
    inner.state.callback_over(number);
    post.leave(inner);
}
