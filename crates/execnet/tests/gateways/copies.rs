//! Copies to and from real interpreters.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use execnet::copy::{Act, Asked, Blocks, CopyError, Listing, Observer, Options, Quiet, fetch, push};
use execnet::{Code, Gateway, GatewayBuilder};
use execnet_testkit::require;

use crate::support::{open, path, pythons, quiet};

/// What a copy has told.
#[derive(Default)]
pub(crate) struct Heard {
    total: AtomicU64,
    settled: AtomicU64,
    moved: AtomicU64,
    lines: Mutex<Vec<String>>,
}

impl Heard {
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.lines.lock().unwrap());
        lines.sort();
        lines
    }

    /// Bytes in all, found there, and copied.
    fn bytes(&self) -> (u64, u64, u64) {
        let [total, settled, moved] =
            [&self.total, &self.settled, &self.moved].map(|count| count.load(Ordering::SeqCst));
        (total, settled, moved)
    }
}

impl Observer for Heard {
    fn total(&self, _files: u64, bytes: u64) {
        self.total.store(bytes, Ordering::SeqCst);
    }

    fn settled(&self, bytes: u64) {
        self.settled.fetch_add(bytes, Ordering::SeqCst);
    }

    fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::SeqCst);
    }

    fn act(&self, act: Act, path: &[u8]) {
        let name = Path::new(OsStr::from_bytes(path)).file_name().unwrap().to_string_lossy().into_owned();
        self.lines.lock().unwrap().push(format!("{} {name}", act.name()));
    }

    fn deletes_nothing(&self) {
        self.lines.lock().unwrap().push("nothing is deleted".to_owned());
    }

    fn failed(&self, path: &[u8], why: &str) {
        let name = Path::new(OsStr::from_bytes(path)).file_name().unwrap().to_string_lossy().into_owned();
        self.lines.lock().unwrap().push(format!("{name}: {why}"));
    }
}

/// A folder with everything that can be copied. Names of bytes that are not UTF-8 only with `odd`.
fn source(odd: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("sub/deep/deeper")).unwrap();
    fs::create_dir_all(at("many")).unwrap();
    fs::create_dir_all(at("empty")).unwrap();
    fs::write(at("sub/file"), "text").unwrap();
    fs::write(at("sub/deep/nothing"), "").unwrap();
    fs::write(at("sub/deep/deeper/ünïcode ☃ 😀"), "snow").unwrap();
    // more than one piece, and no multiple of its size
    fs::write(at("large"), (0..3_000_001_u32).map(|n| (n / 7) as u8).collect::<Vec<_>>()).unwrap();
    for n in 0..600 {
        fs::write(at(&format!("many/{n:03}")), format!("{n}")).unwrap();
    }
    symlink("sub/file", at("link")).unwrap();
    symlink("../..", at("sub/deep/up")).unwrap();
    symlink("nowhere", at("sub/dangling")).unwrap();
    for (name, mode) in [("sub/file", 0o640), ("large", 0o755), ("many/001", 0o400), ("empty", 0o750)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    if odd {
        fs::write(folder.path().join(OsStr::from_bytes(b"odd\xff\n")), "odd").unwrap();
    }
    // as old as files are, with a fraction that a float of seconds cannot hold
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_763_873_000, 146_635_599);
    for name in ["sub/file", "large", "many/599"] {
        fs::File::open(at(name)).unwrap().set_modified(time).unwrap();
    }
    folder
}

/// Every path below, with mode, content or target, and its time in ns.
fn tree(folder: &Path) -> Vec<(String, i64)> {
    let (mut all, mut below) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = below.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(folder).unwrap();
        let time = about.mtime() * 1_000_000_000 + about.mtime_nsec();
        if about.is_symlink() {
            all.push((format!("{name:?} -> {:?}", fs::read_link(&path).unwrap()), 0));
        } else if about.is_dir() {
            all.push((format!("{name:?} {:o}", about.mode()), time));
            below.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let sum = fs::read(&path)
                .unwrap()
                .iter()
                .fold(0_u64, |sum, byte| sum * 31 % 1_000_007 + u64::from(*byte));
            all.push((format!("{name:?} {:o} {} {sum}", about.mode(), about.len()), time));
        }
    }
    all.sort();
    all
}

