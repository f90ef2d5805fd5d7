//! Ids: 16 bytes each, chosen at random by the part that creates the thing.

use std::fmt;

use crate::text::hex;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id! {
    /// A process, from its selection to its release.
    ProcessId
}
id! {
    /// One run of a client program; or the daemon, as the client of its tunnels.
    ClientId
}
id! {
    /// One run of an agent. Processes of another incarnation are gone.
    Incarnation
}

/// One attach of a link: the daemon's life in the upper 32 bits, the count of attaches in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The attach number `attach` of the daemon's life number `life`.
    pub fn new(life: u32, attach: u32) -> Self {
        Self(u64::from(life) << 32 | u64::from(attach))
    }

    /// The daemon's life that this attach belongs to.
    pub fn life(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
