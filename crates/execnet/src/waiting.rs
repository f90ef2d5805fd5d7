//! How all of this crate waits. Knows nothing of networks or gateways.
//!
//! A [`Room`] is a state behind a lock, on which threads wait for conditions, and a source that feeds it. A
//! thread that waits reads the source itself if nobody else does, so a message wakes only one thread. A
//! [`Monitor`] is a value that threads wait on, without a source. [`Interrupt`] ends a thread's wait wherever
//! it is; all it knows is what the thread sleeps at, as [`Sleeps`].

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
