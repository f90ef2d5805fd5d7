//! Connect to an execnet network by name, run processes on its nodes, and exchange values with code in their
//! interpreters.
//!
//! A network is a named set of hosts, brought up by `execnet start NAME`. A program connects to it by that
//! name, says what kind of node it needs, and gets a process there: the node's Python interpreter, with
//! stdin, stdout, stderr, signals and exit status. The program need not know how the host is reached.
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
//! A [`Gateway`] is a fresh interpreter, on a node or as a child of this program, that executes the code it
//! is sent. [`Channel`]s carry values both ways:
//!
//! ```no_run
//! let gateway = execnet::connect("mynet")?.makegateway().platform("linux").start()?;
//! let channel = gateway.remote_exec("import os; channel.send([os.getpid(), channel.receive()])")?;
//! channel.send("hello")?;
//! let (pid, text) = channel.receive::<(u32, String)>()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Packages
//! A gateway can bring along what is installed here: [`GatewayBuilder::packages`] takes distributions and
//! folders. They are sent to its host once, and are importable there as if installed:
//!
//! ```no_run
//! use execnet::{Environment, Packages};
//!
//! let packages = Packages::new(Environment::new("python3")).item("attrs")?.item("./src")?;
//! let gateway = execnet::connect("mynet")?.makegateway().packages(packages).start()?;
//! let channel = gateway.remote_exec("import attrs; channel.send(attrs.__version__)")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Breaks
//! When a host's link breaks, or the network's daemon is replaced, processes and their streams continue where
//! they were: no byte is lost or duplicated. Until then, reads and waits just take longer, and
//! [`Process::unreachable`] says why. A process that cannot continue is reported as [`Lost`]. After 5 s a
//! line on stderr names the host; another line follows when it is back. [`Network::on_outage`] replaces these
//! lines, and [`Network::outages`] returns the same events. [`Connect::give_up`] limits how long a program
//! waits for a host.
//!
//! # Waiting
//! Every call blocks only the calling thread. Every wait has a variant with a limit (`wait`, `wait_timeout`),
//! and another thread can end it: [`Interrupt`] ends the waits of one thread, [`Process::interrupt`] those on
//! one process, [`Network::interrupt`] all of them.
//!
//! # Limits
//! - A stream buffers at most 2 MiB here, and at most 64 MiB are in flight to a program in all. A program can
//!   have 1,000 processes at a time.
//! - The arguments and environment of a process can have about 1 MiB.
//! - A forked child cannot use connections and gateways of its parent: every call returns an error, and drops
//!   do nothing. But the child keeps the connection open, so the daemon notices the end of the parent only
//!   once the child has ended, too, or has executed another program.
//! - Each connection has one thread, and a second one while a host is out of reach. Each gateway has two
//!   threads, one more for each channel with a callback, and one more while its interpreter reads its input
//!   more slowly than it arrives.
//! - At most 256 MiB of packages are sent to a host for a gateway, unless [`Packages::large`] allows more.
//! - A gateway is closed when its channels hold more than 1 GiB of unreceived data, or when its code has
//!   opened 4,096 channels that nobody took.

mod attach;
mod connect;
mod connection;
pub mod copy;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod handle;
mod hub;
mod lookout;
mod network;
mod node;
pub mod packages;
mod private;
mod process;
mod processes;
#[doc(hidden)]
pub mod raw;
mod reader;
mod route;
mod start;
mod status;
mod tilde;
pub mod value;
mod waiting;

pub use attach::{Attach, AttachError};
pub use connect::{Connect, connect};
pub use gateway::{
    Channel, ChannelError, Code, Death, ExecModel, Gateway, GatewayBuilder, Group, Info, MultiChannel,
    OpenError, Raw, ReceiveQueue, Receiving, RemoteStatus,
};
pub use hub::Daemon;
pub use lookout::{Outage, Outages, Reach};
pub use network::{Network, Replies, RequestError};
pub use node::Node;
pub use packages::{Activated, Environment, Packages, PackagesError, Step, Transfer};
pub use private::{JoinError, Private};
pub use process::{Events, Lost, Output, Piece, Process, ProcessError, ProcessEvent, Stdin};
pub use processes::{Forked, News, Processes};
pub use route::ConnectError;
#[doc(hidden)]
pub use route::place;
pub use start::{ProcessBuilder, StartError};
pub use status::{ExitStatus, Signal};
pub use waiting::Interrupt;

/// Requests to the daemon, and its replies.
pub use execnet_proto::control;
pub use execnet_proto::control::{Request, Status, Verb};
pub use execnet_proto::id::ProcessId;
pub use execnet_proto::kept::{Keep, KeptName, KeptNameError, Policy, Replay};
/// Host specs, network names, node selections.
pub use execnet_proto::spec;
/// Decides which characters of text from hosts may reach a terminal. All errors of this crate pass through
/// it.
pub use execnet_proto::text;
