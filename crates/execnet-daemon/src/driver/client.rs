//! The task of a client's socket.

use std::rc::Rc;

use execnet_proto::switch::{ClientKey, Peer};
use tokio::net::unix::pipe;

use super::Driver;
use super::outlet::Outlet;
use crate::daemon::Event;

/// Serves a client until its socket ends or is closed from this side.
pub(super) async fn run(driver: Rc<Driver>, key: ClientKey, mut read: pipe::Receiver, outlet: Rc<Outlet>) {
    loop {
        tokio::select! {
            biased;
            () = outlet.changed() => if outlet.is_closed() {
                break;
            },
            () = outlet.writable(), if outlet.is_blocked() => {
                driver.write(Peer::Client(key));
                if !outlet.is_blocked() {
                    driver.gone.notify_one();
                }
            }
            length = super::read(&mut read, &driver) => match length {
                Ok(1..) => {
                    let input = driver.input.borrow();
                    driver.handle(Event::ClientBytes(key, &input[..length.unwrap_or(0)]));
                }
                Ok(0) | Err(_) => break,
            },
        }
    }
    driver.forget_client(key);
}
