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
use super::protocol::{Opened, unfit};
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
        let mut code = code.into();
        let encoded = code.encode(Writing { strconfig: StrConfig::default(), target }, driver.key)?;
        let mut state = driver.enter()?;
        self.check(&state)?;
        let name = code.channel.take();
        let number = match &name {
            None => state.protocol.open(),
            Some(name) => {
                check_name(&state, name)?;
                state.protocol.open_for_code(name)
            }
        };
        state.protocol.exec(number, encoded);
        driver.leave(state);
        let handle = self.handle.clone();
        Ok(if name.is_some() { Channel::named(handle, number) } else { Channel::new(handle, number) })
    }

    /// The channel of this name, in a gateway that is kept: the one that an earlier program or code there has
    /// named, or a new one. It stays when this program leaves, and so do the values on it that no program has
    /// received. Each is received at most once; one that arrives just when a wait for it ends is the next one
    /// of this program. Dropping it does not close it.
    ///
    /// # Errors
    /// When the gateway is not kept, the name has not 1 to 64 characters or has control characters, there are
    /// 1,000 names already, the gateway has ended or was told to, or the wait was interrupted.
    pub fn channel(&self, name: &str) -> Result<Channel, ChannelError> {
        let driver = &self.handle.driver;
        let mut state = driver.enter()?;
        self.check(&state)?;
        check_name(&state, name)?;
        let number = match state.protocol.open_named(name) {
            Some(Opened::At(number)) => number,
            Some(Opened::Asked(question)) => {
                driver.leave(state);
                let waited = driver.wait(driver.enter()?, &Condition::Name(question), None);
                state = waited.map_err(|(halt, _)| halt)?;
                match state.protocol.take_answer(question) {
                    Some(Ok(number)) => number,
                    Some(Err(why)) => return Err(ChannelError::Name(why)),
                    None => return Err(self.check(&state).err().unwrap_or(ChannelError::Closed)),
                }
            }
            None => return Err(ChannelError::Closed),
        };
        state.protocol.take_handle(number);
        driver.leave(state);
        Ok(Channel::named(self.handle.clone(), number))
    }

    /// Whether its kernel outlives this program.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.handle.driver.carrier.is_entry()
    }

    /// Leaves a gateway that is kept: it lives on without this program. Without a call, it is left when the
    /// last handle is dropped or the program ends. Waits until what was sent has arrived, at most 5 s.
    ///
    /// # Errors
    /// When the gateway is not kept or has ended, or not everything had arrived in time
    /// ([`ChannelError::TimedOut`]): it was left nonetheless.
    pub fn detach(&self) -> Result<(), ChannelError> {
        self.leave()?;
        let driver = &self.handle.driver;
        let state = driver.wait(driver.enter()?, &Condition::Death, None).map_err(|(halt, _)| halt)?;
        if state.left_early { Err(ChannelError::TimedOut) } else { Ok(()) }
    }

    /// [`Gateway::detach`] without its wait.
    pub(crate) fn leave(&self) -> Result<(), ChannelError> {
        if !self.is_kept() {
            return Err(ChannelError::Name("the gateway is not kept: it ends with this program".into()));
        }
        self.check(&*self.handle.driver.enter()?)?;
        self.handle.leave()
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

fn check_name(state: &DriverState, name: &str) -> Result<(), ChannelError> {
    if !state.protocol.is_kept() {
        let words = "only channels of a gateway that is kept have names";
        return Err(ChannelError::Name(words.into()));
    }
    unfit(name).map_or(Ok(()), |why| Err(ChannelError::Name(why)))
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
