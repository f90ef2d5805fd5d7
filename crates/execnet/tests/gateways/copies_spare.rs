//! What a copy must spare, whatever it is asked for and whatever fails meanwhile.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use execnet::copy::{Asked, Blocks, CopyError, Listing, Options, fetch, push};
use execnet::{Code, Gateway};

use crate::copies::{Heard, contents, every, send};
use crate::support::{open, quiet};

const DELETE: Options = Options { delete: true, checksum: false, dry: false, exact: false };
const TOLD: Options = Options { dry: true, ..DELETE };

/// A gateway whose home folder is this one.
fn at_home(home: &Path) -> Gateway {
    quiet().env("HOME", home.to_str().unwrap()).start().unwrap()
}

/// A gateway whose interpreter has executed this, which replaces functions of `os`.
fn altered(code: &str) -> Gateway {
    let gateway = open();
    let code = format!("import errno, os\nlstat, listdir = os.lstat, os.listdir\n{code}\nchannel.send(1)");
    gateway.remote_exec(Code::source(code)).unwrap().receive::<i32>().unwrap();
    gateway
}

/// Fetches into the folder `host` of this one. What was told.
fn fetched(gateway: &Gateway, paths: &[&[u8]], here: &Path, options: Options) -> Vec<String> {
    let heard = Heard::default();
    let paths: Vec<_> = paths.iter().map(|path| path.to_vec()).collect();
    fetch(gateway, Asked { paths: &paths, folder: here, name: "host" }, options, &heard).unwrap();
    heard.lines()
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_home_folder_that_is_in_the_way_stays() {
    for (builder, ..) in every() {
        let (homes, source) = (folder(&["u/mine"]), folder(&["u"]));
        let (home, path) = (homes.path().join("u"), [source.path().join("u")]);
        let gateway = builder.env("HOME", home.to_str().unwrap()).start().unwrap();
        let name = format!("{} {:?}", gateway.info().implementation, gateway.info().version());
        let spared = || {
            for options in [DELETE, TOLD, Options::default()] {
                let told = send(&gateway, &path, &contents(homes.path()), options).lines();
                assert_eq!(told, ["u: it is the home folder or above it"], "{name}");
            }
        };
        spared();
        // also an empty one, and for a link
        fs::remove_file(home.join("mine")).unwrap();
        fs::remove_file(&path[0]).unwrap();
        symlink("x", &path[0]).unwrap();
        spared();
        assert!(home.is_dir(), "{name}");
        assert_eq!(fs::read_dir(homes.path()).unwrap().count(), 1, "{name}");

        let (nothing, there) = (folder(&[]), folder(&["old", ".execnet-x", "sub/old"]));
        assert_eq!(
            send(&gateway, &[contents(nothing.path())], there.path(), DELETE).lines(),
            [""; 0],
            "{name}"
        );
        let left: Vec<_> =
            fs::read_dir(there.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".execnet-x"], "{name}");
    }
}

#[test]
fn home_what_is_above_it_and_a_folder_for_everybody_keep_their_mode() {
    let (homes, source) = (folder(&["u/mine", "tmp/x"]), folder(&["u/.rc", "tmp/y"]));
    let (home, shared) = (homes.path().join("u"), homes.path().join("tmp"));
    for (path, mode) in [(&home, 0o750), (&shared, 0o1777), (&homes.path().into(), 0o751)] {
        set_mode(path, mode);
    }
    for name in ["", "u", "tmp"] {
        set_mode(&source.path().join(name), 0o775);
    }
    let gateway = at_home(&home);
    let send = |from: &str, to: &Path| {
        send(&gateway, &[contents(&source.path().join(from))], to, Options::default());
    };
    send("u", Path::new("~"));
    send("u", &home);
    send("tmp", &shared);
    assert!(home.join(".rc").exists() && shared.join("y").exists());
    let times = |path: &Path| fs::metadata(path).unwrap().mtime_nsec();
    assert_eq!([mode(homes.path()), mode(&home), mode(&shared)], [0o751, 0o750, 0o1777]);
    assert_ne!(times(&home), times(&source.path().join("u")));
    send("", homes.path());
    assert_eq!([mode(homes.path()), mode(&home), mode(&shared)], [0o751, 0o750, 0o775], "not the top");
    send("u", &homes.path().join("u/other"));
    assert_eq!(mode(&home.join("other")), 0o775);
}

