//! Kept work: what is asked for by name stays on its host when its program leaves, and any program finds it
//! again. [`ProcessBuilder::keep`](crate::ProcessBuilder::keep) starts it, [`Network::attach`] comes back.

use std::sync::Arc;
use std::time::Duration;

use execnet_proto::control::{KeptReply, KeptState, KeptStatus, Verb};
use execnet_proto::id::{Incarnation, ProcessId};
use execnet_proto::kept::Replay;
use execnet_proto::spec::nearest;
use execnet_proto::text::lines;

use crate::handle::Handle;
use crate::hub::{HubState, Placing};
use crate::network::{Network, RequestError};
use crate::node::Node;
use crate::process::Process;
use crate::status::ExitStatus;
use crate::waiting::Room;

/// Kept work to attach to. Made by [`Network::attach`].
#[derive(Clone, Debug)]
#[must_use = "nothing is attached before `start`"]
pub struct Attach {
    handle: Arc<Handle>,
    name: String,
    replay: Replay,
    give_up: Option<Duration>,
}

/// Why there is nothing to attach to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No host that is known keeps it.
    #[error("{}", lines(message))]
    NotFound {
        /// A sentence, and below it what may help.
        message: String,
    },
    /// There are several of this name: only one can be attached to.
    #[error("`{name}` names {}: give one of them", them.join(", "))]
    Several {
        /// What was asked for.
        name: String,
        /// What it names, each as `NAME@HOST`.
        them: Vec<String>,
    },
    /// It was kept, and is lost.
    #[error("`{name}` on host `{host}` is lost: {}", lines(message))]
    Gone {
        /// Its name.
        name: String,
        /// The id of its host.
        host: String,
        /// What became of it.
        message: String,
    },
    /// It is a gateway whose interpreter has ended.
    #[error("gateway `{name}` on host `{host}` {how}; nothing is left of it but that")]
    Ended {
        /// Its name.
        name: String,
        /// The id of its host.
        host: String,
        /// How it ended.
        how: ExitStatus,
    },
    /// It is no gateway.
    #[error("`{name}` on host `{host}` is a command, not a gateway: `execnet attach` shows what it writes")]
    NoGateway {
        /// Its name.
        name: String,
        /// The id of its host.
        host: String,
    },
    /// This program is attached to it.
    #[error("`{name}` on host `{host}` is attached to this program already: detach from it first")]
    Attached {
        /// Its name.
        name: String,
        /// The id of its host.
        host: String,
    },
    /// The daemon could not be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Network {
    /// The work that is kept under these names: `NAME`, `NAME@HOST`, or sets of both; all of it without one.
    /// Waits up to 5 s for hosts that are joining.
    ///
    /// # Errors
    /// See [`RequestError`]. A plain `NAME` that several hosts have is refused.
    pub fn kept<S: Into<String>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<KeptReply, RequestError> {
        self.ask(&Verb::Kept { names: names.into_iter().map(Into::into).collect() }.into())
    }

    /// Describes an attachment to kept work, by `NAME` or `NAME@HOST`: whoever is attached to it loses it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let train = execnet::connect("mynet")?.attach("train").start()?;
    /// println!("pid {:?} on {}", train.pid(), train.node().host);
    /// println!("{:?}", train.wait()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(&self, name: impl Into<String>) -> Attach {
        Attach { handle: self.handle().clone(), name: name.into(), replay: Replay::All, give_up: None }
    }

    /// The one work of this name that is not lost.
    pub fn find_kept(&self, name: &str) -> Result<KeptStatus, AttachError> {
        let mut reply = self.kept([name])?;
        if reply.kept.is_empty() {
            let all = self.kept::<String>([])?;
            let means =
                |kept: &KeptStatus| kept.name == name || format!("{}@{}", kept.name, kept.host) == name;
            if !all.kept.iter().any(means) {
                return Err(AttachError::NotFound { message: self.not_among(&all, name, &reply) });
            }
            // its host has told meanwhile
            reply = self.kept([name])?;
        }
        if reply.kept.len() > 1 {
            let them = reply.kept.iter().map(|kept| format!("{}@{}", kept.name, kept.host));
            return Err(AttachError::Several { name: name.to_owned(), them: them.collect() });
        }
        match reply.kept.pop() {
            Some(status) if status.state == KeptState::Gone => Err(AttachError::Gone {
                name: status.name,
                host: status.host,
                message: status.error.unwrap_or_default(),
            }),
            Some(status) => Ok(status),
            None => Err(AttachError::NotFound { message: self.not_kept(name, &reply)? }),
        }
    }

    /// The sentence if no host keeps what was asked for.
    pub fn not_kept(&self, name: &str, reply: &KeptReply) -> Result<String, RequestError> {
        Ok(self.not_among(&self.kept::<String>([])?, name, reply))
    }

    fn not_among(&self, all: &KeptReply, name: &str, reply: &KeptReply) -> String {
        let names = all.kept.iter().map(|kept| kept.name.as_str());
        let mut message = format!("nothing in {} is kept as `{name}`", self.name());
        if let Some(near) = nearest(name, names).filter(|near| *near != name) {
            message += &format!("; did you mean `{near}`?");
        }
        for unheard in &reply.unheard {
            message += &format!("\n{} may keep it, but could not be asked: {}", unheard.host, unheard.why);
        }
        message
    }
}

