//! Properties that hold for any bytes: of frames, and of a switch and a client that receive them.

#[path = "common/frames.rs"]
mod frames;
#[path = "common/operations.rs"]
mod operations;

use execnet_proto::wire::{Decoder, Frame, FrameKind};
use proptest::collection::vec;
use proptest::prelude::*;

/// Decodes, encodes, decodes again.
fn again(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Ok(Some((frame, length))) = decoder.next() {
        assert!(length <= bytes.len());
        let mut other = Decoder::default();
        other.push(&frame.to_bytes());
        assert_eq!(other.next(), Ok(Some((frame.clone(), frame.to_bytes().len()))));
        frames.push(frame);
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_frames_or_refused(
        mut bytes in vec(any::<u8>(), 4..200),
        kind in 0..FrameKind::ALL.len(),
    ) {
        again(&bytes);
        // the same with a header of the right length
        let length = bytes.len() - 4;
        bytes[..4].copy_from_slice(&[FrameKind::ALL[kind] as u8, 0, (length >> 8) as u8, length as u8]);
        again(&bytes);
    }

    #[test]
    fn frames_stay_what_they_are(
        bytes in vec(any::<u8>(), 0..300),
        at in any::<usize>(),
        change in any::<u8>(),
    ) {
        let frame = frames::frame(&mut frames::Input::new(&bytes));
        let mut encoded = frame.to_bytes().to_vec();
        if frame.fits() {
            prop_assert_eq!(again(&encoded), vec![frame]);
        }
        let at = at % encoded.len();
        encoded[at] ^= change;
        again(&encoded);
    }

    #[test]
    fn a_switch_survives_anything(bytes in vec(any::<u8>(), 0..3_000)) {
        operations::switch(&bytes);
    }

    #[test]
    fn a_client_survives_anything(bytes in vec(any::<u8>(), 0..2_000)) {
        operations::client(&bytes);
    }
}
