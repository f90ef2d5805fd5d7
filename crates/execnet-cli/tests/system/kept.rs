//! Kept work: whatever dies, what was asked to stay stays, is found by its name, and is told truly.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use execnet_testkit::{Lab, alive, kill, or_skip, processes_with_env, wait_until};
use serde_json::Value;

use crate::harness::{Net, SOON, line, piped, text};

/// Writes numbered lines until there is a file `argv[1]`, then one more to stderr, and ends with status 7.
const COUNT: &str = "
import os, sys, time
number = 0
while not os.path.exists(sys.argv[1]):
    os.write(1, ('line %d\\n' % number).encode())
    number += 1
    time.sleep(0.005)
os.write(2, ('%d lines\\n' % number).encode())
sys.exit(7)
";

/// A network with the host `build1`, and work that is kept there under the name `train`.
struct Kept {
    net: Net,
    end: PathBuf,
    command: Child,
}

impl Kept {
    /// Starts network and work; `None` if there can be no such host here.
    fn start(prepare: impl FnOnce(&Net)) -> Option<Self> {
        let lab = or_skip(Lab::new())?;
        lab.host("build1").start().unwrap();
        let net = Net::new(Some(lab));
        prepare(&net);
        net.start(&[&net.spec("build1", "")]);
        Some(Self::on(net, &[]))
    }

    fn on(net: Net, more: &[&str]) -> Self {
        let end = net.folder("files").join("end");
        let mut command = piped(net.execnet(Self::words(&net, &end, more)));
        drop(command.stdin.take());
        for number in 0..3 {
            assert_eq!(line(command.stdout.as_mut().unwrap()), format!("line {number}"));
        }
        Self { net, end, command }
    }

