//! Closes memory that holds secrets: the daemon's, and the command's while it asks for a password or passes
//! one on.

/// Closes this process's memory: it leaves no core dump, and on Linux only root's programs can look into it.
/// Child processes are not affected. On other systems children inherit the soft limit of core dumps, so use
/// it there only in processes that start nothing.
pub fn close_memory() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // ends with exec, so that started programs keep the user's own limit
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Core);
        limit.current = Some(0);
        let _ = setrlimit(Resource::Core, limit);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn closed_memory_is_not_dumped_and_what_is_started_is_as_ever() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        super::close_memory();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = |how: &str| {
            let said = std::process::Command::new("sh").args(["-c", how]).output().unwrap();
            String::from_utf8(said.stdout).unwrap()
        };
        let before = rustix::process::getrlimit(rustix::process::Resource::Core).current;
        let shown = before.map_or("unlimited".into(), |bytes| (bytes / 512).to_string());
        assert_eq!(limit("ulimit -Sc").trim(), shown);
    }
}
