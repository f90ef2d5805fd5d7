//! Why a text is not a host spec.

use super::{KEYS, NAME_RULE};

/// The reason why a text is not a host spec. The message names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing between two `//`, or at an end.
    #[error("it has an empty part; `//` only separates keys")]
    EmptyPart,
    /// A key that does not exist.
    #[error("`{key}` is not a key of a host spec{}", suggestion(*.nearest))]
    UnknownKey {
        /// The key in the spec.
        key: String,
        /// The most similar key, if one is similar.
        nearest: Option<&'static str>,
    },
    /// A key of specs for gateways.
    #[error("`{key}` is for gateways, not for hosts: {}", place_of(.key))]
    OfGateways {
        /// The key in the spec.
        key: String,
    },
    /// A key that is given twice.
    #[error("`{0}` is given twice")]
    Doubled(String),
    /// A key without a value.
    #[error("`{0}` needs a value: `{0}=…`")]
    Empty(String),
    /// No key says how to reach the host.
    #[error("{NO_TRANSPORT}{}", transport_suggestion(.0))]
    NoTransport(Option<String>),
    /// Two keys say how to reach the host.
    #[error("`{0}` and `{1}` are two ways to reach one host; give one")]
    TwoTransports(&'static str, &'static str),
    /// A NUL in a value, or a line end in a value other than a folder.
    #[error("the value of `{0}` contains a line end or a NUL")]
    Control(String),
    /// A value that does not fit its key.
    #[error("{key}={value}: {why}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The reason.
        why: String,
    },
    /// The transport gives no usable id.
    #[error("`{0}` cannot be the host's id; add `//id=NAME` ({NAME_RULE})")]
    NoId(String),
    /// A key that belongs to another transport.
    #[error("`ssh_config` goes with `ssh=` only")]
    SshConfigWithoutSsh,
}

const NO_TRANSPORT: &str = "it does not say how to reach the host: `popen`, `ssh=HOST` or `cmd=COMMAND`";

fn suggestion(nearest: Option<&str>) -> String {
    nearest
        .map_or_else(|| format!("; there are {}", KEYS.join(", ")), |key| format!("; did you mean `{key}`?"))
}

/// Where a key for gateways is given instead.
fn place_of(key: &str) -> String {
    let (option, example) = match key {
        "packages" => ("`--with` of `execnet exec` and `execnet python`, ", "packages=*".to_owned()),
        "large" => ("`--large` of `execnet exec` and `execnet python`, ", "packages=*//large".to_owned()),
        _ => ("", format!("{key}=…")),
    };
    format!("{option}`{key}=` of `makegateway`, `pytest --tx net=NAME//{example}`")
}

fn transport_suggestion(host: &Option<String>) -> String {
    host.as_ref().map_or_else(String::new, |host| format!("; did you mean `ssh={host}`?"))
}
