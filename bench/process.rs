//! Measures a process of a network and the pipes of a command in turn: round trips of a byte, and bulk in
//! each direction. Prints a line for each: its name, and the medians of command and
//! process in seconds.
//!
//! `cargo run --release -p execnet --example process -- NETWORK COMMAND…`: COMMAND passes its last argument
//! to a shell, as `ssh HOST` does.

use std::error::Error;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const TRIPS: usize = 1_000;
const BULK: usize = 400_000_000;
const BLOCK: usize = 262_144;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn trips(mut write: impl Write, mut read: impl Read) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..TRIPS {
        let begin = Instant::now();
        write.write_all(b"x")?;
        read.read_exact(&mut [0])?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn receive(mut read: impl Read) -> Result<()> {
    let mut block = vec![0; BLOCK];
    let mut left = BULK;
    while left > 0 {
        match read.read(&mut block)? {
            0 => return Err("the stream ended too early".into()),
            length => left -= length,
        }
    }
    Ok(())
}

fn send(mut write: impl Write) -> Result<()> {
    let block = vec![7; BLOCK];
    let mut left = BULK;
    while left > 0 {
        let length = left.min(BLOCK);
        write.write_all(&block[..length])?;
        left -= length;
    }
    Ok(())
}

fn timed(act: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begin = Instant::now();
    act()?;
    Ok(begin.elapsed())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [network, program, options @ ..] = &args[..] else {
        return Err("usage: process NETWORK COMMAND…".into());
    };
    let net = execnet::connect(network)?;
    let command = |code: &str| {
        let mut command = Command::new(program);
        command.args(options).arg(code).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    };
    let process = |code: &str| {
        let python = format!("import os; os.execvp('sh', ['sh', '-c', {code:?}])");
        net.process().args(["-c", &python]).start()
    };

    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    let (mut cat, echo) = (command("cat")?, process("cat")?);
    let (cat_in, mut cat_out) = (cat.stdin.take().ok_or("no pipe")?, cat.stdout.take().ok_or("no pipe")?);
    for round in 0..=ROUNDS {
        let (command, process) = (trips(&cat_in, &mut cat_out)?, trips(echo.stdin(), echo.stdout())?);
        // round 0 only warms up
        if round > 0 {
            floor.extend(command);
            ours.extend(process);
        }
    }
    println!("rtt {} {}", median(floor), median(ours));
    drop(cat_in);
    cat.wait()?;
    drop(echo);

    let give = format!("head -c {BULK} /dev/zero");
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(timed(|| {
            let mut child = command(&give)?;
            receive(child.stdout.take().ok_or("no pipe")?)?;
            child.wait()?;
            Ok(())
        })?);
        ours.push(timed(|| {
            let child = process(&give)?;
            receive(child.stdout())?;
            child.wait()?;
            Ok(())
        })?);
    }
    println!("down {} {}", median(floor), median(ours));

    let take = "cat > /dev/null";
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(timed(|| {
            let mut child = command(take)?;
            send(child.stdin.take().ok_or("no pipe")?)?;
            child.wait()?;
            Ok(())
        })?);
        ours.push(timed(|| {
            let child = process(take)?;
            send(child.stdin().close_on_drop())?;
            child.wait()?;
            Ok(())
        })?);
    }
    println!("up {} {}", median(floor), median(ours));
    Ok(())
}
