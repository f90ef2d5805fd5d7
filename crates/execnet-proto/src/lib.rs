//! The language that the parts of an execnet network speak, as pure state machines.
//!
//! Nothing here does IO, starts a thread or reads a clock: time comes in as a
//! [`Duration`](std::time::Duration) since a moment that the caller chose. docs/protocol.md describes the
//! bytes.
//!
//! - [`wire`]: frames and their bytes, from one table; [`opening`]: the bytes that precede the first frame
//! - [`conn`]: one connection; [`stream`]: streams with credit and replay; [`batch`]: output for one
//!   gathering write
//! - [`client`]: a client; [`process`]: the client's end of one process; [`switch`]: the heart of a daemon
//! - [`spec`]: host specs and selections; [`shell`]: words of a shell; [`place`]: names of sockets and
//!   folders
//! - [`control`]: requests to the daemon and its replies; [`feature`]: abilities that not all ends have
//! - [`kept`]: work that its client leaves running
//! - [`terminal`]: sizes of terminals; [`text`]: which characters may reach one; [`signal`]: signals by
//!   number and name; [`id`]: ids

mod allowance;
pub mod batch;
pub mod client;
pub mod conn;
pub mod control;
pub mod feature;
pub mod id;
pub mod kept;
mod mux;
pub mod opening;
mod pace;
pub mod place;
pub mod prefix;
pub mod process;
pub mod shell;
pub mod signal;
pub mod spec;
pub mod stream;
pub mod switch;
pub mod terminal;
pub mod text;
pub mod wire;
