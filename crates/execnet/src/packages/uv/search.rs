//! The search for what fits together: uv says what is in the way, and something is handed over or left out.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::thread;

use pep508_rs::{MarkerTree, Requirement, VerbatimUrl};

use super::super::PackagesError;
use super::super::closure::chained;
use super::super::environment::normalized;
use super::super::fit::is_pure;
use super::cache::Draft;
use super::command::{Failed, Uv};
use super::platform::{self, Target};
use super::{Exact, Pin, Wanted, mentions, wheel};

/// Has uv unpack what is wanted, and returns what is left out.
pub(super) fn search(
    wanted: &Wanted<'_>,
    uv: Uv,
    target: Target,
    draft: &Draft,
) -> Result<Vec<String>, PackagesError> {
    let mut search = Search {
        wanted,
        uv,
        target,
        draft,
        made: BTreeMap::new(),
        listed: false,
        chosen: BTreeMap::new(),
        via: BTreeMap::new(),
        private: BTreeSet::new(),
        left_out: BTreeSet::new(),
    };
    search.hand_over()?;
    if target.is_pure() {
        search.look_ahead()?;
    }
    let found = match search.run(Exact::Yes) {
        Err(Stop::NoSolution(_)) => search.run(Exact::No),
        found => found,
    };
    match found {
        Ok(()) => Ok(search.left_out.into_iter().collect()),
        Err(Stop::NoSolution(text)) => {
            let text = text.clone() + &search.requirers(&text);
            Err(wanted.error(Failed::NoSolution(text)))
        }
        Err(Stop::Error(error)) => Err(error),
    }
}

enum Stop {
    /// uv's explanation.
    NoSolution(String),
    Error(PackagesError),
}

struct Search<'s> {
    wanted: &'s Wanted<'s>,
    uv: Uv,
    target: Target,
    draft: &'s Draft,
    /// Normalized names of those that are handed over as wheels, and where these are.
    made: BTreeMap<String, String>,
    /// The last failure came after uv had listed all for all interpreters: a wheel is not pure.
    listed: bool,
    /// Versions of those of which another one would have been taken.
    chosen: BTreeMap<String, String>,
    /// Who requires what, if uv has said so.
    via: BTreeMap<String, BTreeSet<String>>,
    /// Normalized names of those that no index is asked for.
    private: BTreeSet<String>,
    /// Normalized names of those that fit nowhere, and that nothing named needs.
    left_out: BTreeSet<String>,
}

