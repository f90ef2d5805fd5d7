//! The client's half of the conversation before HELLO: answers what the kernel asks (docs/kernel.md,
//! "Packages").
//!
//! The opening thread calls it. What kernels reported is remembered, so that the next gateway on the same
//! node sends its sets' names at once and is asked nothing if its host has them.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha2::{Digest, Sha256};

use super::ask::{Ask, Wanted};
use super::facts::Facts;
use super::manifest::{Entry, Manifest, Refused, order};
use super::plan::{File, Plan, Source, plan};
use super::progress::Progress;
use super::sending::{Changed, Halt, Sending, mtime};
use super::{Packages, PackagesError, Step, hashes};
use crate::value::{Container, DumpError, Writer, Writing};
use crate::waiting::Interrupt;

/// The most that is sent unless more was allowed, in bytes, and how many files the error then names.
const LIMIT: u64 = 256 << 20;
const NAMED: usize = 5;

/// How often sending may begin again because a file has changed.
const RESTARTS: u32 = 3;

/// How many different facts a node may report to this program.
const MAX_FACTS: usize = 4;

/// The mtime of files that are made here, in seconds since 1970.
const MADE: u32 = 946_684_800;

/// What kernels reported, by where they ran.
static KNOWN: LazyLock<Mutex<HashMap<Place, Known>>> = LazyLock::new(Mutex::default);

/// Where an interpreter runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The names of the network, the host and the node; none for a child of this program.
    pub(crate) node: Option<[String; 3]>,
    /// The words of the command, if it is not the node's own interpreter.
    pub(crate) python: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    last: Option<Facts>,
    /// The digests of all that were reported.
    seen: Vec<String>,
}

/// Where frames go.
pub(crate) trait Link {
    /// Sends the payload of PACKAGES, behind `HEAD` free bytes.
    fn packages(&mut self, payload: Vec<u8>) -> Result<(), Trouble>;

    /// Sends the payload of FILES, behind `HEAD` free bytes, once there is room.
    fn files(&mut self, payload: Vec<u8>) -> Result<(), Trouble>;
}

/// Why the conversation cannot continue.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The kernel broke the protocol.
    Protocol(String),
    Packages(PackagesError),
    /// The link has ended, or the thread was interrupted.
    Stopped,
}

impl From<PackagesError> for Trouble {
    fn from(error: PackagesError) -> Self {
        Self::Packages(error)
    }
}

/// See the module's documentation.
pub(crate) struct Supply {
    packages: Packages,
    planner: Planner,
    /// How many bytes may be sent.
    limit: u64,
    place: Place,
    /// The facts that the sets were made for.
    facts: Option<Facts>,
    sets: Vec<Ready>,
    isolate: bool,
    beside: Vec<String>,
    state: State,
    restarts: u32,
    progress: Progress,
}

/// Which files these packages are for these facts.
type Planner = Box<dyn Fn(&Packages, &Facts, &mut dyn FnMut(Step)) -> Result<Plan, PackagesError>>;

/// What the kernel may say next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its facts, if they are others than those that CONFIG guessed; or as with `Sets`.
    Guessed,
    /// That it waits, or which sets it lacks.
    Sets,
    /// Which files of these sets it wants.
    Manifests(Vec<usize>),
    /// Nothing more.
    Sent,
}

/// A set that can be sent.
struct Ready {
    title: String,
    native: bool,
    /// In the order of the manifest.
    files: Vec<File>,
    entries: Vec<Entry>,
    manifest: Manifest,
}

/// What CONFIG says.
pub(crate) struct Guess<'a> {
    pub(crate) facts: &'a str,
    supply: &'a Supply,
}

impl Supply {
    pub(crate) fn new(packages: Packages, place: Place, progress: Progress) -> Self {
        Self {
            limit: if packages.large { u64::MAX } else { LIMIT },
            packages,
            planner: Box::new(plan),
            place,
            facts: None,
            sets: Vec::new(),
            isolate: false,
            beside: Vec::new(),
            state: State::Guessed,
            restarts: 0,
            progress,
        }
    }

