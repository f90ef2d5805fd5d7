//! Console scripts, as programs that find their interpreter on the host: `bin/NAME`.

use super::folder::is_identifier;
use super::plan::{File, Source};

/// The file of a script, or None if its entry point is none.
///
/// A shell executes its second line; to Python that is the start of a text. The kernel sets
/// `EXECNET_PYTHON`, because a line `#!` has no room for what is not known yet.
pub(super) fn script(name: &str, entry: &str) -> Option<File> {
    let is_path = |text: &str| text.split('.').all(is_identifier);
    let (module, object) = entry.split_once(':')?;
    let (module, object) = (module.trim(), object.trim());
    let odd = |char: char| char == '/' || char.is_whitespace() || char.is_control();
    if name.is_empty() || name.starts_with('.') || name.contains(odd) || !is_path(module) || !is_path(object)
    {
        return None;
    }
    let first = object.split('.').next()?;
    let text = format!(
        "#!/bin/sh\n\
         '''exec' \"${{EXECNET_PYTHON:-python3}}\" \"$0\" \"$@\"\n\
         ' '''\n\
         import sys\n\
         from {module} import {first}\n\
         if __name__ == \"__main__\":\n    sys.exit({object}())\n"
    );
    let source = Source::Bytes(text.into_bytes().into());
    Some(File { path: format!("bin/{name}"), source, executable: true })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_script_runs_in_the_interpreter_that_the_kernel_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = script("tool", "json.decoder:JSONDecoder.__name__.upper").unwrap();
        let Source::Bytes(bytes) = &file.source else { panic!("{file:?}") };
        assert!(file.executable && file.path == "bin/tool");
        let path = folder.path().join("tool");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // sys.exit prints a text and ends with 1
        for python in ["python3", "/bin/false"] {
            let ran = Command::new(&path).env("EXECNET_PYTHON", python).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
            assert_eq!(said, if python == "python3" { "JSONDECODER" } else { "" });
            assert_eq!(ran.status.code(), Some(1));
        }
    }

    #[test]
    fn entry_points_that_are_no_objects_make_no_scripts() {
        for (name, entry) in [
            ("x", "module"),
            ("x", "module:f()"),
            ("x", "module;import os:f"),
            ("x", ":f"),
            ("../x", "module:f"),
            ("", "module:f"),
            ("x y", "module:f"),
        ] {
            assert!(script(name, entry).is_none(), "{name} = {entry}");
        }
    }
}
