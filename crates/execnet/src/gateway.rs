//! Gateways: a fresh interpreter that executes code which is sent to it, and channels to that code.
//!
//! What they say to their kernel is in docs/kernel.md. From the bottom: `wire` (bytes), `inbox` (what waits to be received), `protocol` (the state machine,
//! without IO), `carrier` and `local` (where the interpreter runs), `driver` (threads: who waits, who reads, who writes), `attend` (a gateway's own
//! threads); on these the handles.

mod apart;
mod attend;
mod builder;
mod callback;
mod carrier;
mod channel;
mod code;
mod driver;
mod error;
mod failed;
mod group;
mod handle;
mod inbox;
mod info;
mod local;
mod many;
mod multi;
mod open;
mod output;
mod protocol;
mod received;
mod spare;
mod stage;
mod tilde;
mod wire;

pub use builder::{ExecModel, GatewayBuilder};
pub use channel::{Channel, Ready, Receiving};
pub use code::Code;
pub use error::{ChannelError, Death, OpenError};
pub use group::Group;
pub use info::Info;
pub use multi::{MultiChannel, ReceiveQueue};
pub use open::{Gateway, RemoteStatus};
pub use received::{Held, Raw};
