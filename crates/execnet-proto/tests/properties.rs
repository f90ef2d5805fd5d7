//! Properties that hold for any bytes: of frames, of a switch and a client that receive them, and of texts.
//! fuzz/ tries them on many more; its corpus is tried here, too.
#![expect(clippy::disallowed_methods, reason = "the corpus is in files")]

#[path = "common/frames.rs"]
mod frames;
#[path = "common/operations.rs"]
mod operations;
#[path = "common/texts.rs"]
mod texts;

use execnet_proto::wire::FrameKind;
use frames::again;
use proptest::collection::vec;
use proptest::prelude::*;

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

    #[test]
    fn any_text_is_a_spec_or_refused(text in "[a-z0-9=/\\\\:@<>.,~*\n -]{0,60}|.{0,60}") {
        texts::specs(text.as_bytes());
    }

    #[test]
    fn any_text_is_a_set_or_refused(text in "[ab019\\[\\]/,!&^@ .:-]{0,24}|.{0,40}") {
        texts::sets(text.as_bytes());
    }

    #[test]
    fn any_text_is_shown_safely(text in ".{0,60}", bytes in vec(any::<u8>(), 0..60)) {
        texts::shown(text.as_bytes());
        texts::shown(&bytes);
    }
}

/// What a target of fuzz/ does.
type Target = fn(&[u8]);

#[test]
fn the_corpus_holds() {
    let targets: [(&str, Target); 6] = [
        ("frames", |bytes| drop(again(bytes))),
        ("switch", operations::switch),
        ("client", operations::client),
        ("specs", texts::specs),
        ("sets", texts::sets),
        ("shown", texts::shown),
    ];
    for (name, target) in targets {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/").to_owned() + name;
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{folder} is empty");
    }
}
