//! A lab of real hosts for the tests of execnet networks.
//!
//! A [`Lab`] is a temporary folder with keys and an ssh_config. Each of its [`LabHost`]s is a real OpenSSH
//! `sshd` on a port of 127.0.0.1 (or in a network namespace), with its own home folder and a `PATH` that
//! holds only the interpreters chosen for it. Links can be cut, silenced and delayed ([`Proxy`],
//! [`LabHost::link_down`], [`LabHost::kill_ssh`]). Dropping the lab ends every process that ran in it; so
//! does the death of the program that made it.
//!
//! ```no_run
//! use execnet_testkit::{Lab, or_skip};
//!
//! let Some(lab) = or_skip(Lab::new()) else { return };
//! let build1 = lab.host("build1").pythons(["3.11", "pypy3"]).start().unwrap();
//! let _inner = lab.host("inner").hidden().start().unwrap();
//! let _gate = lab.host("gate").reaches(["inner"]).through_proxy().start().unwrap();
//! let output = build1.ssh("command -v python3").output().unwrap();
//! assert!(output.status.success());
//! println!("{}", lab.ssh_config().display());
//! ```
//!
//! If a part is missing on this machine (an interpreter, sshd, the right to make namespaces), the error is of
//! type [`Missing`]. [`or_skip`] turns it into a failure, or into a printed `skipped, because …` where that
//! is allowed.
//!
//! Limits: Linux only (it reads `/proc`), and all hosts share this machine's kernel, `/tmp` and user.

mod builder;
mod folder;
mod guardian;
mod host;
mod interpreters;
mod lab;
mod missing;
mod namespace;
mod processes;
mod proxy;
mod settings;
mod sshd;
mod tools;

pub use builder::LabHostBuilder;
pub use host::LabHost;
pub use interpreters::{Implementation, Interpreter, interpreters, require};
pub use lab::Lab;
pub use missing::{Missing, or_skip};
pub use namespace::netns_available;
pub use processes::{
    Listening, PATIENCE, alive, children_of, descendants_of, kill, proc_rss_kib, processes_with_env,
    sockets_listening, wait_until,
};
pub use proxy::Proxy;
pub use tools::{program, shell};