    /// Guesses what the kernel would ask for, from what the last one there has reported.
    ///
    /// # Errors
    /// When the thread is interrupted.
    pub(crate) fn guess(&mut self) -> Result<Guess<'_>, Trouble> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&self.place).cloned();
        if let Some(facts) = known.and_then(|known| known.last) {
            match self.prepare(facts) {
                // perhaps there is another interpreter now, for which they can be planned: it will tell
                Ok(()) | Err(Trouble::Packages(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let facts = self.facts.as_ref().map_or("", |facts| &facts.digest);
        Ok(Guess { facts, supply: self })
    }

    /// Answers the kernel.
    pub(crate) fn answer(&mut self, ask: Ask, link: &mut dyn Link) -> Result<(), Trouble> {
        match (ask, self.state.clone()) {
            (Ask::Facts(facts), State::Guessed) => {
                let facts = Facts::read(&facts).map_err(|error| protocol(format!("facts: {error}")))?;
                if self.facts.as_ref().is_some_and(|guess| guess.digest == facts.digest) {
                    return Err(protocol("facts that it was told"));
                }
                self.remember(&facts)?;
                self.prepare(facts)?;
                self.tell_sets(link)
            }
            (Ask::Waits(for_), state) if self.facts.is_some() => {
                // it does so for the writer of a set, but also when it has written one itself
                if state == State::Guessed {
                    self.state = State::Sets;
                }
                self.progress.step(Step::Waiting { for_ });
                Ok(())
            }
            (Ask::Lacks(lacking), State::Guessed | State::Sets) if self.facts.is_some() => {
                self.tell_manifests(lacking, link)
            }
            (Ask::Wants(wanted), State::Manifests(told)) => self.send(&wanted, &told, link),
            (ask, _) => Err(protocol(format!("{} where it cannot be", ask.verb()))),
        }
    }

    /// Whether HELLO may come now.
    pub(crate) fn may_end(&self) -> bool {
        self.facts.is_some()
    }

    /// Remembers facts for the next gateway there.
    fn remember(&self, facts: &Facts) -> Result<(), Trouble> {
        let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(self.place.clone()).or_default();
        if !known.seen.contains(&facts.digest) {
            if known.seen.len() == MAX_FACTS {
                return Err(protocol(format!("it has told {MAX_FACTS} different facts before")));
            }
            known.seen.push(facts.digest.clone());
        }
        known.last = Some(facts.clone());
        Ok(())
    }

    /// Plans the sets and makes their manifests.
    fn prepare(&mut self, facts: Facts) -> Result<(), Trouble> {
        let progress = &mut self.progress;
        progress.step(Step::Reading);
        let Plan { sets, isolate, beside, notes } =
            (self.planner)(&self.packages, &facts, &mut |step| progress.step(step))?;
        progress.notes(notes);
        progress.step(Step::Reading);
        let sets = sets.into_iter().map(|set| Ready::new(set.title, set.native, set.files));
        let sets: Result<_, Trouble> = sets.collect();
        hashes::keep();
        self.sets = sets?;
        (self.isolate, self.beside, self.facts) = (isolate, beside, Some(facts));
        Ok(())
    }

    fn tell_sets(&mut self, link: &mut dyn Link) -> Result<(), Trouble> {
        self.state = State::Sets;
        let payload = frame("sets", |writer| {
            self.write_sets(writer)?;
            writer.bool(self.isolate)?;
            self.write_beside(writer)
        });
        link.packages(payload?)
    }

    fn write_sets(&self, writer: &mut Writer) -> Result<(), DumpError> {
        writer.begin(Container::List)?;
        for set in &self.sets {
            writer.begin(Container::Tuple)?;
            writer.str(&set.manifest.id)?;
            writer.bool(set.native)?;
            writer.str(&set.title)?;
            writer.end();
        }
        writer.end();
        Ok(())
    }

    fn write_beside(&self, writer: &mut Writer) -> Result<(), DumpError> {
        writer.begin(Container::List)?;
        self.beside.iter().try_for_each(|entry| writer.str(entry))?;
        writer.end();
        Ok(())
    }

    fn tell_manifests(&mut self, lacking: Vec<usize>, link: &mut dyn Link) -> Result<(), Trouble> {
        self.progress.step(Step::Sending);
        check_sets(lacking.iter().copied(), |set| set < self.sets.len())?;
        let payload = frame("manifests", |writer| {
            writer.begin(Container::List)?;
            for &set in &lacking {
                writer.begin(Container::Tuple)?;
                writer.int(set as i64)?;
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                let zlib = encoder.write_all(self.sets[set].manifest.text.as_bytes());
                let zlib = zlib.and_then(|()| encoder.finish());
                writer.bytes(&zlib.map_err(|error| DumpError::new(error.to_string()))?)?;
                writer.end();
            }
            writer.end();
            Ok(())
        });
        self.state = State::Manifests(lacking);
        link.packages(payload?)
    }

    /// Sends the wanted files. If one has changed since it was listed, tells the kernel of other sets.
    fn send(&mut self, wanted: &[Wanted], told: &[usize], link: &mut dyn Link) -> Result<(), Trouble> {
        check_sets(wanted.iter().map(|wanted| wanted.set), |set| told.contains(&set))?;
        let mut files = Vec::new();
        for each in wanted {
            let set = &self.sets[each.set];
            let numbers = each.files(set.files.len()).map_err(Trouble::Protocol)?;
            files.extend(numbers.into_iter().map(|number| (&set.files[number], &set.entries[number])));
        }
        let bytes = files.iter().map(|(_, entry)| entry.size).sum();
        if bytes > self.limit {
            return Err(Trouble::Packages(too_large(bytes, &files)));
        }
        self.progress.begin(files.len() as u64, bytes);
        self.state = State::Sent;
        let Changed(path, reason) = match Sending::new(link, &mut self.progress).all(&files) {
            Ok(()) => return Ok(()),
            Err(Halt::Trouble(trouble)) => return Err(trouble),
            Err(Halt::Changed(changed)) => changed,
        };
        self.restarts += 1;
        if self.restarts > RESTARTS {
            return Err(Trouble::Packages(PackagesError::File { path, reason }));
        }
        if let Some(facts) = self.facts.take() {
            self.prepare(facts)?;
        }
        self.tell_sets(link)
    }
}

impl Guess<'_> {
    /// Writes the items of a dict.
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<(), DumpError> {
        writer.str("facts")?;
        writer.str(self.facts)?;
        writer.str("sets")?;
        self.supply.write_sets(writer)?;
        writer.str("isolate")?;
        writer.bool(self.supply.isolate)?;
        writer.str("beside")?;
        self.supply.write_beside(writer)
    }
}

impl Ready {
    fn new(title: String, native: bool, mut files: Vec<File>) -> Result<Self, Trouble> {
        files.sort_by(|one, other| order(&one.path, &other.path));
        let me = Interrupt::this_thread();
        let entry = |file| if me.take() { Err(Trouble::Stopped) } else { Ok(entry(file)?) };
        let entries: Vec<Entry> = files.iter().map(entry).collect::<Result<_, _>>()?;
        let manifest = Manifest::new(&entries).map_err(|Refused { path, reason }| {
            let file = files.iter().find(|file| file.path == path);
            let path = file.and_then(File::place).unwrap_or_else(|| path.into());
            Trouble::Packages(PackagesError::File { path, reason })
        })?;
        Ok(Self { title, native, files, entries, manifest })
    }
}

fn entry(file: &File) -> Result<Entry, PackagesError> {
    let (hash, size, mtime) = match &file.source {
        Source::Bytes(bytes) => (Sha256::digest(bytes).into(), bytes.len() as u64, MADE),
        Source::Path { root, file: path } => {
            let (stamp, hash) = hashes::of(root, path)
                .map_err(|error| PackagesError::File { path: root.join(path), reason: error.to_string() })?;
            (hash, stamp.size, mtime(&stamp))
        }
    };
    Ok(Entry { path: file.path.clone(), hash, size, executable: file.executable, mtime })
}

impl File {
    /// Where it is on this machine.
    fn place(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Path { root, file } => Some(root.join(file)),
            Source::Bytes(_) => None,
        }
    }
}

/// Each at most once, and only those that may be.
fn check_sets(sets: impl Iterator<Item = usize>, may: impl Fn(usize) -> bool) -> Result<(), Trouble> {
    let mut seen = std::collections::HashSet::new();
    for set in sets {
        if !may(set) {
            return Err(protocol("a set that does not exist"));
        }
        if !seen.insert(set) {
            return Err(protocol("a set twice"));
        }
    }
    Ok(())
}

fn too_large(bytes: u64, files: &[(&File, &Entry)]) -> PackagesError {
    let mut largest: Vec<(String, u64)> =
        files.iter().map(|(_, entry)| (entry.path.clone(), entry.size)).collect();
    largest.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    largest.truncate(NAMED);
    PackagesError::TooLarge { bytes, largest }
}

/// The payload of PACKAGES, behind `HEAD` free bytes.
fn frame(verb: &str, content: impl FnOnce(&mut Writer) -> Result<(), DumpError>) -> Result<Vec<u8>, Trouble> {
    let mut writer = Writer::new(Writing::default());
    let written = (|| {
        writer.begin(Container::Tuple)?;
        writer.str(verb)?;
        content(&mut writer)?;
        writer.end();
        writer.finish()
    })();
    match written {
        Ok(encoded) => Ok(encoded.bytes),
        Err(error) => {
            Err(Trouble::Packages(PackagesError::File { path: verb.into(), reason: error.to_string() }))
        }
    }
}

fn protocol(reason: impl Into<String>) -> Trouble {
    Trouble::Protocol(format!("PACKAGES: {}", reason.into()))
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
