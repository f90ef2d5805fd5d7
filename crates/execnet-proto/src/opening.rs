//! The bytes that precede the first frame of a connection: the marker and the protocol version
//! (docs/protocol.md, 1.1).
//!
//! On a client's socket nothing comes before them. On a link a login shell may print something first. This
//! noise is bounded; its beginning and end are kept for the error message.

/// The version of the protocol that this code speaks.
pub const VERSION: u16 = 2;

/// The marker is the same in every version. Two bytes with the version follow.
pub const MARKER: [u8; 14] = *b"\0execnet:link\0";

/// Marker and version: the first bytes from the agent on a link, and from both ends on a client's socket.
pub const OPENING: [u8; LENGTH] = {
    let mut opening = [0; LENGTH];
    let (marker, version) = opening.split_at_mut(MARKER.len());
    marker.copy_from_slice(&MARKER);
    version.copy_from_slice(&VERSION.to_be_bytes());
    opening
};

const LENGTH: usize = MARKER.len() + 2;

/// The most noise that is read, in bytes.
const MAX_NOISE: usize = 1024 * 1024;

/// Bytes that are kept from the end of the noise.
const KEPT: usize = 4096;

/// Bytes that are kept from its beginning if there was more.
const HEAD: usize = 256;

/// The reason why a connection cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpeningError {
    /// Something other than the marker came.
    NoMarker,
    /// More than 1 MiB came before the marker.
    Noise,
    /// The peer speaks this version.
    OtherVersion(u16),
}

/// Reads an opening, however its bytes arrive.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Bytes that may be the marker or its beginning, and the end of the noise.
    pending: Vec<u8>,
    /// On a link: the noise so far.
    noise: Option<Noise>,
}

#[derive(Debug, Default)]
struct Noise {
    head: Vec<u8>,
    dropped: usize,
}

impl Opening {
    /// The opening on a client's socket: it comes first.
    pub(crate) fn of_socket() -> Self {
        Self { pending: Vec::new(), noise: None }
    }

    /// The opening on a link: noise may come first.
    pub(crate) fn of_link() -> Self {
        Self { pending: Vec::new(), noise: Some(Noise::default()) }
    }

    /// Takes bytes that arrived. Once the opening is complete, returns the bytes after it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, OpeningError> {
        // only the last bytes of what was searched before may begin a marker
        let seen = self.pending.len().saturating_sub(LENGTH - 1);
        self.pending.extend_from_slice(bytes);
        let at = match &mut self.noise {
            None => {
                let known = self.pending.len().min(MARKER.len());
                if self.pending[..known] != MARKER[..known] {
                    return Err(OpeningError::NoMarker);
                }
                0
            }
            Some(noise) => {
                let mut parts = self.pending[seen..].windows(MARKER.len());
                let Some(at) = parts.position(|part| part == MARKER) else {
                    noise.drop_from(&mut self.pending)?;
                    return Ok(None);
                };
                seen + at
            }
        };
        if self.pending.len() < at + LENGTH {
            return Ok(None);
        }
        let rest = self.pending.split_off(at + LENGTH);
        let version = &self.pending[at + MARKER.len()..];
        let version = u16::from_be_bytes([version[0], version[1]]);
        self.pending.truncate(at);
        if version == VERSION { Ok(Some(rest)) } else { Err(OpeningError::OtherVersion(version)) }
    }

    /// The noise before the marker: its beginning and its end.
    pub(crate) fn noise(&self) -> Vec<u8> {
        let tail = &self.pending[self.pending.len().saturating_sub(KEPT)..];
        match &self.noise {
            Some(noise) if !noise.head.is_empty() => [&noise.head, "\n…\n".as_bytes(), tail].concat(),
            _ => tail.to_vec(),
        }
    }
}

impl Noise {
    /// Drops the part of `pending` that is no longer needed.
    fn drop_from(&mut self, pending: &mut Vec<u8>) -> Result<(), OpeningError> {
        let keep = pending.len().min(KEPT + MARKER.len());
        if self.dropped == 0 && pending.len() > keep {
            self.head = pending[..HEAD].to_vec();
        }
        self.dropped += pending.len() - keep;
        pending.drain(..pending.len() - keep);
        if self.dropped > MAX_NOISE { Err(OpeningError::Noise) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_an_opening_are_returned_however_it_is_cut() {
        let said = [b"Welcome!\n", &OPENING[..], b"rest"].concat();
        for at in 0..said.len() - 4 {
            let mut opening = Opening::of_link();
            let first = opening.take(&said[..at]).unwrap();
            let second = opening.take(&said[at..]).unwrap();
            assert_eq!((first, second), (None, Some(b"rest".to_vec())), "{at}");
            assert_eq!(opening.noise(), b"Welcome!\n");
        }
    }

    #[test]
    fn on_a_socket_nothing_precedes_the_marker() {
        assert_eq!(Opening::of_socket().take(&OPENING), Ok(Some(Vec::new())));
        assert_eq!(Opening::of_socket().take(&OPENING[..3]), Ok(None));
        assert_eq!(Opening::of_socket().take(b"GET /"), Err(OpeningError::NoMarker));
    }

    #[test]
    fn another_version_is_named() {
        let other = [&MARKER[..], &[0x12, 0x34]].concat();
        assert_eq!(Opening::of_socket().take(&other), Err(OpeningError::OtherVersion(0x1234)));
        let mut opening = Opening::of_link();
        let said = [b"noise", &other[..]].concat();
        assert_eq!(opening.take(&said), Err(OpeningError::OtherVersion(0x1234)));
        assert_eq!(opening.noise(), b"noise");
    }

    #[test]
    fn noise_is_bounded() {
        let mut opening = Opening::of_link();
        let mut part = vec![b'x'; 64 * 1024];
        part[0] = b'A';
        let taken = (0..).find(|_| opening.take(&part).is_err()).unwrap();
        assert_eq!(taken, MAX_NOISE / part.len());
        assert!(opening.pending.len() < 2 * KEPT);
        assert!(opening.noise().starts_with(b"Ax"));
    }
}