impl Attach {
    pub(crate) fn network(&self) -> Network {
        Network::of(self.handle.clone())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The interpreter of this name that can be entered.
    pub(crate) fn find_gateway(&self) -> Result<KeptStatus, AttachError> {
        let status = self.network().find_kept(&self.name)?;
        let (name, host) = (status.name.clone(), status.host.clone());
        if !status.enter {
            return Err(AttachError::NoGateway { name, host });
        }
        if status.state != KeptState::Ended {
            return Ok(status);
        }
        let how = match (status.signal, status.error) {
            (Some(signal), _) => ExitStatus::Signaled(signal),
            (None, Some(message)) => ExitStatus::NotStarted { errno: 0, message },
            (None, None) => ExitStatus::Exited(status.status.unwrap_or_default()),
        };
        Err(AttachError::Ended { name, host, how })
    }

    /// How much of its earlier output is wanted; by default all that its host holds.
    pub fn replay(mut self, replay: Replay) -> Self {
        self.replay = replay;
        self
    }

    /// How long its host may be out of reach, or the network's daemon be gone, before it counts as lost for
    /// this program. By default there is no limit for the host.
    pub fn give_up(mut self, limit: Duration) -> Self {
        self.give_up = Some(limit);
        self
    }

    /// Attaches. Returns at once, also while its host is out of reach: the process can be used as if it had
    /// been started by this program. Its output begins where the host's record of it does:
    /// [`Output::receive_piece`](crate::Output::receive_piece) tells what is missing.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn start(self) -> Result<Process, AttachError> {
        let status = Network::of(self.handle.clone()).find_kept(&self.name)?;
        self.take(&status)
    }

    /// Attaches to what was found.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn take(&self, status: &KeptStatus) -> Result<Process, AttachError> {
        let Self { handle, replay, give_up, .. } = self;
        let ids = id_of(&status.id).zip(id_of(&status.incarnation));
        let Some((id, incarnation)) = ids else {
            let message =
                format!("the daemon names `{}` in a form that this release does not know", status.name);
            return Err(AttachError::NotFound { message });
        };
        let id = ProcessId(id);
        let node = Node { name: status.node.clone(), host: status.host.clone(), ..Node::default() };
        let mut state = handle.hub.enter().map_err(RequestError::from)?;
        if state.client.process(id).is_some() {
            let (name, host) = (status.name.clone(), status.host.clone());
            return Err(AttachError::Attached { name, host });
        }
        state.client.take(id, Incarnation(incarnation), status.host.clone(), *replay);
        state.starts.insert(id, Placing::Launched);
        let HubState { lookout, client, .. } = &mut *state;
        lookout.watch(id, node.clone(), *give_up, false, client);
        handle.hub.look_out(&mut state);
        handle.hub.leave(state);
        Ok(Process::new(handle.clone(), id, node))
    }
}

/// Reads 32 hex digits.
fn id_of(hex: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(id)
}
