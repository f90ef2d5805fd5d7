//! A hostile host: whatever it says, nothing is touched outside the folder of its own.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use bytes::Bytes;

use super::super::fuzz::snapshot;
use super::super::wire::{FromSender, LAST};
use super::super::{CopyError, Quiet};
use super::*;

type Entry = (Bytes, u8, u32, i64, u64, Bytes);
type Offered = (Bytes, u8, i64, i64, Vec<Entry>);

/// What was failed and would be done.
#[derive(Default)]
struct Heard(RefCell<Vec<String>>);

impl Observer for Heard {
    fn act(&self, act: Act, path: &[u8]) {
        self.0.borrow_mut().push(format!("{} {}", act.name(), String::from_utf8_lossy(path)));
    }

    fn deletes_nothing(&self) {
        self.0.borrow_mut().push("nothing is deleted".to_owned());
    }

    fn failed(&self, path: &[u8], why: &str) {
        self.0.borrow_mut().push(format!("{}: {why}", String::from_utf8_lossy(path)));
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn file(name: &str, size: u64) -> Entry {
    (bytes(name), 0, 0o4755, 5, size, Bytes::new())
}

fn folder_entry(name: &str) -> Entry {
    (bytes(name), 1, 0o755, 5, 0, Bytes::new())
}

fn link(name: &str, target: &str) -> Entry {
    (bytes(name), 2, 0o777, 5, 0, bytes(target))
}

fn whole(path: &str, entries: &[Entry]) -> Offered {
    (bytes(path), FIRST | LAST | COMPLETE, 0o755, 7, entries.to_vec())
}

/// An intake of `a` and `b` into `FOLDER/logs/host`.
fn intake<'a>(folder: &Path, options: Options, observer: &'a dyn Observer) -> Intake<'a> {
    let place = Place::new(&folder.join("logs"), "host").unwrap();
    let asked = BTreeSet::from([b"a".to_vec(), b"b".to_vec()]);
    Intake::new(place, options, Some(asked), observer)
}

fn why(result: Result<Reply, CopyError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn files_folders_and_links_come_to_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut intake = intake(folder.path(), Options::default(), &Quiet);
    assert_eq!(intake.handle(FromSender::Total(4, 8, true)).unwrap(), Reply::Nothing);
    let top = (Bytes::new(), FIRST | LAST, -1, 0, vec![folder_entry("a"), link("b", "a/f")]);
    let inner = whole("a", &[file("f", 5), file("empty", 0), link("up", "../b")]);
    let reply = intake.handle(FromSender::Offer(vec![top, inner])).unwrap();
    assert_eq!(reply, Reply::Needs(vec![(2, None), (3, None)]));
    let pieces = vec![(2, 0, bytes("he")), (2, 1, bytes("llo")), (3, 1, Bytes::new())];
    intake.handle(FromSender::Data(pieces)).unwrap();
    let host = folder.path().join("logs/host");
    assert!(fs::symlink_metadata(host.join("b")).is_err(), "links are made last");
    assert_eq!(intake.handle(FromSender::End(Vec::new(), 0)).unwrap(), Reply::Done);
    assert_eq!(fs::read(host.join("b")).unwrap(), b"hello");
    assert_eq!(fs::read(host.join("a/up")).unwrap(), b"hello");
    let about = fs::metadata(host.join("a/f")).unwrap();
    assert_eq!((about.mode() & 0o7777, about.mtime(), about.mtime_nsec()), (0o755, 0, 5));
    let about = fs::metadata(host.join("a")).unwrap();
    assert_eq!((about.mode() & 0o7777, about.mtime_nsec()), (0o755, 7));
    assert_eq!(fs::read_dir(host.join("a")).unwrap().count(), 3);
}

#[test]
fn a_breach_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let begun = |options| {
        let mut intake = intake(folder.path(), options, &Quiet);
        intake.handle(FromSender::Total(10, 10, true)).unwrap();
        intake
    };
    let offer = |folders: Vec<Offered>| why(begun(Options::default()).handle(FromSender::Offer(folders)));
    for (path, name, said) in [
        ("", "c", "`c`, which was not asked for"),
        ("c", "x", "`c`, which was not asked for"),
        ("..", "x", "the path `..`"),
        ("/etc", "x", "the path `/etc`"),
        ("a/../..", "x", "the path `a/../..`"),
        ("a//b", "x", "the path `a//b`"),
        ("", "a/b", "the name `a/b`"),
        ("", "..", "the name `..`"),
        ("", "", "the name ``"),
        ("", "a\0", "the name `a\0`"),
        ("", "/etc/passwd", "the name `/etc/passwd`"),
    ] {
        let said_of = offer(vec![whole(path, &[file(name, 1)])]);
        assert!(said_of.ends_with(&execnet_proto::text::line(said).to_string()), "{path} {name}: {said_of}");
    }
    let many: Vec<_> = (0..2000).map(|n| file(&format!("f{n}"), 0)).collect();
    assert!(offer(vec![whole("a", &many)]).contains("more files than it announced"));
    let mut middle = whole("a", &[]);
    middle.1 = LAST;
    assert!(offer(vec![middle]).contains("more of a folder that it did not begin"));

    let mut early = intake(folder.path(), Options::default(), &Quiet);
    assert!(why(early.handle(FromSender::Offer(vec![whole("a", &[])]))).contains("out of turn"));
    assert!(why(early.handle(FromSender::Total(1 << 40, 0, true))).contains("at a time"));

    let asked = || {
        let mut intake = begun(Options::default());
        let offer = FromSender::Offer(vec![whole("", &[file("a", 4), file("b", 4)])]);
        assert_eq!(intake.handle(offer).unwrap(), Reply::Needs(vec![(0, None), (1, None)]));
        intake
    };
    let data = |pieces: Vec<(u32, u8, &str)>| {
        let pieces = pieces.into_iter().map(|(number, flag, data)| (number, flag, bytes(data))).collect();
        why(asked().handle(FromSender::Data(pieces)))
    };
    assert!(data(vec![(7, 1, "x")]).contains("was not asked for"));
    assert!(data(vec![(0, 1, "xxxxx")]).contains("more data than a file has"));
    assert!(data(vec![(0, 0, "xxx"), (0, 1, "xx")]).contains("more data than a file has"));
    assert!(data(vec![(0, 0, "x"), (1, 1, "x")]).contains("before the end of another"));
    assert!(data(vec![(0, 1, "x"), (0, 1, "x")]).contains("was not asked for"));
    assert!(data(vec![(0, 9, "x")]).contains("unknown kind"));
    assert!(why(asked().handle(FromSender::End(Vec::new(), 0))).contains("before it sends"));
    let left = snapshot(&folder.path().join("logs/host"));
    assert!(left.len() == 2 && left[1].contains("/a\" 100"), "the folder and a finished file: {left:?}");
}

