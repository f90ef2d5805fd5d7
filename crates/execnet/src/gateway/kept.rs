//! Gateways whose kernels are kept: each program enters by a connection of its own, and leaves it without
//! ending the kernel (docs/kernel.md, section 10).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::builder::start_threads;
use super::carrier::Carrier;
use super::driver::Driver;
use super::error::OpenError;
use super::handle::Handle;
use super::open::Gateway;
use super::opening::{Opening, Stopped};
use super::output::{Printed, plain};
use super::protocol::{Protocol, WINDOW};
use crate::packages::PackagesError;
use crate::packages::supply::Supply;
use crate::waiting::{Halt, Room, deadline};

/// How a program enters.
pub(super) struct Entering {
    pub(super) id: String,
    pub(super) timeout: Duration,
    pub(super) printed: Arc<Printed>,
}

/// Enters a kernel that is kept; the streams of `carrier` are the connection. `supply` answers what the
/// kernel asks the first program about packages.
///
/// # Errors
/// See [`OpenError`]. The kernel lives on.
pub(super) fn enter(
    carrier: Arc<dyn Carrier>,
    entering: Entering,
    supply: Option<&mut Supply>,
) -> Result<Gateway, OpenError> {
    let Entering { id, timeout, printed } = entering;
    // until the kernel tells its own
    let mut protocol = Protocol::new(WINDOW);
    protocol.keep();
    if supply.is_some() {
        protocol.prologue.expect_asks();
    }
    let driver = Driver::new(carrier, protocol);
    start_threads(&driver, &id, &printed)?;
    let stopped = match Opening::new(&driver, &printed, timeout, deadline(timeout)).run(supply) {
        Ok(info) => {
            printed.release();
            driver.carrier.opened();
            return Ok(Gateway { handle: Arc::new(Handle { driver, id, info: *info }) });
        }
        Err(stopped) => stopped,
    };
    let mut state = driver.lock();
    let noise = plain(state.protocol.prologue.noise());
    let error = match stopped {
        Stopped::Dead(death) => {
            drop(state);
            printed.forget();
            return Err(OpenError::Failed { death, noise, program: String::new() });
        }
        Stopped::Halted(Halt::TimedOut) => OpenError::TimedOut { gateway: id, noise },
        Stopped::Halted(Halt::Interrupted) => OpenError::Interrupted,
        Stopped::Halted(Halt::Forked) => return Err(OpenError::Forked),
        Stopped::Packages(source) => {
            let host = driver.carrier.node().map(|node| node.host.clone());
            PackagesError::For { gateway: id, host, source: Box::new(source) }.into()
        }
    };
    state.exiting = true;
    state.leave_by = Some(Instant::now());
    state.touch();
    driver.leave(state);
    printed.release();
    driver.attendant.notify_all();
    Err(error)
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
