//! Parts that a machine may lack, and whether tests may be skipped then.

use std::fmt;

use anyhow::Result;

/// A part that a test needs and this machine lacks. The text says which, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The value, or `None` with a printed line `skipped, because …` if a part is missing and may be missing.
///
/// Parts may be missing where `EXECNET_TEST_ALLOW_MISSING=1` is set, but never where `CI=true` is.
///
/// # Panics
/// With the error's text, if it is not a [`Missing`] part or if parts must not be missing.
#[track_caller]
pub fn or_skip<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is::<Missing>() && allowed() => {
            println!("skipped, because {error:#}");
            None
        }
        Err(error) if error.is::<Missing>() => {
            panic!("{error:#} (EXECNET_TEST_ALLOW_MISSING=1 skips such tests, except where CI=true)")
        }
        Err(error) => panic!("{error:#}"),
    }
}

/// Whether missing parts are skipped rather than failures.
pub(crate) fn allowed() -> bool {
    allowed_by(|name| std::env::var(name).ok())
}

fn allowed_by(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("EXECNET_TEST_ALLOW_MISSING").as_deref() == Some("1")
        && variable("CI").as_deref() != Some("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_be_missing_where_it_is_said_and_never_in_ci() {
        let with = |variables: &[(&str, &str)]| {
            allowed_by(|name| {
                variables.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(!with(&[]));
        assert!(with(&[("EXECNET_TEST_ALLOW_MISSING", "1")]));
        assert!(!with(&[("EXECNET_TEST_ALLOW_MISSING", "0")]));
        assert!(!with(&[("EXECNET_TEST_ALLOW_MISSING", "1"), ("CI", "true")]));
    }
}
