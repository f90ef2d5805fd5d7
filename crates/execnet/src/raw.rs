//! For the Python package only, and free to change with it: calls that wait in slices, and can be repeated if
//! a slice was too short.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::gateway::{Channel, ChannelError, Code, Death, Gateway, Raw};
pub use crate::gateway::{Held, Ready};
use crate::lookout::Outages;
use crate::network::Network;
use crate::packages::{self, PackagesError};
use crate::value::Encoded;

/// The files of a folder that may travel, as paths within it, and what was left out, in words: the rules for
/// packages. Files and folders for which `skipped` says true count as absent.
///
/// # Errors
/// A [`PackagesError`] that names what cannot be read or sent.
pub fn files_of(
    folder: &Path,
    skipped: &dyn Fn(&Path) -> bool,
) -> Result<(Vec<String>, Vec<String>), PackagesError> {
    packages::files_of(folder, skipped)
}

/// Sends a value and takes it, or fails and leaves it for another try.
///
/// # Errors
/// As [`Channel::send_timeout`].
pub fn offer(
    channel: &Channel,
    encoded: &mut Option<Encoded>,
    deadline: Option<Instant>,
) -> Result<(), ChannelError> {
    channel.offer(encoded, deadline)
}

/// [`Channel::receive_raw`] with a limit.
///
/// # Errors
/// As [`Channel::receive_timeout`].
pub fn receive(channel: &Channel, deadline: Option<Instant>) -> Result<Raw, ChannelError> {
    channel.receive_by(deadline)
}

/// Takes back the value that [`receive`] returned last, as if it had not been received: the program was
/// interrupted before it could use it.
pub fn give_back(channel: &Channel, raw: Raw) {
    channel.give_back(raw);
}

/// Receives a value that counts as received only once it is dropped, for callbacks. Leaves the error of
/// failed code to [`Channel::wait_close`].
///
/// # Errors
/// As [`Channel::receive_timeout`].
pub fn receive_held(channel: &Channel, deadline: Option<Instant>) -> Result<Held, ChannelError> {
    channel.receive_held(deadline)
}

/// Waits until a call would not have to wait. Takes nothing. For green threads.
///
/// # Errors
/// When that was not in time, or the wait was interrupted.
pub fn until(channel: &Channel, ready: Ready, deadline: Option<Instant>) -> Result<(), ChannelError> {
    channel.until(ready, deadline)
}

/// [`Channel::wait_close`] with a limit.
///
/// # Errors
/// As [`Channel::wait_close_timeout`].
pub fn wait_close(channel: &Channel, deadline: Option<Instant>) -> Result<(), ChannelError> {
    channel.wait_close_by(deadline)
}

/// Whether this is a forked child, where the channel cannot be used.
#[must_use]
pub fn is_forked(channel: &Channel) -> bool {
    channel.is_forked()
}

/// The channel with this number in the same gateway: what a [`Token::Channel`](crate::value::Token::Channel)
/// stands for.
///
/// # Errors
/// Only in a forked child.
pub fn sibling(channel: &Channel, number: u32) -> Result<Channel, ChannelError> {
    channel.sibling(number)
}

/// [`Gateway::join`] with a limit.
///
/// # Errors
/// As [`Gateway::join_timeout`].
pub fn join(gateway: &Gateway, deadline: Option<Instant>) -> Result<Arc<Death>, ChannelError> {
    gateway.join_by(deadline)
}

/// [`Gateway::detach`] without its wait: [`join`] does that.
///
/// # Errors
/// As [`Gateway::detach`].
pub fn leave(gateway: &Gateway) -> Result<(), ChannelError> {
    gateway.leave()
}

/// [`Code::function`] with arguments from a dict that a [`Writer`](crate::value::Writer) wrote. It cannot
/// contain channels.
pub fn written_function(source: String, name: String, kwargs: Encoded) -> Code {
    Code::written_function(source, name, kwargs)
}

/// [`Network::outages`], unless somebody has called it before.
#[must_use]
pub fn first_outages(network: &Network) -> Option<Outages> {
    network.first_outages()
}
