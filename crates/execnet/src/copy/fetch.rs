//! Fetches files and folders from one host into a folder of its own here.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::intake::{Intake, Reply};
use super::listing::name_of;
use super::place::Place;
use super::push::FILENAME;
use super::wire::Line;
use super::{CopyError, Observer, Options};
use crate::gateway::{Code, Gateway};
use crate::value::Container;

/// The host's half.
const SEND: &str = include_str!(concat!(env!("OUT_DIR"), "/send.py"));

/// What is fetched, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Paths on the host. A folder with a `/` at its end stands for what it contains.
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
    let here = asked.folder.join(asked.name);
    if options.delete {
        check_delete(&here)?;
    }
    let place = if options.dry { Place::only_read } else { Place::new };
    let place = place(asked.folder, asked.name)
        .map_err(|error| CopyError::Over(format!("cannot write to {}: {error}", here.display())))?;
    let names = asked.paths.iter().map(|path| {
        let name = name_of(Path::new(OsStr::from_bytes(path)));
        name.map(|name| name.as_bytes().to_vec())
    });
    let mut intake = Intake::new(place, options, names.collect::<Option<BTreeSet<_>>>(), observer);
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