impl Search<'_> {
    /// What came from a repository, a folder or a file is handed over if it fits. If not, it is left out,
    /// with all that require it.
    fn hand_over(&mut self) -> Result<(), PackagesError> {
        let (wanted, title) = (self.wanted, self.wanted.there.title());
        for pin in wanted.pins.iter().filter(|pin| pin.distribution.direct) {
            if self.can_take(pin) {
                self.make(pin)?;
            } else if pin.named {
                let name = &pin.distribution.name;
                return Err(PackagesError::Unfit {
                    item: name.clone(),
                    reason: format!(
                        "`{name}` does not fit {title} as it is, and did not come from an index{}",
                        pin.required
                    ),
                    hint: Some("give the folder of its sources in its place, or leave it out".to_owned()),
                });
            } else {
                self.private.insert(pin.name());
            }
        }
        for name in self.private.clone() {
            self.left_out.insert(name.clone());
            self.leave_with(vec![name]);
        }
        Ok(())
    }

    /// Where only pure wheels are taken, most extension modules are in the way, and uv names one at a time.
    /// So each is looked for by itself first, several at once.
    fn look_ahead(&mut self) -> Result<(), PackagesError> {
        const AT_ONCE: usize = 4;
        let wanted = self.wanted;
        let pins = wanted.pins.iter().filter(|pin| !pin.distribution.direct && !is_pure(pin.distribution));
        let pins: Vec<&Pin<'_>> = pins.collect();
        for some in pins.chunks(AT_ONCE) {
            let this = &*self;
            let versions: Vec<_> = thread::scope(|scope| {
                let each = some.iter().map(|pin| scope.spawn(|| this.version(pin, Exact::No)));
                let each: Vec<_> = each.collect();
                each.into_iter().map(|one| one.join().unwrap_or(Ok(None))).collect()
            });
            for (pin, version) in some.iter().zip(versions) {
                if version?.is_none() {
                    self.leave_out(pin);
                }
            }
        }
        Ok(())
    }

    /// Makes a wheel of installed files; false if it may not be one.
    fn make(&mut self, pin: &Pin<'_>) -> Result<bool, PackagesError> {
        let Some(files) = pin.fits.filter(|_| self.can_take(pin)) else { return Ok(false) };
        let folder = self.draft.wheels();
        let path = wheel::make(pin.distribution, files, &folder);
        let path = path.map_err(|error| self.draft.error(&folder, &error))?;
        Ok(self.made.insert(pin.name(), url(&path)).is_none())
    }

    /// Whether uv takes it as it is.
    fn can_take(&self, pin: &Pin<'_>) -> bool {
        pin.fits.is_some() && (!self.target.is_pure() || is_pure(pin.distribution))
    }

    /// Runs uv until all that can be found is found.
    fn run(&mut self, exact: Exact) -> Result<(), Stop> {
        loop {
            let text = match self.once(exact) {
                Ok(()) => return Ok(()),
                Err(Failed::NoSolution(text)) => text,
                Err(failed) => return Err(Stop::Error(self.wanted.error(failed))),
            };
            if !self.change(&text, exact).map_err(Stop::Error)? {
                return Err(Stop::NoSolution(text));
            }
        }
    }

    fn once(&mut self, exact: Exact) -> Result<(), Failed> {
        self.listed = false;
        let draft = self.draft;
        let write = |name: &str, lines: Vec<String>| draft.write(name, &lines);
        let pins = || self.wanted.pins.iter().filter(|pin| !self.made.contains_key(&pin.name()));
        let is_out = |pin: &&Pin<'_>| self.left_out.contains(&pin.name());
        let tops = pins().filter(|pin| pin.top && !is_out(pin)).map(|pin| self.text(pin, exact, true));
        let made = self.wanted.pins.iter().filter_map(|pin| {
            let url = self.made.get(&pin.name())?;
            Some(format!("{} @ {url}", pin.start(true)))
        });
        let more = self.wanted.more.iter().cloned();
        let wanted = write("wanted.txt", tops.chain(made).chain(more).collect())?;
        // what is left out may come by way of another, but no newer one
        let limits = pins().filter(|pin| !pin.top || is_out(pin)).map(|pin| self.text(pin, exact, false));
        let limits = write("limits.txt", limits.collect())?;
        let excludes: Vec<String> = self.wanted.excludes.union(&self.private).cloned().collect();
        let excludes = write("excludes.txt", excludes)?;
        if self.target.is_pure() {
            // uv has no word for this interpreter: it resolves for all, and we evaluate the markers
            let args = ["pip", "compile", "--quiet", "--universal", "--no-header"];
            let mut command = self.command(&args);
            command.args(["--annotation-style", "line"]);
            command.arg("--constraints").arg(limits).arg("--excludes").arg(excludes).arg(wanted);
            let printed = self.uv.run(command)?;
            let list = self.list(&printed);
            self.listed = true;
            let list = draft.write("list.txt", &list)?;
            let mut command = self.command(&["pip", "install", "--no-deps"]);
            command
                .arg("--target")
                .arg(draft.packages())
                .args(["--link-mode", "copy"])
                .arg("--requirements")
                .arg(list);
            command.args(self.target.words());
            return self.uv.run(command).map(drop);
        }
        let mut command = self.command(&["pip", "install"]);
        command.arg("--target").arg(draft.packages()).args(["--link-mode", "copy"]);
        command.arg("--constraints").arg(limits).arg("--excludes").arg(excludes);
        command.arg("--requirements").arg(wanted).args(self.target.words());
        self.uv.run(command).map(drop)
    }

    fn text(&self, pin: &Pin<'_>, exact: Exact, with_extras: bool) -> String {
        match self.chosen.get(&pin.name()) {
            Some(version) => format!("{}=={version}", pin.start(with_extras)),
            None => pin.text(exact, with_extras),
        }
    }

    /// What all of uv's commands have in common.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.uv.command(args);
        command.args(["--python", &self.wanted.here.executable, "--only-binary", ":all:"]);
        command.args(["--python-version", &platform::version(self.wanted.there)]);
        command.envs(self.target.variables(self.wanted.there));
        command
    }

    /// Of a list for all interpreters, what this one needs. Keeps who requires it.
    fn list(&mut self, printed: &str) -> Vec<String> {
        let Some(markers) = self.wanted.there.markers() else { return Vec::new() };
        let mut list = Vec::new();
        self.via.clear();
        for line in printed.lines() {
            let (text, via) = line.split_once("  # via ").unwrap_or((line, ""));
            let Ok(mut requirement) = Requirement::<VerbatimUrl>::from_str(text.trim()) else { continue };
            if requirement.evaluate_markers(&markers, &[]) {
                requirement.marker = MarkerTree::TRUE;
                list.push(requirement.to_string());
                let via = via.split(", ").map(normalized);
                self.via.entry(requirement.name.to_string()).or_default().extend(via);
            }
        }
        list
    }

    /// Who requires what uv's explanation is about, if that is not installed here.
    fn requirers(&self, text: &str) -> String {
        let is_here = |name: &str| self.wanted.pins.iter().any(|pin| pin.name() == name);
        let in_way = self.via.keys().find(|name| mentions(text, name) && !is_here(name));
        let mut chain: Vec<&String> = in_way.filter(|_| self.listed).into_iter().collect();
        while let Some(by) = chain.last().and_then(|name| {
            let mut by = self.via.get(*name)?.iter();
            by.find(|by| self.via.contains_key(*by) && !chain.contains(by))
        }) {
            chain.push(by);
        }
        match chain.len() {
            0 | 1 => String::new(),
            _ => format!(" ({})", chained(chain.iter().rev().map(|name| name.as_str()))),
        }
    }

    /// After a failure: hands over what is pure as it is, and leaves out what fits nowhere and nothing named
    /// needs. False if there is nothing to change.
    fn change(&mut self, text: &str, exact: Exact) -> Result<bool, PackagesError> {
        let wanted = self.wanted;
        let mut changed = false;
        let mentioned = |pin: &&Pin<'_>| mentions(text, &pin.name());
        let known = |pin: &&Pin<'_>, search: &Self| {
            search.made.contains_key(&pin.name()) || search.left_out.contains(&pin.name())
        };
        for pin in wanted.pins.iter().filter(mentioned) {
            let droppable = exact == Exact::No && !pin.named;
            let choosable = exact == Exact::No && self.listed;
            if known(&pin, self) || (!self.can_take(pin) && !droppable && !choosable) {
                continue;
            }
            if droppable && !self.listed && self.chosen.remove(&pin.name()).is_some() {
                // the others do not go with the pure version
                changed |= self.leave_out(pin);
                continue;
            }
            changed |= match self.version(pin, exact)? {
                // which of all versions is pure, was not known when one was chosen
                Some(version) => choosable && self.chosen.insert(pin.name(), version).is_none(),
                None => self.make(pin)? || (droppable && self.leave_out(pin)),
            };
        }
        if changed || exact == Exact::Yes {
            return Ok(changed);
        }
        // what is left out is still required: by those that leave with it, in their versions here at least
        let gone = |pin: &&Pin<'_>| self.left_out.contains(&pin.name()) && mentions(text, &pin.name());
        let gone: Vec<String> = wanted.pins.iter().filter(gone).map(Pin::name).collect();
        Ok(self.leave_with(gone))
    }

    /// Leaves out those that nothing named needs and that require one of these, and so on.
    fn leave_with(&mut self, mut gone: Vec<String>) -> bool {
        let (wanted, mut seen, mut changed) = (self.wanted, BTreeSet::new(), false);
        while let Some(name) = gone.pop() {
            for pin in wanted.pins.iter().filter(|pin| !pin.named) {
                let via = self.via.get(&name).is_some_and(|via| via.contains(&pin.name()));
                if (via || pin.requires(&name, wanted.there)) && seen.insert(pin.name()) {
                    changed |= self.leave_out(pin);
                    gone.push(pin.name());
                }
            }
        }
        changed
    }

    fn leave_out(&mut self, pin: &Pin<'_>) -> bool {
        !pin.named && self.left_out.insert(pin.name())
    }

    /// The version of which there is a wheel, whatever else it needs.
    fn version(&self, pin: &Pin<'_>, exact: Exact) -> Result<Option<String>, PackagesError> {
        let name = format!("one-{}.txt", pin.name().replace('/', "-"));
        let file = self.draft.write(&name, &[pin.text(exact, false)]);
        let file = file.map_err(|failed| self.wanted.error(failed))?;
        let mut command = self.command(&["pip", "install", "--dry-run", "--no-deps"]);
        command.arg("--target").arg(self.draft.packages()).arg("--requirements").arg(file);
        command.args(self.target.words());
        match self.uv.run(command) {
            Ok(printed) => {
                let start = format!(" + {}==", pin.name());
                let mut lines = printed.lines().filter_map(|line| line.strip_prefix(&start));
                Ok(Some(lines.next().unwrap_or_default().trim().to_owned()))
            }
            Err(Failed::NoSolution(_)) => Ok(None),
            Err(failed) => Err(self.wanted.error(failed)),
        }
    }
}

/// An absolute path as a URL.
fn url(path: &Path) -> String {
    let mut url = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(byte.into());
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}
