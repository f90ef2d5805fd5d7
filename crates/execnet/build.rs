//! Embeds the files that are sent into a gateway's interpreter, as docs/kernel.md describes them: the stage
//! and the compressed bundle (remote/kernel); with packages, a second bundle (remote/packages) and the files
//! of the stand-in (remote/standin); for kept kernels, one of their own (remote/kept). For copies, the source
//! of each half (remote/copy).

use std::env;
use std::fs;
use std::path::Path;

#[path = "../../remote/tools/bundle.rs"]
mod bundle;

fn main() {
    let kernel = bundle::folder("kernel");
    let stage = bundle::text(&kernel, "stage.py");
    let stage: Vec<&str> = stage.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    bundle::write("stage.txt", bundle::quoted(&(stage.join("\n") + "\n")).as_bytes());
    bundle::write("kernel.bin", &bundle::bundle(&kernel));
    bundle::write("packages.bin", &bundle::records(&bundle::folder("packages")));
    bundle::write("kept.bin", &bundle::records(&bundle::folder("kept")));
    let copy = bundle::folder("copy");
    for half in ["receive", "send"] {
        let source =
            bundle::text(&copy, "common.py") + &without_import(&bundle::text(&copy, &format!("{half}.py")));
        bundle::write(&format!("{half}.py"), source.as_bytes());
    }
    let mut files = Vec::new();
    list(&bundle::folder("standin"), "", &mut files);
    files.sort();
    bundle::write("standin.rs", format!("&[{}]", files.concat()).as_bytes());
}

/// Half of a copy without what it imports from `common`, which is put in front of it.
fn without_import(source: &str) -> String {
    let (before, import) = source.split_once("from .common import (").expect("it imports what both share");
    let (_, after) = import.split_once(")\n").expect("the import ends");
    before.to_owned() + after
}

/// Lists the files in a folder as Rust source: pairs of path and content, both with our version.
fn list(folder: &Path, above: &str, files: &mut Vec<String>) {
    let version = env::var("CARGO_PKG_VERSION").expect("set by cargo");
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let name =
            entry.file_name().into_string().expect("our names are ASCII").replace("@VERSION@", &version);
        if name == "__pycache__" {
            continue;
        }
        let path = format!("{above}{name}");
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{path}/"), files);
        } else {
            let text = fs::read_to_string(entry.path()).expect("our files are text");
            let text = text.replace("@VERSION@", &version);
            files.push(format!("({path:?}, b\"{}\"),\n", text.as_bytes().escape_ascii()));
        }
    }
}
