//! Gateways that are kept: programs leave them, and others come back.

use execnet::{ChannelError, Code, ExitStatus, Gateway, Network};
use execnet_testkit::{alive, wait_until};

use crate::network::Net;
use crate::support::PATIENCE;

fn start(network: &Network, name: &str) -> Gateway {
    let builder = network.makegateway().on_output(|_, _| {}).timeout(PATIENCE);
    builder.keep(name.parse().unwrap()).start().unwrap()
}

fn end(gateway: &Gateway) {
    gateway.exit().unwrap();
    let death = gateway.join_timeout(PATIENCE).unwrap();
    assert_eq!(death.status, Some(ExitStatus::Exited(0)), "{death}");
}

#[test]
fn a_kept_gateway_goes_on_with_the_next_program() {
    let net = Net::start(&["3.11"]);
    let first = net.program();
    let gateway = start(&first, "worker");
    assert!(gateway.is_kept());
    let pid = gateway.info().pid;
    let code = "import sys\nsys.seen = 0\nfor value in channel:\n  sys.seen += 1\n  channel.send(value * 10)";
    let channel = gateway.remote_exec(Code::source(code).channel("work")).unwrap();
    for number in 1..=3 {
        channel.send(number).unwrap();
    }
    assert_eq!(channel.receive::<i64>(), Ok(10));
    gateway.detach().unwrap();
    assert_eq!(channel.send(4), Err(ChannelError::Closed));
    drop((gateway, channel, first));

    // this one dies without a word
    let second = net.program();
    let gateway = second.attach("worker").gateway().start().unwrap();
    assert_eq!(gateway.info().pid, pid);
    let channel = gateway.channel("work").unwrap();
    assert_eq!(channel.received_before(), Ok(3));
    assert_eq!(channel.receive::<i64>(), Ok(20));
    std::mem::forget((gateway, channel));
    drop(second);

    let third = net.program();
    let gateway = third.attach("worker").gateway().start().unwrap();
    let channel = gateway.channel("work").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(30));
    let other = gateway.remote_exec("import sys; channel.send(sys.seen)").unwrap();
    assert_eq!(other.receive::<i64>(), Ok(3));
    end(&gateway);
    wait_until(PATIENCE, "it ends", || !alive(pid));
}

#[test]
fn who_attaches_takes_over_and_the_program_before_is_told() {
    let net = Net::start(&["3.11"]);
    let (first, second) = (net.program(), net.program());
    let before = start(&first, "worker");
    let waits = before.channel("work").unwrap();
    let thread = std::thread::spawn(move || waits.receive::<i64>().unwrap_err());
    let after = second.attach("worker").gateway().start().unwrap();
    let error = thread.join().unwrap().to_string();
    assert!(error.contains("taken over"), "{error}");
    assert!(before.join_timeout(PATIENCE).is_ok());
    let channel = after.remote_exec("channel.send(1)").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    end(&after);
}

#[test]
fn a_name_that_is_taken_and_one_that_nobody_has_are_errors() {
    let net = Net::start(&["3.11"]);
    let network = net.program();
    let gateway = start(&network, "worker");
    let again = network.makegateway().timeout(PATIENCE).keep("worker".parse().unwrap()).start();
    let error = again.unwrap_err().to_string();
    assert!(error.contains("worker"), "{error}");
    let error = net.program().attach("walker").gateway().start().unwrap_err().to_string();
    assert!(error.contains("did you mean `worker`?"), "{error}");
    assert!(Gateway::popen().keep("child".parse().unwrap()).start().is_err());
    let channel = gateway.remote_exec("channel.send(1)").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    end(&gateway);
}
