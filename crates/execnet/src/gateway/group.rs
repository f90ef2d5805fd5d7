//! Groups of gateways, which are found by id and ended together.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::code::Code;
use super::error::{ChannelError, OpenError};
use super::multi::MultiChannel;
use super::open::Gateway;
use crate::waiting::{Owner, deadline};

/// How long gateways may take to end when their group is dropped, before they are killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long killed ones may take.
const KILLED: Duration = Duration::from_secs(10);

/// Gateways that belong together. A gateway that has ended stays in the group, and keeps its id, until it is
/// [removed](Group::remove). Clones share the group. Dropping the last one ends its gateways, as
/// [`Group::terminate_timeout`] with 5 s does.
///
/// ```no_run
/// let group = execnet::Group::new();
/// group.popen().start_many(4)?;
/// let channels = group.remote_exec("channel.send(channel.receive() ** 2)")?;
/// channels.send_each(7)?;
/// for (gateway, square) in channels.receive_each::<i64>()? {
///     println!("{}: {square}", gateway.id());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Group {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    members: Mutex<Members>,
    owner: Owner,
}

#[derive(Debug, Default)]
struct Members {
    gateways: Vec<Gateway>,
    ids: HashSet<String>,
    next: u64,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its gateways, in the order in which they were opened.
    #[must_use]
    pub fn gateways(&self) -> Vec<Gateway> {
        self.shared.members().gateways.clone()
    }

    /// How many gateways it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.members().gateways.len()
    }

    /// Whether it has no gateways.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The gateway with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Gateway> {
        self.shared.members().gateways.iter().find(|gateway| gateway.id() == id).cloned()
    }

    /// The gateway at this index, in the order in which they were opened.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Gateway> {
        self.shared.members().gateways.get(index).cloned()
    }

    /// Removes a gateway from the group. Its id may be used again.
    pub fn remove(&self, gateway: &Gateway) {
        self.shared.remove(gateway);
    }

    /// Executes code in every gateway.
    ///
    /// # Errors
    /// When one of them has ended or was told to.
    pub fn remote_exec(&self, code: impl Into<Code>) -> Result<MultiChannel, ChannelError> {
        let code = code.into();
        let channels = self
            .gateways()
            .iter()
            .map(|gateway| gateway.remote_exec(code.clone()))
            .collect::<Result<_, _>>()?;
        Ok(MultiChannel::new(channels))
    }

    /// Ends all gateways and removes them from the group: tells them to end, and waits until they have ended.
    /// Those that are kept are left.
    ///
    /// # Errors
    /// When the wait was interrupted. Gateways that have not ended stay in the group.
    pub fn terminate(&self) -> Result<(), ChannelError> {
        self.shared.terminate(None)
    }

    /// As [`Group::terminate`], waiting at most this long for all together. Then kills those that are left.
    ///
    /// # Errors
    /// As [`Group::terminate`], and when one could not be killed.
    pub fn terminate_timeout(&self, timeout: Duration) -> Result<(), ChannelError> {
        self.shared.terminate(deadline(timeout))
    }

    /// Reserves an id for a gateway that is about to be opened.
    pub(super) fn reserve(&self, wanted: Option<String>) -> Result<String, OpenError> {
        if self.shared.owner.is_forked() {
            return Err(OpenError::Forked);
        }
        let mut members = self.shared.members();
        let id = match wanted {
            Some(id) if members.ids.contains(&id) => return Err(OpenError::IdTaken(id)),
            Some(id) => id,
            None => loop {
                let id = format!("gw{}", members.next);
                members.next += 1;
                if !members.ids.contains(&id) {
                    break id;
                }
            },
        };
        members.ids.insert(id.clone());
        Ok(id)
    }

    pub(super) fn release(&self, id: &str) {
        self.shared.members().ids.remove(id);
    }

    pub(super) fn add(&self, gateway: Gateway) {
        self.shared.members().gateways.push(gateway);
    }
}

impl Shared {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, gateway: &Gateway) {
        let mut members = self.members();
        let before = members.gateways.len();
        members.gateways.retain(|member| !Arc::ptr_eq(&member.handle, &gateway.handle));
        if members.gateways.len() < before {
            members.ids.remove(gateway.id());
        }
    }

    fn terminate(&self, deadline: Option<Instant>) -> Result<(), ChannelError> {
        let gateways = self.members().gateways.clone();
        for gateway in &gateways {
            if gateway.is_kept() { gateway.handle.leave()? } else { gateway.exit()? }
        }
        let mut killed = Vec::new();
        for gateway in &gateways {
            match gateway.join_by(deadline) {
                Ok(_) => self.remove(gateway),
                // it is left soon, whatever has arrived
                Err(ChannelError::TimedOut) if gateway.is_kept() => self.remove(gateway),
                Err(ChannelError::TimedOut) => {
                    gateway.kill()?;
                    killed.push(gateway);
                }
                Err(error) => return Err(error),
            }
        }
        let until = crate::waiting::deadline(KILLED);
        for gateway in killed {
            gateway.join_by(until)?;
            self.remove(gateway);
        }
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.owner.is_forked() {
            let _ = self.terminate(deadline(PATIENCE));
        }
    }
}
