//! Whatever a host says that files are fetched from, nothing is touched outside the folder of its own, and
//! nothing odd stays in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::intake::{Intake, Reply};
use super::place::Place;
use super::wire::FromSender;
use super::{Options, Quiet};
use crate::fuzz::{Input, encoded};
use crate::value::{NoChannels, Reader, Reading, Value, from_reader};

/// Fetches from a host that says what `bytes` decide.
pub fn fetch(bytes: &[u8]) {
    let mut input = Input(bytes);
    let modes = input.byte();
    let folder = tempfile::tempdir().unwrap();
    let host = folder.path().join("logs/host");
    fs::create_dir_all(host.join("a/old")).unwrap();
    fs::create_dir_all(folder.path().join("outside/y")).unwrap();
    let secret = folder.path().join("outside/secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("logs/beside"), "beside").unwrap();
    let own_links = modes & 1 != 0;
    if own_links {
        // they must not be followed, though a link of the host may lead to them
        symlink("../../outside", host.join("evil")).unwrap();
        symlink("../../../outside/secret", host.join("a/evil")).unwrap();
        symlink("../../../outside", host.join("a/y")).unwrap();
    }
    let outside = || (snapshot(&folder.path().join("outside")), snapshot(&folder.path().join("logs/beside")));
    let (before, whole) = (outside(), snapshot(folder.path()));

    let dry = modes & 8 != 0;
    let options = Options { delete: modes & 2 != 0, checksum: modes & 4 != 0, dry, ..Options::default() };
    let place = if dry { Place::only_read } else { Place::new };
    let place = place(&folder.path().join("logs"), "host").unwrap();
    let asked = (modes & 16 == 0).then(|| BTreeSet::from([b"a".to_vec(), b"b".to_vec()]));
    let mut intake = Intake::new(place, options, asked, &Quiet);
    intake.handle(FromSender::Total(40, 40, modes & 32 == 0)).unwrap();
    while !input.is_empty() {
        let said = said(&mut input);
        let reader = Reader::new(&said, Reading::default());
        let Ok(said) = from_reader::<FromSender>(reader, &NoChannels) else { break };
        match intake.handle(said) {
            Ok(Reply::Done) | Err(_) => break,
            Ok(_) => {}
        }
    }
    drop(intake);

    assert_eq!(outside(), before);
    if dry {
        assert_eq!(snapshot(folder.path()), whole);
    }
    check(&host, own_links);
}

/// What is in the folder of the host.
fn check(host: &Path, own_links: bool) {
    let mut below = vec![host.to_owned()];
    while let Some(path) = below.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.starts_with(".execnet-"), "a half file stays: {}", path.display());
        let kind = about.file_type();
        assert!(kind.is_file() || kind.is_dir() || kind.is_symlink());
        if kind.is_dir() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            below.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if !kind.is_symlink() {
            assert_eq!(about.mode() & 0o7000, 0);
        } else if let Ok(leads) = path.canonicalize() {
            let inside = leads.starts_with(host.canonicalize().unwrap());
            assert!(inside || own_links, "{} leads to {}", path.display(), leads.display());
        }
    }
}

/// Every path below, with kind, mode, time and content.
pub(super) fn snapshot(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut below = vec![folder.to_owned()];
    while let Some(path) = below.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let content = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        all.push(format!("{path:?} {:o} {} {content:?}", about.mode(), about.mtime_nsec()));
        if about.is_dir() {
            below.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

/// A message of the host, or something else.
fn said(input: &mut Input<'_>) -> Vec<u8> {
    let value = match input.below(16) {
        0 => return input.bytes(80).to_vec(),
        1 => input.value(3),
        2 => say("total", Value::Tuple(vec![whole(input), whole(input), Value::Bool(input.below(2) == 1)])),
        3 => say("end", Value::Tuple(vec![Value::List(Vec::new()), whole(input)])),
        4..=9 => {
            let folders = (0..input.below(4)).map(|_| folder(input)).collect();
            say("offer", Value::List(folders))
        }
        _ => {
            let piece = |input: &mut Input<'_>| {
                let (number, flag) = (input.below(6).into(), input.below(5).into());
                let data = Value::Bytes(vec![7; input.below(4).into()]);
                Value::Tuple(vec![Value::Int(number), Value::Int(flag), data])
            };
            let pieces = (0..input.below(5)).map(|_| piece(input)).collect();
            say("data", Value::List(pieces))
        }
    };
    encoded(&value)
}

fn say(verb: &str, content: Value) -> Value {
    Value::Dict(vec![(verb.into(), content)])
}

fn whole(input: &mut Input<'_>) -> Value {
    Value::Int(i64::from(input.below(60)))
}

fn folder(input: &mut Input<'_>) -> Value {
    let path: &[u8] = match input.below(8) {
        0 => input.bytes(12),
        _ => input.pick(PATHS).as_bytes(),
    };
    let flags = Value::Int(i64::from(input.below(9)));
    let mode = Value::Int(input.pick(&[0o755, -1, 0o7777, 0, i64::MAX]));
    let time = Value::Int(input.number());
    let entries = (0..input.below(4)).map(|_| entry(input)).collect();
    Value::Tuple(vec![Value::Bytes(path.to_vec()), flags, mode, time, Value::List(entries)])
}

fn entry(input: &mut Input<'_>) -> Value {
    let name: &[u8] = match input.below(8) {
        0 => input.bytes(8),
        _ => input.pick(NAMES).as_bytes(),
    };
    let kind = Value::Int(i64::from(input.below(5)));
    let mode = Value::Int(input.pick(&[0o644, 0o4755, 0o2777, 0o7777, 0, 0xffff_ffff]));
    let (time, size) = (Value::Int(input.number()), Value::Int(i64::from(input.below(4))));
    let target: &[u8] = match input.below(8) {
        0 => input.bytes(20),
        _ => input.pick(TARGETS).as_bytes(),
    };
    Value::Tuple(vec![Value::Bytes(name.to_vec()), kind, mode, time, size, Value::Bytes(target.to_vec())])
}

const NAMES: &[&str] = &["a", "b", "evil", "x", "y", "..", ".", "", "a/b", "/etc", "old"];

const PATHS: &[&str] =
    &["", "a", "b", "a/x", "a/y", "a/evil", "a/old", "b/y", "evil", "a/x/y", "..", "a/..", "/", "a//b"];

const TARGETS: &[&str] =
    &["a", "b", "x", "..", "../b", "../../outside", "/etc/passwd", "a/..", "evil", "x/y", "", "./old"];
