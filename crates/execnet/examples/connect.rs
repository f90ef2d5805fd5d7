//! The example of README and guide: connects to a running network by name, and asks a fresh Jython for a sum.
//!
//! `cargo run -p execnet --example connect -- NETWORK`, on a network that has a Jython.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "mynet".to_owned());
    let net = execnet::connect(&name)?;
    let gateway = net.makegateway().platform("java").start()?;
    let channel = gateway.remote_exec("channel.send(channel.receive() + 1)")?;
    channel.send(41)?;
    println!("{}", channel.receive::<i64>()?);
    Ok(())
}
