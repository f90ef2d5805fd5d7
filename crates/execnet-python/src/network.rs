//! Networks for Python.

use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use execnet::control::{HostState, HostStatus, NodeState, NodeStatus};
use execnet::spec::{NodeSelection, time};
use execnet::text::line;
use execnet::{Outage, Reach};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::Failure;
use crate::wait::{Coming, aside, released};

/// A connection to a network.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Network {
    name: String,
    network: Mutex<Option<execnet::Network>>,
}

/// Connects to the network with this name.
#[pyfunction]
#[pyo3(signature = (name, give_up = None))]
pub(crate) fn connect(py: Python<'_>, name: String, give_up: Option<&str>) -> PyResult<Network> {
    let give_up = give_up.map(|text| limit("give_up", text)).transpose()?;
    let connect = execnet::Connect::to(&name).map_err(Failure::from)?;
    let connect = give_up.into_iter().fold(connect, execnet::Connect::give_up).program(program(py));
    let network = aside(py, move || connect.open())?.map_err(Failure::from)?;
    quiet(&network);
    Ok(Network { name, network: Mutex::new(Some(network)) })
}

/// The name of this program for people: `pytest`, `job.py`; `python` for one without a file.
fn program(py: Python<'_>) -> String {
    let argv = py.import("sys").and_then(|sys| sys.getattr("argv"));
    let called = argv.and_then(|argv| argv.get_item(0)).and_then(|first| first.extract::<PathBuf>());
    match called.ok().as_deref().map(Path::components).map(Iterator::collect::<Vec<_>>).as_deref() {
        // `python -m NAME`
        Some([.., package, file]) if file.as_os_str() == "__main__.py" => text_of(package),
        Some([.., file]) if !["-c", "-m", "-"].iter().any(|own| file.as_os_str() == *own) => text_of(file),
        _ => "python".to_owned(),
    }
}

fn text_of(part: &Component<'_>) -> String {
    part.as_os_str().to_string_lossy().into_owned()
}

impl Network {
    pub(crate) fn open(&self) -> PyResult<execnet::Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }
}

#[pymethods]
impl Network {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Its nodes that match, as they are now.
    #[pyo3(signature = (selection = None))]
    fn nodes(&self, py: Python<'_>, selection: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<Node>> {
        let chosen = selection.map(selection_of).transpose()?.unwrap_or_default();
        let network = self.open()?;
        let status = aside(py, move || network.status())?.map_err(Failure::from)?;
        let groups = status.groups();
        let set = chosen.set_of_nodes().map_err(|error| PyValueError::new_err(error.to_string()))?;
        // what cannot be named is told by the daemon, to who asks for a place
        let Ok(named) = status.universe(&groups).choose(set.as_ref()) else { return Ok(Vec::new()) };
        Ok(status
            .hosts
            .iter()
            .flat_map(|host| host.nodes.iter().map(move |node| (host, node)))
            .filter(|(host, node)| named.has(&host.id, &node.name) && chosen.fits(&node.info()))
            .map(|(host, node)| Node::of_status(host, node))
            .collect())
    }

    /// Each host's id, state, and the last error if it is not up.
    fn hosts(&self, py: Python<'_>) -> PyResult<Vec<(String, &'static str, Option<String>)>> {
        let network = self.open()?;
        let status = aside(py, move || network.status())?.map_err(Failure::from)?;
        let told = |host: HostStatus| {
            let error = host.error.filter(|_| host.state != HostState::Up);
            (host.id, host.state.as_str(), error)
        };
        Ok(status.hosts.into_iter().map(told).collect())
    }

    /// Closes the connection, once nothing uses it any more.
    fn close(&self, py: Python<'_>) {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner).take();
        released(py, || drop(network));
    }
}

/// A node of a network: an interpreter on a host, as it was when the node was requested. Two nodes are equal
/// if they are the same interpreter.
#[pyclass(frozen, get_all, eq, hash, module = "execnet")]
#[derive(Clone)]
pub(crate) struct Node {
    /// Its name.
    name: String,
    /// The id of its host.
    host: String,
    /// `probing`, `ready`, `failed`, or `unreachable` or `leaving` like its host. `lost` only for a gateway's
    /// node, and in calls of `on_unreachable`.
    state: String,
    /// `sys.platform`.
    platform: String,
    /// `cpython`, `pypy`, `jython`.
    implementation: String,
    /// `3.11.2`.
    version: String,
    /// `x86_64`.
    machine: String,
    /// The path of the interpreter.
    executable: String,
    /// How many processors its host has, if known.
    cpus: Option<u32>,
    /// The id of the host through which its host is reached, if there is one.
    via: Option<String>,
    /// How many processes run on it.
    processes: u32,
    /// Its host takes no new work, except from those who name it.
    drained: bool,
}