    fn words(net: &Net, end: &Path, more: &[&str]) -> Vec<String> {
        let mut words = vec!["run", &net.name, "--node", "build1", "--keep", "train"];
        words.extend(more);
        words.extend(["--", "python3", "-c", COUNT, end.to_str().unwrap()]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// What `ps` says of it.
    #[track_caller]
    fn status(&self) -> Value {
        let usages: Value = serde_json::from_str(&self.net.ok("ps", &["--json"])).unwrap();
        let all = usages["processes"].as_array().unwrap();
        let kept = all.iter().map(|process| &process["kept"]).find(|kept| kept["name"] == "train");
        kept.cloned().unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, state: &str) {
        wait_until(SOON, &format!("the work to be {state}"), || self.status()["state"] == state);
    }

    /// Attaches, lets it end, and checks that everything it has written is there, once and in order.
    #[track_caller]
    fn goes_on_to_its_end(&mut self) {
        let mut attached = piped(self.net.execnet(["attach", &self.net.name, "train"]));
        let mut first = String::new();
        wait_until(SOON, "old output", || {
            first = line(attached.stdout.as_mut().unwrap());
            !first.is_empty()
        });
        assert_eq!(first, "line 0", "everything is there from the start");
        std::fs::write(&self.end, "").unwrap();
        let output = attached.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", text(&output));
        all_lines(&format!("{first}\n"), &output);
        let waited = self.net.run("wait", &["train"]);
        assert_eq!(waited.status.code(), Some(7), "{}", text(&waited));
        assert_eq!(self.status()["status"], 7);
    }

    /// The command that started it goes on to the end of the work.
    #[track_caller]
    fn command_goes_on_to_its_end(mut self) {
        std::fs::write(&self.end, "").unwrap();
        let mut rest = String::new();
        self.command.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        let mut output = self.command.wait_with_output().unwrap();
        output.stdout = rest.into_bytes();
        assert_eq!(output.status.code(), Some(7), "{}", text(&output));
        all_lines("line 0\nline 1\nline 2\n", &output);
    }
}

/// Checks that these are all lines, and nothing is said to be gone.
#[track_caller]
fn all_lines(before: &str, output: &Output) {
    let said = before.to_owned() + std::str::from_utf8(&output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let count = stderr.lines().find_map(|line| line.strip_suffix(" lines")).expect(&stderr);
    let count: usize = count.parse().unwrap();
    for (number, line) in said.lines().enumerate() {
        assert_eq!(line, format!("line {number}"));
    }
    assert_eq!(said.lines().count(), count, "{stderr}");
    assert!(!stderr.contains("are gone"), "{stderr}");
}

#[test]
fn it_stays_when_its_command_is_ended_in_whatever_way() {
    for signal in ["TERM", "HUP", "KILL"] {
        let Some(mut kept) = Kept::start(|_| ()) else { return };
        let started = line(kept.command.stderr.as_mut().unwrap());
        assert!(started.contains("train runs on build1 (pid "), "{started}");
        assert_eq!(kept.status()["state"], "held");
        let pid = kept.command.id().to_string();
        Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        let ended = kept.command.wait().unwrap();
        assert!(!ended.success(), "SIG{signal}: {ended}");
        kept.wait_for("left");
        let status = kept.status();
        let left = status["left"].as_f64().unwrap();
        assert!(left > 604_000.0 && left <= 604_800.0, "{status}");
        kept.goes_on_to_its_end();
    }
}

#[test]
fn it_stays_when_nobody_reads_the_output_of_its_command() {
    let Some(mut kept) = Kept::start(|_| ()) else { return };
    drop(kept.command.stdout.take());
    let ended = kept.command.wait().unwrap();
    assert_eq!(ended.code(), Some(0));
    kept.wait_for("left");
    kept.goes_on_to_its_end();
}

#[test]
fn it_does_not_notice_that_ssh_or_the_daemon_is_killed_and_neither_does_its_command() {
    let Some(kept) = Kept::start(|_| ()) else { return };
    for _ in 0..2 {
        assert!(!kept.net.lab().kill_ssh("build1").is_empty());
        kept.net.wait_for("build1", "up");
    }
    kept.net.kill_daemon();
    kept.net.start(&[]);
    kept.net.wait_for("build1", "up");
    kept.wait_for("held");
    kept.command_goes_on_to_its_end();
}

#[test]
fn a_stopped_network_finds_it_again() {
    let Some(mut kept) = Kept::start(|_| ()) else { return };
    let refused = kept.net.run("stop", &[]);
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("keeps work: train on build1"), "{said}");
    assert!(said.contains("--leave-kept") && said.contains("--end-kept"), "{said}");
    let refused = kept.net.run("rmhost", &["build1"]);
    assert!(!refused.status.success() && text(&refused).contains("train"), "{}", text(&refused));
    let agent = kept.net.agent("build1");
    let waiting = piped(kept.net.execnet(["wait", &kept.net.name, "train"]));
    wait_until(SOON, "the wait", || kept.net.host("build1")["processes"] == 2);
    let stopped = kept.net.run("stop", &["--leave-kept"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    assert!(text(&stopped).contains("train on build1 is still kept\n"), "{}", text(&stopped));
    assert!(alive(agent));
    let mut said = String::new();
    kept.command.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(kept.command.wait().unwrap().code(), Some(6), "the network was stopped");
    let stopped = format!("the network {} was stopped", kept.net.name);
    assert!(said.contains(&format!("train on build1 stays there: {stopped}")), "{said}");
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(
        text(&output).contains(&format!("cannot be waited for any more: {stopped}")),
        "{}",
        text(&output)
    );
    kept.net.start(&[]);
    assert_eq!(kept.net.agent("build1"), agent);
    kept.wait_for("left");
    kept.goes_on_to_its_end();
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_it_and_ends_everything_else() {
    let Some(mut kept) = Kept::start(|_| ()) else { return };
    let mark = format!("{}-unkept", kept.net.name);
    let env = format!("UNKEPT={mark}");
    let args = ["run", &kept.net.name, "--node", "build1", "-n", "--env", &env, "--", "sleep", "1000"];
    let mut other = kept.net.execnet(args).spawn().unwrap();
    wait_until(SOON, "the other process", || !processes_with_env("UNKEPT", &mark).is_empty());
    let daemon = kept.net.daemon();
    Command::new("kill").arg(daemon.to_string()).status().unwrap();
    wait_until(SOON, "the daemon to end", || !alive(daemon));
    wait_until(SOON, "the other process to end", || processes_with_env("UNKEPT", &mark).is_empty());
    assert!(!other.wait().unwrap().success());
    kept.net.start(&[]);
    kept.wait_for("left");
    kept.goes_on_to_its_end();
}

#[test]
fn end_kept_ends_it() {
    let Some(kept) = Kept::start(|_| ()) else { return };
    let agent = kept.net.agent("build1");
    kept.net.ok("stop", &["--end-kept"]);
    wait_until(SOON, "the agent to end", || !alive(agent));
    kept.net.start(&[]);
    assert_eq!(kept.status(), Value::Null);
    let missing = kept.net.run("attach", &["train"]);
    assert_eq!(missing.status.code(), Some(4), "{}", text(&missing));
}

#[test]
fn a_host_that_is_removed_out_of_reach_ends_it_or_not_when_it_is_added_again() {
    for (choice, ends) in [("--leave-kept", false), ("--end-kept", true)] {
        let Some(mut kept) = Kept::start(|_| ()) else { return };
        let host = kept.net.lab().hosts()[0].clone();
        let (agent, spec) = (kept.net.agent("build1"), kept.net.spec("build1", ""));
        host.stop_sshd();
        host.kill_ssh();
        kept.net.wait_for("build1", "unreachable");
        let removed = kept.net.run("rmhost", &["build1", choice]);
        let said = text(&removed);
        assert!(removed.status.success(), "{said}");
        assert!(said.contains("build1: unreachable; its agent could not be told to end; "), "{said}");
        assert!(said.contains("train on build1 is still kept, as was last known"), "{said}");
        assert_eq!(said.contains("add the host again to end that, too"), ends, "{said}");
        assert_eq!(kept.command.wait().unwrap().code(), Some(6));
        host.start_sshd().unwrap();
        kept.net.ok("addhost", &[&spec]);
        if ends {
            wait_until(SOON, "the agent to end", || !alive(agent));
            assert_eq!(kept.net.run("wait", &["train"]).status.code(), Some(4));
        } else {
            kept.net.wait_for("build1", "up");
            assert_eq!(kept.net.agent("build1"), agent);
            kept.goes_on_to_its_end();
        }
    }
}

#[test]
fn whoever_waits_for_a_host_out_of_reach_says_so_and_waits_on() {
    let Some(kept) = Kept::start(|_| ()) else { return };
    let host = kept.net.lab().hosts()[0].clone();
    host.stop_sshd();
    host.kill_ssh();
    kept.net.wait_for("build1", "unreachable");
    for verb in ["attach", "wait", "logs"] {
        let missing = kept.net.run(verb, &["rain"]);
        assert_eq!(missing.status.code(), Some(4), "{}", text(&missing));
        assert!(text(&missing).contains("\n  build1 may keep it, but could not be asked: "), "{missing:?}");
    }
    let mut waits = [
        piped(kept.net.execnet(["wait", &kept.net.name, "train"])),
        piped(kept.net.execnet(["attach", &kept.net.name, "train", "--read-only"])),
    ];
    for wait in &mut waits {
        let said = line(wait.stderr.as_mut().unwrap());
        assert!(said.contains("train on build1: waiting until build1 can be reached: build1 is"), "{said}");
    }
    std::fs::write(&kept.end, "").unwrap();
    host.start_sshd().unwrap();
    for wait in waits {
        let output = wait.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    }
}

#[test]
fn with_its_agent_it_is_lost_and_everybody_is_told() {
    let Some(mut kept) = Kept::start(|_| ()) else { return };
    let mut waits = piped(kept.net.execnet(["wait", &kept.net.name, "train"]));
    drop(waits.stdin.take());
    let counts = |net: &Net| net.host("build1")["processes"] == 2;
    wait_until(SOON, "somebody to wait", || counts(&kept.net));
    kill(kept.net.agent("build1"));
    let told = waits.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(6), "{}", text(&told));
    assert!(text(&told).contains("killed"), "{}", text(&told));
    let ended = kept.command.wait().unwrap();
    assert_eq!(ended.code(), Some(6));
    kept.net.wait_for("build1", "up");
    for verb in ["attach", "wait", "kill"] {
        let told = kept.net.run(verb, &["train"]);
        assert_eq!(told.status.code(), Some(6), "{verb}: {}", text(&told));
        assert!(text(&told).contains("killed"), "also who asks later hears of it: {}", text(&told));
    }
}

#[test]
fn it_outlives_linger_and_nothing_else_does() {
    let lab = or_skip(Lab::new());
    let Some(lab) = lab else { return };
    let host = lab.host("build1").through_proxy().start().unwrap();
    let net = Net::new(Some(lab));
    std::fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    let hosts = format!("linger = \"3s\"\nhosts = [\"{}\"]\n", net.spec("build1", ""));
    std::fs::write(net.config(), hosts).unwrap();
    net.start(&[]);
    let kept = Kept::on(net, &[]);
    let mark = format!("{}-unkept", kept.net.name);
    let env = format!("UNKEPT={mark}");
    let args = ["run", &kept.net.name, "--node", "build1", "-n", "--env", &env, "--", "sleep", "1000"];
    let mut other = kept.net.execnet(args).spawn().unwrap();
    wait_until(SOON, "the other process", || !processes_with_env("UNKEPT", &mark).is_empty());
    // a laptop goes away, and comes back later than any other work would wait
    host.stop_sshd();
    host.kill_sessions();
    kept.net.lab().kill_ssh("build1");
    wait_until(SOON, "the other process to end", || processes_with_env("UNKEPT", &mark).is_empty());
    kept.net.wait_for("build1", "unreachable");
    host.start_sshd().unwrap();
    kept.net.wait_for("build1", "up");
    assert!(!other.wait().unwrap().success());
    kept.wait_for("held");
    kept.command_goes_on_to_its_end();
}

#[test]
fn another_attach_takes_over_and_says_so_and_a_reader_disturbs_nobody() {
    let Some(mut kept) = Kept::start(|_| ()) else { return };
    let mut reads = piped(kept.net.execnet(["attach", &kept.net.name, "train", "--read-only"]));
    assert_eq!(line(reads.stdout.as_mut().unwrap()), "line 0");
    let mut takes = piped(kept.net.execnet(["attach", &kept.net.name, "train"]));
    let said = line(takes.stderr.as_mut().unwrap());
    assert!(said.contains("train on build1 is taken over from execnet run ("), "{said}");
    let mut stderr = String::new();
    let ended = kept.command.wait().unwrap();
    kept.command.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(ended.code(), Some(6), "{stderr}");
    assert!(stderr.contains("taken over by execnet attach ("), "{stderr}");
    assert_eq!(kept.status()["program"], "execnet attach");
    kill(takes.id());
    takes.wait().unwrap();
    kept.wait_for("left");
    let held = kept.net.ok("logs", &["train"]);
    assert!(held.starts_with("line 0\nline 1\n") && held.ends_with('\n'), "{held}");
    let tail = kept.net.run("logs", &["train", "--tail", "20"]);
    assert!(tail.status.success() && tail.stdout.len() == 20, "{}", text(&tail));
    assert!(tail.stderr.is_empty(), "what was not asked for is not gone: {}", text(&tail));
    std::fs::write(&kept.end, "").unwrap();
    let output = reads.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    all_lines("line 0\n", &output);
}

#[test]
fn a_name_is_unique_on_its_host_and_means_one_work() {
    let lab = or_skip(Lab::new());
    let Some(lab) = lab else { return };
    lab.host("build1").start().unwrap();
    lab.host("build2").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), &net.spec("build2", "")]);
    let keep = |node: &str, name: &str| {
        let args = ["run", &net.name, "--node", node, "--keep", name, "-n", "--", "sleep", "1000"];
        let mut child = piped(net.execnet(args));
        let said = line(child.stderr.as_mut().unwrap());
        (child, said)
    };
    let (mut both, said) = keep("build[1-2]", "train");
    assert!(said.contains("train runs on build"), "{said}");
    let mut said = String::new();
    while !said.contains("train runs on build") {
        said = line(both.stderr.as_mut().unwrap());
    }
    let (mut again, said) = keep("build1", "train");
    assert!(said.contains("the name train is taken on this host"), "{said}");
    assert_eq!(again.wait().unwrap().code(), Some(126));
    let several = net.run("attach", &["train"]);
    let said = text(&several);
    assert_eq!(several.status.code(), Some(2), "{said}");
    assert!(said.contains("is kept on 2 hosts: build1, build2") && said.contains("train@build1"), "{said}");
    let killed = net.ok("kill", &["train@build1", "-s", "KILL"]);
    assert!(killed.contains("on build1") && killed.contains("SIGKILL sent"), "{killed}");
    let waited = net.run("wait", &["train@build1"]);
    assert_eq!(waited.status.code(), Some(137), "{}", text(&waited));
    net.ok("kill", &["train@build[1-2]"]);
    let waited = net.run("wait", &["train@build[1-2]"]);
    assert_eq!(waited.status.code(), Some(143), "the highest: {}", text(&waited));
    let said = text(&waited);
    assert!(said.contains("train on build1: was ended by signal 9"), "{said}");
    both.wait().unwrap();
    for (name, why) in [("no such", "cannot name kept work"), ("-x", "unexpected argument")] {
        let args = ["run", &net.name, "--node", "build1", "--keep", name, "-n", "--", "true"];
        let refused = net.execnet(args).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains(why), "{}", text(&refused));
    }
    let missing = net.run("wait", &["trian"]);
    assert_eq!(missing.status.code(), Some(4), "{}", text(&missing));
    assert!(text(&missing).contains("did you mean `train`?"), "{}", text(&missing));
    // what has ended gives its name to the next
    let (mut next, said) = keep("build1", "train");
    assert!(said.contains("train runs on build1"), "{said}");
    kill(next.id());
    next.wait().unwrap();
}

