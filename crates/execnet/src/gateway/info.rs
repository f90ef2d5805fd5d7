//! What a kernel reports about its interpreter.

use crate::packages::Activated;
use crate::value::{Dialect, LoadError, Reading, Target, Value};

/// What an interpreter reported when its kernel was ready. The texts arrive unchanged: escape them before you
/// show them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Info {
    /// Its process id on its machine.
    pub pid: u32,
    /// `sys.executable`.
    pub executable: String,
    /// `sys.version_info`: numbers, and a word among them.
    pub version_info: Vec<Value>,
    /// `sys.platform`.
    pub platform: String,
    /// `cpython`, `pypy`, `jython`.
    pub implementation: String,
    /// Its working folder.
    pub cwd: String,
    /// The major version of Python.
    pub dialect: Dialect,
    /// `sys.maxsize`.
    pub maxsize: u64,
    /// What it has brought along.
    pub(super) packages: Option<Activated>,
}

impl Info {
    /// The first two numbers of its version: `(3, 11)`.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        let part = |at: usize| self.version_info.get(at).and_then(Value::as_int);
        let number = |at| part(at).and_then(|part| part.try_into().ok()).unwrap_or(0);
        (number(0), number(1))
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, LoadError> {
        // the dialect is not known yet; text may be either kind of string
        let value = Value::decode(payload, Reading { dialect: Dialect::Two, ..Reading::default() })?;
        let missing = |key: &str| LoadError::unwanted(format!("no `{key}`"));
        let text = |key: &str| match value.get(key) {
            Some(Value::Str(text)) => Ok(text.to_string_lossy().into_owned()),
            Some(Value::None) => Ok(String::new()),
            _ => Err(missing(key)),
        };
        let number = |key: &str| value.get(key).and_then(Value::as_int).ok_or_else(|| missing(key));
        if number("version")? != 1 {
            return Err(LoadError::unwanted("another version of the kernel"));
        }
        Ok(Self {
            pid: number("pid")?.try_into().map_err(|_| missing("pid"))?,
            executable: text("executable")?,
            version_info: match value.get("version_info") {
                Some(Value::Tuple(parts) | Value::List(parts)) => parts.clone(),
                _ => return Err(missing("version_info")),
            },
            platform: text("platform")?,
            implementation: text("implementation")?,
            cwd: text("cwd")?,
            dialect: match number("dialect")? {
                2 => Dialect::Two,
                3 => Dialect::Three,
                other => return Err(LoadError::unwanted(format!("an unknown dialect {other}"))),
            },
            packages: value.get("packages").map(activated),
            maxsize: number("maxsize")?.try_into().map_err(|_| missing("maxsize"))?,
        })
    }

    pub(super) fn target(&self) -> Target {
        Target {
            dialect: self.dialect,
            no_surrogates: self.implementation == "jython",
            references: self.dialect == Dialect::Three,
        }
    }
}

fn activated(value: &Value) -> Activated {
    let text = |value: &Value| match value {
        Value::Str(text) => Some(text.to_string_lossy().into_owned()),
        _ => None,
    };
    let mut activated = Activated::default();
    if let Some(Value::List(folders) | Value::Tuple(folders)) = value.get("folders") {
        activated.folders = folders.iter().filter_map(text).collect();
    }
    if let Some(Value::Dict(variables)) = value.get("environment") {
        let pair = |(name, value): &(Value, Value)| Some((text(name)?, text(value)?));
        activated.environment = variables.iter().filter_map(pair).collect();
    }
    activated
}
