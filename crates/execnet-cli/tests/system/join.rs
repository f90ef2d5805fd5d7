//! Hosts join and leave. A failure says where it happened and why.

use std::path::Path;
use std::process::Command;

use execnet_proto::opening::VERSION;
use execnet_testkit::{Lab, alive, or_skip, wait_until};

use crate::harness::{Net, SOON, text};

#[test]
fn every_interpreter_can_carry_an_agent() {
    let names = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "pypy3", "jython"];
    let Some(lab) = or_skip(Lab::new()) else { return };
    for name in names {
        let Some(_) = or_skip(lab.host(&format!("h{name}")).pythons([name]).start()) else { return };
    }
    let net = Net::new(Some(lab));
    let specs: Vec<_> = names.iter().map(|name| net.spec(&format!("h{name}"), "//patience=5m")).collect();
    net.start(&specs.iter().map(String::as_str).collect::<Vec<_>>());
    for name in names {
        let host = net.host(&format!("h{name}"));
        let node = &host["nodes"][0];
        let code = "import sys; print('%d.%d' % sys.version_info[:2])";
        let version = net.python_ok(&["--node", &format!("h{name}"), "-c", code]);
        assert!(node["version"].as_str().unwrap().starts_with(&version), "{host}");
        match name {
            "pypy3" | "jython" => assert_eq!(node["implementation"], name.trim_end_matches('3'), "{host}"),
            _ => {
                assert_eq!(
                    (node["implementation"].as_str(), &version[..]),
                    (Some("cpython"), name),
                    "{host}"
                );
            }
        }
    }
}

#[test]
fn hosts_that_fail_say_where_and_why_and_the_others_are_up() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("good").start().unwrap();
    lab.host("down").down().start().unwrap();
    lab.host("refused").refuse_auth().start().unwrap();
    lab.host("changed").wrong_host_key().start().unwrap();
    lab.host("unknown").unknown_host_key().start().unwrap();
    lab.host("bare").no_python().start().unwrap();
    let old = "#!/bin/sh\nexit 91\n";
    lab.host("old").no_python().script("python3", old).start().unwrap();
    lab.host("broken").start().unwrap();
    let net = Net::new(Some(lab));
    let mut specs: Vec<_> = ["good", "down", "refused", "changed", "unknown", "bare", "old"]
        .map(|name| net.spec(name, ""))
        .into();
    specs.push(net.spec("nowhere.invalid", ""));
    specs.push(net.spec("broken", "//python=/bin/true"));
    specs.push("ssh=behind//via=down".into());
    let output = net.run("start", &specs.iter().map(String::as_str).collect::<Vec<_>>());
    let said = text(&output);
    assert_eq!(output.status.code(), Some(6), "{said}");
    for (id, step, hint) in [
        ("down", "connect", true),
        ("refused", "authenticate", true),
        ("changed", "host-key", true),
        ("unknown", "host-key", true),
        ("bare", "python", true),
        ("old", "python-too-old", true),
        ("nowhere.invalid", "resolve", true),
        ("behind", "via", false),
    ] {
        let host = net.host(id);
        assert_ne!(host["state"], "up", "{host}");
        assert_eq!(host["step"], step, "{host}");
        assert!(host["error"].is_string() && (!hint || host["hint"].is_string()), "{host}");
        assert!(said.contains(id), "{said}");
    }
    assert_eq!(net.host("good")["state"], "up");
    let node = net.host("broken")["nodes"][0].clone();
    assert_eq!(node["state"], "failed", "{node}");
    assert!(node["message"].as_str().unwrap().contains("/bin/true"), "{node}");
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");

    let down = net.lab().hosts().into_iter().find(|host| host.name() == "down").unwrap();
    down.start_sshd().unwrap();
    net.wait_for("down", "up");
}

#[test]
fn added_hosts_are_there_at_the_next_start_and_removed_ones_are_not() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    lab.host("build2").start().unwrap();
    let net = Net::new(Some(lab));
    std::fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    let mine = format!("# mine\nhosts = [\n    \"{}\",  # the first\n]\n", net.spec("build1", ""));
    std::fs::write(net.config(), &mine).unwrap();
    net.start(&[]);
    net.ok("addhost", &[&net.spec("build2", "")]);
    assert_eq!(net.python_ok(&["--node", "build2", "-c", "print(2)"]), "2");
    net.ok("stop", &[]);
    net.start(&[]);
    assert_eq!(net.python_ok(&["--node", "build2", "-c", "print(2)"]), "2");
    net.ok("rmhost", &["build2"]);
    assert_eq!(std::fs::read_to_string(net.config()).unwrap(), mine, "comments are kept");
    assert_eq!(net.status()["hosts"].as_array().unwrap().len(), 1);
}

