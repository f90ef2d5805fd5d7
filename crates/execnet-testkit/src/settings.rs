//! How a host of the lab differs from one with defaults.

use std::path::PathBuf;

/// What its builder was told.
#[derive(Debug, Default)]
pub(crate) struct HostSettings {
    pub(crate) pythons: Option<Vec<String>>,
    pub(crate) programs: Vec<(String, PathBuf)>,
    pub(crate) scripts: Vec<(String, String)>,
    pub(crate) noise: Option<String>,
    pub(crate) noise_forever: bool,
    pub(crate) login_shell: Option<PathBuf>,
    pub(crate) shell_name: Option<String>,
    pub(crate) max_startups: Option<u32>,
    pub(crate) refuse_auth: bool,
    pub(crate) host_key: KnownKey,
    pub(crate) hidden: bool,
    pub(crate) reaches: Vec<String>,
    pub(crate) down: bool,
    pub(crate) proxy: bool,
    pub(crate) namespace: bool,
}

/// What the known_hosts files say about a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KnownKey {
    #[default]
    Right,
    Wrong,
    None,
}
