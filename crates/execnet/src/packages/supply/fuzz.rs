//! Packages survive everything that a kernel asks: it gets the files that it wants, and is believed nothing.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::read::ZlibDecoder;
use pep508_rs::MarkerTree;

use super::*;
use crate::fuzz::{Input, encoded};
use crate::packages::Environment;
use crate::packages::plan::Set;
use crate::packages::squeeze::BLOCK;
use crate::packages::{fit, uv};
use crate::value::{HEAD, Reading, Value};

/// Brings files that `bytes` decide to a kernel that asks what they decide.
pub fn packages(bytes: &[u8]) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut input = Input(bytes);
    let python = vec![format!("fuzz {}", NEXT.fetch_add(1, Ordering::Relaxed))];
    let place = Place { node: None, python };
    let sets: Vec<Set> = (0..input.below(3)).map(|_| set(&mut input)).collect();
    let packages = Packages::new(Environment::new("python3"));
    let mut supply = Supply::new(packages, place.clone(), Progress::new("gw0", None, None));
    supply.limit = 200;
    let planned = sets.clone();
    supply.planner = Box::new(move |_, _, _| Ok(Plan { sets: planned.clone(), ..Plan::default() }));
    supply.guess().unwrap();
    let mut heard = Heard::default();
    while !input.is_empty() {
        let said = said(&mut input);
        let Ok(ask) = Ask::read(&said) else { break };
        assert_eq!(Ask::read(&written(&ask)).as_ref(), Ok(&ask));
        if let Ask::Facts(facts) = &ask
            && let Ok(facts) = Facts::read(facts)
        {
            check_facts(&facts);
        }
        let wanted = if let Ask::Wants(wanted) = &ask { wanted.clone() } else { Vec::new() };
        match supply.answer(ask, &mut heard) {
            Ok(()) => {}
            Err(Trouble::Stopped) => panic!("nobody has stopped it"),
            Err(Trouble::Protocol(_) | Trouble::Packages(_)) => {
                assert!(heard.files.is_empty());
                break;
            }
        }
        heard.check(&supply, &wanted);
    }
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
}

/// What the client has said since the kernel last spoke.
#[derive(Default)]
struct Heard {
    packages: Vec<Value>,
    files: Vec<u8>,
}

impl Link for Heard {
    fn packages(&mut self, payload: Vec<u8>) -> Result<(), Trouble> {
        self.packages.push(Value::decode(&payload[HEAD..], Reading::default()).unwrap());
        Ok(())
    }

    fn files(&mut self, payload: Vec<u8>) -> Result<(), Trouble> {
        let mut block = Vec::new();
        match payload[HEAD] {
            0 => block.extend_from_slice(&payload[HEAD + 1..]),
            _ => drop(ZlibDecoder::new(&payload[HEAD + 1..]).read_to_end(&mut block).unwrap()),
        }
        assert!(!block.is_empty() && block.len() <= BLOCK);
        self.files.extend(block);
        Ok(())
    }
}

impl Heard {
    fn check(&mut self, supply: &Supply, wanted: &[Wanted]) {
        let mut files = Vec::new();
        for Wanted { set, bits } in wanted {
            let files_of_set = supply.sets[*set].files.iter().enumerate();
            for (_, file) in files_of_set.filter(|(at, _)| bits[at / 8] & (1 << (at % 8)) != 0) {
                let Source::Bytes(bytes) = &file.source else { panic!("{file:?}") };
                files.extend_from_slice(bytes);
            }
        }
        assert!(std::mem::take(&mut self.files) == files && files.len() <= 200);
        for said in std::mem::take(&mut self.packages) {
            let Value::Tuple(words) = said else { panic!("{said:?}") };
            match (words[0].as_str(), &words[1..]) {
                (Some("sets"), [Value::List(sets), ..]) => assert_eq!(sets.len(), supply.sets.len()),
                (Some("manifests"), [Value::List(manifests)]) => {
                    manifests.iter().for_each(|manifest| check_manifest(manifest, supply));
                }
                _ => panic!("{words:?}"),
            }
        }
    }
}

/// A manifest is that of its set, and names what may be written: read here as the kernel reads it.
fn check_manifest(told: &Value, supply: &Supply) {
    let Value::Tuple(parts) = told else { panic!("{told:?}") };
    let [Value::Int(set), Value::Bytes(zlib)] = &parts[..] else { panic!("{parts:?}") };
    let set = &supply.sets[*set as usize];
    let mut text = String::new();
    ZlibDecoder::new(&zlib[..]).read_to_string(&mut text).unwrap();
    let id: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(id, set.manifest.id);
    let mut lines = text.strip_suffix('\n').unwrap().split('\n');
    assert_eq!(lines.next(), Some("execnet packages 1"));
    let mut last = "";
    for (line, entry) in lines.by_ref().zip(&set.entries) {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        let [hash, size, kind, mtime, path] = fields[..] else { panic!("{line:?}") };
        let of_hash: String = entry.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let kind_of = if entry.executable { "x" } else { "-" };
        assert_eq!((hash, kind, path), (of_hash.as_str(), kind_of, entry.path.as_str()));
        assert_eq!((size.parse(), mtime.parse()), (Ok(entry.size), Ok(entry.mtime)));
        assert!(path.as_bytes() > last.as_bytes() && !path.contains(['\0', '\n']));
        assert!(path.split('/').all(|name| !["", ".", ".."].contains(&name) && name.len() <= 255));
        assert!(!path.starts_with(&format!("{last}/")), "{last} is a file and a folder");
        last = path;
    }
    assert_eq!(text.lines().count(), 1 + set.entries.len());
}

