//! Starts a lab by hand: hosts for trying the `execnet` command.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use execnet_testkit::{Lab, LabHost};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Real hosts for trying and testing execnet networks.
#[derive(Debug, Parser)]
#[command(name = "execnet-testkit", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start hosts, print how to reach them, and end them at Ctrl-C or at the end of stdin.
    #[command(after_help = "Example: execnet-testkit lab --hosts 3 --python 3.8 pypy3 --inner")]
    Lab {
        /// Number of hosts: build1, build2, …
        #[arg(long, default_value_t = 2, value_name = "N")]
        hosts: u32,
        /// Interpreters of each host: 2.7, 3.6 … 3.13, pypy3, jython. By default this machine's python3.
        #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "NAME")]
        python: Vec<String>,
        /// One more host, inner, that only build1 can reach (for via=build1).
        #[arg(long)]
        inner: bool,
        /// Delay every byte to and from the hosts by so many milliseconds, each way.
        #[arg(long, value_name = "MS")]
        delay: Option<f64>,
        /// Put a proxy in front of each host. Lines on stdin then change links: `cut HOST`, `stall HOST`,
        /// `resume HOST`, `delay HOST MS`. Each is answered by a line: `ok`, or why not.
        #[arg(long)]
        proxies: bool,
    },
    /// List the interpreters that hosts can be given.
    Interpreters,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Lab { hosts, python, inner, delay, proxies } => {
            let delay = delay.map(milliseconds).transpose();
            delay.and_then(|delay| lab(hosts, &python, inner, delay, proxies))
        }
        Command::Interpreters => {
            for found in execnet_testkit::interpreters() {
                println!(
                    "{:8} {:?} {} {}",
                    found.name,
                    found.implementation,
                    found.version,
                    found.path.display()
                );
            }
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A delay, which may have a fraction.
fn milliseconds(count: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(count / 1e3).with_context(|| format!("{count} is no number of milliseconds"))
}

fn lab(hosts: u32, python: &[String], inner: bool, delay: Option<Duration>, proxies: bool) -> Result<()> {
    let (ended_tx, ended_rx) = mpsc::channel();
    // signals first: one that arrives while hosts start must find a handler that cleans up
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let signal_tx = ended_tx.clone();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = signal_tx.send(());
        }
    });

    let lab = Lab::new()?;
    for number in 1..=hosts {
        let mut host = lab.host(&format!("build{number}"));
        if !python.is_empty() {
            host = host.pythons(python);
        }
        if inner && number == 1 {
            host = host.reaches(["inner"]);
        }
        if proxies || delay.is_some() {
            host = host.through_proxy();
        }
        let host = host.start()?;
        if let Some(delay) = delay {
            host.proxy().delay(delay);
        }
        if ended_rx.try_recv().is_ok() {
            return Ok(());
        }
    }
    if inner {
        let mut host = lab.host("inner").hidden();
        if !python.is_empty() {
            host = host.pythons(python);
        }
        if proxies {
            host = host.through_proxy();
        }
        host.start()?;
    }

    let config = lab.ssh_config();
    let config = config.display();
    let mut start = "execnet start mynet".to_owned();
    for number in 1..=hosts {
        start += &format!(" ssh=build{number}//ssh_config={config}");
    }
    if inner {
        start += " ssh=inner//via=build1";
    }
    println!("ssh_config: {config}");
    println!("one host:   ssh -F {config} build1");
    println!("a network:  {start}");
    println!("Ctrl-C, or the end of stdin, ends the lab.");

    let hosts = if proxies { lab.hosts() } else { Vec::new() };
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok).filter(|_| proxies) {
            println!("{}", change_link(&hosts, &line).unwrap_or("ok"));
        }
        let _ = ended_tx.send(());
    });
    let _ = ended_rx.recv();
    Ok(())
}

/// Does what a line says, or returns why not.
fn change_link(hosts: &[LabHost], line: &str) -> Option<&'static str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [verb, name, rest @ ..] = words.as_slice() else { return Some("error: it has no verb and host") };
    let Some(host) = hosts.iter().find(|host| host.name() == *name) else {
        return Some("error: there is no such host");
    };
    let proxy = host.proxy();
    match (*verb, rest) {
        ("cut", []) => proxy.cut(),
        ("stall", []) => proxy.stall(),
        ("resume", []) => proxy.resume(),
        ("delay", [each_way]) => match each_way.parse().ok().and_then(|time| milliseconds(time).ok()) {
            Some(each_way) => proxy.delay(each_way),
            None => return Some("error: that is no number of milliseconds"),
        },
        _ => return Some("error: that is not cut, stall, resume or delay"),
    }
    None
}
