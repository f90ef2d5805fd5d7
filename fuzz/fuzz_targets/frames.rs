//! Any bytes are frames or refused, and a frame survives encoding and decoding.
#![no_main]

use execnet_proto::wire::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    while let Ok(Some((frame, length))) = decoder.next() {
        assert!(length <= bytes.len());
        let encoded = frame.to_bytes();
        let mut again = Decoder::default();
        again.push(&encoded);
        assert_eq!(again.next(), Ok(Some((frame, encoded.len()))));
    }
});
