//! An open gateway.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attend;
use super::channel::Channel;
use super::code::Code;
use super::driver::{Condition, DriverState};
use super::error::{ChannelError, Death};
use super::handle::Handle;
use super::info::Info;
use super::wire::Kind;
use crate::node::Node;
use crate::packages::Activated;
use crate::value::{StrConfig, Value, Writing};
use crate::waiting::{Room, deadline};

/// A fresh interpreter that executes code. Clones share it, and any number of threads may use it.
///
/// ```no_run
/// let network = execnet::connect("mynet")?;
/// let gateway = network.makegateway().platform("linux").start()?;
/// let channel = gateway.remote_exec("channel.send(channel.receive() + 1)")?;
/// channel.send(41)?;
/// assert_eq!(channel.receive::<i64>()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// When the last clone, the last of its channels and its group are dropped, the gateway ends as after
/// [`Gateway::exit`]; after 12 s it is killed.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) handle: Arc<Handle>,
}

/// What a kernel is doing at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStatus {
    /// Open channels.
    pub numchannels: u64,
    /// Executions that have not ended.
    pub numexecuting: u64,
    /// Executions that wait for the main thread.
    pub execqsize: u64,
    /// `thread` or `main_thread_only`.
    pub execmodel: String,
}

impl Gateway {
    /// Its id: the one that was requested, or `gw0`, `gw1` and so on.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.handle.id
    }

    /// The node that it runs on; none for a child of this program.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.handle.driver.carrier.node()
    }

    /// Why its host is unreachable now. Calls that wait for the gateway continue when it is reachable again,
    /// without a value lost.
    #[must_use]
    pub fn unreachable(&self) -> Option<String> {
        self.handle.driver.carrier.unreachable()
    }

    /// What its interpreter reported about itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.handle.info
    }

    /// What it has brought along, if it was opened with
    /// [`GatewayBuilder::packages`](crate::GatewayBuilder::packages).
    #[must_use]
    pub fn packages(&self) -> Option<&Activated> {
        self.handle.info.packages.as_ref()
    }

    /// Executes code there. What the code sends and receives through its `channel` goes through the returned
    /// channel, which is closed when the code ends. Returns at once.
    ///
    /// # Errors
    /// When the gateway has ended or was told to.
    pub fn remote_exec(&self, code: impl Into<Code>) -> Result<Channel, ChannelError> {
        let driver = &self.handle.driver;
        let target = { driver.enter()?.protocol.target() };
        let code = code.into().encode(Writing { strconfig: StrConfig::default(), target }, driver.key)?;
        let mut state = driver.enter()?;
        self.check(&state)?;
        let number = state.protocol.open();
        state.protocol.exec(number, code);
        driver.leave(state);
        Ok(Channel::new(self.handle.clone(), number))
    }

    /// A channel that is not connected to any code yet: send it through another channel.
    ///
    /// # Errors
    /// When the gateway has ended or was told to.
    pub fn new_channel(&self) -> Result<Channel, ChannelError> {
        let mut state = self.handle.driver.enter()?;
        self.check(&state)?;
        let number = state.protocol.open();
        drop(state);
        Ok(Channel::new(self.handle.clone(), number))
    }

    /// What its kernel is doing. Code that runs there cannot delay the answer.
    ///
    /// # Errors
    /// When the gateway has ended, or the wait was interrupted.
    pub fn remote_status(&self) -> Result<RemoteStatus, ChannelError> {
        self.remote_status_by(None)
    }

    /// As [`Gateway::remote_status`], waiting at most this long.
    ///
    /// # Errors
    /// As [`Gateway::remote_status`], and when there was no answer in time.
    pub fn remote_status_timeout(&self, timeout: Duration) -> Result<RemoteStatus, ChannelError> {
        self.remote_status_by(deadline(timeout))
    }

    fn remote_status_by(&self, deadline: Option<Instant>) -> Result<RemoteStatus, ChannelError> {
        let driver = &self.handle.driver;
        let mut state = driver.enter()?;
        self.check(&state)?;
        let number = state.protocol.ask_status();
        driver.leave(state);
        let (mut state, halt) = match driver.wait(driver.enter()?, &Condition::Status(number), deadline) {
            Ok(state) => (state, None),
            Err((halt, state)) => (state, Some(halt)),
        };
        let answer = state.protocol.answers.remove(&number).flatten();
        match (answer, halt) {
            (Some(answer), _) => Ok(RemoteStatus::read(&answer)),
            (None, Some(halt)) => Err(halt.into()),
            (None, None) => Err(self.check(&state).err().unwrap_or(ChannelError::Closed)),
        }
    }

    /// Sets how text and bytes are converted, at both ends, on all channels that are created from now on.
    ///
    /// # Errors
    /// When the gateway has ended or was told to.
    pub fn reconfigure(&self, strconfig: StrConfig) -> Result<(), ChannelError> {
        let mut state = self.handle.driver.enter()?;
        self.check(&state)?;
        state.protocol.reconfigure(0, strconfig);
        self.handle.driver.leave(state);
        Ok(())
    }

    /// Tells the interpreter to end: its channels close, its main thread gets a KeyboardInterrupt 5 s later
    /// if it is still executing, and 10 s after that it is gone. Does not wait: see [`Gateway::join`]. Once
    /// its host has been out of reach for 4 s, the gateway counts as ended, and the interpreter ends as soon
    /// as the host is reachable.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn exit(&self) -> Result<(), ChannelError> {
        self.handle.exit(None)
    }

    /// Kills the interpreter and everything it started. Does not wait: see [`Gateway::join`]. If its host is
    /// unreachable, or does not answer within 2 s, the gateway counts as ended, and the interpreter is killed
    /// as soon as the host is reachable.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn kill(&self) -> Result<(), ChannelError> {
        let mut state = self.handle.driver.enter()?;
        if state.death.is_none() {
            attend::kill(&mut state, &*self.handle.driver.carrier);
        }
        self.handle.driver.leave(state);
        self.handle.driver.attendant.notify_all();
        Ok(())
    }

    /// Waits for its end, and returns how it ended.
    ///
    /// # Errors
    /// When the wait was interrupted.
    pub fn join(&self) -> Result<Arc<Death>, ChannelError> {
        self.join_by(None)
    }

    /// As [`Gateway::join`], waiting at most this long.
    ///
    /// # Errors
    /// As [`Gateway::join`], and when it did not end in time.
    pub fn join_timeout(&self, timeout: Duration) -> Result<Arc<Death>, ChannelError> {
        self.join_by(deadline(timeout))
    }

    pub(crate) fn join_by(&self, deadline: Option<Instant>) -> Result<Arc<Death>, ChannelError> {
        let driver = &self.handle.driver;
        let state = driver.wait(driver.enter()?, &Condition::Death, deadline).map_err(|(halt, _)| halt)?;
        state.death.clone().ok_or(ChannelError::Closed)
    }

    /// Whether its end has not been noticed yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.handle.driver.enter().is_ok_and(|state| state.death.is_none() && state.read_up.is_none())
    }

    /// Raises KeyboardInterrupt in the code that the main thread executes there.
    ///
    /// # Errors
    /// When the gateway has ended or was told to.
    pub fn interrupt(&self) -> Result<(), ChannelError> {
        let mut state = self.handle.driver.enter()?;
        self.check(&state)?;
        state.protocol.say(Kind::Interrupt);
        self.handle.driver.leave(state);
        Ok(())
    }

    fn check(&self, state: &DriverState) -> Result<(), ChannelError> {
        match &state.death {
            Some(death) if !state.exiting => Err(ChannelError::GatewayDied(death.clone())),
            None if !state.exiting => Ok(()),
            _ => Err(ChannelError::Closed),
        }
    }
}

