//! `execnet copy` to and from real ssh hosts.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use execnet_testkit::{Lab, children_of, or_skip, proc_rss_kib, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Net, Noise, SOON, text};

/// Two ssh hosts, the second of which can be cut off.
fn two() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    lab.host("build1").start().unwrap();
    lab.host("build2").through_proxy().start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), &net.spec("build2", "")]);
    Some(net)
}

impl Net {
    /// Where processes of a lab's host start.
    fn home(&self, host: &str) -> PathBuf {
        self.lab().hosts().into_iter().find(|one| one.name() == host).unwrap().home()
    }

    /// `execnet copy NAME ARGS…` in the folder `work`.
    fn copy<T: AsRef<OsStr>>(&self, args: &[T]) -> Command {
        let all = ["copy", &self.name].map(OsStr::new).into_iter().chain(args.iter().map(AsRef::as_ref));
        let mut command = self.execnet(all);
        command.current_dir(self.folder("work")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Its status, stdout and stderr, each sorted by line.
    #[track_caller]
    fn copied(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.copy(args).output().unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("{}", text(&output)));
        (code, sorted(&output.stdout), sorted(&output.stderr))
    }
}

fn sorted(output: &[u8]) -> String {
    let text = String::from_utf8(output.to_vec()).unwrap();
    let mut lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort();
    lines.concat()
}

fn done() -> (i32, String, String) {
    (0, String::new(), String::new())
}

/// A folder with files, a folder and links.
fn source(net: &Net) -> PathBuf {
    let src = net.folder("work/src");
    fs::create_dir_all(src.join("sub/empty")).unwrap();
    fs::write(src.join("sub/file"), "text").unwrap();
    fs::write(src.join("program"), "#!/bin/sh\n").unwrap();
    fs::write(src.join(OsStr::from_bytes(b"odd\xff")), "odd").unwrap();
    fs::set_permissions(src.join("program"), fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("sub/file", src.join("link")).unwrap();
    symlink("/etc/hostname", src.join("out")).unwrap();
    src
}

/// Every path below, with mode, time and content or target.
fn tree(folder: &Path) -> Vec<String> {
    let (mut all, mut below) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = below.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        if about.is_symlink() {
            all.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            continue;
        }
        let content = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let time = (about.mtime(), about.mtime_nsec());
        all.push(format!("{name} {:o} {time:?} {content:?}", about.mode()));
        if about.is_dir() {
            below.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

/// Writes a file of noise.
fn noise(path: &Path, size: usize) {
    let file = fs::File::create(path).unwrap();
    Noise(88_172_645_463_325_252).write(file, size, |_| {}).unwrap();
}

/// The unfinished files in a folder.
fn drafts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".execnet-")).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_folder_comes_to_every_host_and_back() {
    let Some(net) = two() else { return };
    let src = source(&net);
    let to = ["src/", ":app"];
    let (code, told, said) = net.copied(&["--dry-run", to[0], to[1]]);
    assert_eq!((code, said.as_str()), (0, ""));
    let there = ["make app", "make app/sub", "make app/sub/empty"].into_iter();
    let there = there.chain(["send app/sub/file", "send app/program", "send app/odd\u{fffd}"]);
    let there: Vec<_> = there.chain(["link app/link", "link app/out"]).collect();
    let lines = ["build1", "build2"].into_iter().flat_map(|host| there.iter().map(move |line| (host, line)));
    let expected: String = lines.map(|(host, line)| format!("{host}: {line}\n")).collect();
    assert_eq!(told, sorted(expected.as_bytes()));
    assert!(!net.home("build1").join("app").exists());

    assert_eq!(net.copied(&to), done());
    for host in ["build1", "build2"] {
        assert_eq!(tree(&net.home(host).join("app")), tree(&src), "{host}");
    }
    assert_eq!(net.copied(&["--dry-run", to[0], to[1]]), done());

    // only to some hosts, only what differs; what the source lacks goes on request
    fs::write(src.join("sub/file"), "other").unwrap();
    fs::write(net.home("build1").join("app/sub/old"), "").unwrap();
    let one = ["--node", "build1", "--delete", "src/", ":app"];
    let told = "build1: delete app/sub/old\nbuild1: send app/sub/file\n";
    assert_eq!(net.copied(&[&one[..], &["--dry-run"]].concat()), (0, told.into(), String::new()));
    assert_eq!(net.copied(&one), done());
    assert_eq!(tree(&net.home("build1").join("app")), tree(&src));
    assert_eq!(fs::read(net.home("build2").join("app/sub/file")).unwrap(), b"text");

    // back, where links may not leave, and set-id bits stay away
    let (code, told, said) = net.copied(&[":app", "got"]);
    let refused = |host: &str| format!("execnet: {host}: app/out: it is a link that leaves the folder\n");
    assert_eq!((code, told.as_str(), said), (1, "", refused("build1") + &refused("build2")));
    let got = net.folder("work/got/build1");
    assert_eq!(fs::read(got.join("app/link")).unwrap(), b"other");
    assert_eq!(fs::metadata(got.join("app/program")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read(net.folder("work/got/build2").join("app/link")).unwrap(), b"text");
    fs::remove_file(net.home("build1").join("app/out")).unwrap();
    fs::write(got.join("app/sub/old"), "").unwrap();
    fs::write(got.join("mine"), "").unwrap();
    assert_eq!(net.copied(&["--node=build1", "--delete", ":app", "got"]), done());
    assert!(!got.join("app/sub/old").exists() && got.join("mine").exists());
    assert_eq!(net.copied(&["--node=build1", ":app/sub/file", ":app/program", "few"]), done());
    assert_eq!(fs::read(net.folder("work/few/build1").join("file")).unwrap(), b"other");
}

#[test]
fn the_exit_status_and_a_line_say_what_was_wrong() {
    let Some(net) = two() else { return };
    source(&net);
    fs::create_dir_all(net.home("build1").join("app/program/full")).unwrap();
    let (code, _, said) = net.copied(&["src/", ":app"]);
    let line = "execnet: build1: app/program: a folder that is not empty is there\n";
    assert_eq!((code, said.as_str()), (1, line));
    assert!(
        net.home("build1").join("app/sub/file").exists() && net.home("build2").join("app/program").exists()
    );
    let (code, _, said) = net.copied(&["src", ":/proc/none"]);
    let line = |host| format!("execnet: {host}: cannot make /proc/none: No such file or directory\n");
    assert_eq!((code, said), (1, line("build1") + &line("build2")));
    let (code, _, said) = net.copied(&["--node=build1", ":none", ":app/sub", "back"]);
    assert_eq!((code, said.as_str()), (1, "execnet: build1: none: No such file or directory\n"));
    assert!(net.folder("work/back/build1").join("sub/file").exists());
    let (code, _, said) = net.copied(&["--delete", "src/", ":"]);
    assert_eq!((code, said.matches("refuses to delete in ").count()), (1, 2), "{said}");

    for (args, status, words) in [
        (&["nothing", ":app"][..], 2, "Error: cannot read nothing: No such file"),
        (&["src", "build1:/app"], 2, "\nHint: a path on the hosts begins with `:`"),
        (&["src", "src/", ":app", "--node=none"], 4, "no node of "),
        (&["src/sub", "src/sub", ":app"], 2, "Error: two sources bring `sub`"),
        (&["src"], 2, "2 values required"),
    ] {
        let (code, _, said) = net.copied(args);
        assert!(code == status && said.contains(words.trim_start()), "{args:?}: {code} {said}");
    }
    let output = net.execnet(["copy", "no-such-network", ":x", "y"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));

    // a host out of reach is named, and the other one is served
    let hosts = net.lab().hosts();
    let away = hosts.iter().find(|host| host.name() == "build2").unwrap();
    away.stop_sshd();
    away.kill_ssh();
    net.wait_for("build2", "unreachable");
    let (code, _, said) = net.copied(&["src", ":late"]);
    assert!(code == 6 && said.starts_with("execnet: not copied: build2: "), "{code} {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(net.home("build1").join("late/src/sub/file").exists());
    away.start_sshd().unwrap();
}

#[test]
fn a_host_without_a_working_python_is_an_error_for_that_host() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    lab.host("build2").start().unwrap();
    let net = Net::new(Some(lab));
    let started = net.run("start", &[&net.spec("build1", ""), &net.spec("build2", "//python=/bin/false")]);
    assert_eq!(started.status.code(), Some(6), "{}", text(&started));
    source(&net);
    let (code, _, said) = net.copied(&["src", ":x"]);
    let line = "execnet: not copied: build2: it has no working Python\n";
    assert_eq!((code, said.as_str()), (6, line));
    assert!(net.home("build1").join("x/src/sub/file").exists());
}

#[test]
fn a_copy_goes_on_when_links_break() {
    let Some(net) = two() else { return };
    let large = net.folder("work").join("large");
    noise(&large, 150 << 20);
    let there = |host: &str| net.home(host).join("t/large");
    let child = net.copy(&["large", ":t/"]).spawn().unwrap();
    let hosts = net.lab().hosts();
    for _ in 0..3 {
        let folder = net.home("build2").join("t");
        let size = || drafts(&folder).first().and_then(|file| Some(fs::metadata(file).ok()?.len()));
        let before = size();
        wait_until(SOON, "more to arrive", || there("build2").exists() || size() > before);
        hosts.iter().for_each(|host| drop(host.kill_ssh()));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    for host in ["build1", "build2"] {
        assert!(fs::read(there(host)).unwrap() == fs::read(&large).unwrap(), "{host}");
    }
    // back over a link that is cut in the middle
    let child = net.copy(&["--node=build2", ":t/large", "got"]).spawn().unwrap();
    let folder = net.folder("work/got").join("build2");
    wait_until(SOON, "something to arrive", || !drafts(&folder).is_empty() || folder.join("large").exists());
    hosts.iter().for_each(|host| drop(host.kill_ssh()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(fs::read(folder.join("large")).unwrap() == fs::read(&large).unwrap());
    assert_eq!(drafts(&folder), [""; 0].map(PathBuf::from));
}

/// Runs a copy of a file named `large` until part of it is in this folder, then does something to it. Returns
/// the command, unless the copy was finished before.
fn caught(mut command: Command, folder: &Path, then: impl Fn(&mut Child)) -> Result<Child, Child> {
    let mut child = command.spawn().unwrap();
    wait_until(SOON, "something to arrive", || {
        !drafts(folder).is_empty() || child.try_wait().unwrap().is_some()
    });
    then(&mut child);
    if folder.join("large").exists() { Err(child) } else { Ok(child) }
}

/// How often a copy is tried that must not be finished too early.
const TRIES: u32 = 10;

#[test]
fn a_command_that_is_ended_leaves_no_half_file() {
    let Some(net) = two() else { return };
    noise(&net.folder("work").join("large"), 500 << 20);
    let there = net.home("build1").join("t");
    let is_ended = |args: &[&str], folder: &Path, ends: Signal| {
        let end = |child: &mut Child| {
            if child.try_wait().unwrap().is_none() {
                signal(child, ends);
            }
            child.wait().unwrap();
            wait_until(SOON, "the host to tidy up", || drafts(folder).is_empty());
        };
        let ended = (0..TRIES).find_map(|_| {
            let caught = caught(net.copy(args), folder, end);
            caught.map_err(|_| fs::remove_file(folder.join("large")).unwrap()).ok()
        });
        let status = ended.expect("a copy that is ended in its middle").wait().unwrap();
        assert_eq!(status.signal(), Some(ends.as_raw()));
    };
    for ends in [Signal::INT, Signal::KILL] {
        is_ended(&["--node=build1", "large", ":t/"], &there, ends);
    }
    fs::rename(net.folder("work").join("large"), there.join("large")).unwrap();
    let here = net.folder("work/got").join("build1");
    is_ended(&["--node=build1", ":t/large", "got"], &here, Signal::INT);
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0);
}

#[test]
fn a_host_that_stands_still_does_not_stop_the_others_nor_takes_memory() {
    let Some(net) = two() else { return };
    let large = net.folder("work").join("large");
    noise(&large, 300 << 20);
    let still = net.home("build2").join("t");
    let agent = net.agent("build2");
    let each = |signal| {
        for kernel in children_of(agent) {
            let _ = kill_process(Pid::from_raw(kernel as i32).unwrap(), signal);
        }
    };
    let runs = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['T', 'Z', 'X']))
    };
    let stands = || {
        let stop = |_: &mut Child| {
            each(Signal::STOP);
            wait_until(SOON, "the host to stand still", || !children_of(agent).iter().any(runs));
        };
        caught(net.copy(&["large", ":t/"]), &still, stop).map_err(|mut finished| {
            each(Signal::CONT);
            assert!(finished.wait().unwrap().success());
            for host in ["build1", "build2"] {
                fs::remove_file(net.home(host).join("t/large")).unwrap();
            }
        })
    };
    let mut child =
        (0..TRIES).find_map(|_| stands().ok()).expect("a copy whose host stands still in its middle");
    wait_until(SOON, "the other host to have everything", || net.home("build1").join("t/large").exists());
    let memory = proc_rss_kib(child.id()).unwrap();
    assert!(memory < 100 << 10, "{memory} KiB");
    assert!(!still.join("large").exists() && child.try_wait().unwrap().is_none());
    each(Signal::CONT);
    let output: Output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(fs::read(still.join("large")).unwrap() == fs::read(&large).unwrap());
}
