//! The thread of a channel with a callback: it receives, calls, and gives credit afterwards.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::driver::Driver;
use super::error::ChannelError;
use super::handle::Handle;
use super::protocol::Awaited;
use super::received::{self, take};
use crate::value::{LoadError, Writer, Writing, from_reader};
use crate::waiting::{Halt, Room};

/// Gives a channel a callback, whose thread does not keep the gateway open. If `awaited`, waiting for the
/// channel to close also waits for this callback.
pub(super) fn start<T, F>(
    handle: Weak<Handle>,
    driver: &Arc<Driver>,
    number: u32,
    awaited: bool,
    callback: F,
) -> Result<(), ChannelError>
where
    T: DeserializeOwned,
    F: FnMut(Option<T>) + Send + 'static,
{
    let mut state = driver.enter()?;
    if let Some(chan) = state.protocol.channels.get_mut(&number) {
        if std::mem::replace(&mut chan.has_callback, true) {
            return Err(ChannelError::HasCallback);
        }
        chan.awaited = awaited.then_some(Awaited::Starting);
    }
    drop(state);
    let for_thread = driver.clone();
    let thread = std::thread::Builder::new().name("execnet-callback".into());
    let thread = thread.spawn(move || run(&handle, &for_thread, number, callback));
    if let Err(error) = thread {
        driver.enter()?.protocol.callback_over(number);
        return Err(ChannelError::Thread(error.to_string()));
    }
    Ok(())
}

fn run<T: DeserializeOwned>(
    handle: &Weak<Handle>,
    driver: &Arc<Driver>,
    number: u32,
    mut callback: impl FnMut(Option<T>),
) {
    let mut state = driver.lock();
    if let Some(chan) = state.protocol.channels.get_mut(&number) {
        chan.awaited = chan.awaited.map(|_| Awaited::In(std::thread::current().id()));
    }
    drop(state);
    if let Err(error) = call(handle, driver, number, &mut callback) {
        let mut state = driver.lock();
        let writing = Writing { target: state.protocol.target(), ..Writing::default() };
        let mut writer = Writer::new(writing);
        let encoded = writer.str(&error.to_string()).and_then(|()| writer.finish());
        state.protocol.close(number, encoded.ok().as_ref().map(crate::value::Encoded::as_bytes));
        state.protocol.callback_failed(number, error);
        driver.leave(state);
    }
    let _ = catch_unwind(AssertUnwindSafe(|| callback(None)));
    let _ = catch_unwind(AssertUnwindSafe(|| drop(callback)));
    let mut state = driver.lock();
    state.protocol.callback_over(number);
    driver.leave(state);
}

/// Calls it with every value, until the channel ends.
fn call<T: DeserializeOwned>(
    handle: &Weak<Handle>,
    driver: &Arc<Driver>,
    number: u32,
    callback: &mut impl FnMut(Option<T>),
) -> Result<(), ChannelError> {
    let named = driver.lock().protocol.is_named(number);
    loop {
        let raw = match received::wait(driver, driver.lock(), number, named, None) {
            Ok(state) => match take(state, number, false) {
                Ok((raw, state)) => {
                    drop(state);
                    raw
                }
                Err(_) => return Ok(()),
            },
            // only the driver has this thread's handle
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
                    driver.end_reading(error.to_string());
                }
                return Err(error.into());
            }
            Err(_) => return Err(ChannelError::CallbackPanicked),
        }
        let mut state = driver.lock();
        state.protocol.took(number, raw.length());
        driver.leave(state);
    }
}
