//! Programs in a real kept kernel. A script stands in for the agent: it starts the kernel, and passes each
//! connection to its socket on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;

use rustix::event::{PollFd, PollFlags};
use tempfile::TempDir;

use super::super::builder::KERNEL;
use super::super::carrier::{Ending, READ, Stop};
use super::super::channel::Channel;
use super::super::code::Code;
use super::super::config::{Bring, Config};
use super::super::error::ChannelError;
use super::super::stage::stage;
use super::super::wire::{Kind, frame};
use super::*;
use crate::node::Node;
use crate::waiting::{Interrupt, Sleeps, Waker, left, poll};

const LONG: Duration = Duration::from_secs(300);

const AGENT: &str = r#"
import os, socket, subprocess, sys, threading
entry, theirs = socket.socketpair()
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdin=subprocess.PIPE,
                         pass_fds=[theirs.fileno()], env=dict(os.environ, EXECNET_ENTRY=str(theirs.fileno())))
theirs.close()
child.stdin.write(sys.stdin.buffer.read())
child.stdin.close()
threading.Thread(target=lambda: os._exit(child.wait()), daemon=True).start()
print("ready", flush=True)
while True:
    connection = listener.accept()[0]
    socket.send_fds(entry, [b"e"], [connection.fileno()])
    connection.close()
"#;

struct Kernel {
    agent: Child,
    socket: PathBuf,
    _folder: TempDir,
}

impl Kernel {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("socket");
        let mut agent = Command::new("python3")
            .args(["-c", AGENT, socket.to_str().unwrap(), &stage(None)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let config = Config { kept: true, window: Some(1 << 20), ..Config::default() };
        let config = config.encode("gw", &Bring::Nothing).unwrap();
        let mut stdin = agent.stdin.take().unwrap();
        stdin.write_all(&[KERNEL, &frame(Kind::Hello, 0, &config)].concat()).unwrap();
        drop(stdin);
        let mut ready = [0; 6];
        agent.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        Self { agent, socket, _folder: folder }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).unwrap()
    }

    fn enter(&self) -> Gateway {
        self.enter_by(self.connect()).unwrap()
    }

    fn enter_by(&self, stream: UnixStream) -> Result<Gateway, OpenError> {
        let printed = Arc::new(Printed::new("gw".into(), None));
        let entering = Entering { id: "gw".into(), timeout: LONG, printed };
        enter(Entry::new(stream), entering, None)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

/// A connection.
struct Entry {
    stream: UnixStream,
    waker: Arc<Waker>,
    buffer: Mutex<Vec<u8>>,
}

impl Entry {
    fn new(stream: UnixStream) -> Arc<Self> {
        stream.set_nonblocking(true).unwrap();
        let buffer = Mutex::new(vec![0; READ]);
        Arc::new(Self { stream, waker: Arc::new(Waker::new().unwrap()), buffer })
    }
}

impl Carrier for Entry {
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        let me = Interrupt::this_thread();
        let place: Arc<dyn Sleeps> = self.waker.clone();
        let asleep = me.enter(Arc::downgrade(&place));
        let mut buffer = self.buffer.lock().unwrap();
        loop {
            if me.clear() {
                return Err(Stop::Interrupted);
            }
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN), self.waker.poll_fd()];
            let ready = poll(&mut fds, left(deadline)).unwrap_or(1);
            if !fds[1].revents().is_empty() {
                self.waker.drain();
            }
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Err(Stop::End),
                Ok(count) => {
                    drop(asleep);
                    take(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Stop::End),
            }
            if ready == 0 && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Stop::TimedOut);
            }
        }
    }

    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop> {
        loop {
            match (&self.stream).write(bytes) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && wait => {
                    let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
                    let _ = poll(&mut fds, None);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(Stop::TimedOut),
                Err(_) => return Err(Stop::End),
            }
        }
    }

    fn errors(&self, _: &mut dyn FnMut(&[u8])) {}

    fn ending(&self, _: Duration) -> Option<Ending> {
        None
    }

    fn kill(&self) {
        panic!("nobody may kill a kept kernel by the way");
    }

    fn close_output(&self) {}

    fn release(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn is_entry(&self) -> bool {
        true
    }

    fn node(&self) -> Option<&Node> {
        None
    }
}

fn numbers(channel: &Channel, count: usize) -> Vec<i64> {
    (0..count).map(|_| channel.receive().unwrap()).collect()
}

