//! Why packages could not be planned or sent.

use std::path::{Path, PathBuf};

use execnet_proto::text::{line, lines};

/// Why a gateway's packages could not be planned or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackagesError {
    /// The text is no item.
    #[error("`{}` cannot be packages: {reason}", line(.item))]
    Item {
        /// The text.
        item: String,
        /// Why not.
        reason: String,
    },
    /// The environment's interpreter could not be asked.
    #[error("cannot ask `{}` what is installed: {}", line(.python), lines(.reason))]
    Environment {
        /// The interpreter.
        python: String,
        /// Why not, or what it printed.
        reason: String,
    },
    /// The environment's interpreter is none that could be asked.
    #[error("`{}` {}", line(.python), line(.reason))]
    Interpreter {
        /// The interpreter.
        python: String,
        /// What it is instead, as the end of a sentence.
        reason: String,
    },
    /// An item, or something that it requires, is missing here, or fits the other interpreter in no version.
    #[error("{}{}", lines(.reason), .hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Unfit {
        /// The distribution, or the path.
        item: String,
        /// What is wrong with it.
        reason: String,
        /// What helps.
        hint: Option<String>,
    },
    /// A file cannot be sent.
    #[error("cannot send {}: {reason}", shown(.path))]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The files cannot be listed for the other interpreter.
    #[error("cannot list the files of packages: {0}")]
    Sets(String),
    /// What was found for the other interpreter cannot be kept.
    #[error("cannot keep packages in {}: {reason} (XDG_CACHE_HOME names another folder)", shown(.path))]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// More than 256 MiB would be sent.
    #[error("{}", too_large(*.bytes, .largest))]
    TooLarge {
        /// How many bytes.
        bytes: u64,
        /// The largest files, and their sizes in bytes.
        largest: Vec<(String, u64)>,
    },
    /// The same, and which gateway it was for.
    #[error("gateway {gateway}{}: {source}", on(.host.as_deref()))]
    For {
        /// The gateway's id.
        gateway: String,
        /// The id of its host; none for a child of this program.
        host: Option<String>,
        /// What is wrong.
        source: Box<PackagesError>,
    },
}

fn shown(path: &Path) -> String {
    line(&path.display().to_string()).to_string()
}

fn on(host: Option<&str>) -> String {
    host.map(|host| format!(" on host `{}`", line(host))).unwrap_or_default()
}

fn too_large(bytes: u64, largest: &[(String, u64)]) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let files: Vec<String> =
        largest.iter().map(|(name, size)| format!("{} ({} MiB)", line(name), mib(*size))).collect();
    format!(
        "{} MiB of packages would be sent, more than 256; the largest files: {}",
        mib(bytes),
        files.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_they_are_about() {
        let error = PackagesError::TooLarge {
            bytes: (256 << 20) + 1,
            largest: vec![("torch/lib/\u{1b}[0m.so".into(), 200 << 20), ("b".into(), 1)],
        };
        let error = PackagesError::For {
            gateway: "gw0".into(),
            host: Some("build1".into()),
            source: Box::new(error),
        };
        let text = "gateway gw0 on host `build1`: 257 MiB of packages would be sent, more than 256; the \
                    largest files: torch/lib/\\x1b[0m.so (200 MiB), b (1 MiB)";
        assert_eq!(error.to_string(), text);
    }
}
