//! Gateways over a network: a daemon in this program, with this machine as its hosts.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use execnet::control::{KeptChoice, Verb};
use execnet::{ChannelError, Connect, ExitStatus, Gateway, Group, OpenError, Reach, StartError};
use execnet_daemon::{Config, DaemonError, run};
use execnet_testkit::{alive, kill, wait_until};

use crate::packages::{Told, ask, folder, paths, with_standin};
use crate::support::{Lines, PATIENCE, path};

/// A network in a folder of its own.
pub(crate) struct Net {
    folder: PathBuf,
    network: Option<execnet::Network>,
    daemon: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Net {
    /// With hosts `h0`, `h1` and so on, each with one interpreter.
    pub(crate) fn start(pythons: &[&str]) -> Self {
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

    /// Adds a host `away`, whose link is made only while it may be.
    fn add_away(&self, python: &str) {
        let link = self.folder.join("link");
        let (folder, python) =
            (self.folder.display(), path(&execnet_testkit::require(&[python]).unwrap()[0]));
        let script = format!(
            "#!/bin/sh\ntest ! -e {folder}/cut || exit 1\necho $$ > {folder}/pid\nexec {python} \"$@\"\n"
        );
        fs::write(&link, script).unwrap();
        fs::set_permissions(&link, fs::Permissions::from_mode(0o700)).unwrap();
        let spec = format!("cmd={}//id=away", link.display());
        self.network().request(&Verb::AddHost { spec, end_kept: false }.into()).for_each(drop);
    }

    fn cut(&self) {
        fs::write(self.folder.join("cut"), "").unwrap();
        kill(fs::read_to_string(self.folder.join("pid")).unwrap().trim().parse().unwrap());
    }

    fn mend(&self) {
        fs::remove_file(self.folder.join("cut")).unwrap();
        let spec = format!("cmd={}//id=away", self.folder.join("link").display());
        self.network().request(&Verb::AddHost { spec, end_kept: false }.into()).for_each(drop);
    }

    /// A connection as of another program.
    pub(crate) fn program(&self) -> execnet::Network {
        Connect::at(self.folder.join("run/gateways.daemon.sock")).open().unwrap()
    }

    fn network(&self) -> &execnet::Network {
        self.network.as_ref().unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let network = self.network.take().unwrap();
        network.request(&Verb::Stop { kept: Some(KeptChoice::End) }.into()).for_each(drop);
        drop(network);
        let _ = self.daemon.take().unwrap().join();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pid(gateway: &Gateway) -> u32 {
    gateway.info().pid
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
    assert_eq!(gateway.join_timeout(PATIENCE).unwrap().status, Some(ExitStatus::Exited(0)));
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
    assert!(gateway.remote_status_timeout(PATIENCE).is_ok());
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

#[test]
fn a_gateway_whose_host_is_away_is_not_waited_for_when_it_is_killed() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    net.network().on_outage(|_| {});
    let group = Group::new();
    let gateway = group.makegateway(net.network()).node("away").on_output(|_, _| {}).start().unwrap();
    let channel = gateway.remote_exec("channel.receive()").unwrap();
    assert_eq!(gateway.unreachable(), None);
    net.cut();
    wait_until(PATIENCE, "the break to be noticed", || gateway.unreachable().is_some());
    group.terminate_timeout(Duration::ZERO).unwrap();
    let death = gateway.join_timeout(Duration::ZERO).unwrap();
    let reason = death.reason.as_deref().unwrap();
    assert!(reason.starts_with("away is unreachable: "), "{reason}");
    assert!(reason.ends_with("; it ends as soon as its host is reachable"), "{reason}");
    assert!(matches!(channel.receive::<i64>(), Err(ChannelError::Closed | ChannelError::GatewayDied(_))));
    assert!(alive(pid(&gateway)));
    net.mend();
    wait_until(PATIENCE, "the interpreter to end", || !alive(pid(&gateway)));
}

#[test]
fn a_gateway_whose_host_is_away_ends_although_nobody_kills_it() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    net.network().on_outage(|_| {});
    let group = Group::new();
    let builder = || group.makegateway(net.network()).node("away").on_output(|_, _| {});
    let (told_before, told_then) = (builder().start().unwrap(), builder().start().unwrap());
    // while a thread that reads waits for its end
    let waits = std::thread::spawn({
        let told_before = told_before.clone();
        move || told_before.join().unwrap()
    });
    let busy = told_before.remote_exec("channel.send(1)\nwhile 1: pass").unwrap();
    assert_eq!(busy.receive::<i64>(), Ok(1));
    net.cut();
    wait_until(PATIENCE, "the break to be noticed", || told_before.unreachable().is_some());
    told_before.exit().unwrap();
    group.remove(&told_before);
    let death = waits.join().unwrap();
    assert!(death.reason.as_deref().unwrap().ends_with("; it ends as soon as its host is reachable"));
    group.terminate().unwrap();
    assert_eq!(told_then.join_timeout(Duration::ZERO).unwrap().status, None);
    net.mend();
    let pids = [pid(&told_before), pid(&told_then)];
    wait_until(PATIENCE, "the interpreters to end", || !pids.iter().any(|&pid| alive(pid)));
}

#[test]
fn a_host_that_does_not_hear_of_a_kill_is_not_waited_for() {
    let net = Net::start(&["3.11"]);
    let gateway = net.network().makegateway().on_output(|_, _| {}).start().unwrap();
    let agent = net.network().status().unwrap().hosts[0].agent_pid.unwrap();
    let agent = rustix::process::Pid::from_raw(agent.try_into().unwrap()).unwrap();
    let group = Group::new();
    let of_group = group.makegateway(net.network()).on_output(|_, _| {}).start().unwrap();
    rustix::process::kill_process(agent, rustix::process::Signal::STOP).unwrap();
    of_group.exit().unwrap();
    gateway.kill().unwrap();
    let death = gateway.join_timeout(PATIENCE).unwrap();
    assert!(of_group.join_timeout(Duration::from_secs(2)).is_err());
    // nor has it received what it was sent 2 s ago
    group.terminate_timeout(Duration::ZERO).unwrap();
    let of_group = of_group.join_timeout(Duration::ZERO).unwrap();
    assert_eq!(of_group.reason, death.reason);
    rustix::process::kill_process(agent, rustix::process::Signal::CONT).unwrap();
    assert!(
        death.reason.as_deref().unwrap().starts_with("its host does not answer; it ends as soon"),
        "{death:?}"
    );
    wait_until(PATIENCE, "the interpreter to end", || !alive(pid(&gateway)));
}

#[test]
fn a_gateway_that_opens_waits_for_its_host_as_for_a_place() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    net.network().on_outage(|_| {});
    let outages = net.network().outages().unwrap();
    for (give_up, after, most) in [(Some(Duration::from_millis(50)), "0.05 s", 1), (None, "10 s", 10)] {
        // a file of its own: the host starts another such interpreter ahead, which makes one, too
        let started = net.folder.join(format!("started-{most}"));
        let script = format!("touch {}; exec sleep 1000", started.display());
        let mut builder = net.network().makegateway().node("away").on_output(|_, _| {}).timeout(PATIENCE);
        builder = builder.python_args(["/bin/sh", "-c", &script]);
        if let Some(limit) = give_up {
            builder = builder.give_up(limit);
        }
        let opening = std::thread::spawn(move || builder.start());
        wait_until(PATIENCE, "the interpreter to start", || started.exists());
        net.cut();
        let error = opening.join().unwrap().unwrap_err();
        assert!(matches!(error, OpenError::Place(StartError::NoMatch { .. })), "{error:?}");
        let said = error.to_string();
        assert!(said.starts_with("away is unreachable: "), "{said}");
        assert!(said.ends_with(&format!("; given up after {after}")), "{said}");
        while let Ok(outage) = outages.next_timeout(Duration::ZERO) {
            if outage.state == Reach::Unreachable {
                assert!(outage.limit.unwrap() <= Duration::from_secs(most), "{outage}");
            }
        }
        net.mend();
    }
}

#[test]
fn a_kept_gateway_that_could_not_be_opened_leaves_nothing() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    net.network().on_outage(|_| {});
    let started = net.folder.join("started");
    let script = format!("touch {}; exec sleep 1000", started.display());
    let limit = Duration::from_millis(50);
    let builder = net.network().makegateway().node("away").on_output(|_, _| {}).timeout(PATIENCE);
    let builder = builder.python_args(["/bin/sh", "-c", &script]).give_up(limit);
    let opening = std::thread::spawn(move || builder.keep("gone".parse().unwrap()).start());
    wait_until(PATIENCE, "the interpreter to start", || started.exists());
    net.cut();
    let error = opening.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("given up after 0.05 s"), "{error}");
    net.mend();
    // its host is told to end it as soon as it is back
    let kept = || net.network().kept::<String>([]).unwrap();
    wait_until(PATIENCE, "the host to keep nothing", || {
        let reply = kept();
        reply.unheard.is_empty() && reply.kept.is_empty()
    });
}

