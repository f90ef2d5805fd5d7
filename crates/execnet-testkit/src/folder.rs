//! A host's own folder: its home, and the `bin` that is its whole PATH.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::interpreters::{Implementation, Interpreter};
use crate::tools::{Tools, find, quote};

/// The programs of every host besides its interpreters: the least that a POSIX login offers.
const PROGRAMS: &[&str] = &[
    "sh",
    "basename",
    "cat",
    "chmod",
    "cp",
    "cut",
    "date",
    "dd",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mv",
    "nice",
    "nohup",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setsid",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "tty",
    "uname",
    "wc",
    "yes",
];

/// The folder of one host.
#[derive(Debug)]
pub(crate) struct HostFolder {
    pub(crate) path: PathBuf,
}

impl HostFolder {
    pub(crate) fn make(path: PathBuf, tools: &Tools) -> Result<HostFolder> {
        let folder = HostFolder { path };
        for folder in [folder.path.clone(), folder.bin(), folder.home(), folder.home().join(".ssh")] {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&folder)
                .with_context(|| folder.display().to_string())?;
        }
        for name in PROGRAMS {
            if let Some(program) = find(name) {
                symlink(program, folder.bin().join(name))?;
            }
        }
        // OpenSSH takes ~/.ssh from the passwd file, not from HOME: without -F the host would use the keys of
        // the person who runs the tests
        let config = folder.home().join(".ssh/config").display().to_string();
        let ssh = format!(
            "#!/bin/sh\nexec {} -F {} \"$@\"\n",
            quote(&tools.ssh.display().to_string()),
            quote(&config)
        );
        folder.add_script("ssh", &ssh)?;
        Ok(folder)
    }

    /// The host's name.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.path.join("bin")
    }

    /// The script that each login runs.
    pub(crate) fn login(&self) -> PathBuf {
        self.path.join("login")
    }

    pub(crate) fn add_script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.bin().join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    pub(crate) fn add_program(&self, name: &str, program: &Path) -> Result<()> {
        let path = self.bin().join(name);
        let _ = fs::remove_file(&path);
        symlink(program, &path).with_context(|| path.display().to_string())
    }

    /// Puts interpreters on the PATH under the names they have on real hosts. The first CPython 3 is
    /// `python3`; CPython 2.7 is `python2`, and also `python` on a host without Python 3.
    pub(crate) fn add_interpreters(&self, interpreters: &[Interpreter]) -> Result<()> {
        let python3 = interpreters.iter().find(|interpreter| interpreter.is_cpython3());
        if let Some(python3) = python3 {
            self.add_program("python3", &python3.path)?;
        }
        for interpreter in interpreters {
            match (interpreter.implementation, interpreter.name.as_str()) {
                (Implementation::CPython, version) => {
                    self.add_program(&format!("python{version}"), &interpreter.path)?;
                    if version.starts_with("2.") {
                        self.add_program("python2", &interpreter.path)?;
                    }
                    if version.starts_with("2.") && python3.is_none() {
                        self.add_program("python", &interpreter.path)?;
                    }
                }
                (Implementation::PyPy, name) => self.add_program(name, &interpreter.path)?,
                (Implementation::Jython, name) => {
                    self.add_program(name, &interpreter.path)?;
                    if let Some(java) = find("java").and_then(|java| java.canonicalize().ok()) {
                        self.add_program("java", &java)?;
                    }
                }
            }
        }
        Ok(())
    }
}
