use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::packages::folder::{Found, files};
use crate::packages::watch::Watch;

/// A plan for a path in a folder, where nothing is installed.
fn of(root: &Path, path: &str) -> Result<Plan, PackagesError> {
    planned(&Packages::new(Environment::new("/no/python")).path(root.join(path)), &Facts::default())
}

#[test]
fn a_folder_a_package_and_a_module_are_paths() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for file in ["src/p/__init__.py", "src/p/data.txt", "src/tool.py", "src/.env", "src/p/__pycache__/p.pyc"]
    {
        write(&root.join(file), "");
    }
    let plan = of(root, "src").unwrap();
    assert_eq!(names(&plan), ["p/__init__.py", "p/data.txt", "tool.py"]);
    assert!(plan.notes[0].contains(".env is left out: its name is that of a secret"), "{:?}", plan.notes);
    assert_eq!(names(&of(root, "src/p").unwrap()), ["p/__init__.py", "p/data.txt"]);
    assert_eq!(names(&of(root, "src/tool.py").unwrap()), ["tool.py"]);
    assert!(of(root, "src/p/data.txt").unwrap_err().to_string().contains("is neither a folder nor a module"));
    assert!(of(root, "sources").unwrap_err().to_string().contains("cannot be read: No such file"));
}

#[test]
fn what_comes_by_other_means_is_only_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("project");
    for file in ["src/p/__init__.py", "tool.py", "lib/x.py"] {
        write(&root.join(file), "");
    }
    let facts = Site::new().facts();
    let of = |sent: &[&str], path: &str| {
        let packages = Packages::new(Environment::new("/no/python")).path(root.join(path));
        planned(&packages.sent(sent.iter().map(|path| root.join(path))), &facts).unwrap()
    };
    for (sent, path, beside) in [
        (&["."][..], "src", "project/src"),
        (&["."], "src/p", "project/src"),
        (&["."], "tool.py", "project"),
        (&["."], ".", "project"),
        (&["src/p"], "src/p", "."),
        (&["lib", "src"], "src", "src"),
    ] {
        let plan = of(sent, path);
        assert_eq!((names(&plan).len(), plan.beside), (0, vec![beside.to_owned()]), "{path}");
    }
    let plan = of(&["lib"], "src");
    assert_eq!((names(&plan).len(), plan.beside.len()), (1, 0));
}

#[test]
fn ignored_files_stay_except_modules_of_packages() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        &root.join(".gitignore"),
        "*.log\n_version.py\n*.so\n/build/\n/junk/\nsettings.py\n/venv/\n/old/\n",
    );
    write(&root.join("p/.gitignore"), "!keep.log\nlocal/\n");
    let travel = [
        ".gitignore",
        "_speed.cpython-313-x86_64-linux-gnu.so",
        "keep/x.py",
        "p/.gitignore",
        "p/__init__.py",
        "p/_version.py",
        "p/keep.log",
        "p/local/__init__.py",
        "p/x.so",
    ];
    let stay = [
        "a.log",
        "build/lib/p/__init__.py",
        "build/__init__.py",
        "junk/x.py",
        "keep/a.log",
        "p/local/data.txt",
        "settings.py",
        "venv/pyvenv.cfg",
        "venv/x.py",
        "p/__pycache__/x.pyc",
        "node_modules/x.js",
        "env/pyvenv.cfg",
        "env/x.py",
        "old/x.so",
    ];
    for file in travel.iter().chain(&stay).filter(|file| !file.ends_with(".gitignore")) {
        write(&root.join(file), "");
    }
    assert_eq!(names(&of(root, ".").unwrap()), travel);
}

#[test]
fn extension_modules_for_another_python_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for file in ["p/__init__.py", "p/_a.cpython-313-x86_64-linux-gnu.so", "p/_b.abi3.so", "libc.so.6"] {
        write(&root.join(file), "");
    }
    let packages = Packages::new(Environment::new("/no/python")).path(root);
    let notes = |suffix: &str| {
        planned(&packages, &Facts { ext_suffix: suffix.into(), ..Facts::default() }).unwrap().notes
    };
    let foreign = ".cpython-39-x86_64-linux-gnu.so";
    assert!(
        notes(foreign)[0].ends_with("cannot load: p/_a.cpython-313-x86_64-linux-gnu.so"),
        "{:?}",
        notes(foreign)
    );
    assert_eq!(notes(".cpython-313-x86_64-linux-gnu.so"), Vec::<String>::new());
    // there is one for each
    write(&root.join("p/_a.cpython-39-x86_64-linux-gnu.so"), "");
    assert_eq!(notes(foreign), Vec::<String>::new());
}

