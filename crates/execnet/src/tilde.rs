//! Expands `~` and `~user` at the beginning of a program's path on this machine, as a shell does.

/// The expanded path. An unknown user stays, so that the error names it when the program is not found.
pub(crate) fn expanded(path: &str) -> String {
    let Some(rest) = path.strip_prefix('~') else { return path.to_owned() };
    let (user, rest) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let home = match user {
        "" => std::env::var("HOME").ok().filter(|home| !home.is_empty()),
        user => std::fs::read_to_string("/etc/passwd").ok().and_then(|accounts| home_of(user, &accounts)),
    };
    home.map_or_else(|| path.to_owned(), |home| format!("{}{rest}", home.trim_end_matches('/')))
}

fn home_of(user: &str, accounts: &str) -> Option<String> {
    let line = accounts.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).filter(|home| !home.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_home_only_at_the_beginning() {
        let home = std::env::var("HOME").unwrap();
        assert_eq!(expanded("~/venv/bin/python"), format!("{}/venv/bin/python", home.trim_end_matches('/')));
        for same in ["python3", "/a/~/b", "./~/b", "~no-such-account/x", ""] {
            assert_eq!(expanded(same), same);
        }
        let accounts = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(home_of("ann", accounts).as_deref(), Some("/home/ann"));
        assert_eq!(home_of("an", accounts), None);
    }
}