impl Channel {
    /// The gateway that it belongs to.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        Gateway { handle: self.handle().clone() }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl RemoteStatus {
    fn read(answer: &Value) -> Self {
        let count = |key| answer.get(key).and_then(Value::as_int);
        let number = |key| count(key).and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        Self {
            numchannels: number("numchannels"),
            numexecuting: number("numexecuting"),
            execqsize: number("execqsize"),
            execmodel: answer.get("execmodel").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_forked_child_calls_are_errors_and_drops_do_nothing() {
        let gateway = Gateway::popen().on_output(|_, _| {}).start().unwrap();
        let channel = gateway.remote_exec("channel.send(channel.receive())").unwrap();
        let driver = gateway.handle.driver.clone();
        let spare = gateway.new_channel().unwrap();
        driver.base().owner.pretend_to_be_forked(true);
        let locked = driver.lock();
        assert_eq!(channel.send(1), Err(ChannelError::Forked));
        assert_eq!(channel.receive::<i64>(), Err(ChannelError::Forked));
        assert_eq!(channel.close(), Err(ChannelError::Forked));
        assert_eq!(gateway.join().unwrap_err(), ChannelError::Forked);
        assert!(channel.is_closed() && !gateway.is_alive());
        drop(spare);
        drop(gateway.clone());
        drop(locked);
        driver.base().owner.pretend_to_be_forked(false);
        // the parent's gateway is untouched
        channel.send(1).unwrap();
        assert_eq!(channel.receive::<i64>(), Ok(1));
        gateway.exit().unwrap();
        gateway.join().unwrap();
    }
}