#[test]
fn programs_come_and_go_and_the_interpreter_and_its_named_channels_stay() {
    let kernel = Kernel::start();
    let gateway = kernel.enter();
    assert!(gateway.is_kept());
    let code = "import sys\nsys.seen = 0\nfor value in channel:\n  sys.seen += 1\n  channel.send(value * 10)";
    let channel = gateway.remote_exec(Code::source(code).channel("work")).unwrap();
    channel.send(1).unwrap();
    channel.send(2).unwrap();
    assert_eq!(numbers(&channel, 1), [10]);
    gateway.detach().unwrap();
    assert_eq!(channel.send(3), Err(ChannelError::Closed));
    assert_eq!(channel.receive::<i64>(), Err(ChannelError::Closed));
    let gateway = kernel.enter();
    let channel = gateway.channel("work").unwrap();
    assert!(channel.is_named());
    assert_eq!(channel.received_before(), Ok(2));
    assert_eq!(numbers(&channel, 1), [20]);
    // other code finds it, and its globals
    let other = gateway.remote_exec("import sys; channel.send(sys.seen)").unwrap();
    assert_eq!(numbers(&other, 1), [2]);
    drop((gateway, channel, other));
    let gateway = kernel.enter();
    let channel = gateway.channel("work").unwrap();
    channel.send(4).unwrap();
    assert_eq!(numbers(&channel, 1), [40]);
    // the name is free when it was closed, and its code has ended
    channel.close().unwrap();
    channel.wait_close().unwrap();
    let other = gateway.remote_exec("channel.send(channel.gateway.channel('new').receive() + 1)").unwrap();
    gateway.channel("new").unwrap().send(5).unwrap();
    assert_eq!(numbers(&other, 1), [6]);
}

#[test]
fn what_is_sent_before_it_is_left_arrives() {
    let kernel = Kernel::start();
    let mut gateway = kernel.enter();
    let code =
        "count = 0\nfor value in channel:\n  count += 1\n  if value is None: channel.send(count); count = 0";
    gateway.remote_exec(Code::source(code).channel("count")).unwrap();
    for _ in 0..10 {
        let channel = gateway.channel("count").unwrap();
        for _ in 0..500 {
            channel.send("x".repeat(900)).unwrap();
        }
        channel.send(None::<i64>).unwrap();
        drop(channel);
        gateway.detach().unwrap();
        gateway = kernel.enter();
        assert_eq!(numbers(&gateway.channel("count").unwrap(), 1), [501]);
    }
}

#[test]
fn a_group_leaves_what_is_kept() {
    let kernel = Kernel::start();
    for close in [false, true] {
        let group = crate::Group::new();
        group.add(kernel.enter());
        let channel = group.at(0).unwrap().channel("work").unwrap();
        channel.send(1).unwrap();
        if close {
            group.terminate_timeout(LONG).unwrap();
            assert!(group.is_empty());
        }
        drop(group);
        assert_eq!(channel.send(2), Err(ChannelError::Closed));
    }
    assert_eq!(kernel.enter().channel("work").unwrap().received_before(), Ok(2));
}

#[test]
fn an_end_comes_again_until_a_program_has_seen_it() {
    let kernel = Kernel::start();
    let gateway = kernel.enter();
    let channel = gateway.remote_exec(Code::source("channel.send(1)\n1 // 0").channel("work")).unwrap();
    let second = gateway.remote_exec(Code::source("1").channel("work")).unwrap();
    let error = second.receive::<i64>().unwrap_err();
    assert!(error.to_string().contains("there is a channel named work already"), "{error}");
    drop((gateway, channel, second));
    for _ in 0..2 {
        let gateway = kernel.enter();
        // it has arrived, and nobody receives it
        let channel = gateway.channel("work").unwrap();
        assert!(channel.wait_close().unwrap_err().to_string().contains("ZeroDivisionError"));
    }
    let gateway = kernel.enter();
    let channel = gateway.channel("work").unwrap();
    assert_eq!(numbers(&channel, 1), [1]);
    drop((gateway, channel));
    let gateway = kernel.enter();
    let channel = gateway.channel("work").unwrap();
    let error = channel.receive::<i64>().unwrap_err();
    assert!(error.to_string().contains("ZeroDivisionError"), "{error}");
    let channel = gateway.remote_exec(Code::source("channel.send(2)").channel("work")).unwrap();
    assert_eq!(numbers(&channel, 1), [2]);
    channel.wait_close().unwrap();
    drop((gateway, channel));
    let channel = kernel.enter().channel("work").unwrap();
    assert_eq!(channel.received_before(), Ok(0));
    assert_eq!(channel.receive_timeout::<i64>(Duration::ZERO), Err(ChannelError::TimedOut));
}

