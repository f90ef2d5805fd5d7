//! Waits until a gateway is ready, and lets `supply` answer what its kernel asks about packages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::driver::{Condition, Driver};
use super::error::Death;
use super::info::Info;
use super::output::Printed;
use super::wire::{Kind, head};
use crate::packages::PackagesError;
use crate::packages::ask::Ask;
use crate::packages::supply::{Link, Supply, Trouble};
use crate::value::HEAD;
use crate::waiting::{Halt, Room, deadline};

/// For this long after the start, printed lines are held unless the program takes them: if opening fails, the
/// error contains them.
const SOON: Duration = Duration::from_secs(3);

/// How many bytes of a stream may be on their way at most.
const ON_THE_WAY: u64 = 2 << 20;

/// See the module's documentation.
pub(super) struct Opening<'a> {
    driver: &'a Arc<Driver>,
    printed: &'a Printed,
    timeout: Duration,
    /// When it will have taken too long.
    until: Option<Instant>,
    /// When lines that were printed are no longer held.
    soon: Option<Instant>,
    files: Files,
    stopped: Option<Stopped>,
}

/// What is known about files that are sent.
#[derive(Default)]
struct Files {
    begun: Option<Instant>,
    sent: u64,
    /// What was in the outbox when it was last looked at.
    left: usize,
}

/// What to do next.
enum Next {
    Ready(Box<Info>),
    Answer(Ask),
    /// There is room for more.
    Send,
}

/// Why there is no gateway.
pub(super) enum Stopped {
    Dead(Arc<Death>),
    Halted(Halt),
    Packages(PackagesError),
}

impl<'a> Opening<'a> {
    /// `until` is when it takes too long, unless something is heard or sent; `timeout` is the limit then.
    pub(super) fn new(
        driver: &'a Arc<Driver>,
        printed: &'a Printed,
        timeout: Duration,
        until: Option<Instant>,
    ) -> Self {
        let soon = deadline(SOON);
        Self { driver, printed, timeout, until, soon, files: Files::default(), stopped: None }
    }

    /// Waits for HELLO.
    pub(super) fn run(mut self, mut supply: Option<&mut Supply>) -> Result<Box<Info>, Stopped> {
        loop {
            let trouble = match (self.next(&Condition::Greeting)?, supply.as_deref_mut()) {
                (Next::Ready(_), Some(supply)) if !supply.may_end() => {
                    Trouble::Protocol("HELLO before its facts".into())
                }
                (Next::Ready(info), _) => return Ok(info),
                (Next::Answer(ask), Some(supply)) => match supply.answer(ask, &mut self) {
                    Ok(()) => {
                        self.renew();
                        continue;
                    }
                    Err(trouble) => trouble,
                },
                (Next::Answer(_) | Next::Send, _) => continue,
            };
            return Err(match trouble {
                Trouble::Protocol(reason) => self.broken(reason),
                Trouble::Packages(error) => Stopped::Packages(error),
                Trouble::Stopped => self.stopped.take().unwrap_or(Stopped::Halted(Halt::Interrupted)),
            });
        }
    }

    /// The kernel broke the protocol: waits until the gateway has ended of that.
    fn broken(&self, reason: String) -> Stopped {
        self.driver.end_reading(reason);
        match self.driver.wait(self.driver.lock(), &Condition::Death, None) {
            Ok(state) => Stopped::Dead(state.death.clone().unwrap_or_default()),
            Err((halt, _)) => Stopped::Halted(halt),
        }
    }

    fn next(&mut self, condition: &Condition) -> Result<Next, Stopped> {
        loop {
            let soon = self.soon.filter(|soon| self.until.is_none_or(|until| *soon < until));
            match self.driver.wait(self.driver.lock(), condition, soon.or(self.until)) {
                Ok(mut state) => {
                    let left = state.protocol.out.bytes;
                    if let Some(ask) = state.protocol.prologue.take_ask() {
                        drop(state);
                        // from now on, breaks of its link are waited for as those of an open gateway
                        self.driver.carrier.opened();
                        self.renew();
                        return Ok(Next::Answer(ask));
                    }
                    if let Some(info) = state.protocol.info() {
                        return Ok(Next::Ready(Box::new(info.clone())));
                    }
                    if let Some(death) = &state.death {
                        return Err(Stopped::Dead(death.clone()));
                    }
                    drop(state);
                    self.files.left = left;
                    self.renew();
                    return Ok(Next::Send);
                }
                Err((Halt::TimedOut, state)) => {
                    let left = state.protocol.out.bytes;
                    drop(state);
                    if soon.is_some() {
                        // the lines may say what takes so long
                        self.soon = None;
                        self.printed.release();
                    } else if left < self.files.left {
                        self.files.left = left;
                        self.renew();
                    } else {
                        return Err(Stopped::Halted(Halt::TimedOut));
                    }
                }
                Err((halt, _)) => return Err(Stopped::Halted(halt)),
            }
        }
    }

    /// Something was heard or sent. What is on its way may take as long as the same amount did before.
    fn renew(&mut self) {
        let way = self.files.begun.map_or(Duration::ZERO, |begun| {
            begun.elapsed().mul_f64(ON_THE_WAY.min(self.files.sent) as f64 / self.files.sent.max(1) as f64)
        });
        self.until = deadline(self.timeout.saturating_add(way));
    }

    fn push(&mut self, kind: Kind, mut payload: Vec<u8>) {
        let length = payload.len() - HEAD;
        payload[..HEAD].copy_from_slice(&head(kind, 0, length));
        let mut state = self.driver.lock();
        state.protocol.out.push(payload);
        self.files.left = state.protocol.out.bytes;
        self.driver.leave(state);
    }
}

impl Link for Opening<'_> {
    fn packages(&mut self, payload: Vec<u8>) -> Result<(), Trouble> {
        self.push(Kind::Packages, payload);
        Ok(())
    }

    fn files(&mut self, payload: Vec<u8>) -> Result<(), Trouble> {
        loop {
            match self.next(&Condition::Room) {
                Ok(Next::Send) => {
                    self.files.begun.get_or_insert_with(Instant::now);
                    self.files.sent += payload.len() as u64;
                    self.push(Kind::Files, payload);
                    return Ok(());
                }
                // for a lock on a set that it has
                Ok(Next::Answer(Ask::Waits(_))) => {}
                Ok(Next::Answer(ask)) => {
                    return Err(Trouble::Protocol(format!(
                        "PACKAGES: {} before it had its files",
                        ask.verb()
                    )));
                }
                Ok(Next::Ready(_)) => {
                    return Err(Trouble::Protocol("HELLO before it had its files".into()));
                }
                Err(stopped) => {
                    self.stopped = Some(stopped);
                    return Err(Trouble::Stopped);
                }
            }
        }
    }
}