#[test]
fn links_travel_as_what_they_point_to_within_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for file in
        ["src/p/__init__.py", "src/data/x.txt", "outside.py", "src/.env", "src/.git/config", "src/run.sh"]
    {
        write(&root.join(file), "");
    }
    // met twice, and told once
    write(&root.join("src/data/.netrc"), "");
    fs::set_permissions(root.join("src/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for (target, link) in [
        ("../data", "src/p/data"),
        ("../../outside.py", "src/p/outside.py"),
        ("../.env", "src/p/innocent.txt"),
        ("../.git/config", "src/p/config"),
        ("nowhere", "src/p/broken"),
        ("..", "src/p/loop"),
        ("itself", "src/p/itself"),
        ("__init__.py", "src/p/same.py"),
        ("/etc/passwd", "src/p/passwd"),
        ("..", "src/up"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    assert!(Command::new("mkfifo").arg(root.join("src/fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(root.join("src/socket")).unwrap();
    let plan = of(&root, "src").unwrap();
    assert_eq!(names(&plan), ["data/x.txt", "p/__init__.py", "p/data/x.txt", "p/same.py", "run.sh"]);
    let mut notes: Vec<String> =
        plan.notes.iter().map(|note| note.replace(root.join("src").to_str().unwrap(), "SRC")).collect();
    notes.sort();
    let expected = [
        "SRC/.env is left out: its name is that of a secret",
        "SRC/data/.netrc is left out: its name is that of a secret",
        "SRC/fifo is left out: it is a FIFO",
        "SRC/p/loop is left out: it leads to a folder that it is in",
        "SRC/socket is left out: it is a socket",
        "SRC/up is left out: it leads out of the folder",
        "broken and itself in SRC/p are left out: they lead nowhere",
        "config and innocent.txt in SRC/p are left out: they lead to secrets",
        "outside.py and passwd in SRC/p are left out: they lead out of the folder",
    ];
    assert_eq!(notes, expected);
    // no file is opened by way of a link
    for file in &plan.sets[0].files {
        let Source::Path { root: top, file } = &file.source else { panic!("{file:?}") };
        assert_eq!((top, file.canonicalize().unwrap()), (&root.join("src"), file.clone()));
    }
    let executable = |name: &str| plan.sets[0].files.iter().any(|file| file.path == name && file.executable);
    assert!(executable("run.sh") && !executable("p/same.py"));
}

#[test]
fn secrets_stay_whatever_git_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n";
    for (file, text) in [
        ("x.py", ""),
        (".env", ""),
        (".env.local", ""),
        (".env.example", ""),
        ("id_rsa", ""),
        ("id_rsa.pub", ""),
        ("a/.netrc", ""),
        ("a/.ssh/config", ""),
        ("a/server.key", key),
        ("a/cert.pem", "-----BEGIN CERTIFICATE-----"),
        ("a/both.pem", key),
        ("a/ID_ED25519", ""),
        ("a/keys.py", key),
        (".pypirc", ""),
        ("store.p12", ""),
        (".hg/store", ""),
        ("a/.SVN/entries", ""),
    ] {
        write(&root.join(file), text);
    }
    git(root, &["init", "-q"]);
    git(root, &["add", "-f", "."]);
    let plan = of(root, ".").unwrap();
    assert_eq!(names(&plan), [".env.example", "a/cert.pem", "a/keys.py", "id_rsa.pub", "x.py"]);
    let mut notes: Vec<String> = plan
        .notes
        .iter()
        .map(|note| note.replace(root.canonicalize().unwrap().to_str().unwrap(), "SRC"))
        .collect();
    notes.sort();
    let expected = [
        ".env, .env.local, .pypirc, id_rsa and store.p12 in SRC are left out: their names are those of \
         secrets",
        ".netrc, .ssh and ID_ED25519 in SRC/a are left out: their names are those of secrets",
        "both.pem and server.key in SRC/a are left out: a private key is in each",
    ];
    // those of version control are missed by nobody
    assert_eq!(notes, expected);
}

#[test]
fn a_private_key_stays_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nMIGk\n-----END {kind}-----\n");
    let key = pem("PRIVATE KEY");
    let stay = [
        ("deploy_key", pem("OPENSSH PRIVATE KEY")),
        ("key2.txt", pem("RSA PRIVATE KEY")),
        ("ec.json", pem("EC PRIVATE KEY")),
        ("dsa", pem("DSA PRIVATE KEY")),
        ("locked.bin", pem("ENCRYPTED PRIVATE KEY")),
        ("backup.asc", pem("PGP PRIVATE KEY BLOCK")),
        ("ssh.com", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n".to_owned()),
        ("putty.txt", "PuTTY-User-Key-File-3: ssh-ed25519\n".to_owned()),
        ("bom", format!("\u{feff}{key}")),
        ("blank", format!("\r\n \n\n{key}")),
        ("wide", key.chars().flat_map(|char| [char, '\0']).collect()),
        ("server.crt", pem("CERTIFICATE").repeat(40) + &key),
        ("chain.pem", pem("CERTIFICATE").repeat(2000) + &key),
    ];
    let travel = [
        ("authority.crt", pem("CERTIFICATE").repeat(40)),
        ("deploy_key.pub", "ssh-ed25519 AAAA".to_owned()),
        ("empty", String::new()),
        ("guide.md", format!("A key begins so:\n{key}")),
        ("keys.py", key.clone()),
        ("public.txt", pem("PUBLIC KEY")),
    ];
    for (file, text) in stay.iter().chain(&travel) {
        write(&root.join("p").join(file), text);
    }
    for link in ["link", "link.py"] {
        symlink("deploy_key", root.join("p").join(link)).unwrap();
    }
    let plan = of(root, ".").unwrap();
    assert_eq!(names(&plan), travel.each_ref().map(|(file, _)| format!("p/{file}")));
    let p = root.canonicalize().unwrap().join("p");
    let note = format!(
        "backup.asc, blank, bom, chain.pem, deploy_key, dsa, ec.json, key2.txt and 7 more in {} are left \
         out: a private key is in each",
        p.display()
    );
    assert_eq!(plan.notes, [note]);
}

/// A plan that is kept in memory still holds then, or does not.
#[test]
fn a_file_that_becomes_a_private_key_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let key = "-----BEGIN PRIVATE KEY-----\n";
    for (file, text) in [("notes.txt", "x"), ("deploy_key", key), ("x.py", "")] {
        write(&root.join(file), text);
    }
    let found = || {
        let mut found = Found { watch: Watch::settled(), ..Found::default() };
        files("", root, &mut found).unwrap();
        assert!(found.watch.holds());
        found
    };
    let paths = |found: &Found| found.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    let first = found();
    assert_eq!(paths(&first), ["notes.txt", "x.py"]);
    write(&root.join("x.py"), key);
    assert!(first.watch.holds(), "an edited module costs no new list");
    write(&root.join("notes.txt"), key);
    assert!(!first.watch.holds());
    let second = found();
    assert_eq!(paths(&second), ["x.py"]);
    write(&root.join("deploy_key"), "x");
    assert!(!second.watch.holds());
    assert_eq!(paths(&found()), ["deploy_key", "x.py"]);
}

#[test]
fn names_that_no_host_should_get_are_errors() {
    use std::os::unix::ffi::OsStrExt;
    let refused = |names: &[&[u8]]| {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        }
        of(folder.path(), ".").unwrap_err().to_string()
    };
    let help = "rename it, or exclude it by a pattern in `.gitignore`";
    assert!(refused(&[b"a\xff.py"]).ends_with(&format!("its name is not UTF-8; {help}")));
    assert!(refused(&[b"a\nb.py"]).ends_with(&format!("there is a line end in its name; {help}")));
    let error = refused(&[b"Readme", b"README"]);
    let why = "differs from it only in the case of letters: rename one, or exclude one in `.gitignore`";
    assert!(error.ends_with(why), "{error}");
    assert!(refused(&["stra\u{df}e".as_bytes(), b"STRASSE"]).contains("only in the case"));
}

#[test]
fn names_that_no_host_should_get_can_be_ignored() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for file in ["p/__init__.py", "x.py", "README", "Readme"] {
        write(&root.join(file), "");
    }
    let odd = |name: &[u8]| root.join(std::ffi::OsStr::from_bytes(name));
    for name in [&b"\xff.txt"[..], b"p/\xfe.py", b"p/\n.py", b"q\xfd/__init__.py", b"r\xfcd.txt"] {
        fs::create_dir_all(odd(name).parent().unwrap()).unwrap();
        fs::write(odd(name), "").unwrap();
    }
    // a line in the bytes of the name counts, too
    fs::write(root.join(".gitignore"), b"?.txt\n?.py\n!x.py\nq*/\nr\xfcd.txt\nReadme\n").unwrap();
    assert_eq!(names(&of(root, ".").unwrap()), [".gitignore", "README", "p/__init__.py", "x.py"]);
    git(root, &["init", "-q"]);
    git(root, &["add", "-f", "p"]);
    let error = of(root, ".").unwrap_err().to_string();
    assert!(error.ends_with("; rename it: git keeps it, although it is ignored"), "{error}");
}

#[test]
fn a_folder_is_listed_anew_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("p/__init__.py"), "");
    let listed = |expected: &[&str]| assert_eq!(names(&of(root, ".").unwrap()), expected);
    listed(&["p/__init__.py"]);
    write(&root.join("p/new.py"), "");
    listed(&["p/__init__.py", "p/new.py"]);
    write(&root.join(".gitignore"), "*.txt\n");
    write(&root.join("x.txt"), "");
    listed(&[".gitignore", "p/__init__.py", "p/new.py"]);
    write(&root.join(".gitignore"), "*.log\n");
    listed(&[".gitignore", "p/__init__.py", "p/new.py", "x.txt"]);
    fs::remove_file(root.join("p/new.py")).unwrap();
    listed(&[".gitignore", "p/__init__.py", "x.txt"]);
}