#[test]
fn signals_go_to_it_and_its_stdin_ends_as_ours() {
    let Some(net) = one_host() else { return };
    let trap = "trap 'echo got INT' INT; trap 'echo got USR1' USR1; echo ready; \
                while read word; do echo read $word; done; echo end; while :; do sleep 0.05; done";
    let args = ["run", &net.name, "--node", "build1", "--keep", "sh1", "--", "sh", "-c", trap];
    let mut command = piped(net.execnet(args));
    assert_eq!(line(command.stdout.as_mut().unwrap()), "ready");
    std::io::Write::write_all(command.stdin.as_mut().unwrap(), b"one\n").unwrap();
    assert_eq!(line(command.stdout.as_mut().unwrap()), "read one");
    drop(command.stdin.take());
    assert_eq!(line(command.stdout.as_mut().unwrap()), "end");
    for signal in ["INT", "USR1"] {
        Command::new("kill").args(["-s", signal, &command.id().to_string()]).status().unwrap();
        assert_eq!(line(command.stdout.as_mut().unwrap()), format!("got {signal}"));
    }
    kill(command.id());
    command.wait().unwrap();
    net.ok("kill", &["sh1", "-s", "KILL", "--wait"]);
}

fn one_host() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    Some(net)
}

#[test]
fn its_time_ends_it_and_that_is_told() {
    let Some(net) = one_host() else { return };
    let args = [
        "run",
        &net.name,
        "--node",
        "build1",
        "--keep",
        "brief",
        "--keep-for",
        "1s",
        "-n",
        "--",
        "sleep",
        "1000",
    ];
    let mut command = piped(net.execnet(args));
    assert!(line(command.stderr.as_mut().unwrap()).contains("brief runs on build1"));
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(command.try_wait().unwrap().is_none(), "its time does not run while somebody holds it");
    assert!(began.elapsed() > Duration::from_secs(2));
    kill(command.id());
    command.wait().unwrap();
    let gone = |output: &Output| text(output).contains("its time was over");
    let mut told = net.run("attach", &["brief", "--read-only"]);
    wait_until(SOON, "its time to be over", || {
        told = net.run("wait", &["brief"]);
        gone(&told)
    });
    assert_eq!(told.status.code(), Some(6), "{}", text(&told));
}

