//! Handles, events and errors can be sent to other threads and shared.

#[test]
fn everything_can_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<execnet::Connect>();
    check::<execnet::Network>();
    check::<execnet::Replies>();
    check::<execnet::Private>();
    check::<execnet::ProcessBuilder>();
    check::<execnet::Process>();
    check::<execnet::Stdin>();
    check::<execnet::Output>();
    check::<execnet::Events>();
    check::<execnet::GatewayBuilder>();
    check::<execnet::Gateway>();
    check::<execnet::Group>();
    check::<execnet::Code>();
    check::<execnet::Channel>();
    check::<execnet::Receiving<String>>();
    check::<execnet::MultiChannel>();
    check::<execnet::ReceiveQueue<String>>();
    check::<execnet::Raw>();
    check::<execnet::raw::Held>();
    check::<execnet::Interrupt>();
    check::<execnet::value::Value>();
    check::<execnet::ConnectError>();
    check::<execnet::RequestError>();
    check::<execnet::JoinError>();
    check::<execnet::StartError>();
    check::<execnet::ProcessError>();
    check::<execnet::OpenError>();
    check::<execnet::ChannelError>();
}

#[test]
fn outages_can_be_sent() {
    fn check<T: Send>() {}
    // a receiver of `std::sync::mpsc`, which only one thread uses at a time
    check::<execnet::Outages>();
}