fn git(root: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(root).args(args);
    // no settings of the person that runs the tests
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// Without modules, secrets and what is made anew, a folder has the files that git lists.
#[test]
fn rules_are_read_as_git_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    git(root, &["init", "-q"]);
    let rules = [
        (
            ".gitignore",
            "*.log\n!keep.log\n/top\ndeep/**/x\ndoc/*.txt\n\\!odd\n#comment\n\\#hash\n*.t[mx]p\nout/\n\
            foo/*\n!foo/bar/\nspace\\ \n**/any\nabc/**\nq?.dat\n/a/*/c\n",
        ),
        ("sub/.gitignore", "*\n!.gitignore\n!*.md\n"),
        ("sub2/.gitignore", "!*.log\nlocal\n/anchored\n"),
        (".git/info/exclude", "excluded\n"),
    ];
    for (file, text) in rules {
        write(&root.join(file), text);
    }
    let files = [
        "a.log",
        "keep.log",
        "x/keep.log",
        "x/a.log",
        "top",
        "x/top",
        "deep/x",
        "deep/a/x",
        "deep/a/b/x",
        "doc/a.txt",
        "doc/a/b.txt",
        "!odd",
        "#hash",
        "#comment",
        "a.tmp",
        "a.txp",
        "a.tap",
        "out/a",
        "x/out",
        "y/out/b",
        "foo/a",
        "foo/bar/b",
        "foo/c/d",
        "space ",
        "space",
        "any",
        "x/any",
        "x/y/any/z",
        "abc/a",
        "abc/b/c",
        "q1.dat",
        "q12.dat",
        "a/b/c",
        "a/b/d/c",
        "a/c",
        "sub/a",
        "sub/a.md",
        "sub/d/a.md",
        "sub2/a.log",
        "sub2/local",
        "sub2/x/local",
        "sub2/anchored",
        "sub2/x/anchored",
        "excluded",
        "x/excluded",
        "tracked.log",
        "out/tracked",
        "unicode-\u{e9}",
    ];
    for file in files {
        write(&root.join(file), "");
    }
    git(root, &["add", "-f", "tracked.log", "out/tracked"]);
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = |root: &Path| {
        let said = git(root, &list);
        let mut listed: Vec<String> = said.split_terminator('\0').map(str::to_owned).collect();
        listed.sort();
        listed
    };
    assert_eq!(names(&of(root, ".").unwrap()), listed(root));
    for below in ["sub", "sub2", "x"] {
        assert_eq!(names(&of(root, below).unwrap()), listed(&root.join(below)), "{below}");
    }
}