/// Two trees are equal, their times up to `grain` ns.
#[track_caller]
fn assert_alike(one: &[(String, i64)], other: &[(String, i64)], grain: i64, name: &str) {
    assert_eq!(one.len(), other.len(), "{name}");
    for (one, other) in one.iter().zip(other) {
        assert!(one.0 == other.0 && (one.1 - other.1).abs() <= grain, "{name}: {one:?} {other:?}");
    }
}

pub(crate) fn contents(folder: &Path) -> PathBuf {
    folder.join("")
}

pub(crate) fn send(gateway: &Gateway, sources: &[PathBuf], target: &Path, options: Options) -> Heard {
    let heard = Heard::default();
    let listing = Listing::of(sources).unwrap();
    let target = target.as_os_str().as_bytes();
    push(gateway, &listing, &Blocks::default(), target, options, &heard).unwrap();
    heard
}

/// Each interpreter with the grain of its times in ns, and whether it has names that are not UTF-8.
pub(crate) fn every() -> Vec<(GatewayBuilder, i64, bool)> {
    let grain = |name: &str| if name == "2.7" { 2_000 } else { 0 };
    let mut all: Vec<_> =
        pythons().iter().map(|one| (quiet().python(path(one)), grain(&one.name), true)).collect();
    let jython = require(&["jython"]).unwrap();
    all.extend(jython.iter().map(|one| (quiet().python(path(one)), 1_000_000_000, false)));
    all
}

