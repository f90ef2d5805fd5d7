//! Where the parts of a network meet on one machine: names of folders and sockets, as text. Nothing here touches a file.

use crate::spec::NetworkName;

/// What follows the network's name in the name of its daemon's socket.
pub const SOCKET_SUFFIX: &str = ".daemon.sock";

/// What follows it in the name of the lock that its daemon holds for life.
pub const LOCK_SUFFIX: &str = ".daemon.lock";

/// The folder of a user's sockets, by effective user id. It counts only when lstat says that it is a folder of that user with
/// mode 0700. Never under HOME, which machines may share.
#[must_use]
pub fn runtime_folder(uid: u32) -> String {
    format!("/tmp/execnet-{uid}")
}

/// Name of the socket of a network's daemon in the [`runtime_folder`].
#[must_use]
pub fn socket_name(network: &NetworkName) -> String {
    format!("{network}{SOCKET_SUFFIX}")
}

/// Name of the lock file of a network's daemon in the [`runtime_folder`].
#[must_use]
pub fn lock_name(network: &NetworkName) -> String {
    format!("{network}{LOCK_SUFFIX}")
}

/// The network whose daemon's socket has this name, if it is one.
#[must_use]
pub fn network_of(socket_name: &str) -> Option<NetworkName> {
    socket_name.strip_suffix(SOCKET_SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sockets_lead_back_to_their_networks_and_fit_a_socket_address() {
        let network: NetworkName = "x".repeat(64).parse().unwrap();
        let name = socket_name(&network);
        assert_eq!(network_of(&name), Some(network));
        assert!(runtime_folder(u32::MAX).len() + 1 + name.len() < 108);
        assert_eq!(network_of("a.lock"), None);
        assert_eq!(network_of(".daemon.sock"), None);
    }
}