/// The program of a host whose kernel seems to have another boot id after each change of a file.
fn rebooting(net: &Net) -> Option<(String, PathBuf)> {
    or_skip(execnet_testkit::netns_available())?;
    let folder = net.folder("files");
    let (boot, program) = (folder.join("boot"), folder.join("host.sh"));
    std::fs::write(&boot, "11111111-0000-0000-0000-000000000000\n").unwrap();
    let inner = format!("mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"", boot.display());
    std::fs::write(&program, format!("exec unshare -m sh -c '{inner}' sh \"$@\"\n")).unwrap();
    Some((format!("cmd=sh {} python3//id=build1", program.display()), boot))
}

#[test]
fn a_rebooted_host_has_lost_it_and_says_so() {
    let net = Net::new(None);
    let Some((spec, boot)) = rebooting(&net) else { return };
    net.start(&[&spec]);
    let mut kept = Kept::on(net, &[]);
    let (agent, work) = (kept.net.agent("build1"), kept.status()["pid"].as_u64().unwrap() as u32);
    std::fs::write(&boot, "22222222-0000-0000-0000-000000000000\n").unwrap();
    kill(agent);
    kill(work);
    let ended = kept.command.wait().unwrap();
    let mut stderr = String::new();
    kept.command.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(ended.code(), Some(6), "{stderr}");
    assert!(stderr.contains("rebooted"), "{stderr}");
    kept.net.wait_for("build1", "up");
    let told = kept.net.run("wait", &["train"]);
    assert_eq!(told.status.code(), Some(6), "{}", text(&told));
    assert!(text(&told).contains("build1 was rebooted"), "{}", text(&told));
}

#[test]
fn an_agent_of_another_release_that_keeps_work_is_not_replaced_unless_that_is_asked_for() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let spec = net.spec("build1", "");
    net.start(&[&spec]);
    net.ok("stop", &[]);
    let mark = format!("{}-other", net.name);
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(tests.join("tests/system/other_agent.py"))
        .arg(tests.join("../../remote"))
        .args([net.lab().ssh_config(), net.name.clone().into(), net.state().join("secret")])
        .args(["env", &format!("OTHER={mark}"), "sleep", "1000"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let other: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let started = net.run("start", &[]);
    let said = text(&started);
    assert_eq!(started.status.code(), Some(6), "{said}");
    assert!(said.contains("keeps work here: train") && said.contains("--end-kept"), "{said}");
    assert!(alive(other) && !processes_with_env("OTHER", &mark).is_empty());
    let added = net.run("addhost", &[&spec, "--end-kept"]);
    assert!(added.status.success(), "{}", text(&added));
    wait_until(SOON, "the other agent to end", || !alive(other));
    wait_until(SOON, "its work to end", || processes_with_env("OTHER", &mark).is_empty());
    net.wait_for("build1", "up");
}

#[test]
fn a_host_with_nothing_but_jython_and_a_programs_own_daemon_refuse_it() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    if or_skip(lab.host("build1").pythons(["jython"]).start()).is_none() {
        return;
    }
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "//python=jython")]);
    let args = ["run", &net.name, "--node", "build1", "--keep", "train", "-n", "--", "true"];
    let refused = net.execnet(args).output().unwrap();
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
    assert!(text(&refused).contains("cannot") && text(&refused).contains("keep"), "{}", text(&refused));
}

