//! Conversations with kernels that behave, and with some that do not.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::packages::Environment;
use crate::packages::plan::Set;
use crate::packages::squeeze::BLOCK;
use crate::value::{HEAD, Reading, Value};

/// A kernel's facts.
fn facts(digest: u8) -> Value {
    let pairs = [
        ("python_version", "3.8"),
        ("python_full_version", "3.8.18"),
        ("implementation_name", "cpython"),
        ("implementation_version", "3.8.18"),
        ("platform_python_implementation", "CPython"),
        ("os_name", "posix"),
        ("sys_platform", "linux"),
        ("platform_system", "Linux"),
        ("platform_machine", "x86_64"),
        ("platform_release", "6.1.0"),
        ("platform_version", "#1 SMP"),
        ("ext_suffix", ".cpython-38-x86_64-linux-gnu.so"),
        ("cache_tag", "cpython-38"),
        ("libc", "glibc 2.36"),
        ("bits", "64"),
    ];
    let mut pairs: Vec<(Value, Value)> =
        pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    pairs.push(("digest".into(), format!("{digest:02x}").repeat(32).as_str().into()));
    Value::Dict(pairs)
}

/// What the client said, and how that is called.
#[derive(Default)]
struct Heard {
    packages: Vec<Value>,
    /// The bytes of files, in the order in which they came.
    files: Vec<u8>,
    frames: usize,
    /// Called before each frame of files.
    meanwhile: Option<Box<dyn FnMut(usize)>>,
}

impl Link for Heard {
    fn packages(&mut self, payload: Vec<u8>) -> Result<(), Trouble> {
        self.packages.push(Value::decode(&payload[HEAD..], Reading::default()).unwrap());
        Ok(())
    }

    fn files(&mut self, payload: Vec<u8>) -> Result<(), Trouble> {
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile(self.frames);
        }
        self.frames += 1;
        match payload[HEAD] {
            0 => self.files.extend_from_slice(&payload[HEAD + 1..]),
            _ => {
                let mut block = Vec::new();
                flate2::read::ZlibDecoder::new(&payload[HEAD + 1..]).read_to_end(&mut block).unwrap();
                assert!(block.len() <= BLOCK);
                self.files.extend(block);
            }
        }
        Ok(())
    }
}

impl Heard {
    /// The last words: the verb and what follows.
    fn last(&self) -> (&str, &[Value]) {
        let Some(Value::Tuple(words)) = self.packages.last() else { panic!("nothing was said") };
        (words[0].as_str().unwrap(), &words[1..])
    }

    /// The ids in the last words.
    fn ids(&self) -> Vec<String> {
        let ("sets", [Value::List(sets), ..]) = self.last() else { panic!("{:?}", self.last()) };
        let id = |set: &Value| match set {
            Value::Tuple(set) => set[0].as_str().unwrap().to_owned(),
            _ => panic!("{set:?}"),
        };
        sets.iter().map(id).collect()
    }
}

/// A supply of all files beneath this folder, one set for each folder in it.
fn supply(root: &Path) -> Supply {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let place = Place { node: None, python: vec![format!("test {}", NEXT.fetch_add(1, Ordering::Relaxed))] };
    again(root, place)
}

fn again(root: &Path, place: Place) -> Supply {
    let packages = Packages::new(Environment::new("python3"));
    let mut supply = Supply::new(packages, place, Progress::new("gw0", None, None));
    let root = root.to_owned();
    supply.planner = Box::new(move |_, _, _| Ok(plan_of(&root)));
    supply
}

