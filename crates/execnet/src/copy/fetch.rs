//! Fetches files and folders from one host into a folder of its own here.

use std::collections::BTreeSet;
use std::path::Path;

use super::intake::{Intake, Reply};
use super::place::Place;
use super::push::FILENAME;
use super::wire::Line;
use super::{CopyError, ListError, Observer, Options};
use crate::gateway::{Code, Gateway};
use crate::value::Container;

/// The host's half.
const SEND: &str = include_str!(concat!(env!("OUT_DIR"), "/send.py"));

/// What the host may send at the top; none for anything.
type Names = Option<BTreeSet<Vec<u8>>>;

/// What is fetched, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Paths on the host. A folder with a `/` at its end stands for what it contains, and so does `~`, or
    /// `~USER`, alone.
    pub paths: &'a [Vec<u8>],
    /// A folder here.
    pub folder: &'a Path,
    /// The name of the folder in it that everything from this host goes to.
    pub name: &'a str,
}

/// Fetches from the host of the gateway. Returns when everything is in place.
///
/// # Errors
/// As [`push`](super::push).
pub fn fetch(
    gateway: &Gateway,
    asked: Asked<'_>,
    options: Options,
    observer: &dyn Observer,
) -> Result<(), CopyError> {
    let names = names(asked.paths).map_err(|error| CopyError::Over(error.to_string()))?;
    let here = asked.folder.join(asked.name);
    if options.delete {
        check_delete(&here)?;
    }
    let place = if options.dry { Place::only_read } else { Place::new };
    let place = place(asked.folder, asked.name)
        .map_err(|error| CopyError::Over(format!("cannot write to {}: {error}", here.display())))?;
    let mut intake = Intake::new(place, options, names, observer);
    let channel = gateway.remote_exec(Code::module(SEND, FILENAME))?;
    let line = Line(&channel);
    line.send(|writer| {
        writer.begin(Container::Tuple)?;
        writer.begin(Container::List)?;
        asked.paths.iter().try_for_each(|path| writer.bytes(path))?;
        writer.end();
        writer.bool(options.dry)?;
        writer.end();
        Ok(())
    })?;
    loop {
        match intake.handle(line.load(&line.receive()?)?)? {
            Reply::Nothing => {}
            Reply::Needs(needs) => line.send(|writer| {
                writer.begin(Container::List)?;
                for (number, digest) in &needs {
                    writer.begin(Container::Tuple)?;
                    writer.int((*number).into())?;
                    match digest {
                        Some(digest) => writer.bytes(digest)?,
                        None => writer.none()?,
                    }
                    writer.end();
                }
                writer.end();
                Ok(())
            })?,
            Reply::Done => return Ok(()),
        }
    }
}

/// Whether these paths can be fetched together.
///
/// # Errors
/// [`ListError::Twice`] if two of them have the same name.
pub fn check_names(paths: &[Vec<u8>]) -> Result<(), ListError> {
    names(paths).map(drop)
}

fn names(paths: &[Vec<u8>]) -> Result<Names, ListError> {
    let (mut names, mut all_named) = (BTreeSet::new(), true);
    for path in paths {
        match path.rsplit(|byte| *byte == b'/').next().unwrap_or_default() {
            b"" | b"." | b".." => all_named = false,
            // a home folder, whose name only the host knows
            name if name.len() == path.len() && name.starts_with(b"~") => all_named = false,
            name if names.insert(name.to_vec()) => {}
            name => return Err(ListError::Twice(String::from_utf8_lossy(name).into_owned())),
        }
    }
    Ok(all_named.then_some(names))
}

/// Refuses to delete in the home folder, and above it.
fn check_delete(here: &Path) -> Result<(), CopyError> {
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    match here.canonicalize() {
        Ok(here) if here == Path::new("/") || home.is_some_and(|home| home.starts_with(&here)) => {
            Err(CopyError::Over(format!(
                "refuses to delete in {}: it is the home folder or above it",
                here.display()
            )))
        }
        // what is not there yet contains nothing
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_come_are_known_unless_only_the_host_knows_them() {
        let names = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            let names = names(&paths).map_err(|error| error.to_string())?;
            let text = |name| String::from_utf8(name).unwrap();
            Ok::<_, String>(names.map(|names| names.into_iter().map(text).collect::<Vec<_>>().join(" ")))
        };
        let only = |names: &str| Ok(Some(names.to_owned()));
        assert_eq!(names(&["a", "/b/c", "~/d", "~u/e", "f/~", "./~g"]), only("a c d e ~ ~g"));
        for content in ["", "/", "a/", ".", "a/..", "~", "~u"] {
            assert_eq!(names(&["b", content]), Ok(None), "{content}");
        }
        let twice = Err("two sources bring `a`".to_owned());
        assert_eq!((names(&["a", "b/a"]), names(&["a", "b/", "./a"])), (twice.clone(), twice));
    }
}
