//! What hosts hold of earlier packages.

use std::time::Duration;

use execnet_proto::text::line;

use crate::gateway::{ChannelError, Gateway};
use crate::value::Value;

/// A folder of packages on a host, or all that is unfinished there: drafts of folders, and what is being
/// deleted. Its texts come from the host unchanged: escape them before you show them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Its name, the hash of its content; empty for what is unfinished.
    pub id: String,
    /// What it contains, in words.
    pub title: String,
    /// In bytes.
    pub size: u64,
    /// How many files.
    pub files: u64,
    /// How long ago it was last used.
    pub used: Duration,
    /// A process uses it now.
    pub in_use: bool,
    /// Where it is.
    pub place: String,
}

/// What [`clean`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// How many folders were removed, unfinished ones too.
    pub removed: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// The titles of those that are in use, and stay.
    pub in_use: Vec<String>,
}

/// Why what a host holds could not be listed or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// It could not be asked.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The folder that `EXECNET_PACKAGES_FOLDER` names there cannot be used, for this reason.
    #[error("EXECNET_PACKAGES_FOLDER names a folder that cannot be used: {}", line(.0))]
    Folder(String),
}

/// Lists what the gateway's host holds. The gateway has to be opened with
/// [`GatewayBuilder::visit_packages`](crate::GatewayBuilder::visit_packages).
///
/// # Errors
/// As [`Channel::receive`](crate::Channel::receive), and if the folder that was named there cannot be used.
pub fn list(gateway: &Gateway) -> Result<Vec<Stored>, StoredError> {
    let answer = ask(gateway, "list")?;
    let (Value::List(folders) | Value::Tuple(folders)) = answer else { return Ok(Vec::new()) };
    Ok(folders.iter().map(Stored::read).collect())
}

/// Removes what the gateway's host holds and nobody uses. The gateway has to be opened with
/// [`GatewayBuilder::visit_packages`](crate::GatewayBuilder::visit_packages).
///
/// # Errors
/// As [`list`].
pub fn clean(gateway: &Gateway) -> Result<Cleaned, StoredError> {
    Ok(Cleaned::read(&ask(gateway, "clean")?))
}

fn ask(gateway: &Gateway, what: &str) -> Result<Value, StoredError> {
    let code = format!("channel.send(channel.gateway._packages({what:?}))");
    let answer: Value = gateway.remote_exec(code)?.receive()?;
    match answer.get("fault").and_then(Value::as_str) {
        Some(fault) => Err(StoredError::Folder(fault.to_owned())),
        None => Ok(answer),
    }
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_int).and_then(|number| number.try_into().ok()).unwrap_or(0)
}

impl Stored {
    fn read(value: &Value) -> Self {
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            id: text("id"),
            title: text("title"),
            size: number(value, "size"),
            files: number(value, "files"),
            used: Duration::from_secs(number(value, "used")),
            in_use: matches!(value.get("in_use"), Some(Value::Bool(true))),
            place: text("where"),
        }
    }
}

impl Cleaned {
    fn read(value: &Value) -> Self {
        let in_use = match value.get("in_use") {
            Some(Value::List(titles) | Value::Tuple(titles)) => {
                titles.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Self { removed: number(value, "removed"), bytes: number(value, "bytes"), in_use }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command's tests do so on real hosts: it removes the packages of everybody who does not use them.
    #[test]
    fn what_was_removed_is_read() {
        let pairs: [(Value, Value); 3] = [
            ("removed".into(), 2.into()),
            ("bytes".into(), (5_i64 << 32).into()),
            ("in_use".into(), Value::List(vec!["pytest and 7 more".into()])),
        ];
        let cleaned = Cleaned::read(&Value::Dict(pairs.to_vec()));
        let in_use = vec!["pytest and 7 more".to_owned()];
        assert_eq!(cleaned, Cleaned { removed: 2, bytes: 5 << 32, in_use });
        assert_eq!(Cleaned::read(&Value::None), Cleaned::default());
    }
}
