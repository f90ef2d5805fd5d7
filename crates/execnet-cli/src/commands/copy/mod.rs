//! `execnet copy`: copies files and folders to hosts, and back.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use clap::Args;
use clap_complete::engine::{ArgValueCompleter, PathCompleter};
use execnet::copy::{Asked, Blocks, CopyError, ListError, Listing, Options, check_names, fetch, push};
use execnet::{GatewayBuilder, OpenError, StartError};
use execnet_proto::spec::NetworkName;

use super::candidates::unplaced;
use super::node_options::NodeOptions;
use crate::connection;
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::say;
use crate::progress::CopyProgress;
use crate::render::reason;
use crate::text::one_line;

mod hosts;
mod interrupted;
mod tell;

use hosts::Destination;
use tell::{Told, tell_listing};

/// How many open files a copy from thousands of hosts needs, three for each.
const FILES: u64 = 8_192;

/// Bytes of files that may be on their way to each host, besides what the link holds.
const WINDOW: u64 = 1 << 19;

/// Copy files and folders to hosts, or from hosts
///
/// A path that begins with `:` is on the hosts. Only what differs travels. A folder with a `/` at its end
/// stands for what it contains. What comes from hosts goes to TARGET/HOST/NAME.
#[derive(Debug, Args)]
#[command(
    override_usage = "execnet copy NETWORK [OPTIONS] SOURCE... TARGET",
    after_help = "\
Example:
  execnet copy mynet src/ :/srv/app
  execnet copy mynet --node build1 tool.py notes.txt :bin/
  execnet copy mynet :/var/log/app.log logs/"
)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    #[command(flatten)]
    options: NodeOptions,
    /// Delete in copied folders what the source does not have
    #[arg(long)]
    delete: bool,
    /// Compare files of the same size by content, also those with the same time
    #[arg(long)]
    checksum: bool,
    /// Change nothing; print what would be done
    #[arg(long)]
    dry_run: bool,
    /// What is copied, then where it goes
    #[arg(value_name = "PATH", required = true, num_args = 2..)]
    #[arg(add = ArgValueCompleter::new(PathCompleter::any()))]
    paths: Vec<OsString>,
}

/// What is copied, and where it goes.
#[derive(Debug)]
enum Way {
    /// To a path on the hosts.
    There(Vec<PathBuf>, Vec<u8>),
    /// Paths on the hosts, to a folder here.
    Back(Vec<Vec<u8>>, PathBuf),
}

/// The outcome for a host, from good to bad; the worst decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostOutcome {
    Fine,
    /// Something could not be copied.
    Failed,
    /// The host could not be reached, or has no working Python.
    Broken,
}

/// What is the same for all hosts.
struct Job<'a> {
    name: &'a NetworkName,
    builder: GatewayBuilder,
    way: Way,
    listing: Option<Listing>,
    blocks: Blocks,
    options: Options,
    progress: &'a CopyProgress,
}

impl CopyArgs {
    pub(crate) fn run(self) -> CommandResult {
        let selection = self.options.selection()?;
        let name = &self.network.network;
        let way = Way::of(&self.paths)?;
        let listing = match &way {
            Way::There(sources, _) => Some(Listing::of(sources).map_err(|error| unlisted(&error))?),
            Way::Back(paths, _) => {
                check_names(paths).map_err(|error| unlisted(&error))?;
                None
            }
        };
        let network = connection::open_patiently(name)?;
        let mut builder = network.makegateway().window(WINDOW).on_output(|host, line| {
            say(&format!("{}: {}", one_line(host), one_line(&String::from_utf8_lossy(line))));
        });
        for (name, value) in self.options.variables()? {
            builder = builder.env(name, value);
        }
        if let Some(folder) = &self.options.chdir {
            builder = builder.start_in(folder);
        }
        let (mut destinations, left_out) = hosts::hosts(&network, &selection)?;
        if destinations.is_empty() {
            // the daemon's refusal says which nodes exist
            let gateway = builder.clone().selection(selection).start().map_err(|error| match &error {
                OpenError::Place(error) => unplaced(name, error),
                error => CommandError::new(Exit::HostsFailed, error),
            })?;
            let node = gateway.node().map(|node| (node.host.clone(), node.name.clone()));
            destinations.extend(node.map(|(host, node)| Destination { host, node }));
        }
        let mut worst = HostOutcome::Fine;
        for line in &left_out {
            say(&format!("execnet: not copied: {line}"));
            worst = HostOutcome::Broken;
        }
        let options =
            Options { delete: self.delete, checksum: self.checksum, dry: self.dry_run, exact: false };
        if let Some(listing) = &listing {
            worst = worst.max(tell_listing(listing, options));
        }
        interrupted::then(execnet::copy::drop_drafts);
        execnet_daemon::raise_file_limit(FILES);
        let progress = CopyProgress::stderr(destinations.len());
        let blocks = Blocks::default();
        let job = Job { name, builder, way, listing, blocks, options, progress: &progress };
        let worst = Mutex::new(worst);
        let failed = thread::scope(|scope| {
            for destination in &destinations {
                let (job, worst) = (&job, &worst);
                let work = move || {
                    let outcome = job.run(destination);
                    let mut worst = worst.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    *worst = outcome.max(*worst);
                };
                thread::Builder::new().name("host".to_owned()).spawn_scoped(scope, work)?;
            }
            Ok::<(), std::io::Error>(())
        });
        failed.map_err(|error| {
            CommandError::new(Exit::Failed, "cannot copy to so many hosts").because(&error)
        })?;
        Ok(match worst.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            HostOutcome::Fine => ExitCode::SUCCESS,
            HostOutcome::Failed => Exit::Failed.into(),
            HostOutcome::Broken => Exit::HostsFailed.into(),
        })
    }
}

