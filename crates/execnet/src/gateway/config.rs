//! The configuration for the kernel.

use crate::packages::Packages;
use crate::packages::supply::Guess;
use crate::value::{DumpError, Writer, Writing};

/// The kernel's half of packages. It is sent only where they are used.
pub(super) const PACKAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/packages.bin"));

/// What a kernel needs to be kept. It is sent only to those.
pub(super) const KEPT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kept.bin"));

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    pub(super) execmodel: ExecModel,
    pub(super) chdir: Option<String>,
    pub(super) nice: Option<i32>,
    pub(super) env: Vec<(String, String)>,
    pub(super) dont_write_bytecode: bool,
    pub(super) silent: bool,
    pub(super) window: Option<u64>,
    /// The kernel outlives its clients.
    pub(super) kept: bool,
}

/// What of the host's packages is used.
#[derive(Clone, Debug, Default)]
pub(super) enum Wanted {
    #[default]
    Nothing,
    /// They are listed or removed.
    Visit,
    These(Packages),
}

/// What CONFIG says about packages.
pub(super) enum Bring<'a> {
    Nothing,
    Visit,
    These(Guess<'a>),
}

/// In which threads code is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExecModel {
    /// The first execution in the main thread; while that is busy, others in threads of their own.
    #[default]
    Thread,
    /// All executions in the main thread, one after the other.
    MainThreadOnly,
}

impl ExecModel {
    /// Python's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::MainThreadOnly => "main_thread_only",
        }
    }
}

impl Config {
    /// The payload of CONFIG.
    pub(super) fn encode(&self, id: &str, bring: &Bring<'_>) -> Result<Vec<u8>, DumpError> {
        let mut writer = Writer::new(Writing::default());
        writer.begin_dict()?;
        writer.str("id")?;
        writer.str(id)?;
        writer.str("execmodel")?;
        writer.str(self.execmodel.name())?;
        if let Some(folder) = &self.chdir {
            writer.str("chdir")?;
            writer.str(folder)?;
        }
        if let Some(increment) = self.nice {
            writer.str("nice")?;
            writer.int(increment.into())?;
        }
        if !self.env.is_empty() {
            writer.str("env")?;
            writer.begin_dict()?;
            for (name, value) in &self.env {
                writer.str(name)?;
                writer.str(value)?;
            }
            writer.end();
        }
        if self.dont_write_bytecode {
            writer.str("dont_write_bytecode")?;
            writer.bool(true)?;
        }
        if self.silent {
            writer.str("silent")?;
            writer.bool(true)?;
        }
        if let Some(window) = self.window {
            writer.str("window")?;
            writer.int(window as i64)?;
        }
        if self.kept {
            writer.str("kept")?;
            writer.bytes(KEPT)?;
        }
        bring.write(&mut writer)?;
        writer.end();
        Ok(writer.finish()?.as_bytes().to_vec())
    }
}

impl Bring<'_> {
    fn write(&self, writer: &mut Writer) -> Result<(), DumpError> {
        if matches!(self, Self::Nothing) {
            return Ok(());
        }
        writer.str("packages")?;
        writer.begin_dict()?;
        writer.str("bundle")?;
        writer.bytes(PACKAGES)?;
        match self {
            Self::These(guess) => guess.write(writer)?,
            _ => {
                writer.str("visit")?;
                writer.bool(true)?;
            }
        }
        writer.end();
        Ok(())
    }
}
