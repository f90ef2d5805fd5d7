//! The same over a network: a daemon in this program, with hosts of this machine.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use execnet::control::Verb;
use execnet::{ChannelError, Connect, ExitStatus, Gateway, OpenError};
use execnet_daemon::{Config, DaemonError, run};
use execnet_testkit::{alive, kill, wait_until};

use crate::support::{Lines, PATIENCE, path};

/// A network in a folder of its own.
struct Net {
    folder: PathBuf,
    network: Option<execnet::Network>,
    daemon: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Net {
    /// Of hosts `h0`, `h1` and so on with an interpreter each.
    fn start(pythons: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("execnet-gateways-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let found = execnet_testkit::require(pythons).unwrap();
        let spec = |(at, found): (usize, &_)| format!("popen//id=h{at}//python={}", path(found));
        let hosts = found.iter().enumerate().map(|host| spec(host).parse().unwrap()).collect();
        let mut config = Config::new("gateways".parse().unwrap(), hosts, 2 * PATIENCE);
        config.runtime_folders = vec![folder.join("run")];
        config.state_folder = Some(folder.join("state"));
        config.home_state_folder = None;
        config.askpass = None;
        config.detach = false;
        let socket = config.runtime_folders[0].join("gateways.daemon.sock");
        let (ready, is_ready) = mpsc::channel();
        let daemon = std::thread::spawn(move || run(config, move |_| ready.send(()).unwrap()));
        is_ready.recv_timeout(PATIENCE).unwrap();
        let network = Connect::at(socket).open().unwrap();
        // until nothing joins any more
        network.request(&Verb::Watch.into()).for_each(drop);
        Self { folder, network: Some(network), daemon: Some(daemon) }
    }

    fn network(&self) -> &execnet::Network {
        self.network.as_ref().unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let network = self.network.take().unwrap();
        network.request(&Verb::Stop.into()).for_each(drop);
        drop(network);
        let _ = self.daemon.take().unwrap().join();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pid(gateway: &Gateway) -> u32 {
    gateway.info().pid.try_into().unwrap()
}

#[test]
fn gateways_on_nodes_are_as_others() {
    let net = Net::start(&["3.11", "2.7"]);
    let lines = Lines::default();
    let gateway = net
        .network()
        .makegateway()
        .python_version("3.11")
        .unwrap()
        .id("n")
        .on_output(lines.collector())
        .start()
        .unwrap();
    let node = gateway.node().unwrap();
    assert_eq!((node.host.as_str(), node.version.starts_with("3.11")), ("h0", true), "{node:?}");
    let source = "print('here')\nfor value in channel: channel.send(value)";
    let channel = gateway.remote_exec(source).unwrap();
    let begin = Instant::now();
    for number in 0..1_000 {
        channel.send(number).unwrap();
        assert_eq!(channel.receive::<i64>(), Ok(number));
    }
    println!("{:?} each", begin.elapsed() / 1_000);
    let large = bytes::Bytes::from(vec![5; 30_000_000]);
    channel.send(&large).unwrap();
    assert!(channel.receive::<bytes::Bytes>().unwrap() == large);

    assert_eq!(channel.receive_timeout::<i64>(Duration::from_millis(20)), Err(ChannelError::TimedOut));
    let (me, waits) = (execnet::Interrupt::this_thread(), channel.clone());
    let thread = std::thread::spawn(move || me.raise());
    assert_eq!(waits.receive::<i64>(), Err(ChannelError::Interrupted));
    thread.join().unwrap();
    channel.send(1).unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));

    let old = net.network().makegateway().python_version("2.7").unwrap().start().unwrap();
    assert_eq!(old.info().version(), (2, 7));
    assert!(matches!(net.network().makegateway().platform("plan9").start(), Err(OpenError::Place(_))));

    gateway.exit().unwrap();
    assert_eq!(gateway.join(Some(PATIENCE)).unwrap().status, Some(ExitStatus::Exited(0)));
    assert_eq!(lines.all(), ["n: here"]);
}

#[test]
fn a_wait_ends_when_another_thread_closes_the_channel() {
    let net = Net::start(&["3.11"]);
    let gateway = net.network().makegateway().start().unwrap();
    for _ in 0..20 {
        let channel = gateway.remote_exec("channel.receive()").unwrap();
        let waits = channel.clone();
        let thread = std::thread::spawn(move || waits.receive::<i64>());
        channel.close().unwrap();
        assert_eq!(thread.join().unwrap(), Err(ChannelError::Closed));
    }
    assert!(gateway.remote_status(Some(PATIENCE)).is_ok());
}

#[test]
fn a_killed_interpreter_is_reported_with_its_node() {
    let net = Net::start(&["3.11"]);
    let gateway = net.network().makegateway().on_output(|_, _| {}).start().unwrap();
    let source = "import sys\nsys.stderr.write('so long\\n')\nchannel.send(1)\nchannel.receive()";
    let channel = gateway.remote_exec(source).unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    kill(pid(&gateway));
    let error = channel.receive::<i64>().unwrap_err();
    let ChannelError::GatewayDied(death) = &error else { panic!("{error:?}") };
    assert_eq!(death.status, Some(ExitStatus::Signaled(9)));
    assert_eq!((death.host.as_deref(), death.stderr.as_str()), (Some("h0"), "so long\n"));
}

#[test]
fn gateways_open_in_parallel_and_leave_nothing() {
    let net = Net::start(&["3.11"]);
    let gateways = net.network().makegateways(12).unwrap();
    assert_eq!(gateways.len(), 12);
    let pids: Vec<u32> = gateways.iter().map(pid).collect();
    let channels: Vec<_> =
        gateways.iter().map(|gateway| gateway.remote_exec("channel.send(6 * 7)").unwrap()).collect();
    assert!(channels.iter().all(|channel| channel.receive::<i64>() == Ok(42)));
    drop((gateways, channels));
    wait_until(PATIENCE, "all interpreters to end", || !pids.iter().any(|&pid| alive(pid)));
}