impl Node {
    /// What stays the same while it works, and is known for a gateway's node, too.
    fn identity(&self) -> [&str; 5] {
        [&self.name, &self.host, &self.implementation, &self.version, &self.executable]
    }

    fn of_status(host: &HostStatus, node: &NodeStatus) -> Self {
        let state = match (host.state, node.state) {
            (_, NodeState::Failed) => "failed",
            (HostState::Unreachable, _) => "unreachable",
            (HostState::Leaving, _) => "leaving",
            (_, NodeState::Ready) => "ready",
            (_, NodeState::Probing) => "probing",
        };
        Self {
            name: node.name.clone(),
            host: node.host.clone(),
            state: state.to_owned(),
            platform: node.platform.clone(),
            implementation: node.implementation.clone(),
            version: node.version.clone(),
            machine: node.machine.clone(),
            executable: node.executable.clone(),
            cpus: host.cpus,
            via: host.via.clone(),
            processes: node.processes,
            drained: host.drained,
        }
    }

    /// As seen by a program that runs something there.
    pub(crate) fn seen(node: &execnet::Node, state: &str) -> Self {
        Self {
            name: node.name.clone(),
            host: node.host.clone(),
            state: state.into(),
            platform: node.platform.clone(),
            implementation: node.implementation.clone(),
            version: node.version.clone(),
            machine: node.machine.clone(),
            executable: node.executable.clone(),
            cpus: None,
            via: None,
            processes: 0,
            drained: node.drained,
        }
    }
}

/// Reports about the hosts that gateways use. One thread at a time waits for them.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Outages {
    outages: Arc<Coming<Outage>>,
}

impl Outages {
    pub(crate) fn new(outages: execnet::Outages) -> Self {
        Self { outages: Coming::new(move |timeout| outages.next_timeout(timeout)) }
    }
}

#[pymethods]
impl Outages {
    /// The next one, as a node and a sentence; none when no more can come.
    fn next(&self, py: Python<'_>) -> PyResult<Option<(Node, String)>> {
        let outage = self.outages.next(py)?;
        Ok(outage.map(|outage| {
            let state = match outage.state {
                Reach::Reachable => "ready",
                state => state.as_str(),
            };
            (Node::seen(&outage.node, state), outage.to_string())
        }))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

#[pymethods]
impl Node {
    fn __repr__(&self) -> String {
        let Self { name, host, state, platform, implementation, version, .. } = self;
        let text = match implementation.is_empty() {
            true => format!("<Node {name} on {host}: {state}>"),
            false => format!("<Node {name} on {host}: {state}, {implementation} {version}, {platform}>"),
        };
        line(&text).into_owned()
    }
}

/// The selection that keywords describe.
pub(crate) fn selection_of(keywords: &Bound<'_, PyDict>) -> PyResult<NodeSelection> {
    let wanted = |key: &str| keywords.get_item(key)?.map(|value| value.extract::<String>()).transpose();
    let version = wanted("version")?.map(|version| {
        let wrong = |error| PyValueError::new_err(line(&format!("version={version}: {error}")).into_owned());
        version.parse().map_err(wrong)
    });
    let selection = NodeSelection {
        platform: wanted("platform")?,
        implementation: wanted("implementation")?,
        node: wanted("node")?,
        python_version: version.transpose()?,
    };
    selection.set_of_nodes().map_err(|error| PyValueError::new_err(format!("node: {error}")))?;
    Ok(selection)
}

/// Whether a set of nodes says which are meant, and not only which are left out.
#[pyfunction]
pub(crate) fn is_by_name(node: String) -> PyResult<bool> {
    let selection = NodeSelection { node: Some(node), ..NodeSelection::default() };
    let set = selection.set_of_nodes().map_err(|error| PyValueError::new_err(format!("node: {error}")))?;
    Ok(set.is_some_and(|set| !set.is_all_but()))
}

/// A duration, in seconds or as people write it.
pub(crate) fn limit(key: &str, text: &str) -> PyResult<Duration> {
    let seconds = |text: &str| Duration::try_from_secs_f64(text.trim().parse().ok()?).ok();
    seconds(text).or_else(|| time(text)).ok_or_else(|| {
        PyValueError::new_err(format!("{key}={}: not a time like `30`, `30s`, `2m` or `1h`", line(text)))
    })
}

/// Python reports the hosts of a network.
pub(crate) fn quiet(network: &execnet::Network) {
    network.on_outage(|_| {});
}

/// The error for a connection that was closed.
fn closed() -> PyErr {
    PyOSError::new_err("the connection to the network is closed")
}
