//! The pure stand-in for execnet that travels with packages instead of execnet itself (remote/standin).

/// Its files: their paths in a folder of packages, and their content.
pub(crate) fn files() -> &'static [(&'static str, &'static [u8])] {
    FILES
}

const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/standin.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_distribution_of_our_version() {
        let version = env!("CARGO_PKG_VERSION");
        let path = format!("execnet-{version}.dist-info/METADATA");
        let (_, metadata) = files().iter().find(|(name, _)| *name == path).unwrap();
        let metadata = String::from_utf8_lossy(metadata);
        assert!(metadata.contains("\nName: execnet\n"), "{metadata}");
        assert!(metadata.contains(&format!("\nVersion: {version}\n")), "{metadata}");
        assert!(files().iter().any(|(name, _)| *name == "execnet/__init__.py"));
        assert!(!files().iter().any(|(name, _)| name.contains("__pycache__")));
    }
}