#[test]
fn nothing_configured_means_the_pythons_of_this_machine() {
    let net = Net::new(None);
    net.start(&[]);
    let nodes = net.host("local")["nodes"].as_array().unwrap().clone();
    assert!(
        nodes.iter().any(|node| node["state"] == "ready" && node["implementation"] == "cpython"),
        "{nodes:?}"
    );
    let list = net.execnet(["list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&list.stdout).contains(&net.name), "{}", text(&list));
}

#[test]
fn wrong_names_specs_and_states_change_nothing() {
    let net = Net::new(None);
    let fails = |args: &[&str], code: i32, says: &str| {
        let output = net.execnet(args).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?} does not say {says:?}: {said}");
    };
    let name = net.name.as_str();
    fails(&["status", name], 3, "no network");
    fails(&["python", name, "-c", "pass"], 125, "no network");
    fails(&["start", "../etc"], 2, "../etc");
    fails(&["start", name, "ssh=a//pyhton=3"], 2, "python");
    fails(&["start", name, "ssh=a//python=3//python=2"], 2, "python");
    fails(&["start", name, "ssh="], 2, "ssh");
    fails(&["start", name, "ssh=a//via=b"], 2, "b");
    fails(&["start", name, "--file", "/not/there.toml"], 2, "/not/there.toml");
    net.start(&["popen"]);
    let before = net.status()["hosts"].clone();
    fails(&["start", name], 5, "already running");
    fails(&["addhost", name, "popen"], 2, "already");
    fails(&["addhost", name, "ssh=x//via=nobody"], 2, "nobody");
    fails(&["rmhost", name, "locla"], 4, "local");
    fails(&["python", name, "--platform", "beos", "-c", "pass"], 125, "linux");
    fails(&["python", name, "--python-version", "tree", "-c", "pass"], 125, "tree");
    fails(&["status", &format!("t{name}")], 3, &format!("`{name}`"));
    assert_eq!(before.as_array().unwrap().len(), net.status()["hosts"].as_array().unwrap().len());
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

#[test]
fn a_stale_socket_is_replaced_and_one_that_vanished_is_bound_again() {
    let net = Net::new(None);
    net.start(&["popen"]);
    net.kill_daemon();
    let output = net.run("stop", &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("its daemon was killed"), "{}", text(&output));
    net.start(&[]);
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
    let agent = net.agent("local");
    let sockets = execnet_testkit::sockets_listening(net.daemon());
    let Some(execnet_testkit::Listening::Unix(path)) = sockets.first() else { panic!("{sockets:?}") };
    std::fs::remove_file(path).unwrap();
    // like a clean-up of /tmp; the agent notices within a minute or so
    wait_until(SOON * 2, "the socket to be there again", || path.exists());
    assert_eq!(net.agent("local"), agent);
}

#[test]
fn login_shells_of_every_kind_and_greetings_are_no_hindrance() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let mut ids = vec!["greets".to_owned()];
    lab.host("greets").login_noise("Welcome!\nYou have mail.\n").start().unwrap();
    for shell in ["sh", "bash", "csh", "fish"] {
        let Some(host) = or_skip(lab.host(&format!("in-{shell}")).login_shell(shell).start()) else { return };
        ids.push(host.name().to_owned());
    }
    let net = Net::new(Some(lab));
    let specs: Vec<_> = ids.iter().map(|id| net.spec(id, "")).collect();
    net.start(&specs.iter().map(String::as_str).collect::<Vec<_>>());
    for id in ids {
        assert_eq!(net.python_ok(&["--node", &id, "-c", "print('a b')"]), "a b");
    }
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let net = Net::new(None);
    net.start(&["popen"]);
    let folder = net.config().parent().unwrap().to_owned();
    let before = std::fs::read_to_string(net.config()).unwrap();
    if rustix::process::geteuid().is_root() {
        // a file system of one page, mounted where only this command sees it
        let script = "mount -t tmpfs -o size=4k none \"$1\" && printf '%s' \"$2\" > \"$1/$3.toml\" &&
            head -c 4096 /dev/zero > \"$1/fill\"; shift 3; exec \"$@\"";
        let mut command = Command::new("unshare");
        let execnet = net.execnet([""; 0]);
        for (name, value) in execnet.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        let output = command
            .args(["-m", "sh", "-c", script, "sh"])
            .args([folder.to_str().unwrap(), &before, &net.name])
            .args([env!("CARGO_BIN_EXE_execnet"), "addhost", &net.name, "popen//id=second"])
            .output()
            .unwrap();
        let said = text(&output);
        assert!(!output.status.success() && said.contains("No space left"), "{said}");
        assert_eq!(net.status()["hosts"].as_array().unwrap().len(), 1, "{said}");
    } else {
        println!("skipped, because only root can mount a file system that is full");
    }
    assert_eq!(std::fs::read_to_string(net.config()).unwrap(), before);
}

#[test]
fn an_agent_of_another_protocol_version_has_to_end_and_is_named() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    assert_eq!(net.host("build1")["note"], serde_json::Value::Null);
    net.ok("stop", &[]);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(tests.join("tests/system/other_agent.py"))
        .arg(tests.join("../../remote"))
        .args([net.lab().ssh_config(), net.name.clone().into(), net.state().join("secret")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let other: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(alive(other) && host.processes().contains(&other));

    let output = net.run("start", &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let spoke = format!("build1: the agent found there spoke version {} of the protocol", VERSION + 1);
    assert!(said.contains(&spoke), "{said}");
    wait_until(SOON, "the other agent to end", || !alive(other));
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
    assert!(net.ok("logs", &[]).contains(&spoke));
    // shown until the next link
    assert!(net.host("build1")["note"].as_str().unwrap().contains("spoke version"));
    let agent = net.agent("build1");
    net.lab().kill_ssh("build1");
    wait_until(SOON, "the next link", || net.host("build1")["note"].is_null());
    net.wait_for("build1", "up");
    assert_eq!(net.agent("build1"), agent);
}

#[test]
fn niceness_and_ssh_options_of_a_spec_arrive() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("build1").start().unwrap();
    lab.host("down").down().start().unwrap();
    lab.host("refused").refuse_auth().start().unwrap();
    lab.host("changed").wrong_host_key().start().unwrap();
    let net = Net::new(Some(lab));
    let options = "-v -o ConnectTimeout=17 -o 'SetEnv=ODD=\"a b\"'";
    let spec = net.spec(&format!("{options} build1"), "//nice=5");
    net.start(&[&spec]);
    let ssh = host.ssh_pids();
    assert_eq!(ssh.len(), 1);
    let argv = std::fs::read(format!("/proc/{}/cmdline", ssh[0])).unwrap();
    let argv: Vec<String> =
        argv.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
    let at = argv.iter().position(|word| word == "-v").unwrap();
    assert_eq!(argv[at..at + 5], ["-v", "-o", "ConnectTimeout=17", "-o", "SetEnv=ODD=\"a b\""], "{argv:?}");
    assert!(argv[at + 5..].contains(&"build1".to_owned()), "{argv:?}");
    // added to the environment of logins
    net.ok("addhost", &[&net.spec("build1", "//id=plain")]);
    let nice = |node: &str, code: &str| net.python_ok(&["--node", node, "-c", code]).parse::<i32>().unwrap();
    let plain = nice("plain", "import os; print(os.nice(0))");
    assert_eq!(nice("build1", "import os; print(os.nice(0))"), (plain + 5).min(19));
    let child = "import subprocess; print(subprocess.check_output(['nice']).decode())";
    assert_eq!(nice("build1", child), (plain + 5).min(19), "what a process starts has it, too");
    net.ok("stop", &[]);
    net.start(&[]);
    assert_eq!(
        nice("build1", "import os; print(os.nice(0))"),
        (plain + 5).min(19),
        "the network's file keeps it"
    );

    // the named program is started, and a failed one is probed again
    let late = std::env::temp_dir().join(format!("{}-late", net.name));
    let spec = net.spec("build1", &format!("//python={}//id=late", late.display()));
    assert_eq!(net.run("addhost", &[&spec]).status.code(), Some(6));
    std::fs::write(&late, "#!/bin/sh\nWRAPPED=yes exec python3 \"$@\"\n").unwrap();
    std::fs::set_permissions(&late, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    net.ok("addhost", &[&spec]);
    let wrapped = net.ok("python", &["--node", "late", "-c", "import os; print(os.environ['WRAPPED'])"]);
    std::fs::remove_file(&late).unwrap();
    assert_eq!(wrapped.trim(), "yes");
    net.ok("rmhost", &["late"]);

    // the output of ssh -v hides no failure
    for (id, step) in [("down", "connect"), ("refused", "authenticate"), ("changed", "host-key")] {
        for option in ["-v", "-vvv"] {
            let output = net.run("addhost", &[&net.spec(&format!("{option} {id}"), "")]);
            let host = net.host(id);
            assert_eq!(output.status.code(), Some(6), "{}", text(&output));
            assert_eq!(host["step"], step, "{option}: {host:#}");
            net.ok("rmhost", &[id]);
        }
    }
    let wrong = net.run("addhost", &[&net.spec("-o ConnectTimeout=soon build1", "//id=wrong")]);
    assert_eq!(
        (wrong.status.code(), &net.host("wrong")["step"]),
        (Some(6), &"start".into()),
        "{}",
        text(&wrong)
    );
}

#[test]
fn ssh_prefers_aes_where_processors_have_it_and_nobody_chose_otherwise() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let folder = net.lab().folder().to_owned();
    let config = folder.join("chosen_config");
    let lines = format!("Include {}\nHost *\nCiphers aes192-ctr\n", net.lab().ssh_config().display());
    std::fs::write(&config, lines).unwrap();

    let cipher = |options: &str, config: &std::path::Path, id: &str| {
        let log = folder.join(id);
        let spec =
            format!("ssh=-v -E {} {options} build1//ssh_config={}//id={id}", log.display(), config.display());
        net.ok("addhost", &[&spec]);
        let said = std::fs::read_to_string(&log).unwrap();
        let line = said.lines().find(|line| line.contains("client->server cipher: ")).unwrap().to_owned();
        line.split("cipher: ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    net.start(&["popen"]);
    let plain = net.lab().ssh_config();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let has_aes = processor.split_whitespace().any(|word| word == "aes");
    assert_eq!(cipher("", &plain, "plain").contains("-gcm@"), has_aes, "ssh's own default is another one");
    assert_eq!(cipher("-c aes256-ctr", &plain, "spec"), "aes256-ctr");
    assert_eq!(cipher("", &config, "config"), "aes192-ctr");
    let usual = "-o Ciphers=^chacha20-poly1305@openssh.com";
    assert_eq!(
        cipher(usual, &plain, "usual"),
        "chacha20-poly1305@openssh.com",
        "chosen, though it is ssh's own list"
    );

    // processes of ssh's configuration end with the host, however often ssh was run
    let starts = folder.join("starts_config");
    let lines = format!(
        "Match exec \"sleep 7666.25 >/dev/null 2>&1 & true\"\nMatch all\nInclude {}\n",
        plain.display()
    );
    std::fs::write(&starts, lines).unwrap();
    cipher("", &starts, "starts");
    net.ok("rmhost", &["starts"]);
    let sleeps = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter(|process| {
                std::fs::read(process.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x007666.25\0")
            })
            .count()
    };
    wait_until(SOON, "what ssh started to end", || sleeps() == 0);
}

#[test]
fn a_network_whose_daemon_was_just_killed_can_be_started() {
    let net = Net::new(None);
    net.start(&["popen"]);
    for _ in 0..5 {
        let pid = net.daemon();
        execnet_testkit::kill(pid);
        net.start(&[]);
        assert_ne!(net.daemon(), pid);
    }
    assert_eq!(net.run("start", &[]).status.code(), Some(5), "it runs");
    // the rest of a killed daemon may answer for a moment
    let socket = net.socket();
    net.kill_daemon();
    std::fs::remove_file(&socket).unwrap();
    let dying = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    dying.set_nonblocking(true).unwrap();
    let mut start = net
        .execnet(["start", &net.name])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = None;
    wait_until(SOON, "it to be asked", || {
        asked = dying.accept().ok();
        asked.is_some() || start.try_wait().unwrap().is_some()
    });
    assert!(asked.is_some(), "nobody asked it");
    drop((dying, asked));
    let started = start.wait_with_output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
}
