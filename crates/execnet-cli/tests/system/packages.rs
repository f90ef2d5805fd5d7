//! Packages of this machine on hosts that have nothing but Python: `--with`, `execnet packages`, `--clean`.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use execnet_testkit::{Lab, LabHost, or_skip, require, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Net, SOON, line, piped, text};

/// Two ssh hosts that keep packages in folders of their own.
fn two() -> Option<Net> {
    let found = or_skip(require(&["3.8", "3.13"]))?;
    let lab = or_skip(Lab::new())?;
    lab.host("build1").pythons([&found[1].name]).start().unwrap();
    lab.host("build2").pythons([&found[0].name]).through_proxy().start().unwrap();
    let net = Net::new(Some(lab));
    let specs = ["build1", "build2"].map(|host| {
        let folder = net.folder(host);
        net.spec(host, &format!("//env:EXECNET_PACKAGES_FOLDER={}", folder.display()))
    });
    net.start(&[&specs[0], &specs[1]]);
    Some(net)
}

/// A virtual environment with two distributions, of which `greeting` requires `words`.
fn environment(net: &Net) -> PathBuf {
    let python = &require(&["3.13"]).unwrap()[0].path;
    let venv = net.folder("venv");
    let made = Command::new(python).args(["-m", "venv", "--without-pip"]).arg(&venv).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let site = venv.join("lib/python3.13/site-packages");
    install(&site, "words", "", &[("words/__init__.py", "HELLO = 'hello'\n"), ("words/data.txt", "data\n")]);
    let module = "import words\ndef greet(name): return words.HELLO + ' ' + name\n";
    install(&site, "greeting", "Requires-Dist: words\n", &[("greeting.py", module)]);
    venv
}

/// Installs a pure distribution, as pip would.
fn install(site: &Path, name: &str, metadata: &str, files: &[(&str, &str)]) {
    let about = format!("{name}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}");
    let wheel = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let own = [(format!("{about}/METADATA"), metadata.as_str()), (format!("{about}/WHEEL"), wheel)];
    let all = files.iter().map(|(path, content)| ((*path).to_owned(), *content)).chain(own);
    let mut record = String::new();
    for (path, content) in all {
        fs::create_dir_all(site.join(&path).parent().unwrap()).unwrap();
        fs::write(site.join(&path), content).unwrap();
        record += &format!("{path},,{}\n", content.len());
    }
    fs::write(site.join(&about).join("RECORD"), format!("{record}{about}/RECORD,,\n")).unwrap();
}

fn host(net: &Net, name: &str) -> LabHost {
    net.lab().hosts().into_iter().find(|host| host.name() == name).unwrap()
}

impl Net {
    /// `execnet VERB NAME ARGS…` in this folder, without a virtual environment.
    fn within(&self, folder: &Path, verb: &str, args: &[&str]) -> Command {
        let mut all = vec![verb, &self.name];
        all.extend(args);
        let mut command = self.execnet(all);
        command.current_dir(folder).env_remove("VIRTUAL_ENV");
        command
    }

    /// `execnet packages --json` of one host.
    #[track_caller]
    fn packages(&self, host: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(&self.ok("packages", &[host, "--json"])).unwrap();
        let [only] = all["hosts"].as_array().unwrap().as_slice() else { panic!("{all:#}") };
        assert_eq!(only["host"], host);
        only["packages"].as_array().unwrap_or_else(|| panic!("{all:#}")).clone()
    }
}

fn output_of(mut command: Command) -> Output {
    command.output().unwrap()
}