#[test]
fn a_kept_gateway_that_is_open_waits_longer_for_its_host_than_one_that_opens() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    net.network().on_outage(|_| {});
    let gateway = net.network().makegateway().node("away").keep("patient".parse().unwrap());
    let gateway = gateway.timeout(PATIENCE).start().unwrap();
    let channel = gateway.remote_exec("channel.send(channel.receive() + 1)").unwrap();
    net.cut();
    // an open that waits would be given up after 10 s
    std::thread::sleep(Duration::from_secs(12));
    net.mend();
    channel.send(1).unwrap();
    assert_eq!(channel.receive_timeout::<u32>(PATIENCE).unwrap(), 2);
    gateway.exit().unwrap();
    gateway.join().unwrap();
}

#[test]
fn giving_up_a_host_is_an_error_with_the_reason() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    net.network().on_outage(|_| {});
    let outages = net.network().outages().unwrap();
    let builder = || net.network().makegateway().node("away").on_output(|_, _| {});
    let hasty = builder().give_up(Duration::from_millis(50)).start().unwrap();
    let patient = builder().start().unwrap();
    let wait = |gateway: &Gateway| gateway.remote_exec("channel.send(channel.receive())").unwrap();
    let (of_hasty, of_patient) = (wait(&hasty), wait(&patient));
    net.cut();
    let error = of_hasty.receive::<i64>().unwrap_err();
    let ChannelError::GatewayDied(death) = &error else { panic!("{error:?}") };
    let said = death.to_string();
    assert!(said.contains(" of host `away` has ended: away is unreachable: "), "{said}");
    assert!(said.ends_with("; given up after 0.05 s"), "{said}");
    assert_eq!(outages.next_timeout(PATIENCE).unwrap().state, Reach::Unreachable);
    net.mend();
    assert_eq!(outages.next_timeout(PATIENCE).unwrap().state, Reach::Reachable);
    of_patient.send(1).unwrap();
    assert_eq!(of_patient.receive::<i64>(), Ok(1));
    wait_until(PATIENCE, "the interpreter to end", || !alive(pid(&hasty)));
}

