//! Gateways that are kept: starts and enters one, or comes back to one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use execnet_proto::kept::{Keep, KeptName, Policy, Replay};

use super::{GatewayBuilder, KERNEL, invalid};
use crate::attach::Attach;
use crate::gateway::config::{Bring, Wanted};
use crate::gateway::entry::Entered;
use crate::gateway::error::{Death, OpenError};
use crate::gateway::kept::{Entering, enter};
use crate::gateway::open::Gateway;
use crate::gateway::output::Printed;
use crate::gateway::wire::{Kind, frame};
use crate::network::Network;
use crate::packages::supply::Trouble;
use crate::process::{Process, ProcessError, ProcessEvent};
use crate::waiting::deadline;

/// What is held of its stderr while no program is there, in bytes.
const ERRORS: u64 = 1024 * 1024;

/// How long it stays while no program is there: 7 days.
const STAYS: Duration = Duration::from_secs(7 * 86_400);

impl Attach {
    /// Describes a gateway to the interpreter that is kept under this name: the same process, with its
    /// globals and its channels that have names. What it prints from now on is passed on.
    ///
    /// Its id is that name, if the builder is given no other. Of the builder's other settings, `group`,
    /// `on_output`, `timeout` and `give_up` count: what concerns its start stays as it was.
    ///
    /// ```no_run
    /// let gateway = execnet::connect("mynet")?.attach("worker").gateway().start()?;
    /// let progress = gateway.channel("progress")?;
    /// println!("{:?}", progress.receive::<f64>()?);
    /// gateway.detach()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gateway(self) -> GatewayBuilder {
        let id = Some(self.name().to_owned());
        let network = Some(self.network());
        GatewayBuilder { network, id, attach: Some(self), ..GatewayBuilder::popen() }
    }
}

impl GatewayBuilder {
    /// Keeps its interpreter under a name on its host: it stays when this program leaves, in whatever way,
    /// with its channels that have names ([`Gateway::channel`]). [`Attach::gateway`] comes back to it. Only a
    /// host whose agent can do that is chosen. A name that the host has already is an error.
    pub fn keep(mut self, name: KeptName) -> Self {
        self.keep = Some(name);
        self
    }

    /// When it ends if no program is there: after 7 days, unless this says otherwise.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// Comes back to an interpreter that is kept.
    pub(super) fn open_attached(mut self, id: String, attach: Attach) -> Result<Gateway, OpenError> {
        let (network, status) = (attach.network(), attach.find_gateway()?);
        let name = status.name.parse::<KeptName>().map_err(|error| OpenError::Invalid(error.to_string()))?;
        let attach = self.give_up.into_iter().fold(attach.replay(Replay::NONE), Attach::give_up);
        let kept = Arc::new(attach.take(&status)?);
        self.enter(&network, id, name, kept, false, |entered, entering| enter(entered, entering, None))
    }

    /// Starts an interpreter that is kept, and enters it.
    pub(super) fn open_kept(
        mut self,
        id: String,
        wanted: Wanted,
        name: KeptName,
    ) -> Result<Gateway, OpenError> {
        let Some(network) = self.network.clone() else {
            let why = "a child of this program cannot be kept: it ends with the program";
            return Err(OpenError::Invalid(why.into()));
        };
        self.config.kept = true;
        let seconds = self.keep_for.unwrap_or(STAYS).as_secs();
        let (stdout, stderr) = (Policy::Wait, Policy::Last(ERRORS));
        let keep = Keep { name: name.clone(), seconds, stdout, stderr, admits: true };
        let kept = Arc::new(self.process(&network, &id).keep(keep).start()?);
        let opened = self.enter_started(&network, id, wanted, name, kept.clone());
        if opened.is_err() {
            kept.end();
        }
        opened
    }

    fn enter_started(
        &mut self,
        network: &Network,
        id: String,
        wanted: Wanted,
        name: KeptName,
        kept: Arc<Process>,
    ) -> Result<Gateway, OpenError> {
        let visits = matches!(wanted, Wanted::Visit);
        let mut supply = self.supply(&id, wanted, Some(kept.node()));
        let config = match &mut supply {
            Some(supply) => self.with_guess(&id, supply).map_err(|trouble| match trouble {
                Trouble::Packages(error) => OpenError::from(error),
                _ => OpenError::Interrupted,
            })?,
            None => {
                let bring = if visits { Bring::Visit } else { Bring::Nothing };
                self.config.encode(&id, &bring).map_err(invalid)?
            }
        };
        self.write(&id, &kept, &[KERNEL, &frame(Kind::Hello, 0, &config)].concat())?;
        self.started(&id, &kept)?;
        self.enter(network, id, name, kept, true, |entered, entering| {
            enter(entered, entering, supply.as_mut())
        })
    }

    /// Writes all of its stdin.
    fn write(&self, id: &str, kept: &Process, mut bytes: &[u8]) -> Result<(), OpenError> {
        let (stdin, until) = (kept.stdin(), Instant::now() + self.timeout);
        while !bytes.is_empty() {
            match stdin.write_timeout(bytes, until.saturating_duration_since(Instant::now())) {
                Ok(written) => bytes = &bytes[written..],
                Err(ProcessError::TimedOut { .. }) => {
                    return Err(OpenError::TimedOut { gateway: id.to_owned(), noise: String::new() });
                }
                Err(ProcessError::Interrupted { .. }) => return Err(OpenError::Interrupted),
                // what became of it is learned by its end
                Err(_) => return Ok(()),
            }
        }
        let _ = stdin.close();
        Ok(())
    }

    fn enter(
        &mut self,
        network: &Network,
        id: String,
        name: KeptName,
        kept: Arc<Process>,
        is_new: bool,
        enter: impl FnOnce(Arc<Entered>, Entering) -> Result<Gateway, OpenError>,
    ) -> Result<Gateway, OpenError> {
        let entered = Entered::new(network, kept, name, self.timeout, self.give_up, is_new)?;
        let printed = Arc::new(Printed::new(id.clone(), self.on_output.take()));
        enter(entered, Entering { id, timeout: self.timeout, printed })
    }

    /// Waits until a process that is kept has started: if its name is that of another one, this program must
    /// not enter that.
    fn started(&self, id: &str, kept: &Process) -> Result<(), OpenError> {
        let (mut events, limit) = (kept.events(), deadline(Some(self.timeout)));
        let mut death = Death {
            gateway: id.to_owned(),
            node: Some(kept.node().name.clone()),
            host: Some(kept.node().host.clone()),
            ..Death::default()
        };
        loop {
            let left = limit.map_or(Duration::MAX, |limit| limit.saturating_duration_since(Instant::now()));
            match events.next_timeout(left) {
                Ok(Some(ProcessEvent::Started(_))) => return Ok(()),
                Ok(Some(ProcessEvent::Unreachable(_) | ProcessEvent::Reachable)) => continue,
                Ok(Some(ProcessEvent::Ended(status))) => death.status = Some(status),
                Ok(Some(ProcessEvent::Lost(lost))) => death.reason = Some(lost.message),
                Ok(None) => {}
                Err(ProcessError::TimedOut { .. }) => {
                    return Err(OpenError::TimedOut { gateway: id.to_owned(), noise: String::new() });
                }
                Err(ProcessError::Interrupted { .. }) => return Err(OpenError::Interrupted),
                Err(error) => death.reason = Some(error.to_string()),
            }
            let (noise, program) = (String::new(), self.python.join(" "));
            return Err(OpenError::Failed { death: Arc::new(death), noise, program });
        }
    }
}