#[test]
fn a_callback_takes_values_as_a_receiver_does() {
    let kernel = Kernel::start();
    let gateway = kernel.enter();
    let code = "for i in range(100): channel.send(i)\nchannel.receive()";
    let channel = gateway.remote_exec(Code::source(code).channel("work")).unwrap();
    assert_eq!(numbers(&channel, 2), [0, 1]);
    drop((channel, gateway));
    let gateway = kernel.enter();
    let channel = gateway.channel("work").unwrap();
    let (told, heard) = mpsc::channel();
    channel.set_callback(move |number: Option<i64>| told.send(number).unwrap()).unwrap();
    let seen: Vec<_> = (0..98).map(|_| heard.recv_timeout(LONG).unwrap()).collect();
    assert_eq!(seen, (2..100).map(Some).collect::<Vec<_>>());
    channel.send(1).unwrap();
    assert_eq!(heard.recv_timeout(LONG), Ok(None));
    channel.wait_close().unwrap();
}

#[test]
fn each_value_is_received_once_and_in_order_by_programs_that_are_torn_away() {
    let kernel = Kernel::start();
    let code = "i = 0\nwhile 1:\n  channel.send((i, 'x' * (i * 7919 % 200000))); i += 1";
    kernel.enter().remote_exec(Code::source(code).channel("work")).unwrap();
    let (mut next, mut slack) = (0, 0);
    for turn in 0..60 {
        let stream = kernel.connect();
        let gateway = kernel.enter_by(stream.try_clone().unwrap()).unwrap();
        let Ok(channel) = gateway.channel("work") else { panic!("turn {turn}") };
        let timer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(turn * 37 % 50));
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        // with each program, one may be lost that the kernel has heard of
        slack += 1;
        while let Ok((number, text)) = channel.receive::<(u64, String)>() {
            assert!((next..=next + slack).contains(&number), "{number}, not {next}, in turn {turn}");
            assert_eq!(text.len() as u64, number * 7919 % 200_000);
            (next, slack) = (number + 1, 0);
        }
        timer.join().unwrap();
    }
    assert!(next > 60);
}

#[test]
fn names_are_refused_with_a_sentence() {
    let ordinary = Gateway::popen().on_output(|_, _| {}).start().unwrap();
    let error = ordinary.channel("work").unwrap_err().to_string();
    assert_eq!(error, "only channels of a gateway that is kept have names");
    assert!(ordinary.remote_exec(Code::source("1").channel("work")).is_err());
    assert!(ordinary.detach().is_err());
    let kernel = Kernel::start();
    let gateway = kernel.enter();
    for name in ["", "a\nb", &"x".repeat(65)] {
        assert!(matches!(gateway.channel(name), Err(ChannelError::Name(_))));
        let code = Code::source("1").channel(name);
        assert!(matches!(gateway.remote_exec(code), Err(ChannelError::Name(_))));
    }
    let channel = gateway.channel("work").unwrap();
    let plain = gateway.new_channel().unwrap();
    assert!(matches!(channel.send(&plain), Err(ChannelError::Dump(_))));
    assert!(matches!(plain.send(&channel), Err(ChannelError::Dump(_))));
    // one connection less, and not one kernel
    let error = kernel.enter_by(UnixStream::pair().map(|(near, _)| near).unwrap()).unwrap_err();
    assert!(error.to_string().contains("its connection has ended"), "{error}");
    gateway.channel("work").unwrap();
}

#[test]
fn exit_ends_the_kernel_and_a_takeover_only_the_gateway() {
    let mut kernel = Kernel::start();
    let first = kernel.enter();
    let channel = first.channel("work").unwrap();
    let second = kernel.enter();
    let death = first.join().unwrap();
    assert!(death.to_string().contains("its connection has ended"), "{death}");
    assert!(matches!(channel.receive::<i64>(), Err(ChannelError::GatewayDied(_))));
    second.exit().unwrap();
    second.join().unwrap();
    assert!(kernel.agent.wait().unwrap().success(), "its agent ends with it");
}
