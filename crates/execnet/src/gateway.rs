//! Gateways, which are fresh interpreters that execute the code they are sent, and channels to that code.
//!
//! docs/kernel.md describes the protocol between a gateway and its kernel. From the bottom up: `wire` (frames
//! as bytes), `inbox` (received values), `protocol` (the state machine, without IO), `carrier` and `local`
//! (where the interpreter runs), `driver` (the threads: who waits, reads and writes), `attend` (a gateway's
//! own threads), and on top the handles.

mod attend;
mod builder;
mod callback;
mod carrier;
mod channel;
mod code;
mod config;
mod driver;
mod entry;
mod error;
mod group;
mod handle;
mod inbox;
mod info;
mod kept;
mod local;
mod many;
mod multi;
mod open;
mod opening;
mod output;
mod prologue;
mod protocol;
mod received;
mod remote_error;
mod safe_path;
mod spare;
mod stage;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) use protocol::fuzz;

pub use builder::GatewayBuilder;
pub use channel::{Channel, Ready, Receiving};
pub use code::Code;
pub use config::ExecModel;
pub use error::{ChannelError, Death, OpenError};
pub use group::Group;
pub use info::Info;
pub use multi::{MultiChannel, ReceiveQueue};
pub use open::{Gateway, RemoteStatus};
pub use received::{Held, Raw};
