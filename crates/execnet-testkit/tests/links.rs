//! Links that are silent, slow and cut.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use execnet_testkit::{Lab, LabHost, netns_available, or_skip, wait_until};

const SILENCE: Duration = Duration::from_millis(600);
const SOON: Duration = execnet_testkit::PATIENCE;

#[test]
fn a_stalled_link_is_silent_and_loses_nothing() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("a").through_proxy().start().unwrap();
    let mut cat = Cat::on(&host);
    cat.echoes("before");

    host.proxy().stall();
    cat.write("during");
    assert_eq!(cat.read(SILENCE), None);
    assert!(cat.ssh.try_wait().unwrap().is_none(), "a silent link ends nothing");
    let mut late = Cat::on(&host);
    late.write("late");
    assert_eq!(late.read(SILENCE), None);

    host.proxy().resume();
    assert_eq!(cat.read(SOON).as_deref(), Some("during"));
    assert_eq!(late.read(SOON).as_deref(), Some("late"));
}

#[test]
fn a_cut_ends_the_connections_even_of_a_stalled_link_and_lets_new_ones_in() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("a").through_proxy().start().unwrap();
    let mut first = Cat::on(&host);
    first.echoes("one");
    host.proxy().cut();
    assert_eq!(first.ssh.wait().unwrap().code(), Some(255));
    wait_until(SOON, "sshd's side to end", || host.sessions().is_empty());

    let mut second = Cat::on(&host);
    second.echoes("two");
    host.proxy().stall();
    host.proxy().cut();
    assert_eq!(second.ssh.wait().unwrap().code(), Some(255));
    wait_until(SOON, "sshd's side to end", || host.sessions().is_empty());
    host.proxy().resume();
    Cat::on(&host).echoes("three");
}

#[test]
fn an_ssh_that_ends_behind_a_stalled_proxy_is_noticed_only_after_it() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("a").through_proxy().start().unwrap();
    let mut cat = Cat::on(&host);
    cat.echoes("one");
    host.proxy().stall();
    assert_eq!(host.kill_ssh(), [cat.ssh.id()]);
    std::thread::sleep(SILENCE);
    assert_eq!(host.sessions().len(), 1);
    host.proxy().resume();
    wait_until(SOON, "sshd to see the end", || host.sessions().is_empty());
}

#[test]
fn delay_adds_to_the_round_trip_and_not_to_the_transfer() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("a").through_proxy().start().unwrap();
    let mut cat = Cat::on(&host);
    cat.echoes("one");
    host.proxy().delay(Duration::from_millis(100));
    let start = Instant::now();
    cat.echoes("two");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");

    // 50 MB would take a minute if each chunk waited for the one before. ssh itself keeps 2 MiB under way
    let start = Instant::now();
    let output = host.ssh("head -c 50000000 /dev/zero").output().unwrap();
    assert_eq!(output.stdout.len(), 50_000_000);
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());

    host.proxy().delay(Duration::ZERO);
    cat.echoes("three");
    wait_until(SOON, "a round trip without delay", || {
        let start = Instant::now();
        cat.echoes("four");
        start.elapsed() < Duration::from_millis(150)
    });
}

#[test]
fn a_pulled_cable_is_silent_until_it_is_back() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let Some(()) = or_skip(netns_available()) else {
        return;
    };
    let host = lab.netns_host("far").start().unwrap();
    let mut cat = Cat::on(&host);
    cat.echoes("one");
    host.link_down().unwrap();
    cat.write("two");
    assert_eq!(cat.read(SILENCE), None);
    assert!(cat.ssh.try_wait().unwrap().is_none(), "a pulled cable ends nothing");
    host.link_up().unwrap();
    assert_eq!(cat.read(SOON).as_deref(), Some("two"));
    assert_eq!(host.kill_ssh(), [cat.ssh.id()]);
}

#[test]
fn hosts_in_namespaces_leave_no_namespace_and_no_interface() {
    let Some(()) = or_skip(netns_available()) else {
        return;
    };
    let names = || {
        let list = Command::new("ip").args(["netns", "list"]).output().unwrap().stdout;
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        [String::from_utf8(list).unwrap(), String::from_utf8(links).unwrap()]
    };
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    lab.netns_host("far").start().unwrap();
    let entry = std::fs::read_dir(lab.folder().join("netns")).unwrap().next().unwrap().unwrap();
    let (name, interface) =
        (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap());
    let [list, links] = names();
    assert!(list.contains(&name) && links.contains(&interface));
    drop(lab);
    let [list, links] = names();
    assert!(!list.contains(&name) && !links.contains(&interface), "{list}{links}");
}

/// `cat` on a host, whose output a thread reads.
struct Cat {
    ssh: Child,
    output_rx: mpsc::Receiver<String>,
}

impl Cat {
    fn on(host: &LabHost) -> Cat {
        let mut ssh = host.ssh("exec cat");
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = ssh.stdout.take().unwrap();
        let (output_tx, output_rx) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let _ = output_tx.send(String::from_utf8_lossy(&buffer[..count]).into_owned());
            }
        });
        Cat { ssh, output_rx }
    }

    fn write(&mut self, text: &str) {
        self.ssh.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(&mut self, patience: Duration) -> Option<String> {
        self.output_rx.recv_timeout(patience).ok()
    }

    #[track_caller]
    fn echoes(&mut self, text: &str) {
        self.write(text);
        assert_eq!(self.read(SOON).as_deref(), Some(text));
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}
