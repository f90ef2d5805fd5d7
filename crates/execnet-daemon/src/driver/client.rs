//! The task of a client's socket.

use std::rc::Rc;

use execnet_proto::switch::{ClientKey, Peer};
use tokio::net::unix::pipe;
use tokio::task::yield_now;

use super::outlet::Outlet;
use super::{Driver, Reading};
use crate::event::Event;

/// Serves a client until its socket ends or is closed from this side.
pub(super) async fn run(driver: Rc<Driver>, key: ClientKey, mut read: pipe::Receiver, outlet: Rc<Outlet>) {
    let mut reading = Reading::Now;
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
            () = yield_now(), if reading != Reading::Now => {
                let rest = reading == Reading::RestAfterOthers;
                reading = Reading::after(0, rest && driver.handle(Event::ClientBytes(key, &[])));
            }
            length = super::read(&mut read, &driver), if reading == Reading::Now => match length {
                Ok(length @ 1..) => {
                    let input = driver.input.borrow();
                    let more = driver.arrived(Peer::Client(key), &input[..length]);
                    reading = Reading::after(length, more);
                }
                Ok(0) | Err(_) => break,
            },
        }
    }
    driver.forget_client(key);
}