#[test]
fn every_interpreter_receives_and_sends_everything() {
    for (builder, grain, odd) in every() {
        let gateway = builder.start().unwrap();
        let name = format!("{} {:?}", gateway.info().implementation, gateway.info().version());
        let (source, target, back) =
            (source(odd), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = target.path().join("new/there");
        let heard = send(&gateway, &[contents(source.path())], &there, Options::default());
        assert_eq!(heard.lines(), Vec::<String>::new(), "{name}");
        let (total, settled, moved) = heard.bytes();
        assert_eq!((settled, moved), (0, total), "{name}");
        assert_alike(&tree(&there), &tree(source.path()), grain, &name);

        // again: nothing travels, nothing is touched
        let before = tree(&there);
        let heard = send(&gateway, &[contents(source.path())], &there, Options::default());
        assert_eq!(heard.bytes(), (total, total, 0), "{name}");
        assert_eq!(tree(&there), before, "{name}");

        // back into a folder of its own; what was a link out of the folder is refused
        symlink("/etc/passwd", there.join("out")).unwrap();
        let heard = Heard::default();
        let asked = Asked {
            paths: &[contents(&there).into_os_string().as_bytes().to_vec()],
            folder: back.path(),
            name: "host",
        };
        fetch(&gateway, asked, Options::default(), &heard).unwrap();
        assert_eq!(heard.lines(), ["out: it is a link that leaves the folder"], "{name}");
        fs::remove_file(there.join("out")).unwrap();
        let mut theirs = tree(&there);
        let mut ours = tree(&back.path().join("host"));
        // the time of the folder from which the link was removed
        theirs.remove(0);
        ours.remove(0);
        assert_alike(&ours, &theirs, grain, &name);
        let heard = Heard::default();
        fetch(&gateway, asked, Options { delete: true, ..Options::default() }, &heard).unwrap();
        let (all, settled, moved) = heard.bytes();
        assert_eq!((all, settled, moved), (total, total, 0), "{name}: {:?}", heard.lines());
    }
}

#[test]
fn only_what_differs_travels() {
    let (gateway, source, target) = (open(), source(true), tempfile::tempdir().unwrap());
    let sources = [contents(source.path())];
    let (total, ..) = send(&gateway, &sources, target.path(), Options::default()).bytes();
    fs::write(source.path().join("sub/file"), "other").unwrap();
    // the same content at another time
    let now = std::time::SystemTime::now();
    fs::File::open(source.path().join("large")).unwrap().set_modified(now).unwrap();
    // another content of the same size at the same time
    let there = target.path().join("many/100");
    let time = fs::metadata(&there).unwrap().modified().unwrap();
    fs::write(&there, "xyz").unwrap();
    fs::File::open(&there).unwrap().set_modified(time).unwrap();

    let dry = Options { dry: true, ..Options::default() };
    assert_eq!(send(&gateway, &sources, target.path(), dry).lines(), ["send file", "update large"]);
    let heard = send(&gateway, &sources, target.path(), Options::default());
    assert_eq!(heard.bytes(), (total + 1, total - 4, 5));
    assert_eq!(fs::read(&there).unwrap(), b"xyz");
    let by_content = Options { checksum: true, ..Options::default() };
    let told = send(&gateway, &sources, target.path(), Options { dry: true, ..by_content });
    assert_eq!(told.lines(), ["send 100"]);
    let heard = send(&gateway, &sources, target.path(), by_content);
    assert_eq!(heard.bytes(), (total + 1, total - 2, 3));
    assert_eq!(tree(target.path()), tree(source.path()));
}

#[test]
fn names_of_sources_and_targets_mean_what_they_mean_to_rsync() {
    let (gateway, source, target) = (open(), source(false), tempfile::tempdir().unwrap());
    let at = |name: &str| target.path().join(name);
    let sub = source.path().join("sub");
    send(&gateway, std::slice::from_ref(&sub), &at("a"), Options::default());
    assert_eq!(fs::read(at("a/sub/file")).unwrap(), b"text");
    // a file takes the name of the target, unless that is a folder
    let file = [sub.join("file")];
    send(&gateway, &file, &at("a/renamed"), Options::default());
    send(&gateway, &file, &at("a"), Options::default());
    send(&gateway, &file, &at("new/"), Options::default());
    for name in ["a/renamed", "a/file", "new/file"] {
        assert_eq!(fs::read(at(name)).unwrap(), b"text", "{name}");
    }
    // the target may lead over links, which is not so below it
    symlink("a", at("over")).unwrap();
    symlink("/etc", at("a/empty")).unwrap();
    send(&gateway, &[contents(source.path())], &at("over"), Options::default());
    assert!(at("over").is_symlink() && fs::symlink_metadata(at("a/empty")).unwrap().is_dir());
    // several sources
    send(&gateway, &[file[0].clone(), contents(&sub.join("deep"))], &at("both"), Options::default());
    assert!(at("both/file").exists() && at("both/deeper").exists());
    assert!(Listing::of(&[file[0].clone(), contents(&sub)]).is_err(), "two files of one name");
}

#[test]
fn what_the_source_lacks_is_deleted_on_request() {
    let (gateway, source, target) = (open(), source(false), tempfile::tempdir().unwrap());
    let sources = [contents(source.path())];
    send(&gateway, &sources, target.path(), Options::default());
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("kept"), "").unwrap();
    fs::create_dir_all(target.path().join("sub/old/deep")).unwrap();
    fs::write(target.path().join("many/old"), "").unwrap();
    symlink(elsewhere.path(), target.path().join("sub/old/link")).unwrap();
    // a folder where a file will be, and the other way round
    fs::remove_file(target.path().join("large")).unwrap();
    fs::create_dir_all(target.path().join("large/full")).unwrap();
    fs::remove_dir(target.path().join("empty")).unwrap();
    fs::write(target.path().join("empty"), "").unwrap();

    let dry = Options { dry: true, ..Options::default() };
    let heard = send(&gateway, &sources, target.path(), dry);
    let told = ["delete empty", "large: a folder that is not empty is there", "make empty"];
    assert_eq!(heard.lines(), told);
    let heard = send(&gateway, &sources, target.path(), Options::default());
    assert_eq!(heard.lines(), ["large: a folder that is not empty is there"]);
    assert!(target.path().join("many/old").exists() && target.path().join("empty").is_dir());
    let delete = Options { delete: true, ..Options::default() };
    let heard = send(&gateway, &sources, target.path(), Options { dry: true, ..delete });
    assert_eq!(heard.lines(), ["delete large", "delete old", "delete old", "send large"]);
    assert_eq!(send(&gateway, &sources, target.path(), delete).lines(), Vec::<String>::new());
    assert_eq!(tree(target.path()), tree(source.path()));
    assert!(elsewhere.path().join("kept").exists());
}

