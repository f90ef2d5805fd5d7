//! Measures a gateway: round trips of a small value, and rates of small and large values in each direction.
//! The gateway is a child of this program, or runs on a node of the named network.
//!
//! `cargo run --release -p execnet --example ping -- [NETWORK]`

use std::time::Instant;

use bytes::Bytes;
use execnet::{ChannelError, Gateway};

const ROUNDS: u32 = 20_000;
const SMALL: u32 = 300_000;
const LARGE: usize = 1 << 20;
const COUNT: usize = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gateway = match std::env::args().nth(1) {
        Some(network) => execnet::connect(&network)?.makegateway().start()?,
        None => Gateway::popen().start()?,
    };
    let channel = gateway.remote_exec("for value in channel: channel.send(value)")?;
    let mut times = Vec::new();
    for number in 0..ROUNDS {
        let begin = Instant::now();
        channel.send(number)?;
        assert_eq!(channel.receive::<u32>()?, number);
        times.push(begin.elapsed());
    }
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("round trip: median {:?}, 90 % {:?}, 99 % {:?}", at(50), at(90), at(99));

    let sink =
        "count = 0\nfor value in channel:\n    if value is None: break\n    count += 1\nchannel.send(count)";
    let channel = gateway.remote_exec(sink)?;
    let begin = Instant::now();
    (0..SMALL).try_for_each(|number| channel.send(number))?;
    channel.send(())?;
    assert_eq!(channel.receive::<u32>()?, SMALL);
    println!("small values there: {:.0} per ms", f64::from(SMALL) / begin.elapsed().as_secs_f64() / 1e3);

    let begin = Instant::now();
    let channel = gateway.remote_exec(format!("for number in range({SMALL}): channel.send(number)"))?;
    let count = channel.iter::<u32>().try_fold(0, |count, value| value.map(|_| count + 1))?;
    assert_eq!(count, SMALL);
    println!("small values back: {:.0} per ms", f64::from(SMALL) / begin.elapsed().as_secs_f64() / 1e3);

    let large = Bytes::from(vec![7; LARGE]);
    let channel = gateway.remote_exec(sink)?;
    let begin = Instant::now();
    (0..COUNT).try_for_each(|_| channel.send(&large))?;
    channel.send(())?;
    assert_eq!(channel.receive::<usize>()?, COUNT);
    println!("large values there: {:.0} MB/s", (COUNT * LARGE) as f64 / begin.elapsed().as_secs_f64() / 1e6);

    let begin = Instant::now();
    let code = format!("large = b'x' * {LARGE}\nfor number in range({COUNT}): channel.send(large)");
    let channel = gateway.remote_exec(code)?;
    let mut total = 0;
    loop {
        match channel.receive::<Bytes>() {
            Ok(value) => total += value.len(),
            Err(ChannelError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("large values back: {:.0} MB/s", total as f64 / begin.elapsed().as_secs_f64() / 1e6);
    Ok(())
}