impl Job<'_> {
    /// Copies to or from one host.
    fn run(&self, destination: &Destination) -> HostOutcome {
        let Destination { host, node } = destination;
        let shown = one_line(host);
        let gateway = match self.builder.clone().node(node).id(host).start() {
            Ok(gateway) => gateway,
            Err(error) => {
                let why = match &error {
                    OpenError::Place(StartError::NoMatch { message }) => {
                        connection::advice(reason(host, message)).0.to_owned()
                    }
                    OpenError::Place(StartError::Connect(error)) => {
                        connection::unconnected(self.name, error).to_string()
                    }
                    error => error.to_string(),
                };
                say(&format!("execnet: not copied: {shown}: {}", one_line(&why)));
                return HostOutcome::Broken;
            }
        };
        let told = Told::new(host, self.options.dry, self.progress.host(host));
        let done = match (&self.way, &self.listing) {
            (Way::There(_, target), Some(listing)) => {
                push(&gateway, listing, &self.blocks, target, self.options, &told)
            }
            (Way::Back(paths, folder), _) => {
                fetch(&gateway, Asked { paths, folder, name: host }, self.options, &told)
            }
            (Way::There(..), None) => Ok(()),
        };
        let failed = told.end();
        let _ = gateway.exit();
        match done {
            Ok(()) if failed => HostOutcome::Failed,
            Ok(()) => HostOutcome::Fine,
            Err(error) => {
                let (outcome, why) = match error {
                    CopyError::Over(_) | CopyError::Refused(_) => (HostOutcome::Failed, error.to_string()),
                    error => (HostOutcome::Broken, error.to_string()),
                };
                say(&format!("execnet: {shown}: {}", one_line(&why)));
                outcome
            }
        }
    }
}

impl Way {
    /// Reads the paths of the command line.
    fn of(paths: &[OsString]) -> Result<Self, CommandError> {
        let there = |path: &OsString| path.as_bytes().strip_prefix(b":").map(<[u8]>::to_vec);
        let Some((target, sources)) = paths.split_last() else { return Err(usage("nothing to copy")) };
        let remote: Vec<Vec<u8>> = sources.iter().filter_map(there).collect();
        match there(target) {
            Some(target) if remote.is_empty() => {
                Ok(Self::There(sources.iter().map(PathBuf::from).collect(), target))
            }
            Some(_) => Err(usage("a source on the hosts cannot be copied to hosts")
                .hint("copy it here first: `execnet copy NETWORK :PATH FOLDER/`")),
            None if remote.is_empty() => {
                Err(usage("neither the sources nor the target are on the hosts").hint(COLON))
            }
            None if remote.len() < sources.len() => {
                Err(usage("the sources are either all here or all on the hosts"))
            }
            None => Ok(Self::Back(remote, PathBuf::from(target))),
        }
    }
}

const COLON: &str = "a path on the hosts begins with `:`, as `:/srv/app`; --node selects hosts";

fn usage(message: &str) -> CommandError {
    CommandError::new(Exit::Usage, message)
}

/// The error if the sources cannot be listed.
fn unlisted(error: &ListError) -> CommandError {
    match error {
        ListError::Source { path, .. } if path.to_string_lossy().contains(":/") => {
            CommandError::new(Exit::Usage, error).hint(COLON)
        }
        ListError::Spool(_) => {
            CommandError::new(Exit::Failed, error).hint("TMPDIR names the folder that the list is kept in")
        }
        _ => CommandError::new(Exit::Usage, error),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn way(paths: &[&str]) -> Result<Way, CommandError> {
        Way::of(&paths.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_colon_says_what_is_on_the_hosts() {
        assert!(matches!(way(&["src/", ":/srv/app"]).unwrap(), Way::There(sources, target)
            if sources == [PathBuf::from("src/")] && target == b"/srv/app"));
        assert!(matches!(way(&[":a", ":/b/", "logs"]).unwrap(), Way::Back(paths, folder)
            if paths == [b"a".to_vec(), b"/b/".to_vec()] && folder.as_os_str() == "logs"));
        let odd = [OsString::from_vec(b"a\xff".to_vec()), ":".into()];
        assert!(matches!(Way::of(&odd).unwrap(), Way::There(sources, target)
            if sources[0].as_os_str() == OsStr::from_bytes(b"a\xff") && target.is_empty()));
        for (paths, said) in [
            (&["a", "b"][..], "neither the sources nor the target"),
            (&[":a", ":b"], "cannot be copied to hosts"),
            (&[":a", "b", "c"], "either all here or all on the hosts"),
        ] {
            let error = way(paths).unwrap_err();
            assert!(error.exit == Exit::Usage && error.to_string().contains(said), "{error}");
        }
    }
}