/// Writes 1 GiB of blocks of 64 KiB, each filled with its number, says so in a file, and waits for another.
const GIB: &str = "
import os, sys, time
for number in range(16384):
    data = (b'%08x' % number) * 8192
    while data: data = data[os.write(1, data):]
open(sys.argv[1], 'w').close()
while not os.path.exists(sys.argv[2]): time.sleep(0.02)
";

#[test]
fn a_gibibyte_that_nobody_takes_costs_what_was_promised_and_the_end_of_it_is_there() {
    let Some(net) = one_host() else { return };
    let files = net.folder("files");
    for (policy, held) in [("last=4M", 4 << 20), ("spill=1G", 1 << 30), ("spill=64M", 64 << 20)] {
        let name = policy.replace('=', "-");
        let (done, end) = (files.join(format!("{name}.done")), files.join(format!("{name}.end")));
        let (done_path, end_path) = (done.to_str().unwrap(), end.to_str().unwrap());
        let args =
            ["run", &net.name, "--node", "build1", "--keep", &name, "--keep-output", policy, "-n", "--"];
        let words = ["python3", "-c", GIB, done_path, end_path];
        let mut command = piped(net.execnet(args.iter().chain(&words)));
        let said = line(command.stderr.as_mut().unwrap());
        assert!(said.contains("runs on build1"), "{said}");
        kill(command.id());
        command.wait().unwrap();
        let agent = net.agent("build1");
        let mut most = 0;
        wait_until(SOON, "all of it to be written", || {
            most = most.max(execnet_testkit::proc_rss_kib(agent).unwrap_or(0));
            done.exists()
        });
        assert!(most < 128 << 10, "{policy}: the agent needs {most} KiB");
        std::fs::write(&end, "").unwrap();
        let attached = net.run("attach", &[&name]);
        assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
        let output = attached.stdout;
        assert_eq!(output.len(), held, "{policy}");
        for (at, block) in output.chunks_exact(65_536).enumerate() {
            let number = 16_384 - held / 65_536 + at;
            let word = format!("{number:08x}");
            assert!(block.chunks_exact(8).all(|part| part == word.as_bytes()), "{policy}: block {number}");
        }
        let stderr = String::from_utf8_lossy(&attached.stderr);
        assert_eq!(stderr.contains("of stdout are gone"), held < 1 << 30, "{policy}: {stderr}");
    }
}

#[test]
fn output_that_must_not_be_lost_waits() {
    let Some(net) = one_host() else { return };
    let code = "import os\nfor number in range(200000): os.write(1, ('line %d\\n' % number).encode())";
    let args = ["run", &net.name, "--node", "build1", "--keep", "waits", "--keep-output", "wait", "-n", "--"];
    let mut command = piped(net.execnet(args.iter().chain(&["python3", "-c", code])));
    assert_eq!(line(command.stdout.as_mut().unwrap()), "line 0");
    kill(command.id());
    let mut output = command.wait_with_output().unwrap().stdout;
    output.splice(0..0, *b"line 0\n");
    // what this command had read is gone with it, and that is told; everything else comes
    let attached = net.run("attach", &["waits"]);
    assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
    let rest = String::from_utf8(attached.stdout).unwrap();
    let first: usize = rest.split('\n').nth(1).unwrap().strip_prefix("line ").unwrap().parse().unwrap();
    for (number, line) in (first..).zip(rest.lines().skip(1)) {
        assert_eq!(line, format!("line {number}"));
    }
    assert!(rest.ends_with("line 199999\n"));
}
