//! What the other interpreter is, as its kernel reports it.
#![allow(dead_code)] // `supply` will read it

use crate::value::Value;

/// The facts of an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) digest: String,
}

impl Facts {
    /// Reads what a kernel reported.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let digest = value.get("digest").and_then(Value::as_str).ok_or("no `digest`")?;
        Ok(Self { digest: digest.to_owned() })
    }
}