#[test]
fn deleting_is_refused_at_home_and_above_and_for_an_unfinished_list() {
    let (source, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, mine) = (home.path().join("here"), home.path().join("here/mine"));
    fs::create_dir_all(&mine).unwrap();
    let gateway = quiet().env("HOME", here.to_str().unwrap()).start().unwrap();
    let listing = Listing::of(&[contents(source.path())]).unwrap();
    let delete = Options { delete: true, ..Options::default() };
    symlink(home.path(), home.path().join("link")).unwrap();
    for target in ["~", "/", here.to_str().unwrap(), home.path().to_str().unwrap(), "~/../link", "~/mine/.."]
    {
        let error =
            push(&gateway, &listing, &Blocks::default(), target.as_bytes(), delete, &Quiet).unwrap_err();
        assert!(
            matches!(&error, CopyError::Over(why) if why.starts_with("refuses to delete in ")),
            "{target}: {error}"
        );
    }
    let named = tempfile::tempdir().unwrap();
    fs::create_dir_all(named.path().join("here")).unwrap();
    let listing = Listing::of(&[named.path().join("here")]).unwrap();
    let error =
        push(&gateway, &listing, &Blocks::default(), home.path().as_os_str().as_bytes(), delete, &Quiet);
    assert!(error.unwrap_err().to_string().starts_with("refuses to delete in "));
    assert!(mine.exists());
    let listing = Listing::of(&[contents(source.path())]).unwrap();
    push(&gateway, &listing, &Blocks::default(), b"~/mine", delete, &Quiet).unwrap();
}

#[test]
fn what_cannot_be_sent_or_written_is_named_and_the_rest_arrives() {
    let (gateway, source, target) = (open(), source(false), tempfile::tempdir().unwrap());
    rustix::fs::mknodat(
        rustix::fs::CWD,
        source.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let listing = Listing::of(&[contents(source.path())]).unwrap();
    let heard = Heard::default();
    listing.tell_failures(&heard);
    assert_eq!(heard.lines(), ["fifo: it is neither a file, a folder nor a link"]);
    // it vanishes after it was listed
    fs::remove_file(source.path().join("sub/file")).unwrap();
    let target_path = target.path().as_os_str().as_bytes();
    push(&gateway, &listing, &Blocks::default(), target_path, Options::default(), &heard).unwrap();
    assert_eq!(heard.lines(), ["file: No such file or directory (os error 2)"]);
    let (total, settled, moved) = heard.bytes();
    assert_eq!(settled + moved, total);
    assert!(target.path().join("sub/deep/nothing").exists() && target.path().join("many/599").exists());
    assert!(!target.path().join("sub/file").exists());

    let error = push(&gateway, &listing, &Blocks::default(), b"/proc/nowhere/x", Options::default(), &heard);
    assert!(error.unwrap_err().to_string().starts_with("cannot make /proc/nowhere/x: "));
    let error = push(&gateway, &listing, &Blocks::default(), b"/dev/null/", Options::default(), &heard);
    assert_eq!(error.unwrap_err().to_string(), "/dev/null is no folder");
}

#[test]
fn a_target_that_goes_does_not_stop_the_others_and_leaves_no_half_file() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(source.path().join("large"), vec![7; 200 << 20]).unwrap();
    let listing = Listing::of(&[contents(source.path())]).unwrap();
    let blocks = Blocks::default();
    let (goes, stays) = (open(), open());
    let pid = goes.info().pid;
    let gone = target.path().join("gone");
    let stays_there = target.path().join("stays");
    let heard = Killing { pid, at: 20 << 20, moved: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        let lost = scope.spawn(|| {
            push(&goes, &listing, &blocks, gone.as_os_str().as_bytes(), Options::default(), &heard)
        });
        push(&stays, &listing, &blocks, stays_there.as_os_str().as_bytes(), Options::default(), &Quiet)
            .unwrap();
        assert!(matches!(lost.join().unwrap(), Err(CopyError::Died(_))));
    });
    assert_eq!(fs::metadata(stays_there.join("large")).unwrap().len(), 200 << 20);
    assert!(!gone.join("large").exists());
}

