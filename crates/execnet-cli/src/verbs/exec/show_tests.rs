use execnet::value::{Reader, Reading, Writer, Writing};
use proptest::prelude::*;

use super::*;

fn bytes(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(Writing::default());
    write(&mut writer);
    writer.finish().unwrap().as_bytes().to_vec()
}
