//! Copies files and folders to many hosts at a time, and back, through a gateway on each.
//!
//! Only what differs travels: a file of the same size and time is left alone, one of the same size and
//! another time is compared by its SHA-256. The other half is plain Python (remote/copy) that is sent into
//! the gateway. docs/kernel.md, section 9, describes what they say to each other.
//!
//! ```no_run
//! use execnet::copy::{Blocks, Listing, Options, Quiet, push};
//!
//! let listing = Listing::of(&["src/".into()])?;
//! let gateway = execnet::connect("mynet")?.makegateway().node("build1").start()?;
//! push(&gateway, &listing, &Blocks::default(), b"/srv/app", Options::default(), &Quiet)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod draft;
mod error;
mod fetch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod intake;
mod listing;
mod local;
mod place;
mod push;
mod spool;
mod wire;

pub use blocks::Blocks;
pub use draft::drop_drafts;
pub use error::{CopyError, ListError};
pub use fetch::{Asked, check_names, fetch};
pub use listing::{Filter, Listing};
pub use push::{push, push_over, receiver};

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Delete in folders that are copied what the source does not have.
    pub delete: bool,
    /// Compare files of the same size by their content, whatever their time.
    pub checksum: bool,
    /// Change nothing, and tell what would be done.
    pub dry: bool,
    /// The target names the copy itself: a link there is replaced, and a file does not go into a folder.
    pub exact: bool,
}

/// Hears how a copy goes on. Called in the thread that copies.
pub trait Observer {
    /// So much is compared, if it is known.
    fn total(&self, _files: u64, _bytes: u64) {}
    /// So many bytes of files were found to be there, or cannot be copied.
    fn settled(&self, _bytes: u64) {}
    /// So many bytes were sent or received.
    fn moved(&self, _bytes: u64) {}
    /// Everything is compared. The host needs so many bytes of files, some of which it may have by now.
    fn compared(&self, _bytes: u64) {}
    /// The content of this file is sent; its path in the copy.
    fn sends(&self, _path: &[u8]) {}
    /// The host needed a file, and gets so many bytes of it, or has the same ones; 0 if it cannot be read.
    fn handed(&self, _bytes: u64) {}
    /// What would be done, if nothing is.
    fn act(&self, _act: Act, _path: &[u8]) {}
    /// A file was not copied. The reason may come from a host.
    fn failed(&self, _path: &[u8], _why: &str) {}
    /// A file here cannot be read any more.
    fn unread(&self, path: &[u8], why: &str) {
        self.failed(path, why);
    }
    /// Nothing is deleted, because the host could not list everything.
    fn deletes_nothing(&self) {}
    /// So many more files were not copied.
    fn more_failed(&self, _count: u64) {}
}

/// Hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Observer for Quiet {}

/// What a copy does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Makes a folder.
    Make,
    /// Sends the content of a file.
    Send,
    /// Sets mode or time of a file.
    Update,
    /// Makes a link.
    Link,
    /// Deletes a file, or a folder with its content.
    Delete,
}

impl Act {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Send => "send",
            Self::Update => "update",
            Self::Link => "link",
            Self::Delete => "delete",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Make, Self::Send, Self::Update, Self::Link, Self::Delete]
            .into_iter()
            .find(|act| act.name() == name)
    }
}

/// How many batches are offered before the first one is answered. All together are smaller than the window of
/// a channel.
const AHEAD: usize = 4;

/// Entries of folders in a batch, and bytes of names.
const ENTRIES: usize = 256;
const NAMES: usize = 1 << 15;

/// Bytes of files in one message. Larger ones take up to a sixth less time of processors, but where a link
/// has delay the next one has to fit in the window, too: with 50 ms and 10 MB/s, 256 KiB took 8.1 s for what
/// takes 7.0 s. And progress goes by messages.
const PIECE: u64 = 60_000;

/// How many failures are told one by one.
const TOLD: u64 = 100;