#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(0), "{}", text(output));
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_folder_comes_along_to_every_node() {
    let Some(net) = two() else { return };
    let work = net.folder("work");
    fs::create_dir_all(work.join("src/tools")).unwrap();
    fs::write(work.join("src/tools/__init__.py"), "").unwrap();
    fs::write(work.join("src/tools/count.py"), "def double(n): return 2 * n\n").unwrap();
    fs::write(
        work.join("script.py"),
        "import subprocess, sys, tools.count\n\
         child = [sys.executable, '-c', 'import tools.count; print(tools.count.double(4))']\n\
         channel.send((tools.count.double(21), int(subprocess.check_output(child)), sys.argv[1:]))\n",
    )
    .unwrap();
    let args = ["--with", "./src", "script.py", "--with"];
    let output = net.within(&work, "exec", &args).output().unwrap();
    let expected = ["build1", "build2"].map(|node| format!("{node}: (42, 8, ['--with'])"));
    assert_eq!(lines(&output), expected);
    assert_eq!(output.stderr, b"", "{}", text(&output));

    // a change here is one there
    fs::write(work.join("src/tools/count.py"), "def double(n): return -2 * n\n").unwrap();
    let output = net.within(&work, "exec", &args).output().unwrap();
    let expected = ["build1", "build2"].map(|node| format!("{node}: (-42, -8, ['--with'])"));
    assert_eq!(lines(&output), expected);

    let output = net.within(&work, "exec", &["--with", "src", "pass"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("Error: `src` is not installed in "), "{said}");
    assert!(said.ends_with("\nHint: `./src` brings along what is here\n"), "{said}");
    let output = net.within(&work, "exec", &["--with", "./scr", "pass"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("Error: `") && said.contains("/work/scr` cannot be read: "), "{said}");
    assert_eq!(said.matches("Error").count(), 1, "the same for all nodes: {said}");
}

#[test]
fn a_distribution_comes_along_with_what_it_requires() {
    let Some(net) = two() else { return };
    let (venv, work) = (environment(&net), net.folder("work"));
    let code = "import greeting, importlib.metadata, os.path, words\n\
                data = open(os.path.join(os.path.dirname(words.__file__), 'data.txt')).read()\n\
                channel.send((greeting.greet('you'), importlib.metadata.version('words'), data))";
    let expected = ["build1", "build2"].map(|node| format!("{node}: ('hello you', '1.0', 'data\\n')"));
    let output =
        net.within(&work, "exec", &["--with", "greeting", code]).env("VIRTUAL_ENV", &venv).output().unwrap();
    assert_eq!(lines(&output), expected);
    let named = ["--environment", venv.to_str().unwrap(), "--with=greeting", code];
    assert_eq!(lines(&net.within(&work, "exec", &named).output().unwrap()), expected);
    let python = venv.join("bin/python");
    let named = ["--environment", python.to_str().unwrap(), "--with=*", "--one", "--json", code];
    let output = net.within(&work, "exec", &named).output().unwrap();
    let value: Value = serde_json::from_str(&lines(&output).concat()).unwrap();
    assert_eq!(value["value"][0], "hello you");

    // names that are wrong are told with what there is, and where
    for (item, said) in [
        ("gretting", vec!["`gretting` is not installed in ", "/venv/bin/python", "did you mean `greeting`?"]),
        ("greeting[fast]", vec!["`greeting` has no extra `fast`"]),
        ("greeting==1", vec!["`greeting==1` cannot be packages: only a name"]),
        ("!*", vec!["`!*` cannot be packages: "]),
        ("!words", vec!["`!words` cannot be packages: it only leaves something out; add `*`"]),
    ] {
        let output = net
            .within(&work, "exec", &["--with", item, "channel.send(1)"])
            .env("VIRTUAL_ENV", &venv)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{}", text(&output));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("Error: ") && error.matches("Error").count() == 1, "{error}");
        assert!(said.iter().all(|said| error.contains(said)), "{error}");
    }
    let mut wrong = net.within(&work, "python", &["--with", "gretting", "-V"]);
    let output = wrong.env("VIRTUAL_ENV", &venv).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    let fake = net.folder("fake/bin").join("python3");
    std::os::unix::fs::symlink("/bin/true", &fake).unwrap();
    let fake = net.folder("fake").display().to_string();
    for (variable, args, said) in [
        ("/not/there", vec!["--with", "greeting"], "VIRTUAL_ENV is `/not/there`, which has no Python"),
        ("", vec!["--with", "greeting", "--environment", "/not/there"], "`/not/there` is no program"),
        (
            "",
            vec!["--with", "greeting", "--environment", "/bin/true"],
            "Error: --environment: `/bin/true` is no Python interpreter (exit status: 0: it printed \
             nothing)\nHint: name a Python",
        ),
        (&fake, vec!["--with", "greeting"], "\nHint: choose a Python with `--environment PYTHON`"),
        ("", vec!["--large"], "--with <ITEM>"),
    ] {
        let mut command = net.within(&work, "exec", &[&args[..], &["pass"]].concat());
        let output = command.env("VIRTUAL_ENV", variable).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{}", text(&output));
    }
}

#[test]
fn python_runs_as_before_on_the_node_that_has_the_packages() {
    let Some(net) = two() else { return };
    let (venv, work) = (environment(&net), net.folder("work"));
    let python = |args: &[&str]| {
        let mut command = net.within(&work, "python", &[&["--with", "greeting"], args].concat());
        command.env("VIRTUAL_ENV", &venv);
        command
    };
    let code = "import greeting, os, sys\n\
                print(greeting.greet(sys.stdin.read()), sys.argv[1:], os.environ['A'])\n\
                sys.stderr.write('err'); sys.exit(7)";
    let mut child = piped(python(&["--node", "build2", "--env", "A=b", "-c", code, "x y"]));
    child.stdin.take().unwrap().write_all(b"you").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(output.stdout, b"hello you ['x y'] b\n", "{}", text(&output));
    assert_eq!(output.stderr, b"err");

    // its children have them, too; a module is run as any other
    let code = "import subprocess, sys\n\
                print(subprocess.check_output([sys.executable, '-m', 'words.__init__']) == b'')\n\
                print(subprocess.call([sys.executable, '-E', '-c', 'import words']))";
    let output = python(&["--python-version", "3.13", "-c", code]).output().unwrap();
    assert_eq!(output.stdout, b"True\n1\n", "{}", text(&output));

    // a folder that was named, and cannot be made, is an error that says so
    let output =
        python(&["--node", "build1", "--env", "EXECNET_PACKAGES_FOLDER=/proc/none", "-c", "print(1)"]);
    let output = output_of(output);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(125), &b""[..]), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`build1`") && said.contains("cannot make /proc/none: "), "{said}");

    let all = ["--env", "EXECNET_PACKAGES_FOLDER=/proc/none", "--with", "native", "pass"];
    install(&venv.join("lib/python3.13/site-packages"), "native", "", &[("native.abi3.so", "none")]);
    let output = net.within(&work, "exec", &all).env("VIRTUAL_ENV", &venv).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    let why = "build1: execnet: cannot keep packages on this host: ";
    assert_eq!(said.matches(why).count(), 1, "{said}");

    // signals arrive
    let code = "import greeting, signal, sys\n\
                signal.signal(signal.SIGINT, lambda *_: sys.exit(9))\n\
                print('ready', flush=True)\nsignal.pause()";
    let mut child = piped(python(&["-c", code]));
    assert_eq!(line(child.stdout.as_mut().unwrap()), "ready");
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(9), None), "{}", text(&output));
    assert_eq!(output.stderr, b"", "{}", text(&output));
}