#[test]
fn no_file_is_dropped_for_another_one_of_its_name() {
    let (there, here, gateway) = (folder(&["a/log", "b/log", "b/more"]), folder(&[]), open());
    let at = |name: &str| there.path().join(name).into_os_string().into_encoded_bytes();
    let paths = [at("a/log"), at("b/log")];
    let asked = Asked { paths: &paths, folder: here.path(), name: "host" };
    let error = fetch(&gateway, asked, Options::default(), &Heard::default()).unwrap_err();
    assert!(matches!(&error, CopyError::Over(why) if why == "two sources bring `log`"), "{error}");
    assert!(!here.path().join("host").exists());
    // only the host knows what it contains
    let told = fetched(&gateway, &[&at("a/log"), &at("b/")], here.path(), Options::default());
    assert_eq!(told, ["log: another source brings this name"]);
    assert_eq!(fs::read(here.path().join("host/log")).unwrap(), b"a/log");
    assert!(here.path().join("host/more").exists());
}

#[test]
fn home_folders_can_be_fetched_by_their_short_names() {
    let (homes, here) = (folder(&["u/mine"]), folder(&["host/old"]));
    let gateway = at_home(&homes.path().join("u"));
    assert_eq!(fetched(&gateway, &[b"~"], here.path(), DELETE), [""; 0]);
    assert!(here.path().join("host/mine").exists() && !here.path().join("host/old").exists());
    let told = fetched(&gateway, &[b"~no-such-user"], here.path(), Options::default());
    assert_eq!(told, ["~no-such-user: No such file or directory"]);
}

/// A folder of which `sub/bad` fails in this walk over it, 0 or 1, with this error.
fn failing(walk: u32, errno: &str) -> Gateway {
    altered(&format!(
        "walks = []\n\
         def failing(path, *args, **keywords):\n    \
             if path.endswith(b'bad'):\n        \
                 walks.append(1)\n        \
                 if len(walks) == {walk} + 1:\n            \
                     raise OSError(errno.{errno}, os.strerror(errno.{errno}))\n    \
             return lstat(path, *args, **keywords)\n\
         os.lstat = failing"
    ))
}

#[test]
fn what_cannot_be_looked_at_is_not_deleted() {
    let there = folder(&["sub/bad", "sub/good"]);
    let paths: [PathBuf; 2] = [contents(there.path()), there.path().join("sub")];
    for path in &paths {
        let path = path.as_os_str().as_bytes();
        for (walk, errno, lines) in [
            (0, "EIO", &["nothing is deleted"][..]),
            (1, "EIO", &["bad: Input/output error"]),
            (0, "ENOENT", &[]),
        ] {
            let here = folder(&["host/sub/bad", "host/sub/old"]);
            let told = fetched(&failing(walk, errno), &[path], here.path(), DELETE);
            assert_eq!(told, lines, "{walk} {errno}");
            let at = |name: &str| here.path().join("host/sub").join(name).exists();
            assert!(at("bad") && at("good"), "{walk} {errno}");
            assert_eq!(at("old"), errno == "EIO", "{walk} {errno}");
        }
    }
    // what was removed meanwhile is gone
    let here = folder(&["host/sub/bad"]);
    let path = paths[0].as_os_str().as_bytes();
    assert_eq!(fetched(&failing(1, "ENOENT"), &[path], here.path(), DELETE), [""; 0]);
    assert!(!here.path().join("host/sub/bad").exists());
    // an entry of the top, which is asked for
    let bad = there.path().join("sub/bad");
    let told = fetched(&failing(1, "EIO"), &[bad.as_os_str().as_bytes()], here.path(), DELETE);
    assert_eq!(told, ["bad: Input/output error"]);
}

#[test]
fn what_is_listed_by_another_name_is_not_deleted() {
    let (source, there) = (folder(&["Makefile", "sub/x"]), folder(&["old", "makefile", "sub/x"]));
    // as a file system that ignores case: there is one file, and both names open it
    fs::remove_file(there.path().join("makefile")).unwrap();
    fs::write(there.path().join("Makefile"), "Makefile").unwrap();
    fs::hard_link(there.path().join("Makefile"), there.path().join("makefile")).unwrap();
    let gateway = altered(
        "os.listdir = lambda path: [name for name in listdir(path) if not name.endswith(b'Makefile')]",
    );
    let told = send(&gateway, &[contents(source.path())], there.path(), TOLD).lines();
    assert!(told.contains(&"delete old".into()) && !told.contains(&"delete makefile".into()), "{told:?}");
    send(&gateway, &[contents(source.path())], there.path(), DELETE);
    assert!(there.path().join("makefile").exists() && !there.path().join("old").exists());
    // where case counts, one of two names goes
    send(&open(), &[contents(source.path())], there.path(), DELETE);
    assert!(there.path().join("Makefile").exists() && !there.path().join("makefile").exists());
}

