// Compares a bundle that the build made with the one of bundle.py, with which the tests of remote/ run. The
// tests of the crates that send a bundle include this file.

use std::io::Read;
use std::process::Command;

use flate2::read::ZlibDecoder;

/// Panics unless `bundle` has the records of `folder` (`AGENT`, `KERNEL` and the like) as bundle.py makes
/// them.
pub(crate) fn assert_as_reference(bundle: &[u8], folder: &str) {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remote/tools");
    let code = format!(
        "import sys; sys.path.insert(0, {tools:?}); sys.dont_write_bytecode = True; import bundle; \
         sys.stdout.buffer.write(bundle.records(folder=bundle.{folder}))"
    );
    let output = Command::new("python3").args(["-c", &code]).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut records = Vec::new();
    ZlibDecoder::new(&bundle[8..]).read_to_end(&mut records).expect("zlib data");
    assert!(records == output.stdout, "the build's records of {folder} differ from those of bundle.py");
}