#[test]
fn what_hosts_hold_is_listed_and_removed_unless_it_is_in_use() {
    let Some(net) = two() else { return };
    let (venv, work) = (environment(&net), net.folder("work"));
    fs::create_dir_all(work.join("src")).unwrap();
    fs::write(work.join("src/mine.py"), "x = 1\n".repeat(500)).unwrap();
    assert_eq!(net.packages("build1"), [Value::Null; 0]);
    let args = [
        "--node",
        "build1",
        "--with",
        "greeting",
        "-c",
        "import greeting, sys; print(1, flush=True); input()",
    ];
    let mut user = piped({
        let mut command = net.within(&work, "python", &args);
        command.env("VIRTUAL_ENV", &venv);
        command
    });
    assert_eq!(line(user.stdout.as_mut().unwrap()), "1");
    let output = net.within(&work, "exec", &["--with", "./src", "import mine; channel.send(mine.x)"]);
    let output = output_of(output);
    assert_eq!(lines(&output), ["build1: 1", "build2: 1"]);

    let held = net.packages("build1");
    let used = |name: &str| {
        let of = |held: &&Value| held["title"].as_str().unwrap().contains(name);
        let held = net.packages("build1");
        held.iter().find(of).unwrap_or_else(|| panic!("{held:#?}"))["in_use"].as_bool().unwrap()
    };
    assert!(used("greeting"));
    wait_until(SOON, "the interpreters of `exec` to be gone", || !used("src"));
    assert!(
        held.iter().all(|held| Path::new(held["folder"].as_str().unwrap()).starts_with(net.folder("build1")))
    );
    let table = net.ok("packages", &[]);
    assert!(table.starts_with("HOST / PACKAGES"), "{table}");
    assert!(
        table.contains("\nbuild1 ") && table.contains("\nbuild2 ") && table.contains("greeting"),
        "{table}"
    );

    let said = net.ok("packages", &["build1", "--clean"]);
    assert!(said.starts_with("build1: removed ") && said.contains(" of packages, "), "{said}");
    assert!(said.contains("; in use, so kept: "), "{said}");
    assert!(said.contains("greeting") && said.lines().count() == 1, "{said}");
    assert!(used("greeting"));
    drop(user.stdin.take());
    user.wait().unwrap();
    wait_until(SOON, "the packages to be unused", || !used("greeting"));

    let output = net.run("packages", &["build1", "bild2"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `build2`?"), "{}", text(&output));

    // a host that cannot be reached is named, and the others are done
    let build2 = host(&net, "build2");
    build2.stop_sshd();
    build2.kill_ssh();
    net.wait_for("build2", "unreachable");
    let output = net.run("packages", &[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("execnet: build2: not listed: unreachable: ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("greeting"), "{}", text(&output));
    let output = net.run("packages", &["--json", "--clean"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["hosts"][0]["removed"].as_u64() > Some(0), "{json:#}");
    assert_eq!(json["hosts"][0]["in_use"], Value::Array(vec![]));
    assert_eq!(json["hosts"][0].as_object().unwrap().len(), 4, "{json:#}");
    assert!(json["hosts"][1]["error"].as_str().unwrap().starts_with("unreachable: "), "{json:#}");
}

#[test]
fn a_host_that_cannot_use_its_folder_is_named() {
    let Some(net) = two() else { return };
    let draft = net.folder("build1").join("packages").join(format!(".new-{}-1", "0".repeat(64)));
    let work = net.folder("work");
    fs::write(work.join("mine.py"), "").unwrap();
    let brought = output_of(net.within(&work, "exec", &["--node", "build1", "--with", "./mine.py", "pass"]));
    assert!(brought.status.success(), "{}", text(&brought));
    fs::create_dir(&draft).unwrap();
    fs::write(draft.join("half.py"), "x = 1\n".repeat(500_000)).unwrap();
    net.ok("addhost", &["popen//id=odd//env:EXECNET_PACKAGES_FOLDER=/dev/null/x"]);
    let why = "EXECNET_PACKAGES_FOLDER names a folder that cannot be used: /dev/null is not a folder";
    let unfinished = net.packages("build1").into_iter().find(|held| held["title"] == "unfinished").unwrap();
    assert_eq!((&unfinished["size"], &unfinished["in_use"]), (&3_000_000.into(), &false.into()));

    for (args, said) in [(&[][..], "listed"), (&["--clean"], "cleaned")] {
        let output = net.run("packages", args);
        assert_eq!(output.status.code(), Some(6), "{}", text(&output));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("execnet: odd: not {said}: {why}\n"),
            "{}",
            text(&output)
        );
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(if args.is_empty() { "  unfinished " } else { "build1: removed " }), "{told}");
        assert!(!told.contains("odd"), "{told}");
        let output = net.run("packages", &[args, &["--json", "odd"]].concat());
        assert_eq!(output.status.code(), Some(6), "{}", text(&output));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["hosts"], serde_json::json!([{"host": "odd", "error": why}]));
    }
    assert!(!draft.exists());
    let output = net.run("rmhost", &["odd", "--clean"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with(&format!("odd: its packages stay: {why}\nodd: removed from ")), "{said}");
}

#[test]
fn hosts_are_cleaned_before_they_are_told_to_end() {
    let Some(net) = two() else { return };
    let work = net.folder("work");
    fs::write(work.join("mine.py"), "x = 1\n").unwrap();
    let bring = || {
        let output = net.within(&work, "exec", &["--with", "./mine.py", "import mine; channel.send(mine.x)"]);
        lines(&output_of(output));
    };
    bring();
    // what `exec` has left may still be ending
    let unused = |host: &str| net.packages(host).iter().all(|held| held["in_use"] == false);
    wait_until(SOON, "the packages to be unused", || unused("build1") && unused("build2"));
    let holds = |host: &str| {
        let entries = fs::read_dir(net.folder(host).join("packages")).unwrap();
        entries.map(|entry| entry.unwrap().path()).any(|path| path.is_dir())
    };
    assert!(holds("build1") && holds("build2"));
    let output = net.run("rmhost", &["build2", "--clean"]);
    assert!(output.status.success(), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("build2: removed "), "{said}");
    assert!(said.contains("build2: removed from "), "{said}");
    assert!(holds("build1") && !holds("build2"));

    let folder = net.folder("build2");
    net.ok("addhost", &[&net.spec("build2", &format!("//env:EXECNET_PACKAGES_FOLDER={}", folder.display()))]);
    bring();
    wait_until(SOON, "the packages to be unused", || unused("build1") && unused("build2"));
    let build2 = host(&net, "build2");
    build2.stop_sshd();
    build2.kill_ssh();
    net.wait_for("build2", "unreachable");
    let output = net.run("stop", &["--clean"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("build1: removed "), "{said}");
    assert!(said.contains("build2: its packages stay: unreachable: "), "{said}");
    assert!(said.ends_with(": stopped\n"), "{said}");
    assert!(!holds("build1") && holds("build2"));
}
