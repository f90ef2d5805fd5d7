//! Starts a lab by hand: hosts for trying the `execnet` command.

use std::io::Read;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use execnet_testkit::Lab;
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
        delay: Option<u64>,
    },
    /// List the interpreters that hosts can be given.
    Interpreters,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Lab { hosts, python, inner, delay } => {
            lab(hosts, &python, inner, delay.map(Duration::from_millis))
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

fn lab(hosts: u32, python: &[String], inner: bool, delay: Option<Duration>) -> Result<()> {
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
        if delay.is_some() {
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

    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while std::io::stdin().read(&mut buffer).is_ok_and(|count| count > 0) {}
        let _ = ended_tx.send(());
    });
    let _ = ended_rx.recv();
    Ok(())
}
