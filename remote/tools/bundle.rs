// Builds what is sent to hosts and interpreters (docs/bootstrap.md, docs/kernel.md). The build scripts of the
// crates that send it include this file.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// A folder of `remote`, whose changes cause another build.
pub(crate) fn folder(name: &str) -> PathBuf {
    let crate_folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let folder = crate_folder.join("../../remote").join(name);
    println!("cargo:rerun-if-changed={}", folder.display());
    folder
}

/// Writes a file for `include_bytes!` and its like.
pub(crate) fn write(name: &str, bytes: &[u8]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join(name), bytes).expect("OUT_DIR is writable");
}

/// The text of a file.
pub(crate) fn text(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Python source as one string in one line.
pub(crate) fn quoted(source: &str) -> String {
    format!("\"{}\"", source.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The modules in ORDER, compressed, behind their length.
pub(crate) fn bundle(folder: &Path) -> Vec<u8> {
    let data = records(folder);
    let mut bundle = format!("{:08}", data.len()).into_bytes();
    bundle.extend_from_slice(&data);
    bundle
}

/// The modules in ORDER as records of `NAME SIZE\n` and squeezed source, compressed.
pub(crate) fn records(folder: &Path) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for module in text(folder, "ORDER").split_whitespace() {
        let file =
            module.split_once('.').map_or_else(|| "__init__.py".to_owned(), |(_, name)| format!("{name}.py"));
        let source = squeeze(&text(folder, &file));
        write!(encoder, "{module} {}\n{source}", source.len()).expect("a Vec takes everything");
    }
    encoder.finish().expect("a Vec takes everything")
}

/// The same code on the same lines, without comment lines and docstrings, which only readers of the source
/// need. As `squeeze` in `bundle.py`; a test compares what the two make.
fn squeeze(source: &str) -> String {
    let mut inside = false;
    let lines = source.split('\n').map(|line| {
        let word = line.trim();
        if !inside && !word.starts_with("\"\"\"") {
            return if word.starts_with('#') { String::new() } else { line.to_owned() };
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        // a body needs a statement
        let squeezed = if inside || indent.is_empty() { String::new() } else { format!("{indent}0") };
        inside = !(word.ends_with("\"\"\"") && (inside || word.len() > 3));
        squeezed
    });
    lines.collect::<Vec<_>>().join("\n")
}