/// Kills the interpreter after so many bytes.
struct Killing {
    pid: u32,
    at: u64,
    moved: AtomicU64,
}

impl Observer for Killing {
    fn moved(&self, bytes: u64) {
        let before = self.moved.fetch_add(bytes, Ordering::SeqCst);
        if before < self.at && before + bytes >= self.at {
            let pid = rustix::process::Pid::from_raw(self.pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

#[test]
fn copies_to_one_place_leave_each_others_unfinished_files_alone() {
    let gateway = open();
    let delete = Options { delete: true, ..Options::default() };
    let (there, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // it has the time of its source already
    let draft = there.path().join(".execnet-x");
    fs::write(&draft, "").unwrap();
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::open(&draft).unwrap().set_modified(before).unwrap();
    send(&gateway, &[contents(source.path())], there.path(), delete);
    assert!(draft.exists());
    // an hour later it was left by a copy that was killed
    let later = quiet().start().unwrap();
    let code = "import time\nnow = time.time\ntime.time = lambda: now() + 3600\nchannel.send(1)";
    later.remote_exec(Code::source(code)).unwrap().receive::<i32>().unwrap();
    send(&later, &[contents(source.path())], there.path(), delete);
    assert!(!draft.exists());

    // all at once: whoever comes last, each file is one of them, whole
    let sources: Vec<_> = (0..3_u8)
        .map(|number| {
            let folder = tempfile::tempdir().unwrap();
            for file in 0..300 {
                fs::write(folder.path().join(format!("{file}")), vec![number; 2000]).unwrap();
            }
            folder
        })
        .collect();
    std::thread::scope(|scope| {
        for source in &sources {
            scope.spawn(|| {
                let gateway = open();
                let heard = send(&gateway, &[contents(source.path())], there.path(), delete);
                assert_eq!(heard.lines(), Vec::<String>::new());
            });
        }
    });
    for file in 0..300 {
        let found = fs::read(there.path().join(format!("{file}"))).unwrap();
        assert!(found.len() == 2000 && found.iter().all(|byte| *byte == found[0]), "{file}");
    }
}

#[test]
fn a_run_that_only_tells_names_what_is_in_the_way_here() {
    let (gateway, source, here) = (open(), source(false), tempfile::tempdir().unwrap());
    let paths = [contents(source.path()).into_os_string().into_encoded_bytes()];
    let asked = Asked { paths: &paths, folder: here.path(), name: "host" };
    let fetched = |options| {
        let heard = Heard::default();
        fetch(&gateway, asked, options, &heard).unwrap();
        heard.lines()
    };
    fetched(Options::default());
    let at = |name: &str| here.path().join("host").join(name);
    let by_content = Options { checksum: true, dry: true, ..Options::default() };
    assert_eq!(fetched(by_content), Vec::<String>::new());
    for name in ["large", "link"] {
        fs::remove_file(at(name)).unwrap();
        fs::create_dir_all(at(name).join("full")).unwrap();
    }
    fs::remove_dir(at("empty")).unwrap();
    fs::write(at("empty"), "").unwrap();
    let full = "a folder that is not empty is there";
    let told = [
        "delete empty".to_owned(),
        format!("large: {full}"),
        format!("link: {full}"),
        "make empty".to_owned(),
    ];
    let dry = Options { dry: true, ..Options::default() };
    assert_eq!(fetched(dry), told);
    let told = ["delete empty", "delete large", "delete link", "link link", "make empty", "send large"];
    assert_eq!(fetched(Options { delete: true, ..dry }), told);
}