/// Facts that were admitted cannot hurt anything that uses them.
fn check_facts(facts: &Facts) {
    let markers = facts.markers().unwrap();
    for marker in [
        "python_full_version >= '3.8' and sys_platform != 'win32'",
        "platform_release >= '20' or platform_version < '7'",
        "implementation_version == '3.*' or python_version not in '2.7 3.5'",
    ] {
        let marker: MarkerTree = marker.parse().unwrap();
        let _ = marker.evaluate(&markers, &[]);
    }
    assert!(facts.version().is_some());
    for requires in [">=3.8", "<4,!=3.12.*", "~=3.9", "===3.8"] {
        let _ = fit::allows(requires, facts);
    }
    let all = [facts, &Facts { sys_platform: "darwin".into(), ..facts.clone() }];
    for (here, there) in [(all[0], all[1]), (all[1], all[0]), (all[0], all[0])] {
        let _ = fit::built(here, there);
        for word in uv::words(there) {
            assert!(!word.is_empty() && word.len() < 50);
            assert!(word.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char)), "{word}");
        }
    }
    // they are kept with what was found for them
    let json = serde_json::to_string(facts).unwrap();
    assert_eq!(&serde_json::from_str::<Facts>(&json).unwrap(), facts);
    assert!(!facts.title().contains(char::is_control));
}

/// What a kernel would have to say for this.
fn written(ask: &Ask) -> Vec<u8> {
    let number = |set: &usize| Value::Int(*set as i64);
    let content = match ask {
        Ask::Facts(facts) => facts.clone(),
        Ask::Waits(for_) => for_.as_str().into(),
        Ask::Lacks(sets) => Value::List(sets.iter().map(number).collect()),
        Ask::Wants(wanted) => {
            let one = |Wanted { set, bits }: &Wanted| Value::Tuple(vec![number(set), bits.clone().into()]);
            Value::List(wanted.iter().map(one).collect())
        }
    };
    said_as(ask.verb(), content)
}

fn said_as(verb: &str, content: Value) -> Vec<u8> {
    encoded(&Value::Tuple(vec![verb.into(), content]))
}

fn said(input: &mut Input<'_>) -> Vec<u8> {
    match input.below(12) {
        0 => input.bytes(100).to_vec(),
        1 => said_as(input.pick(&["facts", "waits", "lacks", "wants"]), input.value(3)),
        2 => said_as("waits", input.text().as_str().into()),
        3..=5 => {
            let sets = (0..input.below(3)).map(|_| Value::Int(input.below(3).into()));
            said_as("lacks", Value::List(sets.collect()))
        }
        6..=8 => {
            let one = |input: &mut Input<'_>| {
                Value::Tuple(vec![Value::Int(input.below(3).into()), input.bytes(3).to_vec().into()])
            };
            said_as("wants", Value::List((0..input.below(3)).map(|_| one(input)).collect()))
        }
        _ => said_as("facts", facts(input)),
    }
}

/// Facts of an interpreter, of which some may be odd.
fn facts(input: &mut Input<'_>) -> Value {
    let digest = format!("{:x}", input.below(16)).repeat(64);
    let mut usual = vec![
        ("digest", digest),
        ("python_version", input.pick(&["3.8", "2.7", "3.14"]).to_owned()),
        ("python_full_version", input.pick(&["3.8.18", "2.7.3", "3.14.0a1+"]).to_owned()),
        ("implementation_name", input.pick(&["cpython", "pypy", ""]).to_owned()),
        ("implementation_version", "3.8.18".to_owned()),
        ("platform_python_implementation", "CPython".to_owned()),
        ("os_name", "posix".to_owned()),
        ("sys_platform", input.pick(&["linux", "darwin"]).to_owned()),
        ("platform_system", "Linux".to_owned()),
        ("platform_machine", input.pick(&["x86_64", "arm64", "aarch64"]).to_owned()),
        ("platform_release", input.pick(&["6.1.0", "24.0.0"]).to_owned()),
        ("platform_version", "#1 SMP".to_owned()),
        ("ext_suffix", ".cpython-38-x86_64-linux-gnu.so".to_owned()),
        ("cache_tag", "cpython-38".to_owned()),
        ("libc", input.pick(&["glibc 2.36", "musl 1.2", ""]).to_owned()),
        ("bits", "64".to_owned()),
    ];
    for _ in 0..input.below(3) {
        let at = usize::from(input.byte()) % usual.len();
        usual[at].1 = match input.below(4) {
            0 => input.number().to_string(),
            1 => format!("{}.{}", input.byte(), input.number()),
            _ => input.text(),
        };
    }
    Value::Dict(usual.iter().map(|(key, text)| ((*key).into(), text.as_str().into())).collect())
}

/// Files, of which some may not travel.
fn set(input: &mut Input<'_>) -> Set {
    let file = |input: &mut Input<'_>| {
        let mut path = String::new();
        for _ in 0..=input.below(3) {
            let parts = ["a", "b", "A", "a.py", "ß", "/", "/", "x y", ".", "\n", "-"];
            path += input.pick(&parts);
        }
        if input.below(8) == 0 {
            path += &input.text();
        }
        let source = Source::Bytes(input.bytes(40).into());
        File { path, source, executable: input.below(2) == 1 }
    };
    let files = (0..input.below(12)).map(|_| file(input)).collect();
    Set { title: input.text(), native: input.below(2) == 1, files }
}
