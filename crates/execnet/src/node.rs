//! Where a process runs.

use execnet_proto::client::Placement;

/// Where a process runs. The texts come from the host unchanged: escape them before you show them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The id of its host.
    pub host: String,
    /// `sys.platform`.
    pub platform: String,
    /// `cpython`, `pypy`, `jython`.
    pub implementation: String,
    /// `3.11.2`.
    pub version: String,
    /// `x86_64`.
    pub machine: String,
    /// The path of the interpreter.
    pub executable: String,
    /// Its host takes no new work, except from those who name it, as was done here.
    pub drained: bool,
}

impl Node {
    pub(crate) fn new(place: &Placement) -> Self {
        let fact = |name: &str| {
            let fact = place.facts.iter().find(|(key, _)| key == name);
            fact.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        Self {
            name: place.node.clone(),
            host: place.host.clone(),
            platform: fact("platform"),
            implementation: fact("implementation"),
            version: fact("version"),
            machine: fact("machine"),
            executable: fact("executable"),
            drained: fact("drained") == "1",
        }
    }
}
