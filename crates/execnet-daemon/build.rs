//! Embeds what is sent to hosts (remote/agent): the script, stage 1 and the compressed bundle, as docs/bootstrap.md has them.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

fn main() {
    let agent =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("../../remote/agent");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    println!("cargo:rerun-if-changed={}", agent.display());

    let boot = text(&agent, "boot.py").trim().to_owned();
    let script = script(&text(&agent, "boot.sh"), &boot);
    let write = |name: &str, bytes: &[u8]| fs::write(out.join(name), bytes).expect("OUT_DIR is writable");
    write("boot.txt", boot.as_bytes());
    write("script.txt", script.as_bytes());
    write("stage1.txt", stage1(&text(&agent, "stage1.py")).as_bytes());
    write("bundle.bin", &bundle(&agent));
}

fn text(agent: &Path, name: &str) -> String {
    let path = agent.join(name);
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// One line of POSIX sh that may stand between single quotes in any login shell.
fn script(source: &str, boot: &str) -> String {
    let lines: Vec<&str> =
        source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let script = lines.join(" ").replace("@BOOT@", boot);
    assert!(!script.contains(['\'', '!', '\n', '\\']), "boot.sh cannot be quoted for every shell");
    assert!(script.contains("@CANDIDATES@"), "boot.sh has no place for the candidates");
    script
}

/// One line of Python that executes the source.
fn stage1(source: &str) -> String {
    let lines: Vec<&str> = source.lines().filter(|line| !line.starts_with('#')).collect();
    let text = lines.join("\n") + "\n";
    format!("exec(\"{}\")\n", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The modules in ORDER as records of `NAME SIZE\n` and source, compressed, behind their length.
fn bundle(agent: &Path) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    for module in text(agent, "ORDER").split_whitespace() {
        let file =
            module.split_once('.').map_or_else(|| "__init__.py".to_owned(), |(_, name)| format!("{name}.py"));
        let source = text(agent, &file);
        write!(encoder, "{module} {}\n{source}", source.len()).expect("a Vec takes everything");
    }
    let data = encoder.finish().expect("a Vec takes everything");
    let mut bundle = format!("{:08}", data.len()).into_bytes();
    bundle.extend_from_slice(&data);
    bundle
}
