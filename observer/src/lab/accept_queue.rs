//! A server that does not accept, and handshakes that the client holds to be complete.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};
use observer::packet::Flags;
use socket2::Socket;

use super::network::Network;
use super::network::sighting::Sighting;
use super::network::traffic::abort;
use super::network::wire::{End, Passing, Wire};
use super::{Conditions, Scenario, Seen};

pub const SCENARIO: Scenario = Scenario {
    name: "accept-queue",
    about: "The server's program does not accept. Three connections wait, two more complete their handshake at once, \
            and there is room for one: the other one's ACK is dropped, and the server sends its SYN-ACK again and again.",
    play,
    thresholds: &[],
    findings: &["accept-queue-overflow"],
    seen: &[Seen {
        server_port: 80,
        connections: 5,
        must: Conditions(&[("conn_state", "S1"), ("handshake.syn_retransmissions", "0"), ("bytes.client", "0")]),
    }],
};

fn play(network: &mut Network) -> Result<()> {
    /// One more than this fit.
    const BACKLOG: i32 = 3;
    const ANSWERS: usize = 7;
    let answers = Sighting::new();
    let is_syn_ack = |passing: &Passing<'_>| {
        passing.from == End::Far && passing.tcp.is_some_and(|tcp| tcp.flags.contains(Flags::SYN))
    };
    let [client, server] = network.pair(Wire::new(Duration::from_millis(20)).watched(&answers, is_syn_ack))?;
    let at = server.at(80)?;
    let listener = server.socket(at)?;
    listener.bind(&at.into()).and_then(|()| listener.listen(BACKLOG)).context("listening")?;
    let waiting: Vec<TcpStream> = (0..BACKLOG).map(|_| client.connect(at)).collect::<Result<_>>()?;
    let late: Vec<Socket> = (0..2).map(|_| client.socket(at)).collect::<Result<_>>()?;
    for socket in &late {
        socket.set_nonblocking(true)?;
        // It goes on by itself (EINPROGRESS).
        let _ = socket.connect(&at.into());
    }
    // One each, and two more for the one without room.
    answers.wait_for(ANSWERS)?;
    network.stop_capture();
    let late = late.into_iter().map(TcpStream::from);
    waiting.into_iter().chain(late).try_for_each(abort)
}
