//! Why something was not copied at all.

use std::path::PathBuf;
use std::sync::Arc;

use execnet_proto::text::line;

use crate::gateway::{ChannelError, Death};

/// Why a copy to or from a host did not come to its end. What single files lack, the
/// [`Observer`](super::Observer) hears.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The other side, or this one, cannot go on: no such folder, no space.
    #[error("{}", line(.0))]
    Over(String),
    /// The other side says what it may not say.
    #[error("what the host says is refused: {}", line(.0))]
    Refused(String),
    /// The gateway has ended, or its host is lost.
    #[error("{0}")]
    Died(Arc<Death>),
    /// Any other failure of the channel.
    #[error(transparent)]
    Channel(ChannelError),
}

impl From<ChannelError> for CopyError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::GatewayDied(death) => Self::Died(death),
            ChannelError::Remote(traceback) => {
                let last = traceback.trim_end().lines().last().unwrap_or_default();
                Self::Over(format!("the other half failed: {last}"))
            }
            error => Self::Channel(error),
        }
    }
}

/// Why nothing can be copied from here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// A source cannot be read.
    #[error("cannot read {}: {error}", line(&path.to_string_lossy()))]
    Source {
        /// The source.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Two sources bring something of the same name.
    #[error("two sources bring `{}`", line(.0))]
    Twice(String),
    /// A source has no name, and is no folder.
    #[error("{} is no folder", line(&.0.to_string_lossy()))]
    NoFolder(PathBuf),
    /// The list of what is copied cannot be kept.
    #[error("cannot keep the list of what is copied: {0}")]
    Spool(#[from] std::io::Error),
}