fn plan_of(root: &Path) -> Plan {
    let names = |folder: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let set = |title: String| {
        let folder = root.join(&title);
        let file = |path: String| File {
            source: Source::Path { root: folder.clone(), file: path.clone().into() },
            path,
            executable: false,
        };
        Set { files: names(&folder).into_iter().map(file).collect(), title, native: false }
    };
    Plan { sets: names(root).into_iter().map(set).collect(), ..Plan::default() }
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn wants(set: usize, bits: &[u8]) -> Ask {
    Ask::Wants(vec![Wanted { set, bits: bits.to_vec() }])
}

fn refused(result: Result<(), Trouble>) -> String {
    match result {
        Err(Trouble::Protocol(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn wanted_files_are_sent_in_their_order() {
    let files = folder(&[("b/2", b"two"), ("b/1", b"one"), ("b/3", b"three"), ("a/x", b"x"), ("b/0", b"")]);
    let mut supply = supply(files.path());
    let mut heard = Heard::default();
    assert_eq!(supply.guess().unwrap().facts, "");
    supply.answer(Ask::Facts(facts(1)), &mut heard).unwrap();
    let ids = heard.ids();
    assert_eq!(ids.len(), 2);
    let waits = || Ask::Waits("gw7".into());
    supply.answer(waits(), &mut heard).unwrap();
    supply.answer(Ask::Lacks(vec![1, 0]), &mut heard).unwrap();
    supply.answer(waits(), &mut heard).unwrap();
    let ("manifests", [Value::List(manifests)]) = heard.last() else { panic!("{:?}", heard.last()) };
    for (manifest, set) in manifests.iter().zip([1, 0]) {
        let Value::Tuple(parts) = manifest else { panic!("{manifest:?}") };
        let [Value::Int(number), Value::Bytes(zlib)] = &parts[..] else { panic!("{manifest:?}") };
        assert_eq!(*number, set);
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(&zlib[..]).read_to_string(&mut text).unwrap();
        let id: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id, ids[set as usize]);
    }
    let wanted = [(1, 0b1011), (0, 1)].map(|(set, bits)| Wanted { set, bits: vec![bits] });
    supply.answer(Ask::Wants(wanted.to_vec()), &mut heard).unwrap();
    supply.answer(waits(), &mut heard).unwrap();
    assert_eq!(heard.files, b"onethreex");
    assert!(supply.may_end());
}

#[test]
fn the_next_gateway_guesses_what_the_kernel_would_ask_for() {
    let files = folder(&[("a/x", b"x")]);
    let mut first = supply(files.path());
    let mut heard = Heard::default();
    let _ = first.guess().unwrap();
    first.answer(Ask::Facts(facts(1)), &mut heard).unwrap();
    let mut second = again(files.path(), first.place.clone());
    assert_eq!(second.guess().unwrap().facts, "01".repeat(32));
    assert_eq!(second.sets[0].manifest.id, heard.ids()[0]);
    // the guess was right: it asks for nothing, or only for files
    assert!(second.may_end());
    second.answer(Ask::Lacks(vec![0]), &mut heard).unwrap();
    // or wrong
    let mut third = again(files.path(), first.place.clone());
    let _ = third.guess().unwrap();
    third.answer(Ask::Facts(facts(2)), &mut heard).unwrap();
    assert_eq!(heard.last().0, "sets");
}

#[test]
fn what_was_not_asked_for_is_a_breach() {
    let files = folder(&[("a/x", b"x"), ("b/y", b"y")]);
    let heard = &mut Heard::default();
    let fresh = || {
        let mut supply = supply(files.path());
        let _ = supply.guess().unwrap();
        supply
    };
    // nothing is known yet
    for ask in [Ask::Waits(String::new()), Ask::Lacks(vec![]), wants(0, &[1])] {
        let mut supply = fresh();
        refused(supply.answer(ask, heard));
        assert!(!supply.may_end());
    }
    let told = |heard: &mut Heard| {
        let mut supply = fresh();
        supply.answer(Ask::Facts(facts(1)), heard).unwrap();
        supply
    };
    assert!(refused(told(heard).answer(Ask::Facts(facts(2)), heard)).contains("facts where it cannot be"));
    assert!(refused(told(heard).answer(wants(0, &[1]), heard)).contains("wants where it cannot be"));
    assert!(refused(told(heard).answer(Ask::Lacks(vec![2]), heard)).contains("does not exist"));
    assert!(refused(told(heard).answer(Ask::Lacks(vec![0, 0]), heard)).contains("twice"));
    let listed = |heard: &mut Heard| {
        let mut supply = told(heard);
        supply.answer(Ask::Lacks(vec![0]), heard).unwrap();
        supply
    };
    refused(listed(heard).answer(Ask::Lacks(vec![1]), heard));
    refused(listed(heard).answer(Ask::Facts(facts(1)), heard));
    // a set whose manifest it does not have, a file that does not exist, a set twice, too few bits
    assert!(refused(listed(heard).answer(wants(1, &[1]), heard)).contains("does not exist"));
    assert!(refused(listed(heard).answer(wants(0, &[2]), heard)).contains("does not exist"));
    assert!(refused(listed(heard).answer(wants(0, &[]), heard)).contains("bits"));
    let twice = [1, 1].map(|bits| Wanted { set: 0, bits: vec![bits] });
    assert!(refused(listed(heard).answer(Ask::Wants(twice.to_vec()), heard)).contains("twice"));
    assert_eq!(heard.frames, 0);
    // everything was sent
    let mut sent = listed(heard);
    sent.answer(wants(0, &[1]), heard).unwrap();
    for ask in [wants(0, &[1]), Ask::Lacks(vec![0]), Ask::Facts(facts(1))] {
        refused(sent.answer(ask, heard));
    }
    assert_eq!(heard.files, b"x");
}

#[test]
fn a_guess_that_is_right_needs_no_facts() {
    let files = folder(&[("a/x", b"x")]);
    let heard = &mut Heard::default();
    let mut first = supply(files.path());
    let _ = first.guess().unwrap();
    first.answer(Ask::Facts(facts(1)), heard).unwrap();
    let mut second = again(files.path(), first.place.clone());
    let _ = second.guess().unwrap();
    assert!(refused(second.answer(Ask::Facts(facts(1)), heard)).contains("was told"));
}

#[test]
fn a_node_has_few_different_facts() {
    let files = folder(&[("a/x", b"x")]);
    let heard = &mut Heard::default();
    let place = supply(files.path()).place;
    for digest in [1, 2, 3, 1, 4, 2] {
        let mut supply = again(files.path(), place.clone());
        if supply.guess().unwrap().facts != format!("{digest:02x}").repeat(32) {
            supply.answer(Ask::Facts(facts(digest)), heard).unwrap();
        }
    }
    let mut fifth = again(files.path(), place);
    let _ = fifth.guess().unwrap();
    assert!(refused(fifth.answer(Ask::Facts(facts(5)), heard)).contains("4 different facts"));
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_listed_anew() {
    // of a size that ends with a block: its last block must not leave before its hash is known
    for size in [3 * BLOCK, 3 * BLOCK - 1, 3 * BLOCK + 1] {
        let (old, new) = (vec![b'a'; size], vec![b'b'; size]);
        let files = folder(&[("a/x", &old)]);
        let mut supply = supply(files.path());
        let heard = &mut Heard::default();
        let _ = supply.guess().unwrap();
        supply.answer(Ask::Facts(facts(1)), heard).unwrap();
        let before = heard.ids();
        supply.answer(Ask::Lacks(vec![0]), heard).unwrap();
        let path = files.path().join("a/x");
        let content = new.clone();
        heard.meanwhile = Some(Box::new(move |frames| {
            if frames == 0 {
                std::fs::write(&path, &content).unwrap();
            }
        }));
        supply.answer(wants(0, &[1]), heard).unwrap();
        // not all of it was sent, and then come other sets
        assert!(heard.files.len() < size, "{} of {size}", heard.files.len());
        let after = heard.ids();
        assert_ne!(before, after);
        heard.files.clear();
        supply.answer(Ask::Lacks(vec![0]), heard).unwrap();
        supply.answer(wants(0, &[1]), heard).unwrap();
        assert!(heard.files == new);
    }
}

#[test]
fn a_file_that_never_rests_is_named() {
    let files = folder(&[("a/x", b"0"), ("a/y", &[7; BLOCK])]);
    let mut supply = supply(files.path());
    let heard = &mut Heard::default();
    let _ = supply.guess().unwrap();
    supply.answer(Ask::Facts(facts(1)), heard).unwrap();
    let path = files.path().join("a/y");
    let changes = Arc::new(AtomicUsize::new(0));
    let count = changes.clone();
    heard.meanwhile = Some(Box::new(move |_| {
        let content = vec![count.fetch_add(1, Ordering::Relaxed) as u8; BLOCK];
        std::fs::write(&path, content).unwrap();
    }));
    let error = loop {
        supply.answer(Ask::Lacks(vec![0]), heard).unwrap();
        match supply.answer(wants(0, &[3]), heard) {
            Ok(()) => assert_eq!(heard.last().0, "sets"),
            Err(Trouble::Packages(error)) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(changes.load(Ordering::Relaxed), 1 + RESTARTS as usize);
    let PackagesError::File { path, reason } = error else { panic!("{error}") };
    assert_eq!((path, &*reason), (files.path().join("a/y"), "it changes while it is sent"));
}

#[test]
fn a_file_that_is_gone_or_no_file_any_more_is_not_read() {
    let files = folder(&[("a/x", b"x"), ("a/y", b"y")]);
    let secret = folder(&[("a", b"y")]);
    let mut supply = supply(files.path());
    let heard = &mut Heard::default();
    let _ = supply.guess().unwrap();
    supply.answer(Ask::Facts(facts(1)), heard).unwrap();
    supply.answer(Ask::Lacks(vec![0]), heard).unwrap();
    let path = files.path().join("a/y");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(secret.path().join("a"), &path).unwrap();
    match supply.answer(wants(0, &[2]), heard) {
        Err(Trouble::Packages(PackagesError::File { path: named, .. })) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    }
    assert_eq!(heard.files, b"");
}

#[test]
fn the_limit_counts_what_would_be_sent() {
    let sizes = [("a/1", 10), ("a/2", 200), ("a/3", 100), ("a/4", 0), ("a/5", 1), ("a/6", 2), ("a/7", 3)];
    let contents = sizes.map(|(path, size)| (path, vec![b'x'; size]));
    let files = folder(&contents.each_ref().map(|(path, content)| (*path, &content[..])));
    let listed = |heard: &mut Heard| {
        let mut supply = supply(files.path());
        assert_eq!(supply.limit, 256 << 20);
        supply.limit = 300;
        let _ = supply.guess().unwrap();
        supply.answer(Ask::Facts(facts(1)), heard).unwrap();
        supply.answer(Ask::Lacks(vec![0]), heard).unwrap();
        supply
    };
    let heard = &mut Heard::default();
    match listed(heard).answer(wants(0, &[0x7f]), heard) {
        Err(Trouble::Packages(PackagesError::TooLarge { bytes, largest })) => {
            let named = [("2", 200), ("3", 100), ("1", 10), ("7", 3), ("6", 2)];
            assert_eq!(largest, named.map(|(name, size)| (name.to_owned(), size)));
            assert_eq!(bytes, 316);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(heard.frames, 0);
    // the host has the largest one
    listed(heard).answer(wants(0, &[0x7f - 2]), heard).unwrap();
    assert_eq!(heard.files.len(), 116);
}

#[test]
fn an_interrupted_thread_reads_no_more_files() {
    let files = folder(&[("a/x", b"x")]);
    let mut supply = supply(files.path());
    let heard = &mut Heard::default();
    let _ = supply.guess().unwrap();
    Interrupt::this_thread().raise();
    let stopped = supply.answer(Ask::Facts(facts(1)), heard);
    assert!(matches!(stopped, Err(Trouble::Stopped)), "{stopped:?}");
    assert!(!Interrupt::this_thread().clear());
}

#[test]
fn a_guess_for_which_nothing_can_be_planned_is_none() {
    let files = folder(&[("a/x", b"x")]);
    let heard = &mut Heard::default();
    let place = supply(files.path()).place;
    let fits_2_only = || {
        let mut supply = again(files.path(), place.clone());
        let root = files.path().to_owned();
        supply.planner = Box::new(move |_, facts, _| match &facts.digest[..2] {
            "02" => Ok(plan_of(&root)),
            _ => Err(PackagesError::Sets("no".into())),
        });
        supply
    };
    let mut first = fits_2_only();
    let _ = first.guess().unwrap();
    let error = first.answer(Ask::Facts(facts(1)), heard);
    assert!(matches!(error, Err(Trouble::Packages(_))), "{error:?}");
    // meanwhile somebody has installed another interpreter there
    let mut second = fits_2_only();
    assert_eq!(second.guess().unwrap().facts, "");
    second.answer(Ask::Facts(facts(2)), heard).unwrap();
    assert_eq!(fits_2_only().guess().unwrap().facts, "02".repeat(32));
}