#[test]
fn a_link_that_may_leave_is_told_and_not_made() {
    for (at, target, leaves_it) in [
        ("", "a", false),
        ("", "a/b/c", false),
        ("", "./a", false),
        ("", "..", true),
        ("", "/etc", true),
        ("", "", true),
        ("a", "..", false),
        ("a", "../b", false),
        ("a", "../..", true),
        ("a/b", "../../c", false),
        // `b` may be a link to a folder further up
        ("a", "b/../..", true),
        ("", "a/..", true),
        ("", "a\0", true),
    ] {
        assert_eq!(leaves(at.as_bytes(), target.as_bytes()), leaves_it, "{target} in {at}");
    }
    let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let mut intake = intake(folder.path(), Options::default(), &heard);
    intake.handle(FromSender::Total(10, 10, true)).unwrap();
    let top = whole("", &[link("a", "../../secret"), link("b", "a")]);
    intake.handle(FromSender::Offer(vec![top])).unwrap();
    intake.handle(FromSender::End(Vec::new(), 0)).unwrap();
    assert_eq!(*heard.0.borrow(), ["a: it is a link that leaves the folder"]);
    assert_eq!(fs::read_dir(folder.path().join("logs/host")).unwrap().count(), 1);
}

#[test]
fn a_run_that_only_tells_changes_nothing() {
    let (folder, heard) = (tempfile::tempdir().unwrap(), Heard::default());
    let host = folder.path().join("logs/host");
    fs::create_dir_all(host.join("a")).unwrap();
    for (name, content) in [("a/same", "same"), ("a/touched", "text"), ("a/old", "")] {
        fs::write(host.join(name), content).unwrap();
    }
    let about = fs::metadata(host.join("a/same")).unwrap();
    let time = about.mtime() * 1_000_000_000 + about.mtime_nsec();
    let before = snapshot(folder.path());
    let options = Options { delete: true, dry: true, ..Options::default() };
    let mut intake = intake(folder.path(), options, &heard);
    intake.handle(FromSender::Total(10, 10, true)).unwrap();
    let same = (bytes("same"), 0, about.mode() & 0o777, time, 4, Bytes::new());
    let entries = [same, file("touched", 4), file("new", 9), folder_entry("more")];
    let top = (Bytes::new(), FIRST | LAST, -1, 0, vec![folder_entry("a")]);
    let offer = vec![top, whole("a", &entries), whole("a/more", &[file("f", 1), link("l", "f")])];
    let Reply::Needs(needs) = intake.handle(FromSender::Offer(offer)).unwrap() else { panic!() };
    let [(2, Some(_))] = needs[..] else { panic!("{needs:?}") };
    intake.handle(FromSender::Data(vec![(2, 2, Bytes::new())])).unwrap();
    intake.handle(FromSender::End(Vec::new(), 0)).unwrap();
    let mut told = heard.0.take();
    told.sort();
    let all =
        ["delete a/old", "link a/more/l", "make a/more", "send a/more/f", "send a/new", "update a/touched"];
    assert_eq!(told, all);
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn only_what_the_host_does_not_have_is_deleted_and_only_if_its_list_is_complete() {
    for finished in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("logs/host");
        fs::create_dir_all(host.join("a/old/deep")).unwrap();
        fs::create_dir_all(folder.path().join("elsewhere")).unwrap();
        fs::write(folder.path().join("elsewhere/kept"), "").unwrap();
        symlink("../../../elsewhere", host.join("a/link")).unwrap();
        symlink("../../../../elsewhere", host.join("a/old/link")).unwrap();
        fs::write(host.join("beside"), "").unwrap();
        let heard = Heard::default();
        let mut intake = intake(folder.path(), Options { delete: true, ..Options::default() }, &heard);
        intake.handle(FromSender::Total(10, 10, finished)).unwrap();
        // who named what comes keeps what came before, whatever the host says of the top
        let top = (Bytes::new(), FIRST | LAST | COMPLETE, -1, 0, vec![folder_entry("a")]);
        intake.handle(FromSender::Offer(vec![top, whole("a", &[])])).unwrap();
        intake.handle(FromSender::End(Vec::new(), 0)).unwrap();
        assert_eq!(fs::read_dir(host.join("a")).unwrap().count(), if finished { 0 } else { 2 });
        assert_eq!(heard.0.take(), if finished { &[][..] } else { &["nothing is deleted"] });
        assert!(host.join("beside").exists() && folder.path().join("elsewhere/kept").exists());
    }
}