#[test]
fn packages_are_sent_once_to_each_host() {
    let net = Net::start(&["3.11", "2.7"]);
    let source = folder(&[("one.py", "name = u'one'\n")]);
    let store = with_standin();
    let told = Told::default();
    let packages = paths(&source).on_progress(told.collector());
    let open = |version: &str| {
        let builder = net.network().makegateway().python_version(version).unwrap();
        let builder = builder.env("EXECNET_PACKAGES_FOLDER", store.path().to_str().unwrap());
        builder.packages(packages.clone()).on_output(|_, _| {}).start().unwrap()
    };
    for (version, files) in [("3.11", 1), ("2.7", 0), ("3.11", 0), ("2.7", 0)] {
        let gateway = open(version);
        assert_eq!(ask(&gateway, "import one\nchannel.send(one.name)"), "one");
        let last = told.take().pop().unwrap();
        assert_eq!((last.files, &last.node), (files, &gateway.node().cloned()), "{last:?}");
    }
}

#[test]
fn packages_arrive_whole_over_a_link_that_breaks() {
    let net = Net::start(&["3.11"]);
    net.add_away("3.11");
    let lines: String = (0..300_000).map(|line| format!("line_{line} = {line}\n")).collect();
    let source = folder(&[("large.txt", &lines), ("tool.py", "import pkgutil\n")]);
    let store = folder(&[]);
    let (sending_tx, sending) = mpsc::channel();
    let packages = paths(&source).on_progress(move |transfer| {
        if transfer.bytes > 0 {
            let _ = sending_tx.send(());
        }
    });
    let builder = net.network().makegateway().node("away").timeout(PATIENCE);
    let builder = builder.env("EXECNET_PACKAGES_FOLDER", store.path().to_str().unwrap());
    let opening = std::thread::spawn(move || builder.packages(packages).on_output(|_, _| {}).start());
    sending.recv_timeout(PATIENCE).unwrap();
    net.cut();
    net.mend();
    let gateway = opening.join().unwrap().unwrap();
    let code = "import tool\n\
                data = tool.pkgutil.get_data('tool', 'large.txt')\n\
                channel.send(len(data))";
    assert_eq!(gateway.remote_exec(code).unwrap().receive::<usize>().unwrap(), lines.len());
}
