//! Connect to an execnet network by name, run processes on its nodes, and exchange values with code in their interpreters.
//!
//! A network is a named set of hosts, brought up by `execnet start NAME`. A program connects to it by that name, asks for a node by what it
//! needs and gets a process there: the node's Python interpreter, with stdin, stdout, stderr, signals and exit status. How the host is reached is
//! not the program's business.
//!
//! ```no_run
//! use std::io::{Read, Write};
//!
//! let network = execnet::connect("mynet")?;
//! let process = network
//!     .process()
//!     .platform("linux")
//!     .python_version(">=3.8")?
//!     .args(["-c", "import sys; print(sys.stdin.read().upper())"])
//!     .start()?;
//! println!("it runs on {}", process.node().name);
//!
//! let mut stdin = process.stdin().close_on_drop();
//! stdin.write_all(b"hello")?;
//! drop(stdin); // closes it
//! let mut output = String::new();
//! process.stdout().read_to_string(&mut output)?;
//! assert_eq!(output, "HELLO\n");
//! assert!(process.wait()?.success());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Gateway`] is a fresh interpreter on a node, or a child of this program, that executes what it is sent. [`Channel`]s carry values both ways:
//!
//! ```no_run
//! let gateway = execnet::connect("mynet")?.makegateway().platform("linux").start()?;
//! let channel = gateway.remote_exec("import os; channel.send([os.getpid(), channel.receive()])")?;
//! channel.send("hello")?;
//! let (pid, text) = channel.receive::<(u32, String)>()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Breaks
//! When a host's link breaks, or the network's daemon is replaced, processes and their streams go on where they were: no byte is lost or doubled.
//! Meanwhile reads and waits just take longer, and [`Process::unreachable`] says why. What cannot go on is reported as [`Lost`].
//! After 5 s a line on stderr names the host, and another one says that it is back: [`Network::on_outage`] says something else, [`Network::outages`] are these
//! events. [`Connect::give_up`] limits how long such a host is waited for.
//!
//! # Waiting
//! Everything blocks the calling thread only. Each wait can have a limit and be ended from another thread: all waits of a thread through
//! [`Interrupt`], those on a process through [`Process::interrupt`], all through [`Network::interrupt`].
//!
//! # Limits
//! - A stream holds at most 2 MiB here, and at most 64 MiB are under way to a program in all. A program may have 1,000 processes at a time.
//! - Arguments and environment of a process may have about 1 MiB.
//! - After a fork the child can use nothing of this: every call is an error, and drops do nothing. But it holds the connection open, so the daemon
//!   learns of the parent's end only when the child has ended, too, or has executed another program.
//! - Each connection has one thread, and a second one while a host is out of reach; each gateway has two, one more for each channel with a callback, and one while its interpreter takes
//!   its input more slowly than it comes.
//! - The channels of a gateway hold at most 1 GiB that was not received; what goes beyond that ends the gateway. So do 4,096 channels that its code opened
//!   and nobody took.

mod connect;
mod connection;
mod gateway;
mod handle;
mod hub;
mod lookout;
mod network;
mod node;
mod private;
mod process;
#[doc(hidden)]
pub mod raw;
mod reader;
mod route;
mod start;
mod status;
pub mod value;
mod waiting;

pub use connect::{Connect, connect};
pub use gateway::{
    Channel, ChannelError, Code, Death, ExecModel, Gateway, GatewayBuilder, Group, Info, MultiChannel,
    OpenError, Raw, ReceiveQueue, Receiving, RemoteStatus,
};
pub use hub::Daemon;
pub use lookout::{Outage, Outages, Reach};
pub use network::{Network, Replies, RequestError};
pub use node::Node;
pub use private::{JoinError, Private};
pub use process::{Events, Lost, Output, Process, ProcessError, ProcessEvent, Stdin};
pub use route::ConnectError;
#[doc(hidden)]
pub use route::place;
pub use start::{ProcessBuilder, StartError};
pub use status::{ExitStatus, Signal};
pub use waiting::Interrupt;

/// What the daemon is asked, and what it answers.
pub use execnet_proto::control;
pub use execnet_proto::control::{Request, Status, Verb};
pub use execnet_proto::id::ProcessId;
/// Host specs, names of networks, node selections.
pub use execnet_proto::spec;
/// Which characters may reach a terminal: for text that comes from hosts. Errors of this crate say everything through it.
pub use execnet_proto::text;
