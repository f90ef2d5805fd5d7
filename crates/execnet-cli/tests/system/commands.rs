//! What the commands say and do besides their main work, as a person at a shell sees it.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use execnet_testkit::{Lab, or_skip, shell, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Net, SOON, line, piped, text};

#[test]
fn help_is_the_same_however_it_is_asked_for() {
    let net = Net::new(None);
    let said = |args: &[&str]| {
        let output = net.execnet(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["help"]), said(&["--help"]));
    for verb in ["start", "addhost", "rmhost", "status", "python", "list", "logs", "stop", "completions"] {
        assert_eq!(said(&["help", verb]), said(&[verb, "--help"]));
        assert!(said(&["help"]).contains(&format!("\n  {verb} ")), "{verb}");
    }
    let output = net.execnet(["help", "strat"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn arguments_that_cannot_be_taken_are_named() {
    let net = Net::new(None);
    let odd = OsStr::from_bytes;
    for (args, code, says) in [
        (&[odd(b"start"), odd(b"net"), odd(b"ssh=b\xff")][..], 2, r#"argument 3 is not UTF-8: "ssh=b\xFF""#),
        (
            &[odd(b"python"), odd(b"net"), odd(b"--env"), odd(b"A=\xff\x1b"), odd(b"x.py")],
            125,
            r#"argument 4 is not UTF-8: "A=\xFF\u{1b}""#,
        ),
        (
            &[odd(b"python"), odd(b"net"), odd(b"--env=A=\xff"), odd(b"x.py")],
            125,
            r#"argument 3 is not UTF-8: "--env=A=\xFF""#,
        ),
        (&[odd(b"python"), odd(b"net"), odd(b"-c"), odd(b"\xff")], 125, "no network"),
        (&[odd(b"logs"), odd(b"net"), odd(b"-n"), odd(b"x")], 2, "'x' for '--lines <N>': expected a number"),
        (
            &[odd(b"logs"), odd(b"net"), odd(b"-n"), odd(b"-5")],
            2,
            "'-5' for '--lines <N>': expected a number",
        ),
    ] {
        let output = net.execnet(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.starts_with("Error: ") && said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn a_folder_with_control_characters_is_entered_and_never_shown_as_it_is() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let name = "odd\x1b]0;owned\x07\x1b[2J\nHint: ls\r\u{9b}31m\u{202e}";
    let (there, gone) = (host.home().join(name), host.home().join(format!("no{name}")));
    std::fs::create_dir(&there).unwrap();
    let [there, gone] = [there, gone].map(|path| path.to_str().unwrap().to_owned());
    let mut said = Vec::new();
    let mut keep = |output: std::process::Output| {
        said.extend([output.stdout.clone(), output.stderr.clone()]);
        output
    };

    let cwd = "import os; print(ascii(os.getcwd()))";
    let spec = net.spec("build1", &format!("//chdir={there}"));
    let output = keep(net.run("start", &[&spec]));
    assert!(output.status.success(), "{}", text(&output));
    let shown = format!("{:?}", net.python_ok(&["-c", cwd]));
    assert!(shown.contains("x1b]0;owned"), "{shown}");
    // the network's file still lists it
    net.ok("stop", &[]);
    let again = keep(net.run("stop", &[]));
    assert_eq!(again.status.code(), Some(3));
    assert!(
        text(&again).contains(" is not running\n") && !text(&again).contains("Hint: "),
        "{}",
        text(&again)
    );
    net.start(&[]);
    assert_eq!(format!("{:?}", net.python_ok(&["-c", cwd])), shown);
    assert!(net.host("build1")["spec"].as_str().unwrap().contains(&there));

    let refused = |output: &std::process::Output, code| {
        assert_eq!(output.status.code(), Some(code), "{}", text(output));
    };
    refused(&keep(net.run("addhost", &[&spec])), 2);
    refused(&keep(net.run("addhost", &[&net.spec("build1", "//nice=1")])), 2);
    refused(&keep(net.run("addhost", &[&format!("{spec}//chdir=x")])), 2);
    refused(&keep(net.run("start", &[&format!("{spec}//pyhton={gone}")])), 2);
    let nowhere = net.spec("build1", &format!("//id=nowhere//chdir={gone}"));
    keep(net.run("addhost", &[&nowhere]));
    let absent = keep(net.python(&["--node", "nowhere", "-c", "pass"]).output().unwrap());
    refused(&absent, 125);
    assert!(text(&absent).contains("No such file"), "{}", text(&absent));
    refused(&keep(net.python(&["--node", "build1", "--chdir", &gone, "-c", "pass"]).output().unwrap()), 125);
    assert_eq!(
        net.python_ok(&["--node", "nowhere", "--chdir", &there, "-c", cwd]),
        net.python_ok(&["--node", "build1", "-c", cwd])
    );
    for (verb, args) in [("status", &[][..]), ("status", &["--json"]), ("logs", &[])] {
        keep(net.run(verb, args));
    }
    keep(net.execnet(["list"]).output().unwrap());
    said.push(std::fs::read(net.log()).unwrap());
    for bytes in said {
        let said = String::from_utf8(bytes).unwrap();
        let steers = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!said.contains(steers), "{said:?}");
        assert!(!said.contains("\nHint: ls"), "{said}");
    }
}

#[test]
fn a_daemon_without_its_socket_is_waited_for_and_not_taken_for_none() {
    let net = Net::new(None);
    net.start(&["popen"]);
    let (daemon, agent, socket) = (net.daemon(), net.agent("local"), net.socket());
    // stopped, so that it cannot recreate the socket meanwhile
    signal(daemon, Signal::STOP);
    std::fs::remove_file(&socket).unwrap();
    // not added to a file either
    std::fs::remove_file(net.config()).unwrap();
    let list = text(&net.execnet(["list"]).output().unwrap());
    assert!(list.lines().any(|line| line.contains(&net.name) && line.contains("running")), "{list}");
    let output = net.run("start", &["popen"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(!socket.exists());
    let asked = piped(net.execnet(["status", &net.name, "--json"]));
    signal(daemon, Signal::CONT);
    let output = asked.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("\"agent_pid\": {agent}")));
    assert_eq!((net.daemon(), net.python_ok(&["-c", "print(1)"])), (daemon, "1".to_owned()));
}

#[test]
fn who_has_connected_to_a_socket_before_it_was_removed_is_served() {
    let net = Net::new(None);
    net.start(&["popen"]);
    let (daemon, socket) = (net.daemon(), net.socket());
    signal(daemon, Signal::STOP);
    let waiting: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    std::fs::remove_file(&socket).unwrap();
    // until its look for the socket is due, too: it takes the two in any order
    std::thread::sleep(Duration::from_secs(6));
    signal(daemon, Signal::CONT);
    for mut client in waiting {
        client.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 1, "the daemon has closed it");
    }
}

#[test]
fn logs_are_followed_over_a_rotation_and_a_stop_until_ctrl_c() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    // a log that is almost full: the daemon rotates it at 10 MiB
    let old = format!("{}last\n", format!("{}\n", "x".repeat(1023)).repeat(10 * 1024 - 1));
    std::fs::create_dir_all(net.state()).unwrap();
    std::fs::write(net.log(), &old).unwrap();
    net.start(&[&net.spec("build1", "")]);
    assert_eq!(net.ok("logs", &["-n", "0"]), "");
    assert!(net.ok("logs", &["-n", "3"]).starts_with("last\n"));
    let mut follower = piped(net.execnet(["logs", &net.name, "-f", "-n", "3"]));
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "last");
    let mut until = |says: &str| {
        let found = lines.find(|line| line.contains(says));
        assert!(found.is_some(), "the log ended before {says:?}");
    };
    until("build1 is up");
    let aside = net.log().with_extension("1");
    for count in 0.. {
        net.ok("addhost", &[&net.spec("build1", &format!("//id=more{count}"))]);
        until(&format!("more{count} is up"));
        net.ok("rmhost", &[&format!("more{count}")]);
        until(&format!("more{count} has left"));
        if aside.exists() {
            break;
        }
        assert!(count < 20, "the log is not put aside");
    }
    assert!(std::fs::metadata(net.log()).unwrap().len() < 10_000);
    net.ok("stop", &[]);
    until("stopped");
    net.start(&[]);
    until("life 2");
    until("build1 is up");
    signal(follower.id(), Signal::INT);
    assert_eq!(follower.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert_eq!(lines.next(), None);
    assert!(follower.wait_with_output().unwrap().stderr.is_empty());
}

#[test]
fn following_a_log_ends_with_its_reader() {
    let net = Net::new(None);
    net.start(&["popen"]);
    let mut follower = piped(net.execnet(["logs", &net.name, "-f"]));
    assert!(line(follower.stdout.as_mut().unwrap()).contains("INFO network"));
    drop(follower.stdout.take());
    wait_until(SOON, "the follower to end", || follower.try_wait().unwrap().is_some());
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn a_start_of_what_runs_says_so_however_its_hosts_would_fit() {
    let net = Net::new(None);
    net.start(&["popen"]);
    for specs in [&["popen//nice=1"][..], &["popen", "popen//nice=1"], &["ssh=c//via=nobody"]] {
        let output = net.run("start", specs);
        assert_eq!(output.status.code(), Some(5), "{specs:?}: {}", text(&output));
    }
    assert_eq!(net.run("start", &["pepon"]).status.code(), Some(2));
}

#[test]
fn who_has_another_file_than_the_network_is_told() {
    let net = Net::new(None);
    net.start(&["popen", "popen//id=b"]);
    let other = net.state();
    let elsewhere = |args: &[&str]| {
        let output = net.execnet(args).env("XDG_CONFIG_HOME", &other).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let theirs = other.join("execnet").join(format!("{}.toml", net.name)).display().to_string();
    let said = elsewhere(&["rmhost", &net.name, "b"]);
    let removed = format!("b: removed from {}", net.name);
    assert_eq!(said, format!("{removed}; {theirs} does not list it, so later starts are unaffected\n"));
    let said = elsewhere(&["addhost", &net.name, "popen//id=c"]);
    let config = net.config().display().to_string();
    assert!(
        said.contains(&format!("c was added to {theirs}, but the network was started from {config}")),
        "{said}"
    );

    // the owner of that file needs no note
    let output = net.run("addhost", &["popen//id=d"]);
    assert!(output.status.success() && !text(&output).contains(&config), "{}", text(&output));
    let output = net.run("rmhost", &["d"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("d: removed from {}\n", net.name));
}

#[test]
fn relative_paths_are_seen_from_the_folder_of_who_wrote_them() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let folder = net.state();
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::copy(net.lab().ssh_config(), folder.join("sub/relcfg")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/env", folder.join("sub/tool")).unwrap();
    std::fs::write(folder.join("sub/hosts.toml"), "hosts = ['ssh=build1//ssh_config=relcfg']\n").unwrap();
    let run = |here: &str, args: &[&str]| net.execnet(args).current_dir(folder.join(here)).output().unwrap();

    let output = run("", &["start", &net.name, "--file", "sub/hosts.toml"]);
    assert!(output.status.success(), "{}", text(&output));
    let absolute = |path: &str| folder.join(path).display().to_string();
    assert_eq!(net.host("build1")["spec"], format!("ssh=build1//ssh_config={}", absolute("sub/relcfg")));
    for spec in
        ["ssh=build1//ssh_config=./relcfg//id=b", "cmd=./tool python3", "popen//python=./tool python3"]
    {
        let output = run("sub", &["addhost", &net.name, spec]);
        assert!(output.status.success(), "{spec}: {}", text(&output));
        let output = run("sub", &["addhost", &net.name, spec]);
        assert_eq!(output.status.code(), Some(2), "{spec}: {}", text(&output));
        assert!(text(&output).contains("is already a host of this network"), "{}", text(&output));
    }
    assert_eq!(net.host("local")["spec"], format!("popen//python={} python3", absolute("sub/tool")));
    std::fs::create_dir_all(folder.join("sub/deep")).unwrap();
    let output = run("sub/deep", &["addhost", &net.name, "ssh=build1//ssh_config=../relcfg//id=b"]);
    assert!(text(&output).contains("is already a host of this network"), "{}", text(&output));
    let gone = format!("cd {0}; mkdir gone; cd gone; rmdir ../gone; \"$@\"", folder.display());
    let addhost = net.execnet(["addhost", &net.name, "cmd=./tool//id=gone"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &gone, "sh"]).arg(addhost.get_program()).args(addhost.get_args());
    for (name, value) in addhost.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("give an absolute path"), "{}", text(&output));
    net.ok("rmhost", &["tool"]);
    net.ok("stop", &[]);
    // the file says the same from anywhere
    let output = run("", &["start", &net.name]);
    assert!(output.status.success(), "{}", text(&output));
    let file = std::fs::read_to_string(net.config()).unwrap();
    assert!(file.contains(&absolute("sub/relcfg")) && !file.contains("cmd="), "{file}");
}

/// What each shell answers with our completions: its arguments before the script, and the script, which calls
/// `ask "WORDS"`.
const SHELLS: [(&str, &[&str], &str); 3] = [
    (
        "bash",
        &["--norc", "--noprofile", "-uc"],
        "source <(execnet completions bash) || exit 9
        complete -p execnet | grep -q -- '-F _execnet' || exit 8
        # as bash breaks a line, and puts in the place of the last part what it is given
        ask() {
            local part; COMP_LINE=$1 COMP_TYPE=9 COMP_WORDS=($(sed 's/[:=@][:=@]*/ & /g' <<< \"$1\"))
            [[ $1 == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=(); part=${COMP_WORDS[COMP_CWORD]##*[:=@]}
            [[ $1 == *@$part ]] && part=@$part
            _execnet execnet \"$part\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
            part=${1%\"$part\"}; part=${part##* }
            [[ ${#COMPREPLY[@]} == 0 ]] || printf '%s\\n' \"${COMPREPLY[@]/#/$part}\"
        }",
    ),
    (
        "fish",
        &["--no-config", "-c"],
        "execnet completions fish | source || exit 9
        function ask; complete -C $argv[1] | string split -f1 \\t; true; end",
    ),
    (
        "zsh",
        &["-fc"],
        "autoload -U compinit && compinit -D -u || exit 7
        source <(execnet completions zsh) || exit 9
        [[ $_comps[execnet] = _execnet ]] || exit 8
        _describe() { local all=(${(P)argv[3]}) one; for one in $all; do
            one=${one//\\\\:/$'\\1'}; one=${one%%:*}; print -r -- ${one//$'\\1'/:}; done }
        ask() { words=(${(s: :)1}); [[ $1 = *' ' ]] && words+=(''); CURRENT=$#words; _execnet }",
    ),
];

#[test]
fn shells_load_the_completions_and_complete_verbs_options_networks_and_hosts() {
    let net = Net::new(None);
    // a prefix that no other test's network has
    let name = format!("shown-{}", net.name);
    std::fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    std::fs::write(
        net.config().with_file_name(format!("{name}.toml")),
        "hosts = [\"ssh=inner1\", \"popen\"]\n[groups]\nweb = \"inner[1-9]\"\n",
    )
    .unwrap();
    net.start(&["popen//python=*"]);
    let scripts = net.state();
    std::fs::write(scripts.join("verbose.py"), "").unwrap();
    std::fs::write(scripts.join("two words.py"), "").unwrap();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_execnet")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    for (program, args, script) in SHELLS {
        let Some(shell) = or_skip(shell(program)) else { continue };
        let asked = |words: &str| {
            let execnet = net.execnet([""; 0]);
            let mut command = Command::new(&shell);
            command.args(args).arg(format!("{script}\nask '{words}'"));
            command.envs(execnet.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let output = command.env("PATH", &path).env("HOME", "/nonexistent").output().unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{program} {words:?}: {}",
                text(&output)
            );
            let said = String::from_utf8(output.stdout).unwrap();
            said.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(asked("execnet st"), ["start", "status", "stop"], "{program}");
        assert_eq!(asked("execnet help add"), ["addhost"], "{program}");
        assert_eq!(asked("execnet logs --l"), ["--lines"], "{program}");
        assert_eq!(asked("execnet stop shown-"), [&name[..]], "{program}");
        assert_eq!(asked(&format!("execnet rmhost {name} inn")), ["inner1"], "{program}");
        assert_eq!(asked(&format!("execnet python {name} --node loc")), ["local"], "{program}");
        assert_eq!(asked(&format!("execnet exec {name} --node local,inn")), ["local,inner1"], "{program}");
        assert_eq!(asked(&format!("execnet exec {name} --node @w")), ["@web"], "{program}");
        assert_eq!(asked(&format!("execnet exec {name} --node local,@")), ["local,@web"], "{program}");
        assert_eq!(asked(&format!("execnet drain {name} local,@")), ["local,@web"], "{program}");
        assert!(asked("execnet completions ").contains(&"fish".to_owned()), "{program}");
        assert_eq!(asked(&format!("execnet python {name} --platform ja")), ["java"], "{program}");
        assert_eq!(asked(&format!("execnet exec {name} --implementation py")), ["pypy"], "{program}");
        let key = format!("execnet addhost {name} ssh=a//env:B=c//pyth");
        assert_eq!(asked(&key), ["ssh=a//env:B=c//python="], "{program}");
        let file = format!("execnet exec {name} --node inner1 {}/verb", scripts.display());
        assert_eq!(asked(&file), [format!("{}/verbose.py", scripts.display())], "{program}");
        // the other shells quote what they insert
        let words = if program == "bash" { "two\\ words" } else { "two words" };
        let file = format!("execnet exec {name} --node inner1 {}/two", scripts.display());
        assert_eq!(asked(&file), [format!("{}/{words}.py", scripts.display())], "{program}");
        let via = format!("execnet addhost {name} ssh=a//via=inn");
        assert_eq!(asked(&via), ["ssh=a//via=inner1"], "{program}");
        let nodes = asked(&format!("execnet python {} --node local:", net.name));
        assert!(nodes.iter().any(|node| node.starts_with("local:cpython3.")), "{program}: {nodes:?}");
    }
}

/// `execnet ARGS…` with the state folder on a file system of its own, of `pages` pages and filled as `fill`
/// says. Only this command sees it.
fn on_small_disk(net: &Net, pages: u32, fill: &str, args: &[&str]) -> Output {
    let script = format!(
        "mkdir -p \"$1\" && mount -t tmpfs -o mode=700,size={}k,nr_inodes=99 none \"$1\" &&
         cd \"$1\" && {{ {fill}; }}; cd / && shift && exec \"$@\"",
        4 * pages
    );
    let execnet = net.execnet([""; 0]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(net.state());
    command.args(["env", "--default-signal", env!("CARGO_BIN_EXE_execnet")]).args(args);
    command.envs(execnet.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).output().unwrap()
}

fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped, because only root can mount a file system that is full");
    }
    root
}

#[test]
fn a_start_without_room_for_its_state_says_so_and_changes_nothing() {
    if !may_mount() {
        return;
    }
    let net = Net::new(None);
    let secret = format!("umask 077; echo {} > secret", "0".repeat(64));
    for (pages, fill, file) in [
        (1, "head -c 4096 /dev/zero > full".to_owned(), "secret"),
        (2, format!("{secret}; cat /dev/zero > full 2>&-"), "life"),
    ] {
        let output = on_small_disk(&net, pages, &fill, &["start", &net.name, "popen"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let path = net.state().join(file);
        assert!(said.contains(&path.display().to_string()) && said.contains("No space left"), "{said}");
        assert!(said.contains("Hint: make room"), "{said}");
        assert!(!net.config().exists() && !net.state().join("log").exists());
        assert_eq!(net.run("status", &[]).status.code(), Some(3), "no daemon is left");
    }
}

#[test]
fn a_daemon_whose_log_cannot_be_written_works_on_and_logs_again_when_it_can() {
    if !may_mount() {
        return;
    }
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let spec = net.spec("build1", "");
    let output = on_small_disk(&net, 8, "true", &["start", &net.name, &spec]);
    assert!(output.status.success(), "{}", text(&output));
    let daemon = net.daemon();
    // the folder as the daemon sees it
    let state = PathBuf::from(format!("/proc/{daemon}/root{}", net.state().display()));
    let log = || std::fs::read_to_string(state.join("log")).unwrap();
    assert!(log().contains("build1 is up"));
    // all but a few bytes of the log's last page, and all other pages
    let mut file = OpenOptions::new().append(true).open(state.join("log")).unwrap();
    let room = 4096 - file.metadata().unwrap().len() % 4096;
    assert!(room > 100);
    writeln!(file, "{}", "x".repeat(room as usize - 51)).unwrap();
    let mut fill = std::fs::File::create(state.join("full")).unwrap();
    while fill.write_all(&[0; 4096]).is_ok() {}
    net.ok("addhost", &[&net.spec("build1", "//id=more")]);
    assert_eq!(net.python_ok(&["--node", "more", "-c", "print(1)"]), "1");
    net.ok("rmhost", &["more"]);
    let full = log();
    assert_eq!((full.len() % 4096, full.contains("more has left")), (0, false), "{full}");
    fill.set_len(0).unwrap();
    net.ok("addhost", &[&net.spec("build1", "//id=again")]);
    let rest = log()[full.len()..].to_owned();
    let lines: Vec<&str> = rest.lines().collect();
    assert!(lines[0].is_empty() && lines[1].ends_with("INFO adding again"), "a torn line is closed: {rest}");
    assert_eq!(net.daemon(), daemon);
}

#[test]
fn two_starts_at_one_moment_make_one_network() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let spec = net.spec("build1", "");
    std::fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    for specs in [&[][..], &[spec.as_str()]] {
        std::fs::write(
            net.config(),
            if specs.is_empty() { format!("hosts = ['{spec}']\n") } else { String::new() },
        )
        .unwrap();
        let start = || piped(net.execnet(["start", &net.name].into_iter().chain(specs.iter().copied())));
        let outputs = [start(), start(), start(), start()].map(|child| child.wait_with_output().unwrap());
        let said: Vec<String> = outputs.iter().map(text).collect();
        let mut codes = outputs.map(|output| output.status.code().unwrap());
        codes.sort_unstable();
        assert_eq!(codes, [0, 5, 5, 5], "{said:#?}");
        let refused = said.iter().filter(|said| said.contains("is already running")).count();
        let hinted = said.iter().filter(|said| said.contains("execnet addhost")).count();
        assert_eq!((refused, hinted), (3, 3), "{said:#?}");
        let daemons = std::fs::read_to_string(net.log()).unwrap().matches("INFO network").count();
        assert_eq!(daemons, if specs.is_empty() { 1 } else { 2 }, "each in turn");
        assert_eq!(net.lab().hosts()[0].ssh_pids().len(), 1);
        let file = std::fs::read_to_string(net.config()).unwrap();
        assert_eq!(file.matches("ssh=build1").count(), 1, "{file}");
        assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
        net.ok("stop", &[]);
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}
