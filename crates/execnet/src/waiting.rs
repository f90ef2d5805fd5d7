//! Waiting, for all of this crate. Knows nothing of networks or gateways.
//!
//! A [`Room`] is a state behind a lock on which threads wait for conditions, and a source that one of them reads meanwhile. A thread that waits reads the
//! source itself when nobody else does, so a message wakes one thread. A [`Monitor`] is a value that threads wait on and nobody reads for.
//! [`Interrupt`] ends the wait of a thread wherever it is: what a thread sleeps at is all that it knows, as [`Sleeps`].

mod halt;
mod interrupt;
mod monitor;
mod owner;
mod room;
mod waker;

pub(crate) use halt::{Halt, deadline, left};
pub use interrupt::Interrupt;
pub(crate) use interrupt::Sleeps;
pub(crate) use monitor::Monitor;
pub(crate) use owner::Owner;
pub(crate) use room::{Alarm, Base, Guard, Room, Seat, Turn, Waiters};
pub(crate) use waker::{Waker, poll};
