//! What a client starts.

use bytes::Bytes;

use crate::kept::{Join, Keep};
use crate::prefix::Prefix;
use crate::wire::{Role, Table};

/// What a client starts on the node that it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// Working directory; empty for the node's own.
    pub chdir: String,
    /// Arguments after the node's own command.
    pub args: Vec<Bytes>,
    /// Environment entries that override the node's.
    pub env: Table,
    /// Only those whose key is a feature of the place may be given.
    pub options: Table,
    /// Another process like it may be started ahead.
    pub ahead: bool,
    /// With what the stdin of each process like it begins: it is given this before anything that is written.
    pub prefix: Option<Prefix>,
    /// It is kept when its client leaves. Needs the feature `keep`.
    pub keep: Option<Keep>,
    /// It joins kept work of its host: `args` and the like do not count.
    pub join: Option<Join>,
}

impl Launch {
    pub(super) fn role(&self) -> Role {
        match self.join {
            Some(Join::Enter(_)) => Role::Enter,
            Some(Join::Read(..) | Join::ReadOnce(..)) => Role::Read,
            None if self.ahead && self.keep.is_none() => Role::Ahead,
            None => Role::Plain,
        }
    }
}