#[test]
fn any_number_of_files_to_delete_is_told_in_pieces() {
    let (source, there) = (folder(&[]), folder(&[]));
    for number in 0..2000 {
        fs::write(there.path().join(format!("{number:0200}")), "").unwrap();
    }
    let gateway = open();
    let told = send(&gateway, &[contents(source.path())], there.path(), TOLD).lines();
    assert_eq!(told.iter().filter(|line| line.starts_with("delete 0")).count(), 2000);
    send(&gateway, &[contents(source.path())], there.path(), DELETE);
    assert_eq!(fs::read_dir(there.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_listed_there_fails_alone() {
    let (source, there) = (folder(&["a/x", "b/y"]), folder(&["a/old", "b/old"]));
    let gateway = altered(
        "def failing(path):\n    \
             if path.endswith(b'/a'): raise OSError(errno.EACCES, os.strerror(errno.EACCES))\n    \
             return listdir(path)\n\
         os.listdir = failing",
    );
    let told = send(&gateway, &[contents(source.path())], there.path(), DELETE).lines();
    assert_eq!(told, ["a: Permission denied"]);
    let at = |name: &str| there.path().join(name).exists();
    assert!(at("a/x") && at("a/old") && at("b/y") && !at("b/old"));
}

#[test]
fn devices_and_the_like_are_not_replaced() {
    let in_the_way = |folder: &Path| {
        for name in ["a", "b", "c"] {
            let made = Command::new("mkfifo").arg(folder.join(name)).status().unwrap();
            assert!(made.success());
        }
    };
    let source = folder(&["a", "c/x"]);
    symlink("x", source.path().join("b")).unwrap();
    let told = ["a", "b", "c"].map(|name| format!("{name}: a device, FIFO or socket is there"));
    let stays = |folder: &Path| {
        for name in ["a", "b", "c"] {
            assert!(fs::symlink_metadata(folder.join(name)).unwrap().file_type().is_fifo(), "{name}");
        }
    };
    for (builder, ..) in every() {
        let gateway = builder.start().unwrap();
        let there = folder(&[]);
        in_the_way(there.path());
        for options in [DELETE, TOLD, Options::default()] {
            assert_eq!(send(&gateway, &[contents(source.path())], there.path(), options).lines(), told);
            stays(there.path());
        }
        let alone = send(&gateway, &[source.path().join("a")], &there.path().join("b"), DELETE).lines();
        assert_eq!(alone, ["b: a device, FIFO or socket is there"]);
        stays(there.path());
    }
    let (gateway, here) = (open(), folder(&["host/d"]));
    in_the_way(&here.path().join("host"));
    let path = contents(source.path());
    for options in [TOLD, Options::default()] {
        let heard = fetched(&gateway, &[path.as_os_str().as_bytes()], here.path(), options);
        assert_eq!(heard.iter().filter(|line| line.contains(": a device")).count(), 3, "{heard:?}");
        stays(&here.path().join("host"));
    }
}

#[test]
fn what_is_not_all_of_a_file_does_not_take_its_place() {
    let (source, there) = (folder(&["shrinks", "other"]), folder(&["shrinks", "new/status"]));
    let listing = Listing::of(&[contents(source.path())]).unwrap();
    fs::write(source.path().join("shrinks"), "x").unwrap();
    let (heard, gateway) = (Heard::default(), open());
    let target = there.path().as_os_str().as_bytes();
    push(&gateway, &listing, &Blocks::default(), target, Options::default(), &heard).unwrap();
    assert_eq!(heard.lines(), ["shrinks: it has shrunk while it was read"]);
    assert_eq!(fs::read(there.path().join("shrinks")).unwrap(), b"shrinks");
    assert!(there.path().join("other").exists());

    let unsized_ = "status: it does not say its size, as files in /proc; read it with `execnet run`";
    let status = [PathBuf::from("/proc/self/status")];
    let target = there.path().join("new");
    assert_eq!(send(&gateway, &status, &target, Options::default()).lines(), [unsized_]);
    assert_eq!(fs::read(target.join("status")).unwrap(), b"new/status");

    for (builder, ..) in every() {
        let gateway = builder.start().unwrap();
        let here = folder(&["host/status"]);
        let told = fetched(&gateway, &[b"/proc/self/status"], here.path(), Options::default());
        assert_eq!(told, [unsized_]);
        assert_eq!(fs::read(here.path().join("host/status")).unwrap(), b"host/status");
    }
}
