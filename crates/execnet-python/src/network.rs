//! Networks, as Python sees them.

use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use execnet::control::{HostState, HostStatus, NodeState, NodeStatus};
use execnet::text::line;
use pyo3::prelude::*;

use crate::error::Failure;
use crate::gateway::closed;
use crate::wait::{aside, released};

/// A connection to a network.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Network {
    name: String,
    network: Mutex<Option<execnet::Network>>,
}

/// Connects to the network of this name.
#[pyfunction]
pub(crate) fn connect(py: Python<'_>, name: String) -> PyResult<Network> {
    let of_this_name = name.clone();
    let network = aside(py, move || execnet::connect(&of_this_name))?.map_err(Failure::from)?;
    Ok(Network { name, network: Mutex::new(Some(network)) })
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

    /// Its nodes, as they are now.
    fn nodes(&self, py: Python<'_>) -> PyResult<Vec<Node>> {
        let network = self.open()?;
        let status = aside(py, move || network.status())?.map_err(Failure::from)?;
        Ok(status
            .hosts
            .iter()
            .flat_map(|host| host.nodes.iter().map(|node| Node::of_status(host, node)))
            .collect())
    }

    /// Closes the connection, once nothing uses it any more.
    fn close(&self, py: Python<'_>) {
        let network = self.network.lock().unwrap_or_else(PoisonError::into_inner).take();
        released(py, || drop(network));
    }
}

/// A node of a network: an interpreter on a host, as it was when it was asked for. Two are equal when they are the same interpreter.
#[pyclass(frozen, get_all, eq, hash, module = "execnet")]
pub(crate) struct Node {
    /// Its name.
    name: String,
    /// Id of its host.
    host: String,
    /// `probing`, `ready`, `failed`, or `unreachable` or `leaving` as its host is.
    state: String,
    /// `sys.platform`.
    platform: String,
    /// `cpython`, `pypy`, `jython`.
    implementation: String,
    /// `3.11.2`.
    version: String,
    /// `x86_64`.
    machine: String,
    /// Path of the interpreter.
    executable: String,
    /// How many processors its host has, if that is known.
    cpus: Option<u32>,
    /// Id of the host through which its host is reached, if there is one.
    via: Option<String>,
    /// How many processes run on it.
    processes: u32,
}

impl Node {
    /// What stays the same while it works, and is known of a gateway's node too.
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
        }
    }

    /// As it was when a gateway was made on it.
    pub(crate) fn of_gateway(node: &execnet::Node) -> Self {
        Self {
            name: node.name.clone(),
            host: node.host.clone(),
            state: "ready".into(),
            platform: node.platform.clone(),
            implementation: node.implementation.clone(),
            version: node.version.clone(),
            machine: node.machine.clone(),
            executable: node.executable.clone(),
            cpus: None,
            via: None,
            processes: 0,
        }
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
