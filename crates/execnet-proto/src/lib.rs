//! The language that the parts of an execnet network speak, as pure state machines.
//!
//! What opens a connection ([`opening`]), frames and their bytes ([`wire`]), streams with credit and replay ([`stream`]), connections ([`conn`]), the client's end of a
//! process ([`process`]), a client ([`client`]), the daemon's heart ([`switch`]), host specs and selections ([`spec`]), what the
//! command asks the daemon ([`control`]), and which characters may reach a terminal ([`text`]). Nothing here does IO, starts a thread or
//! reads a clock: time comes in as a [`Duration`](std::time::Duration) since a moment that the caller fixed. docs/protocol.md says what goes
//! over the wire.

mod allowance;
pub mod batch;
pub mod client;
pub mod conn;
pub mod control;
pub mod id;
mod mux;
pub mod opening;
mod pace;
pub mod place;
pub mod process;
pub mod shell;
pub mod signal;
pub mod spec;
pub mod stream;
pub mod switch;
pub mod text;
pub mod wire;
