//! Measures the round trip of a small value through a gateway: a child of this program, or a node of a network if one is named.
//!
//! `cargo run --release --example ping -- [ROUNDS] [NETWORK]`

use std::time::Instant;

use execnet::Gateway;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let rounds: u32 = args.next().map_or(Ok(20_000), |rounds| rounds.parse())?;
    let gateway = match args.next() {
        Some(network) => execnet::connect(&network)?.makegateway().start()?,
        None => Gateway::popen().start()?,
    };
    let channel = gateway.remote_exec("for value in channel: channel.send(value)")?;
    for batch in 0..4 {
        let mut times = Vec::new();
        for number in 0..rounds / 4 {
            let begin = Instant::now();
            channel.send(number)?;
            assert_eq!(channel.receive::<u32>()?, number);
            times.push(begin.elapsed());
        }
        times.sort();
        let at = |percent: usize| times[times.len() * percent / 100];
        println!("{batch}: median {:?}, 90 % {:?}, 99 % {:?}", at(50), at(90), at(99));
    }
    Ok(())
}
